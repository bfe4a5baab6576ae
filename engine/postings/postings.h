/* postings.h -- which rows hold which terms, and the best rows of a question by BM25.
 *
 * A term is some bytes, a row a number; whoever builds says how often a term stands in a row and how long the row is.
 *   score(row) = sum over the question's terms of  weight * tf / (tf + k1 * (1 - b + b * length / mean))
 * (Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009). Weights and the mean are the
 * caller's, from counts over the rows that may be seen: cn_postings_count(), cn_postings_tokens().
 * Search is by windows of rows: MaxScore (Turtle and Flood 1995) with the maxima of blocks (Ding and Suel 2011). A score is
 * always summed in the order of the question's terms, so it is the same whatever was passed over.
 * Owns:    cn_postings owns what it allocates at open; the arrays are borrowed and must outlive it.
 * Thread:  an open cn_postings is read by any number of threads; a scratch or a builder belongs to one at a time.
 * Limits:  CN_TERM_MAX bytes a term, CN_TERMS_MAX terms a question, a term counts at most 16,383 times in a row. A builder
 *          holds about 100 MB, whatever the number of rows. */
#pragma once
#include "engine/base/arrays.h"
#include "engine/base/str.h"
#include "engine/base/top.h"

#define CN_POSTINGS_KIND "postings"
#define CN_POSTINGS_KIND_2 "postings2" /* of another analyser */
#define CN_POSTINGS_FORMAT 1
#define CN_TERM_MAX 64
#define CN_TERMS_MAX 1024

/* ---------- building: rows in their order, then the end ---------- */
typedef struct cn_postings_build cn_postings_build;
/* What is put with array numbers under 16 is this file's. */
cn_err cn_postings_begin(cn_put_array *put, void *ctx, cn_postings_build **ret);
/* The row at hand holds the term `times` more; `length` is added to the row's length. */
cn_err cn_postings_add(cn_postings_build *b, cn_str term, uint32_t times, uint32_t length);
cn_err cn_postings_next_row(cn_postings_build *b);
/* Writes what is left. The same rows give the same bytes. */
cn_err cn_postings_end(cn_postings_build *b);
void cn_postings_free(cn_postings_build *b); /* NULL is fine */

/* ---------- reading ---------- */
typedef struct cn_postings cn_postings;
/* rows: as many as were built. Sizes and headers are checked; CN_DAMAGED if wrong. */
cn_err cn_postings_open(uint32_t rows, cn_get_array *get, void *ctx, cn_postings **ret);
void cn_postings_close(cn_postings *p); /* NULL is fine */
/* Everything: terms in order, every posting within its rows, lengths, counts and maxima. CN_DAMAGED with the reason. */
cn_err cn_postings_validate(const cn_postings *p);

/* Rows that may be seen: a bit a row, ceil(rows / 64) words; never NULL: there is no unfiltered form. */
typedef struct cn_row_set {
    const uint64_t *bits;
    uint32_t n; /* bits set */
} cn_row_set;

/* The sum of the lengths of these rows. */
uint64_t cn_postings_tokens(const cn_postings *p, cn_row_set rows);
/* How many of these rows hold the term. */
cn_err cn_postings_count(const cn_postings *p, cn_str term, cn_row_set rows, uint32_t *ret);
/* Calls fn for each term that begins so, and says in how many of these rows it stands: also in none, so that fn can look at the
 * time. A term may come several times, its rows then add up; it is fn's only during the call. What fn returns other than CN_OK
 * ends it. */
typedef cn_err cn_begun_fn(void *ctx, cn_str term, uint32_t rows);
cn_err cn_postings_begun(const cn_postings *p, cn_str beginning, cn_row_set rows, cn_begun_fn *fn, void *ctx);

typedef struct cn_wanted {
    cn_str term;
    float weight;              /* over 0 */
    bool must;                 /* a row without it is no hit */
    bool joins;                /* it is one with the term before it, whose weight it has: what both stand for counts together */
} cn_wanted;

typedef struct cn_lookup {
    const cn_wanted *terms;    /* each once; those that join others, and the first of such a group, may repeat others */
    uint32_t n;
    float k1, b, mean;         /* mean: length of a row; over 0 */
    uint32_t k;
    float floor;               /* rows that score less need not be found; -INFINITY: none */
    cn_row_set permitted;
    const uint32_t *rank;      /* of each row in the order of ties; NULL: the row number */
    bool (*stop)(void *ctx);   /* asked now and then; true: give up with CN_DEADLINE; NULL: never */
    void *stop_ctx;
    /* Asked of a row that would be among the best so far: is it a hit? NULL: each is. */
    cn_err (*fits)(void *ctx, uint32_t row, bool *ret);
    void *fits_ctx;
} cn_lookup;

typedef struct cn_lookup_scratch cn_lookup_scratch; /* grows to what the largest search needs, then allocates nothing */
cn_err cn_lookup_scratch_new(cn_lookup_scratch **ret);
void cn_lookup_scratch_free(cn_lookup_scratch *s);

/* The best k permitted rows that hold a term at least, all those they must, and fit; best first, ties by rank. hits has room for k; *ret_n <= k. */
cn_err cn_postings_search(const cn_postings *p, const cn_lookup *q, cn_lookup_scratch *s, cn_scored *hits, uint32_t *ret_n);
