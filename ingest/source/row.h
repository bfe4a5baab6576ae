/* row.h -- one row of JSON Lines or CSV, or one sidecar, to the fields of a document.
 *
 * Owns:    cn_row_reader owns its scratch memory; a row's strings live in the arena given.
 * Thread:  one at a time.
 * Limits:  those of index/types.h; errors name the field. */
#pragma once
#include "ingest/source/meta.h"

typedef enum cn_field {
    CN_FIELD_ID, CN_FIELD_TITLE, CN_FIELD_TEXT, CN_FIELD_LABELS, CN_FIELD_DENY, CN_FIELD_REQUIRE, CN_FIELD_META,
    CN_FIELD_URI, CN_FIELD_MODIFIED, CN_FIELD_VECTOR, CN_FIELD_OP, CN_FIELD_COUNT
} cn_field;

/* What each field is called in the rows; a second name counts as well. */
typedef struct cn_fields {
    cn_str name[CN_FIELD_COUNT][2];
    bool mapped[CN_FIELD_COUNT]; /* named by --map */
} cn_fields;
/* map: "id=key,text=body"; "" : the usual names. The names point into map. */
cn_err cn_fields_parse(cn_str map, cn_fields *ret);
int cn_fields_find(const cn_fields *f, cn_str name); /* a cn_field, or -1 */

typedef struct cn_row {
    bool set[CN_FIELD_COUNT];
    cn_str id, title, text, uri, meta;
    cn_triple labels;
    const float *vector;
    uint32_t dim;
    int64_t modified;
    bool remove;              /* op is "delete" */
    cn_str doubt[CN_FIELD_COUNT]; /* of labels: a field that is none and looks like this one */
    bool null_labels;
} cn_row;

typedef struct cn_row_reader {
    cn_fields fields;
    cn_meta meta;
    float floats[CN_DIM_MAX];
    cn_str labels[CN_LABELS_MAX];
} cn_row_reader;

void cn_row_reader_init(cn_row_reader *r, const cn_fields *f);
void cn_row_reader_done(cn_row_reader *r);
/* line: n bytes and a NUL; it is overwritten. */
cn_err cn_row_json(cn_row_reader *r, char *line, size_t n, cn_arena *a, cn_row *ret);
/* --- a row piece by piece: for CSV and front matter, where all is text --- */
void cn_row_start(cn_row_reader *r, cn_row *ret);
/* One field. Of labels, an empty cell says: none. CN_FIELD_META: an object of JSON, whose entries join the others. */
cn_err cn_row_cell(cn_row_reader *r, cn_field f, cn_str value, cn_arena *a, cn_row *row);
cn_err cn_row_labels(cn_row_reader *r, cn_field f, uint32_t n, cn_arena *a, cn_row *row); /* r->labels[0..n) */
/* One entry of metadata; key is borrowed until cn_row_finish(). A number as JSON writes it, true and false are these,
 * unless string; what would not come back as it was written (007, 1.50e) stays a string. */
cn_err cn_row_meta(cn_row_reader *r, cn_str key, cn_str value, bool string);
cn_err cn_row_meta_list(cn_row_reader *r, cn_str key, uint32_t n);                        /* r->labels[0..n) */
/* A field that is none: where it looks like labels and no labels are given, the row is refused when it is finished, and does not
 * get the labels of those that have none. Not of a number or a boolean, nor where --map says which field is meant. */
void cn_row_doubt(const cn_row_reader *r, cn_str key, cn_str value, cn_row *row);
cn_err cn_row_finish(cn_row_reader *r, cn_arena *a, cn_row *row);

cn_err cn_row_check_id(cn_str id); /* length, no control characters */
