#include "index/search/judge.h"

#include <math.h>
#include <stdlib.h>

#include "engine/base/table.h"

#define EXCHANGES 10000

const char *const cn_measure_names[CN_MEASURES] = {"nDCG@10", "RR@10", "AP", "R@10", "R@100", "P@10"};
const uint32_t cn_recall_cuts[CN_RECALL_CUTS] = {1, 2, 3, 5, 10, 20, 50, 100};

typedef struct judgement {
    uint32_t query;
    cn_str doc;
    int grade;
} judgement;

typedef struct asked { /* one question */
    cn_str id;
    uint32_t relevant;
    double ideal; /* DCG@10 of the best ranking */
} asked;

struct cn_judgements {
    cn_arena a;
    judgement *v;
    asked *queries;
    uint32_t n, room, n_queries, room_queries;
    cn_table docs, by_id; /* of v, of queries */
};

static uint32_t hash(uint32_t h, cn_str s) {
    h = cn_hash_bytes(h, s);
    return h ^ h >> 15;
}

typedef struct look {
    const cn_judgements *j;
    uint32_t query;
    cn_str id;
} look;

static bool is_query(void *ctx, uint32_t i) {
    const look *l = ctx;
    return cn_str_eq(l->j->queries[i].id, l->id);
}

static bool is_doc(void *ctx, uint32_t i) {
    const look *l = ctx;
    return l->j->v[i].query == l->query && cn_str_eq(l->j->v[i].doc, l->id);
}

uint32_t cn_judge_find(const cn_judgements *j, cn_str query) {
    look l = {j, 0, query};
    return cn_table_find(&j->by_id, hash(CN_HASH_BEGIN, query), is_query, &l);
}

static uint32_t find_doc(const cn_judgements *j, uint32_t query, cn_str doc) {
    look l = {j, query, doc};
    return cn_table_find(&j->docs, hash(CN_HASH_BEGIN + query, doc), is_doc, &l);
}

/* ---------- making ---------- */
static cn_err query_of(cn_judgements *j, cn_str id, uint32_t *ret) {
    *ret = cn_judge_find(j, id);
    if (*ret != UINT32_MAX)
        return CN_OK;
    if (!cn_grow(j->queries, j->n_queries, j->room_queries))
        return cn_fail_memory();
    cn_str copy = cn_arena_str(&j->a, id);
    if (!copy.p)
        return cn_fail_memory();
    *ret = j->n_queries;
    j->queries[j->n_queries] = (asked){.id = copy};
    return cn_table_add(&j->by_id, hash(CN_HASH_BEGIN, id), j->n_queries++);
}

cn_err cn_judge_add(cn_judgements *j, cn_str query, cn_str doc, int grade) {
    uint32_t q;
    CN_TRY(query_of(j, query, &q));
    if (find_doc(j, q, doc) != UINT32_MAX)
        return cn_fail(CN_INVALID, "document \"" CN_STR_FMT "\" is judged twice for question \"" CN_STR_FMT "\"", CN_STR_ARG(doc), CN_STR_ARG(query));
    if (!cn_grow(j->v, j->n, j->room))
        return cn_fail_memory();
    cn_str copy = cn_arena_str(&j->a, doc);
    if (!copy.p)
        return cn_fail_memory();
    j->v[j->n] = (judgement){q, copy, grade};
    j->queries[q].relevant += grade > 0;
    return cn_table_add(&j->docs, hash(CN_HASH_BEGIN + q, doc), j->n++);
}

/* ---------- ideal rankings ---------- */
static double gain(int grade, uint32_t rank) { return grade > 0 ? grade / log2(rank + 1.0) : 0; }

static int by_query_and_grade(const void *a, const void *b) {
    const judgement *x = *(const judgement *const *)a, *y = *(const judgement *const *)b;
    return x->query != y->query ? (x->query > y->query) - (x->query < y->query) : (y->grade > x->grade) - (y->grade < x->grade);
}

cn_err cn_judge_ready(cn_judgements *j) {
    CN_AUTO_FREE const judgement **sorted = cn_alloc((j->n + 1u) * sizeof *sorted);
    if (!sorted)
        return cn_fail_memory();
    for (uint32_t i = 0; i < j->n; i++)
        sorted[i] = &j->v[i];
    if (j->n)
        qsort(sorted, j->n, sizeof *sorted, by_query_and_grade);
    for (uint32_t i = 0, rank = 1; i < j->n; i++, rank++) {
        if (i && sorted[i]->query != sorted[i - 1]->query)
            rank = 1;
        if (rank <= 10)
            j->queries[sorted[i]->query].ideal += gain(sorted[i]->grade, rank);
    }
    return CN_OK;
}

cn_err cn_judge_new(size_t most, cn_judgements **ret) {
    cn_judgements *j = cn_calloc(1, sizeof *j);
    if (!j)
        return cn_fail_memory();
    cn_arena_init(&j->a, 1 << 16, most);
    *ret = j;
    return CN_OK;
}

void cn_judge_free(cn_judgements *j) {
    if (!j)
        return;
    cn_table_done(&j->docs);
    cn_table_done(&j->by_id);
    cn_free(j->v);
    cn_free(j->queries);
    cn_arena_done(&j->a);
    cn_free(j);
}

uint32_t cn_judge_queries(const cn_judgements *j) { return j->n_queries; }
cn_str cn_judge_query(const cn_judgements *j, uint32_t i) { return j->queries[i].id; }
uint32_t cn_judge_relevant(const cn_judgements *j, uint32_t i) { return j->queries[i].relevant; }

cn_err cn_judge_each(const cn_judgements *j, cn_err (*fn)(void *ctx, uint32_t query, cn_str doc, int grade), void *ctx) {
    for (uint32_t i = 0; i < j->n; i++)
        CN_TRY(fn(ctx, j->v[i].query, j->v[i].doc, j->v[i].grade));
    return CN_OK;
}

/* ---------- measures ---------- */
void cn_judge_score(const cn_judgements *j, uint32_t query, const cn_str *docs, uint32_t n, cn_scores *ret) {
    const asked *q = &j->queries[query];
    cn_scores s = {0};
    uint32_t found = 0, cut = 0;
    double all = q->relevant ? q->relevant : 1;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t at = find_doc(j, query, docs[i]), rank = i + 1;
        int grade = at == UINT32_MAX ? 0 : j->v[at].grade;
        if (grade > 0) {
            found++;
            s.first = s.first ? s.first : rank;
            s.m[CN_AP] += found / (double)rank / all;
        }
        if (rank <= 10)
            s.m[CN_NDCG_10] += gain(grade, rank);
        for (; cut < CN_RECALL_CUTS && cn_recall_cuts[cut] == rank; cut++)
            s.recall[cut] = found / all;
        s.m[CN_P_10] = rank <= 10 ? found / 10.0 : s.m[CN_P_10];
    }
    for (; cut < CN_RECALL_CUTS; cut++)
        s.recall[cut] = found / all;
    s.m[CN_NDCG_10] = q->ideal > 0 ? s.m[CN_NDCG_10] / q->ideal : 0;
    s.m[CN_RR_10] = s.first && s.first <= 10 ? 1.0 / s.first : 0;
    s.m[CN_R_10] = s.recall[4];
    s.m[CN_R_100] = s.recall[7];
    *ret = s;
}

static uint64_t next(uint64_t *s) { /* splitmix64 */
    uint64_t z = *s += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

double cn_judge_significance(const double *a, const double *b, uint32_t n) {
    uint64_t seed = 1;
    uint32_t as_large = 0;
    double seen = 0;
    for (uint32_t i = 0; i < n; i++)
        seen += a[i] - b[i];
    for (uint32_t t = 0; t < EXCHANGES; t++) {
        double sum = 0;
        uint64_t bits = 0;
        for (uint32_t i = 0; i < n; i++) {
            bits = i % 64 ? bits >> 1 : next(&seed);
            sum += bits & 1 ? a[i] - b[i] : b[i] - a[i];
        }
        as_large += fabs(sum) >= fabs(seen) - 1e-9;
    }
    return (as_large + 1.0) / (EXCHANGES + 1.0);
}
