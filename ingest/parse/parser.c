#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "engine/base/sanitize.h"
#include "engine/base/utf8.h"
#include "ingest/parse/out.h"
#include "ingest/parse/worker.h"

typedef struct worker {
    pid_t pid;   /* 0: not started, or dead */
    int fd;
    bool busy;   /* under the parser's lock; the others belong to who set it */
} worker;

struct cn_parser {
    pthread_mutex_t lock;
    pthread_cond_t free;
    uint64_t limit_ns;
    unsigned n;
    worker workers[];
};

uint64_t cn_parse_limit_ns(void) {
    const char *text = getenv("CAIRN_PARSE_SECONDS");
    long s = text ? strtol(text, NULL, 10) : 0;
    return (s > 0 && s < CN_PARSE_SECONDS ? (uint64_t)s : CN_PARSE_SECONDS) * 1000000000u;
}

/* NAME=value as it stands in the environment. */
static char *entry_of(const char *name) {
    extern char **environ;
    size_t n = strlen(name);
    for (char **e = environ; e && *e; e++)
        if (strncmp(*e, name, n) == 0 && (*e)[n] == '=')
            return *e;
    return NULL;
}

char **cn_parse_environment(char *room[4]) {
    static const char *const names[] = {"PATH", "CAIRN_PARSE_SECONDS", "ASAN_OPTIONS"};
    unsigned n = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *entry = entry_of(names[i]);
        if (entry)
            room[n++] = entry;
    }
    room[n] = NULL;
    return room;
}

cn_err cn_parser_new(unsigned workers, cn_parser **ret) {
    unsigned n = workers ? workers : 1;
    cn_parser *p = cn_calloc(1, sizeof *p + n * sizeof(worker));
    if (!p)
        return cn_fail_memory();
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->free, NULL);
    p->limit_ns = cn_parse_limit_ns();
    p->n = n;
    *ret = p;
    return CN_OK;
}

/* --- one worker --- */
static int end_worker(worker *w) {
    int status = 0;
    close(w->fd);
    kill(w->pid, SIGKILL);
    while (waitpid(w->pid, &status, 0) < 0 && errno == EINTR)
        ;
    w->pid = 0;
    return status;
}

void cn_parser_free(cn_parser *p) {
    if (!p)
        return;
    for (unsigned i = 0; i < p->n; i++)
        if (p->workers[i].pid)
            end_worker(&p->workers[i]);
    pthread_cond_destroy(&p->free);
    pthread_mutex_destroy(&p->lock);
    cn_free(p);
}

static cn_err start_worker(worker *w) {
    int pair[2];
    union { const char *c[3]; char *p[3]; } argv = {.c = {"cairn-parse", CN_WORKER_ARG, NULL}};
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        return cn_fail_errno(errno, "a socket to a parser");
    int theirs = pair[1];
    if (theirs == CN_WORKER_FD && (theirs = fcntl(pair[1], F_DUPFD_CLOEXEC, CN_WORKER_FD + 1)) >= 0)
        close(pair[1]); /* dup2 onto itself would leave close-on-exec set */
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, theirs, CN_WORKER_FD);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    if (!CN_SANITIZED) /* what it says there is a sanitizer's finding, or nothing */
        posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
    pid_t pid;
    char *room[4];
    int e = posix_spawn(&pid, "/proc/self/exe", &actions, NULL, argv.p, cn_parse_environment(room));
    posix_spawn_file_actions_destroy(&actions);
    close(theirs);
    if (e != 0) {
        close(pair[0]);
        return cn_fail_errno(e, "starting a parser");
    }
    fcntl(pair[0], F_SETFL, O_NONBLOCK);
    w->pid = pid;
    w->fd = pair[0];
    return CN_OK;
}

/* CN_DEADLINE, or CN_UNAVAILABLE: the worker is gone. */
static cn_err wait_for(worker *w, short events, uint64_t until) {
    uint64_t now = cn_mono_ns();
    if (now >= until)
        return CN_DEADLINE;
    struct pollfd f = {.fd = w->fd, .events = events};
    int got = poll(&f, 1, (int)((until - now) / 1000000) + 1);
    return got > 0 || (got < 0 && errno == EINTR) ? CN_OK : got == 0 ? CN_DEADLINE : CN_UNAVAILABLE;
}

static cn_err move(worker *w, void *p, size_t n, bool out, uint64_t until) {
    char *at = p;
    while (n) {
        ssize_t did = out ? send(w->fd, at, n, MSG_NOSIGNAL) : recv(w->fd, at, n, 0);
        if (did > 0) {
            at += did;
            n -= (size_t)did;
        } else if (did < 0 && (errno == EAGAIN || errno == EINTR)) {
            CN_TRY(wait_for(w, out ? POLLOUT : POLLIN, until));
        } else {
            return CN_UNAVAILABLE;
        }
    }
    return CN_OK;
}

static cn_err send_request(worker *w, cn_format f, cn_str bytes, uint64_t until) {
    cn_worker_request q = {.n = bytes.n, .format = f};
    union { const char *c; char *p; } body = {.c = bytes.p};
    CN_TRY(move(w, &q, sizeof q, true, until));
    return move(w, body.p, bytes.n, true, until);
}

/* --- the answer, not trusted --- */
static bool blocks_ok(const cn_parsed *d) {
    uint64_t at = 0;
    for (uint32_t i = 0; i < d->n_blocks; i++) {
        const cn_block *b = &d->blocks[i];
        if (b->from < at || b->to <= b->from || b->to > d->text.n || b->kind > CN_BLOCK_QUOTE || b->level > 6)
            return false;
        if (((uint8_t)d->text.p[b->from] & 0xc0) == 0x80 || (b->to < d->text.n && ((uint8_t)d->text.p[b->to] & 0xc0) == 0x80))
            return false;
        at = b->to;
    }
    return true;
}

static cn_err take_str(worker *w, uint64_t n, uint64_t until, cn_arena *a, cn_str *ret) {
    CN_AUTO_BUF cn_buf got;
    char part[65536];
    cn_buf_init(&got, CN_TEXT_MAX + 1);
    for (uint64_t left = n, step; left; left -= step) { /* room for what came, not for what was claimed */
        step = left < sizeof part ? left : sizeof part;
        CN_TRY(move(w, part, step, false, until));
        cn_buf_add(&got, part, step);
        CN_TRY(cn_buf_check(&got));
    }
    *ret = cn_arena_str(a, cn_buf_str(&got));
    return ret->p ? CN_OK : cn_fail_memory();
}

/* *ret_verdict: what the worker said of the document; CN_OVERLOADED, CN_UNAVAILABLE, CN_DEADLINE: none was had. */
static cn_err take_answer(worker *w, uint64_t until, cn_arena *a, cn_parsed *ret, cn_err *ret_verdict) {
    cn_worker_answer h;
    cn_parsed d = {0};
    CN_TRY(move(w, &h, sizeof h, false, until));
    if (h.text > CN_TEXT_MAX || h.title > 1 << 20 || h.front > 1 << 20 || h.n_blocks > CN_BLOCKS_MAX || (h.err && h.text > CN_ERROR_TEXT))
        return CN_UNAVAILABLE;
    CN_TRY(take_str(w, h.text, until, a, &d.text));
    if (h.err) {
        *ret_verdict = cn_fail(h.err == CN_UNAVAILABLE ? CN_UNAVAILABLE : CN_INVALID, "%s", d.text.p);
        return CN_OK;
    }
    CN_TRY(take_str(w, h.title, until, a, &d.title));
    CN_TRY(take_str(w, h.front, until, a, &d.front));
    cn_str blocks;
    CN_TRY(take_str(w, (uint64_t)h.n_blocks * sizeof *d.blocks, until, a, &blocks));
    d.blocks = (const cn_block *)(const void *)blocks.p;
    d.n_blocks = h.n_blocks;
    if (!cn_utf8_ok(d.text) || !cn_utf8_ok(d.title) || !cn_utf8_ok(d.front) || memchr(d.text.p, 0, d.text.n) || !blocks_ok(&d))
        return CN_UNAVAILABLE;
    *ret = d;
    *ret_verdict = CN_OK;
    return CN_OK;
}

static cn_err explain_death(cn_parser *p, cn_err e, int status) {
    if (e == CN_OVERLOADED)
        return e;
    if (e == CN_DEADLINE || (WIFSIGNALED(status) && WTERMSIG(status) == SIGXCPU))
        return cn_fail(CN_DEADLINE, "parsing it takes over %llu s", (unsigned long long)(p->limit_ns / 1000000000u));
    if (WIFEXITED(status) && WEXITSTATUS(status) == 3)
        return cn_fail(CN_UNAVAILABLE, "a parser could not lock itself in: this system allows no seccomp filter");
    if (WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL)
        return cn_fail(CN_INVALID, "its parser crashed on it (signal %d)", WTERMSIG(status));
    return cn_fail(CN_INVALID, "its parser gave no sound answer");
}

/* Waits a moment for a worker that is already dying, so that its own signal is seen and not ours. */
static int bury(worker *w, cn_err e) {
    int status;
    for (int i = 0; e == CN_UNAVAILABLE && i < 100; i++) {
        if (waitpid(w->pid, &status, WNOHANG) == w->pid) {
            close(w->fd);
            w->pid = 0;
            return status;
        }
        usleep(2000);
    }
    return end_worker(w);
}

/* *ret_died: the worker is gone, and time is not why. */
static cn_err ask_once(cn_parser *p, worker *w, cn_format f, cn_str bytes, cn_arena *a, cn_parsed *ret, bool *ret_died) {
    uint64_t until = cn_mono_ns() + p->limit_ns;
    cn_err verdict = CN_INTERNAL;
    if (!w->pid)
        CN_TRY(start_worker(w));
    cn_err e = send_request(w, f, bytes, until);
    if (e == CN_OK || e == CN_UNAVAILABLE) { /* it may have answered without reading all */
        cn_err got = take_answer(w, until, a, ret, &verdict);
        if (got == CN_OK && e != CN_OK)
            end_worker(w);
        e = got;
    }
    *ret_died = e == CN_UNAVAILABLE;
    return e == CN_OK ? verdict : explain_death(p, e, bury(w, e));
}

/* What a worker was left with by documents before must not cost this one: one that ran already gets a second try, fresh. */
static cn_err ask(cn_parser *p, worker *w, cn_format f, cn_str bytes, cn_arena *a, cn_parsed *ret) {
    bool used = w->pid != 0, died = false;
    cn_err e = ask_once(p, w, f, bytes, a, ret, &died);
    return used && died ? ask_once(p, w, f, bytes, a, ret, &died) : e;
}

static worker *free_worker(cn_parser *p) {
    worker *found = NULL;
    pthread_mutex_lock(&p->lock);
    while (!found) {
        for (unsigned i = 0; i < p->n; i++)
            if (!p->workers[i].busy && (!found || p->workers[i].pid)) /* one that runs already, if there is any */
                found = &p->workers[i];
        if (!found)
            pthread_cond_wait(&p->free, &p->lock);
    }
    found->busy = true;
    pthread_mutex_unlock(&p->lock);
    return found;
}

cn_err cn_parse(cn_parser *p, cn_format f, cn_str bytes, cn_arena *a, cn_parsed *ret) {
    if (bytes.n == 0 || bytes.n > CN_PARSE_BYTES_MAX || f == CN_FMT_PDF || (f == CN_FMT_TEXT && cn_utf8_ok(bytes)))
        return cn_parse_here(f, bytes, a, ret); /* PDF has a process of its own; such text meets no foreign code */
    worker *w = free_worker(p);
    cn_err e = ask(p, w, f, bytes, a, ret);
    pthread_mutex_lock(&p->lock);
    w->busy = false;
    pthread_cond_signal(&p->free);
    pthread_mutex_unlock(&p->lock);
    return e;
}
