/* bench.h -- what `cairn bench` reads and writes: questions, and row numbers of the nearest as .ivecs.
 *
 * Owns:    the structs' memory, freed by their _done.
 * Thread:  one; read-only while the benchmark runs.
 * Limits:  BENCH_BYTES of questions, BENCH_BYTES of row numbers. */
#pragma once
#include "engine/base/buf.h"

#define BENCH_BYTES ((size_t)2 << 30)

/* Each question is one packed map {text} or {vector}. */
typedef struct bench_questions {
    cn_buf bytes;
    size_t *at; /* n + 1 places in bytes */
    uint32_t n, room;
} bench_questions;
/* .npy, .fvecs, .fbin, .jsonl (each also .gz, .zst) through ingest's own readers; any other file holds a text a line. */
cn_err bench_questions_read(const char *path, bench_questions *ret);
void bench_questions_done(bench_questions *q);

typedef struct bench_rows { /* n rows of k numbers */
    int32_t *v;
    uint32_t n, k;
} bench_rows;
/* .ivecs: each row is its length and so many numbers, all 32 bits, little-endian; all rows are of one length. */
cn_err bench_rows_read(const char *path, bench_rows *ret);
cn_err bench_rows_write(const char *path, const bench_rows *r);
void bench_rows_done(bench_rows *r);
