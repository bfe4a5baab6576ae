/* principal.h -- who asks: members, keys, and the label set a query runs with.
 *
 * control.mdb, database "members":  see member_inside.h
 * cairn.mdb,   database "keys":     "k" + id -> record (fields.h, fields in key.c); "epoch" -> as a tenant's (epoch.c)
 *
 * Owns:    results live in the arena given.
 * Thread:  any.
 * Limits:  groups nest at most 16 deep; CN_LABELS_MAX labels a principal. */
#pragma once
#include "index/policy/labels.h"
#include "index/store/data.h"

/* --- the tenant's directory of members --- */
cn_err cn_member_set(cn_tenant *t, cn_str principal, cn_labels labels, const cn_actor *who);    /* replaces; empty removes */
cn_err cn_member_add(cn_tenant *t, cn_str principal, cn_labels labels, const cn_actor *who);
cn_err cn_member_remove(cn_tenant *t, cn_str principal, const cn_actor *who);
/* The whole directory in one transaction, from `principal label,label` lines. */
cn_err cn_member_sync(cn_tenant *t, cn_str text, const cn_actor *who, uint32_t *ret_members);
cn_err cn_members_check(cn_tenant *t); /* reads it anew, whatever is cached: CN_DAMAGED when it is not what was put */
cn_err cn_member_list(cn_tenant *t, cn_err (*fn)(void *ctx, cn_str principal, cn_labels labels), void *ctx);
/* Its own name, its labels (groups in groups), and public. An unknown name is just {name, public}. */
cn_err cn_principal_expand(cn_tenant *t, cn_str principal, cn_arena *a, cn_labels *ret);
/* The same, told label by label in the order found: through which one each is held; empty: it is the principal itself, or
 * public, which everyone holds. */
typedef struct cn_held {
    cn_str label, through;
} cn_held;
cn_err cn_principal_trail(cn_tenant *t, cn_str principal, cn_arena *a, cn_held **ret, uint32_t *ret_n);

/* --- keys, in the host's environment: cairn_<8 id>_<43 base64url>; only SHA-256 of the secret is kept --- */
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
cn_err cn_key_check(cn_data *d, cn_str key, cn_arena *a, cn_key_info *ret);  /* UNAUTHENTICATED: unknown, revoked, expired */
/* Splits a key's text into its id and the digest of its secret: all that a process need keep of it. UNAUTHENTICATED: not a key. */
cn_err cn_key_split(cn_str key, char ret_id[9], cn_digest *ret_secret);
/* cn_key_check() again, from what cn_key_split() gave. Secrets are compared in constant time. */
cn_err cn_key_check_secret(cn_data *d, const char *id, const cn_digest *secret, cn_arena *a, cn_key_info *ret);
bool cn_key_expired(const cn_key_info *k);
bool cn_key_allows_index(const cn_key_info *k, cn_str index);
bool cn_key_allows_principal(const cn_key_info *k, cn_str principal); /* of a key with act_as */
/* tenant: whose it must be; "" : anybody's. */
cn_err cn_key_revoke(cn_data *d, cn_str tenant, cn_str id, const cn_actor *who);
/* Every key of a tenant that is about to be dropped, in one transaction; the drop is what is recorded. */
cn_err cn_key_revoke_all(cn_data *d, cn_str tenant);
cn_err cn_key_list(cn_data *d, cn_str tenant, cn_err (*fn)(void *ctx, const cn_key_info *k), void *ctx);
cn_err cn_keys_epoch(cn_data *d, uint64_t *ret); /* grows with every change of keys */

bool cn_glob_match(cn_str glob, cn_str text); /* * within a path part, ** across, ?, [set]; shared by label rules, hiding, keys */
