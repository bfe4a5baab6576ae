/* The worker's side: reads a request, parses, answers, again; ends when its socket does. */
#include "ingest/parse/worker.h"

#include <errno.h>
#include <libxml/parser.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <signal.h>
#include <unistd.h>

#include "engine/base/mem.h"
#include "ingest/parse/charset.h"

#define PARSE_ROOM ((size_t)448 << 20)

bool cn_worker_read(void *to, size_t n) {
    char *p = to;
    while (n) {
        ssize_t got = read(CN_WORKER_FD, p, n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        p += got;
        n -= (size_t)got;
    }
    return true;
}

bool cn_worker_write(const void *from, size_t n) {
    const char *p = from;
    while (n) {
        ssize_t put = write(CN_WORKER_FD, p, n);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return false;
        p += put;
        n -= (size_t)put;
    }
    return true;
}

static bool answer_error(cn_err e) {
    const char *why = e == CN_OVERLOADED ? "it needs more memory than a parser may have (512 MiB); split it" : cn_error_detail();
    cn_worker_answer a = {.err = e == CN_OVERLOADED ? CN_INVALID : e, .text = strlen(why)};
    return cn_worker_write(&a, sizeof a) && cn_worker_write(why, a.text);
}

static bool answer_parsed(const cn_parsed *d) {
    cn_worker_answer a = {.text = d->text.n, .title = d->title.n, .front = d->front.n, .n_blocks = d->n_blocks};
    return cn_worker_write(&a, sizeof a) && cn_worker_write(d->text.p, d->text.n) && cn_worker_write(d->title.p, d->title.n) &&
           cn_worker_write(d->front.p, d->front.n) && cn_worker_write(d->blocks, d->n_blocks * sizeof *d->blocks);
}

/* The parent's clock comes first, unless the parent is gone. */
void cn_worker_more_time(void) {
    struct rusage u;
    struct rlimit r;
    if (getrusage(RUSAGE_SELF, &u) == 0 && getrlimit(RLIMIT_CPU, &r) == 0) {
        r.rlim_cur = (rlim_t)u.ru_utime.tv_sec + (rlim_t)u.ru_stime.tv_sec + CN_PARSE_SECONDS + 5;
        setrlimit(RLIMIT_CPU, &r);
    }
}

static bool serve_one(cn_arena *a) {
    cn_worker_request q;
    cn_parsed d;
    if (!cn_worker_read(&q, sizeof q) || q.n > CN_PARSE_BYTES_MAX)
        return false;
    char *bytes = q.n < PARSE_ROOM ? cn_alloc(q.n + 1) : NULL;
    if (!bytes) { /* the bytes that were not read go with this process */
        cn_fail_memory();
        answer_error(CN_OVERLOADED);
        return false;
    }
    bool ok = cn_worker_read(bytes, q.n);
    if (ok) {
        cn_worker_more_time();
        cn_err e = cn_parse_here((cn_format)q.format, (cn_str){bytes, q.n}, a, &d);
        ok = e == CN_OK ? answer_parsed(&d) : answer_error(e);
    }
    cn_free(bytes);
    cn_arena_reset(a);
    return ok;
}

static void enter(void) {
    signal(SIGPIPE, SIG_IGN);
    signal(SIGINT, SIG_IGN); /* the parent decides when a Ctrl-C ends its workers */
    /* No PR_SET_PDEATHSIG: it would end this process with the thread that began it, while another thread uses it. When the
     * parent is gone the socket ends, and a document under way has only the processor time given to it. */
    close_range(CN_WORKER_FD + 1, ~0u, 0);
}

static void lock_in(void) {
    if (cn_confine() != 0)
        _exit(3);
}

static void parse_there(void) {
    cn_arena a;
    cn_charset_prepare();
    xmlInitParser();
    lock_in();
    cn_arena_init(&a, 1 << 18, PARSE_ROOM);
    while (serve_one(&a))
        ;
}

void cn_parse_worker_main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], CN_PDF_ARG) == 0)
        cn_pdf_child();
    bool unpack = argc == 2 && strcmp(argv[1], CN_UNPACK_ARG) == 0;
    if (!unpack && (argc != 2 || strcmp(argv[1], CN_WORKER_ARG) != 0))
        return;
    enter();
    if (unpack) {
        lock_in();
        cn_unpack_there();
    } else {
        parse_there();
    }
    _exit(0);
}
