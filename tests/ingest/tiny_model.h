/* tiny_model.h -- a small random BERT for tests: its folder on disk, and its forward pass in double precision.
 *
 * Owns:    the tensors; the folder stays until tiny_remove().
 * Thread:  one.
 * Limits:  its sizes below. */
#pragma once
#include "engine/base/str.h"

#define TINY_HIDDEN 24 /* no multiple of 16, so that the ends of rows are tried */
#define TINY_HEADS 3
#define TINY_INNER 40
#define TINY_LAYERS 2
#define TINY_POSITIONS 40
#define TINY_TOKENS 32
#define TINY_TENSORS (5 + 16 * TINY_LAYERS)

typedef enum tiny_type { TINY_F32, TINY_F16, TINY_BF16 } tiny_type;
typedef struct tiny_tensor {
    char name[96];
    uint32_t rows, cols; /* rows 0: one dimension */
    float *v;
} tiny_tensor;
typedef struct tiny_model {
    tiny_tensor t[TINY_TENSORS];
    uint32_t n, words;
    char folder[64];
} tiny_model;

/* A temporary folder; the same weights each time. */
char *tiny_folder(char path[64]);
void tiny_remove(const char *path);
void tiny_write(tiny_model *m, const char *folder, tiny_type type, const char *prefix);
void tiny_done(tiny_model *m);
void tiny_file(const char *folder, const char *name, cn_str bytes);
cn_str tiny_read(const char *folder, const char *name); /* freed by cn_free */
/* Replaces the first `from` in a file by `to`. */
void tiny_edit(const char *folder, const char *name, const char *from, const char *to);
/* The vector of ids[n], mean pooling, length 1. */
void tiny_reference(const tiny_model *m, const uint32_t *ids, uint32_t n, double out[TINY_HIDDEN]);
