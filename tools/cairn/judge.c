#include "tools/cairn/judge.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/table.h"

#define LINE_PARTS 4
#define EXCHANGES 10000

const char *const measure_names[MEASURES] = {"nDCG@10", "RR@10", "AP", "R@10", "R@100", "P@10"};
const uint32_t recall_cuts[RECALL_CUTS] = {1, 2, 3, 5, 10, 20, 50, 100};

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

struct judgements {
    cn_arena a;
    judgement *v;
    asked *queries;
    uint32_t n, room, n_queries, room_queries;
    cn_table docs, by_id; /* of v, of queries */
};

static uint32_t hash(uint32_t h, cn_str s) {
    for (size_t i = 0; i < s.n; i++)
        h = (h ^ (unsigned char)s.p[i]) * 16777619u;
    return h ^ h >> 15;
}

typedef struct look {
    const judgements *j;
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

uint32_t judge_find(const judgements *j, cn_str query) {
    look l = {j, 0, query};
    return cn_table_find(&j->by_id, hash(2166136261u, query), is_query, &l);
}

static uint32_t find_doc(const judgements *j, uint32_t query, cn_str doc) {
    look l = {j, query, doc};
    return cn_table_find(&j->docs, hash(2166136261u + query, doc), is_doc, &l);
}

/* ---------- reading ---------- */
static cn_err grow(void **v, uint32_t n, uint32_t *room, size_t size) {
    if (n < *room)
        return CN_OK;
    uint32_t more = *room ? 2 * *room : 256;
    void *p = cn_realloc(*v, more * size);
    if (!p)
        return cn_fail_memory();
    *v = p;
    *room = more;
    return CN_OK;
}

static cn_err query_of(judgements *j, cn_str id, uint32_t *ret) {
    *ret = judge_find(j, id);
    if (*ret != UINT32_MAX)
        return CN_OK;
    CN_TRY(grow((void **)&j->queries, j->n_queries, &j->room_queries, sizeof *j->queries));
    cn_str copy = cn_arena_str(&j->a, id);
    if (!copy.p)
        return cn_fail_memory();
    *ret = j->n_queries;
    j->queries[j->n_queries] = (asked){.id = copy};
    return cn_table_add(&j->by_id, hash(2166136261u, id), j->n_queries++);
}

static cn_err add(judgements *j, cn_str query, cn_str doc, int grade) {
    uint32_t q;
    CN_TRY(query_of(j, query, &q));
    if (find_doc(j, q, doc) != UINT32_MAX)
        return cn_fail(CN_INVALID, "document \"" CN_STR_FMT "\" is judged twice for question \"" CN_STR_FMT "\"", CN_STR_ARG(doc), CN_STR_ARG(query));
    CN_TRY(grow((void **)&j->v, j->n, &j->room, sizeof *j->v));
    cn_str copy = cn_arena_str(&j->a, doc);
    if (!copy.p)
        return cn_fail_memory();
    j->v[j->n] = (judgement){q, copy, grade};
    j->queries[q].relevant += grade > 0;
    return cn_table_add(&j->docs, hash(2166136261u + q, doc), j->n++);
}

/* At tabs where there are any (ids may have spaces then), else at white space. */
static int split(char *line, cn_str *parts) {
    const char *between = strchr(line, '\t') ? "\t\r\n" : " \r\n";
    int n = 0;
    for (char *p = line + strspn(line, between); *p && n <= LINE_PARTS; p += strspn(p, between)) {
        size_t len = strcspn(p, between);
        if (n < LINE_PARTS)
            parts[n] = (cn_str){p, len};
        n++;
        p += len;
    }
    return n;
}

static cn_err take_line(judgements *j, char *line, bool first) {
    cn_str p[LINE_PARTS];
    char number[16], *end;
    int n = split(line, p);
    if (n == 0 || (first && n == 3 && cn_str_is(p[0], "query-id")))
        return CN_OK;
    if (n != 3 && n != 4)
        return cn_fail(CN_INVALID, "a line has %d parts; TREC's have 4 (query 0 document grade), BEIR's 3 (query document grade)", n);
    snprintf(number, sizeof number, CN_STR_FMT, CN_STR_ARG(p[n - 1]));
    long grade = strtol(number, &end, 10);
    if (end == number || *end || labs(grade) > 1000000)
        return cn_fail(CN_INVALID, "\"" CN_STR_FMT "\" is no grade", CN_STR_ARG(p[n - 1]));
    return add(j, p[0], p[n - 2], (int)grade);
}

static cn_err read_lines(judgements *j, FILE *f, const char *path) {
    CN_CLEANUP(cn_free_p) char *line = NULL;
    size_t room = 0;
    for (unsigned long number = 1; getline(&line, &room, f) >= 0; number++) {
        cn_err err = take_line(j, line, number == 1);
        if (err != CN_OK)
            return cn_wrap(err, "%s:%lu", path, number);
    }
    return ferror(f) ? cn_fail_errno(errno, "cannot read %s", path) : CN_OK;
}

/* ---------- ideal rankings ---------- */
static double gain(int grade, uint32_t rank) { return grade > 0 ? grade / log2(rank + 1.0) : 0; }

static int by_query_and_grade(const void *a, const void *b) {
    const judgement *x = *(const judgement *const *)a, *y = *(const judgement *const *)b;
    return x->query != y->query ? (x->query > y->query) - (x->query < y->query) : (y->grade > x->grade) - (y->grade < x->grade);
}

static cn_err find_ideals(judgements *j) {
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

cn_err judge_read(const char *path, judgements **ret) {
    judgements *j = cn_calloc(1, sizeof *j);
    if (!j)
        return cn_fail_memory();
    cn_arena_init(&j->a, 1 << 16, JUDGE_FILE_MAX);
    FILE *f = fopen(path, "re");
    cn_err err = f ? read_lines(j, f, path) : cn_fail_errno(errno, "cannot open %s", path);
    if (f)
        fclose(f);
    if (err == CN_OK)
        err = find_ideals(j);
    if (err == CN_OK && !j->n)
        err = cn_fail(CN_INVALID, "%s has no judgements", path);
    if (err == CN_OK)
        *ret = j;
    else
        judge_free(j);
    return err;
}

void judge_free(judgements *j) {
    if (!j)
        return;
    cn_table_done(&j->docs);
    cn_table_done(&j->by_id);
    cn_free(j->v);
    cn_free(j->queries);
    cn_arena_done(&j->a);
    cn_free(j);
}

uint32_t judge_queries(const judgements *j) { return j->n_queries; }
cn_str judge_query(const judgements *j, uint32_t i) { return j->queries[i].id; }
uint32_t judge_relevant(const judgements *j, uint32_t i) { return j->queries[i].relevant; }

/* ---------- measures ---------- */
void judge_score(const judgements *j, uint32_t query, const cn_str *docs, uint32_t n, scores *ret) {
    const asked *q = &j->queries[query];
    scores s = {0};
    uint32_t found = 0, cut = 0;
    double all = q->relevant ? q->relevant : 1;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t at = find_doc(j, query, docs[i]), rank = i + 1;
        int grade = at == UINT32_MAX ? 0 : j->v[at].grade;
        if (grade > 0) {
            found++;
            s.first = s.first ? s.first : rank;
            s.m[AP] += found / (double)rank / all;
        }
        if (rank <= 10)
            s.m[NDCG_10] += gain(grade, rank);
        for (; cut < RECALL_CUTS && recall_cuts[cut] == rank; cut++)
            s.recall[cut] = found / all;
        s.m[P_10] = rank <= 10 ? found / 10.0 : s.m[P_10];
    }
    for (; cut < RECALL_CUTS; cut++)
        s.recall[cut] = found / all;
    s.m[NDCG_10] = q->ideal > 0 ? s.m[NDCG_10] / q->ideal : 0;
    s.m[RR_10] = s.first && s.first <= 10 ? 1.0 / s.first : 0;
    s.m[R_10] = s.recall[4];
    s.m[R_100] = s.recall[7];
    *ret = s;
}

static uint64_t next(uint64_t *s) { /* splitmix64 */
    uint64_t z = *s += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

double judge_significance(const double *a, const double *b, uint32_t n) {
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
