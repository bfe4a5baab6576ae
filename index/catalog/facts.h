/* facts.h -- what a version is by itself, and how much two differ, in numbers: for whoever decides whether it may become active.
 *
 * Owns:    nothing.
 * Thread:  any; go_on (NULL: none) is asked every few hundred documents, and what it returns other than CN_OK ends it.
 * Limits:  reads every document's record once; 8 bytes of memory a document. */
#pragma once
#include "index/catalog/version.h"

typedef cn_err cn_go_on_fn(void *ctx);

typedef struct cn_facts {
    uint64_t documents, chunks, unlabelled; /* unlabelled: nobody may read them */
    uint64_t duplicates;                    /* documents beyond the first of the same content */
    uint64_t bytes;                         /* of its files, with codes; files are shared with other versions */
} cn_facts;
cn_err cn_version_facts(cn_tenant *t, cn_str index, uint64_t number, cn_go_on_fn *go_on, void *ctx, cn_facts *ret);

typedef struct cn_change {
    uint64_t added, deleted, changed;  /* documents */
    uint64_t widened, narrowed;        /* documents of both: that allow more, or deny or require less; the other way round */
} cn_change;
cn_err cn_version_change(cn_tenant *t, cn_str index, uint64_t from, uint64_t to, cn_go_on_fn *go_on, void *ctx, cn_change *ret);
