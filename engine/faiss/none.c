/* The face, in a build without FAISS. */
#include "engine/faiss/faiss.h"

static cn_err none(void) {
    return cn_fail(CN_UNAVAILABLE, "this build of cairn has no FAISS; install libfaiss-dev and g++ and build it again, or use kind flat or cells");
}

cn_err cn_faiss_check(cn_str factory, cn_metric metric, uint32_t dim) {
    (void)factory, (void)metric, (void)dim;
    return none();
}

cn_err cn_faiss_build(const cn_flat *f, cn_str factory, unsigned threads, cn_put_array *put, void *ctx) {
    (void)f, (void)factory, (void)threads, (void)put, (void)ctx;
    return none();
}

cn_err cn_faiss_open(const cn_flat *f, cn_str factory, cn_get_array *get, void *ctx, cn_faiss **ret) {
    (void)f, (void)factory, (void)get, (void)ctx, (void)ret;
    return none();
}

void cn_faiss_close(cn_faiss *x) { (void)x; }

cn_err cn_faiss_search(const cn_faiss *x, const cn_scan *q, double recall, cn_scratch *flat, cn_scored *hits, uint32_t *ret_n, cn_cells_told *ret_told) {
    (void)x, (void)q, (void)recall, (void)flat, (void)hits, (void)ret_n, (void)ret_told;
    return none();
}
