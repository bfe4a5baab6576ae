/* Factory strings: which are taken, how large they may be. Of FAISS's kinds those that search under a selector (1.7.3's fast scan,
 * bare PQ, refinement and transforms throw). */
#include <stdio.h>

#include "engine/faiss/inside.h"

#define LISTS_MAX 16384u
#define LINKS_MIN 4u
#define LINKS_MAX 64u
#define PARTS_MAX 512u

/* A number of `at`, without a zero before it. */
static bool take_number(cn_str *at, uint32_t least, uint32_t most, uint32_t *ret) {
    uint32_t v = 0;
    size_t n = 0;
    for (; n < at->n && n < 6 && at->p[n] >= '0' && at->p[n] <= '9'; n++)
        v = v * 10 + (uint32_t)(at->p[n] - '0');
    if (n == 0 || at->p[0] == '0' || v < least || v > most)
        return false;
    *at = (cn_str){at->p + n, at->n - n};
    *ret = v;
    return true;
}

static bool take_word(cn_str *at, const char *word) {
    size_t n = strlen(word);
    if (at->n < n || memcmp(at->p, word, n) != 0)
        return false;
    *at = (cn_str){at->p + n, at->n - n};
    return true;
}

static bool is_codec(cn_str at, uint32_t *io_least) {
    uint32_t parts, bits = 8;
    if (cn_str_is(at, "Flat") || cn_str_is(at, "SQ4") || cn_str_is(at, "SQ6") || cn_str_is(at, "SQ8") || cn_str_is(at, "SQfp16"))
        return true;
    if (!take_word(&at, "PQ") || !take_number(&at, 1, PARTS_MAX, &parts) || (take_word(&at, "x") && !take_number(&at, 4, 8, &bits)) || at.n)
        return false;
    *io_least = *io_least > 1u << bits ? *io_least : 1u << bits;
    return true;
}

static bool read_form(cn_str at, cn_faiss_form *f) {
    uint32_t links;
    if (cn_str_is(at, "Flat"))
        return true;
    if (take_word(&at, "IVF")) {
        if (!take_number(&at, 1, LISTS_MAX, &f->lists) || (take_word(&at, "_HNSW") && !take_number(&at, LINKS_MIN, LINKS_MAX, &links)))
            return false;
        f->least = f->lists;
        bool codec = take_word(&at, ",") && is_codec(at, &f->least);
        f->np = codec && at.p[0] == 'P';
        return codec;
    }
    f->graph = true; /* with PQ it is always one of L2 */
    return take_word(&at, "HNSW") && take_number(&at, LINKS_MIN, LINKS_MAX, &links) && (at.n == 0 || (take_word(&at, ",") && at.n && at.p[0] != 'P' && is_codec(at, &f->least)));
}

cn_err cn_faiss_form_read(cn_str factory, cn_faiss_form *ret) {
    cn_faiss_form f = {.least = 1};
    if (factory.n > CN_FAISS_FACTORY_MAX || !read_form(factory, &f))
        return cn_fail(CN_INVALID, "the FAISS index \"" CN_STR_FMT "\" is none that is taken here: Flat, IVFn,CODEC, IVFn_HNSWm,CODEC, HNSWm or HNSWm,CODEC with 1 to %u lists, "
                       "%u to %u links, and a CODEC of Flat, SQ4, SQ6, SQ8, SQfp16 or, of IVF, PQm or PQmxb (4 to 8 bits)", CN_STR_ARG(factory), LISTS_MAX, LINKS_MIN, LINKS_MAX);
    *ret = f;
    return CN_OK;
}

FaissMetricType cn_faiss_metric(cn_metric m) { return m == CN_L2 ? METRIC_L2 : METRIC_INNER_PRODUCT; }

cn_err cn_faiss_failed(cn_err code, const char *what) {
    const char *text = faiss_get_last_error();
    text = text ? text : "";
    return strstr(text, "bad_alloc") ? cn_fail_memory() : cn_fail(code, "%s: FAISS says: %s", what, text);
}

cn_err cn_faiss_index_new(cn_str factory, const cn_faiss_form *form, cn_metric metric, uint32_t dim, FaissIndex **ret) {
    char text[CN_FAISS_FACTORY_MAX + 3], what[128];
    FaissIndex *x = NULL;
    snprintf(text, sizeof text, CN_STR_FMT "%s", CN_STR_ARG(factory), form->np ? "np" : "");
    snprintf(what, sizeof what, "kind faiss:" CN_STR_FMT " does not fit vectors of %u dimensions", CN_STR_ARG(factory), dim);
    if (faiss_index_factory(&x, (int)dim, text, cn_faiss_metric(metric)) != 0)
        return cn_faiss_failed(CN_INVALID, what);
    *ret = x;
    return CN_OK;
}

cn_err cn_faiss_check(cn_str factory, cn_metric metric, uint32_t dim) {
    cn_faiss_form f;
    FaissIndex *x;
    CN_TRY(cn_faiss_form_read(factory, &f));
    if (dim == 0)
        return CN_OK;
    CN_TRY(cn_faiss_index_new(factory, &f, metric, dim, &x));
    faiss_Index_free(x);
    return CN_OK;
}
