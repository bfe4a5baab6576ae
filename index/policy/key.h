/* key.h -- keys: what a program holds to prove who it is. cairn_<8 id>_<43 base64url>; only SHA-256 of the secret is kept.
 *
 * cairn.mdb, database "keys": "k" + id -> record (fields.h, fields in key.c); "epoch" -> as a tenant's (epoch.c)
 * Owns:    results live in the arena given.
 * Thread:  any.
 * Limits:  CN_LABELS_MAX labels a key, 4 KiB of patterns. */
#pragma once
#include "index/policy/labels.h"
#include "index/store/data.h"

#define CN_SCOPES(X) X(query) X(ingest) X(activate) X(force) X(versions) X(policy) X(operate) X(audit) X(admin) X(act_as)
enum {
#define CN_SCOPE_BIT(name) CN_SCOPE_##name##_bit,
    CN_SCOPES(CN_SCOPE_BIT)
#undef CN_SCOPE_BIT
    CN_SCOPE_COUNT
};
#define CN_SCOPE(name) (1u << CN_SCOPE_##name##_bit)

typedef struct cn_key_info {
    char id[9];
    cn_str tenant;           /* "" : the host's own */
    unsigned scopes;
    cn_labels labels;        /* none for an act-as key */
    cn_str principals;       /* patterns an act-as key may name, by commas; "" : any */
    cn_str index;            /* glob; "" : all */
    int64_t expires_us;      /* CN_NO_TIME: never */
    int64_t made_us;
    bool revoked;
} cn_key_info;

#define CN_KEY_TEXT 64
cn_err cn_scopes_parse(cn_str commas, unsigned *ret);         /* "query,act-as" */
void cn_scopes_text(unsigned scopes, char text[128]);
/* Fills info->id. Refused attempts are in the tenant's audit chain too; of the host's own keys all is in the log. */
cn_err cn_key_add(cn_data *d, cn_key_info *info, const cn_actor *who, char ret_key[CN_KEY_TEXT]);
/* Splits a key's text into its id and the digest of its secret: all that a process need keep of it. UNAUTHENTICATED: not a key. */
cn_err cn_key_split(cn_str key, char ret_id[9], cn_digest *ret_secret);
/* From what that gave. UNAUTHENTICATED: unknown, revoked, expired. Secrets are compared in constant time. */
cn_err cn_key_check_secret(cn_data *d, const char *id, const cn_digest *secret, cn_arena *a, cn_key_info *ret);
bool cn_key_expired(const cn_key_info *k);
bool cn_key_allows_index(const cn_key_info *k, cn_str index);
bool cn_key_allows_principal(const cn_key_info *k, cn_str principal); /* of a key with act_as */
/* tenant: whose it must be; "" : anybody's. */
cn_err cn_key_revoke(cn_data *d, cn_str tenant, cn_str id, const cn_actor *who);
/* Drops a tenant, and revokes every key of it in the very transaction that frees its name. */
cn_err cn_key_drop_tenant(cn_data *d, cn_str tenant, const cn_actor *who);
cn_err cn_key_list(cn_data *d, cn_str tenant, cn_err (*fn)(void *ctx, const cn_key_info *k), void *ctx);
cn_err cn_keys_epoch(cn_data *d, uint64_t *ret); /* grows with every change of keys */
