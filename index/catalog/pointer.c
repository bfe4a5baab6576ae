/* pointer.c -- activate, roll back, release: each one transaction of compare, put, audit and epoch. */
#include "engine/base/os.h"
#include "index/catalog/control.h"

#define ARENA ((size_t)256 << 20)
#define AUTO_ARENA __attribute__((cleanup(cn_arena_done)))

static cn_err put_inforce(cn_control *c, uint64_t index_id, const cn_version *v) {
    uint8_t key[CN_VERSION_KEY];
    CN_AUTO_BUF cn_buf b;
    cn_buf_init(&b, 4096);
    cn_version_key(index_id, v->number, key);
    size_t at = cn_record_open(&b, CN_RECORD_FORMAT);
    cn_pack_map(&b, 2);
    cn_pack_cstr(&b, "own");
    cn_pack_bin(&b, v->own.b, sizeof v->own.b);
    cn_pack_cstr(&b, "digest");
    cn_pack_bin(&b, v->own_digest.b, 32);
    cn_record_close(&b, at);
    CN_TRY(cn_buf_check(&b));
    return cn_db_put(c->txn, c->inforce, (cn_str){(const char *)key, sizeof key}, cn_buf_str(&b));
}

/* Moves the pointer; the first time, the version's revocations come into force with it. */
static cn_err flip(cn_control *c, cn_index_info *ix, cn_version *v) {
    if (v->first_active_us == CN_NO_TIME) {
        v->first_active_us = cn_wall_us();
        v->before_active = ix->active;
        v->marks |= CN_MARK_EVER_ACTIVE;
        if (v->revoked)
            CN_TRY(put_inforce(c, ix->id, v));
    }
    ix->active = v->number;
    CN_TRY(cn_version_write(c, ix->id, v));
    CN_TRY(cn_index_write(c, ix));
    return cn_epoch_raise(c->t, c->txn, NULL);
}

static cn_err may_activate(const cn_index_info *ix, const cn_version *v, uint64_t expect, bool by_job, const cn_actor *who) {
    unsigned long long n = v->number, active = ix->active;
    if (expect != CN_ANY_VERSION && expect != ix->active)
        return cn_fail(CN_CONFLICT, "version %llu is active, not %llu as expected; look again, then decide", active, (unsigned long long)expect);
    if (v->marks & CN_MARK_DROPPED)
        return cn_fail(CN_REFUSED, "version %llu was dropped", n);
    if (v->marks & CN_MARK_QUARANTINED)
        return cn_fail(CN_REFUSED, "version %llu is quarantined and never answers", n);
    if (by_job && ix->hold)
        return cn_fail(CN_REFUSED, "a rollback holds index " CN_STR_FMT " at version %llu; `cairn release` ends that", CN_STR_ARG(ix->name), active);
    if (v->marks & CN_MARK_SUSPECT && (by_job || who->reason.n == 0))
        return cn_fail(CN_REFUSED, "version %llu is suspect since a rollback left it; to activate it again give a reason", n);
    return CN_OK;
}

static cn_err activate_in(cn_control *c, cn_str index, uint64_t number, uint64_t expect, bool by_job, const cn_actor *who, uint64_t *ret_before) {
    cn_arena a AUTO_ARENA;
    cn_index_info ix;
    cn_version v;
    char target[128];
    cn_arena_init(&a, 65536, ARENA);
    CN_TRY(cn_index_read(c, index, &a, &ix));
    CN_TRY(cn_version_read(c, &ix, number, &a, &v));
    CN_TRY(may_activate(&ix, &v, expect, by_job, who));
    *ret_before = ix.active;
    v.marks &= ~(unsigned)CN_MARK_SUSPECT;
    CN_TRY(flip(c, &ix, &v));
    return cn_audit_add(c->t, c->txn, who, "version.activate", cn_target(target, index, number), "done", (cn_str){NULL, 0});
}

cn_err cn_version_activate(cn_tenant *t, cn_str index, uint64_t number, uint64_t expect, bool by_job, const cn_actor *who, uint64_t *ret_before) {
    CN_AUTO_CONTROL cn_control c;
    uint64_t before = 0;
    CN_TRY(cn_control_write(t, &c));
    cn_err e = activate_in(&c, index, number, expect, by_job, who, &before);
    if (e == CN_OK)
        e = cn_control_commit(&c);
    cn_control_end(&c);
    if (e == CN_REFUSED || e == CN_CONFLICT)
        cn_refusal(t, who, "version.activate", index, number);
    if (e == CN_OK && ret_before)
        *ret_before = before;
    return e;
}

/* ---------- rollback ---------- */
/* The version active before the current one was first activated; past what is gone, further back. */
static cn_err way_back(const cn_control *c, const cn_index_info *ix, cn_arena *a, uint64_t *ret) {
    uint64_t n = ix->active;
    for (;;) {
        cn_version v;
        CN_TRY(cn_version_read(c, ix, n, a, &v));
        n = v.before_active;
        if (n == 0)
            return cn_fail(CN_REFUSED, "there is no version before %llu to go back to", (unsigned long long)ix->active);
        CN_TRY(cn_version_read(c, ix, n, a, &v));
        if (!(v.marks & (CN_MARK_DROPPED | CN_MARK_QUARANTINED | CN_MARK_SUSPECT))) {
            *ret = n;
            return CN_OK;
        }
    }
}

static cn_err may_return(const cn_index_info *ix, const cn_version *v) {
    unsigned long long n = v->number;
    if (v->marks & (CN_MARK_DROPPED | CN_MARK_QUARANTINED))
        return cn_fail(CN_REFUSED, "version %llu was dropped or is quarantined", n);
    if (v->number == ix->active)
        return cn_fail(CN_REFUSED, "version %llu is active already", n);
    if (v->first_active_us == CN_NO_TIME)
        return cn_fail(CN_REFUSED, "version %llu was never active; a rollback goes back: use activate", n);
    return CN_OK;
}

static cn_err rollback_in(cn_control *c, cn_str index, uint64_t to, const cn_actor *who, uint64_t *ret_from, uint64_t *ret_to) {
    cn_arena a AUTO_ARENA;
    cn_index_info ix;
    cn_version left, v;
    char target[128];
    cn_arena_init(&a, 65536, ARENA);
    CN_TRY(cn_index_read(c, index, &a, &ix));
    if (ix.active == 0)
        return cn_fail(CN_REFUSED, "index " CN_STR_FMT " has no active version", CN_STR_ARG(index));
    if (to == 0)
        CN_TRY(way_back(c, &ix, &a, &to));
    CN_TRY(cn_version_read(c, &ix, to, &a, &v));
    CN_TRY(may_return(&ix, &v));
    CN_TRY(cn_version_read(c, &ix, ix.active, &a, &left));
    left.marks |= CN_MARK_SUSPECT;
    v.marks &= ~(unsigned)CN_MARK_SUSPECT;
    ix.hold = true;
    *ret_from = ix.active;
    *ret_to = to;
    CN_TRY(cn_version_write(c, ix.id, &left));
    CN_TRY(flip(c, &ix, &v));
    return cn_audit_add(c->t, c->txn, who, "version.rollback", cn_target(target, index, to), "done", (cn_str){NULL, 0});
}

cn_err cn_version_rollback(cn_tenant *t, cn_str index, uint64_t to, const cn_actor *who, uint64_t *ret_from, uint64_t *ret_to) {
    CN_AUTO_CONTROL cn_control c;
    uint64_t from = 0, there = 0;
    CN_TRY(cn_control_write(t, &c));
    cn_err e = rollback_in(&c, index, to, who, &from, &there);
    if (e == CN_OK)
        e = cn_control_commit(&c);
    cn_control_end(&c);
    if (e == CN_REFUSED)
        cn_refusal(t, who, "version.rollback", index, to);
    if (e == CN_OK) {
        *ret_from = from;
        *ret_to = there;
    }
    return e;
}

cn_err cn_version_release(cn_tenant *t, cn_str index, const cn_actor *who) {
    CN_AUTO_CONTROL cn_control c;
    cn_arena a AUTO_ARENA;
    cn_index_info ix;
    cn_arena_init(&a, 65536, ARENA);
    CN_TRY(cn_control_write(t, &c));
    CN_TRY(cn_index_read(&c, index, &a, &ix));
    ix.hold = false;
    CN_TRY(cn_index_write(&c, &ix));
    CN_TRY(cn_epoch_raise(t, c.txn, NULL));
    CN_TRY(cn_audit_add(t, c.txn, who, "version.release", index, "done", (cn_str){NULL, 0}));
    return cn_control_commit(&c);
}
