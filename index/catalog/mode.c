#include "index/catalog/mode.h"

#include <stdio.h>

#include "engine/base/log.h"
#include "engine/base/os.h"
#include "engine/base/utf8.h"
#include "index/catalog/inside.h"
#include "index/store/reserve.h"

#define HOST_KEY CN_STR("mode")

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

static cn_err load_one(MDB_txn *txn, MDB_dbi dbi, cn_str key, cn_arena *a, cn_mode_info *ret) {
    cn_str value;
    cn_field f[MODE_FIELDS];
    cn_mode_info m = {.name = CN_STR("normal"), .at_us = CN_NO_TIME};
    cn_err err = cn_db_get(txn, dbi, key, &value);
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

cn_err cn_host_mode_get(cn_data *d, cn_arena *a, cn_mode_info *ret) {
    MDB_dbi settings;
    MDB_txn *txn;
    CN_TRY(cn_env_dbi(cn_data_host(d), "settings", false, &settings));
    CN_TRY(cn_txn_read(cn_data_host(d), &txn));
    cn_err err = load_one(txn, settings, HOST_KEY, a, ret);
    cn_txn_abort(cn_data_host(d), txn);
    return err;
}

/* Inside a transaction of the tenant's: who writes, and looks here first, is met by the one that tells its chain of the host's. */
cn_err cn_modes_load(const cn_catalog *c, MDB_txn *txn, uint64_t index_id, cn_arena *a, cn_modes *ret) {
    cn_modes m = {.index = {.name = CN_STR("normal"), .at_us = CN_NO_TIME}};
    mode_key key;
    CN_TRY(cn_host_mode_get(cn_tenant_data(c->t), a, &m.host));
    CN_TRY(load_one(txn, c->meta, key_of(0, &key), a, &m.tenant));
    if (index_id)
        CN_TRY(load_one(txn, c->meta, key_of(index_id, &key), a, &m.index));
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
    const char *action;
} setting;

static cn_err audited(const setting *s, MDB_txn *txn, cn_str before) {
    CN_AUTO_BUF cn_buf b;
    cn_buf_init(&b, 4096);
    cn_pack_map(&b, 3);
    cn_pack_cstr(&b, "mode"), cn_pack_str(&b, s->m.name);
    cn_pack_cstr(&b, "text"), cn_pack_str(&b, s->m.text);
    cn_pack_cstr(&b, "before"), cn_pack_str(&b, before);
    CN_TRY(cn_buf_check(&b));
    CN_TRY(cn_audit_add(s->t, txn, s->who, s->action, s->index, "done", cn_buf_str(&b)));
    return cn_epoch_raise(s->t, txn, NULL);
}

/* A mode that is normal is no record. */
static cn_err put_one(MDB_txn *txn, MDB_dbi dbi, cn_str key, cn_mode_info *m) {
    cn_field f[MODE_FIELDS];
    mode_fields(m, f);
    return m->kind == CN_INCIDENT_NORMAL ? cn_db_del(txn, dbi, key) : cn_fields_put(txn, dbi, key, f, MODE_FIELDS);
}

static cn_err set(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    setting *s = ctx;
    CN_CATALOG_ARENA(a);
    cn_index_info ix = {0};
    cn_mode_info before;
    mode_key key;
    if (s->index.n)
        CN_TRY(cn_index_load(c, txn, s->index, &a, &ix));
    CN_TRY(load_one(txn, c->meta, key_of(ix.id, &key), &a, &before));
    CN_TRY(put_one(txn, c->meta, key_of(ix.id, &key), &s->m));
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

static setting setting_of(cn_str mode, cn_str text, const cn_actor *who, const char *action) {
    return (setting){.m = {kind_of(mode), mode, text, who->who, who->reason, cn_wall_us()}, .who = who, .action = action};
}

cn_err cn_mode_set(cn_tenant *t, cn_str index, cn_str mode, cn_str text, const cn_actor *who) {
    setting s = setting_of(mode, text, who, "mode.set");
    s.t = t;
    s.index = index;
    cn_err err = check(s.m.kind, mode, text, who);
    return cn_refused(t, err == CN_OK ? cn_catalog_insist(t, set, &s) : err, who, s.action, index);
}

/* ---------- setting the host's ---------- */
static cn_err put_host(cn_data *d, cn_mode_info *m, cn_arena *a, cn_str *ret_before) {
    cn_env *host = cn_data_host(d);
    cn_mode_info before;
    MDB_dbi settings;
    MDB_txn *txn;
    CN_TRY(cn_env_dbi(host, "settings", false, &settings));
    CN_TRY(cn_txn_write(host, &txn));
    cn_err err = load_one(txn, settings, HOST_KEY, a, &before);
    if (err == CN_OK)
        err = put_one(txn, settings, HOST_KEY, m);
    if (err == CN_OK) {
        *ret_before = before.name;
        return cn_txn_commit(host, txn);
    }
    cn_txn_abort(host, txn);
    return err;
}

typedef struct telling {
    setting s;
    cn_data *data;
    cn_str before;
    unsigned untold; /* tenants */
    cn_err first;
    char why[CN_ERROR_TEXT / 2];
} telling;

static cn_err tell(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    (void)c;
    const telling *x = ctx;
    return audited(&x->s, txn, x->before);
}

/* One that cannot be told keeps none of the others from it. */
static cn_err tell_tenant(void *ctx, cn_str name, int64_t made_us) {
    (void)made_us;
    telling *x = ctx;
    cn_err err = cn_tenant_open(x->data, name, &x->s.t);
    if (err == CN_NOT_FOUND) /* dropped meanwhile */
        return CN_OK;
    if (err == CN_OK) {
        err = cn_catalog_insist(x->s.t, tell, x);
        cn_tenant_unref(x->s.t);
    }
    if (err == CN_OK || x->untold++)
        return CN_OK;
    x->first = err;
    snprintf(x->why, sizeof x->why, "tenant " CN_STR_FMT ": %s", CN_STR_ARG(name), cn_error_detail());
    return CN_OK;
}

cn_err cn_host_mode_set(cn_data *d, cn_str mode, cn_str text, const cn_actor *who) {
    CN_CATALOG_ARENA(a);
    telling x = {.s = setting_of(mode, text, who, "mode.host"), .data = d};
    char why[CN_REASON_LOGGED];
    CN_TRY(check(x.s.m.kind, mode, text, who));
    cn_err err = put_host(d, &x.s.m, &a, &x.before);
    while (err != CN_OK && cn_reserve_give_up(d, cn_data_host(d)))
        err = put_host(d, &x.s.m, &a, &x.before);
    CN_TRY(err);
    cn_log(CN_LOG_INFO, "mode.host", "mode=" CN_STR_FMT " before=" CN_STR_FMT " by=" CN_STR_FMT " reason=%s", CN_STR_ARG(mode), CN_STR_ARG(x.before),
           CN_STR_ARG(who->who), cn_reason_logged(who, why));
    CN_TRY(cn_tenant_list(d, tell_tenant, &x));
    return x.untold == 0 ? CN_OK
                         : cn_fail(x.first, "the host is in mode " CN_STR_FMT " now, but %u tenants' audit chains do not tell of it, and a change under way there may "
                                            "still come; set it again when they can be written. The first: %s", CN_STR_ARG(mode), x.untold, x.why);
}

/* ---------- what they let happen ---------- */
/* The widest that is. NULL: none. */
static const cn_mode_info *that_is(const cn_modes *m, cn_mode_kind kind) {
    return m->host.kind == kind ? &m->host : m->tenant.kind == kind ? &m->tenant : m->index.kind == kind ? &m->index : NULL;
}

bool cn_modes_are(const cn_modes *m, cn_mode_kind kind) { return that_is(m, kind) != NULL; }

static const char *whose(const cn_modes *m, const cn_mode_info *x) { return x == &m->host ? "host" : x == &m->tenant ? "tenant" : "index"; }

static cn_err unknown(const cn_modes *m) {
    const cn_mode_info *x = that_is(m, CN_INCIDENT_UNKNOWN);
    if (!x)
        return CN_OK;
    return cn_fail(CN_REFUSED, "the %s is in mode \"" CN_STR_FMT "\", which this build does not know; use a newer cairn, or set another: `cairn mode%s`",
                   whose(m, x), CN_STR_ARG(x->name), x == &m->host ? " --host" : "");
}

static cn_err forbid(const cn_modes *m, cn_mode_kind kind, const char *what) {
    const cn_mode_info *x = that_is(m, kind);
    if (!x)
        return CN_OK;
    return cn_fail(CN_REFUSED, "the %s is in mode %s, so %s; `cairn mode %s normal` ends it", whose(m, x), names[kind], what, x == &m->host ? "--host" : "...");
}

cn_err cn_modes_may_answer(const cn_modes *m) {
    CN_TRY(unknown(m));
    const cn_mode_info *x = that_is(m, CN_INCIDENT_REFUSE);
    return x ? cn_fail(CN_REFUSED, CN_STR_FMT, CN_STR_ARG(x->text)) : CN_OK;
}

cn_err cn_modes_may_write(const cn_modes *m) {
    CN_TRY(unknown(m));
    return forbid(m, CN_INCIDENT_FREEZE, "nothing is written");
}

cn_err cn_modes_may_begin(const cn_modes *m) {
    CN_TRY(cn_modes_may_write(m));
    return forbid(m, CN_INCIDENT_DRAIN, "no new job begins");
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
