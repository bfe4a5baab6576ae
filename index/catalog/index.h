/* index.h -- named collections of a tenant and their settings.
 *
 * Owns:    results live in the arena given.
 * Thread:  any; changes take the control writer.
 * Limits:  1,024 indexes a tenant. */
#pragma once
#include "engine/base/arena.h"
#include "index/control/audit.h"
#include "index/control/info.h"


bool cn_index_mode_known(cn_str mode);
#define CN_KIND_TEXT 80
const char *cn_index_kind(const cn_index_settings *s, char text[CN_KIND_TEXT]); /* "flat", "cells" or "faiss:HNSW32" */
cn_err cn_index_kind_parse(cn_str kind, cn_index_settings *io); /* what it says borrows from kind */
const char *cn_fusion_name(bool rrf); /* "scores" or "rrf" */
cn_err cn_fusion_parse(cn_str name, bool *io_rrf); /* one that is empty leaves it */
void cn_index_settings_default(cn_index_settings *s);

cn_err cn_index_create(cn_tenant *t, cn_str name, const cn_index_settings *s, const cn_actor *who);
cn_err cn_index_get(cn_tenant *t, cn_str name, cn_arena *a, cn_index_info *ret); /* CN_NOT_FOUND */
cn_err cn_index_list(cn_tenant *t, cn_arena *a, cn_index_info **ret, uint32_t *ret_n);
/* Changes what may change without a rebuild; INVALID names what may not. What changes answers (answers.h: mode, rrf, analyser) is the
 * head's, once there is one: another seals a version on it that shares all its files, in the transaction that changes the rest.
 * It is not activated. REFUSED in mode freeze or drain; the rest (kind, keep_versions, keep_days, activate, local_only) is the
 * index's, and holds at once. */
cn_err cn_index_set(cn_tenant *t, cn_str name, const cn_index_settings *s, const cn_actor *who);
/* The same by a function that changes what it finds, called inside each transaction: two at once lose nothing of each other.
 * *ret_version: what was sealed; 0: nothing was. */
typedef cn_err cn_index_edit_fn(void *ctx, cn_index_settings *io);
cn_err cn_index_edit(cn_tenant *t, cn_str name, cn_index_edit_fn *edit, void *ctx, const cn_actor *who, uint64_t *ret_version);
cn_err cn_index_drop(cn_tenant *t, cn_str name, const cn_actor *who);
