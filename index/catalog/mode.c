#include "index/catalog/mode.h"

#include "engine/base/os.h"
#include "engine/base/utf8.h"
#include "index/catalog/inside.h"

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

/* Of a record. One name of it that this program does not know, and all of it is unknown. */
static unsigned kind_of(cn_str name) {
    unsigned kind = CN_INCIDENT_NORMAL;
    for (cn_str part; cn_str_next(&name, SEPARATOR, &part);) {
        const word *w = word_of(part);
        if (!w || !w->sets)
            return CN_INCIDENT_UNKNOWN;
        kind |= w->sets;
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

static cn_err load_one(const cn_catalog *c, MDB_txn *txn, uint64_t index_id, cn_arena *a, cn_mode_info *ret) {
    mode_key key;
    cn_str value;
    cn_field f[MODE_FIELDS];
    cn_mode_info m = {.name = NORMAL, .at_us = CN_NO_TIME};
    cn_err err = cn_db_get(txn, c->meta, key_of(index_id, &key), &value);
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

cn_err cn_modes_load(const cn_catalog *c, MDB_txn *txn, uint64_t index_id, cn_arena *a, cn_modes *ret) {
    cn_modes m = {.index = {.name = NORMAL, .at_us = CN_NO_TIME}};
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
    cn_str index, text;
    const word *word;
    const cn_actor *who;
} setting;

static cn_err audited(const setting *s, MDB_txn *txn, const cn_mode_info *m, cn_str before) {
    CN_AUTO_BUF cn_buf b;
    cn_buf_init(&b, 4096);
    cn_pack_map(&b, 3);
    cn_pack_cstr(&b, "mode"), cn_pack_str(&b, m->name);
    cn_pack_cstr(&b, "text"), cn_pack_str(&b, m->text);
    cn_pack_cstr(&b, "before"), cn_pack_str(&b, before);
    CN_TRY(cn_buf_check(&b));
    CN_TRY(cn_audit_add(s->t, txn, s->who, "mode.set", s->index, "done", cn_buf_str(&b)));
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

static cn_err set(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    setting *s = ctx;
    CN_CATALOG_ARENA(a);
    CN_AUTO_BUF cn_buf name;
    cn_index_info ix = {0};
    cn_mode_info before;
    mode_key key;
    cn_field f[MODE_FIELDS];
    cn_buf_init(&name, 256);
    if (s->index.n)
        CN_TRY(cn_index_load(c, txn, s->index, &a, &ix));
    CN_TRY(load_one(c, txn, ix.id, &a, &before));
    cn_mode_info m = after(s, &before, &name);
    CN_TRY(cn_buf_check(&name));
    mode_fields(&m, f);
    if (m.kind == CN_INCIDENT_NORMAL)
        CN_TRY(cn_mode_forget(c, txn, ix.id));
    else
        CN_TRY(cn_fields_put(txn, c->meta, key_of(ix.id, &key), f, MODE_FIELDS));
    return audited(s, txn, &m, before.name);
}

static cn_err check(const word *w, cn_str mode, cn_str text, const cn_actor *who) {
    if (!w)
        return cn_fail(CN_INVALID, "there is no mode \"" CN_STR_FMT "\"; modes are freeze, drain, thaw, exact, lexical, refuse, answer and normal", CN_STR_ARG(mode));
    bool refuses = w->sets == CN_INCIDENT_REFUSE;
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
    setting s = {t, index, text, word_of(mode), who};
    cn_err err = check(s.word, mode, text, who);
    return cn_refused(t, err == CN_OK ? cn_catalog_insist(t, set, &s) : err, who, "mode.set", index);
}

/* ---------- what they let happen ---------- */
bool cn_modes_are(const cn_modes *m, cn_mode_kind kind) { return (m->tenant.kind | m->index.kind) & kind; }

static cn_err unknown(const cn_modes *m) {
    const cn_mode_info *x = m->tenant.kind & CN_INCIDENT_UNKNOWN ? &m->tenant : &m->index;
    if (!(x->kind & CN_INCIDENT_UNKNOWN))
        return CN_OK;
    return cn_fail(CN_REFUSED, "the %s is in mode \"" CN_STR_FMT "\", which this build does not know; use a newer cairn, or set another: `cairn mode`",
                   x == &m->tenant ? "tenant" : "index", CN_STR_ARG(x->name));
}

static const char *whose(const cn_modes *m, cn_mode_kind kind) { return m->tenant.kind & kind ? "tenant" : "index"; }

cn_err cn_modes_may_answer(const cn_modes *m) {
    CN_TRY(unknown(m));
    if (!cn_modes_are(m, CN_INCIDENT_REFUSE))
        return CN_OK;
    return cn_fail(CN_REFUSED, CN_STR_FMT, CN_STR_ARG(m->tenant.kind & CN_INCIDENT_REFUSE ? m->tenant.text : m->index.text));
}

cn_err cn_modes_may_write(const cn_modes *m) {
    CN_TRY(unknown(m));
    if (!cn_modes_are(m, CN_INCIDENT_FREEZE))
        return CN_OK;
    return cn_fail(CN_REFUSED, "the %s is in mode freeze, so nothing is written; `cairn mode ... thaw` ends it", whose(m, CN_INCIDENT_FREEZE));
}

cn_err cn_modes_may_begin(const cn_modes *m) {
    CN_TRY(cn_modes_may_write(m));
    if (!cn_modes_are(m, CN_INCIDENT_DRAIN))
        return CN_OK;
    return cn_fail(CN_REFUSED, "the %s is in mode drain, so no new job begins; `cairn mode ... thaw` ends it", whose(m, CN_INCIDENT_DRAIN));
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
