/* search_bench: what the pinned version, the permitted set and the merge add to the scan itself.
 *
 * Usage: search_bench VECTORS.npy QUERIES K. Rows from a .npy file (float32, C order) are sealed as one segment of a new tenant
 * in a temporary directory; the last QUERIES of them are asked back. Each query runs four times, interleaved: staged and exact,
 * by the flat scan alone and by cn_view_open + cn_search. Prints one JSON object. */
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "benchmarks/search/tenant.h"
#include "engine/base/mem.h"
#include "engine/base/os.h"

static uint32_t rows, dim;
static const float *vectors;
static cn_tenant *t;

static void load(const char *path) {
    int fd = open(path, O_RDONLY);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0 || st.st_size < 128)
        bench_must(cn_fail(CN_INVALID, "not a .npy file"), path);
    char *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    const char *shape = p == MAP_FAILED ? NULL : memmem(p, 128, "'shape': (", 10);
    if (!shape || sscanf(shape + 10, "%u, %u", &rows, &dim) != 2)
        bench_must(cn_fail(CN_INVALID, "not a .npy file of two dimensions"), path);
    vectors = (const float *)(const void *)(p + st.st_size - (off_t)((size_t)rows * dim * sizeof(float)));
}

static void build(void) {
    const cn_str allow = CN_PUBLIC;
    cn_segw *w;
    bench_index(t, CN_IP);
    bench_must(cn_segw_new(t, dim, &w), "segment");
    for (uint32_t i = 0; i < rows; i++) {
        char id[16];
        cn_chunk c = {.vector = vectors + (size_t)i * dim};
        cn_doc d = {.source = CN_STR("default"), .id = {id, (size_t)snprintf(id, sizeof id, "%u", i)}, .modified = CN_NO_TIME, .chunks = &c, .n_chunks = 1,
                    .labels = {{&allow, 1}, {0}, {0}}};
        bench_must(cn_segw_add(w, &d), "row");
    }
    uint64_t number = bench_seal(t, w, CN_IP, dim, rows, 0);
    bench_must(cn_version_activate(t, BENCH_INDEX, number, CN_ANY_VERSION, false, &bench_who, NULL), "activate");
}

/* The one segment, as the view itself opens it. */
static void open_flat(cn_arena *a, cn_flat **ret, cn_scan *scan, bool *coded) {
    cn_pin pin;
    cn_seg *seg;
    bench_must(cn_version_pin(t, BENCH_INDEX, 0, a, &pin), "pin");
    bench_must(cn_seg_open(t, &pin.version.parts[0].id, &pin.version.parts[0].digest, &seg), "segment");
    bench_must(cn_seg_flat(seg, &pin.space, ret, coded), "flat");
    uint64_t *bits = cn_arena_zalloc(a, rows / 64 + 1, sizeof *bits);
    for (uint32_t i = 0; i < rows; i++)
        bits[i / 64] |= (uint64_t)1 << (i % 64);
    scan->permitted = bits;
    scan->n_permitted = rows;
    scan->rank = cn_seg_row_rank(seg);
}

typedef cn_err search_fn(const cn_flat *, const cn_scan *, cn_scratch *, cn_scored *, uint32_t *);

static uint64_t alone(search_fn *search, const cn_flat *f, const cn_scan *scan, cn_scratch *scratch, cn_scored *hits) {
    uint32_t n;
    uint64_t from = cn_mono_ns();
    bench_must(search(f, scan, scratch, hits, &n), "flat");
    return cn_mono_ns() - from;
}

static uint64_t whole(const cn_query *q, cn_searcher *s, cn_hit *hits) {
    cn_view *v;
    uint32_t n;
    uint64_t from = cn_mono_ns();
    bench_must(cn_view_open(t, BENCH_INDEX, 0, &v), "view");
    bench_must(cn_search(v, q, s, hits, &n, NULL), "search");
    cn_view_unref(v);
    return cn_mono_ns() - from;
}

/* Opening and letting go of the cached version alone. */
static double open_us(void) {
    cn_view *v;
    uint64_t from = cn_mono_ns();
    for (int i = 0; i < 1000; i++) {
        bench_must(cn_view_open(t, BENCH_INDEX, 0, &v), "view");
        cn_view_unref(v);
    }
    return (double)(cn_mono_ns() - from) / 1e6;
}

/* The first question after a change of the policy: everything that hangs on the epoch is made anew. */
static double after_change_us(cn_policy_op op, const cn_query *q, cn_searcher *s, cn_hit *hits) {
    cn_policy_change c = {op, CN_STR("default"), op == CN_POLICY_HIDE_GLOB ? CN_STR("99*") : CN_STR("no-such-document"), {0}};
    uint64_t epoch;
    bench_must(cn_policy_apply(t, &c, 1, &bench_who, &epoch), "policy");
    return (double)whole(q, s, hits) / 1000;
}

static void measure(uint32_t queries, uint32_t k) {
    cn_arena a;
    cn_flat *f;
    cn_scan scan = {.k = k};
    cn_scratch *scratch;
    cn_searcher *s;
    bool coded;
    const cn_str pub = CN_PUBLIC;
    double *us[4], *more[2];
    cn_arena_init(&a, 1 << 20, (size_t)1 << 30);
    cn_scored *scored = cn_arena_zalloc(&a, k, sizeof *scored);
    cn_hit *hits = cn_arena_zalloc(&a, k, sizeof *hits);
    for (int m = 0; m < 4; m++)
        us[m] = cn_arena_zalloc(&a, queries, sizeof **us);
    for (int m = 0; m < 2; m++)
        more[m] = cn_arena_zalloc(&a, queries, sizeof **more);
    open_flat(&a, &f, &scan, &coded);
    bench_must(cn_scratch_new(&scratch), "scratch");
    bench_must(cn_searcher_new(&s), "searcher");
    cn_query q = {.who = {{&pub, 1}, {&pub, 1}}, .vector = vectors, .k = k, .mode = CN_MODE_DENSE, .min_score = -INFINITY};
    uint64_t first = whole(&q, s, hits), allocations = 0;
    for (uint32_t i = 0; i < queries; i++) {
        q.vector = scan.query = vectors + (size_t)(rows - 1 - i) * dim;
        for (int m = 0; m < 2; m++) { /* which of the two goes first changes, so that neither always finds the query's rows warm */
            search_fn *search = m ? cn_flat_exact : cn_flat_staged;
            q.mode = m ? CN_MODE_EXACT : CN_MODE_DENSE;
            if (i % 2)
                us[m][i] = (double)alone(search, f, &scan, scratch, scored) / 1000;
            uint64_t before = cn_alloc_count();
            us[2 + m][i] = (double)whole(&q, s, hits) / 1000;
            allocations += i > 1 ? cn_alloc_count() - before : 0;
            if (i % 2 == 0)
                us[m][i] = (double)alone(search, f, &scan, scratch, scored) / 1000;
            more[m][i] = us[2 + m][i] / us[m][i] - 1;
        }
    }
    printf("{\"rows\": %u, \"dim\": %u, \"k\": %u, \"queries\": %u, \"coded\": %s, \"first_query_us\": %.1f, \"allocations\": %llu,", rows, dim, k, queries,
           coded ? "true" : "false", (double)first / 1000, (unsigned long long)allocations);
    printf(" \"open_us\": %.2f,", open_us());
    printf(" \"more_staged\": %.4f, \"more_exact\": %.4f,", bench_median(more[0], queries), bench_median(more[1], queries));
    printf(" \"flat_staged_us\": %.1f, \"search_staged_us\": %.1f,", bench_median(us[0], queries), bench_median(us[2], queries));
    printf(" \"flat_exact_us\": %.1f, \"search_exact_us\": %.1f", bench_median(us[1], queries), bench_median(us[3], queries));
    printf(", \"after_change_us\": %.1f", after_change_us(CN_POLICY_HIDE, &q, s, hits));
    printf(", \"after_hiding_a_glob_us\": %.1f}\n", after_change_us(CN_POLICY_HIDE_GLOB, &q, s, hits));
    cn_searcher_free(s);
    cn_scratch_free(scratch);
    cn_arena_done(&a);
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: search_bench VECTORS.npy QUERIES K\n");
        return 2;
    }
    load(argv[1]);
    uint32_t queries = (uint32_t)strtoul(argv[2], NULL, 10), k = (uint32_t)strtoul(argv[3], NULL, 10);
    if (queries == 0 || queries > rows || k == 0 || k > CN_K_MAX) {
        fprintf(stderr, "search_bench: queries must be 1 to the number of rows, k 1 to %d\n", CN_K_MAX);
        return 2;
    }
    bench_data("/tmp");
    t = bench_tenant("bench");
    build();
    measure(queries, k);
    bench_data_done();
    return 0;
}
