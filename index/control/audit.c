#include "index/control/audit.h"

#include <stdio.h>

#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "engine/base/utf8.h"
#include "index/control/records.h"
#include "index/control/refusals.h"

#define AUDIT_FORMAT 1
#define DETAIL_MAX 65536
#define RECORD_MAX (DETAIL_MAX + 16384)

#define BATCH_MAX ((size_t)4 << 30)
typedef cn_audit_head head;

static cn_err head_get(MDB_txn *txn, MDB_dbi meta, head *ret) {
    head h = {0};
    cn_str v;
    cn_err err = cn_db_get(txn, meta, CN_STR("audit"), &v);
    const cn_field f[] = {{"seq", CN_F_U64, &h.seq, 0}, {"digest", CN_F_FIXED, h.digest.b, 32}};
    if (err == CN_OK)
        err = cn_fields_read(v, "the head of the audit chain", NULL, f, 2);
    else if (err == CN_NOT_FOUND)
        err = CN_OK;
    CN_TRY(err);
    *ret = h;
    return CN_OK;
}

cn_err cn_audit_seq(MDB_txn *txn, MDB_dbi meta, uint64_t *ret) {
    head h;
    CN_TRY(head_get(txn, meta, &h));
    *ret = h.seq;
    return CN_OK;
}

static cn_err read_head(void *ctx, const cn_catalog *c, MDB_txn *txn) { return head_get(txn, c->meta, ctx); }

cn_err cn_audit_newest(cn_tenant *t, cn_audit_head *ret) { return cn_catalog_read(t, read_head, ret); }

static cn_digest link_digest(const cn_digest *prev, cn_str record) {
    cn_sha256 s;
    cn_sha256_begin(&s);
    cn_sha256_add(&s, prev->b, sizeof prev->b);
    cn_sha256_add(&s, record.p, record.n);
    cn_digest d = cn_sha256_get(&s);
    cn_sha256_end(&s);
    return d;
}

static void pack_record(cn_buf *b, const head *prev, const cn_actor *who, const char *action, cn_str target, const char *outcome, cn_str detail) {
    cn_pack_map(b, 10);
    cn_pack_cstr(b, "seq"), cn_pack_uint(b, prev->seq + 1);
    cn_pack_cstr(b, "at"), cn_pack_int(b, cn_wall_us());
    cn_pack_cstr(b, "who"), cn_pack_str(b, who->who);
    cn_pack_cstr(b, "via"), cn_pack_str(b, who->via);
    cn_pack_cstr(b, "action"), cn_pack_cstr(b, action);
    cn_pack_cstr(b, "target"), cn_pack_str(b, target);
    cn_pack_cstr(b, "reason"), cn_pack_str(b, who->reason);
    cn_pack_cstr(b, "outcome"), cn_pack_cstr(b, outcome);
    cn_pack_cstr(b, "detail");
    if (detail.n)
        cn_buf_add(b, detail.p, detail.n);
    else
        cn_pack_map(b, 0);
    cn_pack_cstr(b, "prev"), cn_pack_bin(b, prev->digest.b, 32);
}

static cn_err check_given(const cn_actor *who, cn_str detail) {
    size_t whole;
    if (who->reason.n > CN_REASON_MAX)
        return cn_fail(CN_INVALID, "the reason has %zu bytes; at most %d are kept", who->reason.n, CN_REASON_MAX);
    if (detail.n > DETAIL_MAX)
        return cn_fail(CN_INVALID, "an audit record's detail has %zu bytes; at most %d are kept", detail.n, DETAIL_MAX);
    if (detail.n && (cn_pack_check(detail.p, detail.n, &whole) != CN_OK || whole != detail.n))
        return cn_fail(CN_INTERNAL, "an audit record's detail is not one MessagePack object");
    return CN_OK;
}

/* ---------- many at once ---------- */

cn_err cn_audit_batch_begin(cn_audit_batch *b, MDB_txn *txn, MDB_dbi meta) {
    CN_TRY(head_get(txn, meta, &b->from));
    b->to = b->from;
    b->n = 0;
    b->records.cap = BATCH_MAX;
    cn_buf_reset(&b->records);
    return CN_OK;
}

cn_err cn_audit_batch_add(cn_audit_batch *b, const cn_actor *who, const char *action, cn_str target, const char *outcome, cn_str detail) {
    CN_TRY(check_given(who, detail));
    if (!cn_grow(b->ends, b->n, b->room))
        return cn_fail_memory();
    size_t at = cn_record_open(&b->records, AUDIT_FORMAT);
    pack_record(&b->records, &b->to, who, action, target, outcome, detail);
    cn_record_close(&b->records, at);
    CN_TRY(cn_buf_check(&b->records));
    size_t from = b->n ? b->ends[b->n - 1] : 0;
    if (b->records.n - from > RECORD_MAX)
        return cn_fail(CN_INVALID, "an audit record of %zu bytes; at most %d are kept", b->records.n - from, RECORD_MAX);
    b->ends[b->n++] = b->records.n;
    b->to.digest = link_digest(&b->to.digest, (cn_str){b->records.p + from + CN_RECORD_HEAD, b->records.n - from - CN_RECORD_HEAD});
    b->to.seq++;
    return CN_OK;
}

cn_err cn_audit_batch_put(const cn_audit_batch *b, MDB_txn *txn, MDB_dbi meta, MDB_dbi audit) {
    head now, to = b->to;
    CN_TRY(head_get(txn, meta, &now));
    if (now.seq != b->from.seq || !cn_digest_eq(&now.digest, &b->from.digest))
        return cn_fail(CN_INTERNAL, "audit records made to follow record %llu would follow %llu", (unsigned long long)b->from.seq, (unsigned long long)now.seq);
    for (uint32_t i = 0; i < b->n; i++) {
        size_t from = i ? b->ends[i - 1] : 0;
        cn_catalog_key key = cn_key2(b->from.seq + 1 + i, 0);
        CN_TRY(cn_db_put(txn, audit, (cn_str){(const char *)key.b, 8}, (cn_str){b->records.p + from, b->ends[i] - from}));
    }
    const cn_field f[] = {{"seq", CN_F_U64, &to.seq, 0}, {"digest", CN_F_FIXED, to.digest.b, 32}};
    return cn_fields_put(txn, meta, CN_STR("audit"), f, 2);
}

void cn_audit_batch_done(cn_audit_batch *b) {
    cn_buf_done(&b->records);
    cn_free(b->ends);
    *b = (cn_audit_batch){0};
}

static cn_err add_one(cn_audit_batch *b, MDB_txn *txn, MDB_dbi meta, MDB_dbi audit, const cn_actor *who, const char *action, cn_str target,
                      const char *outcome, cn_str detail) {
    CN_TRY(cn_audit_batch_begin(b, txn, meta));
    CN_TRY(cn_audit_batch_add(b, who, action, target, outcome, detail));
    return cn_audit_batch_put(b, txn, meta, audit);
}

cn_err cn_audit_add(cn_tenant *t, MDB_txn *txn, const cn_actor *who, const char *action, cn_str target, const char *outcome, cn_str detail) {
    MDB_dbi meta, audit;
    cn_audit_batch b = {0};
    CN_TRY(cn_env_dbi(cn_tenant_control(t), "meta", false, &meta));
    CN_TRY(cn_env_dbi(cn_tenant_control(t), "audit", false, &audit));
    cn_err e = add_one(&b, txn, meta, audit, who, action, target, outcome, detail);
    cn_audit_batch_done(&b);
    return e;
}

typedef struct refusal {
    cn_tenant *t;
    const cn_actor *who;
    const char *action, *why;
    cn_str target;
} refusal;

static cn_err add_refusal(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    (void)c;
    const refusal *r = ctx;
    char outcome[CN_ERROR_TEXT + 16];
    snprintf(outcome, sizeof outcome, "refused: %s", r->why);
    outcome[cn_utf8_valid_to(cn_str_of(outcome))] = 0;
    return cn_audit_add(r->t, txn, r->who, r->action, r->target, outcome, (cn_str){0});
}

cn_err cn_audit_refused(cn_tenant *t, const cn_actor *who, const char *action, cn_str target, const char *why) {
    refusal r = {t, who, action, why, target};
    bool write;
    if (!cn_str_is(who->via, "rpc"))
        return cn_catalog_insist(t, add_refusal, &r);
    CN_TRY(cn_refusals_note(t, who, action, &write));
    cn_err err = write ? cn_catalog_write(t, add_refusal, &r) : CN_OK;
    if (err != CN_OK)
        cn_refusals_unwritten(t, who, action);
    return err;
}

typedef struct told {
    cn_tenant *t;
    const cn_actor *who;
    const char *action, *outcome;
    cn_str target, detail;
} told;

static cn_err add_told(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    (void)c;
    const told *a = ctx;
    return cn_audit_add(a->t, txn, a->who, a->action, a->target, a->outcome, a->detail);
}

cn_err cn_audit_asked(cn_tenant *t, const cn_actor *who, const char *action, cn_str target, cn_str detail) {
    return cn_catalog_insist(t, add_told, &(told){t, who, action, "asked", target, detail});
}

cn_err cn_audit_done(cn_tenant *t, const cn_actor *who, const char *action, cn_str target, cn_str detail) {
    return cn_catalog_insist(t, add_told, &(told){t, who, action, "done", target, detail});
}

/* ---------- reading ---------- */

typedef struct walk {
    uint64_t before;
    uint32_t n;
    bool (*seen)(void *ctx, cn_str index);
    void *ctx;
    cn_buf *out;
    head end; /* of verify */
} walk;

static cn_str payload(cn_str value) { return (cn_str){value.p + CN_RECORD_HEAD, value.n - CN_RECORD_HEAD}; }

static cn_err record_at(const cn_catalog *c, MDB_txn *txn, uint64_t seq, cn_unpacked *u, cn_str *ret) {
    cn_catalog_key key = cn_key2(seq, 0);
    char what[48];
    snprintf(what, sizeof what, "audit record %llu", (unsigned long long)seq);
    cn_err err = cn_db_get(txn, c->audit, (cn_str){(const char *)key.b, 8}, ret);
    if (err == CN_NOT_FOUND)
        return cn_fail(CN_DAMAGED, "%s is missing", what);
    CN_TRY(err);
    return cn_record_read(u, *ret, AUDIT_FORMAT, what);
}

/* As the wire has it: time as text, digests as hexadecimal text. */
static cn_err list_one(cn_buf *out, const msgpack_object *o, cn_str record) {
    cn_digest prev = {0};
    int64_t at = 0;
    char text[CN_HEX_TEXT];
    cn_get_digest32(o, "prev", prev.b);
    cn_get_int(o, "at", &at);
    cn_digest d = link_digest(&prev, record);
    const char *const same[] = {"seq", "who", "via", "action", "target", "reason", "outcome", "detail"};
    cn_pack_map(out, 11);
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        const msgpack_object *v = cn_get(o, same[i]);
        if (!v)
            return cn_fail(CN_DAMAGED, "an audit record has no \"%s\"", same[i]);
        cn_pack_cstr(out, same[i]);
        cn_pack_object(out, v);
    }
    cn_time_text(at, text);
    cn_pack_cstr(out, "at"), cn_pack_cstr(out, text);
    cn_hex(prev.b, 32, text);
    cn_pack_cstr(out, "prev"), cn_pack_cstr(out, text);
    cn_hex(d.b, 32, text);
    cn_pack_cstr(out, "digest"), cn_pack_cstr(out, text);
    return cn_buf_check(out);
}

static bool begins(cn_str s, const char *with) { return s.n >= strlen(with) && memcmp(s.p, with, strlen(with)) == 0; }

/* Targets of actions on an index are INDEX or INDEX/VERSION; documents, members and keys belong to none. */
static bool is_seen(const walk *w, const msgpack_object *o) {
    static const char *const on_indexes[] = {"version.", "index.", "incident.", "mode.", "gate.", "job.", "policy.reinstate"};
    cn_str action = cn_obj_str(cn_get(o, "action")), target = cn_obj_str(cn_get(o, "target"));
    size_t i = 0;
    if (!w->seen)
        return true;
    while (i < sizeof on_indexes / sizeof *on_indexes && !begins(action, on_indexes[i]))
        i++;
    if (i == sizeof on_indexes / sizeof *on_indexes)
        return false;
    const char *slash = target.n ? memchr(target.p, '/', target.n) : NULL;
    return w->seen(w->ctx, (cn_str){target.p, slash ? (size_t)(slash - target.p) : target.n});
}

static cn_err list_all(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    walk *w = ctx;
    head h;
    CN_TRY(head_get(txn, c->meta, &h));
    uint64_t seq = w->before && w->before <= h.seq ? w->before - 1 : h.seq;
    uint32_t n = 0;
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    size_t list = cn_pack_array_open(w->out);
    for (; seq > 0 && n < w->n; seq--) {
        cn_str value;
        CN_TRY(record_at(c, txn, seq, &u, &value));
        if (!is_seen(w, &u.o))
            continue;
        CN_TRY(list_one(w->out, &u.o, payload(value)));
        n++;
    }
    cn_pack_array_close(w->out, list, n);
    return CN_OK;
}

cn_err cn_audit_since(const cn_catalog *c, MDB_txn *txn, uint64_t seq, uint64_t max, const char *action, cn_audit_since_fn *fn, void *ctx) {
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    head h;
    CN_TRY(head_get(txn, c->meta, &h));
    if (h.seq - seq > max)
        return cn_fail(CN_OVERLOADED, "more than %llu audit records", (unsigned long long)max);
    while (seq < h.seq) {
        cn_str value;
        CN_TRY(record_at(c, txn, ++seq, &u, &value));
        if (begins(cn_obj_str(cn_get(&u.o, "action")), action))
            fn(ctx, cn_obj_str(cn_get(&u.o, "target")), cn_get(&u.o, "detail"));
    }
    return CN_OK;
}

cn_err cn_audit_list(cn_tenant *t, uint64_t before, uint32_t n, bool (*seen)(void *ctx, cn_str index), void *ctx, cn_buf *out) {
    walk w = {.before = before, .n = n, .seen = seen, .ctx = ctx, .out = out};
    return cn_catalog_read(t, list_all, &w);
}

static cn_err verify_all(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    walk *w = ctx;
    head h, at = {0};
    uint64_t records;
    CN_TRY(head_get(txn, c->meta, &h));
    CN_TRY(cn_db_count(txn, c->audit, &records));
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    while (at.seq < h.seq) {
        cn_str value;
        cn_digest prev = {0};
        uint64_t seq = 0;
        CN_TRY(record_at(c, txn, at.seq + 1, &u, &value));
        if (cn_get_digest32(&u.o, "prev", prev.b) != CN_OK || cn_get_uint(&u.o, "seq", 1, UINT64_MAX, &seq) != CN_OK || seq != at.seq + 1 ||
            !cn_digest_eq(&prev, &at.digest))
            return cn_fail(CN_DAMAGED, "audit record %llu does not follow the one before it", (unsigned long long)at.seq + 1);
        at.digest = link_digest(&at.digest, payload(value));
        at.seq++;
    }
    if (!cn_digest_eq(&at.digest, &h.digest) || records != h.seq)
        return cn_fail(CN_DAMAGED, "the audit chain's head does not fit record %llu, its last", (unsigned long long)at.seq);
    w->end = h;
    return CN_OK;
}

cn_err cn_audit_verify(cn_tenant *t, uint64_t *ret_records, cn_digest *ret_head) {
    walk w = {0};
    CN_TRY(cn_catalog_read(t, verify_all, &w));
    *ret_records = w.end.seq;
    *ret_head = w.end.digest;
    return CN_OK;
}
