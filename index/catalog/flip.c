#include <stdio.h>

#include "engine/base/os.h"
#include "index/catalog/gate.h"
#include "index/catalog/needed.h"
#include "index/control/inforce.h"

#define UNMET_TEXT 512
#define UNMET_MAX 8192
#define HOPS 512 /* back along first activations, before --to is asked for */

typedef struct flip {
    cn_tenant *t;
    cn_str index;
    uint64_t number, expect; /* expect: of activate */
    bool by_job, force;
    const cn_actor *who;
    unsigned set, clear;     /* of mark */
    const char *action;
    cn_arena *a;
    cn_index_info ix;
    uint64_t from, to;
    char unmet[UNMET_TEXT];  /* what of the gate was forced past */
    cn_version gone;         /* of drop */
    cn_retire retire;
} flip;

static cn_err load(flip *x, const cn_catalog *c, MDB_txn *txn) { return cn_index_load(c, txn, x->index, x->a, &x->ix); }

static cn_err pick(const flip *x, const cn_catalog *c, MDB_txn *txn, uint64_t number, cn_version *ret) {
    if (number == 0 || number > x->ix.newest)
        return cn_fail(CN_NOT_FOUND, "there is no version %llu; the newest is %llu", (unsigned long long)number, (unsigned long long)x->ix.newest);
    CN_TRY(cn_version_load(c, txn, x->ix.id, number, x->a, ret));
    return cn_version_dropped(ret) ? cn_fail(CN_NOT_FOUND, "version %llu was dropped", (unsigned long long)number) : CN_OK;
}

static cn_err may_be_active(const cn_version *v, cn_str reason) {
    if (v->marks & CN_MARK_QUARANTINED)
        return cn_fail(CN_REFUSED, "version %llu is quarantined; it is not activated until that mark is taken away", (unsigned long long)v->number);
    if ((v->marks & CN_MARK_SUSPECT) && reason.n == 0)
        return cn_fail(CN_REFUSED, "version %llu is suspect, because a rollback left it; give a reason (--reason) to activate it all the same",
                       (unsigned long long)v->number);
    return CN_OK;
}

/* Jobs build on what is active from then on: what came after the trial's base would be gone with the next of them. */
static cn_err up_to_date(const flip *x, const cn_catalog *c, MDB_txn *txn, const cn_version *v) {
    uint64_t head;
    if (!(v->marks & CN_MARK_TRIAL))
        return CN_OK;
    CN_TRY(cn_version_head_in(c, txn, &x->ix, x->a, &head));
    if (head == v->base)
        return CN_OK;
    unsigned long long number = v->number, base = v->base, newest = head;
    if (!head)
        return cn_fail(CN_CONFLICT, "version %llu is a rebuild of version %llu, which was set aside, and no other is good to catch up with", number, base);
    return cn_fail(CN_CONFLICT,
                   "version %llu is a rebuild of version %llu, and the newest is %llu by now; `cairn rebuild %s/" CN_STR_FMT
                   " --catch-up %llu --activate` makes one that is up to date, measures it where the index has a gate, and activates it",
                   number, base, newest, cn_tenant_name(x->t), CN_STR_ARG(x->index), number);
}

static cn_err may_write(const flip *x, const cn_catalog *c, MDB_txn *txn) {
    cn_modes modes;
    CN_TRY(cn_modes_load(c, txn, x->ix.id, x->index, x->a, &modes));
    return cn_modes_may_write(&modes);
}

/* The version's list counts from its first flip on, whatever the pointer does later. */
static cn_err put_in_force(const flip *x, const cn_catalog *c, MDB_txn *txn, cn_version *v) {
    if (v->revoked == 0)
        return CN_OK;
    const cn_part own = {v->own, v->own_digest};
    return cn_inforce_put(txn, c->inforce, x->ix.id, v->number, &own);
}

#define FIRST_PLACE 1 /* before every time */

/* On the way back versions stand by when they were first activated, and those beside one another by number. */
static int64_t place_of(const cn_version *v) { return v->place_us ? v->place_us : v->first_active_us; }

static bool comes_before(const cn_version *v, const cn_version *now) {
    bool beside = !(v->marks & CN_MARK_EVER_ACTIVE) || place_of(v) == place_of(now);
    return beside ? v->number < now->number : place_of(v) < place_of(now);
}

/* Who goes back to a version that was never active leaves behind all that lies between: the next way back leads from there to
 * an earlier one. A version's `before` was active before it, so the walk ends; and soon, since it keeps the catalog's writer. */
static cn_err join_way_back(const flip *x, const cn_catalog *c, MDB_txn *txn, const cn_version *left, cn_version *v) {
    CN_CATALOG_ARENA(room);
    cn_version at = {.before_active = left->before_active};
    for (int hops = 0; at.before_active > v->number; hops++) {
        if (hops == HOPS)
            return cn_fail(CN_REFUSED, "more than %d versions were active between %llu, which never was, and %llu; go back to a nearer one first (--to)", HOPS,
                           (unsigned long long)v->number, (unsigned long long)left->number);
        cn_arena_reset(&room);
        CN_TRY(cn_version_load(c, txn, x->ix.id, at.before_active, &room, &at));
    }
    v->before_active = at.before_active;
    v->place_us = FIRST_PLACE;
    if (v->before_active) {
        CN_TRY(cn_version_load(c, txn, x->ix.id, v->before_active, &room, &at));
        v->place_us = place_of(&at);
    }
    return CN_OK;
}

/* left: by a rollback from it; NULL: activated. */
static cn_err point(flip *x, const cn_catalog *c, MDB_txn *txn, const cn_version *left, cn_version *v) {
    x->from = x->ix.active;
    if (!(v->marks & CN_MARK_EVER_ACTIVE)) {
        CN_TRY(put_in_force(x, c, txn, v));
        int64_t now = cn_wall_us();
        v->first_active_us = x->ix.flipped_us = now > x->ix.flipped_us ? now : x->ix.flipped_us + 1;
        v->before_active = x->from;
        if (left)
            CN_TRY(join_way_back(x, c, txn, left, v));
    }
    v->marks = (v->marks | CN_MARK_EVER_ACTIVE) & ~(unsigned)(CN_MARK_SUSPECT | CN_MARK_TRIAL);
    x->ix.active = x->to = v->number;
    CN_TRY(cn_version_store(c, txn, x->ix.id, v));
    return cn_index_store(c, txn, &x->ix);
}

/* The audit record and the epoch: the last of every change here. */
static cn_err finish(flip *x, MDB_txn *txn, uint64_t number) {
    char text[CN_TARGET];
    CN_AUTO_BUF cn_buf detail;
    cn_buf_init(&detail, 4096);
    cn_pack_map(&detail, 3u + (x->unmet[0] != 0));
    cn_pack_cstr(&detail, "from"), cn_pack_uint(&detail, x->from);
    cn_pack_cstr(&detail, "to"), cn_pack_uint(&detail, x->to);
    cn_pack_cstr(&detail, "hold"), cn_pack_bool(&detail, x->ix.hold);
    if (x->unmet[0])
        cn_pack_cstr(&detail, "forced"), cn_pack_cstr(&detail, x->unmet);
    CN_TRY(cn_buf_check(&detail));
    CN_TRY(cn_audit_add(x->t, txn, x->who, x->action, cn_target(x->index, number, text), "done", cn_buf_str(&detail)));
    return cn_epoch_raise(x->t, txn, NULL);
}

static cn_err run(flip *x, cn_catalog_fn *fn) {
    char text[CN_TARGET];
    CN_CATALOG_ARENA(a);
    x->a = &a;
    cn_err err = x->by_job ? cn_catalog_write(x->t, fn, x) : cn_catalog_insist(x->t, fn, x);
    return cn_refused(x->t, err, x->who, x->action, cn_target(x->index, x->number, text));
}

/* ---------- activate ---------- */

/* Only what can be done: a run's results are not handed in, and those of serving are nobody's to make. */
static void advise(const flip *x, const cn_version *v, unsigned by, cn_buf *out) {
    const char *tenant = cn_tenant_name(x->t);
    unsigned long long number = v->number;
    if (by & (CN_GATE_BY_RUN | CN_GATE_BY_HAND))
        cn_buf_printf(out, "; measure it: `cairn gate run %s/" CN_STR_FMT " %llu`", tenant, CN_STR_ARG(x->index), number);
    if (by & CN_GATE_BY_HAND)
        cn_buf_printf(out, ", or hand in what was measured: `cairn gate submit %s/" CN_STR_FMT " %llu NAME=VALUE`", tenant, CN_STR_ARG(x->index), number);
    if (by & CN_GATE_BY_SERVING)
        cn_buf_puts(out, "; recall_live is what a server found while this version answered: another version is not barred by it");
    if (v->marks & CN_MARK_TRIAL && by & (CN_GATE_BY_RUN | CN_GATE_BY_HAND)) /* what comes meanwhile makes another version of it, of which these results say nothing */
        cn_buf_printf(out, "; `cairn rebuild %s/" CN_STR_FMT " --catch-up %llu --activate` does both, and again for what came meanwhile", tenant, CN_STR_ARG(x->index), number);
}

static cn_err gated(flip *x, const cn_catalog *c, MDB_txn *txn, const cn_version *v) {
    CN_AUTO_BUF cn_buf unmet = {0};
    CN_AUTO_BUF cn_buf then = {0};
    uint32_t n = 0;
    unsigned by = 0;
    x->unmet[0] = 0;
    if (v->number == x->ix.active)
        return CN_OK;
    cn_buf_init(&unmet, UNMET_MAX);
    CN_TRY(cn_gate_unmet(c, txn, x->ix.id, v->number, x->ix.active, x->a, &unmet, &n, &by));
    if (n == 0)
        return CN_OK;
    snprintf(x->unmet, sizeof x->unmet, CN_STR_FMT, CN_STR_ARG(cn_buf_str(&unmet)));
    if (x->force)
        return CN_OK;
    cn_buf_init(&then, UNMET_MAX);
    advise(x, v, by, &then);
    CN_TRY(cn_buf_check(&then));
    return cn_fail(CN_REFUSED, "the gate of index \"" CN_STR_FMT "\" asks of version %llu: %s" CN_STR_FMT, CN_STR_ARG(x->index), (unsigned long long)v->number, x->unmet,
                   CN_STR_ARG(cn_buf_str(&then)));
}

static cn_err activate(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    flip *x = ctx;
    cn_version v;
    CN_TRY(load(x, c, txn));
    if (x->expect != CN_ANY_VERSION && x->expect != x->ix.active)
        return cn_fail(CN_CONFLICT, "version %llu is active, not %llu as expected", (unsigned long long)x->ix.active, (unsigned long long)x->expect);
    CN_TRY(pick(x, c, txn, x->number, &v));
    if (x->by_job && x->ix.hold)
        return cn_fail(CN_REFUSED, "index \"" CN_STR_FMT "\" is held since a rollback, so jobs do not activate; `cairn release` ends the hold", CN_STR_ARG(x->index));
    if (x->by_job)
        CN_TRY(may_write(x, c, txn));
    CN_TRY(may_be_active(&v, x->who->reason));
    CN_TRY(up_to_date(x, c, txn, &v));
    CN_TRY(gated(x, c, txn, &v));
    CN_TRY(point(x, c, txn, NULL, &v));
    return finish(x, txn, v.number);
}

static cn_err run_activate(flip *x, uint64_t *ret_before) {
    CN_TRY(run(x, activate));
    if (ret_before)
        *ret_before = x->from;
    return CN_OK;
}

cn_err cn_version_activate(cn_tenant *t, cn_str index, uint64_t number, uint64_t expect, bool by_job, const cn_actor *who, uint64_t *ret_before) {
    flip x = {.t = t, .index = index, .number = number, .expect = expect, .by_job = by_job, .who = who, .action = "version.activate"};
    return run_activate(&x, ret_before);
}

static cn_err no_reason(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    (void)ctx, (void)c, (void)txn;
    return cn_fail(CN_REFUSED, "to force a version past the gate needs a reason (--reason)");
}

cn_err cn_version_force(cn_tenant *t, cn_str index, uint64_t number, uint64_t expect, const cn_actor *who, uint64_t *ret_before) {
    flip x = {.t = t, .index = index, .number = number, .expect = expect, .who = who, .force = true, .action = "version.activate"};
    return who->reason.n ? run_activate(&x, ret_before) : run(&x, no_reason);
}

/* ---------- rollback ---------- */

/* Back in the order of first activation: always to an earlier one, so the walk ends. Those no longer fit are passed over. */
static cn_err way_back(const flip *x, const cn_catalog *c, MDB_txn *txn, const cn_version *now, cn_version *ret) {
    uint64_t at = now->before_active;
    for (int hops = 0; at != 0 && hops < HOPS; hops++) {
        CN_TRY(cn_version_load(c, txn, x->ix.id, at, x->a, ret));
        if (cn_version_good(ret))
            return CN_OK;
        at = ret->before_active;
    }
    if (at != 0)
        return cn_fail(CN_REFUSED, "none of the %d versions that were active before %llu may be gone back to; name one (--to)", HOPS,
                       (unsigned long long)now->number);
    return cn_fail(CN_REFUSED, "no version before %llu can be gone back to; hide documents, or ingest and activate a better version",
                   (unsigned long long)now->number);
}

static cn_err way_to(flip *x, const cn_catalog *c, MDB_txn *txn, const cn_version *now, cn_version *ret) {
    CN_TRY(pick(x, c, txn, x->number, ret));
    if (!comes_before(ret, now))
        return cn_fail(CN_REFUSED, "version %llu does not come before %llu, the active one; `cairn activate` goes forward",
                       (unsigned long long)ret->number, (unsigned long long)now->number);
    CN_TRY(may_be_active(ret, x->who->reason));
    if (ret->marks & CN_MARK_TRIAL)
        return cn_fail(CN_REFUSED, "version %llu is a rebuild that never answered, and no way back; `cairn activate` makes it answer", (unsigned long long)ret->number);
    return ret->marks & CN_MARK_EVER_ACTIVE ? CN_OK : gated(x, c, txn, ret); /* what has never answered is no way back past the gate */
}

static cn_err rollback(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    flip *x = ctx;
    cn_version from, to;
    CN_TRY(load(x, c, txn));
    if (x->ix.active == 0)
        return cn_fail(CN_REFUSED, "index \"" CN_STR_FMT "\" has no active version to roll back from", CN_STR_ARG(x->index));
    CN_TRY(cn_version_load(c, txn, x->ix.id, x->ix.active, x->a, &from));
    CN_TRY(x->number ? way_to(x, c, txn, &from, &to) : way_back(x, c, txn, &from, &to));
    from.marks |= CN_MARK_SUSPECT;
    CN_TRY(cn_version_store(c, txn, x->ix.id, &from));
    x->ix.hold = true;
    CN_TRY(point(x, c, txn, &from, &to));
    return finish(x, txn, to.number);
}

static cn_err run_rollback(flip *x, uint64_t *ret_from, uint64_t *ret_to) {
    CN_TRY(run(x, rollback));
    *ret_from = x->from;
    *ret_to = x->to;
    return CN_OK;
}

cn_err cn_version_rollback(cn_tenant *t, cn_str index, uint64_t to, const cn_actor *who, uint64_t *ret_from, uint64_t *ret_to) {
    flip x = {.t = t, .index = index, .number = to, .who = who, .action = "version.rollback"};
    return run_rollback(&x, ret_from, ret_to);
}

cn_err cn_version_force_back(cn_tenant *t, cn_str index, uint64_t to, const cn_actor *who, uint64_t *ret_from, uint64_t *ret_to) {
    flip x = {.t = t, .index = index, .number = to, .who = who, .force = true, .action = "version.rollback"};
    return who->reason.n ? run_rollback(&x, ret_from, ret_to) : run(&x, no_reason);
}

/* ---------- hold and marks ---------- */

static cn_err release(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    flip *x = ctx;
    CN_TRY(load(x, c, txn));
    if (!x->ix.hold)
        return cn_fail(CN_REFUSED, "index \"" CN_STR_FMT "\" is not held", CN_STR_ARG(x->index));
    x->ix.hold = false;
    x->from = x->to = x->ix.active;
    CN_TRY(cn_index_store(c, txn, &x->ix));
    return finish(x, txn, x->ix.active);
}

cn_err cn_version_release(cn_tenant *t, cn_str index, const cn_actor *who) {
    flip x = {.t = t, .index = index, .who = who, .action = "version.release"};
    return run(&x, release);
}

/* Lists that count for a rebuild may have ended with its base before it was sealed. One that was active is a trial no more. */
static cn_err may_be_read(const flip *x, const cn_catalog *c, MDB_txn *txn, const cn_version *v) {
    CN_CATALOG_ARENA(room);
    cn_version base;
    if (!(v->marks & CN_MARK_QUARANTINED) || !(v->marks & CN_MARK_TRIAL))
        return CN_OK;
    CN_TRY(cn_version_load(c, txn, x->ix.id, v->base, &room, &base));
    if (!cn_version_dropped(&base))
        return CN_OK;
    return cn_fail(CN_REFUSED,
                   "version %llu is a rebuild of version %llu, which was dropped: what later versions took away from its documents is not known any more. "
                   "Drop it and make another one (`cairn rebuild %s/" CN_STR_FMT "`)",
                   (unsigned long long)v->number, (unsigned long long)v->base, cn_tenant_name(x->t), CN_STR_ARG(x->index));
}

static cn_err mark(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    flip *x = ctx;
    cn_version v;
    CN_TRY(load(x, c, txn));
    CN_TRY(pick(x, c, txn, x->number, &v));
    if ((x->set & CN_MARK_QUARANTINED) && v.number == x->ix.active)
        return cn_fail(CN_REFUSED, "version %llu is active; roll back or activate another one first", (unsigned long long)v.number);
    if (x->clear & CN_MARK_QUARANTINED)
        CN_TRY(may_be_read(x, c, txn, &v));
    v.marks = (v.marks | x->set) & ~x->clear;
    x->from = x->to = x->ix.active;
    CN_TRY(cn_version_store(c, txn, x->ix.id, &v));
    return finish(x, txn, v.number);
}

cn_err cn_version_mark(cn_tenant *t, cn_str index, uint64_t number, unsigned set, unsigned clear, const cn_actor *who) {
    if ((set | clear) & ~(unsigned)(CN_MARK_PINNED | CN_MARK_QUARANTINED))
        return cn_fail(CN_INVALID, "only pins and quarantine are set by hand");
    const char *action = set & CN_MARK_QUARANTINED     ? "version.quarantine"
                         : clear & CN_MARK_QUARANTINED ? "version.unquarantine"
                         : set & CN_MARK_PINNED        ? "version.pin"
                                                       : "version.unpin";
    flip x = {.t = t, .index = index, .number = number, .who = who, .set = set, .clear = clear, .action = action};
    return run(&x, mark);
}

static cn_err plan_drop(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    flip *x = ctx;
    CN_TRY(load(x, c, txn));
    CN_TRY(pick(x, c, txn, x->number, &x->gone));
    CN_TRY(may_write(x, c, txn));
    if (x->gone.number == x->ix.active || (x->gone.marks & CN_MARK_PINNED))
        return cn_fail(CN_REFUSED, "version %llu is %s and is kept", (unsigned long long)x->gone.number,
                       x->gone.number == x->ix.active ? "active" : "pinned");
    return cn_retire_plan(c, txn, x->a, x->ix.id, &x->gone, 1, &x->retire);
}

static cn_err drop(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    flip *x = ctx;
    x->from = x->to = x->ix.active;
    CN_TRY(cn_retire_apply(c, txn, &x->retire));
    return finish(x, txn, x->gone.number);
}

cn_err cn_version_drop(cn_tenant *t, cn_str index, uint64_t number, const cn_actor *who) {
    char text[CN_TARGET];
    CN_CATALOG_ARENA(a);
    flip x = {.t = t, .index = index, .number = number, .who = who, .action = "version.drop", .a = &a};
    return cn_refused(t, cn_catalog_change(t, plan_drop, drop, &x), who, x.action, cn_target(index, number, text));
}
