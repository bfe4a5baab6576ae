/* run_diff.c -- diff: documents and permissions that differ (the method's own answer), or, with --queries, how the answers of
 * two versions to a file of questions differ: what a person looks at before anyone flips. */
#include <stdlib.h>

#include "engine/base/arena.h"
#include "engine/base/mem.h"
#include "engine/base/utf8.h"
#include "tools/cairn/bench.h"
#include "tools/cairn/diff.h"

#define BATCH 16u
#define SHOWN 5u   /* questions, where --limit says nothing */
#define COLUMN 38  /* of a document's id in the table */
#define CALL_MAX ((size_t)1 << 30)

typedef struct hit {
    cn_str source, doc, title;
    double score;
} hit;

typedef struct answer {
    hit *v;
    uint32_t n;
} answer;

typedef struct compared {
    answer side[2];
    uint32_t shared;    /* documents that both have */
    bool first, order;  /* the same document stands first; all documents stand in the same places */
    uint32_t i;         /* which question */
} compared;

typedef struct compare {
    cn_arena a;
    cn_unpacked common;
    bench_questions asked;
    compared *v;
    uint32_t version[2], k, shown;
} compare;

/* ---------- asking ---------- */
static bool of_the_diff(cn_str field) { return cn_str_is(field, "from") || cn_str_is(field, "to") || cn_str_is(field, "limit"); }

/* Documents, not passages, are compared: another chunker cuts others. */
static cn_err pack_call(const compare *c, uint32_t version, uint32_t from, uint32_t to, cn_buf *out) {
    const msgpack_object_map *m = &c->common.o.via.map;
    uint32_t n = 4;
    size_t at = cn_pack_map_open(out);
    for (uint32_t i = 0; i < m->size; i++)
        if (!of_the_diff(cn_obj_str(&m->ptr[i].key)) && !cn_str_is(cn_obj_str(&m->ptr[i].key), "k")) {
            cn_pack_object(out, &m->ptr[i].key);
            cn_pack_object(out, &m->ptr[i].val);
            n++;
        }
    cn_pack_cstr(out, "version"), cn_pack_uint(out, version);
    cn_pack_cstr(out, "k"), cn_pack_uint(out, c->k);
    cn_pack_cstr(out, "per_doc"), cn_pack_uint(out, 1);
    cn_pack_cstr(out, "queries");
    cn_pack_array(out, to - from);
    cn_buf_add(out, c->asked.bytes.p + c->asked.at[from], c->asked.at[to] - c->asked.at[from]);
    cn_pack_map_close(out, at, n);
    return cn_buf_check(out);
}

static cn_err take_answer(compare *c, const msgpack_object *result, answer *ret) {
    const msgpack_object *hits;
    CN_TRY(cmd_hits(result, &hits));
    CN_TRY(cmd_as_asked(result));
    ret->n = hits->via.array.size;
    if (!(ret->v = cn_arena_zalloc(&c->a, ret->n + 1u, sizeof *ret->v)))
        return cn_fail_memory();
    for (uint32_t i = 0; i < ret->n; i++) {
        const msgpack_object *h = &hits->via.array.ptr[i];
        hit *to = &ret->v[i];
        to->source = cn_arena_str(&c->a, cn_obj_str(cn_get(h, "source")));
        to->doc = cn_arena_str(&c->a, cn_obj_str(cn_get(h, "doc")));
        to->title = cn_arena_str(&c->a, cn_obj_str(cn_get(h, "title")));
        cn_get_f64(h, "score", &to->score);
        if (!to->source.p || !to->doc.p || !to->title.p)
            return cn_fail_memory();
    }
    return CN_OK;
}

static cn_err ask_batch(compare *c, int side, uint32_t from) {
    CN_AUTO_BUF cn_buf params;
    CN_AUTO_BUF cn_buf out = {0};
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    uint32_t to = c->asked.n - from < BATCH ? c->asked.n : from + BATCH;
    cn_buf_init(&params, CALL_MAX);
    CN_TRY(pack_call(c, c->version[side], from, to, &params));
    CN_TRY(cmd_call_method("query_batch", cn_buf_str(&params), &out));
    CN_TRY(cn_unpack(&u, out.p, out.n));
    const msgpack_object *results;
    CN_TRY(cmd_results(&u.o, to - from, &results));
    for (uint32_t i = from; i < to; i++) {
        cn_err err = take_answer(c, &results[i - from], &c->v[i].side[side]);
        if (err != CN_OK)
            return cn_wrap(err, "question %u, version %u", i + 1, c->version[side]);
    }
    return CN_OK;
}

static cn_err ask_all(compare *c) {
    if (!(c->v = cn_arena_zalloc(&c->a, c->asked.n, sizeof *c->v)))
        return cn_fail_memory();
    cn_err err = CN_OK;
    for (uint32_t from = 0; err == CN_OK && from < c->asked.n; from += BATCH) {
        if (cmd_progress_wanted())
            fprintf(stderr, "\r\033[K%u of %u questions", from, c->asked.n);
        for (int side = 0; err == CN_OK && side < 2; side++)
            err = ask_batch(c, side, from);
    }
    if (cmd_progress_wanted())
        fputs("\r\033[K", stderr);
    return err;
}

/* ---------- comparing ---------- */
static bool same_doc(const hit *x, const hit *y) { return cn_str_eq(x->doc, y->doc) && cn_str_eq(x->source, y->source); }

/* Where the other answer has the document, from 1; 0: it has not. */
static uint32_t place_of(const hit *h, const answer *other) {
    for (uint32_t i = 0; i < other->n; i++)
        if (same_doc(h, &other->v[i]))
            return i + 1;
    return 0;
}

static void look(compared *q) {
    const answer *a = &q->side[0], *b = &q->side[1];
    q->order = a->n == b->n;
    for (uint32_t i = 0; i < a->n; i++) {
        uint32_t there = place_of(&a->v[i], b);
        q->shared += there > 0;
        q->order = q->order && there == i + 1;
    }
    q->first = a->n && b->n ? same_doc(&a->v[0], &b->v[0]) : a->n == b->n;
}

/* Of the longer answer, the part that both have; two empty ones are alike. */
static double overlap(const compared *q) {
    uint32_t n = q->side[0].n > q->side[1].n ? q->side[0].n : q->side[1].n;
    return n ? (double)q->shared / n : 1;
}

static int most_changed(const void *x, const void *y) {
    const compared *a = x, *b = y;
    double p = overlap(a), q = overlap(b);
    if (p != q)
        return (p > q) - (p < q);
    if (a->first != b->first)
        return a->first - b->first;
    return a->order != b->order ? a->order - b->order : (a->i > b->i) - (a->i < b->i);
}

typedef struct totals {
    uint32_t same, reordered, changed, first;
    double overlap;
} totals;

static totals count(const compare *c) {
    totals t = {0};
    for (uint32_t i = 0; i < c->asked.n; i++) {
        const compared *q = &c->v[i];
        bool all = overlap(q) == 1;
        t.same += q->order;
        t.reordered += all && !q->order;
        t.changed += !all;
        t.first += !q->first;
        t.overlap += overlap(q) / c->asked.n;
    }
    return t;
}

/* ---------- what comes out ---------- */
static void pack_answer(cn_buf *out, const char *name, const answer *a) {
    cn_pack_cstr(out, name);
    cn_pack_array(out, a->n);
    for (uint32_t i = 0; i < a->n; i++) {
        cn_pack_map(out, 4);
        cn_pack_cstr(out, "source"), cn_pack_str(out, a->v[i].source);
        cn_pack_cstr(out, "doc"), cn_pack_str(out, a->v[i].doc);
        cn_pack_cstr(out, "title"), cn_pack_str(out, a->v[i].title);
        cn_pack_cstr(out, "score"), cn_pack_f64(out, a->v[i].score);
    }
}

/* The question's text; nil for a vector. */
static cn_err text_of(const compare *c, const compared *q, cn_unpacked *u, const msgpack_object **ret) {
    CN_TRY(cn_unpack(u, c->asked.bytes.p + c->asked.at[q->i], c->asked.at[q->i + 1] - c->asked.at[q->i]));
    *ret = cn_get(&u->o, "text");
    return CN_OK;
}

static cn_err pack_question(const compare *c, const compared *q, cn_buf *out) {
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    const msgpack_object *text;
    CN_TRY(text_of(c, q, &u, &text));
    cn_pack_map(out, 5);
    cn_pack_cstr(out, "question"), cn_pack_uint(out, q->i + 1);
    cn_pack_cstr(out, "text"), text ? cn_pack_object(out, text) : cn_pack_nil(out);
    cn_pack_cstr(out, "overlap"), cn_pack_f64(out, overlap(q));
    pack_answer(out, "before", &q->side[0]);
    pack_answer(out, "after", &q->side[1]);
    return CN_OK;
}

/* Questions whose answers differ at all, the most changed first. */
static uint32_t listed(const compare *c) {
    uint32_t n = 0;
    while (n < c->asked.n && n < c->shown && !c->v[n].order)
        n++;
    return n;
}

static cn_err pack_result(const compare *c, const totals *t, cn_buf *out) {
    uint32_t n = listed(c);
    cn_pack_map(out, 9);
    cn_pack_cstr(out, "from"), cn_pack_uint(out, c->version[0]);
    cn_pack_cstr(out, "to"), cn_pack_uint(out, c->version[1]);
    cn_pack_cstr(out, "queries"), cn_pack_uint(out, c->asked.n);
    cn_pack_cstr(out, "same"), cn_pack_uint(out, t->same);
    cn_pack_cstr(out, "reordered"), cn_pack_uint(out, t->reordered);
    cn_pack_cstr(out, "changed"), cn_pack_uint(out, t->changed);
    cn_pack_cstr(out, "first_changed"), cn_pack_uint(out, t->first);
    cn_pack_cstr(out, "overlap"), cn_pack_f64(out, t->overlap);
    cn_pack_cstr(out, "most_changed");
    cn_pack_array(out, n);
    for (uint32_t i = 0; i < n; i++)
        CN_TRY(pack_question(c, &c->v[i], out));
    return cn_buf_check(out);
}

/* As many bytes as fit into the column, whole characters only; a wide one may stand over a little. Returns what is left of it. */
static int print_cell(const hit *h) {
    CN_AUTO_BUF cn_buf b;
    int shown = 0;
    cn_buf_init(&b, 4 * COLUMN);
    cmd_put_text(&b, (cn_str){h->doc.p, cn_utf8_cut(h->doc, COLUMN)});
    for (size_t i = 0; i < b.n; i++)
        shown += (b.p[i] & 0xc0) != 0x80;
    fwrite(b.p, 1, b.n, stdout);
    return COLUMN - shown;
}

static void print_row(const compared *q, uint32_t i) {
    const answer *a = &q->side[0], *b = &q->side[1];
    printf("%5u  ", i + 1);
    int left = i < a->n ? print_cell(&a->v[i]) : COLUMN;
    if (i < b->n) {
        uint32_t was = place_of(&b->v[i], a);
        printf("%*s", left + 2, "");
        left = print_cell(&b->v[i]);
        if (was != i + 1)
            was ? printf("%*swas %u", left + 2, "", was) : printf("%*snew", left + 2, "");
    }
    putchar('\n');
}

static cn_err print_question(const compare *c, const compared *q) {
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    const msgpack_object *text;
    uint32_t n = q->side[0].n > q->side[1].n ? q->side[0].n : q->side[1].n;
    CN_TRY(text_of(c, q, &u, &text));
    cn_str s = cn_obj_str(text);
    printf("\n%u of %u  ", q->shared, n);
    s.n ? printf("%.*s\n", (int)cn_utf8_cut(s, 100), s.p) : printf("question %u\n", q->i + 1);
    printf("       version %-*u  version %u\n", COLUMN - 8, c->version[0], c->version[1]);
    for (uint32_t i = 0; i < n; i++)
        print_row(q, i);
    return CN_OK;
}

static cn_err print_all(const compare *c, const totals *t) {
    uint32_t n = listed(c);
    printf("%u questions, the first %u documents of version %u beside those of version %u\n", c->asked.n, c->k, c->version[0], c->version[1]);
    printf("the same answer    %u\nin another order   %u\nother documents    %u\nanother first one  %u\nin both            %.1f %%\n", t->same, t->reordered, t->changed, t->first, 100 * t->overlap);
    for (uint32_t i = 0; i < n; i++)
        CN_TRY(print_question(c, &c->v[i]));
    return CN_OK;
}

static int report_table(const cmd *row, const compare *c, const totals *t, cn_str before) {
    int code = before.n ? cmd_print(row, before) : 0;
    if (code)
        return code;
    if (before.n)
        putchar('\n');
    cn_err err = print_all(c, t);
    return err == CN_OK ? 0 : cmd_fail(err);
}

static cn_err pack_all(const compare *c, const totals *t, cn_str before, cn_buf *out) {
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    if (!before.n)
        return pack_result(c, t, out);
    CN_TRY(cn_unpack(&u, before.p, before.n));
    cn_pack_map(out, u.o.via.map.size + 1u);
    for (uint32_t i = 0; i < u.o.via.map.size; i++) {
        cn_pack_object(out, &u.o.via.map.ptr[i].key);
        cn_pack_object(out, &u.o.via.map.ptr[i].val);
    }
    cn_pack_cstr(out, "compared");
    return pack_result(c, t, out);
}

static int report(const cmd *row, compare *c, cn_str before) {
    CN_AUTO_BUF cn_buf out;
    cn_buf_init(&out, CALL_MAX);
    totals t = count(c);
    qsort(c->v, c->asked.n, sizeof *c->v, most_changed);
    if (cmd_the_env.out == OUT_TABLE)
        return report_table(row, c, &t, before);
    cn_err err = pack_all(c, &t, before, &out);
    return err == CN_OK ? cmd_print(row, cn_buf_str(&out)) : cmd_fail(err);
}

/* ---------- the command ---------- */
static cn_err take_options(compare *c) {
    uint64_t from = 0, to = 0, k = 10, shown = cmd_the_env.out == OUT_TABLE ? SHOWN : 1000;
    CN_TRY(cn_get_uint(&c->common.o, "from", 1, UINT32_MAX, &from));
    CN_TRY(cn_get_uint(&c->common.o, "to", 1, UINT32_MAX, &to));
    CN_TRY(cn_get_uint(&c->common.o, "k", 1, 10000, &k));
    CN_TRY(cn_get_uint(&c->common.o, "limit", 0, UINT32_MAX, &shown));
    c->version[0] = (uint32_t)from, c->version[1] = (uint32_t)to;
    c->k = (uint32_t)k, c->shown = (uint32_t)shown;
    return CN_OK;
}

static cn_err ask_both(compare *c, cn_str params, const char *path) {
    CN_TRY(cn_unpack(&c->common, params.p, params.n));
    CN_TRY(take_options(c));
    CN_TRY(bench_questions_read(path, &c->asked));
    CN_TRY(ask_all(c));
    for (uint32_t i = 0; i < c->asked.n; i++) {
        c->v[i].i = i;
        look(&c->v[i]);
    }
    return CN_OK;
}

int diff_answers(const cmd *row, cn_str params, const char *path, cn_str before) {
    compare c = {0};
    cmd_the_env.no_trace = true;
    cn_arena_init(&c.a, 1 << 16, (size_t)8 << 30);
    cn_err err = ask_both(&c, params, path);
    int code = err == CN_OK ? report(row, &c, before) : cmd_fail(err);
    bench_questions_done(&c.asked);
    cn_unpacked_done(&c.common);
    cn_arena_done(&c.a);
    return code;
}

/* What belongs to asking, where nothing is asked. */
static cn_err only_the_diff(const cmd_call *call) {
    static const char *const fields[] = {"k", "filter", "mode", "fusion"}, *const names[] = {"-k", "--filter", "--mode", "--fusion"};
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    CN_TRY(cn_unpack(&u, call->params.p, call->params.n));
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (cn_get(&u.o, fields[i]))
            return cn_fail(CN_INVALID, "%s is for asking questions: give them with --queries FILE", names[i]);
    return CN_OK;
}

int run_diff(const cmd *c, cmd_call *call) {
    CN_AUTO_BUF cn_buf out = {0};
    const char *path = cmd_value(c, call, "--queries");
    if (path)
        return diff_answers(c, cn_buf_str(&call->params), path, (cn_str){0});
    cn_err err = only_the_diff(call);
    if (err != CN_OK)
        return cmd_usage(err);
    err = cmd_call_method(c->method, cn_buf_str(&call->params), &out);
    return err == CN_OK ? cmd_print(c, cn_buf_str(&out)) : cmd_fail(err);
}
