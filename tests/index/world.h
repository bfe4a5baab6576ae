/* world.h -- a naive model of a tenant as DESIGN.md sections 7 and 8 word it, and the same tenant for real: each operation is
 * done to both, and their answers are compared. Versions hold a pointer to each document's row; who may see what is worked
 * out anew for each question, straight from the rules.
 *
 * Owns:    w_world owns a data directory under /dev/shm or /tmp, removed by w_close().
 * Thread:  one at a time.
 * Limits:  W_DOCS documents (60, or as the test is built), W_INDEXES indexes, W_VERSIONS versions of each; for tests only. */
#pragma once
#include "index/search/search.h"
#include "tests/index/oracle.h"

#ifndef W_DOCS
#define W_DOCS 60 /* of 1,500 a segment has rows enough for codes, and for cells where tests ask for them */
#endif
#define W_LARGE (W_DOCS > 60)
#define W_FIRST (W_LARGE ? 4 * W_DOCS : 30) /* documents that the first job of an index picks, at most */
#define W_NEXT (W_DOCS / 10)                /* and later ones */
#define W_ROOT (W_DOCS * 2 / 3)             /* ids from there on lie in a folder */
#define W_INDEXES 2
#define W_VERSIONS 1000
#define W_KEEP 2 /* good versions before the active one that gc keeps */
#define W_DIM 8
#define W_GLOBS 5
#define W_MODES 7
#define W_SOURCES 3
#define W_STEPS_MAX 24
#define W_PUBLIC (1u << 6) /* the bit of o_label_name that is public */

typedef struct w_row {
    struct w_row *next;
    o_doc d;
    uint32_t stamp; /* rows are numbered as they are written */
    bool stub;      /* erased, and compaction left nothing but a stub of it */
} w_row;

typedef struct w_version {
    unsigned marks;     /* as cn_version's */
    bool lists[W_DOCS]; /* its revocation list has entries by the rules: of these documents */
    bool in_force;
    uint32_t before; /* where the way back leads from it */
    bool gone_back_to; /* a rollback was its first activation */
    const w_row *row[W_DOCS];
} w_version;

typedef struct w_index {
    char name[16];
    cn_metric metric;
    uint32_t active, n;
    bool hold;
    w_version v[W_VERSIONS + 1]; /* from 1 */
    uint32_t way[W_VERSIONS], n_way; /* those that were ever active, as a responder would line them up: going back is to the left */
} w_index;

typedef struct w_world {
    char dir[64];
    cn_data *data;
    cn_tenant *t;
    o_rand r;
    cn_arena a;
    cn_searcher *searcher;
    w_index ix[W_INDEXES];
    w_row *rows;
    uint32_t stamp;
    uint64_t epoch, records;
    /* the policy */
    uint32_t granted[W_DOCS], denied[W_DOCS];
    bool hidden[W_DOCS], erased[W_DOCS];
    uint32_t dead_before[W_DOCS]; /* rows with a smaller stamp were erased before a restore */
    bool glob_hides[W_GLOBS][W_SOURCES + 1], source_hides[W_SOURCES];
    /* what the test has seen */
    unsigned compacted, stubs; /* files replaced, documents of which nothing else is left */
    unsigned wrong, sealed, refused, questions, hits, hidden_rows, as_members;
    uint64_t wanted[W_MODES], right[W_MODES]; /* hits of the model, and those of them that were found */
    unsigned by_cells; /* questions for which cells were read */
    unsigned repeated, widened; /* hits left out for a text told before, passages that stood around others */
    unsigned done[W_STEPS_MAX]; /* how often each of w_steps was tried */
    /* the directory of members: the labels that each label holds, if it is a member */
    uint32_t member[O_LABELS];
    unsigned explained[CN_V_LACKING + 1]; /* by verdict */
} w_world;

/* The operations, a row each: weight is how often, among the sum of them all. */
typedef struct w_step {
    const char *name;
    uint32_t weight;
    void (*run)(struct w_world *w, w_index *ix);
} w_step;
extern const w_step w_steps[];
extern const unsigned w_n_steps;

/* The modes of a question. least 1: the answer must be the model's, hit by hit; less: so many of them, of all questions together,
 * and each answer as many hits as the model's, all of them permitted, with their true scores and in order. */
typedef struct w_mode {
    const char *name;
    cn_mode mode;
    double recall, least;
} w_mode;
extern const w_mode w_modes[W_MODES];

bool w_open(w_world *w, uint64_t seed);
void w_close(w_world *w);
void w_reopen(w_world *w);
void w_change(w_world *w);   /* one random operation on both */
void w_ask(w_world *w);      /* one random question to both */
void w_look(w_world *w);     /* documents, lists and counts of a random principal */
void w_look_catalog(w_world *w); /* pointer, marks, counts, and a difference of two versions */
typedef struct w_who { /* labels as bits: those held, and those of them that the question is asked with */
    uint32_t holds, asks;
} w_who;
const w_row *w_whole(const w_row *row); /* NULL for a stub: as readers see it */
bool w_permits(const w_world *w, const w_index *ix, uint32_t version, uint32_t doc, w_who who);
w_who w_who_random(w_world *w);
uint32_t w_labels_random(w_world *w);
cn_principal w_principal(cn_arena *a, w_who who);
cn_labels w_labels(cn_arena *a, uint32_t bits);
void w_wrong(w_world *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void w_check(w_world *w, const char *what, cn_err got, cn_err want); /* an answer against the model's, and its audit record */
extern const char *const w_globs[W_GLOBS];
const char *w_source(uint32_t doc);
void w_id(uint32_t doc, char id[32]);
uint32_t w_number(cn_str id); /* the document of this id */
bool w_change_policy(w_world *w, uint32_t n); /* n random changes in one call; false: refused */
void w_change_members(w_world *w);            /* one random change of the directory of members */
uint32_t w_member_holds(const w_world *w, uint32_t label); /* all that the member of this name holds, groups in groups */

/* ---------- words (world_words.c) ---------- */
#define W_WORDS 12
#define W_TEXT 512
#define W_PHRASE 3
typedef struct w_asked {
    char text[128];
    bool operators;
    uint32_t word[4 + W_PHRASE], n;       /* W_WORDS: one that no document has */
    uint32_t phrase[W_PHRASE], n_phrase;  /* those of them that must stand in a row */
    uint32_t prefix;                      /* the words that its prefix stands for, a bit each */
} w_asked;
typedef struct w_hit {
    float score;
    const o_doc *d;
    uint32_t chunk;
} w_hit;
#define W_HITS (W_DOCS * O_CHUNKS_MAX)
uint32_t w_text(const o_doc *d, char text[W_TEXT], cn_chunk *chunks); /* bytes; sets the ranges of its chunks */
void w_question(w_world *w, w_asked *ret);
int w_by_order(const void *a, const void *b);
bool w_same_text(const w_hit *a, const w_hit *b);
uint32_t w_lexical(const w_world *w, const w_index *ix, uint32_t version, w_who who, const o_filter *f, const w_asked *asked, w_hit *all);
uint32_t w_fuse(const w_hit *dense, uint32_t n_dense, const w_hit *lexical, uint32_t n_lexical, uint32_t rows, bool rrf, uint32_t depth, w_hit *all);
