/* inside.h -- what the files of this folder share: one cn_source.
 *
 *   source.c   paths, folders, globs, standard input: which file comes next
 *   file.c     one file: a document, or rows
 *   stream.c   the rows of a file: JSON Lines, CSV, vectors
 *   describe.c what is said of a document: rules, --label, sidecars, front matter
 * Owns:    as source.h says.
 * Thread:  one at a time.
 * Limits:  those of source.h. */
#pragma once
#include "ingest/source/csv.h"
#include "ingest/source/row.h"
#include "ingest/source/source.h"
#include "ingest/source/vectors.h"
#include "ingest/source/walk.h"

typedef struct cn_label_rule {
    cn_str glob;
    cn_labels labels;
} cn_label_rule;

struct cn_source {
    cn_source_opts o;
    cn_arena own;              /* rules, names */
    cn_label_rule *rules;
    uint32_t next_path;
    cn_walk *walk;             /* the folder being walked, or NULL */
    cn_str glob;               /* only files below the folder that fit it; empty: all */
    cn_input *in;              /* the file of rows being read, or NULL */
    cn_format format;          /* of in */
    char name[4200];           /* of in, for messages */
    cn_vector_file vectors;
    cn_csv csv;
    cn_input *rows;            /* --rows */
    cn_unpacker *unpacker;     /* that waits for the next packed file, or NULL */
    uint64_t row;              /* of vectors, over all files */
    uint32_t dim;
    bool more;                 /* what was opened holds documents: they come next */
    bool in_folder;            /* in was met in a folder: what is wrong with it costs that file only */
    uint64_t done;             /* bytes of what is closed */
    uint64_t all, docs;
    cn_row_reader reader;
};

/* This document cannot be read: the stream goes on, with the reason that was recorded last. */
cn_err cn_raw_reject(cn_err code, cn_arena *a, cn_raw *raw);
/* CN_OK stays. What is wrong with one file or row costs that one; that memory is out is no fault of its, and an error. */
cn_err cn_raw_settle(cn_err e, cn_arena *a, cn_raw *raw);
cn_err cn_raw_name(cn_arena *a, const char *id, cn_raw *raw);

/* describe.c */
cn_err cn_rules_parse(cn_source *s);
/* What the row itself does not say about who may read it, a rule says, or --label. */
void cn_labels_add(const cn_source *s, bool allow_set, cn_raw *raw);
void cn_labels_take(const cn_row *row, cn_raw *raw);
cn_err cn_file_describe(cn_source *s, const cn_walk_item *f, cn_arena *a, cn_raw *raw);

/* file.c: takes f->fd over; what is wrong with it is in raw, or is an error where the file stands alone. */
cn_err cn_file_take(cn_source *s, const cn_walk_item *f, cn_arena *a, cn_raw *raw);
/* All that is in it as one document; in stays open. */
cn_err cn_file_whole(cn_source *s, const cn_walk_item *f, cn_input *in, cn_format format, cn_arena *a, cn_raw *raw);
bool cn_file_is_sidecar(const cn_walk_item *f);

/* stream.c */
bool cn_format_is_rows(cn_format f);
/* in stays open in s, also on failure, until cn_stream_stop(). */
cn_err cn_stream_start(cn_source *s, cn_input *in, cn_format format);
void cn_stream_stop(cn_source *s);
/* What is wrong with all of the file ends the job: it was named by itself, and was not merely cut off behind rows that are
 * sound by themselves. */
bool cn_stream_stands_alone(const cn_source *s);
cn_err cn_stream_next(cn_source *s, cn_arena *a, cn_raw *raw); /* CN_OK with s->more set: the file is at its end */
