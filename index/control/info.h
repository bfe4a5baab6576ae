/* info.h -- what is recorded of an index and of a version.
 *
 * Owns:    strings and arrays live in the arena that a record was read into.
 * Thread:  any.
 * Limits:  none of its own. */
#pragma once
#include "index/store/root.h"

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
    bool rrf;               /* mode hybrid adds up reciprocal ranks by default; else it weighs scores */
    bool cells;             /* its kind: cells are made of large segments; else flat (index/store/segment.h) */
    cn_str faiss;           /* likewise a FAISS index of this factory string (engine/faiss/faiss.h); "": none */
    bool local_only;        /* texts and questions go to no embedder elsewhere (http) */
    cn_digest embedder_digest; /* of the model when the index was created; a version's recipe says what it used */
    cn_digest weights;      /* likewise, of its files alone; zero: not known, or embedder_digest says it */
    uint32_t dim;           /* the model's; for "none" set by the first job; 0 until then */
} cn_index_settings;

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
    bool has_mean;            /* a sealing has brought vectors: their space is there */
} cn_index_info;

typedef struct cn_counts {
    uint64_t read, added, unchanged, changed, relabelled, rejected; /* read = the sum of the others */
    uint64_t deleted;
    uint64_t documents, chunks;      /* of the version, after */
    uint64_t unlabelled;             /* documents nobody may read */
    uint64_t skipped;                /* files in folders that are no documents: not among those read */
} cn_counts;

enum { CN_MARK_SUSPECT = 1, CN_MARK_QUARANTINED = 2, CN_MARK_PINNED = 4, CN_MARK_DROPPED = 8, CN_MARK_EVER_ACTIVE = 16, CN_MARK_TRIAL = 32 };

typedef struct cn_version {
    uint64_t number;
    cn_digest root;
    cn_recipe recipe;
    cn_str answer_settings;       /* MessagePack, part of the root */
    const cn_part *parts;         /* the manifest: segments, oldest first */
    uint32_t n_parts;
    cn_seg_id own;                /* the file with this version's tombstones, bucket table and revocations; no rows, not in parts */
    cn_digest own_digest;
    uint64_t revoked;             /* entries of its revocation list (inforce.h) */
    cn_counts counts;
    uint64_t base;                /* the version it was made from, of a trial the one whose documents it holds; 0: none */
    uint64_t lists_after;         /* lists of revocations of versions after this one count for it: its own number. What a rebuild made is of no
                                   * later word of a source than its base, whenever it got its number: it has its base's, when it is active too */
    unsigned marks;
    int64_t made_us, first_active_us; /* CN_NO_TIME: never */
    cn_str made_by, job;
    uint64_t before_active;       /* where a rollback from it goes: the version active before this one was first activated, or, where a rollback did that,
                                   * the next one back with a lower number; 0: none */
    int64_t place_us;             /* first activated by a rollback: it stands beside the version before it, not at first_active_us; else 0 */
} cn_version;
