/* inside.h -- codes of a segment's vectors, and a query prepared for them; for engine/flat, and engine/cells that stands on it.
 *
 * With y = the row (normalised for cosine) minus the space's mean, r = y rotated, and p the query's likewise:
 *   cosine, ip   score = <q, mean> + <mean, y> + <p, r>
 *   l2           score = -|q - mean|^2 - |y|^2 + 2 <p, r>
 * that is score = base + add + <p, r>, with the 2 multiplied into p. <p, r> is estimated from codes in two ways:
 *   few bits     u = odd integers of 1 or 2 bits; <p, r> ~ factor <p, u>, factor = |r|^2 / <u, r>: unbiased under a random
 *                rotation, with a known spread (RaBitQ, arXiv 2405.12497 section 3; 2 bits: 2409.09913)
 *   int8         r = scale r8 + e; |<p, e>| <= |p| |e| (Cauchy-Schwarz): a bound that holds whatever the data
 *
 * The arrays of kind "flat", format 2, little-endian floats. A chunk is CN_CHUNK_ROWS rows, the last one padded with zeros
 * to a whole block of 32.
 *   array 0   head       one block: cn_flat_head
 *   array 1   few bits   a block a chunk: FastScan blocks of 32 rows, each planes x 4 D bytes of codes (byte j of a group of
 *                        4 components: rows perm[j] in the low half and perm[j] + 16 in the high half, perm = 0,8,1,9,...,7,15;
 *                        bit t is component 4 group + t), float add[32], float factor[32]
 *   array 2   int8       a block a chunk: rows x D bytes, r8 + 128
 *   array 3   factors    a block a chunk: float scale[rows], add[rows], miss[rows] (>= |e|), size[rows] (>= |scale r8| + |e|)
 *
 * Owns:    see each struct.
 * Thread:  a cn_flat is read-only; a cn_scratch belongs to one search at a time.
 * Limits:  those of flat.h. */
#pragma once
#include "engine/flat/flat.h"
#include "engine/flat/rotate.h"
#include "engine/kernels/kernels.h"

#define CN_CHUNK_ROWS 16384u
#define CN_BATCH 64u              /* rows scored together */
#define CN_ROUNDING 0x1p-14f      /* times (|row| + |query| + 2 |mean|)^2: more than all rounding of rotation, codes and score */
#define CN_NORM_MAX 1e12f         /* longer vectors, or none at all, are scanned as they are */

static inline float cn_maxf(float a, float b) { return a > b ? a : b; }
static inline float cn_minf(float a, float b) { return a < b ? a : b; }

enum { CN_FLAT_ARRAY_HEAD, CN_FLAT_ARRAY_BITS, CN_FLAT_ARRAY_INT8, CN_FLAT_ARRAY_FACTORS };

typedef struct cn_flat_head {
    char magic[8];                /* "cnflat02" */
    uint32_t dim, padded, planes; /* planes 0: no codes, for the rows are too few, or too long or short for floats */
    uint32_t rows;
    float norm;                   /* >= |row| + |mean| of every row */
    float spread;                 /* the few-bit estimate's deviation is factor |p| spread */
    uint8_t zero[32];
} cn_flat_head;
_Static_assert(sizeof(cn_flat_head) == 64, "drawn above");

typedef struct cn_flat_chunk {
    const uint8_t *bits, *int8;
    const float *scale, *add, *miss, *size;
} cn_flat_chunk;

struct cn_flat {
    cn_vecs v;
    cn_space space;
    cn_rotation rotation;         /* .signs NULL: no codes */
    cn_flat_head head;
    float mean_norm;
    uint32_t n_chunks;
    cn_flat_chunk chunk[];        /* borrowed */
};

struct cn_scratch {
    cn_top top;
    float *p;                     /* CN_PADDED_MAX: the query, rotated */
    int8_t *p8;                   /* CN_PADDED_MAX */
    uint8_t *lut;                 /* 4 x CN_PADDED_MAX */
    float qq;                     /* |query|^2 */
    float base;
    float p_norm, p_miss, p_scale;/* |p|, >= |p - p_scale p8|, the step of p8 */
    int32_t p8_sum;
    float lut_scale, lut_shift;   /* <p, u> = sum of table entries x lut_scale + lut_shift */
    uint32_t n;                   /* rows waiting to be scored */
    uint32_t row[CN_BATCH];
    const float *at[CN_BATCH];
};

/* --- rows and queries into the space --- */
/* to: padded floats. Returns the float norm of x; writes x (normalised for cosine) minus the mean, rotated. */
float cn_into_space(const cn_space *sp, const cn_rotation *r, const float *x, float *to);
/* Everything of a query that the scans need of `f`'s codes. */
void cn_query_prepare(const cn_flat *f, const float *q, cn_scratch *s);

/* --- codes --- */
typedef struct cn_code {
    float add, factor, spread;    /* few bits */
    float scale, miss, size;      /* int8 */
} cn_code;
/* r: padded floats, which it scales; room: as many. bits: 2 bits a component at most, c = (u + 2^planes - 1) / 2; int8: r8 + 128
 * (NULL: few bits alone). `add` is the caller's. */
cn_code cn_encode(float *r, uint32_t padded, uint32_t planes, float *room, uint8_t *bits, uint8_t *int8);
uint32_t cn_planes_for(uint32_t dim);
static inline size_t cn_code_block_bytes(const cn_flat_head *h) { return (size_t)h->planes * 4 * h->padded + 8 * CN_FASTSCAN_ROWS; }
void cn_code_put(uint8_t *block, const cn_flat_head *h, uint32_t row, const uint8_t *bits, const cn_code *c);

/* --- scores --- */
/* Of n <= CN_BATCH rows, as cn_score() gives them; qq is cn_norm2(q). */
void cn_scores(cn_metric metric, const float *q, float qq, const float *const *rows, uint32_t dim, uint32_t n, float *ret);
float cn_norm2(const float *q, uint32_t dim);

/* --- scans --- */
bool cn_scan_codes(const cn_flat *f, const cn_scan *q); /* are its rows so many that codes pay? */
/* Makes s ready for q. *ret_coded: codes pay, and the query is prepared for them; else q is best served by the rows as they are. */
cn_err cn_scan_begin(const cn_flat *f, const cn_scan *q, cn_scratch *s, bool *ret_coded);

/* No row's float score is over  base + add + scale x row scale x <p8, r8> + p_norm x miss + p_miss x size:
 * <p, r> = <p, kept r> + <p, e>, the second at most |p| |e|; the first is <kept p, kept r> plus at most |p's e| |kept r|. */
typedef struct cn_bound {
    float base, scale, p_norm, p_miss;
    int32_t shift; /* what the 128 in each byte of a row adds to the sum */
} cn_bound;
cn_bound cn_bound_of(const cn_flat *f, const cn_scratch *s);
/* What cn_bound_most() reads of a row, on its way to the processor while the products are made. */
static inline void cn_bound_fetch(const cn_flat_chunk *c, uint32_t i) {
    __builtin_prefetch(c->add + i);
    __builtin_prefetch(c->scale + i);
    __builtin_prefetch(c->miss + i);
    __builtin_prefetch(c->size + i);
}
/* i: the row's place in its chunk; dot: u8dots of it. */
static inline float cn_bound_most(const cn_bound *b, const cn_flat_chunk *c, uint32_t i, int32_t dot) {
    return b->base + c->add[i] + b->scale * c->scale[i] * (float)(dot - b->shift) + b->p_norm * c->miss[i] + b->p_miss * c->size[i];
}
