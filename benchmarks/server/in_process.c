/* in_process: the same queries without a server: a version pinned, one search after the other, on one thread.
 *
 * Usage: in_process DATA TENANT INDEX QUERIES.npy K QUERIES. Prints CPU microseconds a query. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <math.h>

#include "engine/base/mem.h"
#include "index/search/search.h"

static void die(const char *what) {
    fprintf(stderr, "in_process: %s: %s\n", what, cn_error_detail());
    exit(1);
}

static float *load(const char *path, unsigned *ret_rows, unsigned *ret_dim) {
    char head[128];
    FILE *f = fopen(path, "rb");
    const char *shape = f && fread(head, 1, sizeof head, f) == sizeof head ? strstr(head + 10, "'shape': (") : NULL;
    if (!shape || sscanf(shape + 10, "%u, %u", ret_rows, ret_dim) != 2)
        die(path);
    size_t n = (size_t)*ret_rows * *ret_dim;
    float *v = cn_alloc(n * sizeof *v);
    if (!v || fseek(f, -(long)(n * sizeof *v), SEEK_END) != 0 || fread(v, sizeof *v, n, f) != n)
        die(path);
    fclose(f);
    return v;
}

static double cpu_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

int main(int argc, char **argv) {
    cn_data *data;
    cn_tenant *t;
    cn_view *view;
    cn_searcher *s;
    unsigned rows, dim, n;
    cn_str public_label = CN_STR("public");
    if (argc != 7 || cn_data_open(argv[1], &data) != CN_OK || cn_tenant_open(data, cn_str_of(argv[2]), &t) != CN_OK)
        die("usage: in_process DATA TENANT INDEX QUERIES.npy K QUERIES");
    float *q = load(argv[4], &rows, &dim);
    n = (unsigned)atoi(argv[6]);
    cn_hit *hits = cn_alloc(CN_K_MAX * sizeof *hits);
    cn_query ask = {.who = {{&public_label, 1}, {&public_label, 1}}, .k = (uint32_t)atoi(argv[5]), .min_score = -INFINITY};
    if (cn_searcher_new(&s) != CN_OK)
        die("searcher");
    double start = 0;
    for (unsigned i = 0; i < n + 10; i++) {
        uint32_t found;
        cn_search_stats stats;
        if (i == 10)
            start = cpu_us();
        ask.vector = q + (size_t)(i % rows) * dim;
        if (cn_view_open(t, cn_str_of(argv[3]), 0, &view) != CN_OK || cn_search(view, &ask, s, hits, &found, &stats) != CN_OK)
            die("search");
        cn_view_unref(view);
    }
    printf("%.2f\n", (cpu_us() - start) / n);
    cn_searcher_free(s);
    cn_views_flush(t);
    cn_tenant_unref(t);
    cn_data_close(data);
    return 0;
}
