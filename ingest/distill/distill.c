#include "ingest/distill/distill.h"

#include <math.h>
#include <string.h>

#include "engine/base/mem.h"
#include "ingest/distill/components.h"
#include "ingest/distill/gather.h"
#include "ingest/distill/ridge.h"
#include "ingest/embed/static.h"
#include "ingest/embed/store.h"

#define BATCH 256u          /* texts a call of the teacher: progress lies between */
#define PRECISION "int8"    /* three times as fast as fp32, and the same vectors to a cosine of .999 */
#define ENOUGH 4u           /* passages for each of the teacher's dimensions, to take components from them */
#define APART 50u           /* one passage of so many is left out of the fit, to see what it is worth */
#define APART_LEAST 1000u
#define PENALTY 0.03f
#define STEPS 12u
#define RANK_SMOOTH 1e-4f   /* a piece of frequency f counts s / (s + f): Arora et al.'s a */
#define SEEN_SMOOTH 1e-2f   /* the same for the share of passages that hold it */
#define FLATTEN 0.25f       /* a component of variance v is scaled by v^-FLATTEN */
#define VARIANCE_LEAST 1e-4f /* of the largest: what hardly varies is not blown up */

typedef struct distill {
    const cn_distill_opts *o;
    cn_distill_report *told;
    cn_embedder *teacher;
    cn_wordpiece *pieces;
    cn_wordpiece_opts cuts;
    cn_str vocab;
    uint32_t words, hidden, dim, n, fit_n; /* n passages, the first fit_n of which are fitted to */
    cn_sample sample;
    cn_str *texts;                      /* [n] */
    float *alone, *y;                   /* [words][hidden], [n][hidden]: the teacher's */
    float *rows, *goal;                 /* [words][dim], [n][dim] */
    cn_components axes;
    cn_bags bags;                       /* of the fit_n */
    int16_t *table;
} distill;

static void progress(const distill *d, const char *step, uint64_t done, uint64_t all) {
    if (d->o->progress)
        d->o->progress(d->o->progress_ctx, step, done, all);
}

/* ---------- what is asked ---------- */
static cn_err name_is_free(const cn_distill_opts *o) {
    cn_manifest m;
    cn_err err = cn_model_manifest(o->data_dir, o->name, &m);
    if (err == CN_NOT_FOUND)
        return CN_OK;
    return err == CN_OK || err == CN_DAMAGED
               ? cn_fail(CN_CONFLICT, "a model is already named \"" CN_STR_FMT "\"; distil under another name", CN_STR_ARG(o->name))
               : err;
}

static cn_err open_teacher(distill *d) {
    const cn_distill_opts *o = d->o;
    CN_TRY(cn_name_check(o->name, "model"));
    CN_TRY(name_is_free(o));
    cn_err err = cn_embedder_open(o->data_dir, o->from, CN_STR(PRECISION), &d->teacher);
    if (err != CN_OK && cn_embedder_open(o->data_dir, o->from, CN_STR("fp32"), &d->teacher) != CN_OK)
        return err; /* another kind refuses the precision; what it is is said below */
    CN_TRY(cn_embedder_vocab(d->teacher, &d->vocab, &d->cuts));
    CN_TRY(cn_wordpiece_new(d->vocab, &d->cuts, &d->pieces));
    d->words = cn_wordpiece_size(d->pieces);
    d->hidden = cn_embedder_dim(d->teacher);
    d->dim = o->dim ? o->dim : d->hidden < CN_DISTILL_DIM ? d->hidden : CN_DISTILL_DIM;
    if (d->words > CN_TABLE_WORDS_MAX)
        return cn_fail(CN_INVALID, "model \"" CN_STR_FMT "\" has %u words; a table has at most %u", CN_STR_ARG(o->from), d->words, CN_TABLE_WORDS_MAX);
    if (d->dim < CN_DISTILL_DIM_MIN || d->dim > d->hidden)
        return cn_fail(CN_INVALID, "%u dimensions; \"" CN_STR_FMT "\" can be distilled to %u to %u", d->dim, CN_STR_ARG(o->from), CN_DISTILL_DIM_MIN, d->hidden);
    return CN_OK;
}

/* ---------- texts ---------- */
static cn_err gather(distill *d) {
    const cn_distill_opts *o = d->o;
    uint32_t most = o->passages ? o->passages : CN_DISTILL_PASSAGES;
    if (most > CN_DISTILL_PASSAGES_MAX)
        return cn_fail(CN_INVALID, "%u passages; at most %u", most, CN_DISTILL_PASSAGES_MAX);
    CN_TRY(cn_sample_init(&d->sample, most));
    if (o->n_texts)
        CN_TRY(cn_gather_paths(o, d->teacher, &d->sample, d->told));
    if (o->index.n)
        CN_TRY(cn_gather_index(o, d->teacher, &d->sample, d->told));
    cn_sample_close(&d->sample);
    d->told->offered = d->sample.offered;
    d->n = d->sample.n;
    d->fit_n = d->n >= APART_LEAST ? d->n - d->n / APART : d->n;
    if (!d->n && (o->n_texts || o->index.n))
        return cn_fail(CN_INVALID, "no text was found in what was given; %llu documents could not be read", (unsigned long long)d->told->rejected);
    d->texts = cn_calloc((size_t)d->n + 1, sizeof *d->texts);
    if (!d->texts)
        return cn_fail_memory();
    for (uint32_t i = 0; i < d->n; i++)
        d->texts[i] = d->sample.v[i].text;
    return CN_OK;
}

/* ---------- the teacher ---------- */
static cn_err ask_words(distill *d) {
    d->alone = cn_calloc((size_t)d->words * d->hidden, sizeof *d->alone);
    if (!d->alone)
        return cn_fail_memory();
    for (uint32_t at = 0; at < d->words; at += BATCH) {
        progress(d, "words", at, d->words);
        CN_TRY(cn_embed_pieces(d->teacher, at, d->words - at < BATCH ? d->words - at : BATCH, d->o->threads, d->alone + (size_t)at * d->hidden));
    }
    return CN_OK;
}

static cn_err ask_passages(distill *d) {
    d->y = cn_calloc((size_t)d->n * d->hidden + 1, sizeof *d->y);
    if (!d->y)
        return cn_fail_memory();
    for (uint32_t at = 0; at < d->n; at += BATCH) {
        progress(d, "passages", at, d->n);
        CN_TRY(cn_embed(d->teacher, d->texts + at, d->n - at < BATCH ? d->n - at : BATCH, d->o->threads, d->y + (size_t)at * d->hidden, NULL));
    }
    return CN_OK;
}

/* ---------- rows ---------- */
static cn_err centre(float *v, uint32_t n, uint32_t dim) {
    CN_AUTO_FREE double *mean = cn_calloc(dim, sizeof *mean);
    if (!mean)
        return cn_fail_memory();
    for (size_t i = 0; i < (size_t)n * dim; i++)
        mean[i % dim] += (double)v[i];
    for (size_t i = 0; i < (size_t)n * dim; i++)
        v[i] -= (float)(mean[i % dim] / n);
    return CN_OK;
}

static void scale_row(float *row, uint32_t dim, float by) {
    for (uint32_t i = 0; i < dim; i++)
        row[i] *= by;
}

/* Zipf's law in place of counts: a vocabulary is sorted by how common its pieces are. */
static void weigh_by_rank(distill *d) {
    float all = 0;
    for (uint32_t w = 0; w < d->words; w++)
        all += 1 / (float)(w + 1);
    for (uint32_t w = 0; w < d->words; w++)
        scale_row(d->rows + (size_t)w * d->dim, d->dim, RANK_SMOOTH / (RANK_SMOOTH + 1 / ((float)(w + 1) * all)));
}

static cn_err project(distill *d) {
    bool from_passages = d->fit_n >= d->hidden * ENOUGH;
    progress(d, "components", 0, 1);
    CN_TRY(centre(d->alone, d->words, d->hidden));
    CN_TRY(centre(d->y, d->n, d->hidden));
    CN_TRY(from_passages ? cn_components_make(d->y, d->fit_n, d->hidden, d->dim, &d->axes) : cn_components_make(d->alone, d->words, d->hidden, d->dim, &d->axes));
    d->rows = cn_calloc((size_t)d->words * d->dim, sizeof *d->rows);
    d->goal = cn_calloc((size_t)d->n * d->dim + 1, sizeof *d->goal);
    if (!d->rows || !d->goal)
        return cn_fail_memory();
    CN_TRY(cn_components_project(&d->axes, d->alone, d->words, d->rows));
    CN_TRY(cn_components_project(&d->axes, d->y, d->n, d->goal));
    weigh_by_rank(d);
    return CN_OK;
}

/* ---------- the fit ---------- */
static double dot(const float *a, const float *b, size_t n) {
    double s = 0;
    for (size_t i = 0; i < n; i++)
        s += (double)a[i] * (double)b[i];
    return s;
}

/* The prior at the length that suits the passages best. */
static void scale_prior(distill *d, const float *sums) {
    size_t all = (size_t)d->fit_n * d->dim;
    double square = dot(sums, sums, all), by = square > 0 ? dot(sums, d->goal, all) / square : 0;
    for (size_t i = 0; by > 0 && i < (size_t)d->words * d->dim; i++)
        d->rows[i] *= (float)by;
}

static void told_step(void *ctx, uint32_t done, uint32_t all) { progress(ctx, "fitting", done, all); }

static cn_err judge(distill *d) {
    uint32_t n = d->n - d->fit_n;
    double sum = 0;
    cn_bags b = {0};
    d->told->likeness = (double)NAN;
    if (!n)
        return CN_OK;
    CN_AUTO_FREE float *sums = cn_calloc((size_t)n * d->dim, sizeof *sums);
    if (!sums)
        return cn_fail_memory();
    CN_TRY(cn_bags_make(d->teacher, d->texts + d->fit_n, n, d->words, &b));
    cn_bags_times(&b, d->rows, d->dim, d->o->threads, sums);
    cn_bags_done(&b);
    for (uint32_t i = 0; i < n; i++) {
        const float *s = sums + (size_t)i * d->dim, *y = d->goal + ((size_t)d->fit_n + i) * d->dim;
        double lengths = sqrt(dot(s, s, d->dim) * dot(y, y, d->dim));
        sum += lengths > 0 ? dot(s, y, d->dim) / lengths : 0;
    }
    d->told->likeness = sum / n;
    return CN_OK;
}

static cn_err fit(distill *d) {
    d->told->likeness = (double)NAN;
    if (!d->n)
        return CN_OK;
    CN_TRY(cn_bags_make(d->teacher, d->texts, d->fit_n, d->words, &d->bags));
    CN_AUTO_FREE float *sums = cn_calloc((size_t)d->fit_n * d->dim, sizeof *sums);
    if (!sums)
        return cn_fail_memory();
    cn_bags_times(&d->bags, d->rows, d->dim, d->o->threads, sums);
    scale_prior(d, sums);
    CN_TRY(cn_ridge(&d->bags, d->goal, d->dim, PENALTY, STEPS, d->o->threads, told_step, d, d->rows));
    return judge(d);
}

/* ---------- the table ---------- */
static void flatten(distill *d) {
    float least = d->axes.variance[0] * VARIANCE_LEAST;
    for (uint32_t i = 0; i < d->dim; i++) {
        float v = d->axes.variance[i] > least ? d->axes.variance[i] : least, by = v > 0 ? powf(v, -FLATTEN) : 1;
        for (uint32_t w = 0; w < d->words; w++)
            d->rows[(size_t)w * d->dim + i] *= by;
    }
}

static void weigh_by_seen(distill *d) {
    for (uint32_t w = 0; d->n && w < d->words; w++) {
        uint64_t seen = cn_bags_seen(&d->bags, w);
        d->told->fitted += seen > 0;
        scale_row(d->rows + (size_t)w * d->dim, d->dim, SEEN_SMOOTH / (SEEN_SMOOTH + (float)(seen + 1) / (float)d->fit_n));
    }
}

/* The largest number becomes CN_TABLE_SHORT: the length of a sum does not matter. */
static cn_err round_rows(distill *d) {
    size_t all = (size_t)d->words * d->dim;
    float most = 0;
    d->table = cn_calloc(all, sizeof *d->table);
    if (!d->table)
        return cn_fail_memory();
    for (size_t i = 0; i < all; i++)
        most = fmaxf(most, fabsf(d->rows[i]));
    if (!(most > 0 && isfinite(most)))
        return cn_fail(CN_INVALID, "all rows came out as %g: the model \"" CN_STR_FMT "\" gives every word the same vector", (double)most, CN_STR_ARG(d->o->from));
    for (size_t i = 0; i < all; i++)
        d->table[i] = (int16_t)lrintf(d->rows[i] * (CN_TABLE_SHORT / most));
    int16_t *empty = d->table + (size_t)cn_wordpiece_cls(d->pieces) * d->dim;
    for (uint32_t i = 0; i < d->dim; i++)
        if (empty[i])
            return CN_OK;
    empty[0] = 1; /* it stands for a text without words (static.h) */
    return CN_OK;
}

static cn_err keep(distill *d) {
    cn_token_table t = {.words = d->words, .dim = d->dim, .pieces = d->cuts, .from = cn_embedder_digest(d->teacher), .passages = d->n, .rows = d->table};
    if (d->n)
        t.texts = cn_sample_digest(&d->sample);
    return cn_model_add_table(d->o->data_dir, d->o->name, &t, d->vocab);
}

static cn_err make(distill *d) {
    CN_TRY(open_teacher(d));
    CN_TRY(gather(d));
    CN_TRY(ask_words(d));
    CN_TRY(ask_passages(d));
    CN_TRY(project(d));
    CN_TRY(fit(d));
    flatten(d);
    weigh_by_seen(d);
    CN_TRY(round_rows(d));
    return keep(d);
}

cn_err cn_distill(const cn_distill_opts *o, cn_distill_report *ret) {
    cn_distill_report told = {0};
    distill d = {.o = o, .told = &told};
    cn_err err = make(&d);
    told.passages = d.n;
    told.words = d.words;
    told.dim = d.dim;
    cn_bags_done(&d.bags);
    cn_components_done(&d.axes);
    cn_free(d.rows), cn_free(d.goal), cn_free(d.alone), cn_free(d.y), cn_free(d.table), cn_free(d.texts);
    cn_sample_done(&d.sample);
    cn_wordpiece_free(d.pieces);
    cn_embedder_unref(d.teacher);
    if (err == CN_OK)
        *ret = told;
    return err;
}
