/* index.h -- named collections of a tenant and their settings.
 *
 * Owns:    cn_index_info's strings live in the arena given.
 * Thread:  any; changes take the control writer.
 * Limits:  1,024 indexes a tenant. */
#pragma once
#include "engine/base/arena.h"
#include "index/catalog/audit.h"

typedef struct cn_index_settings {
    cn_str embedder;        /* model name; "none" */
    cn_str precision;       /* "fp32", "int8"; "" for none */
    cn_str chunker;         /* as the user writes it: "structure", "structure tokens=200 overlap=32", "fixed tokens=128", "document" */
    cn_metric metric;
    cn_str mode;            /* default mode of a query: "dense", "exact", "lexical", "hybrid" */
    cn_str analyser;        /* as the user writes it: a language, "none"; "": the default (index/text/analyser.h) */
    uint32_t keep_versions; /* gc keeps this many before the active one */
    uint32_t keep_days;
    bool activate;          /* jobs flip by default */
    bool local_only;        /* texts and questions go to no embedder elsewhere (http) */
    cn_digest embedder_digest; /* of the model when the index was created; a version's recipe says what it used */
    uint32_t dim;           /* the model's; for "none" set by the first job; 0 until then */
} cn_index_settings;

bool cn_index_mode_known(cn_str mode);
void cn_index_settings_default(cn_index_settings *s);

typedef struct cn_index_info {
    cn_str name;
    cn_index_settings set;
    uint64_t id;              /* never given twice in a tenant, so a name can be used again after a drop */
    uint64_t active;          /* version number; 0: none yet */
    uint64_t newest;          /* last number given; 0: none */
    bool hold;                /* a rollback's: jobs seal but do not flip */
    int64_t made_us;
    int64_t flipped_us;       /* when a version last became active for its first time; grows whatever the clock does */
    uint64_t seed;            /* of the code space */
    bool has_mean;            /* frozen at the first sealing that brought vectors */
} cn_index_info;

cn_err cn_index_create(cn_tenant *t, cn_str name, const cn_index_settings *s, const cn_actor *who);
cn_err cn_index_get(cn_tenant *t, cn_str name, cn_arena *a, cn_index_info *ret); /* CN_NOT_FOUND */
cn_err cn_index_list(cn_tenant *t, cn_arena *a, cn_index_info **ret, uint32_t *ret_n);
/* Changes what may change without a rebuild (mode, keep_versions, keep_days, activate, local_only); INVALID names what may not. */
cn_err cn_index_set(cn_tenant *t, cn_str name, const cn_index_settings *s, const cn_actor *who);
/* The same by a function that changes what it finds, inside the transaction: two at once lose nothing of each other. */
typedef cn_err cn_index_edit_fn(void *ctx, cn_index_settings *io);
cn_err cn_index_edit(cn_tenant *t, cn_str name, cn_index_edit_fn *edit, void *ctx, const cn_actor *who);
cn_err cn_index_drop(cn_tenant *t, cn_str name, const cn_actor *who);
