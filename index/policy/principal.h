/* principal.h -- who asks: the tenant's directory of members, and the label set a query runs with.
 *
 * control.mdb, database "members": see member_inside.h
 * Owns:    results live in the arena given.
 * Thread:  any.
 * Limits:  groups nest at most 16 deep; CN_LABELS_MAX labels a principal. */
#pragma once
#include "index/policy/labels.h"
#include "index/store/data.h"

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
