/* source.h -- where documents come from: files, folders, globs, standard input, JSON Lines, CSV, BEIR folders, vectors
 * made elsewhere; each also as .gz or .zst. One stream of cn_raw, in a fixed order.
 *
 * Owns:    cn_source owns open files; a cn_raw's strings live in the arena given to next.
 * Thread:  one at a time.
 * Limits:  a JSON line of at most 256 MiB; links that lead out of a folder are refused, corpus.jsonl may be none at all. */
#pragma once
#include "engine/base/pack.h"
#include "ingest/parse/parse.h"

enum { CN_TRUST_SIDECAR = 1, CN_TRUST_FRONT_MATTER = 2 };

typedef struct cn_source_opts {
    const char *const *paths;   /* "-": standard input; a glob ('docs/' and then '*' or '**' parts): files below its folder */
    uint32_t n_paths;
    cn_str source;              /* name; "default" */
    cn_format format;           /* CN_FMT_AUTO: by name and content */
    cn_str map;                 /* "id=key,text=body": which field of a row is which */
    const char *rows;           /* --rows FILE.jsonl for vectors; NULL */
    cn_labels labels;           /* --label */
    const cn_str *label_rules;  /* --label-rule 'GLOB=L,L' in order; the first that fits counts */
    uint32_t n_label_rules;
    bool rooted;                /* paths and rows are a stranger's words: only what lies below one of roots, no links on the way */
    const cn_str *roots;        /* absolute paths of folders */
    uint32_t n_roots;
    unsigned trust;
    uint32_t dim;               /* of vectors in rows; 0: the first row's */
    cn_metric metric;
} cn_source_opts;

typedef enum cn_op { CN_OP_PUT, CN_OP_DELETE, CN_OP_RELABEL } cn_op;

typedef struct cn_raw {
    cn_op op;
    cn_str id, title, uri;
    cn_str where;         /* "corpus.jsonl:12": for messages */
    cn_format format;     /* of bytes; CN_FMT_TEXT for a row's text */
    cn_str bytes;         /* a file's content or a row's text */
    const float *vector;  /* one row, one chunk; NULL */
    uint32_t dim;
    int64_t modified;
    cn_triple labels;
    bool labelled;        /* by a row, rule, --label, or trusted word */
    cn_str meta;          /* packed, keys sorted */
    cn_err err;           /* not CN_OK: this one cannot be read; why says so; the stream goes on */
    cn_str why;
    bool many;            /* with err: a file of rows, of which those behind this place are not known */
    bool skipped;         /* with err: a file in a folder that is no document (a picture, a script), and need not be one */
} cn_raw;

typedef struct cn_source cn_source;
cn_err cn_source_open(const cn_source_opts *o, cn_source **ret);
void cn_source_close(cn_source *s);
/* CN_DENIED or another error when o->rooted and there is nothing at path that may be opened; globs by their folder. */
cn_err cn_source_may_read(const cn_source_opts *o, const char *path);
/* CN_OK with the next; CN_END at the end; another error stops the whole job (a folder that cannot be listed). */
cn_err cn_source_next(cn_source *s, cn_arena *a, cn_raw *ret);
/* For progress: bytes read so far and in all (0: unknown); documents in all (0: unknown). */
void cn_source_progress(const cn_source *s, uint64_t *ret_done, uint64_t *ret_bytes, uint64_t *ret_docs);
/* The words of a document that did not come by a source (documents.put) as a row would have them: UTF-8, an id and a uri
 * without control characters, a title in its normal form. CN_INVALID names the field. */
cn_err cn_raw_tidy(cn_arena *a, cn_raw *raw);
/* A map of metadata from elsewhere (documents.put), checked (flat: strings, numbers, booleans, lists of strings; nil is left
 * out) and packed as cn_raw.meta is. CN_INVALID names the key. */
cn_err cn_raw_meta(cn_arena *a, const msgpack_object *map, cn_str *ret);
