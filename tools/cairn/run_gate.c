/* run_gate.c -- gate freeze: questions from files, in the method's form; gate run: exits with 5 when the gate is not met. */
#include <limits.h>
#include <stdlib.h>

#include "engine/base/json.h"
#include "engine/base/mem.h"
#include "tools/cairn/judged.h"
#include "tools/cairn/local.h"

#define CALL_MAX ((size_t)64 << 20)

typedef struct grade {
    uint32_t query;
    cn_str doc;
    int grade;
} grade;

typedef struct freezing {
    cn_arena a;
    cn_judgements *j;
    grade *v;           /* by query */
    uint32_t n_grades, room;
    cn_buf queries;     /* packed maps */
    const char *path;   /* of the questions being read */
    uint32_t n;
} freezing;

/* ---------- judged questions ---------- */
static cn_err take_grade(void *ctx, uint32_t query, cn_str doc, int value) {
    freezing *f = ctx;
    if (!cn_grow(f->v, f->n_grades, f->room))
        return cn_fail_memory();
    f->v[f->n_grades++] = (grade){query, doc, value};
    return CN_OK;
}

static int by_query(const void *a, const void *b) {
    const grade *x = a, *y = b;
    return x->query != y->query ? (x->query > y->query) - (x->query < y->query) : cn_str_cmp(x->doc, y->doc);
}

static uint32_t first_of(const freezing *f, uint32_t query) {
    uint32_t lo = 0, hi = f->n_grades;
    while (lo < hi) {
        uint32_t at = (lo + hi) / 2;
        if (f->v[at].query < query)
            lo = at + 1;
        else
            hi = at;
    }
    return lo;
}

/* Where a question stands, so that what is wrong with it is told with its line. */
static void pack_where(freezing *f, unsigned long line) {
    char where[PATH_MAX + 32];
    snprintf(where, sizeof where, "%s:%lu", f->path, line);
    cn_pack_cstr(&f->queries, "where"), cn_pack_cstr(&f->queries, where);
}

static cn_err take_question(void *ctx, cn_str id, cn_str text, unsigned long line) {
    freezing *f = ctx;
    uint32_t query = cn_judge_find(f->j, id);
    if (query == UINT32_MAX) /* nothing is known of its answers */
        return CN_OK;
    uint32_t from = first_of(f, query), to = from;
    while (to < f->n_grades && f->v[to].query == query)
        to++;
    cn_pack_map(&f->queries, 4);
    pack_where(f, line);
    cn_pack_cstr(&f->queries, "id"), cn_pack_str(&f->queries, id);
    cn_pack_cstr(&f->queries, "text"), cn_pack_str(&f->queries, text);
    cn_pack_cstr(&f->queries, "relevant");
    cn_pack_map(&f->queries, to - from);
    for (uint32_t i = from; i < to; i++)
        cn_pack_str(&f->queries, f->v[i].doc), cn_pack_int(&f->queries, f->v[i].grade);
    f->n++;
    return cn_buf_check(&f->queries);
}

static cn_err read_judged(freezing *f, const char *queries, const char *qrels) {
    uint32_t before = f->n;
    CN_TRY(judged_grades(qrels, &f->j));
    CN_TRY(cn_judge_each(f->j, take_grade, f));
    if (f->n_grades)
        qsort(f->v, f->n_grades, sizeof *f->v, by_query);
    f->path = queries;
    CN_TRY(judged_questions(queries, take_question, f));
    return f->n > before ? CN_OK : cn_fail(CN_INVALID, "%s has no question that is judged", queries);
}

/* ---------- cases: a map a line, as the method takes it ---------- */
static cn_err take_case(void *ctx, cn_str line, unsigned long number) {
    freezing *f = ctx;
    CN_AUTO_BUF cn_buf packed = {.cap = JUDGED_LINE_MAX};
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    if (line.n == 0)
        return CN_OK;
    CN_TRY(cn_json_parse(line, &packed));
    CN_TRY(cn_unpack(&u, packed.p, packed.n));
    if (u.o.type != MSGPACK_OBJECT_MAP)
        return cn_fail(CN_INVALID, "a case is a JSON map: {\"id\": ..., \"text\": ..., \"must_find\": [...]}");
    cn_pack_map(&f->queries, u.o.via.map.size + 1);
    pack_where(f, number);
    for (uint32_t i = 0; i < u.o.via.map.size; i++) {
        const msgpack_object_kv *kv = &u.o.via.map.ptr[i];
        if (cn_str_is(cn_obj_str(&kv->key), "_id")) /* as BEIR has it */
            cn_pack_cstr(&f->queries, "id");
        else
            cn_pack_object(&f->queries, &kv->key);
        cn_pack_object(&f->queries, &kv->val);
    }
    f->n++;
    return cn_buf_check(&f->queries);
}

static cn_err read_files(const cmd *c, const cmd_call *call, freezing *f) {
    const char *beir = cmd_value(c, call, "--beir"), *queries = cmd_value(c, call, "--queries"), *qrels = cmd_value(c, call, "--qrels"), *cases = cmd_value(c, call, "--cases");
    if (!beir && !queries && !qrels && !cases)
        return cn_fail(CN_INVALID, "which questions? --beir FOLDER, --queries FILE with --qrels FILE, or --cases FILE.jsonl");
    if (beir || queries || qrels) {
        CN_TRY(judged_paths(&f->a, beir, cmd_value(c, call, "--split"), queries, qrels, &queries, &qrels));
        CN_TRY(read_judged(f, queries, qrels));
    }
    f->path = cases;
    return cases ? judged_lines(cases, take_case, f) : CN_OK;
}

static cn_err pack_params(const cmd_call *call, const freezing *f, cn_buf *out) {
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    CN_TRY(cn_unpack(&u, call->params.p, call->params.n));
    cn_pack_map(out, u.o.via.map.size + 1);
    for (uint32_t i = 0; i < u.o.via.map.size; i++)
        cn_pack_object(out, &u.o.via.map.ptr[i].key), cn_pack_object(out, &u.o.via.map.ptr[i].val);
    cn_pack_cstr(out, "queries");
    cn_pack_array(out, f->n);
    cn_buf_add(out, f->queries.p, f->queries.n);
    return cn_buf_check(out);
}

static cn_err freeze(const cmd *c, const cmd_call *call, freezing *f, cn_buf *out) {
    CN_AUTO_BUF cn_buf params;
    cn_buf_init(&params, CALL_MAX);
    CN_TRY(read_files(c, call, f));
    CN_TRY(pack_params(call, f, &params));
    return cmd_call_method("gate.freeze", cn_buf_str(&params), out);
}

int run_gate_freeze(const cmd *c, cmd_call *call) {
    CN_AUTO_BUF cn_buf out = {0};
    freezing f = {.n = 0};
    cn_arena_init(&f.a, 4096, 1 << 20);
    cn_buf_init(&f.queries, CALL_MAX);
    cn_err err = freeze(c, call, &f, &out);
    int code = err == CN_OK ? cmd_print(c, cn_buf_str(&out)) : cmd_fail(err);
    cn_judge_free(f.j);
    cn_free(f.v);
    cn_buf_done(&f.queries);
    cn_arena_done(&f.a);
    return code;
}

int run_gate_run(const cmd *c, cmd_call *call) {
    CN_AUTO_BUF cn_buf out = {0};
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    cn_err err = cmd_call_method("gate.run", cn_buf_str(&call->params), &out);
    cmd_progress_end();
    if (err == CN_OK)
        err = cn_unpack(&u, out.p, out.n);
    if (err != CN_OK)
        return cmd_fail(err);
    int code = cmd_print(c, cn_buf_str(&out));
    return code == 0 && cn_str_is(cn_obj_str(cn_get(&u.o, "gate")), "unmet") ? EXIT_REFUSED : code;
}
