#include "index/catalog/mode.h"

#include "engine/base/os.h"
#include "engine/base/utf8.h"
#include "index/catalog/inside.h"

static const char *const names[] = {[CN_INCIDENT_NORMAL] = "normal", [CN_INCIDENT_FREEZE] = "freeze", [CN_INCIDENT_EXACT] = "exact",
                                    [CN_INCIDENT_LEXICAL] = "lexical", [CN_INCIDENT_REFUSE] = "refuse", [CN_INCIDENT_DRAIN] = "drain"};

static cn_mode_kind kind_of(cn_str name) {
    cn_mode_kind k = CN_INCIDENT_NORMAL;
    while (k < CN_INCIDENT_UNKNOWN && !cn_str_is(name, names[k]))
        k++;
    return k;
}

/* ---------- records ---------- */
typedef struct mode_key {
    char b[12];
} mode_key;

static cn_str key_of(uint64_t index_id, mode_key *key) {
    cn_catalog_key id = cn_key2(index_id, 0);
    memcpy(key->b, "mode", 4);
    memcpy(key->b + 4, id.b, 8);
    return (cn_str){key->b, sizeof key->b};
}

#define MODE_FIELDS 5
static void mode_fields(cn_mode_info *m, cn_field f[MODE_FIELDS]) {
    const cn_field all[MODE_FIELDS] = {{"mode", CN_F_STR, &m->name, 0}, {"text", CN_F_STR, &m->text, 0}, {"by", CN_F_STR, &m->by, 0},
                                       {"at", CN_F_I64, &m->at_us, 0}, {"reason", CN_F_STR, &m->reason, 0}};
    memcpy(f, all, sizeof all);
}

static cn_err load_one(const cn_catalog *c, MDB_txn *txn, uint64_t index_id, cn_arena *a, cn_mode_info *ret) {
    mode_key key;
    cn_str value;
    cn_field f[MODE_FIELDS];
    cn_mode_info m = {.name = CN_STR("normal"), .at_us = CN_NO_TIME};
    cn_err err = cn_db_get(txn, c->meta, key_of(index_id, &key), &value);
    if (err == CN_OK) {
        mode_fields(&m, f);
        err = cn_fields_read(value, "the record of a mode", a, f, MODE_FIELDS);
    }
    if (err != CN_OK && err != CN_NOT_FOUND)
        return err;
    m.kind = kind_of(m.name);
    *ret = m;
    return CN_OK;
}

cn_err cn_modes_load(const cn_catalog *c, MDB_txn *txn, uint64_t index_id, cn_arena *a, cn_modes *ret) {
    cn_modes m = {.index = {.name = CN_STR("normal"), .at_us = CN_NO_TIME}};
    CN_TRY(load_one(c, txn, 0, a, &m.tenant));
    if (index_id)
        CN_TRY(load_one(c, txn, index_id, a, &m.index));
    *ret = m;
    return CN_OK;
}

cn_err cn_mode_forget(const cn_catalog *c, MDB_txn *txn, uint64_t index_id) {
    mode_key key;
    return cn_db_del(txn, c->meta, key_of(index_id, &key));
}

typedef struct reading {
    cn_str index;
    cn_arena *a;
    cn_modes *ret;
} reading;

static cn_err get(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    reading *r = ctx;
    cn_index_info ix = {0};
    if (r->index.n)
        CN_TRY(cn_index_load(c, txn, r->index, r->a, &ix));
    return cn_modes_load(c, txn, ix.id, r->a, r->ret);
}

cn_err cn_modes_get(cn_tenant *t, cn_str index, cn_arena *a, cn_modes *ret) {
    reading r = {index, a, ret};
    return cn_catalog_read(t, get, &r);
}

/* ---------- setting ---------- */
typedef struct setting {
    cn_tenant *t;
    cn_str index;
    cn_mode_info m;
    const cn_actor *who;
} setting;

static cn_err audited(const setting *s, MDB_txn *txn, cn_str before) {
    CN_AUTO_BUF cn_buf b;
    cn_buf_init(&b, 4096);
    cn_pack_map(&b, 3);
    cn_pack_cstr(&b, "mode"), cn_pack_str(&b, s->m.name);
    cn_pack_cstr(&b, "text"), cn_pack_str(&b, s->m.text);
    cn_pack_cstr(&b, "before"), cn_pack_str(&b, before);
    CN_TRY(cn_buf_check(&b));
    CN_TRY(cn_audit_add(s->t, txn, s->who, "mode.set", s->index, "done", cn_buf_str(&b)));
    return cn_epoch_raise(s->t, txn, NULL);
}

static cn_err set(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    setting *s = ctx;
    CN_CATALOG_ARENA(a);
    cn_index_info ix = {0};
    cn_mode_info before;
    mode_key key;
    cn_field f[MODE_FIELDS];
    if (s->index.n)
        CN_TRY(cn_index_load(c, txn, s->index, &a, &ix));
    CN_TRY(load_one(c, txn, ix.id, &a, &before));
    mode_fields(&s->m, f);
    if (s->m.kind == CN_INCIDENT_NORMAL)
        CN_TRY(cn_mode_forget(c, txn, ix.id));
    else
        CN_TRY(cn_fields_put(txn, c->meta, key_of(ix.id, &key), f, MODE_FIELDS));
    return audited(s, txn, before.name);
}

static cn_err check(cn_mode_kind kind, cn_str mode, cn_str text, const cn_actor *who) {
    if (kind == CN_INCIDENT_UNKNOWN)
        return cn_fail(CN_INVALID, "there is no mode \"" CN_STR_FMT "\"; modes are freeze, exact, lexical, refuse, drain and normal", CN_STR_ARG(mode));
    if ((kind == CN_INCIDENT_REFUSE) != (text.n > 0))
        return kind == CN_INCIDENT_REFUSE ? cn_fail(CN_INVALID, "mode refuse needs the text that every question is answered with")
                                      : cn_fail(CN_INVALID, "only mode refuse takes a text; `--reason` says why a mode was set");
    bool plain = text.n <= CN_MODE_TEXT && cn_utf8_ok(text);
    for (size_t i = 0; plain && i < text.n; i++)
        plain = (unsigned char)text.p[i] >= ' ' && text.p[i] != 0x7f;
    if (!plain)
        return cn_fail(CN_INVALID, "the text is one line of UTF-8, of at most %d bytes", CN_MODE_TEXT);
    return who->reason.n <= CN_REASON_MAX ? CN_OK : cn_fail(CN_INVALID, "the reason has %zu bytes; at most %d are kept", who->reason.n, CN_REASON_MAX);
}

cn_err cn_mode_set(cn_tenant *t, cn_str index, cn_str mode, cn_str text, const cn_actor *who) {
    cn_mode_kind kind = kind_of(mode);
    setting s = {t, index, {kind, mode, text, who->who, who->reason, cn_wall_us()}, who};
    cn_err err = check(kind, mode, text, who);
    return cn_refused(t, err == CN_OK ? cn_catalog_insist(t, set, &s) : err, who, "mode.set", index);
}

/* ---------- what they let happen ---------- */
bool cn_modes_are(const cn_modes *m, cn_mode_kind kind) { return m->tenant.kind == kind || m->index.kind == kind; }

static cn_err unknown(const cn_modes *m) {
    const cn_mode_info *x = m->tenant.kind == CN_INCIDENT_UNKNOWN ? &m->tenant : &m->index;
    if (x->kind != CN_INCIDENT_UNKNOWN)
        return CN_OK;
    return cn_fail(CN_REFUSED, "the %s is in mode \"" CN_STR_FMT "\", which this build does not know; use a newer cairn, or set another: `cairn mode`",
                   x == &m->tenant ? "tenant" : "index", CN_STR_ARG(x->name));
}

static const char *whose(const cn_modes *m, cn_mode_kind kind) { return m->tenant.kind == kind ? "tenant" : "index"; }

cn_err cn_modes_may_answer(const cn_modes *m) {
    CN_TRY(unknown(m));
    if (!cn_modes_are(m, CN_INCIDENT_REFUSE))
        return CN_OK;
    return cn_fail(CN_REFUSED, CN_STR_FMT, CN_STR_ARG(m->tenant.kind == CN_INCIDENT_REFUSE ? m->tenant.text : m->index.text));
}

cn_err cn_modes_may_write(const cn_modes *m) {
    CN_TRY(unknown(m));
    if (!cn_modes_are(m, CN_INCIDENT_FREEZE))
        return CN_OK;
    return cn_fail(CN_REFUSED, "the %s is in mode freeze, so nothing is written; `cairn mode ... normal` ends it", whose(m, CN_INCIDENT_FREEZE));
}

cn_err cn_modes_may_begin(const cn_modes *m) {
    CN_TRY(cn_modes_may_write(m));
    if (!cn_modes_are(m, CN_INCIDENT_DRAIN))
        return CN_OK;
    return cn_fail(CN_REFUSED, "the %s is in mode drain, so no new job begins; `cairn mode ... normal` ends it", whose(m, CN_INCIDENT_DRAIN));
}

cn_err cn_modes_let_job(cn_tenant *t, cn_str index, bool begins, const cn_actor *who) {
    CN_CATALOG_ARENA(a);
    cn_modes m;
    cn_err err = cn_modes_get(t, index, &a, &m);
    if (err != CN_OK)
        return err == CN_NOT_FOUND ? CN_OK : err;
    err = begins ? cn_modes_may_begin(&m) : cn_modes_may_write(&m);
    return cn_refused(t, err, who, begins ? "index.ingest" : "version.seal", index);
}
