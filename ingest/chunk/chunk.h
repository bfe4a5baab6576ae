/* chunk.h -- a parsed document to passages: by structure, by fixed tokens, or whole.
 *
 *   structure [tokens=N] [overlap=N]   headings, paragraphs and sentences up to the budget (default)
 *   fixed     [tokens=N] [overlap=N]   windows of N tokens
 *   document                           one chunk; refused when it is over the model's limit
 * The budget, `tokens`, is that of what is embedded: the path of headings (it begins with the title where that is no
 * heading; outer ones are left out past a third of the budget) and the passage. `fixed` and `document` have the title
 * alone as their path. No word is cut unless it is over the budget by itself.
 * Owns:    results live in the arena given.
 * Thread:  any.
 * Limits:  a chunk never exceeds the budget, and the budget never the model's limit; CN_CHUNKS_MAX a document. */
#pragma once
#include "ingest/embed/embed.h"
#include "ingest/parse/parse.h"

typedef enum cn_chunker_kind { CN_CHUNK_STRUCTURE, CN_CHUNK_FIXED, CN_CHUNK_DOCUMENT } cn_chunker_kind;
typedef struct cn_chunker {
    cn_chunker_kind kind;
    uint32_t tokens, overlap;
} cn_chunker;

/* max_tokens: the model's limit for text (without its special tokens); 0: none. CN_INVALID says what may be written. */
cn_err cn_chunker_parse(cn_str text, uint32_t max_tokens, cn_chunker *ret);
/* The canonical form with the algorithm's version, for the recipe: "structure/1 tokens=200 overlap=32". */
void cn_chunker_text(const cn_chunker *c, char text[96]);
/* A recipe's chunker as a user would write it: "structure tokens=200 overlap=32". */
cn_err cn_chunker_words(cn_str text, cn_arena *a, cn_str *ret);
/* Chunks without vectors, in order; those of one section may overlap. e may be NULL (words are counted). CN_INVALID: over
 * CN_CHUNKS_MAX chunks, or a `document` over the model's limit. */
cn_err cn_chunk_document(const cn_chunker *c, cn_embedder *e, const cn_parsed *doc, cn_arena *a, cn_chunk **ret, uint32_t *ret_n);
/* What to embed for a chunk of the document's text: heading path, a line break and passage. .p is NULL without memory. */
cn_str cn_chunk_embed_text(const cn_chunk *c, cn_str text, cn_arena *a);
