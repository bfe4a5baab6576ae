/* types.h -- the words of DESIGN.md section 1 as C: documents, chunks, labels, keys of documents, recipes, actors.
 *
 * Owns:    nothing here owns anything: every pointer is borrowed from whoever filled the struct.
 * Thread:  any.
 * Limits:  the CN_..._MAX below; whatever comes from outside is checked against them before it is kept. */
#pragma once
#include "engine/base/digest.h"
#include "engine/base/error.h"
#include "engine/base/str.h"
#include "engine/flat/flat.h"

#define CN_NAME_MAX 64            /* tenant, index, source, model: [a-z0-9][a-z0-9._-]* */
#define CN_DOC_ID_MAX 4096
#define CN_TITLE_MAX 4096
#define CN_URI_MAX 4096
#define CN_LABEL_MAX 256
#define CN_LABELS_MAX 1024        /* of one document, in each of allow, deny, require */
#define CN_META_MAX 65536         /* bytes of one document's metadata */
#define CN_TEXT_MAX (1u << 30)    /* bytes of one document's extracted text */
#define CN_OUTLINE_MAX (16u << 20)
#define CN_CHUNKS_MAX (1u << 20)  /* of one document */
#define CN_REASON_MAX 1024
#define CN_SEGMENT_ROWS_MAX (1u << 24)
#define CN_NO_TIME INT64_MIN

cn_err cn_name_check(cn_str name, const char *what);   /* "tenant", "index", "source", "model" */

/* (source, id) as one key: SHA-256 of both, each with its length. */
typedef cn_digest cn_key;
cn_key cn_key_of(cn_str source, cn_str id);
/* Its first bits, 32 at most. */
static inline uint32_t cn_key_bucket(const cn_key *k, unsigned bits) {
    uint32_t head = (uint32_t)k->b[0] << 24 | (uint32_t)k->b[1] << 16 | (uint32_t)k->b[2] << 8 | k->b[3];
    return bits ? head >> (32 - bits) : 0;
}

/* Sorted by cn_str_cmp, each once. */
typedef struct cn_labels {
    const cn_str *v;
    uint32_t n;
} cn_labels;

/* Who asks: every label that was verified, and those of them the question is asked with. A denial counts against `holds`, so
 * asking with fewer labels never shows more. */
typedef struct cn_principal {
    cn_labels holds, asks;
} cn_principal;

typedef struct cn_triple {
    cn_labels allow, deny, require;
} cn_triple;

typedef struct cn_chunk {
    uint64_t from, to;     /* bytes of the document's extracted text */
    uint32_t page;         /* from 1; 0: none */
    cn_str headings;       /* outermost first, one a line ('\n' between) */
    const float *vector;   /* dim floats as given; NULL where the index has none */
    const cn_digest *vector_sha; /* SHA-256 of the vector's bytes, from whoever has it already; NULL: the leaf makes it */
} cn_chunk;

typedef struct cn_doc {
    cn_str source, id, title, uri;
    cn_str mime;           /* what was read: "text/html" */
    int64_t modified;      /* microseconds since 1970, CN_NO_TIME: unknown */
    cn_digest content;     /* of the document's bytes as brought (and its title, uri, given vectors): unchanged <=> equal */
    cn_digest row;         /* of content, labels and metadata: what the source said in all */
    cn_triple labels;
    cn_str meta;           /* one MessagePack map, keys sorted: strings, numbers, booleans, lists of strings; may be empty */
    cn_str text;           /* extracted, UTF-8; chunks are ranges of it */
    cn_str outline;        /* what a chunker needs of the text's structure, packed by ingest; opaque here, in no digest; may be empty */
    const cn_chunk *chunks;
    uint32_t n_chunks;
} cn_doc;

/* What made a version's rows and how they are compared; part of its root. Encoded as one MessagePack map of strings and
 * numbers with sorted keys; equal bytes <=> equal recipe. */
typedef struct cn_recipe {
    cn_str embedder;            /* name of the model, "none" */
    cn_digest embedder_digest;  /* weights, tokenizer, pooling, precision, BLAS core; zero for none */
    cn_str precision;           /* "fp32", "int8"; "" for none */
    cn_str parser, normaliser, chunker, analyser;   /* each with its settings and version: "structure/1 tokens=200 overlap=32" */
    cn_metric metric;
    uint32_t dim;               /* 0: no vectors yet */
    cn_digest weights;          /* of a model's files, whatever computes with them; no part of the root. Zero: not known, or embedder_digest says it */
} cn_recipe;

/* Who does something, for the audit chain. */
typedef struct cn_actor {
    cn_str who;     /* "uid:0(root)", "key:ab12cd34", "user:ana" */
    cn_str via;     /* "command", "rpc" */
    cn_str reason;  /* may be empty */
} cn_actor;
/* The reason as the value of a pair in a line of the log, which it can neither end nor add another pair to. */
#define CN_REASON_LOGGED 512
const char *cn_reason_logged(const cn_actor *who, char text[CN_REASON_LOGGED]);
