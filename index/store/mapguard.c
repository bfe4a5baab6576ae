#include "index/store/mapguard.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/base/mem.h"

/* The handler walks the list without a lock, so a guard is never freed: one that is done waits for the next map. */
struct cn_map_guard {
    cn_map_guard *next;
    _Atomic uintptr_t from, to; /* from 0: free */
    _Atomic bool torn;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic(cn_map_guard *) guards;
static _Atomic bool any;
static bool installed;
static size_t page;

static _Thread_local _Atomic bool *expecting;

static bool is_in(const cn_map_guard *g, uintptr_t at) { return g->from && at >= g->from && at < g->to; }

static bool is_watched(uintptr_t at) {
    for (cn_map_guard *g = guards; g; g = g->next)
        if (is_in(g, at))
            return true;
    return false;
}

/* Maps may be watched in whole and in part: the flag of each goes up. */
static void tear(uintptr_t at) {
    bool found = false;
    for (cn_map_guard *g = guards; g; g = g->next)
        if (is_in(g, at))
            g->torn = found = true;
    if (!found && expecting)
        *expecting = true;
    any = true;
}

/* The read is tried again, and ends the process: with a word of why. */
static void give_up(int sig, bool sent) {
    static const char why[] = "cairn: SIGBUS: a file that this program has mapped was cut short or cannot be read, and none of those that it can go on without "
                              "(a lock file, a model's weights); `cairn doctor` looks for what is damaged: restore it from a backup, then start the program anew\n";
    if (!sent && write(STDERR_FILENO, why, sizeof why - 1) < 0)
        sent = false;
    signal(sig, SIG_DFL);
    if (sent)
        raise(sig); /* a program sent it: there is no read */
}

/* Zeros in the place of a page. An environment that is being opened also writes to its map: to that of its lock file.
 * mmap() is a plain system call here, and safe in a handler. */
static bool put_zeros(char *at) {
    int protection = PROT_READ | (is_watched((uintptr_t)at) ? 0 : PROT_WRITE);
    char *from = at - ((uintptr_t)at & (page - 1));
    return mmap(from, page, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED;
}

static void on_sigbus(int sig, siginfo_t *info, void *context) {
    (void)context;
    uintptr_t at = (uintptr_t)info->si_addr;
    bool sent = info->si_code <= 0;
    if (sent || (!is_watched(at) && !expecting) || !put_zeros(info->si_addr))
        give_up(sig, sent);
    else
        tear(at);
}

static void install(void) {
    struct sigaction a = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_RESTART};
    if (installed)
        return;
    page = (size_t)sysconf(_SC_PAGESIZE);
    sigemptyset(&a.sa_mask);
    installed = sigaction(SIGBUS, &a, NULL) == 0;
}

static cn_map_guard *free_guard(void) {
    cn_map_guard *g = guards;
    while (g && g->from)
        g = g->next;
    if (g)
        return g;
    g = cn_calloc(1, sizeof *g);
    if (g) {
        g->next = guards;
        guards = g;
    }
    return g;
}

cn_map_guard *cn_map_watch(const void *p, size_t n) {
    pthread_mutex_lock(&lock);
    install();
    cn_map_guard *g = free_guard();
    if (g) {
        g->torn = false;
        g->to = (uintptr_t)p + n;
        g->from = (uintptr_t)p;
    }
    pthread_mutex_unlock(&lock);
    return g;
}

void cn_map_unwatch(cn_map_guard *g) {
    if (!g)
        return;
    pthread_mutex_lock(&lock);
    g->from = 0;
    pthread_mutex_unlock(&lock);
}

void cn_map_tear(const void *p) {
    for (cn_map_guard *g = guards; g; g = g->next)
        if (is_in(g, (uintptr_t)p))
            g->torn = any = true;
}

void cn_map_expect(_Atomic bool *torn) {
    if (torn) {
        pthread_mutex_lock(&lock);
        install();
        pthread_mutex_unlock(&lock);
    }
    expecting = torn;
}

bool cn_map_torn(const cn_map_guard *g) { return g && g->torn; }
bool cn_map_torn_any(void) { return any; }
