/* oracle.h -- a second, naive statement of what cairn must answer, written apart from it: documents as plain structs,
 * labels as bits of a word, a filter as a small tree, search as a loop over everything and a sort.
 *
 * Owns:    o_filter trees are freed by o_filter_free(); an o_world by o_world_done().
 * Thread:  one at a time.
 * Limits:  O_LABELS labels, O_DIM_MAX dimensions; for tests only. */
#pragma once
#include <stdint.h>

#include "engine/base/pack.h"
#include "index/types.h"

typedef struct o_rand {
    uint64_t s;
} o_rand;
uint64_t o_next(o_rand *r);
uint32_t o_below(o_rand *r, uint32_t n);      /* 0 .. n-1 */
bool o_chance(o_rand *r, uint32_t percent);

/* ---------- documents ---------- */
#define O_LABELS 10
#define O_DIM_MAX 32
#define O_CHUNKS_MAX 5
extern const char *const o_label_name[O_LABELS]; /* sorted by bytes */
extern const char *const o_lang_name[4];
extern const char *const o_tag_name[4];

typedef struct o_doc {
    char source[16], id[32];
    uint32_t allow, deny, require;  /* bits of o_label_name */
    int lang;                       /* -1: no such field */
    int64_t year;                   /* 0: no such field */
    uint32_t tags;                  /* 0: no such field */
    int draft;                      /* -1: no such field */
    double rating;                  /* < 0: no such field */
    int day;                        /* of January 2024, `modified`; 0: unknown */
    uint32_t chunks;
    float vec[O_CHUNKS_MAX][O_DIM_MAX];
} o_doc;

void o_doc_random(o_rand *r, uint32_t dim, o_doc *d); /* all but source and id */
void o_doc_meta(const o_doc *d, cn_buf *out);         /* as ingest would pack it */
int64_t o_doc_modified(const o_doc *d);

/* ---------- filters ---------- */
enum o_field { O_LANG, O_YEAR, O_TAGS, O_DRAFT, O_RATING, O_MODIFIED, O_SOURCE, O_ID, O_MISSING, O_FIELDS };
enum o_op { O_EQ, O_NE, O_GT, O_GTE, O_LT, O_LTE, O_IN, O_EXISTS, O_AND, O_OR, O_NOT, O_OPS };
typedef struct o_value {
    char kind;   /* 's', 'i', 'f', 'b', 'd' (a day of January 2024) */
    char s[32];
    int64_t i;
    double f;
} o_value;
typedef struct o_filter {
    enum o_op op;
    enum o_field field;
    uint32_t n;
    o_value v[3];
    struct o_filter *child[3];
} o_filter;

o_filter *o_filter_random(o_rand *r, int depth);
void o_filter_free(o_filter *f);
void o_filter_text(const o_filter *f, cn_buf *out);
void o_filter_map(const o_filter *f, cn_buf *out);
bool o_filter_match(const o_filter *f, const o_doc *d);
