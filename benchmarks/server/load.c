/* load: raw-vector queries to a cairnd by libcairn, some connections side by side, each asking one query after the other.
 *
 * Usage: load ADDRESS KEY INDEX QUERIES.npy K CONNECTIONS QUERIES_EACH. Prints one JSON object: queries, seconds, and
 * the 50th and 99th of a hundred waiting times in microseconds. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cairn.h"

#define CONNECTIONS_MAX 64

typedef struct matrix {
    float *v;
    unsigned rows, dim;
} matrix;

typedef struct asker {
    pthread_t thread;
    const char *address, *key;
    cairn_query_options ask;
    const matrix *q;
    unsigned n;
    double *us;
} asker;

static void die(const char *what, const char *why) {
    fprintf(stderr, "load: %s: %s\n", what, why);
    exit(1);
}

static double now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static matrix load(const char *path) {
    char head[128];
    matrix m;
    FILE *f = fopen(path, "rb");
    const char *shape = f && fread(head, 1, sizeof head, f) == sizeof head ? strstr(head + 10, "'shape': (") : NULL;
    if (!shape || sscanf(shape + 10, "%u, %u", &m.rows, &m.dim) != 2)
        die(path, "not an array of float32");
    size_t n = (size_t)m.rows * m.dim;
    m.v = malloc(n * sizeof *m.v);
    if (!m.v || fseek(f, -(long)(n * sizeof *m.v), SEEK_END) != 0 || fread(m.v, sizeof *m.v, n, f) != n)
        die(path, "truncated");
    fclose(f);
    return m;
}

static void *ask(void *arg) {
    asker *a = arg;
    cairn_client *c;
    cairn_result r;
    if (cairn_connect(a->address, NULL, &c) != CAIRN_OK)
        die(a->address, cairn_connect_error());
    if (cairn_auth(c, a->key) != CAIRN_OK)
        die("auth", cairn_error(c));
    for (unsigned i = 0; i < a->n; i++) {
        double start = now_us();
        a->ask.vector = a->q->v + (size_t)(i % a->q->rows) * a->q->dim;
        if (cairn_query(c, &a->ask, &r) != CAIRN_OK)
            die("query", cairn_error(c));
        if (r.n != a->ask.k)
            die("query", "too few hits");
        cairn_result_free(&r);
        a->us[i] = now_us() - start;
    }
    cairn_close(c);
    return NULL;
}

static int by_value(const void *a, const void *b) {
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

int main(int argc, char **argv) {
    static asker askers[CONNECTIONS_MAX];
    if (argc != 8)
        die("usage", "load ADDRESS KEY INDEX QUERIES.npy K CONNECTIONS QUERIES_EACH");
    matrix q = load(argv[4]);
    unsigned connections = (unsigned)atoi(argv[6]), each = (unsigned)atoi(argv[7]);
    double *us = malloc(connections * (size_t)each * sizeof *us);
    if (!us || connections < 1 || connections > CONNECTIONS_MAX)
        die("connections", "1 to 64");
    double start = now_us();
    for (unsigned i = 0; i < connections; i++) {
        askers[i] = (asker){.address = argv[1], .key = argv[2], .q = &q, .n = each, .us = us + (size_t)i * each};
        askers[i].ask = (cairn_query_options){.index = argv[3], .dim = q.dim, .k = (uint32_t)atoi(argv[5])};
        pthread_create(&askers[i].thread, NULL, ask, &askers[i]);
    }
    for (unsigned i = 0; i < connections; i++)
        pthread_join(askers[i].thread, NULL);
    double seconds = (now_us() - start) / 1e6;
    size_t n = (size_t)connections * each;
    qsort(us, n, sizeof *us, by_value);
    printf("{\"queries\": %zu, \"seconds\": %.3f, \"p50_us\": %.1f, \"p99_us\": %.1f}\n", n, seconds, us[n / 2], us[n * 99 / 100]);
    return 0;
}
