/* inside.h -- the bytes of a FAISS index as a derived kind, and the steps of a search; for engine/faiss only.
 *
 * The arrays of kind "faiss", format 1:
 *   array 0   head       one block: cn_faiss_head
 *   array 1   bytes      FAISS's own serialisation, CN_FAISS_CHUNK bytes a block, the last one less
 *
 * Owns:    see each struct.
 * Thread:  a cn_faiss is read-only.
 * Limits:  those of faiss.h. */
#pragma once
#include "engine/base/digest.h"
#include "engine/faiss/capi.h"
#include "engine/faiss/faiss.h"
#include "engine/flat/inside.h"

#define CN_FAISS_CHUNK (8u << 20)
#define CN_FAISS_DEPTH_MAX 2048u

enum { CN_FAISS_ARRAY_HEAD, CN_FAISS_ARRAY_BYTES };

#define CN_FAISS_KS 3
#define CN_FAISS_RECALLS 4
extern const uint32_t cn_faiss_ks[CN_FAISS_KS];          /* hits that are measured for, */
extern const double cn_faiss_recalls[CN_FAISS_RECALLS];  /* and recalls */

typedef struct cn_faiss_aim {
    uint32_t probe;   /* lists; 1 where there are none */
    uint32_t depth;   /* candidates; 0: this recall was not reached */
    uint32_t rows;    /* that FAISS looks at, about */
    float recall;     /* that was measured */
} cn_faiss_aim;

typedef struct cn_faiss_head {
    char magic[8];    /* "cnfaiss1" */
    uint32_t dim, rows, metric, zero;
    uint64_t bytes;   /* 0: no index */
    cn_digest digest; /* of those */
    char factory[CN_FAISS_FACTORY_MAX + 1]; /* zeros at its end */
    cn_faiss_aim aims[CN_FAISS_KS][CN_FAISS_RECALLS];
} cn_faiss_head;
_Static_assert(sizeof(cn_faiss_head) == 320, "drawn above");

typedef struct cn_faiss_form { /* a factory string, read */
    uint32_t lists;   /* of IVF; 0: none */
    bool np;          /* of PQ below lists, whose codes FAISS would else put in an order for Hamming distances, which nobody uses */
    bool graph;       /* HNSW, whose effort is the number of candidates */
    uint32_t least;   /* rows that its training needs */
} cn_faiss_form;

struct cn_faiss {
    const cn_flat *flat;
    cn_faiss_head head;
    cn_faiss_form form;
    FaissIndex *index; /* NULL: none */
};

cn_err cn_faiss_form_read(cn_str factory, cn_faiss_form *ret);
cn_err cn_faiss_index_new(cn_str factory, const cn_faiss_form *form, cn_metric metric, uint32_t dim, FaissIndex **ret);
cn_err cn_faiss_failed(cn_err code, const char *what); /* with FAISS's own text */
FaissMetricType cn_faiss_metric(cn_metric m);
/* Row or query as FAISS has it: dim floats. */
void cn_faiss_vector(const cn_space *sp, const float *x, float *to);
/* At most depth permitted rows, as FAISS finds them, into labels; *ret_n of them. */
cn_err cn_faiss_candidates(const cn_faiss *x, const cn_scan *q, uint32_t probe, uint32_t depth, uint32_t *rows, uint32_t *ret_n);
cn_err cn_faiss_measure(cn_faiss *x, unsigned threads); /* fills the aims of the head */

/* FAISS's bytes go to and come from arrays by a stream. */
cn_err cn_faiss_write(cn_faiss *x, cn_put_array *put, void *ctx); /* fills bytes and digest of the head */
cn_err cn_faiss_read(cn_faiss *x, cn_get_array *get, void *ctx);
