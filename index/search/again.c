#include "index/search/again.h"

#include <math.h>
#include <stdatomic.h>

#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "index/search/searcher.h"

struct cn_again {
    cn_view *view;
    cn_permit *permit;
    cn_query q;            /* without who and filter, which the set stands for */
    double asked;
    enum cn_recall_plan plan;
    uint32_t n_given;
    bool known;            /* the scores of the answer: else they are found anew */
    float *given;          /* behind the vector, in one piece with this */
};

static cn_query plain(const cn_query *q, const float *vector) {
    bool half = q->mode == CN_MODE_HYBRID;
    cn_query p = {.vector = vector, .k = half && q->k < CN_HYBRID_DEPTH ? CN_HYBRID_DEPTH : q->k, .mode = q->exact ? CN_MODE_EXACT : half ? CN_MODE_DENSE : q->mode,
                  .recall = q->recall, .min_score = -INFINITY, .per_doc = half ? 0 : q->per_doc, .distinct = !half && q->distinct};
    return p;
}

cn_err cn_again_new(cn_view *v, const cn_query *q, double asked, const cn_hit *hits, uint32_t n, const cn_search_stats *stats, cn_again **ret) {
    cn_permit *permit = stats->permitted && q->k <= CN_AGAIN_K ? cn_permit_kept(v, &q->who, q->filter) : NULL;
    *ret = NULL;
    if (!permit)
        return CN_OK;
    uint32_t dim = v->space.dim;
    cn_again *a = cn_alloc(sizeof *a + ((size_t)dim + n) * sizeof(float));
    if (!a) {
        cn_permit_unref(permit);
        return cn_fail_memory();
    }
    float *vector = (float *)(a + 1);
    memcpy(vector, q->vector, dim * sizeof *vector);
    *a = (cn_again){.view = v, .permit = permit, .q = plain(q, vector), .asked = asked, .n_given = n, .known = q->mode != CN_MODE_HYBRID, .given = vector + dim,
                    .plan = stats->abandoned ? CN_PLAN_ABANDONED : stats->by_cells ? CN_PLAN_CELLS : stats->by_faiss ? CN_PLAN_FAISS : CN_PLAN_SCAN};
    for (uint32_t i = 0; i < n; i++)
        a->given[i] = hits[i].score;
    atomic_fetch_add(&v->refs, 1);
    *ret = a;
    return CN_OK;
}

void cn_again_free(cn_again *a) {
    if (!a)
        return;
    cn_permit_unref(a->permit);
    cn_view_unref(a->view);
    cn_free(a);
}

cn_view *cn_again_view(const cn_again *a) { return a->view; }
enum cn_recall_plan cn_again_plan(const cn_again *a) { return a->plan; }
uint32_t cn_again_aim(const cn_again *a) { return cn_recall_aim(a->asked); }

enum cn_selectivity cn_again_selects(const cn_again *a) {
    uint64_t rows = cn_permit_rows(a->permit), all = a->view->ver.counts.chunks;
    return rows >= all ? CN_SELECTS_ALL : rows * 10 >= all ? CN_SELECTS_TENTH : rows * 100 >= all ? CN_SELECTS_HUNDREDTH : CN_SELECTS_LESS;
}

static cn_err search(cn_again *a, cn_mode mode, double recall, cn_searcher *s, cn_hit *hits, uint32_t *ret_n) {
    cn_query q = a->q;
    q.mode = mode;
    q.recall = recall;
    q.deadline_ns = cn_mono_ns() + CN_AGAIN_MS * UINT64_C(1000000);
    return cn_search_permitted(a->view, &q, a->permit, s, hits, ret_n);
}

typedef struct truth {
    uint32_t wanted;
    float least;
} truth;

static double share_of(const truth *t, uint32_t right) { return right < t->wanted ? (double)right / t->wanted : 1; }

static double share_of_hits(const truth *t, const cn_hit *hits, uint32_t n) {
    uint32_t right = 0;
    for (uint32_t i = 0; i < n; i++)
        right += hits[i].score >= t->least;
    return share_of(t, right);
}

static double share_given(const cn_again *a, const truth *t) {
    uint32_t right = 0;
    for (uint32_t i = 0; i < a->n_given; i++)
        right += a->given[i] >= t->least;
    return share_of(t, right);
}

cn_err cn_again_look(cn_again *a, cn_searcher *s, cn_hit *hits, cn_again_told *ret) {
    truth t;
    uint32_t n = 0;
    cn_again_told told = {0};
    CN_TRY(search(a, CN_MODE_EXACT, 0, s, hits, &told.wanted));
    if (told.wanted) {
        t = (truth){told.wanted, hits[told.wanted - 1].score};
        if (!a->known)
            CN_TRY(search(a, a->q.mode, a->q.recall, s, hits, &n));
        told.share = told.as_asked = a->known ? share_given(a, &t) : share_of_hits(&t, hits, n);
        if (a->q.recall > a->asked) {
            CN_TRY(search(a, CN_MODE_DENSE, a->asked, s, hits, &n));
            told.as_asked = share_of_hits(&t, hits, n);
        }
    }
    *ret = told;
    return CN_OK;
}
