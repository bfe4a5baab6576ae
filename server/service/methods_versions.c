/* versions.*: what there is, what differs, and which one answers. */
#include "index/catalog/answers.h"
#include "index/catalog/compact.h"
#include "server/service/gate.h"
#include "server/service/methods_inside.h"
#include "server/service/operate.h"
#include "server/service/reading.h"

const char *cn_version_state_name(const cn_version *v, const cn_index_info *ix) {
    if (v->marks & CN_MARK_DROPPED)
        return "dropped";
    if (v->number == ix->active)
        return "active";
    return v->marks & CN_MARK_EVER_ACTIVE ? "idle" : "sealed";
}

void cn_out_marks(cn_buf *b, unsigned marks) {
    static const struct {
        unsigned bit;
        const char *name;
    } names[] = {{CN_MARK_SUSPECT, "suspect"}, {CN_MARK_QUARANTINED, "quarantined"}, {CN_MARK_PINNED, "pinned"}, {CN_MARK_TRIAL, "trial"}};
    cn_pack_cstr(b, "marks");
    size_t at = cn_pack_array_open(b);
    uint32_t n = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (marks & names[i].bit) {
            cn_pack_cstr(b, names[i].name);
            n++;
        }
    cn_pack_array_close(b, at, n);
}

/* `counted`: with what is told of all its documents, permitted or not. */
static cn_err out_version(cn_buf *b, const cn_version *v, const cn_index_info *ix, const char *gate, bool counted) {
    cn_index_settings set = {0};
    CN_TRY(cn_answers_of(v, &set));
    cn_pack_map(b, counted ? 18 : 12);
    cn_out_uint(b, "version", v->number);
    cn_out_cstr(b, "state", cn_version_state_name(v, ix));
    cn_out_marks(b, v->marks);
    cn_out_hex(b, "root", v->root.b, sizeof v->root.b);
    if (counted) {
        cn_out_uint(b, "documents", v->counts.documents);
        cn_out_uint(b, "chunks", v->counts.chunks);
        cn_out_counts(b, "counts", &v->counts);
        cn_out_str(b, "by", v->made_by);
        cn_out_str(b, "job", v->job);
        cn_out_cstr(b, "gate", gate);
    }
    cn_out_uint(b, "base", v->base);
    cn_out_time(b, "made", v->made_us);
    cn_out_time(b, "first_active", v->first_active_us);
    cn_out_str(b, "embedder", v->recipe.embedder);
    cn_out_str(b, "chunker", v->recipe.chunker);
    cn_out_str(b, "mode", set.mode);
    cn_out_cstr(b, "fusion", cn_fusion_name(set.rrf));
    cn_out_str(b, "analyser", cn_analyser_words(v->recipe.analyser));
    return CN_OK;
}

static cn_err list(cn_service *s, cn_call *c, cn_str tenant, const msgpack_object *p, cn_buf *out) {
    CN_AUTO_TENANT cn_tenant *t = NULL;
    cn_index_info ix;
    cn_version *v;
    cn_modes m;
    cn_str index;
    cn_gate g = {0};
    uint32_t n;
    CN_TRY(cn_call_tenant(s, tenant, &t));
    CN_TRY(cn_arg_str(p, "index", &index));
    CN_TRY(cn_index_get(t, index, &c->arena, &ix));
    CN_TRY(cn_version_list(t, index, &c->arena, &v, &n));
    CN_TRY(cn_modes_get(t, index, &c->arena, &m));
    bool counted = cn_access_has(c->caller, CN_SCOPE(versions)) || cn_access_has(c->caller, CN_SCOPE(audit));
    cn_pack_map(out, 5);
    cn_out_str(out, "index", ix.name);
    cn_out_uint(out, "active", ix.active);
    cn_out_bool(out, "hold", ix.hold);
    cn_out_incident_mode(out, &m);
    cn_pack_cstr(out, "versions");
    cn_pack_array(out, n);
    if (counted)
        CN_TRY(cn_gate_get(t, index, &c->arena, &g));
    for (uint32_t i = 0; i < n; i++) {
        const char *gate = NULL;
        if (!(v[i].marks & CN_MARK_DROPPED))
            CN_TRY(cn_gate_word(t, index, v[i].number, &g, &gate));
        CN_TRY(out_version(out, &v[i], &ix, gate, counted));
    }
    return CN_OK;
}

typedef struct diff_sink {
    cn_buf *out;
    cn_reading *sides[2];  /* the two versions, as the caller may read them; NULL: every document counts, and is listed with its labels */
    uint64_t counts[4], limit;
    uint32_t shown;
    bool more;
} diff_sink;

static const char *const diff_names[] = {
    [CN_DIFF_ADDED] = "added", [CN_DIFF_DELETED] = "deleted", [CN_DIFF_CHANGED] = "changed", [CN_DIFF_RELABELLED] = "relabelled"};

static cn_err may_read(const cn_reading *r, cn_str source, cn_str id, bool *ret) {
    cn_seg *seg;
    uint32_t doc;
    cn_err err = r->view && r->who.asks.n ? cn_view_doc(r->view, source, id, &r->who, &seg, &doc) : CN_NOT_FOUND;
    *ret = err == CN_OK;
    return err == CN_NOT_FOUND ? CN_OK : err;
}

/* As it is to the caller: what may be read in one of the two versions alone is only there. *ret_may false: it is in neither. */
static cn_err as_read(const diff_sink *d, cn_str source, cn_str id, enum cn_diff_kind *io_kind, bool *ret_may) {
    bool before = true, after = true;
    if (d->sides[0]) {
        CN_TRY(may_read(d->sides[0], source, id, &before));
        CN_TRY(may_read(d->sides[1], source, id, &after));
    }
    if (before != after)
        *io_kind = before ? CN_DIFF_DELETED : CN_DIFF_ADDED;
    *ret_may = before || after;
    return CN_OK;
}

static cn_err diff_one(void *ctx, enum cn_diff_kind kind, cn_str source, cn_str id, const cn_triple *before, const cn_triple *after) {
    diff_sink *d = ctx;
    bool may, labels = d->sides[0] == NULL;
    CN_TRY(as_read(d, source, id, &kind, &may));
    if (!may)
        return CN_OK;
    d->counts[kind]++;
    d->more = d->more || d->shown >= d->limit;
    if (d->more)
        return CN_OK;
    d->shown++;
    cn_pack_map(d->out, 3u + (labels && before) + (labels && after));
    cn_out_cstr(d->out, "change", diff_names[kind]);
    cn_out_str(d->out, "source", source);
    cn_out_str(d->out, "doc", id);
    if (labels && before)
        cn_out_triple(d->out, "before", before);
    if (labels && after)
        cn_out_triple(d->out, "after", after);
    return CN_OK;
}

/* A version that the caller may not look at is left closed, and nothing of it can be read. */
static cn_err open_side(cn_service *s, cn_call *c, cn_reading_opts o, uint64_t version, cn_reading *ret) {
    o.version = version;
    cn_err err = cn_reading_open(s, c, &o, ret);
    return err == CN_NOT_FOUND || err == CN_DENIED || err == CN_REFUSED ? CN_OK : err;
}

/* What differs but the documents. */
static cn_err diff_settings(cn_tenant *t, cn_call *c, cn_str index, uint64_t m, uint64_t n, cn_buf *out) {
    static const char *const names[] = {"mode", "fusion", "analyser", "embedder", "precision", "chunker"};
    const uint64_t numbers[2] = {m, n};
    cn_str is[2][sizeof names / sizeof *names];
    uint32_t differ = 0;
    for (int i = 0; i < 2; i++) {
        cn_index_settings set = {0};
        cn_version v;
        CN_TRY(cn_version_get(t, index, numbers[i], &c->arena, &v));
        CN_TRY(cn_answers_of(&v, &set));
        const cn_str all[] = {set.mode, cn_str_of(cn_fusion_name(set.rrf)), cn_analyser_words(v.recipe.analyser), v.recipe.embedder, v.recipe.precision, v.recipe.chunker};
        memcpy(is[i], all, sizeof all);
    }
    cn_pack_cstr(out, "settings");
    size_t at = cn_pack_array_open(out);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!cn_str_eq(is[0][i], is[1][i])) {
            differ++;
            cn_pack_map(out, 3);
            cn_out_cstr(out, "setting", names[i]);
            cn_out_str(out, "before", is[0][i]);
            cn_out_str(out, "after", is[1][i]);
        }
    cn_pack_array_close(out, at, differ);
    return CN_OK;
}

static cn_err diff(cn_service *s, cn_call *c, cn_str tenant, const msgpack_object *p, cn_buf *out) {
    CN_AUTO_READING cn_reading older = {0};
    CN_AUTO_READING cn_reading newer = {0};
    CN_AUTO_TENANT cn_tenant *t = NULL;
    cn_str index;
    uint64_t m, n;
    diff_sink d = {.out = out, .limit = 1000};
    CN_TRY(cn_call_tenant(s, tenant, &t));
    CN_TRY(cn_arg_str(p, "index", &index));
    CN_TRY(cn_arg_version(p, "from", &m));
    CN_TRY(cn_arg_version(p, "to", &n));
    CN_TRY(cn_get_uint(p, "limit", 0, CN_ARG_LIST_MAX, &d.limit));
    const cn_reading_opts o = {.tenant = tenant, .index = index, .as = cn_given(p, "as"), .labels = cn_given(p, "labels")};
    cn_principal who;
    if (o.as || o.labels || !cn_access_has(c->caller, CN_SCOPE(audit))) {
        CN_TRY(cn_access_principal(c, t, o.as, o.labels, &who)); /* whom it may not ask for is refused */
        CN_TRY(open_side(s, c, o, m, &older));
        CN_TRY(open_side(s, c, o, n, &newer));
        d.sides[0] = &older;
        d.sides[1] = &newer;
    }
    cn_pack_map(out, 9);
    cn_out_uint(out, "from", m);
    cn_out_uint(out, "to", n);
    CN_TRY(diff_settings(t, c, index, m, n, out));
    cn_pack_cstr(out, "documents");
    size_t at = cn_pack_array_open(out);
    CN_TRY(cn_version_diff(t, index, m, n, diff_one, &d));
    cn_pack_array_close(out, at, d.shown);
    for (int k = 0; k < 4; k++)
        cn_out_uint(out, diff_names[k], d.counts[k]);
    cn_out_bool(out, "more", d.more);
    return CN_OK;
}

/* What every change of the pointer answers with. */
static cn_err out_pointer(cn_tenant *t, cn_call *c, cn_str index, const char *was_key, uint64_t was, cn_buf *out) {
    cn_index_info ix;
    uint64_t epoch;
    CN_TRY(cn_index_get(t, index, &c->arena, &ix));
    CN_TRY(cn_epoch(t, &epoch));
    cn_pack_map(out, 4u + (was_key != NULL));
    cn_out_str(out, "index", index);
    if (was_key)
        cn_out_uint(out, was_key, was);
    cn_out_uint(out, "active", ix.active);
    cn_out_bool(out, "hold", ix.hold);
    cn_out_uint(out, "epoch", epoch);
    return CN_OK;
}

typedef struct target {
    cn_tenant *t;
    cn_str index;
    cn_actor who;
} target;

static cn_err target_of(cn_service *s, cn_call *c, cn_str tenant, const msgpack_object *p, target *ret) {
    CN_TRY(cn_arg_str(p, "index", &ret->index));
    CN_TRY(cn_arg_actor(c, p, &ret->who));
    return cn_call_tenant(s, tenant, &ret->t);
}

static cn_err take_force(const cn_call *c, const msgpack_object *p, bool *ret) {
    CN_TRY(cn_get_bool(p, "force", ret));
    return *ret && !cn_access_has(c->caller, CN_SCOPE(force)) ? cn_fail(CN_DENIED, "to force a version past the gate needs the scope force") : CN_OK;
}

static cn_err activate_target(target *g, cn_call *c, const msgpack_object *p, cn_buf *out) {
    uint64_t number, expect = CN_ANY_VERSION, before;
    bool force = false;
    CN_TRY(cn_arg_version(p, "version", &number));
    CN_TRY(cn_get_uint(p, "expect", 0, INT64_MAX, &expect));
    CN_TRY(take_force(c, p, &force));
    CN_TRY(force ? cn_version_force(g->t, g->index, number, expect, &g->who, &before)
                 : cn_version_activate(g->t, g->index, number, expect, false, &g->who, &before));
    return out_pointer(g->t, c, g->index, "before", before, out);
}

static cn_err rollback_target(target *g, cn_call *c, const msgpack_object *p, cn_buf *out) {
    uint64_t to = 0, from, now;
    bool force = false;
    CN_TRY(cn_get_uint(p, "to", 1, INT64_MAX, &to));
    CN_TRY(take_force(c, p, &force));
    if (force && !to)
        return cn_fail(CN_INVALID, "field \"force\" goes with field \"to\": without it a rollback is not asked by the gate");
    CN_TRY((force ? cn_version_force_back : cn_version_rollback)(g->t, g->index, to, &g->who, &from, &now));
    return out_pointer(g->t, c, g->index, "from", from, out);
}

static cn_err release_target(target *g, cn_call *c, const msgpack_object *p, cn_buf *out) {
    (void)p;
    CN_TRY(cn_version_release(g->t, g->index, &g->who));
    return out_pointer(g->t, c, g->index, NULL, 0, out);
}

static cn_err gc_target(target *g, cn_call *c, const msgpack_object *p, cn_buf *out) {
    (void)c;
    bool dry = false;
    cn_gc_result r;
    CN_TRY(cn_get_bool(p, "dry_run", &dry));
    CN_TRY(cn_version_gc(g->t, g->index, dry, &g->who, &r));
    cn_pack_map(out, 4);
    cn_out_uint(out, "versions", r.versions);
    cn_out_uint(out, "documents", r.documents);
    cn_out_uint(out, "files", r.files);
    cn_out_uint(out, "bytes", r.bytes);
    return CN_OK;
}

static cn_err compact_target(target *g, cn_call *c, const msgpack_object *p, cn_buf *out) {
    cn_compact_opts o = {0};
    cn_compact_result r;
    (void)c;
    CN_TRY(cn_get_bool(p, "dry_run", &o.dry));
    CN_TRY(cn_get_bool(p, "wait", &o.wait));
    cn_views_flush(g->t); /* what this process keeps open for questions to come */
    CN_TRY(cn_version_compact(g->t, g->index, &o, &g->who, &r));
    cn_views_flush(g->t);
    cn_pack_map(out, 13);
    cn_out_uint(out, "versions", r.versions);
    cn_out_uint(out, "segments_before", r.segments_before);
    cn_out_uint(out, "segments_after", r.segments_after);
    cn_out_uint(out, "rewritten", r.rewritten);
    cn_out_uint(out, "made", r.made);
    cn_out_uint(out, "bytes_before", r.bytes_before);
    cn_out_uint(out, "bytes_after", r.bytes_after);
    cn_out_uint(out, "erased", r.erased);
    cn_out_uint(out, "dropped", r.dropped);
    cn_out_uint(out, "files", r.files);
    cn_out_uint(out, "pending", r.pending);
    cn_out_bool(out, "gone", !o.dry && r.pending == 0);
    cn_out_time(out, "due", r.pending ? r.due_us : CN_NO_TIME);
    return CN_OK;
}

static cn_err out_marked(target *g, cn_call *c, uint64_t number, cn_buf *out) {
    cn_version v;
    CN_TRY(cn_version_get(g->t, g->index, number, &c->arena, &v));
    cn_pack_map(out, 3);
    cn_out_str(out, "index", g->index);
    cn_out_uint(out, "version", number);
    cn_out_marks(out, v.marks);
    return CN_OK;
}

static cn_err mark_target(target *g, cn_call *c, const msgpack_object *p, unsigned set, unsigned clear, cn_buf *out) {
    uint64_t number;
    CN_TRY(cn_arg_version(p, "version", &number));
    CN_TRY(cn_version_mark(g->t, g->index, number, set, clear, &g->who));
    return out_marked(g, c, number, out);
}

static cn_err pin_target(target *g, cn_call *c, const msgpack_object *p, cn_buf *out) {
    return mark_target(g, c, p, CN_MARK_PINNED, 0, out);
}
static cn_err unpin_target(target *g, cn_call *c, const msgpack_object *p, cn_buf *out) {
    return mark_target(g, c, p, 0, CN_MARK_PINNED, out);
}
static cn_err quarantine_target(target *g, cn_call *c, const msgpack_object *p, cn_buf *out) {
    return mark_target(g, c, p, CN_MARK_QUARANTINED, 0, out);
}
static cn_err unquarantine_target(target *g, cn_call *c, const msgpack_object *p, cn_buf *out) {
    return mark_target(g, c, p, 0, CN_MARK_QUARANTINED, out);
}

static cn_err drop_target(target *g, cn_call *c, const msgpack_object *p, cn_buf *out) {
    uint64_t number;
    CN_TRY(cn_arg_version(p, "version", &number));
    CN_TRY(cn_version_drop(g->t, g->index, number, &g->who));
    return out_marked(g, c, number, out);
}

/* Each method on one index opens the tenant, acts, and closes it again. */
#define ON_TARGET(name)                                                                                         \
    static cn_err name(cn_service *s, cn_call *c, cn_str tenant, const msgpack_object *p, cn_buf *out) {        \
        target g = {0};                                                                                         \
        cn_err err = target_of(s, c, tenant, p, &g);                                                            \
        if (err == CN_OK)                                                                                       \
            err = name##_target(&g, c, p, out);                                                                 \
        cn_tenant_unref_p(&g.t);                                                                                \
        return err;                                                                                             \
    }
ON_TARGET(activate)
ON_TARGET(rollback)
ON_TARGET(release)
ON_TARGET(gc)
ON_TARGET(compact)
ON_TARGET(pin)
ON_TARGET(unpin)
ON_TARGET(quarantine)
ON_TARGET(unquarantine)
ON_TARGET(drop)

static const cn_param p_index[] = {INDEX, END};
static const cn_param p_diff[] = {INDEX, {"from", "uint", true, "the older version"}, {"to", "uint", true, "the newer version"},
                                  {"limit", "uint", false, "list at most so many documents (1000); all that may be read are counted"}, WHO, END};
static const cn_param p_activate[] = {INDEX, {"version", "uint", true, "the version that shall answer"},
                                      {"expect", "uint", false, "only if this version is active now (0: none)"},
                                      {"force", "bool", false, "though the index's gate is not met; needs the scope force, and a reason"}, REASON, END};
static const cn_param p_rollback[] = {INDEX, {"to", "uint", false, "to this version; else to the one active before"},
                                      {"force", "bool", false, "to a version that was never active, though the gate is not met; needs the scope force, and a reason"}, REASON, END};
static const cn_param p_release[] = {INDEX, REASON, END};
static const cn_param p_mark[] = {INDEX, {"version", "uint", true, "which version"}, REASON, END};
static const cn_param p_gc[] = {INDEX, {"dry_run", "bool", false, "only count what would go"}, REASON, END};

static const cn_param p_compact[] = {INDEX, {"dry_run", "bool", false, "only tell what would be done"},
                                     {"wait", "bool", false, "answer when the old files are gone, over a minute later"}, REASON, END};

const cn_method cn_methods_versions[] = {
    {"versions.list", CN_SCOPE(query), 0, "all versions of an index, newest last", p_index, list},
    {"versions.diff", CN_SCOPE(versions), CN_METHOD_DEAR, "documents and permissions that differ between two versions", p_diff, diff},
    {"versions.activate", CN_SCOPE(activate), CN_METHOD_CHANGES, "make a version the one that answers, in one transaction", p_activate, activate},
    {"versions.rollback", CN_SCOPE(activate), CN_METHOD_CHANGES, "back to the version before; marks the one left suspect and holds the pointer", p_rollback, rollback},
    {"versions.release", CN_SCOPE(activate), CN_METHOD_CHANGES, "end the hold of a rollback, so that jobs may activate again", p_release, release},
    {"versions.pin", CN_SCOPE(operate), CN_METHOD_CHANGES, "keep a version whatever gc would do", p_mark, pin},
    {"versions.unpin", CN_SCOPE(operate), CN_METHOD_CHANGES, "let gc decide again", p_mark, unpin},
    {"versions.quarantine", CN_SCOPE(operate), CN_METHOD_CHANGES, "this version never answers", p_mark, quarantine},
    {"versions.unquarantine", CN_SCOPE(operate), CN_METHOD_CHANGES, "lift a quarantine", p_mark, unquarantine},
    {"versions.drop", CN_SCOPE(operate), CN_METHOD_CHANGES, "give up a version; gc removes its files", p_mark, drop},
    {"versions.gc", CN_SCOPE(operate), CN_METHOD_DEAR | CN_METHOD_CHANGES, "drop versions beyond the index's limits and sweep files no version names", p_gc, gc},
    {"versions.compact", CN_SCOPE(operate), CN_METHOD_DEAR | CN_METHOD_CHANGES, "new files without erased and dropped documents, and fewer of them; roots and answers stay", p_compact,
     compact},
    {NULL, 0, 0, NULL, NULL, NULL},
};
