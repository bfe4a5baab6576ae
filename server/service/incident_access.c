/* incident.explain_access, incident.why_not: why somebody gets a document or does not. The verdicts are those of the search. */
#include <math.h>
#include <stdio.h>

#include "index/catalog/history.h"
#include "index/policy/policy.h"
#include "ingest/job/job.h"
#include "server/service/incident.h"
#include "server/service/question.h"

/* ---------- verdicts ---------- */
const char *cn_verdict_name(cn_verdict v) {
    static const char *const names[] = {[CN_V_READABLE] = "readable", [CN_V_ABSENT] = "not_in_version", [CN_V_ERASED] = "erased", [CN_V_HIDDEN] = "hidden",
                                        [CN_V_DENIED] = "denied", [CN_V_NOT_ALLOWED] = "not_allowed", [CN_V_LACKING] = "lacking"};
    return names[v];
}

/* The version whose revocations added a denial (deny) or a requirement; 0: none. */
static uint64_t added_by(const cn_said *s, bool deny, cn_str label) {
    for (uint32_t i = 0; i < s->n_lists; i++)
        if (cn_labels_has(deny ? s->lists[i].gone->deny : s->lists[i].gone->require, label))
            return s->lists[i].version;
    return 0;
}

static uint64_t revoked_by(const cn_said *s, cn_str label) {
    for (uint32_t i = 0; i < s->n_lists; i++)
        if (cn_labels_has(s->lists[i].gone->allow, label))
            return s->lists[i].version;
    return 0;
}

static const char *from_version(cn_call *c, uint64_t version) {
    const char *text = cn_arena_printf(&c->arena, "version %llu", (unsigned long long)version);
    return text ? text : "version";
}

static const char *allowed_from(const cn_explained *x, cn_str label) {
    return cn_labels_has(x->row.allow, label) && !revoked_by(&x->said, label) ? "row" : "grant";
}

static const char *denied_from(cn_call *c, const cn_explained *x, cn_str label) {
    uint64_t version = added_by(&x->said, true, label);
    return cn_labels_has(x->row.deny, label) ? "row" : version ? from_version(c, version) : "denial";
}

static const char *required_from(cn_call *c, const cn_explained *x, cn_str label) {
    return cn_labels_has(x->row.require, label) ? "row" : from_version(c, added_by(&x->said, false, label));
}

/* ---------- one sentence ---------- */
static cn_str pattern_text(const cn_pattern *p) { return p->glob.p ? p->glob : p->source; }

static const char *why_hidden(cn_call *c, const cn_said *s) {
    if (s->hidden)
        return "it is hidden by name, from everyone, in every version";
    return cn_arena_printf(&c->arena, "it is hidden by the %s " CN_STR_FMT ", from everyone, in every version", s->patterns[0]->glob.p ? "glob" : "source",
                           CN_STR_ARG(pattern_text(s->patterns[0])));
}

static const char *why_not_allowed(cn_call *c, const cn_look *l, const cn_explained *x) {
    for (uint32_t i = 0; i < x->row.allow.n; i++) {
        uint64_t by = revoked_by(&x->said, x->row.allow.v[i]);
        if (by && cn_labels_has(l->who.principal.asks, x->row.allow.v[i]))
            return cn_arena_printf(&c->arena, CN_STR_FMT " would let it through, and was revoked by version %llu", CN_STR_ARG(x->row.allow.v[i]), (unsigned long long)by);
    }
    return x->now.allow.n ? "none of the labels asked with is one that it allows" : "it allows no label, so nobody may read it";
}

static const cn_held *held_of(const cn_look *l, cn_str label) {
    for (uint32_t i = 0; i < l->who.n_held; i++)
        if (cn_str_eq(l->who.held[i].label, label))
            return &l->who.held[i];
    return NULL;
}

static const char *why_readable(cn_call *c, const cn_look *l, const cn_explained *x) {
    const char *from = strcmp(allowed_from(x, x->met.v[0]), "row") == 0 ? "its row" : "a grant of the policy";
    const cn_held *h = held_of(l, x->met.v[0]);
    if (!h || !h->through.n)
        return cn_arena_printf(&c->arena, CN_STR_FMT " is allowed by %s", CN_STR_ARG(x->met.v[0]), from);
    if (cn_str_eq(h->through, l->who.name))
        return cn_arena_printf(&c->arena, CN_STR_FMT " is allowed by %s; " CN_STR_FMT " has it from the directory of members", CN_STR_ARG(x->met.v[0]), from,
                               CN_STR_ARG(l->who.name));
    return cn_arena_printf(&c->arena, CN_STR_FMT " is allowed by %s; " CN_STR_FMT " has it through " CN_STR_FMT, CN_STR_ARG(x->met.v[0]), from,
                           CN_STR_ARG(l->who.name), CN_STR_ARG(h->through));
}

static const char *say(cn_call *c, const cn_look *l, const cn_explained *x, uint64_t version) {
    switch (x->verdict) {
    case CN_V_READABLE:
        return why_readable(c, l, x);
    case CN_V_ABSENT:
        return cn_arena_printf(&c->arena, "version %llu does not hold it; `cairn which-versions` lists those that do", (unsigned long long)version);
    case CN_V_ERASED:
        return x->said.row_erased ? "it was erased, and this row is one of before it was restored" : "it is erased, in every version";
    case CN_V_HIDDEN:
        return why_hidden(c, &x->said);
    case CN_V_DENIED:
        return cn_arena_printf(&c->arena, CN_STR_FMT " is denied by %s", CN_STR_ARG(x->denied_by.v[0]), denied_from(c, x, x->denied_by.v[0]));
    case CN_V_NOT_ALLOWED:
        return why_not_allowed(c, l, x);
    case CN_V_LACKING:
        return cn_arena_printf(&c->arena, CN_STR_FMT " is required by %s and not asked with", CN_STR_ARG(x->lacking.v[0]), required_from(c, x, x->lacking.v[0]));
    }
    return "";
}

const char *cn_why_of(cn_call *c, const cn_look *l, const cn_explained *x, uint64_t version) {
    const char *text = say(c, l, x, version);
    return text ? text : "";
}

/* ---------- the explanation ---------- */
static void out_allowed(cn_buf *out, const cn_look *l, const cn_explained *x) {
    cn_pack_cstr(out, "allowed_by");
    cn_pack_array(out, x->met.n);
    for (uint32_t i = 0; i < x->met.n; i++) {
        cn_pack_map(out, 3);
        cn_out_str(out, "label", x->met.v[i]);
        cn_out_cstr(out, "from", allowed_from(x, x->met.v[i]));
        cn_out_through(out, &l->who, x->met.v[i]);
    }
}

static void out_denied(cn_call *c, cn_buf *out, const cn_look *l, const cn_explained *x) {
    cn_pack_cstr(out, "denied_by");
    cn_pack_array(out, x->denied_by.n);
    for (uint32_t i = 0; i < x->denied_by.n; i++) {
        cn_pack_map(out, 3);
        cn_out_str(out, "label", x->denied_by.v[i]);
        cn_out_cstr(out, "from", denied_from(c, x, x->denied_by.v[i]));
        cn_out_through(out, &l->who, x->denied_by.v[i]);
    }
    cn_pack_cstr(out, "lacking");
    cn_pack_array(out, x->lacking.n);
    for (uint32_t i = 0; i < x->lacking.n; i++) {
        cn_pack_map(out, 2);
        cn_out_str(out, "label", x->lacking.v[i]);
        cn_out_cstr(out, "from", required_from(c, x, x->lacking.v[i]));
    }
}

static void out_policy(cn_buf *out, const cn_explained *x) {
    const cn_said *s = &x->said;
    cn_pack_cstr(out, "hidden_by");
    cn_pack_array(out, s->n_patterns + s->hidden);
    if (s->hidden)
        cn_pack_cstr(out, "its name");
    for (uint32_t i = 0; i < s->n_patterns; i++)
        cn_pack_str(out, pattern_text(s->patterns[i]));
    cn_out_bool(out, "erased", s->erased || s->row_erased);
    cn_pack_cstr(out, "revoked");
    cn_pack_array(out, s->n_lists);
    for (uint32_t i = 0; i < s->n_lists; i++) {
        cn_pack_map(out, 4);
        cn_out_uint(out, "version", s->lists[i].version);
        cn_out_labels(out, "allow", s->lists[i].gone->allow);
        cn_out_labels(out, "deny", s->lists[i].gone->deny);
        cn_out_labels(out, "require", s->lists[i].gone->require);
    }
}

cn_err cn_out_access(cn_call *c, const cn_look *l, const cn_explained *x, cn_buf *out) {
    cn_out_bool(out, "may_read", x->verdict == CN_V_READABLE);
    out_allowed(out, l, x);
    out_denied(c, out, l, x);
    out_policy(out, x);
    cn_out_triple(out, "row", &x->row);
    cn_out_triple(out, "now", &x->now);
    bool limited = cn_call_limited(c); /* what else a member holds is of the whole tenant */
    cn_out_labels(out, "labels", limited ? (cn_labels){0} : l->who.principal.asks);
    cn_out_str(out, "principal", l->who.name);
    return CN_OK;
}

/* ---------- who set the labels ---------- */
typedef struct stand {
    const cn_version *v; /* a copy in the arena */
    bool there, same;
} stand;

typedef struct labelling {
    cn_call *c;
    cn_policy *policy;
    cn_triple row;
    bool erased; /* the row itself is */
    stand *v;
    uint32_t n, room;
} labelling;

static bool same_set(cn_labels a, cn_labels b) { return a.n == b.n && cn_labels_within(a, b); }

/* Labels of a row that was erased are not those of one that came after the restore, though they are the same. */
static cn_err same_labels(const labelling *l, const cn_stand *s, bool *ret) {
    bool erased;
    CN_TRY(cn_policy_doc_erased(l->policy, s->seg, s->doc, &erased));
    *ret = !s->erased && erased == l->erased && same_set(s->labels.allow, l->row.allow) && same_set(s->labels.deny, l->row.deny) &&
           same_set(s->labels.require, l->row.require);
    return CN_OK;
}

static cn_err note_stand(void *ctx, const cn_version *v, const cn_stand *s, cn_err err) {
    labelling *l = ctx;
    bool same = false;
    cn_version *copy = cn_arena_alloc(&l->c->arena, sizeof *copy);
    if (!copy || l->n == l->room)
        return cn_fail_memory();
    *copy = (cn_version){.number = v->number, .base = v->base, .made_us = v->made_us, .made_by = cn_arena_str(&l->c->arena, v->made_by),
                         .job = cn_arena_str(&l->c->arena, v->job)};
    if (!copy->made_by.p || !copy->job.p)
        return cn_fail_memory();
    if (s)
        err = same_labels(l, s, &same);
    l->v[l->n++] = (stand){copy, err == CN_OK, same};
    return CN_OK;
}

static const stand *number(const labelling *l, uint64_t n) {
    for (uint32_t i = 0; i < l->n; i++)
        if (l->v[i].v->number == n)
            return &l->v[i];
    return NULL;
}

/* The oldest version, from `from` down along what each was made from, that has the row's labels; *ret_sure: nothing older that
 * might have had them is gone. */
static const cn_version *first_with(const labelling *l, uint64_t from, bool *ret_sure) {
    const stand *at = number(l, from), *base = at;
    while (at && (base = at->v->base ? number(l, at->v->base) : at) != at && base && base->same)
        at = base;
    *ret_sure = at && base && base->there;
    return at ? at->v : NULL;
}

static void out_job(cn_buf *out, const cn_job_labels *j) {
    cn_out_str(out, "kind", j->kind);
    cn_out_time(out, "started", j->started_us);
    cn_out_str(out, "label_rule", j->rule);
    cn_out_labels(out, "rule_gives", j->rule_gives);
    cn_out_labels(out, "label", j->labels);
    cn_pack_cstr(out, "trust");
    bool sidecar = j->trust & CN_TRUST_SIDECAR, front = j->trust & CN_TRUST_FRONT_MATTER;
    cn_pack_array(out, 0u + sidecar + front);
    if (sidecar)
        cn_pack_cstr(out, "sidecar");
    if (front)
        cn_pack_cstr(out, "front-matter");
    cn_out_str(out, "rows", j->rows);
}

/* The version by which the row has its labels. */
static cn_err find_labelled(cn_call *c, const cn_look *l, const cn_explained *x, uint64_t version, const cn_version **ret, bool *ret_sure) {
    cn_version *all;
    uint32_t n;
    CN_TRY(cn_version_list(l->t, l->index, &c->arena, &all, &n));
    labelling lab = {.c = c, .row = x->row, .erased = x->said.erased || x->said.row_erased, .room = n, .v = cn_arena_zalloc(&c->arena, n + 1u, sizeof *lab.v)};
    if (!lab.v)
        return cn_fail_memory();
    CN_TRY(cn_policy_load(l->t, &lab.policy));
    cn_err e = cn_version_history(l->t, l->index, l->source, l->doc, note_stand, &lab);
    cn_policy_unref(lab.policy);
    CN_TRY(e);
    *ret = first_with(&lab, version, ret_sure);
    return *ret ? CN_OK : cn_fail(CN_CONFLICT, "the versions changed meanwhile; ask again");
}

static cn_err out_labelled(cn_call *c, const cn_look *l, const cn_explained *x, uint64_t version, cn_buf *out) {
    const cn_version *v;
    bool sure = false;
    cn_job_labels j;
    cn_pack_cstr(out, "labelled");
    if (!x->seg) {
        cn_pack_nil(out);
        return CN_OK;
    }
    CN_TRY(find_labelled(c, l, x, version, &v, &sure));
    cn_err e = cn_job_labels_of(l->t, v->job, l->doc, &c->arena, &j);
    if (e != CN_NOT_FOUND)
        CN_TRY(e);
    cn_pack_map(out, e == CN_OK ? 12 : 5);
    cn_out_uint(out, "version", v->number);
    cn_out_bool(out, "certain", sure);
    cn_out_str(out, "job", v->job);
    cn_out_str(out, "by", v->made_by);
    cn_out_time(out, "made", v->made_us);
    if (e == CN_OK)
        out_job(out, &j);
    return CN_OK;
}

/* ---------- incident.explain_access ---------- */
cn_err cn_m_explain_access(cn_service *s, cn_call *c, cn_str tenant, const msgpack_object *p, cn_buf *out) {
    CN_AUTO_LOOK cn_look l = {0};
    CN_AUTO_READING cn_reading r = {0};
    cn_reading_opts o = {.tenant = tenant, .who = &l.who.principal};
    cn_explained x;
    CN_TRY(cn_get_uint(p, "version", 1, INT64_MAX, &o.version));
    CN_TRY(cn_look_open(s, c, tenant, "incident.explain_access", p, (cn_str){0}, &l));
    CN_TRY(cn_look_as(s, c, p, &l));
    o.index = l.index;
    CN_TRY(cn_reading_open(s, c, &o, &r));
    CN_TRY(cn_view_explain(r.view, l.source, l.doc, &r.who, &c->arena, &x));
    cn_pack_map(out, 8 + CN_OUT_ACCESS_PAIRS);
    cn_out_str(out, "index", l.index);
    cn_out_str(out, "source", l.source);
    cn_out_str(out, "doc", l.doc);
    cn_out_uint(out, "version", r.version->number);
    cn_out_uint(out, "policy_epoch", cn_view_epoch(r.view));
    cn_out_cstr(out, "verdict", cn_verdict_name(x.verdict));
    cn_out_cstr(out, "why", cn_why_of(c, &l, &x, r.version->number));
    CN_TRY(cn_out_access(c, &l, &x, out));
    return out_labelled(c, &l, &x, r.version->number, out);
}

/* ---------- incident.why_not ---------- */
typedef struct place { /* of the document's best passage */
    uint32_t chunk, rank;      /* rank 0: behind CN_K_MAX others */
    float score, relevance;
    bool any, answered, missed; /* missed: as asked, but with no codes between, it is in the answer */
} place;

static bool best_of(const cn_question *q, const cn_hit *hits, uint32_t n, const cn_explained *x, place *io) {
    for (uint32_t i = 0; i < n; i++)
        if (hits[i].seg == x->seg && hits[i].doc == x->doc) {
            *io = (place){hits[i].chunk, i + 1, hits[i].score, cn_question_relevance(q, &hits[i]), true, io->answered, io->missed};
            return true;
        }
    return false;
}

/* By its own vectors, where it is too far behind to be among the hits. */
static cn_err score_alone(const cn_question *q, const cn_explained *x, place *io) {
    const uint32_t *first = cn_seg_doc_row(x->seg);
    cn_arena a;
    cn_doc d;
    cn_arena_init(&a, 65536, (size_t)1 << 30);
    cn_err e = cn_seg_doc_full(x->seg, x->doc, &a, &d);
    for (uint32_t i = 0; e == CN_OK && i < first[x->doc + 1] - first[x->doc]; i++) {
        float score = cn_score(q->reading.version->recipe.metric, q->vector, d.chunks[i].vector, q->dim);
        if (!io->any || score > io->score)
            *io = (place){.chunk = i, .score = score, .relevance = cn_question_relevance(q, &(cn_hit){.score = score, .seg = x->seg, .row = first[x->doc] + i}), .any = true};
    }
    cn_arena_done(&a);
    return e == CN_OK ? cn_seg_sound(x->seg) : e;
}

/* First as it was asked; then exactly and as far down as an answer can go. */
static cn_err find_place(cn_call *c, const cn_question *asked, const cn_explained *x, place *ret) {
    cn_question q = *asked;
    place at = {0};
    uint32_t n;
    bool missed = false;
    CN_TRY(cn_question_search(c, &q, &n));
    at.answered = best_of(&q, c->hits, n, x, &at);
    q.recall = q.aims_at = 1;
    if (q.how == CN_MODE_DENSE)
        cn_question_set(&q, CN_MODE_EXACT);
    if (!at.answered) { /* in mode hybrid ranks depend on how far down both lists are taken, so the same k says who missed it */
        CN_TRY(cn_question_search(c, &q, &n));
        missed = best_of(&q, c->hits, n, x, &at);
    }
    q.k = CN_K_MAX;
    q.per_doc = 0;
    CN_TRY(cn_question_search(c, &q, &n));
    if (!best_of(&q, c->hits, n, x, &at) && q.how == CN_MODE_EXACT)
        CN_TRY(score_alone(&q, x, &at));
    at.missed = missed;
    *ret = at;
    return CN_OK;
}

static const char *why_behind(cn_call *c, const cn_question *q, const place *at, const char **ret_verdict) {
    float relevance = at->relevance;
    if (!at->any) {
        *ret_verdict = "ranked_lower";
        return cn_arena_printf(&c->arena, "it holds none of the question's words%s, or more than %u permitted passages fit them better",
                               q->operators ? " or lacks one of its phrases" : "", CN_K_MAX);
    }
    if (relevance < q->min_relevance) {
        *ret_verdict = "below_min_relevance";
        return cn_arena_printf(&c->arena, "its best passage has relevance %.4f, and at least %.4f was asked for", (double)relevance, (double)q->min_relevance);
    }
    if (at->answered) {
        *ret_verdict = "answered";
        return cn_arena_printf(&c->arena, "it is in the answer: its best passage ranks %u", at->rank);
    }
    *ret_verdict = "ranked_lower";
    if (at->rank && at->rank <= q->k && !at->missed)
        return cn_arena_printf(&c->arena, "its best passage ranks %u only where the lists by vectors and by words are taken further down than a question for %u takes them; "
                               "it is too far behind in one of them, and a larger k finds it", at->rank, q->k);
    if (at->missed) {
        *ret_verdict = "missed";
        return "the search by codes missed it; mode exact, or more recall, finds it";
    }
    if (!at->rank)
        return cn_arena_printf(&c->arena, "more than %u permitted passages are nearer, and %u were asked for", CN_K_MAX, q->k);
    return cn_arena_printf(&c->arena, "its best passage ranks %u, and %u were asked for", at->rank, q->k);
}

static cn_err judge(cn_call *c, const cn_look *l, const cn_question *q, const cn_explained *x, place *at, const char **ret_verdict, const char **ret_why) {
    cn_doc d;
    *ret_verdict = cn_verdict_name(x->verdict);
    *ret_why = cn_why_of(c, l, x, q->reading.version->number);
    if (x->verdict != CN_V_READABLE)
        return CN_OK;
    CN_TRY(cn_seg_doc_brief(x->seg, x->doc, &d));
    if (q->filter && !cn_filter_match(q->filter, &d)) {
        *ret_verdict = "filtered";
        *ret_why = "its metadata does not fit the filter";
        return CN_OK;
    }
    if (d.n_chunks == 0) {
        *ret_verdict = "no_passages";
        *ret_why = "it has no passage";
        return CN_OK;
    }
    CN_TRY(find_place(c, q, x, at));
    *ret_why = why_behind(c, q, at, ret_verdict);
    return *ret_why ? CN_OK : cn_fail_memory();
}

static void out_place(cn_buf *out, const cn_question *q, const place *at) {
    cn_out_uint(out, "k", q->k);
    cn_out_str(out, "mode", q->mode);
    cn_pack_cstr(out, "chunk");
    if (at->any)
        cn_pack_uint(out, at->chunk);
    else
        cn_pack_nil(out);
    cn_pack_cstr(out, "rank");
    if (at->any && at->rank)
        cn_pack_uint(out, at->rank);
    else
        cn_pack_nil(out);
    cn_pack_cstr(out, "score");
    if (at->any)
        cn_pack_f32(out, at->score);
    else
        cn_pack_nil(out);
    cn_pack_cstr(out, "relevance");
    if (at->any)
        cn_pack_f32(out, at->relevance);
    else
        cn_pack_nil(out);
}

static cn_err answer_why(cn_service *s, cn_call *c, const cn_look *l, cn_question *q, cn_buf *out) {
    const char *verdict, *why;
    cn_explained x;
    place at = {0};
    CN_TRY(cn_question_open(s, c, q));
    CN_TRY(cn_view_explain(q->reading.view, l->source, l->doc, &q->reading.who, &c->arena, &x));
    if (cn_question_needs_vector(q) && x.verdict == CN_V_READABLE)
        CN_TRY(cn_question_embed(s, c, q));
    CN_TRY(judge(c, l, q, &x, &at, &verdict, &why));
    cn_pack_map(out, 13 + CN_OUT_ACCESS_PAIRS);
    cn_out_str(out, "index", l->index);
    cn_out_str(out, "source", l->source);
    cn_out_str(out, "doc", l->doc);
    cn_out_uint(out, "version", q->reading.version->number);
    cn_out_uint(out, "policy_epoch", cn_view_epoch(q->reading.view));
    cn_out_cstr(out, "verdict", verdict);
    cn_out_cstr(out, "why", why);
    out_place(out, q, &at);
    return cn_out_access(c, l, &x, out);
}

cn_err cn_m_why_not(cn_service *s, cn_call *c, cn_str tenant, const msgpack_object *p, cn_buf *out) {
    CN_AUTO_LOOK cn_look l = {0};
    CN_AUTO_BUF cn_buf detail;
    cn_question q = {0};
    cn_str text = {NULL, 0};
    cn_buf_init(&detail, 4096);
    CN_TRY(cn_question_read(c, tenant, p, NULL, &q));
    CN_TRY(cn_get_str(p, "text", &text));
    cn_look_pack_text(&detail, text);
    CN_TRY(cn_look_open(s, c, tenant, "incident.why_not", p, cn_buf_str(&detail), &l));
    CN_TRY(cn_look_as(s, c, p, &l));
    q.from.as = q.from.labels = NULL;
    q.from.who = &l.who.principal;
    cn_err e = answer_why(s, c, &l, &q, out);
    cn_reading_done(&q.reading);
    return e;
}
