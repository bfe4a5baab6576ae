/* bags.h -- passages as bags of pieces: a sparse matrix of passages by pieces, to be walked both ways.
 *
 * Each of a passage's pieces has how often it is there, over the root of how many pieces there are in all. A sum of rows
 * grows with the passage while its vector has length 1; the root lies between counting each passage alike and letting long
 * ones speak loudest.
 * Owns:    its arrays.
 * Thread:  one while it is made; then any may read.
 * Limits:  2^32 passages. */
#pragma once
#include "ingest/embed/embed.h"

typedef struct cn_bags {
    uint32_t n, words;
    uint64_t *from;    /* [n + 1]: entries of each passage */
    uint32_t *piece;
    float *x;
    uint64_t *by_from; /* [words + 1]: the same entries by piece */
    uint32_t *by_passage;
    float *by_x;
} cn_bags;

/* texts[n], cut as the embedder cuts them. */
cn_err cn_bags_make(cn_embedder *e, const cn_str *texts, uint32_t n, uint32_t words, cn_bags *ret);
void cn_bags_done(cn_bags *b);
/* How many passages a piece is in. */
static inline uint64_t cn_bags_seen(const cn_bags *b, uint32_t piece) { return b->by_from[piece + 1] - b->by_from[piece]; }
