/* load: raw-vector queries to a cairnd by libcairn, some connections side by side, each asking one query after the other.
 *
 * Usage: load ADDRESS KEY INDEX QUERIES.npy K CONNECTIONS QUERIES_EACH [RATE]. RATE: queries a second of each connection, whose
 * waiting times then count from when a query was due; otherwise each follows the answer before. Prints one JSON object: queries, seconds, the
 * 50th and 99th of a hundred waiting times and the 999th of a thousand in microseconds, and how many versions answered. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cairn.h"
#include "engine/base/os.h"

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
    double gap_us;     /* between queries; 0: none */
    uint64_t versions; /* a bit for each that answered, modulo 64 */
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

static double wait_until(double due) {
    double left = due - now_us();
    struct timespec t = {(time_t)(left / 1e6), (long)((left - 1e6 * (double)(time_t)(left / 1e6)) * 1e3)};
    if (left > 0)
        nanosleep(&t, NULL);
    return due;
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
    cn_thread_prompt(); /* a client has a machine of its own: what it waits for here shall be the server */
    if (cairn_connect(a->address, NULL, &c) != CAIRN_OK)
        die(a->address, cairn_connect_error());
    if (cairn_auth(c, a->key) != CAIRN_OK)
        die("auth", cairn_error(c));
    double due = now_us();
    for (unsigned i = 0; i < a->n; i++) {
        double start = a->gap_us > 0 ? wait_until(due += a->gap_us) : now_us();
        a->ask.vector = a->q->v + (size_t)(i % a->q->rows) * a->q->dim;
        if (cairn_query(c, &a->ask, &r) != CAIRN_OK)
            die("query", cairn_error(c));
        if (r.n != a->ask.k)
            die("query", "too few hits");
        a->versions |= (uint64_t)1 << r.version % 64;
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
    if (argc != 8 && argc != 9)
        die("usage", "load ADDRESS KEY INDEX QUERIES.npy K CONNECTIONS QUERIES_EACH [RATE]");
    matrix q = load(argv[4]);
    unsigned connections = (unsigned)atoi(argv[6]), each = (unsigned)atoi(argv[7]);
    double *us = malloc(connections * (size_t)each * sizeof *us);
    if (!us || connections < 1 || connections > CONNECTIONS_MAX)
        die("connections", "1 to 64");
    double start = now_us();
    for (unsigned i = 0; i < connections; i++) {
        askers[i] = (asker){.address = argv[1], .key = argv[2], .q = &q, .n = each, .us = us + (size_t)i * each, .gap_us = argc == 9 ? 1e6 / atof(argv[8]) : 0};
        askers[i].ask = (cairn_query_options){.index = argv[3], .dim = q.dim, .k = (uint32_t)atoi(argv[5])};
        pthread_create(&askers[i].thread, NULL, ask, &askers[i]);
    }
    uint64_t versions = 0;
    for (unsigned i = 0; i < connections; i++) {
        pthread_join(askers[i].thread, NULL);
        versions |= askers[i].versions;
    }
    double seconds = (now_us() - start) / 1e6;
    size_t n = (size_t)connections * each;
    qsort(us, n, sizeof *us, by_value);
    printf("{\"queries\": %zu, \"seconds\": %.3f, \"p50_us\": %.1f, \"p99_us\": %.1f, \"p999_us\": %.1f, \"versions\": %d}\n", n, seconds, us[n / 2], us[n * 99 / 100],
           us[n * 999 / 1000], __builtin_popcountll(versions));
    return 0;
}
