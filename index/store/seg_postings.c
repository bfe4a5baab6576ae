/* The lexical view of a segment: postings in <id>.postings.mdb, or in memory where the rows are few or no file can be made.
 * Versions of two analysers may share a segment: <id>.postings2.mdb is the second's, and a third's takes its place.
 *
 * A row is found by its title, its headings and its text; a word of the first two counts as often as the analyser says. */
#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "index/store/seg_inside.h"

#define DIGEST_ARRAY UINT32_MAX  /* array number under which the analyser's digest is kept */
#define FILE_FROM 256            /* rows; fewer are made in memory in less time than a file takes to sync */
#define MEMORY_ROWS (1u << 16)   /* at most so many, where no file can be made: some 20 MB */
#define AGAIN_NS 1000000000ull   /* between two attempts to make them */
#define BUILDERS 2               /* of this process when a question asks: each holds some 100 MB, and a query worker */

/* ---------- postings in memory ---------- */
typedef struct piece {
    uint32_t array, block;
    size_t n;
    struct piece *next;
    void *bytes;
} piece;

typedef struct in_memory {
    piece *first;
} in_memory;

static void memory_free(in_memory *m) {
    while (m->first) {
        piece *p = m->first;
        m->first = p->next;
        cn_free(p->bytes);
        cn_free(p);
    }
}

static cn_err memory_put(void *ctx, uint32_t array, uint32_t block, const void *bytes, size_t n) {
    in_memory *m = ctx;
    piece *p = cn_calloc(1, sizeof *p);
    void *copy = p ? cn_alloc_aligned(64, n + 64) : NULL;
    if (!copy) {
        cn_free(p);
        return cn_fail_memory();
    }
    memcpy(copy, bytes, n);
    *p = (piece){array, block, n, m->first, copy};
    m->first = p;
    return CN_OK;
}

static cn_err memory_get(void *ctx, uint32_t array, uint32_t block, const void **ret_bytes, size_t *ret_n) {
    const in_memory *m = ctx;
    for (const piece *p = m->first; p; p = p->next)
        if (p->array == array && p->block == block) {
            *ret_bytes = p->bytes;
            *ret_n = p->n;
            return CN_OK;
        }
    return cn_fail(CN_NOT_FOUND, "there is no block %u of array %u", block, array);
}

/* ---------- building ---------- */
typedef struct rows_in {
    cn_seg *s;
    const cn_analyser *analyser;
    cn_terms *terms;
    cn_postings_build *b;
    uint32_t times; /* of the field at hand */
    bool (*pace)(void *ctx, uint64_t bytes); /* NULL: as fast as it goes */
    void *pace_ctx;
} rows_in;

static cn_err add_term(void *ctx, const cn_word *w) {
    rows_in *r = ctx;
    return cn_postings_add(r->b, w->term, r->times, w->stop ? 0 : r->times);
}

static cn_err add_field(rows_in *r, cn_str text, uint32_t times) {
    r->times = times;
    if (times == 0)
        return CN_OK;
    return cn_terms_each(r->terms, text, add_term, r);
}

/* The path of headings begins with the title where that is no heading; it has been counted by then. */
static cn_str below_title(cn_str path, cn_str title) {
    bool first = title.n && path.n >= title.n && memcmp(path.p, title.p, title.n) == 0 && (path.n == title.n || path.p[title.n] == '\n');
    return first ? (cn_str){path.p + title.n, path.n - title.n} : path;
}

static cn_err add_doc(rows_in *r, uint32_t doc) {
    cn_record rec;
    cn_str text;
    CN_TRY(cn_seg_record(r->s, doc, &rec));
    CN_TRY(cn_rows_text(&r->s->rows, &rec.head.text, &text));
    if (r->pace && !r->pace(r->pace_ctx, text.n))
        return cn_fail(CN_UNAVAILABLE, "%s: making its postings was stopped", r->s->blocks.path);
    for (uint32_t i = 0; i < rec.head.n_chunks; i++) {
        cn_chunk c;
        CN_TRY(cn_rows_chunk(&r->s->rows, &rec, i, &c));
        if (c.from > c.to || c.to > text.n)
            return cn_fail_file(r->s->blocks.path, ": a passage of document %u lies outside of its text", doc);
        CN_TRY(add_field(r, rec.title, r->analyser->title));
        CN_TRY(add_field(r, below_title(c.headings, rec.title), r->analyser->headings));
        CN_TRY(add_field(r, (cn_str){text.p + c.from, c.to - c.from}, 1));
        CN_TRY(cn_postings_next_row(r->b));
    }
    return CN_OK;
}

static cn_err add_all(rows_in *r) {
    for (uint32_t doc = 0; doc < cn_seg_docs(r->s); doc++)
        CN_TRY(add_doc(r, doc));
    return cn_postings_end(r->b);
}

static cn_err build(void *ctx, cn_put_array *put, void *put_ctx) {
    rows_in *r = ctx;
    CN_TRY(put(put_ctx, DIGEST_ARRAY, 0, &r->analyser->digest, sizeof r->analyser->digest));
    CN_TRY(cn_terms_new(r->analyser, &r->terms));
    cn_err e = cn_postings_begin(put, put_ctx, &r->b);
    if (e == CN_OK)
        e = add_all(r);
    cn_postings_free(r->b);
    cn_terms_free(r->terms);
    return e;
}

/* The digest of the analyser whose postings are kept there; NULL: none are that could be read. */
static const cn_digest *open_place(cn_seg *s, const char *kind, cn_derived **ret) {
    const void *p;
    size_t n;
    *ret = NULL;
    if (cn_derived_open(s, kind, ret) != CN_OK)
        return NULL;
    return cn_derived_get(*ret, DIGEST_ARRAY, 0, &p, &n) == CN_OK && n == sizeof(cn_digest) ? p : NULL;
}

/* *ret_place: where they are, or would go. */
static bool has_file(cn_seg *s, const cn_analyser *a, cn_derived **ret, const char **ret_place) {
    static const char *const places[] = {CN_POSTINGS_KIND, CN_POSTINGS_KIND_2};
    bool taken[2];
    for (int i = 0; i < 2; i++) {
        cn_derived *d;
        const cn_digest *of = open_place(s, places[i], &d);
        *ret_place = places[i];
        if (of && cn_digest_eq(of, &a->digest)) {
            *ret = d;
            return true;
        }
        taken[i] = of != NULL;
        cn_derived_close(d);
    }
    *ret_place = places[taken[0]];
    return false;
}

/* ---------- turns ---------- */
static pthread_mutex_t turns = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turn_free = PTHREAD_COND_INITIALIZER;
static unsigned building; /* under `turns` */

static struct timespec time_of(uint64_t ns) { return (struct timespec){(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)}; }

static cn_err too_late(void) {
    return cn_fail(CN_DEADLINE, "the time was over before the postings of a segment were made; they are being made, ask again");
}

static cn_err take_turn(uint64_t deadline_ns) {
    struct timespec until = time_of(deadline_ns);
    int rc = 0;
    pthread_mutex_lock(&turns);
    while (building == BUILDERS && rc == 0)
        rc = deadline_ns ? pthread_cond_clockwait(&turn_free, &turns, CLOCK_MONOTONIC, &until) : pthread_cond_wait(&turn_free, &turns);
    bool mine = building < BUILDERS;
    building += mine;
    pthread_mutex_unlock(&turns);
    return mine ? CN_OK : too_late();
}

static void give_turn(void) {
    pthread_mutex_lock(&turns);
    building--;
    pthread_cond_signal(&turn_free);
    pthread_mutex_unlock(&turns);
}

cn_err cn_seg_build_postings(cn_seg *s, const cn_analyser *a, bool (*pace)(void *ctx, uint64_t bytes), void *pace_ctx) {
    rows_in r = {.s = s, .analyser = a, .pace = pace, .pace_ctx = pace_ctx};
    cn_derived *d = NULL;
    const char *place;
    if (cn_seg_rows(s) < FILE_FROM)
        return CN_OK;
    if (!has_file(s, a, &d, &place))
        return cn_derived_build(s, place, build, &r);
    cn_derived_close(d);
    return CN_OK;
}

/* ---------- views ---------- */
/* All views ever given out stay until the segment closes: callers borrow them. */
typedef struct texts {
    cn_seg_made made;
    cn_digest analyser;
    cn_derived *file; /* or */
    in_memory memory;
    cn_postings *postings;
    bool bad;         /* damage was found in them since: the next to ask makes new ones. Under the segment's lock */
} texts;

static void free_texts(cn_seg_made *m) {
    texts *t = (texts *)m;
    cn_postings_close(t->postings);
    cn_derived_close(t->file);
    memory_free(&t->memory);
    cn_free(t);
}

static texts *known(const cn_seg *s, const cn_analyser *a) {
    for (cn_seg_made *m = s->made; m; m = m->next)
        if (m->done == free_texts && cn_digest_eq(&((texts *)m)->analyser, &a->digest) && !((texts *)m)->bad)
            return (texts *)m;
    return NULL;
}

/* From the file; made first, or anew, where it is not there or not sound. */
static cn_err from_file(cn_seg *s, const cn_analyser *a, uint64_t deadline_ns, texts *t) {
    const char *place = NULL;
    for (int tries = 0; tries < 2; tries++) {
        if (tries || !has_file(s, a, &t->file, &place)) {
            CN_TRY(take_turn(deadline_ns));
            cn_err e = cn_derived_build(s, place, build, &(rows_in){.s = s, .analyser = a});
            give_turn();
            CN_TRY(e);
            if (!has_file(s, a, &t->file, &place))
                return cn_fail(CN_UNAVAILABLE, "%s: its postings were made and cannot be opened", s->blocks.path);
        }
        cn_err e = cn_postings_open(cn_seg_rows(s), cn_derived_get, t->file, &t->postings);
        if (e != CN_DAMAGED && e != CN_NOT_FOUND)
            return e;
        cn_log(CN_LOG_WARN, "postings.damaged", "path=%s %s", cn_env_path(s->env), cn_error_detail());
        cn_derived_close(t->file);
        t->file = NULL;
    }
    return cn_fail(CN_UNAVAILABLE, "%s: its postings are damaged as soon as they are made", s->blocks.path);
}

static cn_err from_memory(cn_seg *s, const cn_analyser *a, uint64_t deadline_ns, texts *t) {
    rows_in r = {.s = s, .analyser = a};
    bool few = cn_seg_rows(s) < FILE_FROM;
    if (!few)
        CN_TRY(take_turn(deadline_ns));
    cn_err e = build(&r, memory_put, &t->memory);
    if (!few)
        give_turn();
    CN_TRY(e);
    return cn_postings_open(cn_seg_rows(s), memory_get, &t->memory, &t->postings);
}

static cn_err make(cn_seg *s, const cn_analyser *a, uint64_t deadline_ns, texts *t) {
    if (cn_seg_rows(s) < FILE_FROM)
        return from_memory(s, a, deadline_ns, t);
    cn_err e = from_file(s, a, deadline_ns, t);
    if (e == CN_OK || e == CN_DEADLINE)
        return e;
    cn_log(CN_LOG_INFO, "postings.unfiled", "path=%s %s", cn_env_path(s->env), cn_error_detail());
    if (cn_seg_rows(s) <= MEMORY_ROWS)
        return from_memory(s, a, deadline_ns, t);
    return cn_wrap(e == CN_DAMAGED ? e : cn_fail(CN_UNAVAILABLE, "%s", cn_error_detail()), "there are no postings to search");
}

static cn_err open_new(cn_seg *s, const cn_analyser *a, uint64_t deadline_ns, texts **ret) {
    texts *t = cn_calloc(1, sizeof *t);
    if (!t)
        return cn_fail_memory();
    t->made = (cn_seg_made){.done = free_texts};
    t->analyser = a->digest;
    cn_err e = make(s, a, deadline_ns, t);
    if (e != CN_OK) {
        free_texts(&t->made);
        return e;
    }
    *ret = t;
    return CN_OK;
}

/* open_new(), unless that failed a moment ago: then the same error, at once. The few rows that stay in memory are made as fast. */
static cn_err try_new(cn_seg *s, const cn_analyser *a, uint64_t deadline_ns, texts **ret) {
    cn_seg_unmade *u = &s->unmade;
    if (cn_mono_ns() < u->until_ns && cn_digest_eq(&u->analyser, &a->digest))
        return cn_fail(u->code, "%s", u->why);
    cn_err e = open_new(s, a, deadline_ns, ret);
    if (e != CN_OK && e != CN_DEADLINE && cn_seg_rows(s) >= FILE_FROM) {
        *u = (cn_seg_unmade){.analyser = a->digest, .until_ns = cn_mono_ns() + AGAIN_NS, .code = e};
        snprintf(u->why, sizeof u->why, "%s", cn_error_detail());
    }
    return e;
}

static texts *look(cn_seg *s, const cn_analyser *a) {
    pthread_mutex_lock(&s->lock);
    texts *t = known(s, a);
    pthread_mutex_unlock(&s->lock);
    return t;
}

/* One thread makes them; the others wait for it as long as they have time. */
static cn_err wait_turn(cn_seg *s, uint64_t deadline_ns) {
    struct timespec until = time_of(deadline_ns);
    int rc = deadline_ns ? pthread_mutex_clocklock(&s->making, CLOCK_MONOTONIC, &until) : pthread_mutex_lock(&s->making);
    return rc == 0 ? CN_OK : too_late();
}

static cn_err find_texts(cn_seg *s, const cn_analyser *a, uint64_t deadline_ns, texts **ret) {
    texts *t = look(s, a);
    cn_err e = CN_OK;
    if (!t) {
        CN_TRY(wait_turn(s, deadline_ns));
        if (!(t = look(s, a)))
            e = try_new(s, a, deadline_ns, &t);
        if (e == CN_OK && !look(s, a)) {
            pthread_mutex_lock(&s->lock);
            cn_seg_keep(s, &t->made);
            pthread_mutex_unlock(&s->lock);
        }
        pthread_mutex_unlock(&s->making);
    }
    if (e == CN_OK)
        *ret = t;
    return e;
}

cn_err cn_seg_postings(cn_seg *s, const cn_analyser *a, uint64_t deadline_ns, cn_postings **ret) {
    texts *t;
    CN_TRY(find_texts(s, a, deadline_ns, &t));
    *ret = t->postings;
    return CN_OK;
}

/* A file that was cut short under its map gave zeros, whatever was made of them. */
static cn_err after_use(cn_seg *s, texts *t, cn_err e) {
    if (t->file && e == CN_OK)
        e = cn_derived_sound(t->file);
    if (e != CN_DAMAGED)
        return e;
    pthread_mutex_lock(&s->lock);
    bool first = !t->bad;
    t->bad = true;
    pthread_mutex_unlock(&s->lock);
    if (first)
        cn_log(CN_LOG_WARN, "postings.damaged", "path=%s %s", s->blocks.path, cn_error_detail());
    return e;
}

cn_err cn_seg_use_postings(cn_seg *s, const cn_analyser *a, uint64_t deadline_ns, cn_use_postings *fn, void *ctx) {
    texts *t;
    for (int tries = 0;; tries++) {
        CN_TRY(find_texts(s, a, deadline_ns, &t));
        cn_err e = after_use(s, t, fn(ctx, t->postings));
        if (e != CN_DAMAGED || tries)
            return e;
    }
}
