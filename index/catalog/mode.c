#include "index/catalog/mode.h"

#include <stdio.h>

#include "engine/base/log.h"
#include "engine/base/os.h"
#include "engine/base/utf8.h"
#include "index/catalog/inside.h"
#include "index/store/reserve.h"

#define HOST_KEY CN_STR("mode")

#define WRITES (CN_INCIDENT_FREEZE | CN_INCIDENT_DRAIN)
#define ANSWERS (CN_INCIDENT_EXACT | CN_INCIDENT_LEXICAL | CN_INCIDENT_REFUSE)
#define SEPARATOR '+'
#define NORMAL CN_STR("normal")

typedef struct word { /* what can be set */
    const char *name;
    unsigned sets, ends;
} word;

static const word words[] = {{"freeze", CN_INCIDENT_FREEZE, WRITES}, {"drain", CN_INCIDENT_DRAIN, WRITES}, {"exact", CN_INCIDENT_EXACT, ANSWERS},
                             {"lexical", CN_INCIDENT_LEXICAL, ANSWERS}, {"refuse", CN_INCIDENT_REFUSE, ANSWERS},
                             {"thaw", 0, WRITES}, {"answer", 0, ANSWERS}, {"normal", 0, WRITES | ANSWERS}};

#define WORDS (sizeof words / sizeof *words)

static const word *word_of(cn_str name) {
    for (size_t i = 0; i < WORDS; i++)
        if (cn_str_is(name, words[i].name))
            return &words[i];
    return NULL;
}

/* Of a record. One name of it that this program does not know lets nothing happen; those that it knows stand until they are ended. */
static unsigned kind_of(cn_str name) {
    unsigned kind = CN_INCIDENT_NORMAL;
    for (cn_str part; cn_str_next(&name, SEPARATOR, &part);) {
        const word *w = word_of(part);
        kind |= w && w->sets ? w->sets : CN_INCIDENT_UNKNOWN;
    }
    return kind ? kind : CN_INCIDENT_UNKNOWN;
}

static cn_str name_of(unsigned kind, cn_buf *b) {
    for (size_t i = 0; i < WORDS; i++)
        if (kind & words[i].sets)
            cn_buf_printf(b, "%s%s", b->n ? (char[]){SEPARATOR, 0} : "", words[i].name);
    return kind ? cn_buf_str(b) : NORMAL;
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
    cn_mode_info m = {.name = NORMAL, .at_us = CN_NO_TIME};
    cn_err err = cn_db_get(txn, dbi, key, &value);
    if (err == CN_OK) {
        mode_fields(&m, f);
        CN_TRY(cn_fields_read(value, "the record of a mode", a, f, MODE_FIELDS));
        m.kind = kind_of(m.name);
    } else if (err != CN_NOT_FOUND) {
        return err;
    }
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
cn_err cn_modes_load(const cn_catalog *c, MDB_txn *txn, uint64_t index_id, cn_str index, cn_arena *a, cn_modes *ret) {
    cn_modes m = {.index = {.name = NORMAL, .at_us = CN_NO_TIME}, .of_tenant = cn_tenant_name(c->t), .of_index = index};
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
    return cn_modes_load(c, txn, ix.id, r->index, r->a, r->ret);
}

cn_err cn_modes_get(cn_tenant *t, cn_str index, cn_arena *a, cn_modes *ret) {
    reading r = {index, a, ret};
    return cn_catalog_read(t, get, &r);
}

/* ---------- setting ---------- */
typedef struct setting {
    cn_tenant *t;
    cn_str index, text;
    const word *word;
    const cn_actor *who;
    const char *action;
} setting;

static cn_err audited(const setting *s, MDB_txn *txn, const cn_mode_info *m, cn_str before) {
    CN_AUTO_BUF cn_buf b;
    cn_buf_init(&b, 4096);
    cn_pack_map(&b, 3);
    cn_pack_cstr(&b, "mode"), cn_pack_str(&b, m->name);
    cn_pack_cstr(&b, "text"), cn_pack_str(&b, m->text);
    cn_pack_cstr(&b, "before"), cn_pack_str(&b, before);
    CN_TRY(cn_buf_check(&b));
    CN_TRY(cn_audit_add(s->t, txn, s->who, s->action, s->index, "done", cn_buf_str(&b)));
    return cn_epoch_raise(s->t, txn, NULL);
}

static cn_mode_info after(const setting *s, const cn_mode_info *before, cn_buf *name) {
    cn_mode_info m = {.kind = (before->kind & ~(s->word->ends | CN_INCIDENT_UNKNOWN)) | s->word->sets, .text = s->text, .by = s->who->who,
                      .at_us = cn_wall_us(), .reason = s->who->reason};
    if (m.kind & CN_INCIDENT_REFUSE && !m.text.n)
        m.text = before->text;
    m.name = name_of(m.kind, name);
    return m;
}

/* A mode that is normal is no record. */
static cn_err put_one(MDB_txn *txn, MDB_dbi dbi, cn_str key, cn_mode_info *m) {
    cn_field f[MODE_FIELDS];
    mode_fields(m, f);
    return m->kind == CN_INCIDENT_NORMAL ? cn_db_del(txn, dbi, key) : cn_fields_put_of(txn, dbi, key, f, MODE_FIELDS);
}

static cn_err set(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    setting *s = ctx;
    CN_CATALOG_ARENA(a);
    CN_AUTO_BUF cn_buf name;
    cn_index_info ix = {0};
    cn_mode_info before;
    mode_key key;
    cn_buf_init(&name, 256);
    if (s->index.n)
        CN_TRY(cn_index_load(c, txn, s->index, &a, &ix));
    CN_TRY(load_one(txn, c->meta, key_of(ix.id, &key), &a, &before));
    cn_mode_info m = after(s, &before, &name);
    CN_TRY(cn_buf_check(&name));
    CN_TRY(put_one(txn, c->meta, key_of(ix.id, &key), &m));
    return audited(s, txn, &m, before.name);
}

static cn_err check(const word *w, cn_str mode, cn_str text, const cn_actor *who) {
    if (!w)
        return cn_fail(CN_INVALID, "there is no mode \"" CN_STR_FMT "\"; modes are freeze, drain, thaw, exact, lexical, refuse, answer and normal", CN_STR_ARG(mode));
    bool refuses = w->sets == CN_INCIDENT_REFUSE;
    if (text.n && !cn_str_trim(text).n)
        return cn_fail(CN_INVALID, "the text is blank, and would tell nobody why nothing is answered");
    if (refuses != (text.n > 0))
        return refuses ? cn_fail(CN_INVALID, "mode refuse needs the text that every question is answered with")
                       : cn_fail(CN_INVALID, "only mode refuse takes a text; `--reason` says why a mode was set");
    bool plain = text.n <= CN_MODE_TEXT && cn_utf8_ok(text);
    for (size_t i = 0; plain && i < text.n; i++)
        plain = (unsigned char)text.p[i] >= ' ' && text.p[i] != 0x7f;
    if (!plain)
        return cn_fail(CN_INVALID, "the text is one line of UTF-8, of at most %d bytes", CN_MODE_TEXT);
    return who->reason.n <= CN_REASON_MAX ? CN_OK : cn_fail(CN_INVALID, "the reason has %zu bytes; at most %d are kept", who->reason.n, CN_REASON_MAX);
}

cn_err cn_mode_set(cn_tenant *t, cn_str index, cn_str mode, cn_str text, const cn_actor *who) {
    setting s = {t, index, text, word_of(mode), who, "mode.set"};
    cn_err err = check(s.word, mode, text, who);
    return cn_refused(t, err == CN_OK ? cn_catalog_insist(t, set, &s) : err, who, s.action, index);
}

/* ---------- setting the host's ---------- */
typedef struct telling {
    setting s;
    cn_data *data;
    cn_arena *a;
    cn_mode_info now, before;
    cn_buf *name;    /* of now */
    unsigned untold; /* tenants */
    cn_err first;
    char why[CN_ERROR_TEXT / 2];
} telling;

static cn_err change_host(telling *x, MDB_txn *txn, MDB_dbi settings) {
    CN_TRY(load_one(txn, settings, HOST_KEY, x->a, &x->before));
    cn_buf_reset(x->name);
    x->now = after(&x->s, &x->before, x->name);
    CN_TRY(cn_buf_check(x->name));
    return put_one(txn, settings, HOST_KEY, &x->now);
}

static cn_err put_host(telling *x) {
    cn_env *host = cn_data_host(x->data);
    MDB_dbi settings;
    MDB_txn *txn;
    CN_TRY(cn_env_dbi(host, "settings", false, &settings));
    CN_TRY(cn_txn_write(host, &txn));
    cn_err err = change_host(x, txn, settings);
    if (err == CN_OK)
        return cn_txn_commit(host, txn);
    cn_txn_abort(host, txn);
    return err;
}

static cn_err tell(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    (void)c;
    const telling *x = ctx;
    return audited(&x->s, txn, &x->now, x->before.name);
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
    CN_AUTO_BUF cn_buf name;
    char why[CN_REASON_LOGGED];
    cn_buf_init(&name, 256);
    telling x = {.s = {.text = text, .word = word_of(mode), .who = who, .action = "mode.host"}, .data = d, .a = &a, .name = &name};
    CN_TRY(check(x.s.word, mode, text, who));
    cn_err err = put_host(&x);
    while (err != CN_OK && cn_reserve_give_up(d, cn_data_host(d)))
        err = put_host(&x);
    CN_TRY(err);
    cn_log(CN_LOG_INFO, "mode.host", "mode=" CN_STR_FMT " before=" CN_STR_FMT " by=" CN_STR_FMT " reason=%s", CN_STR_ARG(x.now.name), CN_STR_ARG(x.before.name),
           CN_STR_ARG(who->who), cn_reason_logged(who, why));
    CN_TRY(cn_tenant_list(d, tell_tenant, &x));
    return x.untold == 0 ? CN_OK
                         : cn_fail(x.first, "the host is in mode " CN_STR_FMT " now, but %u tenants' audit chains do not tell of it, and a change under way there may "
                                            "still come; set it again when they can be written. The first: %s", CN_STR_ARG(x.now.name), x.untold, x.why);
}

/* ---------- what they let happen ---------- */
/* The widest that is. NULL: none. */
static const cn_mode_info *that_is(const cn_modes *m, cn_mode_kind kind) {
    return m->host.kind & kind ? &m->host : m->tenant.kind & kind ? &m->tenant : m->index.kind & kind ? &m->index : NULL;
}

bool cn_modes_are(const cn_modes *m, cn_mode_kind kind) { return that_is(m, kind) != NULL; }

static const char *whose(const cn_modes *m, const cn_mode_info *x) { return x == &m->host ? "host" : x == &m->tenant ? "tenant" : "index"; }

/* What `cairn mode` is told for it. */
#define TARGET (2 * CN_NAME_MAX + 2)
static const char *target(const cn_modes *m, const cn_mode_info *x, char ret[TARGET]) {
    if (x == &m->host)
        return "--host";
    snprintf(ret, TARGET, x == &m->index ? "%s/" CN_STR_FMT : "%s", m->of_tenant, CN_STR_ARG(m->of_index));
    return ret;
}

static cn_err unknown(const cn_modes *m) {
    char of[TARGET];
    const cn_mode_info *x = that_is(m, CN_INCIDENT_UNKNOWN);
    if (!x)
        return CN_OK;
    return cn_fail(CN_REFUSED, "the %s is in mode \"" CN_STR_FMT "\", which this build does not know; use a newer cairn, or set another: `cairn mode %s`",
                   whose(m, x), CN_STR_ARG(x->name), target(m, x, of));
}

static cn_err forbid(const cn_modes *m, cn_mode_kind kind, const char *mode, const char *what) {
    char of[TARGET];
    const cn_mode_info *x = that_is(m, kind);
    if (!x)
        return CN_OK;
    return cn_fail(CN_REFUSED, "the %s is in mode %s, so %s; `cairn mode %s thaw` ends it", whose(m, x), mode, what, target(m, x, of));
}

cn_err cn_modes_may_answer(const cn_modes *m) {
    CN_TRY(unknown(m));
    const cn_mode_info *x = that_is(m, CN_INCIDENT_REFUSE);
    return x ? cn_fail(CN_REFUSED, CN_STR_FMT, CN_STR_ARG(x->text)) : CN_OK;
}

cn_err cn_modes_may_write(const cn_modes *m) {
    CN_TRY(unknown(m));
    return forbid(m, CN_INCIDENT_FREEZE, "freeze", "nothing is written");
}

cn_err cn_modes_let_write(cn_tenant *t, cn_str index) {
    CN_CATALOG_ARENA(a);
    cn_modes m;
    CN_TRY(cn_modes_get(t, index, &a, &m));
    return cn_modes_may_write(&m);
}

cn_err cn_modes_may_begin(const cn_modes *m) {
    CN_TRY(cn_modes_may_write(m));
    return forbid(m, CN_INCIDENT_DRAIN, "drain", "no new job begins");
}

cn_err cn_modes_let_job(cn_tenant *t, cn_str index, bool begins, const cn_actor *who) {
    CN_CATALOG_ARENA(a);
    cn_modes m;
    cn_err err = cn_modes_get(t, index, &a, &m);
    if (err != CN_OK)
        return err == CN_NOT_FOUND && !begins ? CN_OK : err; /* sealing says what became of the index */
    err = begins ? cn_modes_may_begin(&m) : cn_modes_may_write(&m);
    return cn_refused(t, err, who, begins ? "index.ingest" : "version.seal", index);
}
