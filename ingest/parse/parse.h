/* parse.h -- a document's bytes to plain text with its structure, in restricted worker processes.
 *
 * Formats: text, Markdown (md4c), HTML (libxml2, push SAX), PDF (pdftotext as a child), DOCX, ODT, EPUB (libarchive and
 * libxml2). A worker is exec'd from /proc/self/exe with limits, landlock and seccomp; a crash, a runaway or a bomb costs
 * that one document, never the job.
 * Owns:    cn_parser owns its workers; results live in the arena given.
 * Thread:  any may call cn_parse(); each call takes a free worker or waits for one.
 * Limits:  CN_PARSE_BYTES_MAX of input, CN_TEXT_MAX of text, 60 s, 512 MiB of memory, 1,000,000 blocks. */
#pragma once
#include "engine/base/arena.h"
#include "index/types.h"

#define CN_PARSE_BYTES_MAX ((uint64_t)1 << 30)
#define CN_PARSE_SECONDS 60

typedef enum cn_format {
    CN_FMT_AUTO, CN_FMT_TEXT, CN_FMT_MD, CN_FMT_HTML, CN_FMT_PDF, CN_FMT_DOCX, CN_FMT_ODT, CN_FMT_EPUB,
    CN_FMT_JSONL, CN_FMT_CSV, CN_FMT_BEIR, CN_FMT_NPY, CN_FMT_FVECS, CN_FMT_FBIN, CN_FMT_COUNT
} cn_format;
const char *cn_format_name(cn_format f);
cn_err cn_format_parse(cn_str name, cn_format *ret);
/* By name and first bytes; CN_FMT_AUTO when it is none we read (a picture, a program). */
cn_format cn_format_guess(cn_str name, cn_str head);
const char *cn_format_mime(cn_format f);
/* "html/1", ... all in one: what the recipe calls parser. Changes when any parser's output changes. */
const char *cn_parser_version(void);
const char *cn_normaliser_version(void);
bool cn_parse_takes_pdf(void); /* false: this kernel cannot lock pdftotext in */

typedef enum cn_block_kind { CN_BLOCK_PARA, CN_BLOCK_HEADING, CN_BLOCK_ITEM, CN_BLOCK_CODE, CN_BLOCK_ROW, CN_BLOCK_QUOTE } cn_block_kind;

typedef struct cn_block {  /* in order, not overlapping; text between blocks is white space */
    uint64_t from, to;     /* bytes of text */
    uint32_t page;         /* from 1; 0: the format has none */
    uint8_t kind, level;   /* level: of a heading, 1 to 6 */
} cn_block;

typedef struct cn_parsed {
    cn_str text;           /* UTF-8, NFC, LF, no control characters but LF and TAB; blocks parted by blank lines */
    cn_str title;          /* may be empty */
    cn_str front;          /* Markdown front matter or an empty string: the author's word, trusted only when asked */
    const cn_block *blocks;
    uint32_t n_blocks;
} cn_parsed;

typedef struct cn_parser cn_parser;
cn_err cn_parser_new(unsigned workers, cn_parser **ret);
void cn_parser_free(cn_parser *p);
/* CN_INVALID: what is wrong with this document ("a PDF without text: scanned?"); CN_DEADLINE; CN_UNAVAILABLE: a tool is missing. */
cn_err cn_parse(cn_parser *p, cn_format f, cn_str bytes, cn_arena *a, cn_parsed *ret);
/* In this process, without a worker: for the worker itself, fuzzers, and text that is already clean. */
cn_err cn_parse_here(cn_format f, cn_str bytes, cn_arena *a, cn_parsed *ret);

/* First thing in main() of every program that parses: when this process is a worker it serves and never returns. */
void cn_parse_worker_main(int argc, char **argv);
