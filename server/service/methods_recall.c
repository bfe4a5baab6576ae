/* recall.*: how much of what exact search finds the answers had, by version, hour, plan and selectivity (shadow.h). */
#include <stdlib.h>

#include "engine/base/mem.h"
#include "server/service/methods_inside.h"
#include "server/service/reading.h"
#include "server/service/shadow.h"

#define SHOWN 4000 /* more than one version has */

/* All of an index, by version and hour: the records, and what is not yet written. */
typedef struct list {
    cn_recall_hour *v;
    uint32_t n, room;
} list;

static cn_err note(void *ctx, const cn_recall_hour *h) {
    list *l = ctx;
    cn_recall_hour *last = l->n ? &l->v[l->n - 1] : NULL;
    if (last && last->version == h->version && last->at_us == h->at_us) {
        cn_recall_join(&last->counts, &h->counts);
        last->effort = h->effort;
        return CN_OK;
    }
    if (l->n == SHOWN)
        return cn_fail(CN_INVALID, "there are over %d hours of all versions; name one", SHOWN);
    if (!cn_grow(l->v, l->n, l->room))
        return cn_fail_memory();
    l->v[l->n++] = *h;
    return CN_OK;
}

typedef struct reading {
    list *l;
    const cn_recall_hour *pending;
    uint32_t n, at;
} reading;

/* Each version's own follows its last record. */
static cn_err note_pending(reading *r, uint64_t before) {
    for (; r->at < r->n && r->pending[r->at].version < before; r->at++)
        CN_TRY(note(r->l, &r->pending[r->at]));
    return CN_OK;
}

static cn_err note_record(void *ctx, const cn_recall_hour *h) {
    reading *r = ctx;
    CN_TRY(note_pending(r, h->version));
    return note(r->l, h);
}

static int by_version(const void *a, const void *b) {
    uint64_t x = ((const cn_recall_hour *)a)->version, y = ((const cn_recall_hour *)b)->version;
    return (x > y) - (x < y);
}

/* What is being written just now may be in neither, for that moment. */
static cn_err gather(cn_service *s, cn_tenant *t, uint64_t index_id, uint64_t version, list *l) {
    CN_AUTO_FREE cn_recall_hour *pending = cn_alloc(CN_SHADOW_WATCHED * sizeof *pending);
    uint32_t n = 0;
    if (!pending)
        return cn_fail_memory();
    uint32_t all = cn_shadow_pending(s->shadow, t, index_id, pending, CN_SHADOW_WATCHED);
    for (uint32_t i = 0; i < all; i++)
        if (!version || pending[i].version == version)
            pending[n++] = pending[i];
    qsort(pending, n, sizeof *pending, by_version);
    reading r = {l, pending, n, 0};
    CN_TRY(cn_recall_each(t, index_id, version, note_record, &r));
    return note_pending(&r, UINT64_MAX);
}

/* ---------- showing ---------- */
#define INTERVAL_PAIRS 4u
static void out_interval(cn_buf *out, const cn_tally *t) {
    cn_interval x = cn_tally_interval(t);
    cn_out_uint(out, "questions", t->n);
    cn_pack_cstr(out, "recall"), t->n ? cn_pack_f64(out, x.mean) : cn_pack_nil(out);
    cn_out_f64(out, "low", x.low);
    cn_out_f64(out, "high", x.high);
}

static void out_effort(cn_buf *out, const cn_recall_effort *e) {
    uint32_t n = 0;
    cn_pack_cstr(out, "effort");
    size_t at = cn_pack_array_open(out);
    for (uint32_t i = 0; i < CN_AIMS; i++) {
        if (e->aim[i] <= i)
            continue;
        n++;
        cn_pack_map(out, 2);
        cn_out_f64(out, "asked", cn_recall_aims[i]);
        cn_out_f64(out, "aims_at", cn_recall_aims[e->aim[i]]);
    }
    cn_pack_array_close(out, at, n);
}

static void out_plans(cn_buf *out, const cn_recall_counts *c) {
    uint32_t n = 0;
    cn_pack_cstr(out, "plans");
    size_t at = cn_pack_array_open(out);
    for (uint32_t p = 0; p < CN_RECALL_PLANS; p++)
        for (uint32_t s = 0; s < CN_SELECTIVITIES; s++)
            for (uint32_t a = 0; a < CN_AIMS; a++) {
                if (!c->v[p][s][a].n)
                    continue;
                n++;
                cn_pack_map(out, 3 + INTERVAL_PAIRS);
                cn_out_cstr(out, "plan", cn_recall_plans[p]);
                cn_out_cstr(out, "may_read", cn_selectivities[s]);
                cn_out_f64(out, "asked", cn_recall_aims[a]);
                out_interval(out, &c->v[p][s][a]);
            }
    cn_pack_array_close(out, at, n);
}

static void out_version(cn_buf *out, const cn_recall_hour *v, uint32_t n, const char *state) {
    cn_recall_counts all = {.dropped = 0};
    for (uint32_t i = 0; i < n; i++)
        cn_recall_join(&all, &v[i].counts);
    cn_tally total = cn_recall_total(&all);
    cn_pack_map(out, 5 + INTERVAL_PAIRS);
    cn_out_uint(out, "version", v->version);
    cn_out_cstr(out, "state", state);
    out_interval(out, &total);
    cn_out_uint(out, "dropped", all.dropped);
    out_effort(out, &v[n - 1].effort);
    out_plans(out, &all);
}

static void out_hours(cn_buf *out, const list *l) {
    cn_pack_cstr(out, "hours");
    cn_pack_array(out, l->n);
    for (uint32_t i = 0; i < l->n; i++) {
        cn_tally t = cn_recall_total(&l->v[i].counts);
        cn_pack_map(out, 4 + INTERVAL_PAIRS);
        cn_out_uint(out, "version", l->v[i].version);
        cn_out_time(out, "at", l->v[i].at_us);
        out_interval(out, &t);
        cn_out_uint(out, "dropped", l->v[i].counts.dropped);
        out_effort(out, &l->v[i].effort);
    }
}

static const char *state_of(const cn_index_info *ix, const cn_version *v, uint32_t n, uint64_t number) {
    for (uint32_t i = 0; i < n; i++)
        if (v[i].number == number)
            return cn_version_state_name(&v[i], ix);
    return "dropped";
}

static cn_err out_all(cn_call *c, cn_tenant *t, const cn_index_info *ix, const list *l, cn_buf *out) {
    cn_version *v;
    uint32_t n, shown = 0;
    CN_TRY(cn_version_list(t, ix->name, &c->arena, &v, &n));
    cn_pack_map(out, 3);
    cn_out_str(out, "index", ix->name);
    cn_pack_cstr(out, "versions");
    size_t at = cn_pack_array_open(out);
    for (uint32_t i = 0, to; i < l->n; i = to, shown++) {
        for (to = i + 1; to < l->n && l->v[to].version == l->v[i].version; to++)
            ;
        out_version(out, &l->v[i], to - i, state_of(ix, v, n, l->v[i].version));
    }
    cn_pack_array_close(out, at, shown);
    out_hours(out, l);
    return CN_OK;
}

METHOD(show) {
    CN_AUTO_TENANT cn_tenant *t = NULL;
    cn_str index;
    cn_index_info ix;
    uint64_t only = 0;
    list l = {.n = 0};
    CN_TRY(cn_arg_str(p, "index", &index));
    CN_TRY(cn_get_uint(p, "version", 1, INT64_MAX, &only));
    CN_TRY(cn_call_tenant(s, tenant, &t));
    CN_TRY(cn_index_get(t, index, &c->arena, &ix));
    if (only > ix.newest)
        return cn_fail(CN_NOT_FOUND, "there is no version %llu; the newest is %llu", (unsigned long long)only, (unsigned long long)ix.newest);
    cn_err err = gather(s, t, ix.id, only, &l);
    if (err == CN_OK)
        err = out_all(c, t, &ix, &l, out);
    cn_free(l.v);
    return err;
}

static const cn_param p_show[] = {INDEX, {"version", "uint", false, "only of this version"}, END};

const cn_method cn_methods_recall[] = {
    {"recall.show", CN_SCOPE(operate), 0, "how much of what exact search finds the answers had, hour by hour", p_show, show},
    {NULL, 0, 0, NULL, NULL, NULL},
};
