/* gate_results.c -- what was measured of a version: by a run of frozen sets, or by whoever hands it in. */
#include "index/catalog/gate.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/os.h"
#include "index/catalog/gate_inside.h"
#include "index/catalog/inside.h"

#define PACKED_MAX ((size_t)1 << 20)
_Static_assert(CN_GATE_OWN_RESULTS + CN_GATE_LIVE_RESULTS + CN_FROZEN_SETS_MAX * CN_FROZEN_RESULTS + CN_GATE_HANDED_MAX <= CN_GATE_RESULTS_MAX, "a run never lacks a place");

/* ---------- records ---------- */
/* Of a result that was written without an epoch: a leak depends on the policy, and counts as measured before its first change. */
static uint64_t epoch_of_old(cn_str name) {
    static const char leaked[] = "/leaked";
    size_t n = sizeof leaked - 1;
    return name.n > n && memcmp(name.p + name.n - n, leaked, n) == 0 ? 1 : 0;
}

static bool read_result(const msgpack_object *o, cn_arena *a, cn_gate_result *ret) {
    const msgpack_object *v = o->via.array.ptr;
    uint32_t n = o->type == MSGPACK_OBJECT_ARRAY ? o->via.array.size : 0; /* 4, 5: as builds before frozen sets, and before epochs, wrote it */
    if (n < 4 || n > 6 || !cn_is_str(&v[0]) || v[1].type != MSGPACK_OBJECT_FLOAT64 || !cn_is_str(&v[2]))
        return false;
    for (uint32_t i = 4; i < n; i++)
        if (v[i].type != MSGPACK_OBJECT_POSITIVE_INTEGER)
            return false;
    if (v[3].type != MSGPACK_OBJECT_POSITIVE_INTEGER && v[3].type != MSGPACK_OBJECT_NEGATIVE_INTEGER)
        return false;
    *ret = (cn_gate_result){cn_arena_str(a, cn_obj_str(&v[0])), v[1].via.f64, cn_arena_str(a, cn_obj_str(&v[2])), v[3].via.i64, n > 4 ? v[4].via.u64 : 0, n > 5 ? v[5].via.u64 : epoch_of_old(cn_obj_str(&v[0])), false, false};
    return ret->name.p && ret->by.p;
}

cn_err cn_gate_results_load(const cn_catalog *c, MDB_txn *txn, uint64_t index_id, uint64_t version, uint64_t active, cn_arena *a, cn_gate_results *ret) {
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    cn_catalog_key key = cn_key2(index_id, version);
    cn_str value, packed = {NULL, 0};
    uint64_t widened = 0;
    const cn_field f[] = {{"results", CN_F_BIN, &packed, 0}};
    cn_gate_results r = {.v = cn_arena_zalloc(a, CN_GATE_RESULTS_MAX, sizeof *r.v)};
    if (!r.v)
        return cn_fail_memory();
    cn_err err = cn_db_get(txn, c->gate, cn_key2_str(&key), &value);
    if (err == CN_OK) {
        CN_TRY(cn_fields_read(value, "the results of a version", a, f, 1));
        CN_TRY(cn_gate_open_list(&u, packed, CN_GATE_RESULTS_MAX, "the results of a version"));
        for (; r.n < u.o.via.array.size; r.n++)
            if (!read_result(&u.o.via.array.ptr[r.n], a, &r.v[r.n]))
                return cn_gate_damaged("the results of a version");
        CN_TRY(cn_epoch_widened(txn, c->meta, &widened));
        for (uint32_t i = 0; i < r.n; i++) {
            cn_gate_result *x = &r.v[i];
            x->widened = x->epoch && x->epoch < widened;
            x->stale = x->widened || (x->against && version != active && x->against != (active ? active : CN_GATE_NONE));
        }
    } else if (err != CN_NOT_FOUND) {
        return err;
    }
    *ret = r;
    return CN_OK;
}

/* ---------- results ---------- */
typedef struct submission {
    cn_tenant *t;
    cn_str index;
    uint64_t version;
    const cn_gate_result *v;
    uint32_t n;
    const cn_actor *who;
    uint64_t against;
    const cn_frozen_set *sets; /* NULL: handed in, not of a run */
    uint32_t n_sets;
} submission;

static cn_err check_results(const submission *s) {
    CN_TRY(cn_gate_check_reason(s->who));
    if (s->n == 0)
        return cn_fail(CN_INVALID, "no result is given");
    if (!s->sets && s->n > CN_GATE_HANDED_MAX)
        return cn_fail(CN_INVALID, "%u results are handed in; a version has at most %d such", s->n, CN_GATE_HANDED_MAX);
    for (uint32_t i = 0; i < s->n; i++) {
        if (!cn_gate_is_name(s->v[i].name))
            return cn_gate_bad_name(s->v[i].name);
        if (!isfinite(s->v[i].value))
            return cn_fail(CN_INVALID, "the result " CN_STR_FMT " is no number", CN_STR_ARG(s->v[i].name));
    }
    return CN_OK;
}

/* Of a run, what has a colon in its name. */
static uint64_t compares(const submission *s, cn_str name) {
    return !s->sets || !memchr(name.p, ':', name.n) ? 0 : s->against ? s->against : CN_GATE_NONE;
}

static bool is_of_set(cn_str name, cn_str set) { return name.n > set.n && name.p[set.n] == '/' && memcmp(name.p, set.p, set.n) == 0; }

/* What a run measures of the version itself: these, and these with a colon behind. */
static bool is_own(cn_str name) {
    static const char *const own[] = {"documents", "chunks", "labels", "unlabelled", "duplicates", "bytes"};
    const char *colon = memchr(name.p, ':', name.n);
    cn_str first = {name.p, colon ? (size_t)(colon - name.p) : name.n};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (cn_str_is(first, own[i]))
            return true;
    return cn_gate_is_live(name);
}

typedef struct frozen { /* the sets of the index as they are now */
    cn_frozen_set *v;
    uint32_t n;
} frozen;

static const cn_str *set_of(const frozen *now, cn_str name) {
    for (uint32_t i = 0; i < now->n; i++)
        if (is_of_set(name, now->v[i].name))
            return &now->v[i].name;
    return NULL;
}

cn_gate_by cn_gate_measured_by(const cn_frozen_set *sets, uint32_t n, cn_str name) {
    if (cn_gate_is_live(name))
        return CN_GATE_BY_SERVING;
    for (uint32_t i = 0; i < n; i++)
        if (is_of_set(name, sets[i].name))
            return CN_GATE_BY_RUN;
    return is_own(name) ? CN_GATE_BY_RUN : CN_GATE_BY_HAND;
}

/* A comparison by an earlier run of the set: one that this run could not make is none. */
static bool is_outdone(const submission *s, const cn_gate_result *r) {
    for (uint32_t i = 0; r->against && i < s->n_sets; i++)
        if (is_of_set(r->name, s->sets[i].name))
            return true;
    return false;
}

static cn_err merge(const submission *s, cn_gate_results *io) {
    int64_t now = cn_wall_us();
    uint32_t kept = 0;
    for (uint32_t i = 0; i < io->n; i++)
        if (!is_outdone(s, &io->v[i]))
            io->v[kept++] = io->v[i];
    io->n = kept;
    for (uint32_t i = 0; i < s->n; i++) {
        uint32_t at = 0;
        while (at < io->n && !cn_str_eq(io->v[at].name, s->v[i].name))
            at++;
        if (at == CN_GATE_RESULTS_MAX)
            return cn_fail(CN_INTERNAL, "a version has over %d results", CN_GATE_RESULTS_MAX);
        io->n += at == io->n;
        io->v[at] = (cn_gate_result){s->v[i].name, s->v[i].value, s->who->who, now, compares(s, s->v[i].name), s->sets ? s->v[i].epoch : 0, false, false};
    }
    return CN_OK;
}

static int by_name(const void *a, const void *b) { return cn_str_cmp(((const cn_gate_result *)a)->name, ((const cn_gate_result *)b)->name); }

static cn_err put_results(const cn_catalog *c, MDB_txn *txn, uint64_t index_id, uint64_t version, cn_gate_results *r) {
    CN_AUTO_BUF cn_buf b = {0};
    cn_catalog_key key = cn_key2(index_id, version);
    qsort(r->v, r->n, sizeof *r->v, by_name);
    cn_buf_init(&b, PACKED_MAX);
    cn_pack_array(&b, r->n);
    for (uint32_t i = 0; i < r->n; i++) {
        cn_pack_array(&b, 6);
        cn_pack_str(&b, r->v[i].name);
        cn_pack_f64(&b, r->v[i].value);
        cn_pack_str(&b, r->v[i].by);
        cn_pack_int(&b, r->v[i].at_us);
        cn_pack_uint(&b, r->v[i].against);
        cn_pack_uint(&b, r->v[i].epoch);
    }
    CN_TRY(cn_buf_check(&b));
    cn_str packed = cn_buf_str(&b);
    const cn_field f[] = {{"results", CN_F_BIN, &packed, 0}};
    return cn_fields_put_of(txn, c->gate, cn_key2_str(&key), f, 1);
}

static const char *action(const submission *s) { return s->sets ? "gate.run" : "gate.submit"; }

static void pack_sets(const submission *s, cn_buf *b) {
    char hex[CN_HEX_TEXT];
    cn_pack_cstr(b, "against"), cn_pack_uint(b, s->against);
    cn_pack_cstr(b, "sets");
    cn_pack_map(b, s->n_sets);
    for (uint32_t i = 0; i < s->n_sets; i++) {
        cn_hex(s->sets[i].digest.b, sizeof s->sets[i].digest.b, hex);
        cn_pack_str(b, s->sets[i].name), cn_pack_cstr(b, hex);
    }
}

/* What was asked is what is frozen under that name. */
static cn_err same_sets(const submission *s, const frozen *now) {
    const cn_frozen_set *v = now->v;
    uint32_t n = now->n;
    for (uint32_t i = 0; i < s->n_sets; i++) {
        bool same = false;
        for (uint32_t k = 0; k < n; k++)
            same |= cn_str_eq(v[k].name, s->sets[i].name) && cn_digest_eq(&v[k].digest, &s->sets[i].digest);
        if (!same)
            return cn_fail(CN_CONFLICT, "the set \"" CN_STR_FMT "\" was frozen anew, or dropped, during the run; run the gate again", CN_STR_ARG(s->sets[i].name));
    }
    return CN_OK;
}

/* What a run measures is not handed in: else a leak that was seen could be written over. */
static cn_err may_hand_in(const submission *s, const frozen *now) {
    for (uint32_t i = 0; i < s->n; i++) {
        const cn_str *set = set_of(now, s->v[i].name);
        if (set)
            return cn_fail(CN_REFUSED, "\"" CN_STR_FMT "\" is what the frozen set \"" CN_STR_FMT "\" measures: `cairn gate run` does; hand in results under other names",
                           CN_STR_ARG(s->v[i].name), CN_STR_ARG(*set));
        if (is_own(s->v[i].name))
            return cn_fail(CN_REFUSED, "\"" CN_STR_FMT "\" is what `cairn gate run` measures of a version; hand in results under other names", CN_STR_ARG(s->v[i].name));
    }
    return CN_OK;
}

/* Those handed in have places of their own, so that a run, which takes long, always finds room for what it measured. */
static cn_err check_places(const submission *s, const frozen *now, const cn_gate_results *r) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < r->n; i++)
        n += !is_own(r->v[i].name) && !set_of(now, r->v[i].name);
    return n <= CN_GATE_HANDED_MAX ? CN_OK : cn_fail(CN_INVALID, "version %llu would have %u results that were handed in; at most %d are kept: `cairn gate show` lists them, `cairn gate forget` "
                                                                 "takes those away that are of no use", (unsigned long long)s->version, n, CN_GATE_HANDED_MAX);
}

static cn_err audit_results(const submission *s, MDB_txn *txn) {
    char text[CN_TARGET];
    CN_AUTO_BUF cn_buf b = {0};
    cn_buf_init(&b, PACKED_MAX);
    cn_pack_map(&b, s->sets ? 3 : 1);
    if (s->sets)
        pack_sets(s, &b);
    cn_pack_cstr(&b, "results");
    cn_pack_map(&b, s->n);
    for (uint32_t i = 0; i < s->n; i++)
        cn_pack_str(&b, s->v[i].name), cn_pack_f64(&b, s->v[i].value);
    CN_TRY(cn_buf_check(&b));
    return cn_audit_add(s->t, txn, s->who, action(s), cn_target(s->index, s->version, text), "done", cn_buf_str(&b));
}

static cn_err load(const cn_catalog *c, MDB_txn *txn, cn_str index, uint64_t version, cn_arena *a, cn_index_info *ret_ix, cn_gate_results *ret) {
    cn_version v;
    CN_TRY(cn_index_load(c, txn, index, a, ret_ix));
    if (version == 0 || version > ret_ix->newest)
        return cn_fail(CN_NOT_FOUND, "there is no version %llu; the newest is %llu", (unsigned long long)version, (unsigned long long)ret_ix->newest);
    CN_TRY(cn_version_load(c, txn, ret_ix->id, version, a, &v));
    if (cn_version_dropped(&v))
        return cn_fail(CN_NOT_FOUND, "version %llu was dropped", (unsigned long long)version);
    return cn_gate_results_load(c, txn, ret_ix->id, version, ret_ix->active, a, ret);
}

static cn_err submit(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    submission *s = ctx;
    CN_CATALOG_ARENA(a);
    cn_index_info ix;
    cn_gate_results r;
    frozen now;
    CN_TRY(load(c, txn, s->index, s->version, &a, &ix, &r));
    CN_TRY(cn_frozen_sets_in(c, txn, ix.id, &a, &now.v, NULL, NULL, &now.n));
    CN_TRY(s->sets ? same_sets(s, &now) : may_hand_in(s, &now));
    CN_TRY(merge(s, &r));
    if (!s->sets)
        CN_TRY(check_places(s, &now, &r));
    CN_TRY(put_results(c, txn, ix.id, s->version, &r));
    return audit_results(s, txn);
}

cn_err cn_gate_submit(cn_tenant *t, cn_str index, uint64_t version, const cn_gate_result *v, uint32_t n, const cn_actor *who) {
    char text[CN_TARGET];
    submission s = {.t = t, .index = index, .version = version, .v = v, .n = n, .who = who};
    cn_err err = check_results(&s);
    return cn_refused(t, err == CN_OK ? cn_catalog_write(t, submit, &s) : err, who, "gate.submit", cn_target(index, version, text));
}

cn_err cn_gate_record(cn_tenant *t, cn_str index, uint64_t version, const cn_gate_result *v, uint32_t n, uint64_t against, const cn_frozen_set *sets,
                      uint32_t n_sets, const cn_actor *who) {
    char text[CN_TARGET];
    submission s = {.t = t, .index = index, .version = version, .v = v, .n = n, .who = who, .against = against, .sets = sets, .n_sets = n_sets};
    cn_err err = check_results(&s);
    return cn_refused(t, err == CN_OK ? cn_catalog_write(t, submit, &s) : err, who, "gate.run", cn_target(index, version, text));
}

void cn_gate_live_name(uint32_t aim, char text[CN_GATE_NAME + 1]) { snprintf(text, CN_GATE_NAME + 1, CN_GATE_LIVE "%g", cn_recall_aims[aim]); }

cn_err cn_gate_live(cn_tenant *t, cn_str index, uint64_t version, uint32_t aim, double recall, const cn_actor *who) {
    static const cn_frozen_set none;
    char name[CN_GATE_NAME + 1];
    cn_gate_live_name(aim, name);
    return cn_gate_record(t, index, version, &(cn_gate_result){.name = cn_str_of(name), .value = recall}, 1, 0, &none, 0, who);
}

/* ---------- forgetting ---------- */
static cn_err keep(const cn_catalog *c, MDB_txn *txn, uint64_t index_id, uint64_t version, cn_gate_results *r, uint32_t kept) {
    r->n = kept;
    return kept ? put_results(c, txn, index_id, version, r) : cn_gate_forget(c, txn, index_id, version);
}

typedef struct forgetting {
    cn_tenant *t;
    cn_str index;
    uint64_t version;
    const cn_str *names;
    uint32_t n;
    const cn_actor *who;
} forgetting;

static cn_err take_out(cn_gate_results *io, cn_str name) {
    for (uint32_t i = 0; i < io->n; i++)
        if (cn_str_eq(io->v[i].name, name)) {
            memmove(&io->v[i], &io->v[i + 1], (--io->n - i) * sizeof *io->v);
            return CN_OK;
        }
    return cn_fail(CN_NOT_FOUND, "no result \"" CN_STR_FMT "\" is stored; `cairn gate show` lists those there are", CN_STR_ARG(name));
}

static cn_err audit_forgotten(const forgetting *x, MDB_txn *txn) {
    char text[CN_TARGET];
    CN_AUTO_BUF cn_buf b = {0};
    cn_buf_init(&b, PACKED_MAX);
    cn_pack_map(&b, 1);
    cn_pack_cstr(&b, "results");
    cn_pack_array(&b, x->n);
    for (uint32_t i = 0; i < x->n; i++)
        cn_pack_str(&b, x->names[i]);
    CN_TRY(cn_buf_check(&b));
    return cn_audit_add(x->t, txn, x->who, "gate.forget", cn_target(x->index, x->version, text), "done", cn_buf_str(&b));
}

static cn_err forget(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    forgetting *x = ctx;
    CN_CATALOG_ARENA(a);
    cn_index_info ix;
    cn_gate_results r;
    CN_TRY(load(c, txn, x->index, x->version, &a, &ix, &r));
    for (uint32_t i = 0; i < x->n; i++)
        CN_TRY(take_out(&r, x->names[i]));
    CN_TRY(keep(c, txn, ix.id, x->version, &r, r.n));
    return audit_forgotten(x, txn);
}

static cn_err do_forget(forgetting *x) {
    CN_TRY(cn_gate_check_reason(x->who));
    if (x->n == 0 || x->n > CN_GATE_RESULTS_MAX)
        return cn_fail(CN_INVALID, "name 1 to %d results", CN_GATE_RESULTS_MAX);
    return cn_catalog_write(x->t, forget, x);
}

cn_err cn_gate_forget_results(cn_tenant *t, cn_str index, uint64_t version, const cn_str *names, uint32_t n, const cn_actor *who) {
    char text[CN_TARGET];
    forgetting x = {t, index, version, names, n, who};
    return cn_refused(t, do_forget(&x), who, "gate.forget", cn_target(index, version, text));
}

/* ---------- results of a set that is no more ---------- */
typedef struct numbers {
    uint64_t *v;
    uint32_t n, room;
} numbers;

static cn_err note_version(void *ctx, cn_str key, cn_str value, bool *stop) {
    numbers *s = ctx;
    uint64_t number = key.n == sizeof(cn_catalog_key) ? cn_be64(key.p + 8) : 0;
    (void)value, (void)stop;
    if (number == 0 || number >= CN_FROZEN_PLACES)
        return CN_OK;
    if (!cn_grow(s->v, s->n, s->room))
        return cn_fail_memory();
    s->v[s->n++] = number;
    return CN_OK;
}

static cn_err forget_in(const cn_catalog *c, MDB_txn *txn, uint64_t index_id, uint64_t version, cn_str set) {
    CN_CATALOG_ARENA(a);
    cn_gate_results r;
    uint32_t kept = 0;
    CN_TRY(cn_gate_results_load(c, txn, index_id, version, 0, &a, &r));
    for (uint32_t i = 0; i < r.n; i++)
        if (!is_of_set(r.v[i].name, set))
            r.v[kept++] = r.v[i];
    return kept == r.n ? CN_OK : keep(c, txn, index_id, version, &r, kept);
}

cn_err cn_gate_forget_frozen(const cn_catalog *c, MDB_txn *txn, uint64_t index_id, cn_str set) {
    cn_catalog_key key = cn_key2(index_id, 0);
    numbers s = {.v = NULL};
    cn_err err = cn_db_each(txn, c->gate, (cn_str){(const char *)key.b, sizeof index_id}, note_version, &s);
    for (uint32_t i = 0; err == CN_OK && i < s.n; i++)
        err = forget_in(c, txn, index_id, s.v[i], set);
    cn_free(s.v);
    return err;
}
