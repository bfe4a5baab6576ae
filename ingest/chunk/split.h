/* split.h -- text to the small stretches that chunks are made of: sentences, lines or words, with their tokens counted.
 *
 * Works through a text in slices of CN_SLICE bytes, so that its memory does not grow with the text.
 * Owns:    nothing; each stretch is handed to a function.
 * Thread:  one at a time.
 * Limits:  a stretch never costs more than `most`. */
#pragma once
#include "ingest/embed/embed.h"

#define CN_SLICE 65536
#define CN_TOKEN_BYTES 256 /* a longer token counts for several, so that a budget bounds bytes too */

typedef enum cn_rank { CN_RANK_INSIDE, CN_RANK_SENTENCE, CN_RANK_BLOCK } cn_rank; /* how good it is to begin here */

typedef struct cn_atom {
    uint64_t from, to; /* bytes of the text, without white space at the ends */
    uint32_t cost;     /* tokens */
    uint32_t page;
    cn_rank rank;      /* what begins with it */
    bool whole;        /* code or rows: nothing of it is repeated as overlap */
} cn_atom;

typedef cn_err cn_atom_fn(void *ctx, const cn_atom *a);
typedef enum cn_split_kind { CN_SPLIT_PROSE, CN_SPLIT_LINES, CN_SPLIT_WORDS } cn_split_kind;

typedef struct cn_splitter {
    cn_embedder *e;    /* NULL: words are counted */
    cn_str text;
    cn_arena *scratch; /* reset at each slice */
    uint32_t unit;     /* sentences are handed on in stretches of at most so many tokens */
    uint32_t most;     /* no stretch may cost more: words that do are cut */
    cn_atom_fn *fn;
    void *ctx;
} cn_splitter;

/* Hands on the stretches of text[from..to) in order. */
cn_err cn_split(const cn_splitter *s, cn_split_kind kind, uint64_t from, uint64_t to, uint32_t page);
/* Tokens of text[from..to); stops counting past `enough`. */
cn_err cn_split_count(const cn_splitter *s, uint64_t from, uint64_t to, uint32_t enough, uint32_t *ret);
/* Takes white space off both ends of text[*from..*to). */
void cn_trim(cn_str text, uint64_t *from, uint64_t *to);
