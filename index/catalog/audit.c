#include "engine/base/os.h"
#include "index/catalog/control.h"

#define DETAIL_MAX 65536

typedef struct head { /* of the chain; stored as it stands here */
    uint64_t records;
    cn_digest last;
} head;
_Static_assert(sizeof(head) == 40, "audit head");

static cn_err read_head(const cn_control *c, head *ret) {
    cn_str v;
    cn_err e = cn_db_get(c->txn, c->meta, CN_STR("audit"), &v);
    if (e == CN_NOT_FOUND) {
        *ret = (head){0};
        return CN_OK;
    }
    CN_TRY(e);
    if (v.n != sizeof *ret)
        return cn_fail(CN_DAMAGED, "the head of the audit chain has %zu bytes", v.n);
    memcpy(ret, v.p, sizeof *ret);
    return CN_OK;
}

static void seq_key(uint64_t seq, uint8_t key[8]) {
    for (int i = 0; i < 8; i++)
        key[i] = (uint8_t)(seq >> (56 - 8 * i));
}

static void pack_field(cn_buf *b, const char *key, cn_str v, size_t most) {
    cn_pack_cstr(b, key);
    cn_pack_str(b, (cn_str){v.p, v.n > most ? most : v.n});
}

static void pack_record(cn_buf *b, const head *h, const cn_actor *who, const char *action, cn_str target, const char *outcome, cn_str detail) {
    size_t at = cn_record_open(b, CN_RECORD_FORMAT);
    cn_pack_map(b, 10);
    cn_pack_cstr(b, "seq");
    cn_pack_uint(b, h->records + 1);
    cn_pack_cstr(b, "at");
    cn_pack_int(b, cn_wall_us());
    pack_field(b, "who", who->who, CN_REASON_MAX);
    pack_field(b, "via", who->via, 64);
    pack_field(b, "action", cn_str_of(action), 64);
    pack_field(b, "target", target, CN_DOC_ID_MAX);
    pack_field(b, "reason", who->reason, CN_REASON_MAX);
    pack_field(b, "outcome", cn_str_of(outcome), CN_REASON_MAX);
    cn_pack_cstr(b, "detail");
    if (detail.n && detail.n <= DETAIL_MAX)
        cn_buf_add(b, detail.p, detail.n);
    else
        cn_pack_nil(b);
    cn_pack_cstr(b, "prev");
    cn_pack_bin(b, h->last.b, sizeof h->last.b);
    cn_record_close(b, at);
}

cn_err cn_audit_add(cn_tenant *t, MDB_txn *txn, const cn_actor *who, const char *action, cn_str target, const char *outcome, cn_str detail) {
    cn_control c = {0};
    head h;
    uint8_t key[8];
    CN_AUTO_BUF cn_buf b;
    cn_buf_init(&b, DETAIL_MAX * 2);
    CN_TRY(cn_control_handles(t, &c));
    c.txn = txn;
    CN_TRY(read_head(&c, &h));
    pack_record(&b, &h, who, action, target, outcome, detail);
    CN_TRY(cn_buf_check(&b));
    seq_key(h.records + 1, key);
    CN_TRY(cn_db_put(txn, c.audit, (cn_str){(const char *)key, sizeof key}, cn_buf_str(&b)));
    h = (head){h.records + 1, cn_sha256_of(b.p, b.n)};
    return cn_db_put(txn, c.meta, CN_STR("audit"), (cn_str){(const char *)&h, sizeof h});
}

cn_err cn_audit_refused(cn_tenant *t, const cn_actor *who, const char *action, cn_str target, const char *why) {
    char outcome[CN_ERROR_TEXT];
    CN_AUTO_CONTROL cn_control c;
    snprintf(outcome, sizeof outcome, "refused: %s", why);
    CN_TRY(cn_control_write(t, &c));
    CN_TRY(cn_audit_add(t, c.txn, who, action, target, outcome, (cn_str){NULL, 0}));
    return cn_control_commit(&c);
}

/* ---------- reading ---------- */
static cn_err get_record(const cn_control *c, uint64_t seq, cn_str *ret) {
    uint8_t key[8];
    seq_key(seq, key);
    cn_err e = cn_db_get(c->txn, c->audit, (cn_str){(const char *)key, sizeof key}, ret);
    return e == CN_NOT_FOUND ? cn_fail(CN_DAMAGED, "record %llu of the audit chain is missing", (unsigned long long)seq) : e;
}

static void show_time(cn_buf *out, const msgpack_object *map) {
    int64_t at = 0;
    char text[CN_TIME_TEXT];
    cn_get_int(map, "at", &at);
    cn_time_text(at, text);
    cn_pack_cstr(out, "at");
    cn_pack_cstr(out, text);
}

static cn_err show(cn_buf *out, cn_str bytes, cn_unpacked *u) {
    static const char *const fields[] = {"seq", "who", "via", "action", "target", "reason", "outcome", "detail"};
    char hex[CN_HEX_TEXT];
    cn_digest d = cn_sha256_of(bytes.p, bytes.n);
    CN_TRY(cn_record_read(u, bytes, CN_RECORD_FORMAT, "a record of the audit chain"));
    cn_pack_map(out, 10);
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        const msgpack_object *o = cn_get(&u->o, fields[i]);
        cn_pack_cstr(out, fields[i]);
        if (o)
            cn_pack_object(out, o);
        else
            cn_pack_nil(out);
    }
    show_time(out, &u->o);
    cn_hex(d.b, sizeof d.b, hex);
    cn_pack_cstr(out, "digest");
    cn_pack_cstr(out, hex);
    return CN_OK;
}

cn_err cn_audit_list(cn_tenant *t, uint64_t before, uint32_t n, cn_buf *out) {
    CN_AUTO_CONTROL cn_control c;
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    head h;
    CN_TRY(cn_control_read(t, &c));
    CN_TRY(read_head(&c, &h));
    uint64_t from = before && before <= h.records ? before - 1 : h.records;
    uint32_t count = from < n ? (uint32_t)from : n;
    cn_pack_array(out, count);
    for (uint32_t i = 0; i < count; i++) {
        cn_str v;
        CN_TRY(get_record(&c, from - i, &v));
        CN_TRY(show(out, v, &u));
    }
    return CN_OK;
}

cn_err cn_audit_verify(cn_tenant *t, uint64_t *ret_records, cn_digest *ret_head) {
    CN_AUTO_CONTROL cn_control c;
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    head h;
    cn_digest last = {{0}};
    CN_TRY(cn_control_read(t, &c));
    CN_TRY(read_head(&c, &h));
    for (uint64_t seq = 1; seq <= h.records; seq++) {
        cn_str v;
        uint8_t prev[32] = {0};
        CN_TRY(get_record(&c, seq, &v));
        CN_TRY(cn_record_read(&u, v, CN_RECORD_FORMAT, "a record of the audit chain"));
        CN_TRY(cn_get_digest32(&u.o, "prev", prev));
        if (memcmp(prev, last.b, sizeof prev) != 0)
            return cn_fail(CN_DAMAGED, "record %llu of the audit chain does not follow the one before it", (unsigned long long)seq);
        last = cn_sha256_of(v.p, v.n);
    }
    if (!cn_digest_eq(&last, &h.last))
        return cn_fail(CN_DAMAGED, "the last record of the audit chain, %llu, is not the one its head names", (unsigned long long)h.records);
    *ret_records = h.records;
    *ret_head = h.last;
    return CN_OK;
}
