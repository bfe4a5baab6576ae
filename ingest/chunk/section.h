/* section.h -- a document's blocks to sections, each under its path of headings, and these to chunks.
 *
 * A heading is in the path of all that stands under it and in no passage; one with nothing under it is a passage of its
 * own. The path begins with the document's title, unless that is the first heading anyway. It counts in the budget and
 * takes at most a third of it: outer headings are left out first.
 * Owns:    its packer and scratch memory; paths lie in the arena given.
 * Thread:  one at a time.
 * Limits:  CN_HEADING_BYTES of a heading, CN_HEADING_LEVELS levels. */
#pragma once
#include "ingest/chunk/chunk.h"
#include "ingest/chunk/pack.h"

#define CN_HEADING_BYTES 400
#define CN_HEADING_LEVELS 8

typedef struct cn_heading {
    cn_str text;   /* one line, cut */
    uint32_t cost;
    uint8_t level; /* 0: the title */
} cn_heading;

typedef struct cn_sections {
    const cn_parsed *doc;
    uint32_t tokens, overlap;
    cn_splitter split;
    cn_packer pack;
    cn_arena scratch, *keep;
    cn_chunk_list *out;
    cn_heading stack[CN_HEADING_LEVELS];
    uint32_t n_stack;
    cn_str path;
    uint32_t path_cost;
} cn_sections;

/* Sets the path to the title. cn_sections_done() is due after a failure too. */
cn_err cn_sections_init(cn_sections *s, const cn_chunker *c, cn_embedder *e, const cn_parsed *doc, cn_arena *keep, cn_chunk_list *out);
cn_err cn_sections_run(cn_sections *s);
void cn_sections_done(cn_sections *s);
