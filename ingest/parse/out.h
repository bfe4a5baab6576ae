/* out.h -- what the parsers write to: a document's text, block by block.
 *
 * A parser opens a block with its kind, adds text to it and ends it; white space is collapsed unless the block keeps it.
 * Each finished block is put into the normal form, and blocks are parted by one blank line; empty ones vanish.
 * Owns:    its buffers, until cn_out_done().
 * Thread:  one at a time.
 * Limits:  CN_TEXT_MAX of text, CN_BLOCKS_MAX blocks; past the latter the rest joins the last block. */
#pragma once
#include "engine/base/buf.h"
#include "ingest/parse/parse.h"

#define CN_BLOCKS_MAX 1000000u

typedef struct cn_out {
    cn_buf text, title, front;
    cn_block *blocks;
    uint32_t n, room;
    uint32_t page;         /* of blocks to come */
    size_t from;           /* where the block being written starts in text */
    bool open, keep, space;/* a block is open; it keeps white space; a space is due before the next word */
    uint8_t kind, level;
    bool failed;           /* no memory for blocks */
} cn_out;

void cn_out_init(cn_out *o);
void cn_out_done(cn_out *o);
void cn_out_begin(cn_out *o, cn_block_kind kind, unsigned level, bool keep); /* ends the one before */
void cn_out_add(cn_out *o, cn_str s);  /* into the open block; opens a paragraph when none is */
void cn_out_line(cn_out *o);           /* a line break inside the block */
void cn_out_tab(cn_out *o);            /* between the cells of a row */
void cn_out_end(cn_out *o);
/* Ends the last block and copies all into the arena. */
cn_err cn_out_finish(cn_out *o, cn_arena *a, cn_parsed *ret);
#define CN_AUTO_OUT __attribute__((cleanup(cn_out_done)))

/* --- the parsers, each on valid UTF-8 unless said otherwise --- */
cn_err cn_parse_text(cn_str utf8, bool pages, cn_arena *a, cn_parsed *ret); /* pages: form feeds part them */
cn_err cn_parse_html(cn_str utf8, cn_out *o);
cn_err cn_parse_md(cn_str utf8, cn_out *o);
cn_err cn_parse_docx(cn_str bytes, cn_out *o);
cn_err cn_parse_odt(cn_str bytes, cn_out *o);
cn_err cn_parse_epub(cn_str bytes, cn_out *o);
cn_err cn_parse_pdf(cn_str bytes, cn_arena *a, cn_parsed *ret);             /* runs pdftotext */
