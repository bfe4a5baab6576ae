/* capi.h -- the functions of FAISS's C API that are used here, as upstream declares them (c_api/ of its sources).
 *
 * A FAISS of before 1.13 declares but a part of them, and Debian's library has none: then shim.cc defines them.
 * Owns:    what _new, _factory and read make is freed by the function of that name; a selector borrows its bitmap, parameters
 *          borrow their selector.
 * Thread:  searches of one index side by side; all that changes one, alone. The last error is the calling thread's.
 * Limits:  every function but getters and frees gives 0, or another number and faiss_get_last_error(). */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct FaissIndex_H FaissIndex;
typedef struct FaissIDSelector_H FaissIDSelector;
typedef struct FaissIDSelector_H FaissIDSelectorBitmap;
typedef struct FaissSearchParameters_H FaissSearchParameters;
typedef struct FaissSearchParameters_H FaissSearchParametersIVF;
typedef struct FaissSearchParameters_H FaissSearchParametersHNSW;
typedef enum FaissMetricType { METRIC_INNER_PRODUCT = 0, METRIC_L2 = 1 } FaissMetricType;

const char *faiss_get_last_error(void);

int faiss_index_factory(FaissIndex **p_index, int d, const char *description, FaissMetricType metric);
void faiss_Index_free(FaissIndex *index);
int faiss_Index_d(const FaissIndex *index);
int faiss_Index_is_trained(const FaissIndex *index);
int64_t faiss_Index_ntotal(const FaissIndex *index);
FaissMetricType faiss_Index_metric_type(const FaissIndex *index);
int faiss_Index_train(FaissIndex *index, int64_t n, const float *x);
int faiss_Index_add(FaissIndex *index, int64_t n, const float *x);
int faiss_Index_search_with_params(const FaissIndex *index, int64_t n, const float *x, int64_t k, const FaissSearchParameters *params, float *distances,
                                   int64_t *labels);

int faiss_IDSelectorBitmap_new(FaissIDSelectorBitmap **p_sel, size_t n, const uint8_t *bitmap); /* n: bytes */
void faiss_IDSelectorBitmap_free(FaissIDSelectorBitmap *sel);
int faiss_SearchParameters_new(FaissSearchParameters **p_sp, FaissIDSelector *sel);
void faiss_SearchParameters_free(FaissSearchParameters *sp);
int faiss_SearchParametersIVF_new_with(FaissSearchParametersIVF **p_sp, FaissIDSelector *sel, size_t nprobe, size_t max_codes);
int faiss_SearchParametersHNSW_new_with(FaissSearchParametersHNSW **p_sp, FaissIDSelector *sel, int efSearch);

int faiss_write_index(const FaissIndex *idx, FILE *f);
int faiss_read_index(FILE *f, int io_flags, FaissIndex **p_out);

#ifdef __cplusplus
}
#endif
