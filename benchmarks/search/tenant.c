#include "benchmarks/search/tenant.h"

#include <stdio.h>
#include <stdlib.h>

const cn_actor bench_who = {{"bench", 5}, {"command", 7}, {"", 0}};
static char dir[512];
static cn_data *data;

void bench_must(cn_err e, const char *what) {
    if (e == CN_OK)
        return;
    fprintf(stderr, "%s: %s\n", what, cn_error_detail());
    exit(1);
}

void bench_data(const char *parent) {
    snprintf(dir, sizeof dir, "%s/cairn-bench-XXXXXX", parent);
    bench_must(mkdtemp(dir) ? CN_OK : cn_fail(CN_INVALID, "no folder can be made there"), parent);
    bench_must(cn_data_init(dir), "data");
    bench_must(cn_data_open(dir, &data), "data");
}

const char *bench_folder(void) { return dir; }

cn_tenant *bench_tenant(const char *name) {
    cn_tenant *t;
    bench_must(cn_tenant_create(data, cn_str_of(name), &bench_who), "tenant");
    bench_must(cn_tenant_open(data, cn_str_of(name), &t), "tenant");
    return t;
}

void bench_data_done(void) { /* the files stay open until the end of the process */
    char rm[600];
    snprintf(rm, sizeof rm, "rm -rf %s", dir);
    if (system(rm) != 0)
        fprintf(stderr, "%s could not be removed\n", dir);
}

void bench_index(cn_tenant *t, cn_metric metric) {
    cn_index_settings s;
    cn_index_settings_default(&s);
    s.metric = metric;
    bench_must(cn_index_create(t, BENCH_INDEX, &s, &bench_who), "index");
}

uint64_t bench_seal(cn_tenant *t, cn_segw *w, cn_metric metric, uint32_t dim, uint64_t added, uint64_t changed) {
    cn_arena a;
    cn_version head = {0};
    uint64_t number;
    cn_digest root;
    cn_recipe recipe = {.embedder = CN_STR("none"), .precision = CN_STR(""), .parser = CN_STR("p/1"), .normaliser = CN_STR("n/1"),
                        .chunker = CN_STR("document"), .analyser = CN_STR("english"), .metric = metric, .dim = dim};
    cn_arena_init(&a, 1 << 16, 1 << 26);
    cn_err e = cn_version_head(t, BENCH_INDEX, &a, &head);
    bench_must(e == CN_NOT_FOUND ? CN_OK : e, "head");
    cn_seal seal = {.index = BENCH_INDEX, .base = head.number, .recipe = &recipe, .job = CN_STR("bench"),
                    .counts = {.read = added + changed, .added = added, .changed = changed}};
    bench_must(cn_version_seal(t, &seal, w, &bench_who, &number, &root), "seal");
    cn_arena_done(&a);
    return number;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double bench_median(double *v, uint32_t n) {
    qsort(v, n, sizeof *v, by_value);
    return v[n / 2];
}
