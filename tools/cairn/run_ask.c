/* run_ask.c -- query (one, or a file of them), ingest, mode: methods whose call or exit code needs more than a row. */
#include <errno.h>
#include <malloc.h>
#include <stdlib.h>

#include "engine/base/json.h"
#include "engine/base/mem.h"
#include "tools/cairn/local.h"

#define LINE_MAX_BYTES ((size_t)16 << 20)
#define BATCH 64

static int print_one(const cmd *c, cn_err err, const cn_buf *out) { return err == CN_OK ? cmd_print(c, cn_buf_str(out)) : cmd_fail(err); }

/* ---------- query ---------- */
/* A line is a JSON map of the RPC's fields, or plain text. */
static cn_err line_to_query(cn_str text, cn_buf *out) {
    if (text.n && text.p[0] == '{')
        return cn_json_parse(text, out);
    cn_pack_map(out, 1);
    cn_pack_cstr(out, "text");
    cn_pack_str(out, text);
    return CN_OK;
}

typedef struct batch {
    const cmd *c;
    const msgpack_object *common; /* the options, for every query */
    const char *path;
    unsigned long lines[BATCH]; /* where each stood */
    cn_buf queries;
    uint32_t n;
    int code;
} batch;

static void pack_batch(const batch *b, cn_buf *params) {
    const msgpack_object *m = b->common;
    cn_pack_map(params, m->via.map.size + 1);
    for (uint32_t i = 0; i < m->via.map.size; i++) {
        cn_pack_object(params, &m->via.map.ptr[i].key);
        cn_pack_object(params, &m->via.map.ptr[i].val);
    }
    cn_pack_cstr(params, "queries");
    cn_pack_array(params, b->n);
    cn_buf_add(params, b->queries.p, b->queries.n);
}

/* One that failed is told on standard error with its line; in JSON it has its place among the others. */
static cn_err print_result(batch *b, unsigned long line, const msgpack_object *result) {
    CN_AUTO_BUF cn_buf one = {0};
    cn_str why = cn_obj_str(cn_get(result, "error"));
    if (why.n)
        b->code = EXIT_FAILED;
    if (why.n && cmd_the_env.out != OUT_JSON) {
        fflush(stdout);
        fprintf(stderr, "cairn: %s:%lu: " CN_STR_FMT "\n", b->path, line, CN_STR_ARG(why));
        return CN_OK;
    }
    cn_buf_init(&one, LINE_MAX_BYTES * 4);
    cn_pack_object(&one, result);
    CN_TRY(cn_buf_check(&one));
    if (cmd_the_env.out == OUT_TABLE)
        printf("%s:%lu\n", b->path, line);
    int code = cmd_print(b->c, cn_buf_str(&one));
    b->code = code ? code : b->code;
    return CN_OK;
}

static cn_err print_batch(batch *b, uint32_t n, cn_str result) {
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    CN_TRY(cn_unpack(&u, result.p, result.n));
    const msgpack_object *results;
    CN_TRY(cmd_results(&u.o, n, &results));
    for (uint32_t i = 0; i < n; i++)
        CN_TRY(print_result(b, b->lines[i], &results[i]));
    return CN_OK;
}

static cn_err send_batch(batch *b) {
    CN_AUTO_BUF cn_buf params = {0};
    CN_AUTO_BUF cn_buf out = {0};
    cn_buf_init(&params, LINE_MAX_BYTES * BATCH);
    if (b->n == 0)
        return CN_OK;
    pack_batch(b, &params);
    CN_TRY(cn_buf_check(&params));
    CN_TRY(cmd_call_method("query_batch", cn_buf_str(&params), &out));
    uint32_t n = b->n;
    cn_buf_reset(&b->queries);
    b->n = 0;
    return print_batch(b, n, cn_buf_str(&out));
}

static cn_err read_batch(batch *b, FILE *f) {
    CN_CLEANUP(cn_free_p) char *line = NULL;
    size_t room = 0;
    ssize_t n;
    for (unsigned long number = 1; (n = getline(&line, &room, f)) >= 0; number++) {
        while (n && (line[n - 1] == '\n' || line[n - 1] == '\r'))
            n--;
        if (n == 0)
            continue;
        cn_err err = line_to_query((cn_str){line, (size_t)n}, &b->queries);
        if (err != CN_OK)
            return cn_wrap(err, "%s:%lu", b->path, number);
        b->lines[b->n] = number;
        if (++b->n == BATCH)
            CN_TRY(send_batch(b));
    }
    return ferror(f) ? cn_fail_errno(errno, "cannot read %s", b->path) : send_batch(b);
}

static int query_file(const cmd *c, cmd_call *call, const char *path) {
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
    if (!f)
        return cmd_fail(cn_fail_errno(errno, "cannot open %s", path));
    batch b = {.c = c, .path = path};
    cn_buf_init(&b.queries, LINE_MAX_BYTES * BATCH);
    cn_err err = cn_unpack(&u, call->params.p, call->params.n);
    b.common = &u.o;
    if (err == CN_OK)
        err = read_batch(&b, f);
    cn_buf_done(&b.queries);
    if (f != stdin)
        fclose(f);
    return err == CN_OK ? b.code : cmd_fail(err);
}

int run_query(const cmd *c, cmd_call *call) {
    CN_AUTO_BUF cn_buf out = {0};
    const char *file = cmd_value(c, call, "--batch");
    if (file)
        return query_file(c, call, file);
    if (!call->words[1]) {
        fprintf(stderr, "cairn: TEXT is missing: what do you ask? (or --batch FILE)\n");
        return EXIT_USAGE;
    }
    return print_one(c, cmd_call_method("query", cn_buf_str(&call->params), &out), &out);
}

/* ---------- ingest ---------- */
/* The exit code says what became of the version: 5 sealed but not activated, 6 some documents were rejected. */
int cmd_code_of_job(const cmd_call *call, cn_str result) {
    CN_AUTO_UNPACKED cn_unpacked r = {0};
    CN_AUTO_UNPACKED cn_unpacked p = {0};
    uint64_t rejected = 0;
    bool strict = false;
    if (cn_unpack(&r, result.p, result.n) != CN_OK || cn_unpack(&p, call->params.p, call->params.n) != CN_OK)
        return EXIT_FAILED;
    cn_str state = cn_obj_str(cn_get(&r.o, "state"));
    cn_get_uint(cn_get(&r.o, "counts"), "rejected", 0, UINT64_MAX, &rejected);
    cn_get_bool(&p.o, "strict_input", &strict);
    if (cn_str_is(state, "guarded") || cn_str_is(state, "held"))
        return EXIT_REFUSED;
    if (cn_str_is(state, "failed") || cn_str_is(state, "cancelled"))
        return EXIT_FAILED;
    return strict && rejected ? EXIT_REJECTED : 0;
}

/* Pages that a transaction is done with are kept for the next one rather than given back and faulted in again: a third of a
 * job's system time. */
static void keep_freed_pages(void) {
    mallopt(M_MMAP_THRESHOLD, 32 << 20);
    mallopt(M_TRIM_THRESHOLD, 256 << 20);
}

cn_err cmd_call_job(const char *method, cn_str params, cn_buf *out) {
    keep_freed_pages();
    return cmd_call_method(method, params, out);
}

int run_ingest(const cmd *c, cmd_call *call) {
    CN_AUTO_BUF cn_buf out = {0};
    cn_err err = cmd_call_job(c->method, cn_buf_str(&call->params), &out);
    int code = print_one(c, err, &out);
    return code ? code : cmd_code_of_job(call, cn_buf_str(&out));
}

/* ---------- mode ---------- */
int run_mode(const cmd *c, cmd_call *call) {
    CN_AUTO_BUF cn_buf out = {0};
    bool host = cmd_value(c, call, "--host"), set = call->words[1];
    const char *method = host ? (set ? "modes.set_host" : "modes.show_host") : set ? c->method : "modes.show";
    return print_one(c, cmd_call_method(method, cn_buf_str(&call->params), &out), &out);
}
