/* check.h -- everything a tenant keeps, read and verified: for a scrub, a doctor, a restored backup.
 *
 * Owns:    nothing.
 * Thread:  any; reads only, so it may run beside everything else.
 * Limits:  reads every byte of every file that versions name; one version after the other. */
#pragma once
#include "index/catalog/version.h"

/* what: "audit", "policy", "members", "spaces", "docs", "docs/gate", "docs/3"; err: CN_OK, or what is wrong with it, its text in cn_error_detail(). */
typedef void cn_check_fn(void *ctx, cn_str what, cn_err err);
/* The audit chain, the policy with its revocations, the members, the means that codes are made about, each index, its gate
 * with frozen sets and results, each version that was not dropped. Only what keeps the check
 * itself from going on is returned as an error. */
cn_err cn_tenant_check(cn_tenant *t, cn_check_fn *fn, void *ctx);
/* Its files whole (each checksum, each leaf), its lists of dead documents, its bucket table, its revocations, and its root
 * worked out anew from its rows. */
cn_err cn_version_check(cn_tenant *t, const cn_version *v);
