/* gate.run: a version measured beside the active one. Each question of the frozen sets is asked as whom it names, through the
 * same search as everybody's; nothing of an answer is given on, so no request record tells of it. An answer in another way than
 * the index's own (an incident's mode, postings that cannot be made) measures nothing, and is an error. A run ends with its time
 * (gate_timeout), when the server stops, and when whoever asked is gone: nothing of it is stored then. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "index/catalog/facts.h"
#include "index/catalog/frozen.h"
#include "index/search/judge.h"
#include "server/service/gate.h"
#include "server/service/question.h"
#include "server/service/runner.h"

#define FAILED_MAX 100     /* questions named in the answer */
#define PINS 100           /* times that a question begins anew while the catalog changes */
#define QUESTION_S 60      /* one may take so long */
#define RUN_S (4 * 3600)   /* all of them, where the call has no end of its own */
#define SCRATCH_CAP ((size_t)64 << 20)
#define TELL_NS 200000000u /* between two words of progress */
_Static_assert(2 * CN_MEASURES + 5 == CN_FROZEN_RESULTS, "what a set is measured by");

typedef struct run {
    cn_service *s;
    cn_call *c;
    cn_str tenant, index;
    cn_tenant *t;
    uint64_t epoch;            /* when it began: what changes meanwhile is not measured */
    uint64_t version, active;  /* active 0, or the version itself: there is nothing to compare with */
    cn_frozen_set *sets;
    uint32_t n_sets;
    cn_gate_result *v;
    uint32_t n;
    cn_buf failed;             /* MessagePack: what of the questions failed */
    uint32_t n_failed;
    uint64_t until_ns;         /* it ends by then */
    uint64_t asked, all, told_ns; /* questions, and when progress was told last */
} run;

static bool compares(const run *r) { return r->active && r->active != r->version; }

/* ---------- results ---------- */
static cn_err put(run *r, cn_str set, const char *what, const char *end, double value) {
    const char *name = cn_arena_printf(&r->c->arena, "%.*s%s%s%s", (int)set.n, set.n ? set.p : "", set.n ? "/" : "", what, end);
    if (!name)
        return cn_fail_memory();
    CN_ASSERT(r->n < CN_GATE_RESULTS_MAX);
    r->v[r->n++] = (cn_gate_result){.name = cn_str_of(name), .value = value};
    return CN_OK;
}

static cn_err note_failed(run *r, const cn_frozen_set *set, const cn_frozen_question *q, const char *what, const cn_frozen_doc *doc, const char *why) {
    if (r->n_failed == FAILED_MAX)
        return CN_OK;
    cn_buf *b = &r->failed;
    cn_pack_map(b, 6);
    cn_out_str(b, "set", set->name);
    cn_out_str(b, "query", q->id);
    cn_out_cstr(b, "what", what);
    cn_out_str(b, "doc", doc ? doc->id : (cn_str){"", 0});
    doc && doc->source.n ? cn_out_str(b, "source", doc->source) : cn_out_cstr(b, "source", NULL);
    cn_out_cstr(b, "why", why);
    r->n_failed++;
    return cn_buf_check(b);
}

/* ---------- how long ---------- */
static uint64_t after_s(uint64_t seconds) { return cn_mono_ns() + seconds * 1000000000u; }

/* Looked at between questions, and while documents are counted. Nothing is stored of a run that did not come to its end. */
static cn_err may_go_on(void *ctx) {
    const run *r = ctx;
    if (r->c->gone && atomic_load(r->c->gone))
        return cn_fail(CN_UNAVAILABLE, "whoever asked for the run has closed the connection, so it was ended and nothing was stored");
    if (atomic_load(cn_runner_leaving(r->s->runner)))
        return cn_fail(CN_UNAVAILABLE, "the server is stopping; nothing was stored, run the gate again");
    if (cn_mono_ns() >= r->until_ns)
        return cn_fail(CN_DEADLINE, "the time was over before all questions were asked, and nothing was stored; run one set at a time, raise the server's "
                                    "gate_timeout, or run it on the files");
    return CN_OK;
}

static void tell(run *r) {
    uint64_t now = cn_mono_ns();
    if (!r->c->progress || now - r->told_ns < TELL_NS)
        return;
    CN_AUTO_BUF cn_buf b;
    cn_buf_init(&b, 256);
    cn_pack_map(&b, 3);
    cn_out_cstr(&b, "step", "measuring");
    cn_out_uint(&b, "done", r->asked);
    cn_out_uint(&b, "all", r->all);
    if (cn_buf_check(&b) == CN_OK)
        r->c->progress(r->c->progress_ctx, cn_buf_str(&b));
    r->told_ns = now;
}

/* ---------- one question ---------- */
typedef struct answer {
    cn_question q;             /* holds what the ids borrow from */
    const cn_frozen_doc *docs; /* best first, each once */
    uint32_t n;
    double ms;
} answer;

static void answer_done(answer *a) { cn_reading_done(&a->q.reading); }

static cn_err principal_of(run *r, const cn_frozen_question *q, cn_principal *ret) {
    cn_labels held = q->labels;
    if (q->as.n)
        CN_TRY(cn_principal_expand(r->t, q->as, &r->c->arena, &held));
    *ret = cn_principal_of(held);
    return CN_OK;
}

static bool has(const cn_str *v, uint32_t n, cn_str name) {
    for (uint32_t i = 0; i < n; i++)
        if (cn_str_eq(v[i], name))
            return true;
    return false;
}

/* Without a source one of any source will do. */
static bool has_doc(const cn_frozen_doc *v, uint32_t n, const cn_frozen_doc *doc) {
    for (uint32_t i = 0; i < n; i++)
        if (cn_str_eq(v[i].id, doc->id) && (!doc->source.n || cn_str_eq(v[i].source, doc->source)))
            return true;
    return false;
}

static cn_err take_hits(run *r, uint32_t n, answer *io) {
    cn_frozen_doc *v = cn_arena_zalloc(&r->c->arena, n + 1u, sizeof *v);
    if (!v)
        return cn_fail_memory();
    for (uint32_t i = 0; i < n; i++) {
        const cn_hit *h = &r->c->hits[i];
        cn_doc d;
        CN_TRY(cn_seg_doc_brief(h->seg, h->doc, &d));
        CN_TRY(cn_seg_sound(h->seg));
        v[io->n++] = (cn_frozen_doc){d.id, d.source};
    }
    io->docs = v;
    return CN_OK;
}

/* A vector under mode hybrid, or a text where there is no embedder, is answered by one half now and always: that is its way. */
static cn_err check_way(const cn_question *q) {
    uint32_t other = q->degraded & ~(CN_DEGRADED(no_text) | CN_DEGRADED(no_embedder));
    return other == 0 ? CN_OK : cn_fail(CN_UNAVAILABLE, "version %llu answers in mode " CN_STR_FMT " for now, which is not how the index is asked; end the "
                                        "incident's mode, or see why it has no postings", (unsigned long long)q->reading.version->number, CN_STR_ARG(q->mode));
}

static cn_err ask(run *r, const cn_frozen_set *set, const cn_frozen_question *q, uint64_t version, const cn_principal *who, answer *ret) {
    cn_question *x = &ret->q;
    uint64_t began = cn_mono_ns(), until = after_s(QUESTION_S);
    uint32_t n;
    *x = (cn_question){.k = set->k, .per_doc = 1, .dim = q->dim, .deadline_ns = until < r->until_ns ? until : r->until_ns, .text = {.text = q->text},
                       .from = {.tenant = r->tenant, .index = r->index, .version = version, .who = who}};
    if (q->vector && !(x->vector = cn_arena_alloc(&r->c->arena, q->dim * sizeof *x->vector)))
        return cn_fail_memory();
    if (q->vector)
        memcpy(x->vector, q->vector, q->dim * sizeof *x->vector);
    else
        CN_TRY(cn_models_check_text(q->text));
    CN_TRY(cn_question_open(r->s, r->c, x));
    CN_TRY(check_way(x));
    if (cn_question_needs_vector(x))
        CN_TRY(cn_question_embed(r->s, r->c, x));
    CN_TRY(cn_question_search(r->c, x, &n));
    ret->ms = (double)(cn_mono_ns() - began) / 1e6;
    return take_hits(r, n, ret);
}

/* A member's labels and the documents of one epoch, as reading.h has it for everybody's questions: what is measured is never of a
 * state that never was. */
static cn_err ask_as(run *r, const cn_frozen_set *set, const cn_frozen_question *q, uint64_t version, cn_principal *ret_who, answer *ret, bool *ret_failed) {
    for (int tries = 0; tries < PINS; tries++) {
        uint64_t epoch;
        CN_TRY(cn_epoch(r->t, &epoch));
        CN_TRY(principal_of(r, q, ret_who));
        r->c->epoch = epoch; /* of the view, once there is one */
        *ret_failed = ask(r, set, q, version, ret_who, ret) != CN_OK;
        if (!q->as.n || r->c->epoch == epoch)
            return CN_OK;
        answer_done(ret);
        *ret = (answer){0};
    }
    return cn_fail(CN_OVERLOADED, "the catalog changed each time that a question was asked; run the gate again");
}

/* ---------- a set ---------- */
typedef struct tally {
    double m[CN_MEASURES];   /* sums over graded questions */
    double *ms;
    uint32_t n_ms, missed, leaked, errors;
} tally;

typedef struct measured {    /* a set in hand */
    run *r;
    const cn_frozen_set *set;
    cn_judgements *j;
} measured;

static cn_err add_grades(cn_judgements *j, const cn_frozen_set *set) {
    for (uint32_t i = 0; i < set->n; i++)
        for (uint32_t k = 0; k < set->v[i].n_grades; k++)
            CN_TRY(cn_judge_add(j, set->v[i].id, set->v[i].grades[k].doc, (int)set->v[i].grades[k].grade));
    return cn_judge_ready(j);
}

/* As grades name them. Of another source than they are of: a document that nobody graded. Where they are of any: the first of
 * an id. */
static cn_err rank(const measured *m, const cn_frozen_question *q, const answer *a, cn_str **ret, uint32_t *ret_n) {
    cn_str *v = cn_arena_zalloc(&m->r->c->arena, a->n + 1u, sizeof *v);
    uint32_t n = 0;
    if (!v)
        return cn_fail_memory();
    for (uint32_t i = 0; i < a->n; i++)
        if (q->source.n)
            v[n++] = cn_str_eq(a->docs[i].source, q->source) ? a->docs[i].id : (cn_str){"", 0};
        else if (!has(v, n, a->docs[i].id))
            v[n++] = a->docs[i].id;
    *ret = v;
    *ret_n = n;
    return CN_OK;
}

static cn_err add_scores(const measured *m, const cn_frozen_question *q, const answer *a, tally *io) {
    cn_scores s;
    cn_str *docs;
    uint32_t n, at = cn_judge_find(m->j, q->id);
    if (at == UINT32_MAX)
        return CN_OK;
    CN_TRY(rank(m, q, a, &docs, &n));
    cn_judge_score(m->j, at, docs, n, &s);
    for (int i = 0; i < CN_MEASURES; i++)
        io->m[i] += s.m[i];
    return CN_OK;
}

static cn_err check_found(const measured *m, const cn_frozen_question *q, const answer *a, tally *io) {
    uint32_t within = a->n < CN_FROZEN_FIND_WITHIN ? a->n : CN_FROZEN_FIND_WITHIN;
    for (uint32_t i = 0; i < q->n_find; i++)
        if (!has_doc(a->docs, within, &q->find[i])) {
            io->missed++;
            CN_TRY(note_failed(m->r, m->set, q, "missed", &q->find[i], ""));
        }
    return CN_OK;
}

static cn_err may_read(cn_view *view, const cn_frozen_doc *doc, const cn_principal *who, bool *ret) {
    cn_seg *seg;
    uint32_t at;
    if (!view)
        return cn_fail(CN_UNAVAILABLE, "the question could not begin");
    if (!doc->source.n)
        return cn_view_reads_any(view, doc->id, who, ret);
    cn_err err = cn_view_doc(view, doc->source, doc->id, who, &seg, &at);
    *ret = err == CN_OK;
    return err == CN_NOT_FOUND ? CN_OK : err;
}

/* Not by rank: whether who asks may read it at all. What cannot be told counts as seen. */
static cn_err check_unseen(const measured *m, const cn_frozen_question *q, const cn_principal *who, const answer *a, tally *io) {
    for (uint32_t i = 0; i < q->n_unseen; i++) {
        bool may = true;
        cn_err err = may_read(a->q.reading.view, &q->unseen[i], who, &may);
        if (err == CN_OK && !may && !has_doc(a->docs, a->n, &q->unseen[i]))
            continue;
        io->leaked++;
        CN_TRY(note_failed(m->r, m->set, q, "seen", &q->unseen[i], err == CN_OK ? "" : cn_error_detail()));
    }
    return CN_OK;
}

static cn_err note_error(const measured *m, const cn_frozen_question *q, const char *of) {
    char room[CN_ERROR_TEXT];
    const char *why = cn_arena_printf(&m->r->c->arena, "%s%s", of, cn_tell_text(m->r->s, m->r->c->caller, cn_error_detail(), room));
    return why ? note_failed(m->r, m->set, q, "error", NULL, why) : cn_fail_memory();
}

/* An answer of the active version that is missing would make the other one look better than it is. A question is one error at
 * most. */
static cn_err measure_active(const measured *m, const cn_frozen_question *q, bool failed, tally *now, tally *before) {
    __attribute__((cleanup(answer_done))) answer a = {0};
    cn_principal who;
    bool too;
    CN_TRY(ask_as(m->r, m->set, q, m->r->active, &who, &a, &too));
    if (!too)
        return add_scores(m, q, &a, before);
    before->errors++;
    now->errors += !failed;
    return failed ? CN_OK : note_error(m, q, "of the active version: ");
}

static cn_err measure_question(const measured *m, const cn_frozen_question *q, tally *now, tally *before) {
    __attribute__((cleanup(answer_done))) answer a = {0};
    cn_principal who;
    bool failed;
    CN_TRY(ask_as(m->r, m->set, q, m->r->version, &who, &a, &failed));
    if (!failed) {
        CN_TRY(add_scores(m, q, &a, now));
        now->ms[now->n_ms++] = a.ms;
    } else {
        a.n = 0; /* an answer that broke off is none */
        now->errors++;
        CN_TRY(note_error(m, q, ""));
    }
    CN_TRY(check_found(m, q, &a, now));
    CN_TRY(check_unseen(m, q, &who, &a, now));
    return compares(m->r) && q->n_grades ? measure_active(m, q, failed, now, before) : CN_OK;
}

/* The call's arena is what everything of a question takes from: each gets a fresh one. */
static cn_err measure_apart(const measured *m, const cn_frozen_question *q, tally *now, tally *before) {
    cn_call *c = m->r->c;
    cn_arena kept = c->arena;
    cn_arena_init(&c->arena, CN_CALL_BLOCK, SCRATCH_CAP);
    cn_err err = measure_question(m, q, now, before);
    cn_arena_done(&c->arena);
    c->arena = kept;
    return err == CN_OK ? may_go_on(m->r) : err;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double p95(tally *t) {
    if (t->n_ms == 0)
        return 0;
    qsort(t->ms, t->n_ms, sizeof *t->ms, by_value);
    return t->ms[(uint32_t)(0.95 * (t->n_ms - 1) + 0.5)];
}

/* Without all answers of the active version there is no difference from it. */
static cn_err put_measures(run *r, const cn_frozen_set *set, const tally *now, const tally *before) {
    for (int i = 0; i < CN_MEASURES && set->n_graded; i++) {
        double value = now->m[i] / set->n_graded;
        CN_TRY(put(r, set->name, cn_measure_names[i], "", value));
        if (before->errors == 0)
            CN_TRY(put(r, set->name, cn_measure_names[i], ":delta", compares(r) ? value - before->m[i] / set->n_graded : 0));
    }
    return CN_OK;
}

static cn_err ask_all(measured *m, tally *now, tally *before) {
    run *r = m->r;
    const cn_frozen_set *set = m->set;
    CN_TRY(add_grades(m->j, set));
    tally cold = {.ms = now->ms};
    uint32_t n_failed = r->n_failed;
    size_t failed = r->failed.n;
    CN_TRY(measure_apart(m, &set->v[0], &cold, &cold)); /* opens files and models, which is not what p95_ms is about */
    r->n_failed = n_failed;
    r->failed.n = failed;
    for (uint32_t i = 0; i < set->n; i++, r->asked++) {
        tell(r);
        CN_TRY(measure_apart(m, &set->v[i], now, before));
    }
    CN_TRY(put_measures(r, set, now, before));
    CN_TRY(put(r, set->name, "questions", "", set->n));
    CN_TRY(put(r, set->name, "missed", "", now->missed));
    CN_TRY(put(r, set->name, "leaked", "", now->leaked));
    r->v[r->n - 1].epoch = r->epoch;
    CN_TRY(put(r, set->name, "errors", "", now->errors));
    return put(r, set->name, "p95_ms", "", p95(now));
}

static cn_err measure_set(run *r, const cn_frozen_set *set) {
    measured m = {.r = r, .set = set};
    tally now = {.ms = cn_arena_zalloc(&r->c->arena, set->n + 1u, sizeof(double))}, before = {0};
    if (!now.ms)
        return cn_fail_memory();
    CN_TRY(cn_judge_new(2 * CN_FROZEN_BYTES, &m.j));
    cn_err err = ask_all(&m, &now, &before);
    cn_judge_free(m.j);
    return err;
}

/* ---------- the version by itself ---------- */
static double change_of(uint64_t now, uint64_t before) { return before ? ((double)now - (double)before) / (double)before : 0; }

static cn_err measure_version(run *r) {
    const cn_str none = {NULL, 0};
    cn_facts now, before;
    cn_change d = {0};
    CN_TRY(cn_version_facts(r->t, r->index, r->version, may_go_on, r, &now));
    before = now;
    if (compares(r)) {
        CN_TRY(cn_version_facts(r->t, r->index, r->active, may_go_on, r, &before));
        CN_TRY(cn_version_change(r->t, r->index, r->active, r->version, may_go_on, r, &d));
    }
    const struct {
        const char *name, *end;
        double value;
    } all[] = {{"documents", "", (double)now.documents}, {"documents", ":change", change_of(now.documents, before.documents)},
               {"chunks", "", (double)now.chunks}, {"chunks", ":change", change_of(now.chunks, before.chunks)},
               {"documents", ":added", (double)d.added}, {"documents", ":deleted", (double)d.deleted}, {"documents", ":changed", (double)d.changed},
               {"labels", ":widened", (double)d.widened}, {"labels", ":narrowed", (double)d.narrowed},
               {"unlabelled", "", (double)now.unlabelled}, {"unlabelled", ":delta", (double)now.unlabelled - (double)before.unlabelled},
               {"duplicates", "", (double)now.duplicates}, {"duplicates", ":delta", (double)now.duplicates - (double)before.duplicates},
               {"bytes", "", (double)now.bytes}, {"bytes", ":change", change_of(now.bytes, before.bytes)}};
    _Static_assert(sizeof all / sizeof *all == CN_GATE_OWN_RESULTS, "what a version is measured by");
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        CN_TRY(put(r, none, all[i].name, all[i].end, all[i].value));
    return CN_OK;
}

/* ---------- the method ---------- */
static cn_err pick_version(run *r, const msgpack_object *p) {
    cn_index_info ix;
    cn_version v;
    CN_TRY(cn_index_get(r->t, r->index, &r->c->arena, &ix));
    CN_TRY(cn_get_uint(p, "version", 1, INT64_MAX, &r->version));
    if (!r->version) {
        CN_TRY(cn_version_head(r->t, r->index, &r->c->arena, &v));
        r->version = v.number;
    }
    r->active = ix.active;
    return CN_OK;
}

static cn_err pick_sets(run *r, const msgpack_object *p) {
    cn_str *names;
    uint32_t n, kept = 0;
    CN_TRY(cn_arg_list(&r->c->arena, p, "sets", &names, &n));
    CN_TRY(cn_frozen_sets(r->t, r->index, &r->c->arena, &r->sets, &r->n_sets));
    for (uint32_t i = 0; i < n; i++) {
        bool known = false;
        for (uint32_t k = 0; k < r->n_sets; k++)
            known |= cn_str_eq(r->sets[k].name, names[i]);
        if (!known)
            return cn_fail(CN_NOT_FOUND, "there is no frozen set \"" CN_STR_FMT "\"; `cairn gate sets` lists those there are", CN_STR_ARG(names[i]));
    }
    for (uint32_t k = 0; n && k < r->n_sets; k++)
        if (has(names, n, r->sets[k].name))
            r->sets[kept++] = r->sets[k];
    r->n_sets = n ? kept : r->n_sets;
    return CN_OK;
}

/* What may not be looked at is told before anything is measured. */
static cn_err may_look(run *r) {
    const cn_principal anyone = cn_principal_of(cn_labels_public);
    const cn_reading_opts o = {.tenant = r->tenant, .index = r->index, .version = r->version, .who = &anyone};
    CN_AUTO_READING cn_reading reading = {0};
    CN_TRY(cn_reading_open(r->s, r->c, &o, &reading));
    return cn_modes_may_answer(cn_view_modes(reading.view));
}

static cn_err measure(run *r, const msgpack_object *p) {
    CN_TRY(pick_version(r, p));
    CN_TRY(pick_sets(r, p));
    CN_TRY(may_look(r));
    r->until_ns = r->c->deadline_ns ? r->c->deadline_ns : after_s(RUN_S);
    r->v = cn_arena_zalloc(&r->c->arena, CN_GATE_RESULTS_MAX, sizeof *r->v);
    if (!r->v)
        return cn_fail_memory();
    for (uint32_t i = 0; i < r->n_sets; i++)
        r->all += r->sets[i].n;
    CN_TRY(may_go_on(r));
    CN_TRY(cn_epoch(r->t, &r->epoch));
    CN_TRY(measure_version(r));
    for (uint32_t i = 0; i < r->n_sets; i++)
        CN_TRY(measure_set(r, &r->sets[i]));
    return CN_OK;
}

static cn_err out_run(run *r, cn_buf *out) {
    cn_gate g;
    cn_gate_results stored;
    bool admin = cn_access_has(r->c->caller, CN_SCOPE(admin)); /* who may read what the sets name */
    CN_TRY(cn_gate_get(r->t, r->index, &r->c->arena, &g));
    CN_TRY(cn_gate_results_of(r->t, r->index, r->version, &r->c->arena, &stored));
    cn_pack_map(out, CN_GATE_VERSION_PAIRS + 3u + admin);
    cn_out_str(out, "index", r->index);
    cn_pack_cstr(out, "against");
    r->active ? cn_pack_uint(out, r->active) : cn_pack_nil(out);
    cn_pack_cstr(out, "sets");
    cn_pack_array(out, r->n_sets);
    for (uint32_t i = 0; i < r->n_sets; i++) {
        cn_pack_map(out, 3);
        cn_out_str(out, "set", r->sets[i].name);
        cn_out_hex(out, "digest", r->sets[i].digest.b, sizeof r->sets[i].digest.b);
        cn_out_uint(out, "questions", r->sets[i].n);
    }
    if (admin) {
        cn_pack_cstr(out, "failed");
        cn_pack_array(out, r->n_failed);
        cn_buf_add(out, r->failed.p, r->failed.n);
    }
    cn_gate_out_version(out, r->version, &g, &stored);
    return CN_OK;
}

cn_err cn_m_gate_run(cn_service *s, cn_call *c, cn_str tenant, const msgpack_object *p, cn_buf *out) {
    CN_AUTO_TENANT cn_tenant *t = NULL;
    cn_actor who;
    run r = {.s = s, .c = c, .tenant = tenant};
    CN_TRY(cn_arg_str(p, "index", &r.index));
    CN_TRY(cn_arg_actor(c, p, &who));
    CN_TRY(cn_call_tenant(s, tenant, &t));
    r.t = t;
    cn_buf_init(&r.failed, (size_t)4 << 20);
    cn_err err = measure(&r, p);
    if (err == CN_OK)
        err = cn_gate_record(t, r.index, r.version, r.v, r.n, r.active, r.sets, r.n_sets, &who);
    if (err == CN_OK)
        err = out_run(&r, out);
    cn_buf_done(&r.failed);
    return err;
}

static cn_err run_in(cn_service *s, cn_call *c, cn_str tenant, cn_str index, uint64_t version) {
    CN_AUTO_BUF cn_buf params;
    CN_AUTO_BUF cn_buf out = {0};
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    cn_buf_init(&params, 4096);
    cn_buf_init(&out, (size_t)16 << 20);
    cn_pack_map(&params, 2);
    cn_out_str(&params, "index", index);
    cn_out_uint(&params, "version", version);
    CN_TRY(cn_buf_check(&params));
    CN_TRY(cn_unpack(&u, params.p, params.n));
    return cn_m_gate_run(s, c, tenant, &u.o, &out);
}

cn_err cn_gate_measure(cn_service *s, cn_str tenant, cn_str index, uint64_t version, uint64_t until_ns, const atomic_bool *halt, const cn_actor *who) {
    cn_caller caller = {.kind = CN_CALLER_OPERATOR, .via = who->via.p};
    cn_call c;
    snprintf(caller.who, sizeof caller.who, CN_STR_FMT, CN_STR_ARG(who->who));
    cn_err err = cn_call_init(&c);
    c.caller = &caller;
    c.deadline_ns = until_ns;
    c.gone = halt;
    if (err == CN_OK)
        err = run_in(s, &c, tenant, index, version);
    cn_call_done(&c);
    return err;
}
