#include "engine/base/os.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static int64_t wall_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static uint64_t mono_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void random_bytes(void *bytes, size_t n) {
    unsigned char *p = bytes;
    while (n) {
        ssize_t got = getrandom(p, n, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            abort();
        p += got;
        n -= (size_t)got;
    }
}

static unsigned cpus(void) {
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) != 0)
        return 1;
    int n = CPU_COUNT(&set);
    return n > 0 ? (unsigned)n : 1;
}

const cn_os cn_os_real = {wall_us, mono_ns, random_bytes, cpus};
const cn_os *cn_os_now = &cn_os_real;

void cn_time_text(int64_t us, char text[CN_TIME_TEXT]) {
    int64_t s = us / 1000000, frac = us % 1000000;
    if (frac < 0) {
        frac += 1000000;
        s--;
    }
    time_t t = (time_t)s;
    struct tm tm;
    if (!gmtime_r(&t, &tm) || strftime(text, CN_TIME_TEXT, "%Y-%m-%dT%H:%M:%S", &tm) != 19) {
        memcpy(text, "?", 2);
        return;
    }
    snprintf(text + 19, CN_TIME_TEXT - 19, ".%06dZ", (int)frac);
}

/* Reads exactly `n` digits. */
static int digits(const char **p, const char *end, int n, int *ret) {
    int v = 0;
    for (; n > 0; n--, (*p)++) {
        if (*p == end || **p < '0' || **p > '9')
            return -1;
        v = v * 10 + (**p - '0');
    }
    *ret = v;
    return 0;
}

static int expect(const char **p, const char *end, char c) {
    if (*p == end || **p != c)
        return -1;
    (*p)++;
    return 0;
}

static int fraction(const char **p, const char *end, int64_t *ret_us) {
    int64_t us = 0, unit = 100000;
    if (*p == end || **p < '0' || **p > '9')
        return -1;
    for (; *p < end && **p >= '0' && **p <= '9'; (*p)++, unit /= 10)
        us += (**p - '0') * unit;
    *ret_us = us;
    return 0;
}

static int offset_seconds(const char **p, const char *end, int *ret) {
    if (*p < end && (**p == 'Z' || **p == 'z')) {
        (*p)++;
        *ret = 0;
        return 0;
    }
    if (*p == end || (**p != '+' && **p != '-'))
        return -1;
    int sign = **p == '-' ? -1 : 1, h, m;
    (*p)++;
    if (digits(p, end, 2, &h) || expect(p, end, ':') || digits(p, end, 2, &m) || h > 23 || m > 59)
        return -1;
    *ret = sign * (h * 3600 + m * 60);
    return 0;
}

int cn_time_parse(const char *p, size_t n, int64_t *ret_wall_us) {
    const char *end = p + n;
    struct tm tm = {0};
    int year, month, off = 0;
    int64_t us = 0;
    if (digits(&p, end, 4, &year) || expect(&p, end, '-') || digits(&p, end, 2, &month) || expect(&p, end, '-') ||
        digits(&p, end, 2, &tm.tm_mday))
        return -1;
    if (p < end) {
        if (*p != 'T' && *p != 't' && *p != ' ')
            return -1;
        p++;
        if (digits(&p, end, 2, &tm.tm_hour) || expect(&p, end, ':') || digits(&p, end, 2, &tm.tm_min) ||
            expect(&p, end, ':') || digits(&p, end, 2, &tm.tm_sec))
            return -1;
        if (p < end && *p == '.') {
            p++;
            if (fraction(&p, end, &us))
                return -1;
        }
        if (offset_seconds(&p, end, &off))
            return -1;
    }
    if (p != end || month < 1 || month > 12 || tm.tm_hour > 23 || tm.tm_min > 59 || tm.tm_sec > 60)
        return -1;
    tm.tm_year = year - 1900;
    tm.tm_mon = month - 1;
    int day = tm.tm_mday, leap = tm.tm_sec == 60; /* counted apart, for it may lead into the next day */
    tm.tm_sec -= leap;
    time_t t = timegm(&tm) + leap;
    if (tm.tm_mday != day || day < 1) /* the 31st of a month of 30 days */
        return -1;
    *ret_wall_us = ((int64_t)t - off) * 1000000 + us;
    return 0;
}

void cn_thread_prompt(void) {
    struct { /* as in linux/sched/types.h, which glibc does not know yet */
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime, deadline, period;
    } a = {.size = sizeof a, .policy = SCHED_OTHER, .nice = getpriority(PRIO_PROCESS, 0), .runtime = 100000};
    (void)syscall(SYS_sched_setattr, 0, &a, 0);
}

void cn_give_way(void) { sched_yield(); }

uint64_t cn_thread_cpu_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t cn_children_cpu_ns(void) {
    struct rusage u;
    getrusage(RUSAGE_CHILDREN, &u);
    return ((uint64_t)u.ru_utime.tv_sec + (uint64_t)u.ru_stime.tv_sec) * 1000000000u + ((uint64_t)u.ru_utime.tv_usec + (uint64_t)u.ru_stime.tv_usec) * 1000u;
}

void cn_std_files(void) {
    signal(SIGXFSZ, SIG_IGN); /* a write past the limit on a file's size is an error like a full disk */
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) /* the lowest free number is given; it stays for what this process starts */
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == STDOUT_FILENO ? O_RDONLY : O_RDWR) != fd)
            _exit(1);
}
