#include "index/store/mapguard.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/base/mem.h"
#include "index/store/env.h"

/* The handler walks the list without a lock, so a guard is never freed: one that is done waits for the next map. */
struct cn_map_guard {
    cn_map_guard *next;
    _Atomic uintptr_t from, to; /* from 0: free */
    _Atomic bool torn, written;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic(cn_map_guard *) guards;
static _Atomic bool any;
static bool installed;
static size_t page;

static _Thread_local _Atomic bool *expecting;
static _Thread_local const char *letting_go; /* of a mutex in this path's lock file */
static struct sigaction before_segv;

static bool is_in(const cn_map_guard *g, uintptr_t at) { return g->from && at >= g->from && at < g->to; }

static const cn_map_guard *watching(uintptr_t at) {
    for (const cn_map_guard *g = guards; g; g = g->next)
        if (is_in(g, at))
            return g;
    return NULL;
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

static void say(const char *text) {
    ssize_t said = write(STDERR_FILENO, text, strlen(text));
    (void)said;
}

/* Another program sent it (then it does what it always does), or a page is lost that nothing can stand for. */
static void give_up(int sig, bool sent) {
    static const char why[] = "cairn: SIGBUS: a file that this program has mapped was cut short or cannot be read, and none of those that it can go on without; "
                              "`cairn doctor` looks for what is damaged: restore it from a backup, then start the program anew\n";
    if (!sent) {
        say(why);
        _exit(CN_EXIT_LOST);
    }
    signal(sig, SIG_DFL);
    raise(sig);
}

/* Zeros in the place of a page. An environment that is being opened also writes to a map: to that of its lock file.
 * mmap() is a plain system call here, and safe in a handler. */
static bool put_zeros(char *at) {
    const cn_map_guard *g = watching((uintptr_t)at);
    int protection = PROT_READ | (g && !g->written ? 0 : PROT_WRITE);
    char *from = at - ((uintptr_t)at & (page - 1));
    return mmap(from, page, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED;
}

static void on_sigbus(int sig, siginfo_t *info, void *context) {
    (void)context;
    uintptr_t at = (uintptr_t)info->si_addr;
    bool sent = info->si_code <= 0;
    if (sent || (!watching(at) && !expecting) || !put_zeros(info->si_addr))
        give_up(sig, sent);
    else
        tear(at);
}

/* Another one than that happens again, under whatever handled it before. */
static void on_sigsegv(int sig) {
    if (!letting_go) {
        sigaction(sig, &before_segv, NULL);
        return;
    }
    say("cairn: ");
    say(letting_go);
    say("-lock was cut short while this program wrote under it; the program ends here: start it anew. What was committed is there, and nothing has to come from a backup\n");
    _exit(CN_EXIT_LOST);
}

void cn_map_letting_go(const char *path) { letting_go = path; }

static void install(void) {
    struct sigaction a = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_RESTART}, segv = {.sa_handler = on_sigsegv};
    if (installed)
        return;
    page = (size_t)sysconf(_SC_PAGESIZE);
    sigemptyset(&a.sa_mask);
    sigemptyset(&segv.sa_mask);
    installed = sigaction(SIGBUS, &a, NULL) == 0 && sigaction(SIGSEGV, &segv, &before_segv) == 0;
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

static cn_map_guard *begin(const void *p, size_t n, bool written) {
    pthread_mutex_lock(&lock);
    install();
    cn_map_guard *g = free_guard();
    if (g) {
        g->torn = false;
        g->written = written;
        g->to = (uintptr_t)p + n;
        g->from = (uintptr_t)p;
    }
    pthread_mutex_unlock(&lock);
    return g;
}

cn_map_guard *cn_map_watch(const void *p, size_t n) { return begin(p, n, false); }
cn_map_guard *cn_map_watch_written(const void *p, size_t n) { return begin(p, n, true); }

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
