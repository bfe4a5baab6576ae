/* Words of the model's documents, and BM25 and the fusion of both halves worked out anew from their definitions for each question. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "index/search/searcher.h"
#include "tests/index/world.h"

static const char *const words[W_WORDS] = {"cup", "dog", "sun", "cap", "pen", "box", "cat", "car", "jar", "log", "net", "zip"};
static const char *const prefixes[] = {"ca", "cu", "su", "qq"};
#define WORDS_A_CHUNK 8

/* A chunk's words follow from its vector, so that a row copied with other labels keeps its text. Frequent ones first. */
static uint32_t words_of(const o_doc *d, uint32_t chunk, uint32_t w[WORDS_A_CHUNK]) {
    o_rand r = {cn_crc32c(7, d->vec[chunk], W_DIM * sizeof(float)) + 1};
    uint32_t n = 1 + o_below(&r, WORDS_A_CHUNK);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t x = o_below(&r, W_WORDS), y = o_below(&r, W_WORDS);
        w[i] = x < y ? x : y;
    }
    return n;
}

uint32_t w_text(const o_doc *d, char text[W_TEXT], cn_chunk *chunks) {
    uint32_t at = 0;
    for (uint32_t c = 0; c < d->chunks; c++) {
        uint32_t w[WORDS_A_CHUNK], n = words_of(d, c, w);
        chunks[c].from = at;
        for (uint32_t i = 0; i < n; i++)
            at += (uint32_t)snprintf(text + at, W_TEXT - at, "%s%s", i ? " " : c ? "\n" : "", words[w[i]]);
        chunks[c].to = at;
    }
    return at;
}

/* Behind the first, a passage begins with the line break before it. */
bool w_same_text(const w_hit *a, const w_hit *b) {
    uint32_t v[WORDS_A_CHUNK], x[WORDS_A_CHUNK], n = words_of(a->d, a->chunk, v), m = words_of(b->d, b->chunk, x);
    return n == m && !a->chunk == !b->chunk && memcmp(v, x, n * sizeof *v) == 0;
}

static void say(w_asked *q, const char *text) { strncat(q->text, text, sizeof q->text - 1 - strlen(q->text)); }

static uint32_t say_word(w_asked *q, uint32_t x) {
    say(q, x < W_WORDS ? words[x] : "qqq");
    q->word[q->n++] = x;
    return x;
}

static void say_phrase(w_world *w, w_asked *q) {
    say(q, "\"");
    for (q->n_phrase = 0; q->n_phrase < W_PHRASE && (q->n_phrase == 0 || o_chance(&w->r, 50)); q->n_phrase++) {
        say(q, q->n_phrase ? " " : "");
        q->phrase[q->n_phrase] = say_word(q, o_below(&w->r, o_chance(&w->r, 80) ? 4 : W_WORDS + 1));
    }
    say(q, "\" ");
}

static void say_prefix(w_world *w, w_asked *q) {
    const char *prefix = prefixes[o_below(&w->r, sizeof prefixes / sizeof *prefixes)];
    say(q, prefix);
    say(q, "* ");
    for (uint32_t x = 0; x < W_WORDS; x++)
        q->prefix |= (uint32_t)(strncmp(words[x], prefix, strlen(prefix)) == 0) << x;
}

void w_question(w_world *w, w_asked *ret) {
    *ret = (w_asked){.operators = o_chance(&w->r, 40)};
    say(ret, o_chance(&w->r, 30) ? "the of " : "");
    for (uint32_t i = 0, n = 1 + o_below(&w->r, 4); i < n; i++) {
        say_word(ret, o_below(&w->r, W_WORDS + 1)); /* the last: in no document */
        say(ret, " ");
    }
    if (ret->operators && o_chance(&w->r, 50))
        say_phrase(w, ret);
    if (ret->operators && o_chance(&w->r, 50))
        say_prefix(w, ret);
}

/* ---------- what may be read ---------- */
typedef struct counts {
    uint64_t rows, tokens, with[W_WORDS + 1];
} counts;

static counts count(const w_world *w, const w_index *ix, uint32_t version, w_who who) {
    counts c = {0};
    for (uint32_t doc = 0; doc < W_DOCS; doc++) {
        const w_row *row = ix->v[version].row[doc];
        if (!w_permits(w, ix, version, doc, who))
            continue;
        for (uint32_t k = 0; k < row->d.chunks; k++) {
            uint32_t v[WORDS_A_CHUNK], n = words_of(&row->d, k, v), seen = 0;
            for (uint32_t i = 0; i < n; i++)
                seen |= 1u << v[i];
            c.rows++;
            c.tokens += n;
            for (uint32_t x = 0; x < W_WORDS; x++)
                c.with[x] += seen >> x & 1;
        }
    }
    return c;
}

static float part(const counts *c, uint64_t with, uint32_t times, uint32_t tf, uint32_t length) {
    float k1 = CN_BM25_K1, b = CN_BM25_B, mean = (float)((double)c->tokens / (double)c->rows), t = (float)tf;
    float w = (float)(log1p(((double)c->rows - (double)with + 0.5) / ((double)with + 0.5)) * times * ((double)k1 + 1));
    return w * t / (t + (k1 * (1 - b) + k1 * b / mean * (float)length));
}

/* All words that begin so are one, as rare as the one that the most passages hold. */
static float of_prefix(const counts *c, uint32_t prefix, const uint32_t *v, uint32_t length) {
    uint64_t with = 0;
    uint32_t tf = 0;
    for (uint32_t x = 0; x < W_WORDS; x++)
        with = prefix >> x & 1 && c->with[x] > with ? c->with[x] : with;
    for (uint32_t j = 0; j < length; j++)
        tf += prefix >> v[j] & 1;
    return tf ? part(c, with, 1, tf, length) : 0;
}

static bool in_a_row(const w_asked *asked, const uint32_t *v, uint32_t length) {
    for (uint32_t from = 0; from + asked->n_phrase <= length; from++)
        if (memcmp(v + from, asked->phrase, asked->n_phrase * sizeof *v) == 0)
            return true;
    return false;
}

static float score(const counts *c, const w_asked *asked, const o_doc *d, uint32_t chunk) {
    uint32_t v[WORDS_A_CHUNK], length = words_of(d, chunk, v);
    float sum = 0;
    if (!in_a_row(asked, v, length))
        return 0;
    for (uint32_t i = 0; i < asked->n; i++) {
        uint32_t x = asked->word[i], times = 0, tf = 0;
        bool before = false;
        for (uint32_t j = 0; j < asked->n; j++) {
            before |= j < i && asked->word[j] == x;
            times += asked->word[j] == x;
        }
        for (uint32_t j = 0; j < length; j++)
            tf += v[j] == x;
        if (before || tf == 0)
            continue;
        sum += part(c, c->with[x], times, tf, length);
    }
    float more = of_prefix(c, asked->prefix, v, length);
    return more > 0 ? sum + more : sum;
}

/* ---------- lists ---------- */
int w_by_order(const void *a, const void *b) {
    const w_hit *x = a, *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    int c = strcmp(x->d->source, y->d->source);
    c = c ? c : strcmp(x->d->id, y->d->id);
    return c ? c : (x->chunk > y->chunk) - (x->chunk < y->chunk);
}

uint32_t w_lexical(const w_world *w, const w_index *ix, uint32_t version, w_who who, const o_filter *f, const w_asked *asked, w_hit *all) {
    uint32_t n = 0;
    counts c = count(w, ix, version, who); /* whatever the filter */
    for (uint32_t doc = 0; doc < W_DOCS; doc++) {
        const w_row *row = ix->v[version].row[doc];
        if (!w_permits(w, ix, version, doc, who) || (f && !o_filter_match(f, &row->d)))
            continue;
        for (uint32_t k = 0; k < row->d.chunks; k++) {
            float s = score(&c, asked, &row->d, k);
            if (s > 0)
                all[n++] = (w_hit){.score = s, .d = &row->d, .chunk = k};
        }
    }
    qsort(all, n, sizeof *all, w_by_order);
    return n;
}

/* Where a hit stands among the first `depth` of a half, from 1; 0: nowhere. */
static uint32_t rank_in(const w_hit *x, const w_hit *half, uint32_t n, uint32_t depth) {
    for (uint32_t i = 0; i < n && i < depth; i++)
        if (half[i].d == x->d && half[i].chunk == x->chunk)
            return i + 1;
    return 0;
}

/* A half as hybrid weighs it: the scores of its first CN_HYBRID_DEPTH rows, those of no hit 0. */
typedef struct half {
    double score[CN_HYBRID_DEPTH];
    uint32_t rows;
} half;

static half half_of(const w_hit *hits, uint32_t n, uint32_t rows) {
    half h = {.rows = rows < CN_HYBRID_DEPTH ? rows : CN_HYBRID_DEPTH};
    for (uint32_t i = 0; i < n && i < h.rows; i++)
        h.score[i] = hits[i].score;
    return h;
}

/* The score at a rank in standard deviations from the mean; of 0, and of what lies deeper: as the last of them. */
static double in_deviations(const half *h, uint32_t rank) {
    double mean = 0, squares = 0;
    for (uint32_t i = 0; i < h->rows; i++)
        mean += h->score[i] / h->rows;
    for (uint32_t i = 0; i < h->rows; i++)
        squares += (h->score[i] - mean) * (h->score[i] - mean);
    if (!(squares > 0))
        return 0;
    return (h->score[(rank == 0 || rank > h->rows ? h->rows : rank) - 1] - mean) / sqrt(squares / h->rows);
}

static double reciprocal(uint32_t rank, uint32_t depth) { return rank && rank <= depth ? 1.0 / (60 + rank) : 0; }

/* Of both halves the first `depth`, of so many rows that may be found, into `all`: their scores weighed, or with rrf their
 * reciprocal ranks. */
uint32_t w_fuse(const w_hit *dense, uint32_t n_dense, const w_hit *lexical, uint32_t n_lexical, uint32_t rows, bool rrf, uint32_t depth, w_hit *all) {
    uint32_t n = 0;
    half by_vectors = half_of(dense, n_dense, n_dense), by_words = half_of(lexical, n_lexical, rows);
    n_dense = n_dense < depth ? n_dense : depth;
    n_lexical = n_lexical < depth ? n_lexical : depth;
    for (uint32_t i = 0; i < n_dense; i++)
        all[n++] = dense[i];
    for (uint32_t i = 0; i < n_lexical; i++)
        if (!rank_in(&lexical[i], dense, n_dense, depth))
            all[n++] = lexical[i];
    for (uint32_t i = 0; i < n; i++) {
        uint32_t a = rank_in(&all[i], dense, n_dense, depth), b = rank_in(&all[i], lexical, n_lexical, depth);
        double score = 0.6 * in_deviations(&by_vectors, a) + (1 - 0.6) * in_deviations(&by_words, b);
        if (rrf)
            score = reciprocal(a, CN_HYBRID_DEPTH) + reciprocal(b, CN_HYBRID_DEPTH);
        bool behind = (a == 0 || a > CN_HYBRID_DEPTH) && (b == 0 || b > CN_HYBRID_DEPTH);
        all[i].score = (float)(behind ? score - 1 + reciprocal(a, UINT32_MAX) + reciprocal(b, UINT32_MAX) : score);
    }
    qsort(all, n, sizeof *all, w_by_order);
    return n;
}
