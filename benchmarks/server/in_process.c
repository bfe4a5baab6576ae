/* in_process: the same queries without a server: on some threads, each with one search after the other.
 *
 * Usage: in_process DATA TENANT INDEX QUERIES.npy K QUERIES THREADS. QUERIES: of each thread. Prints CPU microseconds a query. */
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/base/mem.h"
#include "index/search/search.h"

#define THREADS_MAX 64

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

typedef struct searching {
    pthread_t thread;
    cn_tenant *t;
    cn_str index;
    const float *q;
    unsigned rows, dim, n, k;
    double cpu_us;
} searching;

static void *search(void *arg) {
    searching *s = arg;
    cn_searcher *searcher;
    cn_view *view;
    cn_str public_label = CN_STR("public");
    cn_hit *hits = cn_alloc(CN_K_MAX * sizeof *hits);
    cn_query ask = {.who = {{&public_label, 1}, {&public_label, 1}}, .k = s->k, .min_score = -INFINITY};
    if (!hits || cn_searcher_new(&searcher) != CN_OK)
        die("searcher");
    double start = 0;
    for (unsigned i = 0; i < s->n + 10; i++) {
        uint32_t found;
        cn_search_stats stats;
        if (i == 10)
            start = cpu_us();
        ask.vector = s->q + (size_t)(i % s->rows) * s->dim;
        if (cn_view_open(s->t, s->index, 0, &view) != CN_OK || cn_search(view, &ask, searcher, hits, &found, &stats) != CN_OK)
            die("search");
        cn_view_unref(view);
    }
    s->cpu_us = cpu_us() - start;
    cn_searcher_free(searcher);
    cn_free(hits);
    return NULL;
}

int main(int argc, char **argv) {
    static searching side[THREADS_MAX];
    cn_data *data;
    cn_tenant *t;
    unsigned threads = argc == 8 ? (unsigned)atoi(argv[7]) : 0;
    if (threads < 1 || threads > THREADS_MAX || cn_data_open(argv[1], &data) != CN_OK || cn_tenant_open(data, cn_str_of(argv[2]), &t) != CN_OK)
        die("usage: in_process DATA TENANT INDEX QUERIES.npy K QUERIES THREADS");
    searching first = {.t = t, .index = cn_str_of(argv[3]), .k = (unsigned)atoi(argv[5]), .n = (unsigned)atoi(argv[6])};
    float *q = load(argv[4], &first.rows, &first.dim);
    double us = 0;
    first.q = q;
    for (unsigned i = 0; i < threads; i++) {
        side[i] = first;
        if (pthread_create(&side[i].thread, NULL, search, &side[i]) != 0)
            die("threads");
    }
    for (unsigned i = 0; i < threads; i++) {
        pthread_join(side[i].thread, NULL);
        us += side[i].cpu_us;
    }
    printf("%.2f\n", us / first.n / threads);
    cn_free(q);
    cn_views_flush(t);
    cn_tenant_unref(t);
    cn_data_close(data);
    return 0;
}
