#include "index/control/records.h"

#include <stdio.h>

#include "engine/base/utf8.h"
#include "index/store/reserve.h"

#define PLANS 8 /* made beside other writers; the last one keeps them waiting */

cn_err cn_catalog_open(cn_tenant *t, cn_catalog *ret) {
    cn_catalog c = {.t = t};
    struct {
        const char *name;
        MDB_dbi *dbi;
    } all[] = {{"meta", &c.meta}, {"index", &c.index}, {"version", &c.version}, {"audit", &c.audit}, {"inforce", &c.inforce}, {"space", &c.space}, {"retired", &c.retired}, {"erasing", &c.erasing}, {"policy", &c.policy}, {"gate", &c.gate}, {"members", &c.members}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        CN_TRY(cn_env_dbi(cn_tenant_control(t), all[i].name, true, all[i].dbi));
    *ret = c;
    return CN_OK;
}

cn_err cn_catalog_begin(cn_tenant *t, cn_catalog *ret, MDB_txn **ret_txn) {
    CN_TRY(cn_catalog_open(t, ret));
    return cn_txn_write(cn_tenant_control(t), ret_txn);
}

static cn_err write_by(cn_tenant *t, cn_err (*begin)(cn_env *e, MDB_txn **ret), cn_catalog_fn *fn, void *ctx) {
    cn_env *env = cn_tenant_control(t);
    cn_catalog c;
    MDB_txn *txn;
    CN_TRY(cn_catalog_open(t, &c));
    CN_TRY(begin(env, &txn));
    cn_err err = cn_tenant_bind(t, txn, c.meta);
    if (err == CN_OK)
        err = fn(ctx, &c, txn);
    if (err == CN_OK)
        return cn_txn_commit(env, txn);
    cn_txn_abort(env, txn);
    return err;
}

cn_err cn_catalog_write(cn_tenant *t, cn_catalog_fn *fn, void *ctx) { return write_by(t, cn_txn_write, fn, ctx); }
cn_err cn_catalog_write_now(cn_tenant *t, cn_catalog_fn *fn, void *ctx) { return write_by(t, cn_txn_write_now, fn, ctx); }

cn_err cn_catalog_insist(cn_tenant *t, cn_catalog_fn *fn, void *ctx) {
    cn_err err = cn_catalog_write(t, fn, ctx);
    while (err != CN_OK && cn_reserve_give_up(cn_tenant_data(t), cn_tenant_control(t)))
        err = cn_catalog_write(t, fn, ctx);
    return err;
}

cn_err cn_catalog_read(cn_tenant *t, cn_catalog_fn *fn, void *ctx) {
    cn_env *env = cn_tenant_control(t);
    cn_catalog c;
    MDB_txn *txn;
    CN_TRY(cn_catalog_open(t, &c));
    CN_TRY(cn_txn_read(env, &txn));
    cn_err err = fn(ctx, &c, txn);
    cn_txn_abort(env, txn);
    return err;
}

typedef struct planned {
    cn_catalog_fn *plan, *apply;
    void *ctx;
    uint64_t seq;
    bool moved;
} planned;

static cn_err make_plan(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    planned *p = ctx;
    CN_TRY(cn_audit_seq(txn, c->meta, &p->seq));
    return p->plan(p->ctx, c, txn);
}

static cn_err follow_plan(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    planned *p = ctx;
    uint64_t seq;
    CN_TRY(cn_audit_seq(txn, c->meta, &seq));
    p->moved = seq != p->seq;
    return p->moved ? CN_OK : p->apply(p->ctx, c, txn);
}

static cn_err plan_and_follow(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    CN_TRY(make_plan(ctx, c, txn));
    return follow_plan(ctx, c, txn);
}

cn_err cn_catalog_change(cn_tenant *t, cn_catalog_fn *plan, cn_catalog_fn *apply, void *ctx) {
    planned p = {plan, apply, ctx, 0, true};
    for (int tries = 0; tries < PLANS && p.moved; tries++) {
        CN_TRY(cn_catalog_read(t, make_plan, &p));
        CN_TRY(cn_catalog_insist(t, follow_plan, &p));
    }
    return p.moved ? cn_catalog_insist(t, plan_and_follow, &p) : CN_OK;
}

/* ---------- keys ---------- */

cn_catalog_key cn_key2(uint64_t a, uint64_t b) {
    cn_catalog_key k;
    for (int i = 0; i < 8; i++) {
        k.b[i] = (uint8_t)(a >> (56 - 8 * i));
        k.b[8 + i] = (uint8_t)(b >> (56 - 8 * i));
    }
    return k;
}

uint64_t cn_be64(const char *p) {
    uint64_t v = 0;
    for (int i = 0; i < 8; i++)
        v = v << 8 | (uint8_t)p[i];
    return v;
}

/* ---------- indexes ---------- */

#define INDEX_FIELDS 25
static void index_fields(cn_index_info *x, uint32_t *metric, cn_field f[INDEX_FIELDS]) {
    const cn_field all[INDEX_FIELDS] = {
        {"name", CN_F_STR, &x->name, 0}, {"id", CN_F_U64, &x->id, 0}, {"active", CN_F_U64, &x->active, 0}, {"newest", CN_F_U64, &x->newest, 0},
        {"hold", CN_F_BOOL, &x->hold, 0}, {"made", CN_F_I64, &x->made_us, 0}, {"flipped", CN_F_I64, &x->flipped_us, 0}, {"seed", CN_F_U64, &x->seed, 0}, {"has_mean", CN_F_BOOL, &x->has_mean, 0},
        {"embedder", CN_F_STR, &x->set.embedder, 0}, {"precision", CN_F_STR, &x->set.precision, 0}, {"chunker", CN_F_STR, &x->set.chunker, 0},
        {"metric", CN_F_U32, metric, 0}, {"mode", CN_F_STR, &x->set.mode, 0}, {"keep_versions", CN_F_U32, &x->set.keep_versions, 0},
        {"keep_days", CN_F_U32, &x->set.keep_days, 0}, {"activate", CN_F_BOOL, &x->set.activate, 0},
        {"model", CN_F_FIXED, x->set.embedder_digest.b, 32}, {"dim", CN_F_U32, &x->set.dim, 0},
        {"local_only", CN_F_BOOL | CN_F_MAYBE, &x->set.local_only, 0}, {"analyser", CN_F_STR | CN_F_MAYBE, &x->set.analyser, 0},
        {"cells", CN_F_BOOL | CN_F_MAYBE, &x->set.cells, 0}, {"rrf", CN_F_BOOL | CN_F_MAYBE, &x->set.rrf, 0},
        {"faiss", CN_F_STR | CN_F_MAYBE, &x->set.faiss, 0}, {"weights", CN_F_FIXED | CN_F_MAYBE, x->set.weights.b, 32},
    };
    memcpy(f, all, sizeof all);
}

cn_err cn_index_store(const cn_catalog *c, MDB_txn *txn, const cn_index_info *ix) {
    cn_index_info x = *ix;
    uint32_t metric = (uint32_t)x.set.metric;
    cn_field f[INDEX_FIELDS];
    index_fields(&x, &metric, f);
    return cn_fields_put(txn, c->index, ix->name, f, INDEX_FIELDS);
}

cn_err cn_index_read(cn_str name, cn_str value, cn_arena *a, cn_index_info *ret) {
    cn_index_info x = {0};
    uint32_t metric = 0;
    cn_field f[INDEX_FIELDS];
    char what[CN_NAME_MAX + 32];
    snprintf(what, sizeof what, "the record of index %.*s", (int)(name.n > CN_NAME_MAX ? CN_NAME_MAX : name.n), name.p);
    index_fields(&x, &metric, f);
    CN_TRY(cn_fields_read(value, what, a, f, INDEX_FIELDS));
    if (metric > CN_L2 || !cn_str_eq(x.name, name) || x.set.dim > CN_DIM_MAX || x.active > x.newest)
        return cn_fail(CN_DAMAGED, "%s: its values do not fit together", what);
    x.set.metric = (cn_metric)metric;
    *ret = x;
    return CN_OK;
}

cn_err cn_index_load(const cn_catalog *c, MDB_txn *txn, cn_str name, cn_arena *a, cn_index_info *ret) {
    cn_str value;
    CN_TRY(cn_name_check(name, "index"));
    cn_err err = cn_db_get(txn, c->index, name, &value);
    if (err == CN_NOT_FOUND)
        return cn_fail(CN_NOT_FOUND, "there is no index \"" CN_STR_FMT "\"; `cairn index list` names those there are", CN_STR_ARG(name));
    CN_TRY(err);
    return cn_index_read(name, value, a, ret);
}

/* ---------- versions ---------- */

typedef struct version_bytes {
    cn_str recipe, parts;
} version_bytes;

#define VERSION_FIELDS 29
static void version_fields(cn_version *v, version_bytes *y, cn_field f[VERSION_FIELDS]) {
    cn_counts *n = &v->counts;
    const cn_field all[VERSION_FIELDS] = {
        {"number", CN_F_U64, &v->number, 0}, {"root", CN_F_FIXED, v->root.b, 32}, {"recipe", CN_F_BIN, &y->recipe, 0},
        {"answer", CN_F_BIN, &v->answer_settings, 0}, {"parts", CN_F_BIN, &y->parts, 0}, {"own", CN_F_FIXED, v->own.b, CN_SEG_ID},
        {"own_digest", CN_F_FIXED, v->own_digest.b, 32}, {"revoked", CN_F_U64, &v->revoked, 0}, {"read", CN_F_U64, &n->read, 0},
        {"added", CN_F_U64, &n->added, 0}, {"unchanged", CN_F_U64, &n->unchanged, 0}, {"changed", CN_F_U64, &n->changed, 0},
        {"relabelled", CN_F_U64, &n->relabelled, 0}, {"rejected", CN_F_U64, &n->rejected, 0}, {"deleted", CN_F_U64, &n->deleted, 0},
        {"documents", CN_F_U64, &n->documents, 0}, {"chunks", CN_F_U64, &n->chunks, 0}, {"unlabelled", CN_F_U64, &n->unlabelled, 0},
        {"skipped", CN_F_U64, &n->skipped, 0},
        {"base", CN_F_U64, &v->base, 0}, {"marks", CN_F_U32, &v->marks, 0}, {"made", CN_F_I64, &v->made_us, 0},
        {"first_active", CN_F_I64, &v->first_active_us, 0}, {"by", CN_F_STR, &v->made_by, 0}, {"job", CN_F_STR, &v->job, 0},
        {"before", CN_F_U64, &v->before_active, 0}, {"place", CN_F_I64 | CN_F_MAYBE, &v->place_us, 0},
        {"weights", CN_F_FIXED | CN_F_MAYBE, v->recipe.weights.b, 32}, {"lists_after", CN_F_U64 | CN_F_MAYBE, &v->lists_after, 0},
    };
    memcpy(f, all, sizeof all);
}

cn_err cn_version_store(const cn_catalog *c, MDB_txn *txn, uint64_t index_id, const cn_version *v) {
    _Static_assert(sizeof(cn_part) == CN_SEG_ID + 32, "a part is stored as it lies");
    CN_AUTO_BUF cn_buf recipe;
    cn_buf_init(&recipe, 65536);
    cn_version x = *v;
    x.lists_after = x.lists_after == x.number ? 0 : x.lists_after;
    CN_TRY(cn_recipe_pack(&x.recipe, &recipe));
    version_bytes y = {cn_buf_str(&recipe), {(const char *)v->parts, v->n_parts * sizeof(cn_part)}};
    cn_field f[VERSION_FIELDS];
    version_fields(&x, &y, f);
    cn_catalog_key key = cn_key2(index_id, v->number);
    return cn_fields_put(txn, c->version, cn_key2_str(&key), f, VERSION_FIELDS);
}

static cn_err copy_str(cn_arena *a, cn_str *io) {
    *io = cn_arena_str(a, *io);
    return io->p ? CN_OK : cn_fail_memory();
}

/* But for its manifest, which stays in the value. */
static cn_err read_besides(cn_str value, cn_arena *a, cn_version *ret, cn_str *ret_parts) {
    cn_version x = {0};
    version_bytes y = {0};
    cn_field f[VERSION_FIELDS];
    version_fields(&x, &y, f);
    CN_TRY(cn_fields_read(value, "the record of a version", NULL, f, VERSION_FIELDS));
    CN_TRY(copy_str(a, &x.answer_settings));
    CN_TRY(copy_str(a, &x.made_by));
    CN_TRY(copy_str(a, &x.job));
    if (y.parts.n % sizeof(cn_part) || x.number == 0 || x.base >= x.number || x.lists_after >= x.number || x.marks >= 2 * CN_MARK_TRIAL)
        return cn_fail(CN_DAMAGED, "the record of version %llu: its values do not fit together", (unsigned long long)x.number);
    if (!x.lists_after) /* builds before this one wrote none for a trial */
        x.lists_after = x.marks & CN_MARK_TRIAL ? x.base : x.number;
    const cn_digest weights = x.recipe.weights;
    CN_TRY(cn_recipe_unpack(y.recipe, a, &x.recipe));
    x.recipe.weights = weights;
    x.n_parts = (uint32_t)(y.parts.n / sizeof(cn_part));
    *ret = x;
    *ret_parts = y.parts;
    return CN_OK;
}

cn_err cn_version_read(cn_str value, cn_arena *a, cn_version *ret) {
    cn_str bytes;
    CN_TRY(read_besides(value, a, ret, &bytes));
    cn_part *parts = cn_arena_zalloc(a, ret->n_parts + 1u, sizeof *parts);
    if (!parts)
        return cn_fail_memory();
    memcpy(parts, bytes.p, bytes.n);
    ret->parts = parts;
    return CN_OK;
}

cn_err cn_version_load(const cn_catalog *c, MDB_txn *txn, uint64_t index_id, uint64_t number, cn_arena *a, cn_version *ret) {
    cn_catalog_key key = cn_key2(index_id, number);
    cn_str value;
    cn_err err = cn_db_get(txn, c->version, cn_key2_str(&key), &value);
    if (err == CN_NOT_FOUND)
        return cn_fail(CN_NOT_FOUND, "there is no version %llu; `cairn versions` lists those there are", (unsigned long long)number);
    CN_TRY(err);
    cn_version v;
    CN_TRY(cn_version_read(value, a, &v));
    if (v.number != number)
        return cn_fail(CN_DAMAGED, "the record of version %llu says that it is %llu", (unsigned long long)number, (unsigned long long)v.number);
    *ret = v;
    return CN_OK;
}

typedef struct collect {
    cn_arena *a;
    cn_version *v;
    uint32_t n, room;
    cn_part *parts; /* the longest manifest of those that begin alike */
    uint32_t n_parts, room_parts;
} collect;

/* A version that only adds to the one before it has that one's manifest in its own: thousands of them take no more than the last. */
static cn_err take_parts(collect *all, cn_str bytes, cn_version *v) {
    uint32_t both = v->n_parts < all->n_parts ? v->n_parts : all->n_parts;
    if (both && memcmp(all->parts, bytes.p, both * sizeof *all->parts) != 0) {
        all->parts = NULL;
        all->n_parts = all->room_parts = 0;
    }
    while (all->n_parts < v->n_parts) {
        if (!cn_arena_grow(all->a, all->parts, all->n_parts, all->room_parts))
            return cn_fail_memory();
        memcpy(&all->parts[all->n_parts], bytes.p + all->n_parts * sizeof *all->parts, sizeof *all->parts);
        all->n_parts++;
    }
    v->parts = all->parts;
    return CN_OK;
}

static cn_err collect_one(void *ctx, cn_str key, cn_str value, bool *stop) {
    (void)key, (void)stop;
    collect *all = ctx;
    cn_str parts;
    if (!cn_arena_grow(all->a, all->v, all->n, all->room))
        return cn_fail_memory();
    CN_TRY(read_besides(value, all->a, &all->v[all->n], &parts));
    return take_parts(all, parts, &all->v[all->n++]);
}

cn_err cn_version_all(const cn_catalog *c, MDB_txn *txn, uint64_t index_id, cn_arena *a, cn_version **ret, uint32_t *ret_n) {
    collect all = {.a = a};
    cn_catalog_key key = cn_key2(index_id, 0);
    CN_TRY(cn_db_each(txn, c->version, (cn_str){(const char *)key.b, 8}, collect_one, &all));
    for (uint32_t i = 0; i < all.n; i++)
        if (all.v[i].number != i + 1)
            return cn_fail(CN_DAMAGED, "the record of version %u is missing", i + 1);
    *ret = all.v;
    *ret_n = all.n;
    return CN_OK;
}

uint32_t cn_version_alike(const cn_version *a, const cn_version *b) {
    uint32_t n = 0, both = !a ? 0 : a->n_parts < b->n_parts ? a->n_parts : b->n_parts;
    if (a && a->parts == b->parts)
        return both;
    while (n < both && memcmp(&a->parts[n], &b->parts[n], sizeof *a->parts) == 0)
        n++;
    return n;
}

bool cn_version_dropped(const cn_version *v) { return v->marks & CN_MARK_DROPPED; }
bool cn_version_good(const cn_version *v) { return !(v->marks & (CN_MARK_SUSPECT | CN_MARK_QUARANTINED | CN_MARK_DROPPED | CN_MARK_TRIAL)); }

cn_err cn_version_head_in(const cn_catalog *c, MDB_txn *txn, const cn_index_info *ix, cn_arena *a, uint64_t *ret) {
    for (uint64_t n = ix->newest; n > 0; n--) {
        cn_version v;
        CN_TRY(cn_version_load(c, txn, ix->id, n, a, &v));
        if (cn_version_good(&v)) {
            *ret = n;
            return CN_OK;
        }
    }
    *ret = 0;
    return CN_OK;
}

const cn_version *cn_version_head_of(const cn_version *v, uint32_t n) {
    while (n > 0 && !cn_version_good(&v[n - 1]))
        n--;
    return n ? &v[n - 1] : NULL;
}

/* ---------- refusals ---------- */

cn_str cn_target(cn_str index, uint64_t number, char text[CN_TARGET]) {
    int n = snprintf(text, CN_TARGET, "%.*s/%llu", (int)(index.n > CN_NAME_MAX ? CN_NAME_MAX : index.n), index.p, (unsigned long long)number);
    return (cn_str){text, (size_t)n};
}

/* What was asked for may be refused because it is too long, or no text at all. */
static cn_str told(cn_str s, size_t most) {
    s.n = s.n < most ? s.n : most;
    s.n = cn_utf8_valid_to(s);
    return s;
}

cn_err cn_refused(cn_tenant *t, cn_err err, const cn_actor *who, const char *action, cn_str target) {
    if (err != CN_CONFLICT && err != CN_REFUSED && err != CN_NOT_FOUND && err != CN_INVALID)
        return err;
    char why[CN_ERROR_TEXT];
    target = told(target, CN_DOC_ID_MAX);
    const cn_actor cut = {who->who, who->via, told(who->reason, CN_REASON_MAX)};
    snprintf(why, sizeof why, "%s", cn_error_detail());
    if (cn_audit_refused(t, &cut, action, target, why) != CN_OK)
        return cn_fail(err, "%.900s (this attempt could not be recorded in the audit chain)", why);
    return cn_fail(err, "%s", why);
}
