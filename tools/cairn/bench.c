#include "tools/cairn/bench.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "engine/base/mem.h"
#include "engine/base/pack.h"
#include "ingest/source/source.h"

/* ---------- questions ---------- */
static cn_err add_question(bench_questions *q, cn_str text, const float *vector, uint32_t dim) {
    if (!cn_grow(q->at, q->n + 1, q->room))
        return cn_fail_memory();
    q->at[q->n] = q->bytes.n;
    cn_pack_map(&q->bytes, 1);
    cn_pack_cstr(&q->bytes, vector ? "vector" : "text");
    if (vector)
        cn_pack_bin(&q->bytes, vector, dim * sizeof *vector);
    else
        cn_pack_str(&q->bytes, text);
    q->at[++q->n] = q->bytes.n;
    return cn_buf_check(&q->bytes);
}

static bool is_source(const char *path) {
    static const char *const ends[] = {".npy", ".fvecs", ".fbin", ".jsonl"}, *const packed[] = {"", ".gz", ".zst"};
    char end[16];
    size_t n = strlen(path);
    for (int i = 0; i < 12; i++) {
        snprintf(end, sizeof end, "%s%s", ends[i / 3], packed[i % 3]);
        if (n > strlen(end) && strcmp(path + n - strlen(end), end) == 0)
            return true;
    }
    return false;
}

static cn_err read_source(const char *path, bench_questions *q) {
    const char *paths[] = {path};
    cn_source_opts o = {.paths = paths, .n_paths = 1, .source = CN_STR("default")};
    cn_source *s;
    cn_arena a;
    cn_raw raw;
    CN_TRY(cn_source_open(&o, &s));
    cn_arena_init(&a, 65536, BENCH_BYTES);
    cn_err err = CN_OK;
    while (err == CN_OK && (err = cn_source_next(s, &a, &raw)) == CN_OK) {
        err = raw.err == CN_OK ? add_question(q, raw.bytes, raw.vector, raw.dim)
                               : cn_fail(raw.err, CN_STR_FMT ": " CN_STR_FMT, CN_STR_ARG(raw.where.n ? raw.where : cn_str_of(path)), CN_STR_ARG(raw.why));
        cn_arena_reset(&a);
    }
    cn_arena_done(&a);
    cn_source_close(s);
    return err == CN_END ? CN_OK : err;
}

static cn_err read_lines(const char *path, bench_questions *q) {
    CN_CLEANUP(cn_free_p) char *line = NULL;
    size_t room = 0;
    ssize_t n;
    FILE *f = fopen(path, "re");
    if (!f)
        return cn_fail_errno(errno, "cannot open %s", path);
    cn_err err = CN_OK;
    while (err == CN_OK && (n = getline(&line, &room, f)) >= 0) {
        while (n && (line[n - 1] == '\n' || line[n - 1] == '\r'))
            n--;
        if (n)
            err = add_question(q, (cn_str){line, (size_t)n}, NULL, 0);
    }
    if (err == CN_OK && ferror(f))
        err = cn_fail_errno(errno, "cannot read %s", path);
    fclose(f);
    return err;
}

cn_err bench_questions_read(const char *path, bench_questions *ret) {
    struct stat st;
    bench_questions q = {.at = NULL};
    if (stat(path, &st) != 0)
        return cn_fail_errno(errno, "cannot open %s", path);
    cn_buf_init(&q.bytes, BENCH_BYTES);
    cn_err err = is_source(path) ? read_source(path, &q) : read_lines(path, &q);
    if (err == CN_OK && q.n == 0)
        err = cn_fail(CN_INVALID, "%s holds no question", path);
    if (err == CN_OK)
        *ret = q;
    else
        bench_questions_done(&q);
    return err;
}

void bench_questions_done(bench_questions *q) {
    cn_buf_done(&q->bytes);
    cn_free(q->at);
}

/* ---------- row numbers ---------- */
static cn_err read_rows(FILE *f, const char *path, uint64_t bytes, bench_rows *r) {
    int32_t k;
    if (fread(&k, sizeof k, 1, f) != 1 || k < 1 || k > 65536 || bytes % ((uint64_t)(k + 1) * 4) != 0)
        return cn_fail(CN_INVALID, "%s is no .ivecs file: rows of a length and so many 32-bit numbers, all of one length", path);
    *r = (bench_rows){.n = (uint32_t)(bytes / ((uint64_t)(k + 1) * 4)), .k = (uint32_t)k};
    r->v = cn_calloc((size_t)r->n * r->k, sizeof *r->v);
    if (!r->v)
        return cn_fail_memory();
    for (uint32_t i = 0; i < r->n; i++) {
        int32_t again = k;
        if ((i && fread(&again, sizeof again, 1, f) != 1) || again != k || fread(r->v + (size_t)i * r->k, sizeof *r->v, r->k, f) != r->k)
            return cn_fail(CN_INVALID, "%s, row %u: its length is not that of the first row, %d", path, i, k);
    }
    return CN_OK;
}

cn_err bench_rows_read(const char *path, bench_rows *ret) {
    struct stat st;
    bench_rows r = {.v = NULL};
    FILE *f = fopen(path, "rbe");
    if (!f || fstat(fileno(f), &st) != 0) {
        cn_err err = cn_fail_errno(errno, "cannot open %s", path);
        if (f)
            fclose(f);
        return err;
    }
    cn_err err = (uint64_t)st.st_size > BENCH_BYTES ? cn_fail(CN_INVALID, "%s is larger than %zu MiB", path, BENCH_BYTES >> 20) : read_rows(f, path, (uint64_t)st.st_size, &r);
    fclose(f);
    if (err == CN_OK)
        *ret = r;
    else
        bench_rows_done(&r);
    return err;
}

cn_err bench_rows_write(const char *path, const bench_rows *r) {
    FILE *f = fopen(path, "wbe");
    int32_t k = (int32_t)r->k;
    if (!f)
        return cn_fail_errno(errno, "cannot write %s", path);
    for (uint32_t i = 0; i < r->n; i++)
        if (fwrite(&k, sizeof k, 1, f) != 1 || fwrite(r->v + (size_t)i * r->k, sizeof *r->v, r->k, f) != r->k)
            break;
    bool bad = ferror(f);
    int why = errno;
    return fclose(f) != 0 || bad ? cn_fail_errno(bad ? why : errno, "cannot write %s", path) : CN_OK;
}

void bench_rows_done(bench_rows *r) { cn_free(r->v); }
