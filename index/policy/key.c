/* Keys: what a program holds to prove who it is. Only the digest of a key's secret is kept. */
#include <openssl/crypto.h>
#include <stdio.h>

#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "index/control/records.h"
#include "index/policy/glob.h"
#include "index/policy/key.h"
#include "index/store/reserve.h"

#define LABELS_TOLD 32768 /* bytes */
#define KEY_PREFIX "cairn_"
#define ID_CHARS 8
#define SECRET_CHARS 43
#define SECRET_AT (sizeof KEY_PREFIX - 1 + ID_CHARS + 1)
#define PATTERNS_MAX 4096
#define RECORD_CAP (CN_LABELS_MAX * (CN_LABEL_MAX + 8) + 16384)

/* --- scopes --- */
static const char *const scope_names[CN_SCOPE_COUNT] = {
#define SCOPE_NAME(name) [CN_SCOPE_##name##_bit] = #name,
    CN_SCOPES(SCOPE_NAME)
#undef SCOPE_NAME
};

/* People write act-as. */
static bool is_scope(cn_str s, const char *name) {
    size_t n = strlen(name);
    if (s.n != n)
        return false;
    for (size_t i = 0; i < n; i++)
        if (s.p[i] != name[i] && !(name[i] == '_' && s.p[i] == '-'))
            return false;
    return true;
}

static cn_err add_scope(cn_str name, unsigned *scopes) {
    for (unsigned i = 0; i < CN_SCOPE_COUNT; i++)
        if (is_scope(name, scope_names[i])) {
            *scopes |= 1u << i;
            return CN_OK;
        }
    char all[128];
    cn_scopes_text((1u << CN_SCOPE_COUNT) - 1, all);
    return cn_fail(CN_INVALID, "there is no scope \"" CN_STR_FMT "\"; scopes are %s", CN_STR_ARG(name), all);
}

cn_err cn_scopes_parse(cn_str commas, unsigned *ret) {
    unsigned scopes = 0;
    for (cn_str one; cn_str_next(&commas, ',', &one);)
        CN_TRY(add_scope(one, &scopes));
    *ret = scopes;
    return CN_OK;
}

void cn_scopes_text(unsigned scopes, char text[128]) {
    size_t n = 0;
    text[0] = 0;
    for (unsigned i = 0; i < CN_SCOPE_COUNT; i++)
        if (scopes & 1u << i)
            n += (size_t)snprintf(text + n, 128 - n, "%s%s", n ? "," : "", scope_names[i]);
    for (char *p = text; *p; p++)
        if (*p == '_')
            *p = '-';
}

/* --- records --- */
typedef struct key_record {
    cn_key_info k;
    cn_str commas; /* its labels */
    cn_digest secret;
} key_record;

#define KEY_FIELDS 10
static void key_fields(key_record *r, cn_field f[KEY_FIELDS]) {
    cn_key_info *k = &r->k;
    const cn_field all[KEY_FIELDS] = {
        {"id", CN_F_FIXED, k->id, ID_CHARS}, {"tenant", CN_F_STR, &k->tenant, 0}, {"scopes", CN_F_U32, &k->scopes, 0}, {"labels", CN_F_STR, &r->commas, 0},
        {"principals", CN_F_STR, &k->principals, 0}, {"index", CN_F_STR, &k->index, 0}, {"expires", CN_F_I64, &k->expires_us, 0},
        {"made", CN_F_I64, &k->made_us, 0}, {"revoked", CN_F_BOOL, &k->revoked, 0}, {"secret", CN_F_FIXED, r->secret.b, sizeof r->secret.b},
    };
    memcpy(f, all, sizeof all);
}

/* A key whose record is not whole opens nothing: what is missing in it may be what bounds it. */
static cn_err unpack_key(cn_str id, cn_str value, cn_arena *a, cn_key_info *ret, cn_digest *ret_secret) {
    key_record r = {.secret = {{0}}};
    cn_field f[KEY_FIELDS];
    key_fields(&r, f);
    cn_err err = cn_fields_read(value, "its record", a, f, KEY_FIELDS);
    if (err == CN_OK && (!cn_str_eq(id, (cn_str){r.k.id, ID_CHARS}) || r.k.scopes == 0 || r.k.scopes >= 1u << CN_SCOPE_COUNT))
        err = cn_fail(CN_DAMAGED, "the values of its record do not fit together");
    if (err == CN_OK)
        err = cn_labels_parse(a, r.commas, &r.k.labels);
    if (err == CN_DAMAGED || err == CN_INVALID)
        return cn_wrap(CN_DAMAGED, "key %.*s opens nothing; make a new one, or restore cairn.mdb from a backup", (int)(id.n < ID_CHARS ? id.n : ID_CHARS), id.p);
    CN_TRY(err);
    *ret = r.k;
    *ret_secret = r.secret;
    return CN_OK;
}

/* --- the list of keys in the host's environment --- */
typedef struct key_row {
    char text[1 + ID_CHARS];
} key_row;

static cn_str row_of(key_row *row, const char *id) {
    row->text[0] = 'k';
    memcpy(row->text + 1, id, ID_CHARS);
    return (cn_str){row->text, sizeof row->text};
}

static cn_err raise_epoch(MDB_txn *txn, MDB_dbi dbi) {
    uint64_t epoch;
    CN_TRY(cn_epoch_of(txn, dbi, &epoch));
    return cn_epoch_put(txn, dbi, epoch + 1);
}

cn_err cn_keys_epoch(cn_data *d, uint64_t *ret) { return cn_epoch_now(cn_data_host(d), "keys", ret); }

static cn_err put_in(MDB_txn *txn, MDB_dbi dbi, const cn_key_info *k, const cn_digest *secret, bool fresh) {
    key_row row;
    cn_str there, name = row_of(&row, k->id);
    if (fresh) {
        cn_err err = cn_db_get(txn, dbi, name, &there);
        if (err != CN_NOT_FOUND)
            return err == CN_OK ? cn_fail(CN_CONFLICT, "the key id %s is taken; try again", k->id) : err;
    }
    CN_AUTO_BUF cn_buf commas = {.cap = RECORD_CAP};
    key_record r = {.k = *k, .secret = *secret};
    cn_field f[KEY_FIELDS];
    cn_labels_text(&commas, k->labels);
    CN_TRY(cn_buf_check(&commas));
    r.commas = cn_buf_str(&commas);
    key_fields(&r, f);
    CN_TRY(cn_fields_put(txn, dbi, name, f, KEY_FIELDS));
    return raise_epoch(txn, dbi);
}

static cn_err put_key(cn_data *d, const cn_key_info *k, const cn_digest *secret, bool fresh) {
    cn_env *e = cn_data_host(d);
    MDB_dbi dbi;
    MDB_txn *txn;
    CN_TRY(cn_env_dbi(e, "keys", true, &dbi));
    CN_TRY(cn_txn_write(e, &txn));
    cn_err err = CN_OK;
    if (fresh && k->tenant.n && !cn_tenant_listed(d, txn, k->tenant)) /* dropped since it was looked up: the next one of its name is another */
        err = cn_fail(CN_NOT_FOUND, "there is no tenant " CN_STR_FMT, CN_STR_ARG(k->tenant));
    if (err == CN_OK)
        err = put_in(txn, dbi, k, secret, fresh);
    if (err == CN_OK)
        return cn_txn_commit(e, txn);
    cn_txn_abort(e, txn);
    return err;
}

/* A key is revoked on a full disk too. */
static cn_err insist_key(cn_data *d, const cn_key_info *k, const cn_digest *secret) {
    cn_err err = put_key(d, k, secret, false);
    while (err != CN_OK && cn_reserve_give_up(d, cn_data_host(d)))
        err = put_key(d, k, secret, false);
    return err;
}

static cn_err get_key(cn_data *d, const char *id, cn_arena *a, cn_key_info *ret, cn_digest *ret_secret) {
    cn_env *e = cn_data_host(d);
    MDB_dbi dbi;
    MDB_txn *txn;
    key_row row;
    cn_str value;
    CN_TRY(cn_env_dbi(e, "keys", true, &dbi));
    CN_TRY(cn_txn_read(e, &txn));
    cn_err err = cn_db_get(txn, dbi, row_of(&row, id), &value);
    if (err == CN_OK)
        err = unpack_key((cn_str){id, ID_CHARS}, value, a, ret, ret_secret);
    cn_txn_abort(e, txn);
    return err;
}

/* --- the tenant's audit chain; the host's own keys have none, they are logged --- */
/* The labels themselves as long as the chain's 64 KiB hold them, else their number. */
static void tell_labels(cn_buf *out, cn_labels l) {
    size_t bytes = 0;
    for (uint32_t i = 0; i < l.n; i++)
        bytes += l.v[i].n + 3;
    cn_pack_cstr(out, "labels");
    if (bytes > LABELS_TOLD)
        cn_pack_uint(out, l.n);
    else
        cn_labels_pack(out, l);
}

typedef struct key_audit {
    cn_tenant *t;
    const cn_key_info *k;
    const char *action;
    const cn_actor *who;
} key_audit;

static cn_err audit_in(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    (void)c;
    const key_audit *x = ctx;
    const cn_key_info *k = x->k;
    char scopes[128];
    cn_scopes_text(k->scopes, scopes);
    CN_AUTO_BUF cn_buf detail = {.cap = 65536};
    cn_pack_map(&detail, 5);
    cn_pack_cstr(&detail, "scopes");
    cn_pack_cstr(&detail, scopes);
    tell_labels(&detail, k->labels);
    cn_pack_cstr(&detail, "principals");
    cn_pack_str(&detail, k->principals);
    cn_pack_cstr(&detail, "index");
    cn_pack_str(&detail, k->index);
    cn_pack_cstr(&detail, "expires");
    cn_pack_int(&detail, k->expires_us);
    CN_TRY(cn_buf_check(&detail));
    return cn_audit_add(x->t, txn, x->who, x->action, cn_str_of(k->id), "done", cn_buf_str(&detail));
}

static cn_err audit_key(cn_data *d, const cn_key_info *k, const char *action, const cn_actor *who) {
    char why[CN_REASON_LOGGED];
    cn_log(CN_LOG_INFO, action, "id=%s tenant=" CN_STR_FMT " who=" CN_STR_FMT " reason=%s", k->id, CN_STR_ARG(k->tenant), CN_STR_ARG(who->who),
           cn_reason_logged(who, why));
    if (k->tenant.n == 0)
        return CN_OK;
    cn_tenant *t;
    CN_TRY(cn_tenant_open(d, k->tenant, &t));
    cn_err err = cn_catalog_insist(t, audit_in, &(key_audit){t, k, action, who});
    cn_tenant_unref(t);
    return err;
}

/* A refused attempt, in the chain of the tenant whose key it is about; where there is none, in the log. */
static cn_err refused(cn_data *d, cn_err err, cn_str tenant, cn_str id, const char *action, const cn_actor *who) {
    cn_tenant *t;
    char why[CN_ERROR_TEXT];
    if (err == CN_OK)
        return err;
    snprintf(why, sizeof why, "%s", cn_error_detail());
    if (tenant.n == 0 || cn_tenant_open(d, tenant, &t) != CN_OK) {
        cn_log(CN_LOG_WARN, action, "refused id=" CN_STR_FMT " tenant=" CN_STR_FMT " who=" CN_STR_FMT " why=%s", CN_STR_ARG(id), CN_STR_ARG(tenant),
               CN_STR_ARG(who->who), why);
        return cn_fail(err, "%s", why);
    }
    err = cn_refused(t, cn_fail(err, "%s", why), who, action, id);
    cn_tenant_unref(t);
    return err;
}

/* --- making --- */
static void make_id(char id[ID_CHARS + 1]) {
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz234567";
    uint8_t bytes[ID_CHARS];
    cn_random(bytes, sizeof bytes);
    for (int i = 0; i < ID_CHARS; i++)
        id[i] = letters[bytes[i] & 31];
    id[ID_CHARS] = 0;
}

/* 32 random bytes as base64url without padding (RFC 4648 section 5). */
static void make_secret(char text[SECRET_CHARS + 1]) {
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint8_t bytes[33] = {0};
    cn_random(bytes, 32);
    for (int i = 0; i < SECRET_CHARS; i++) {
        int bit = 6 * i, at = bit / 8, shift = 10 - bit % 8;
        unsigned two = (unsigned)bytes[at] << 8 | bytes[at + 1];
        text[i] = letters[two >> shift & 63];
    }
    text[SECRET_CHARS] = 0;
    OPENSSL_cleanse(bytes, sizeof bytes);
}

static cn_err check_new_key(const cn_key_info *k) {
    bool act_as = k->scopes & CN_SCOPE(act_as);
    if (k->tenant.n)
        CN_TRY(cn_name_check(k->tenant, "tenant"));
    if (k->scopes == 0)
        return cn_fail(CN_INVALID, "a key needs at least one scope");
    if (act_as && k->labels.n)
        return cn_fail(CN_INVALID, "a key with act-as has no labels of its own: each request names a principal, and its labels count");
    if (!act_as && k->principals.n)
        return cn_fail(CN_INVALID, "patterns of principals are for keys with the scope act-as");
    if (k->principals.n > PATTERNS_MAX || k->index.n > PATTERNS_MAX)
        return cn_fail(CN_INVALID, "patterns over %d bytes long", PATTERNS_MAX);
    if (k->labels.n > CN_LABELS_MAX)
        return cn_fail(CN_INVALID, "%u labels; a key has at most %d", k->labels.n, CN_LABELS_MAX);
    for (uint32_t i = 0; i < k->labels.n; i++)
        CN_TRY(cn_label_check(k->labels.v[i]));
    if (cn_key_expired(k))
        return cn_fail(CN_INVALID, "the key would have expired already; give a time to come");
    return CN_OK;
}

static cn_err tenant_exists(cn_data *d, cn_str name) {
    if (name.n == 0)
        return CN_OK;
    cn_tenant *t;
    CN_TRY(cn_tenant_open(d, name, &t));
    cn_tenant_unref(t);
    return CN_OK;
}

static cn_err may_be_made(cn_data *d, const cn_key_info *k) {
    CN_TRY(check_new_key(k));
    return tenant_exists(d, k->tenant);
}

static cn_err add_key(cn_data *d, const cn_key_info *info, const cn_digest *digest, const cn_actor *who) {
    cn_key_info k = *info;
    CN_TRY(put_key(d, &k, digest, true));
    cn_err err = audit_key(d, &k, "key.add", who);
    if (err != CN_OK) { /* no key without its record */
        char why[CN_ERROR_TEXT];
        snprintf(why, sizeof why, "%s", cn_error_detail());
        k.revoked = true;
        put_key(d, &k, digest, false);
        return cn_fail(err, "the key was not added, since that could not be recorded: %s", why);
    }
    return CN_OK;
}

cn_err cn_key_add(cn_data *d, cn_key_info *info, const cn_actor *who, char ret_key[CN_KEY_TEXT]) {
    CN_TRY(refused(d, may_be_made(d, info), info->tenant, CN_STR(""), "key.add", who));
    cn_key_info k = *info;
    char secret[SECRET_CHARS + 1];
    make_id(k.id);
    make_secret(secret);
    k.made_us = cn_wall_us();
    k.revoked = false;
    cn_digest digest = cn_sha256_of(secret, SECRET_CHARS);
    cn_err err = add_key(d, &k, &digest, who);
    if (err == CN_OK) {
        snprintf(ret_key, CN_KEY_TEXT, KEY_PREFIX "%s_%s", k.id, secret);
        *info = k;
    }
    OPENSSL_cleanse(secret, sizeof secret);
    return err;
}

/* --- checking --- */
cn_err cn_key_split(cn_str key, char ret_id[9], cn_digest *ret_secret) {
    if (key.n != SECRET_AT + SECRET_CHARS || memcmp(key.p, KEY_PREFIX, sizeof KEY_PREFIX - 1) != 0 || key.p[SECRET_AT - 1] != '_')
        return cn_fail(CN_UNAUTHENTICATED, "this is not a key of cairn: cairn_<8 characters>_<43 characters>");
    memcpy(ret_id, key.p + sizeof KEY_PREFIX - 1, ID_CHARS);
    ret_id[ID_CHARS] = 0;
    *ret_secret = cn_sha256_of(key.p + SECRET_AT, SECRET_CHARS);
    return CN_OK;
}

bool cn_key_expired(const cn_key_info *k) { return k->expires_us != CN_NO_TIME && k->expires_us <= cn_wall_us(); }

cn_err cn_key_check_secret(cn_data *d, const char *id, const cn_digest *secret, cn_arena *a, cn_key_info *ret) {
    cn_key_info k;
    cn_digest kept = {{0}};
    cn_err err = get_key(d, id, a, &k, &kept);
    if (err != CN_OK && err != CN_NOT_FOUND)
        return err;
    bool same = CRYPTO_memcmp(kept.b, secret->b, sizeof kept.b) == 0;
    if (err == CN_NOT_FOUND || !same)
        return cn_fail(CN_UNAUTHENTICATED, "the key is not known here");
    if (k.revoked)
        return cn_fail(CN_UNAUTHENTICATED, "the key %s is revoked", k.id);
    if (cn_key_expired(&k))
        return cn_fail(CN_UNAUTHENTICATED, "the key %s has expired", k.id);
    *ret = k;
    return CN_OK;
}

bool cn_key_allows_index(const cn_key_info *k, cn_str index) { return k->index.n == 0 || cn_glob_match(k->index, index); }

bool cn_key_allows_principal(const cn_key_info *k, cn_str principal) {
    cn_str rest = k->principals;
    if (rest.n == 0)
        return true;
    for (cn_str one; cn_str_next(&rest, ',', &one);)
        if (one.n && cn_glob_match(one, principal))
            return true;
    return false;
}

/* --- revoking and listing --- */
static void end_arena(cn_arena *a) { cn_arena_done(a); }

/* Another tenant's key does not exist for this one. */
static cn_err find_key(cn_data *d, cn_str tenant, cn_str id, cn_arena *a, cn_key_info *ret, cn_digest *ret_secret) {
    cn_err err = id.n == ID_CHARS ? get_key(d, id.p, a, ret, ret_secret) : CN_NOT_FOUND;
    if (err == CN_NOT_FOUND || (err == CN_OK && tenant.n && !cn_str_eq(ret->tenant, tenant)))
        return cn_fail(CN_NOT_FOUND, "there is no key \"" CN_STR_FMT "\"; `cairn key list` names those there are", CN_STR_ARG(id));
    return err;
}

cn_err cn_key_revoke(cn_data *d, cn_str tenant, cn_str id, const cn_actor *who) {
    __attribute__((cleanup(end_arena))) cn_arena a;
    cn_arena_init(&a, 8192, 1 << 20);
    cn_key_info k;
    cn_digest secret;
    cn_err err = find_key(d, tenant, id, &a, &k, &secret);
    CN_TRY(refused(d, err, tenant, id, "key.revoke", who));
    k.revoked = true;
    CN_TRY(insist_key(d, &k, &secret));
    err = audit_key(d, &k, "key.revoke", who);
    return err == CN_OK ? CN_OK : cn_wrap(err, "the key %s is revoked, but that could not be recorded", k.id);
}

/* --- all of a tenant's --- */
typedef struct revoking {
    cn_arena *arena;
    cn_str tenant;
    MDB_dbi dbi;
    struct {
        cn_key_info k;
        cn_digest secret;
    } *v;
    uint32_t n, room;
} revoking;

static cn_err note_key(void *ctx, cn_str row, cn_str value, bool *stop) {
    (void)stop;
    revoking *r = ctx;
    cn_key_info k;
    cn_digest secret;
    cn_err err = unpack_key((cn_str){row.p + 1, row.n - 1}, value, r->arena, &k, &secret);
    if (err == CN_DAMAGED) /* it opens nothing already */
        return CN_OK;
    CN_TRY(err);
    if (!cn_str_eq(k.tenant, r->tenant) || k.revoked)
        return CN_OK;
    if (!cn_grow(r->v, r->n, r->room))
        return cn_fail_memory();
    k.revoked = true;
    r->v[r->n].k = k;
    r->v[r->n++].secret = secret;
    return CN_OK;
}

static cn_err revoke_in(void *ctx, MDB_txn *txn) {
    revoking *r = ctx;
    CN_TRY(cn_db_each(txn, r->dbi, CN_STR("k"), note_key, r));
    for (uint32_t i = 0; i < r->n; i++)
        CN_TRY(put_in(txn, r->dbi, &r->v[i].k, &r->v[i].secret, false));
    return CN_OK;
}

cn_err cn_key_drop_tenant(cn_data *d, cn_str tenant, const cn_actor *who) {
    __attribute__((cleanup(end_arena))) cn_arena a;
    revoking r = {.arena = &a, .tenant = tenant};
    cn_arena_init(&a, 8192, (size_t)256 << 20);
    CN_TRY(cn_env_dbi(cn_data_host(d), "keys", true, &r.dbi));
    cn_err err = cn_tenant_drop(d, tenant, revoke_in, &r, who);
    cn_free(r.v);
    return err;
}

typedef struct listing {
    cn_arena arena;
    cn_str tenant;
    cn_err (*fn)(void *ctx, const cn_key_info *k);
    void *ctx;
} listing;

static cn_err list_one(void *ctx, cn_str row, cn_str value, bool *stop) {
    (void)stop;
    listing *l = ctx;
    cn_key_info k;
    cn_digest secret;
    cn_arena_reset(&l->arena);
    cn_err err = unpack_key((cn_str){row.p + 1, row.n - 1}, value, &l->arena, &k, &secret);
    if (err == CN_DAMAGED) { /* whose it is is not known; the others can still be listed, and so revoked */
        cn_log(CN_LOG_ERROR, "key.damaged", "%s", cn_error_detail());
        return CN_OK;
    }
    CN_TRY(err);
    return cn_str_eq(k.tenant, l->tenant) ? l->fn(l->ctx, &k) : CN_OK;
}

cn_err cn_key_list(cn_data *d, cn_str tenant, cn_err (*fn)(void *ctx, const cn_key_info *k), void *ctx) {
    cn_env *e = cn_data_host(d);
    MDB_dbi dbi;
    MDB_txn *txn;
    listing l = {.tenant = tenant, .fn = fn, .ctx = ctx};
    CN_TRY(cn_env_dbi(e, "keys", true, &dbi));
    CN_TRY(cn_txn_read(e, &txn));
    cn_arena_init(&l.arena, 8192, 1 << 20);
    cn_err err = cn_db_each(txn, dbi, CN_STR("k"), list_one, &l);
    cn_arena_done(&l.arena);
    cn_txn_abort(e, txn);
    return err;
}
