/* run_eval.c -- eval: questions with judged answers, asked through the whole path (or read from a run file); measures, the
 * questions that do worst, recall by k as a picture, a second version or mode beside the first, and figures that stay. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "engine/base/mem.h"
#include "tools/cairn/judged.h"
#include "tools/cairn/local.h"

#define BATCH 16
#define DEPTH 100
#define WORST 5
#define STORE_NAME 48
#define CALL_MAX ((size_t)256 << 20)

typedef struct question {
    cn_str id, text;
    uint32_t judged; /* its place among the judgements */
} question;

typedef struct ranking {
    cn_str *docs;
    float *score;
    uint32_t n;
    cn_scores s;
    uint64_t version; /* that answered */
} ranking;

typedef struct eval {
    cn_arena a;
    cn_judgements *j;
    question *q;        /* those that are judged */
    uint32_t n, room, depth;
    ranking *first, *second; /* second NULL: nothing stands beside */
    const char *path;   /* of the questions */
    char beside[96];    /* what stands beside, in words */
    const char *name;   /* what the figures are stored under; NULL: they are not, or could not be */
    cn_buf stored;      /* how the version stands by its gate then */
} eval;

/* ---------- questions ---------- */
static cn_err take_question(void *ctx, cn_str id, cn_str text, unsigned long line) {
    eval *e = ctx;
    (void)line;
    uint32_t judged = cn_judge_find(e->j, id);
    if (judged == UINT32_MAX)
        return CN_OK;
    if (!cn_grow(e->q, e->n, e->room))
        return cn_fail_memory();
    question q = {cn_arena_str(&e->a, id), cn_arena_str(&e->a, text), judged};
    if (!q.id.p || !q.text.p)
        return cn_fail_memory();
    e->q[e->n++] = q;
    return CN_OK;
}

static cn_err read_questions(eval *e) {
    CN_TRY(judged_questions(e->path, take_question, e));
    return e->n ? CN_OK : cn_fail(CN_INVALID, "%s has no question that is judged", e->path);
}

/* ---------- asking ---------- */
/* The options, with one of them in another's place (key NULL: as they are). */
static cn_err pack_call(const eval *e, cn_str common, const char *key, cn_str value, uint32_t from, uint32_t to, cn_buf *out) {
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    CN_TRY(cn_unpack(&u, common.p, common.n));
    size_t at = cn_pack_map_open(out);
    uint32_t n = 3;
    for (uint32_t i = 0; i < u.o.via.map.size; i++)
        if (!key || !cn_str_is(cn_obj_str(&u.o.via.map.ptr[i].key), key)) {
            cn_pack_object(out, &u.o.via.map.ptr[i].key);
            cn_pack_object(out, &u.o.via.map.ptr[i].val);
            n++;
        }
    if (key) {
        cn_pack_cstr(out, key);
        cn_buf_add(out, value.p, value.n);
        n++;
    }
    cn_pack_cstr(out, "k"), cn_pack_uint(out, e->depth);
    cn_pack_cstr(out, "per_doc"), cn_pack_uint(out, 1);
    cn_pack_cstr(out, "queries");
    cn_pack_array(out, to - from);
    for (uint32_t i = from; i < to; i++) {
        cn_pack_map(out, 1);
        cn_pack_cstr(out, "text"), cn_pack_str(out, e->q[i].text);
    }
    cn_pack_map_close(out, at, n);
    return cn_buf_check(out);
}

static bool has(const ranking *r, cn_str doc) {
    for (uint32_t i = 0; i < r->n; i++)
        if (cn_str_eq(r->docs[i], doc))
            return true;
    return false;
}

/* Scores go down strictly, so that whoever sorts a run file by them gets our order. */
static cn_err take_hits(eval *e, const msgpack_object *result, ranking *ret) {
    const msgpack_object *hits;
    CN_TRY(cmd_hits(result, &hits));
    CN_TRY(cmd_as_asked(result));
    uint32_t most = hits->via.array.size;
    ranking r = {cn_arena_zalloc(&e->a, most + 1u, sizeof *r.docs), cn_arena_zalloc(&e->a, most + 1u, sizeof *r.score), 0, {{0}, {0}, 0}, 0};
    cn_get_uint(cn_get(result, "made_by"), "version", 0, UINT64_MAX, &r.version);
    for (uint32_t i = 0; r.docs && r.score && i < most; i++) {
        double score = 0;
        cn_str doc = cn_arena_str(&e->a, cn_obj_str(cn_get(&hits->via.array.ptr[i], "doc")));
        cn_get_f64(&hits->via.array.ptr[i], "score", &score);
        if (!doc.p)
            return cn_fail_memory();
        if (has(&r, doc))
            continue; /* of another source */
        float s = (float)score, above = r.n ? r.score[r.n - 1] : INFINITY;
        r.score[r.n] = s < above ? s : nextafterf(above, -INFINITY);
        r.docs[r.n++] = doc;
    }
    *ret = r;
    return r.docs && r.score ? CN_OK : cn_fail_memory();
}

static void show_progress(const eval *e, uint32_t done) {
    if (cmd_progress_wanted())
        fprintf(stderr, "\r\033[K%u of %u questions", done, e->n);
}

static cn_err ask_batch(eval *e, cn_str common, const char *key, cn_str value, uint32_t from, ranking *ret) {
    CN_AUTO_BUF cn_buf params;
    CN_AUTO_BUF cn_buf out = {0};
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    uint32_t to = e->n - from < BATCH ? e->n : from + BATCH;
    cn_buf_init(&params, CALL_MAX);
    CN_TRY(pack_call(e, common, key, value, from, to, &params));
    CN_TRY(cmd_call_method("query_batch", cn_buf_str(&params), &out));
    CN_TRY(cn_unpack(&u, out.p, out.n));
    const msgpack_object *results;
    CN_TRY(cmd_results(&u.o, to - from, &results));
    for (uint32_t i = from; i < to; i++) {
        cn_err err = take_hits(e, &results[i - from], &ret[i]);
        if (err != CN_OK)
            return cn_wrap(err, "question \"" CN_STR_FMT "\"", CN_STR_ARG(e->q[i].id));
        cn_judge_score(e->j, e->q[i].judged, ret[i].docs, ret[i].n, &ret[i].s);
    }
    return CN_OK;
}

static cn_err ask_all(eval *e, cn_str common, const char *key, cn_str value, ranking **ret) {
    if (!(*ret = cn_arena_zalloc(&e->a, e->n, sizeof **ret)))
        return cn_fail_memory();
    cn_err err = CN_OK;
    for (uint32_t from = 0; err == CN_OK && from < e->n; from += BATCH) {
        show_progress(e, from);
        err = ask_batch(e, common, key, value, from, *ret);
    }
    if (cmd_progress_wanted())
        fputs("\r\033[K", stderr);
    return err;
}

/* ---------- run files ---------- */
static cn_err write_run(const eval *e, const char *path) {
    FILE *f = fopen(path, "we");
    if (!f)
        return cn_fail_errno(errno, "cannot write %s", path);
    for (uint32_t i = 0; i < e->n; i++)
        for (uint32_t h = 0; h < e->first[i].n; h++)
            fprintf(f, CN_STR_FMT " Q0 " CN_STR_FMT " %u %.9g cairn\n", CN_STR_ARG(e->q[i].id), CN_STR_ARG(e->first[i].docs[h]), h + 1, (double)e->first[i].score[h]);
    bool bad = ferror(f);
    return fclose(f) || bad ? cn_fail_errno(errno ? errno : EIO, "writing %s", path) : CN_OK;
}

typedef struct run_line {
    uint32_t judged;
    cn_str doc;
    float score;
} run_line;

/* As trec_eval does: by score, ties by the document's id from behind, ranks in the file do not count. */
static int by_score(const void *a, const void *b) {
    const run_line *x = a, *y = b;
    if (x->judged != y->judged)
        return (x->judged > y->judged) - (x->judged < y->judged);
    return x->score != y->score ? (x->score < y->score) - (x->score > y->score) : cn_str_cmp(y->doc, x->doc);
}

static cn_err parse_run_line(eval *e, char *line, run_line *ret, bool *ret_is) {
    cn_str p[6];
    char number[64], *end;
    int n = 0;
    for (char *at = line + strspn(line, " \t\r\n"); *at && n < 6; at += strspn(at, " \t\r\n")) {
        size_t len = strcspn(at, " \t\r\n");
        p[n++] = (cn_str){at, len};
        at += len;
    }
    *ret_is = n > 0;
    if (n == 0)
        return CN_OK;
    if (n < 6)
        return cn_fail(CN_INVALID, "a line of a run has 6 parts (query Q0 document rank score name), not %d", n);
    snprintf(number, sizeof number, CN_STR_FMT, CN_STR_ARG(p[4]));
    ret->score = strtof(number, &end);
    if (end == number || *end)
        return cn_fail(CN_INVALID, "\"" CN_STR_FMT "\" is no score", CN_STR_ARG(p[4]));
    ret->judged = cn_judge_find(e->j, p[0]);
    ret->doc = cn_arena_str(&e->a, p[2]);
    *ret_is = ret->judged != UINT32_MAX;
    return ret->doc.p ? CN_OK : cn_fail_memory();
}

static cn_err read_run(eval *e, FILE *f, run_line **io, uint32_t *ret_n) {
    CN_CLEANUP(cn_free_p) char *line = NULL;
    size_t size = 0;
    uint32_t n = 0, room = 0;
    for (unsigned long number = 1; getline(&line, &size, f) >= 0; number++) {
        bool is = false;
        if (!cn_grow(*io, n, room))
            return cn_fail_memory();
        cn_err err = parse_run_line(e, line, &(*io)[n], &is);
        if (err != CN_OK)
            return cn_wrap(err, "%s:%lu", e->path, number);
        n += is;
    }
    *ret_n = n;
    return ferror(f) ? cn_fail_errno(errno, "cannot read %s", e->path) : CN_OK;
}

/* Every judged question counts, those that the run does not have too. */
static cn_err rank_run(eval *e, run_line *v, uint32_t n) {
    e->n = cn_judge_queries(e->j);
    e->q = cn_calloc(e->n, sizeof *e->q);
    e->first = cn_arena_zalloc(&e->a, e->n, sizeof *e->first);
    cn_str *docs = cn_arena_zalloc(&e->a, n + 1u, sizeof *docs);
    if (!e->q || !e->first || !docs)
        return cn_fail_memory();
    if (n)
        qsort(v, n, sizeof *v, by_score);
    for (uint32_t i = 0; i < n; i++)
        docs[i] = v[i].doc;
    for (uint32_t i = 0, at = 0; i < e->n; i++) {
        uint32_t from = at;
        e->q[i] = (question){.id = cn_judge_query(e->j, i), .judged = i};
        while (at < n && v[at].judged == i)
            at++;
        e->first[i] = (ranking){.docs = docs + from, .n = at - from};
        cn_judge_score(e->j, i, docs + from, at - from, &e->first[i].s);
    }
    return CN_OK;
}

/* ---------- what comes out ---------- */
static double mean(const eval *e, const ranking *r, int m, int cut) {
    double sum = 0;
    for (uint32_t i = 0; i < e->n; i++)
        sum += m >= 0 ? r[i].s.m[m] : r[i].s.recall[cut];
    return sum / e->n;
}

static void pack_measures(const eval *e, const ranking *r, cn_buf *out) {
    cn_pack_map(out, CN_MEASURES);
    for (int m = 0; m < CN_MEASURES; m++)
        cn_pack_cstr(out, cn_measure_names[m]), cn_pack_f64(out, mean(e, r, m, 0));
}

static cn_err pack_beside(const eval *e, cn_buf *out) {
    CN_AUTO_FREE double *a = cn_alloc(e->n * sizeof *a);
    CN_AUTO_FREE double *b = cn_alloc(e->n * sizeof *b);
    if (!a || !b)
        return cn_fail_memory();
    cn_pack_cstr(out, "beside");
    cn_pack_map(out, 3);
    cn_pack_cstr(out, "what"), cn_pack_cstr(out, e->beside);
    cn_pack_cstr(out, "metrics"), pack_measures(e, e->second, out);
    cn_pack_cstr(out, "difference");
    cn_pack_map(out, CN_MEASURES);
    for (int m = 0; m < CN_MEASURES; m++) {
        uint32_t better = 0, worse = 0;
        for (uint32_t i = 0; i < e->n; i++) {
            a[i] = e->first[i].s.m[m], b[i] = e->second[i].s.m[m];
            better += a[i] > b[i], worse += a[i] < b[i];
        }
        cn_pack_cstr(out, cn_measure_names[m]);
        cn_pack_map(out, 4);
        cn_pack_cstr(out, "mean"), cn_pack_f64(out, mean(e, e->first, m, 0) - mean(e, e->second, m, 0));
        cn_pack_cstr(out, "better"), cn_pack_uint(out, better);
        cn_pack_cstr(out, "worse"), cn_pack_uint(out, worse);
        cn_pack_cstr(out, "p"), cn_pack_f64(out, cn_judge_significance(a, b, e->n));
    }
    return CN_OK;
}

typedef struct placed {
    double by, ndcg; /* nDCG@10, or how much of it was lost against what stands beside; itself */
    uint32_t i;
} placed;

static int by_least(const void *a, const void *b) {
    const placed *x = a, *y = b;
    if (x->by != y->by)
        return (x->by > y->by) - (x->by < y->by);
    return x->ndcg != y->ndcg ? (x->ndcg > y->ndcg) - (x->ndcg < y->ndcg) : (x->i > y->i) - (x->i < y->i);
}

static cn_err pack_worst(const eval *e, cn_buf *out) {
    CN_AUTO_FREE placed *v = cn_alloc(e->n * sizeof *v);
    if (!v)
        return cn_fail_memory();
    for (uint32_t i = 0; i < e->n; i++)
        v[i] = (placed){e->first[i].s.m[CN_NDCG_10] - (e->second ? e->second[i].s.m[CN_NDCG_10] : 0), e->first[i].s.m[CN_NDCG_10], i};
    qsort(v, e->n, sizeof *v, by_least);
    uint32_t n = e->n < WORST ? e->n : WORST;
    cn_pack_cstr(out, "worst");
    cn_pack_array(out, n);
    for (uint32_t w = 0; w < n; w++) {
        const question *q = &e->q[v[w].i];
        const cn_scores *s = &e->first[v[w].i].s;
        cn_pack_map(out, 5u + (e->second != NULL));
        cn_pack_cstr(out, "query"), cn_pack_str(out, q->id);
        cn_pack_cstr(out, "nDCG@10"), cn_pack_f64(out, s->m[CN_NDCG_10]);
        if (e->second)
            cn_pack_cstr(out, "beside"), cn_pack_f64(out, e->second[v[w].i].s.m[CN_NDCG_10]);
        cn_pack_cstr(out, "first"), s->first ? cn_pack_uint(out, s->first) : cn_pack_nil(out);
        cn_pack_cstr(out, "relevant"), cn_pack_uint(out, cn_judge_relevant(e->j, q->judged));
        cn_pack_cstr(out, "text"), cn_pack_str(out, q->text);
    }
    return CN_OK;
}

static cn_err pack_result(const eval *e, cn_buf *out) {
    cn_pack_map(out, 4u + (e->second != NULL) + (e->name != NULL));
    if (e->name) {
        cn_pack_cstr(out, "stored");
        cn_buf_add(out, e->stored.p, e->stored.n);
    }
    cn_pack_cstr(out, "queries"), cn_pack_uint(out, e->n);
    cn_pack_cstr(out, "metrics"), pack_measures(e, e->first, out);
    cn_pack_cstr(out, "recall");
    cn_pack_map(out, CN_RECALL_CUTS);
    for (int c = 0; c < CN_RECALL_CUTS; c++) {
        char name[8];
        snprintf(name, sizeof name, "%u", cn_recall_cuts[c]);
        cn_pack_cstr(out, name), cn_pack_f64(out, mean(e, e->first, -1, c));
    }
    if (e->second)
        CN_TRY(pack_beside(e, out));
    CN_TRY(pack_worst(e, out));
    return cn_buf_check(out);
}

static void print_measures(const eval *e, const msgpack_object *o) {
    printf("%u questions\n", e->n);
    for (int m = 0; m < CN_MEASURES; m++) {
        const msgpack_object *d = cn_get(cn_get(cn_get(o, "beside"), "difference"), cn_measure_names[m]);
        double mean_of = 0, p = 0;
        uint64_t better = 0, worse = 0;
        printf("%-8s %.4f", cn_measure_names[m], mean(e, e->first, m, 0));
        if (d) {
            cn_get_f64(d, "mean", &mean_of), cn_get_f64(d, "p", &p);
            cn_get_uint(d, "better", 0, UINT64_MAX, &better), cn_get_uint(d, "worse", 0, UINT64_MAX, &worse);
            printf("   %s %.4f   %+.4f, %llu better, %llu worse, p %.4f", e->beside, mean(e, e->second, m, 0), mean_of, (unsigned long long)better, (unsigned long long)worse, p);
        }
        putchar('\n');
    }
}

static void print_picture(const eval *e) {
    puts("\nrecall by k");
    for (int c = 0; c < CN_RECALL_CUTS; c++) {
        double r = mean(e, e->first, -1, c);
        int eighths = (int)(r * 8 * 40 + .5);
        printf("%5u  ", cn_recall_cuts[c]);
        for (int i = 0; i < eighths / 8; i++)
            fputs("\xe2\x96\x88", stdout);
        if (eighths % 8)
            printf("\xe2\x96%c", (char)(0x90 - eighths % 8)); /* U+2589 to U+258F: seven eighths to one */
        printf(" %.3f\n", r);
    }
}

static void print_worst(const msgpack_object *list) {
    puts("\nworst");
    for (uint32_t i = 0; i < list->via.array.size; i++) {
        const msgpack_object *w = &list->via.array.ptr[i];
        uint64_t first = 0, relevant = 0;
        double ndcg = 0;
        cn_str text = cn_obj_str(cn_get(w, "text"));
        cn_get_f64(w, "nDCG@10", &ndcg), cn_get_uint(w, "relevant", 0, UINT64_MAX, &relevant);
        bool found = cn_get(w, "first")->type == MSGPACK_OBJECT_POSITIVE_INTEGER;
        cn_get_uint(w, "first", 0, UINT64_MAX, found ? &first : &relevant);
        printf("%.4f  " CN_STR_FMT "  ", ndcg, CN_STR_ARG(cn_obj_str(cn_get(w, "query"))));
        found ? printf("first at %llu", (unsigned long long)first) : printf("none found");
        printf(" of %llu  %.*s\n", (unsigned long long)relevant, (int)(text.n > 90 ? 90 : text.n), text.p ? text.p : "");
    }
}

static int report(const cmd *c, const eval *e) {
    CN_AUTO_BUF cn_buf out;
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    cn_buf_init(&out, CALL_MAX);
    cn_err err = pack_result(e, &out);
    if (err == CN_OK)
        err = cn_unpack(&u, out.p, out.n);
    if (err != CN_OK)
        return cmd_fail(err);
    if (cmd_the_env.out != OUT_TABLE)
        return cmd_print(c, cn_buf_str(&out));
    print_measures(e, &u.o);
    if (e->name) {
        uint64_t version = 0;
        const msgpack_object *stored = cn_get(&u.o, "stored");
        cn_get_uint(stored, "version", 0, UINT64_MAX, &version);
        printf("stored as %s/... of version %llu; its gate: " CN_STR_FMT "\n", e->name, (unsigned long long)version, CN_STR_ARG(cn_obj_str(cn_get(stored, "gate"))));
    }
    print_picture(e);
    print_worst(cn_get(&u.o, "worst"));
    return 0;
}

/* ---------- figures that stay ---------- */
/* Those under one name are of as many documents a question, or they could not be compared. */
static cn_err may_store(const cmd *c, const cmd_call *call, const eval *e, const char *name) {
    size_t n = strlen(name);
    if (n == 0 || n > STORE_NAME || strcspn(name, "/:") < n)
        return cn_fail(CN_INVALID, "--store takes a name of 1 to %d characters, without / and :", STORE_NAME);
    return cmd_value(c, call, "-k") && e->depth != DEPTH ? cn_fail(CN_INVALID, "figures that are stored are of %d documents a question: leave out -k", DEPTH) : CN_OK;
}

static cn_err version_of(const eval *e, uint64_t *ret) {
    for (uint32_t i = 1; i < e->n; i++)
        if (e->first[i].version != e->first[0].version)
            return cn_fail(CN_CONFLICT, "version %llu answered at first, and version %llu later, so nothing is stored; name one with --version", (unsigned long long)e->first[0].version,
                           (unsigned long long)e->first[i].version);
    *ret = e->first[0].version;
    return CN_OK;
}

static cn_err pack_submit(const cmd_call *call, const eval *e, const char *name, uint64_t version, cn_buf *out) {
    static const char *const kept[] = {"tenant", "index"};
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    char key[128];
    uint32_t n = 2;
    CN_TRY(cn_unpack(&u, call->params.p, call->params.n));
    size_t at = cn_pack_map_open(out);
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        if (cn_get(&u.o, kept[i]))
            cn_pack_cstr(out, kept[i]), cn_pack_object(out, cn_get(&u.o, kept[i])), n++;
    cn_pack_cstr(out, "version"), cn_pack_uint(out, version);
    cn_pack_cstr(out, "results");
    cn_pack_map(out, CN_MEASURES + 1);
    for (int m = 0; m <= CN_MEASURES; m++) {
        snprintf(key, sizeof key, "%s/%s", name, m < CN_MEASURES ? cn_measure_names[m] : "questions");
        cn_pack_cstr(out, key), cn_pack_f64(out, m < CN_MEASURES ? mean(e, e->first, m, 0) : e->n);
    }
    cn_pack_map_close(out, at, n);
    return cn_buf_check(out);
}

/* Handed in as results of the version that answered: what a gate requires, and `eval list` shows. */
static cn_err store(const cmd_call *call, const char *name, eval *e) {
    CN_AUTO_BUF cn_buf params;
    CN_AUTO_BUF cn_buf out = {0};
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    uint64_t version;
    cn_buf_init(&params, 1 << 20);
    CN_TRY(version_of(e, &version));
    CN_TRY(pack_submit(call, e, name, version, &params));
    CN_TRY(cmd_call_method("gate.submit", cn_buf_str(&params), &out));
    CN_TRY(cn_unpack(&u, out.p, out.n));
    cn_pack_map(&e->stored, 3);
    cn_pack_cstr(&e->stored, "name"), cn_pack_cstr(&e->stored, name);
    cn_pack_cstr(&e->stored, "version"), cn_pack_uint(&e->stored, version);
    cn_pack_cstr(&e->stored, "gate"), cn_pack_str(&e->stored, cn_obj_str(cn_get(&u.o, "gate")));
    e->name = name;
    return cn_buf_check(&e->stored);
}

/* ---------- the commands ---------- */
static cn_err open_files(const cmd *c, const cmd_call *call, eval *e) {
    const char *qrels;
    CN_TRY(judged_paths(&e->a, cmd_value(c, call, "--beir"), cmd_value(c, call, "--split"), cmd_value(c, call, "--queries"), cmd_value(c, call, "--qrels"), &e->path, &qrels));
    CN_TRY(judged_grades(qrels, &e->j));
    return read_questions(e);
}

static cn_err ask_beside(const cmd *c, const cmd_call *call, eval *e) {
    const char *mode = cmd_value(c, call, "--against-mode");
    CN_AUTO_BUF cn_buf value;
    uint32_t version = 0;
    cn_buf_init(&value, 4096);
    if (!mode && !cmd_value(c, call, "--against-version"))
        return CN_OK;
    if (mode && cmd_value(c, call, "--against-version"))
        return cn_fail(CN_INVALID, "one of --against-version and --against-mode at a time");
    if (!mode)
        CN_TRY(cmd_number(c, call, "--against-version", 0, 1, UINT32_MAX, &version));
    mode ? snprintf(e->beside, sizeof e->beside, "mode %.40s", mode) : snprintf(e->beside, sizeof e->beside, "version %u", version);
    mode ? cn_pack_cstr(&value, mode) : cn_pack_uint(&value, version);
    return ask_all(e, cn_buf_str(&call->params), mode ? "mode" : "version", cn_buf_str(&value), &e->second);
}

static void eval_done(eval *e) {
    cn_judge_free(e->j);
    cn_free(e->q);
    cn_buf_done(&e->stored);
    cn_arena_done(&e->a);
}

static cn_err measure(const cmd *c, const cmd_call *call, eval *e) {
    const char *run = cmd_value(c, call, "--run"), *name = cmd_value(c, call, "--store");
    CN_TRY(cmd_number(c, call, "-k", DEPTH, 1, 10000, &e->depth));
    if (name)
        CN_TRY(may_store(c, call, e, name));
    CN_TRY(open_files(c, call, e));
    CN_TRY(ask_all(e, cn_buf_str(&call->params), NULL, (cn_str){NULL, 0}, &e->first));
    CN_TRY(ask_beside(c, call, e));
    return run ? write_run(e, run) : CN_OK;
}

/* What was measured is told, also where it could not be stored. */
int run_eval(const cmd *c, cmd_call *call) {
    const char *name = cmd_value(c, call, "--store");
    cmd_the_env.no_trace = true;
    eval e = {0};
    cn_arena_init(&e.a, 1 << 16, (size_t)8 << 30);
    cn_buf_init(&e.stored, 4096);
    cn_err err = measure(c, call, &e), kept = err == CN_OK && name ? store(call, name, &e) : CN_OK;
    char why[CN_ERROR_TEXT];
    snprintf(why, sizeof why, "%s", cn_error_detail());
    int code = err == CN_OK ? report(c, &e) : cmd_fail(err);
    if (kept != CN_OK && code == 0)
        code = cmd_fail(cn_fail(kept, "%s", why));
    eval_done(&e);
    return code;
}

static cn_err score_run(const cmd *c, const cmd_call *call, eval *e) {
    CN_CLEANUP(cn_free_p) run_line *v = NULL;
    const char *qrels = cmd_value(c, call, "--qrels");
    uint32_t n = 0;
    if (!qrels)
        return cn_fail(CN_INVALID, "--qrels is missing: which judgements?");
    e->path = call->words[0];
    CN_TRY(judged_grades(qrels, &e->j));
    FILE *f = fopen(e->path, "re");
    if (!f)
        return cn_fail_errno(errno, "cannot open %s", e->path);
    cn_err err = read_run(e, f, &v, &n);
    fclose(f);
    return err == CN_OK ? rank_run(e, v, n) : err;
}

int run_eval_score(const cmd *c, cmd_call *call) {
    eval e = {0};
    cn_arena_init(&e.a, 1 << 16, (size_t)8 << 30);
    cn_err err = score_run(c, call, &e);
    int code = err == CN_OK ? report(c, &e) : cmd_fail(err);
    eval_done(&e);
    return code;
}
