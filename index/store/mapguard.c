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

static cn_map_guard *guard_of(uintptr_t at) {
    for (cn_map_guard *g = guards; g; g = g->next)
        if (g->from && at >= g->from && at < g->to)
            return g;
    return NULL;
}

/* mmap() is a plain system call here, and safe in a handler. */
static void on_sigbus(int sig, siginfo_t *info, void *context) {
    (void)context;
    cn_map_guard *g = info->si_code > 0 ? guard_of((uintptr_t)info->si_addr) : NULL;
    uintptr_t at = (uintptr_t)info->si_addr & ~(uintptr_t)(page - 1);
    void *want = (char *)info->si_addr - ((uintptr_t)info->si_addr - at);
    if (!g || mmap(want, page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED) {
        signal(sig, SIG_DFL); /* the read is tried again, and ends the process */
        if (info->si_code <= 0)
            raise(sig);       /* a program sent it: there is no read */
        return;
    }
    g->torn = true;
    any = true;
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
        if (g->from && (uintptr_t)p >= g->from && (uintptr_t)p < g->to)
            g->torn = any = true;
}

bool cn_map_torn(const cn_map_guard *g) { return g && g->torn; }
bool cn_map_torn_any(void) { return any; }
