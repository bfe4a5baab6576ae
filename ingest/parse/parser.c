#include <pthread.h>
#include <stdlib.h>

#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "engine/base/utf8.h"
#include "ingest/parse/child.h"
#include "ingest/parse/out.h"
#include "ingest/parse/worker.h"

typedef struct worker {
    cn_child child;
    bool busy;   /* under the parser's lock; the child belongs to who set it */
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
void cn_parser_free(cn_parser *p) {
    if (!p)
        return;
    for (unsigned i = 0; i < p->n; i++)
        if (p->workers[i].child.pid)
            cn_child_end(&p->workers[i].child);
    pthread_cond_destroy(&p->free);
    pthread_mutex_destroy(&p->lock);
    cn_free(p);
}

static cn_err send_request(worker *w, cn_format f, cn_str bytes, uint64_t until) {
    cn_worker_request q = {.n = bytes.n, .format = f};
    CN_TRY(cn_child_send(&w->child, &q, sizeof q, until));
    return cn_child_send(&w->child, bytes.p, bytes.n, until);
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
        CN_TRY(cn_child_take(&w->child, part, step, until));
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
    CN_TRY(cn_child_take(&w->child, &h, sizeof h, until));
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

/* *ret_died: the worker is gone, and time is not why. */
static cn_err ask_once(cn_parser *p, worker *w, cn_format f, cn_str bytes, cn_arena *a, cn_parsed *ret, bool *ret_died) {
    uint64_t until = cn_mono_ns() + p->limit_ns;
    cn_err verdict = CN_INTERNAL;
    if (!w->child.pid)
        CN_TRY(cn_child_start(CN_WORKER_ARG, &w->child));
    cn_err e = send_request(w, f, bytes, until);
    if (e == CN_OK || e == CN_UNAVAILABLE) { /* it may have answered without reading all */
        cn_err got = take_answer(w, until, a, ret, &verdict);
        if (got == CN_OK && e != CN_OK)
            cn_child_end(&w->child);
        e = got;
    }
    *ret_died = e == CN_UNAVAILABLE;
    return e == CN_OK ? verdict : cn_child_explain(e, cn_child_bury(&w->child, e), "parser", "parsing", p->limit_ns);
}

/* What a worker was left with by documents before must not cost this one: one that ran already gets a second try, fresh. */
static cn_err ask(cn_parser *p, worker *w, cn_format f, cn_str bytes, cn_arena *a, cn_parsed *ret) {
    bool used = w->child.pid != 0, died = false;
    cn_err e = ask_once(p, w, f, bytes, a, ret, &died);
    return used && died ? ask_once(p, w, f, bytes, a, ret, &died) : e;
}

static worker *free_worker(cn_parser *p) {
    worker *found = NULL;
    pthread_mutex_lock(&p->lock);
    while (!found) {
        for (unsigned i = 0; i < p->n; i++)
            if (!p->workers[i].busy && (!found || p->workers[i].child.pid)) /* one that runs already, if there is any */
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
