/* faiss.h -- approximate search over one segment by a FAISS index, for those who ask for one by its factory string.
 *
 * rows as given (normalised for cosine) -> a FAISS index by its factory string -> its own bytes, with their SHA-256. A search takes
 * from it candidates among the permitted rows, no more: their scores, order and ties are cairn's. How many lists FAISS probes, and
 * how many candidates it is asked for, was measured for each recall when the index was made, with rows as queries. Where FAISS
 * cannot reach a recall, fails, gives too few, or the permitted rows are few, the answer is cn_flat_staged()'s.
 * Owns:    a cn_faiss owns FAISS's index, in memory as a whole; the cn_flat is borrowed and must outlive it.
 * Thread:  an open cn_faiss is searched by any number of threads, each on its own thread alone (OpenMP starts none).
 * Limits:  CN_FAISS_FACTORY_MAX bytes of factory string: "Flat", "IVF1024,Flat", "IVF1024,SQ8", "IVF1024,PQ32", "IVF4096_HNSW32,PQ32",
 *          "HNSW32", "HNSW32,SQ8"; k up to CN_FAISS_K_MAX. FAISS allocates in a search, is not asked to stop in one,
 *          and by HNSW of several threads makes other bytes each time. Without FAISS in the build: every call CN_UNAVAILABLE. */
#pragma once
#include "engine/base/str.h"
#include "engine/cells/cells.h"

#define CN_FAISS_KIND "faiss"
#define CN_FAISS_FORMAT 1
#define CN_FAISS_FACTORY_MAX 63
#define CN_FAISS_K_MAX 1000 /* more hits are the flat scan's */

/* May an index be made by it? CN_INVALID says what is wrong. dim 0: not known yet; then only its form and size are looked at. */
cn_err cn_faiss_check(cn_str factory, cn_metric metric, uint32_t dim);

/* Over rows with codes, as cells; from cn_cells_from() rows on pays. Where the rows are too few to train it, or f has no codes,
 * what is put is an index of none. */
cn_err cn_faiss_build(const cn_flat *f, cn_str factory, unsigned threads, cn_put_array *put, void *ctx);

typedef struct cn_faiss cn_faiss;
/* FAISS reads no byte before the digest of all was compared. CN_DAMAGED: wrong, or by another factory string. */
cn_err cn_faiss_open(const cn_flat *f, cn_str factory, cn_get_array *get, void *ctx, cn_faiss **ret);
void cn_faiss_close(cn_faiss *x); /* NULL is fine */

/* As cn_cells_search(): min(k, n_permitted) hits with their true scores, best first, ties by rank. told: lists probed as cells, and
 * rows as the plan thought. */
cn_err cn_faiss_search(const cn_faiss *x, const cn_scan *q, double recall, cn_scratch *flat, cn_scored *hits, uint32_t *ret_n, cn_cells_told *ret_told);
