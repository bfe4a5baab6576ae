// FAISS's C API where its library lacks it: no exception leaves a function, its text stays for faiss_get_last_error().
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>

#include <faiss/Index.h>
#include <faiss/IndexIVF.h>
#include <faiss/impl/HNSW.h>
#include <faiss/impl/IDSelector.h>
#include <faiss/index_factory.h>
#include <faiss/index_io.h>

#include "engine/faiss/capi.h"

namespace {

thread_local std::string last_error;

template <typename F> int guarded(F &&f) {
    try {
        f();
        return 0;
    } catch (const std::exception &e) {
        try {
            last_error = e.what();
        } catch (...) {
            last_error.clear();
        }
    } catch (...) {
        last_error.clear();
    }
    return -1;
}

faiss::Index *cpp(FaissIndex *x) { return reinterpret_cast<faiss::Index *>(x); }
const faiss::Index *cpp(const FaissIndex *x) { return reinterpret_cast<const faiss::Index *>(x); }
faiss::IDSelector *cpp(FaissIDSelector *x) { return reinterpret_cast<faiss::IDSelector *>(x); }
FaissIndex *c(faiss::Index *x) { return reinterpret_cast<FaissIndex *>(x); }

template <typename P> FaissSearchParameters *made(std::unique_ptr<P> p, FaissIDSelector *sel) {
    p->sel = cpp(sel);
    faiss::SearchParameters *base = p.release();
    return reinterpret_cast<FaissSearchParameters *>(base);
}

} // namespace

// FAISS as a whole names these functions of BLAS and LAPACK, the kinds that are made here call none of them.
#define ABSENT(f) \
    extern "C" void f(void) { throw std::runtime_error(#f "() is needed, which is not linked"); }
ABSENT(dgemm_)
ABSENT(dgesvd_)
ABSENT(dgetrf_)
ABSENT(dgetri_)
ABSENT(dsyev_)
ABSENT(sgelsd_)
ABSENT(sgeqrf_)
ABSENT(sgesvd_)
ABSENT(sgetrf_)
ABSENT(sgetri_)
ABSENT(sorgqr_)
ABSENT(ssyrk_)

extern "C" {

const char *faiss_get_last_error(void) { return last_error.c_str(); }

int faiss_index_factory(FaissIndex **p_index, int d, const char *description, FaissMetricType metric) {
    return guarded([&] { *p_index = c(faiss::index_factory(d, description, static_cast<faiss::MetricType>(metric))); });
}

void faiss_Index_free(FaissIndex *index) { delete cpp(index); }
int faiss_Index_d(const FaissIndex *index) { return static_cast<int>(cpp(index)->d); }
int faiss_Index_is_trained(const FaissIndex *index) { return cpp(index)->is_trained; }
int64_t faiss_Index_ntotal(const FaissIndex *index) { return cpp(index)->ntotal; }
FaissMetricType faiss_Index_metric_type(const FaissIndex *index) { return static_cast<FaissMetricType>(cpp(index)->metric_type); }

int faiss_Index_train(FaissIndex *index, int64_t n, const float *x) {
    return guarded([&] { cpp(index)->train(n, x); });
}

int faiss_Index_add(FaissIndex *index, int64_t n, const float *x) {
    return guarded([&] { cpp(index)->add(n, x); });
}

int faiss_Index_search_with_params(const FaissIndex *index, int64_t n, const float *x, int64_t k, const FaissSearchParameters *params, float *distances,
                                   int64_t *labels) {
    return guarded([&] { cpp(index)->search(n, x, k, distances, labels, reinterpret_cast<const faiss::SearchParameters *>(params)); });
}

int faiss_IDSelectorBitmap_new(FaissIDSelectorBitmap **p_sel, size_t n, const uint8_t *bitmap) {
    return guarded([&] {
        faiss::IDSelector *base = new faiss::IDSelectorBitmap(n, bitmap);
        *p_sel = reinterpret_cast<FaissIDSelector *>(base);
    });
}

void faiss_IDSelectorBitmap_free(FaissIDSelectorBitmap *sel) { delete cpp(sel); }

int faiss_SearchParameters_new(FaissSearchParameters **p_sp, FaissIDSelector *sel) {
    return guarded([&] { *p_sp = made(std::make_unique<faiss::SearchParameters>(), sel); });
}

int faiss_SearchParametersIVF_new_with(FaissSearchParametersIVF **p_sp, FaissIDSelector *sel, size_t nprobe, size_t max_codes) {
    return guarded([&] {
        auto p = std::make_unique<faiss::SearchParametersIVF>();
        p->nprobe = nprobe;
        p->max_codes = max_codes;
        *p_sp = made(std::move(p), sel);
    });
}

int faiss_SearchParametersHNSW_new_with(FaissSearchParametersHNSW **p_sp, FaissIDSelector *sel, int efSearch) {
    return guarded([&] {
        auto p = std::make_unique<faiss::SearchParametersHNSW>();
        p->efSearch = efSearch;
        *p_sp = made(std::move(p), sel);
    });
}

void faiss_SearchParameters_free(FaissSearchParameters *sp) { delete reinterpret_cast<faiss::SearchParameters *>(sp); }

int faiss_write_index(const FaissIndex *idx, FILE *f) {
    return guarded([&] { faiss::write_index(cpp(idx), f); });
}

int faiss_read_index(FILE *f, int io_flags, FaissIndex **p_out) {
    return guarded([&] { *p_out = c(faiss::read_index(f, io_flags)); });
}

} // extern "C"
