#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/log.h"
#include "engine/base/os.h"
#include "index/store/env_inside.h"

#define LOG_AFTER_MS 1000

cn_err cn_writer_init(cn_writer *w, const char *env_path) {
    char path[4096];
    if (snprintf(path, sizeof path, "%s-writer", env_path) >= (int)sizeof path)
        return cn_fail(CN_INVALID, "the path %s is too long", env_path);
    w->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (w->fd < 0)
        return cn_env_no_file(errno, "opening", path);
    pthread_mutex_init(&w->mutex, NULL);
    w->since_us = 0;
    return CN_OK;
}

void cn_writer_done(cn_writer *w) {
    if (w->fd < 0)
        return;
    close(w->fd);
    pthread_mutex_destroy(&w->mutex);
    w->fd = -1;
}

/* An open file description's lock: threads do not share it by accident, and it goes with the process. */
static int try_file(int fd, short type) {
    struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};
    return fcntl(fd, F_OFD_SETLK, &l) == 0 ? 0 : errno;
}

/* The lock's first byte is only locked; from the second on stand pid and time of whoever has it. */
static void sign(int fd) {
    char text[64];
    int n = snprintf(text, sizeof text, " %ld %lld\n", (long)getpid(), (long long)cn_wall_us());
    if (n > 0 && pwrite(fd, text, (size_t)n, 0) != n)
        cn_log(CN_LOG_DEBUG, "writer.unsigned", "the writer's pid could not be noted");
}

static void describe_other(int fd, char *text, size_t size) {
    char line[64];
    ssize_t n = pread(fd, line, sizeof line - 1, 0);
    line[n > 0 ? n : 0] = 0;
    char *end = line;
    long pid = strtol(line, &end, 10);
    long long since = end == line ? 0 : strtoll(end, NULL, 10);
    if (pid <= 0 || since <= 0)
        snprintf(text, size, "another process");
    else
        snprintf(text, size, "another process (pid %ld), for %.1f s", pid, (double)(cn_wall_us() - since) / 1e6);
}

static void describe_self(const cn_writer *w, char *text, size_t size) {
    int64_t since = w->since_us;
    double age = since ? (double)(cn_wall_us() - since) / 1e6 : 0;
    snprintf(text, size, "another thread of this process (pid %ld), for %.1f s", (long)getpid(), age);
}

static uint64_t ms_since(uint64_t start_ns) { return (cn_mono_ns() - start_ns) / 1000000; }

typedef struct wait {
    uint64_t start_ns, most_ms;
    bool logged;
    unsigned us; /* the next pause */
} wait_t;

/* After a failed try: pauses a little, or gives up. */
static cn_err pause_or_fail(wait_t *wait, const char *path, const char *holder) {
    uint64_t ms = ms_since(wait->start_ns);
    if (ms >= wait->most_ms)
        return cn_fail(CN_OVERLOADED, "%s has been held for writing by %s; waited %.1f s; end or continue that one, then try again", path, holder, (double)ms / 1e3);
    if (ms >= LOG_AFTER_MS && !wait->logged) {
        cn_log(CN_LOG_WARN, "writer.wait", "%s is held for writing by %s", path, holder);
        wait->logged = true;
    }
    usleep(wait->us);
    if (wait->us < 2000)
        wait->us *= 2;
    return CN_OK;
}

static cn_err lock_mutex(cn_writer *w, const char *path, wait_t *wait) {
    char holder[96];
    while (pthread_mutex_trylock(&w->mutex) != 0) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += wait->most_ms > 0; /* woken at once when it is let go; else look at the clock once a second */
        if (pthread_mutex_timedlock(&w->mutex, &until) == 0)
            return CN_OK;
        describe_self(w, holder, sizeof holder);
        CN_TRY(pause_or_fail(wait, path, holder));
    }
    return CN_OK;
}

cn_err cn_writer_lock(cn_writer *w, const char *path, uint64_t most_ms) {
    wait_t wait = {.start_ns = cn_mono_ns(), .most_ms = most_ms, .us = 50};
    char holder[96];
    CN_TRY(lock_mutex(w, path, &wait));
    for (int rc; (rc = try_file(w->fd, F_WRLCK)) != 0;) {
        cn_err e = CN_OK;
        if (rc != EAGAIN && rc != EACCES && rc != EINTR)
            e = cn_fail_errno(rc, "locking %s for writing", path);
        describe_other(w->fd, holder, sizeof holder);
        if (e == CN_OK)
            e = pause_or_fail(&wait, path, holder);
        if (e != CN_OK) {
            pthread_mutex_unlock(&w->mutex);
            return e;
        }
    }
    w->since_us = cn_wall_us();
    sign(w->fd);
    return CN_OK;
}

void cn_writer_unlock(cn_writer *w) {
    w->since_us = 0;
    CN_ASSERT(try_file(w->fd, F_UNLCK) == 0);
    pthread_mutex_unlock(&w->mutex);
}
