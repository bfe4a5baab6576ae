#include "ingest/job/line.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/mem.h"

#define ARENA_BLOCK ((size_t)1 << 20)

enum slot_state { SLOT_FREE, SLOT_FILLED, SLOT_WORKING, SLOT_READY };

typedef struct slot {
    cn_batch batch;
    enum slot_state state;
    uint64_t bytes; /* counted into line.bytes */
} slot;

typedef struct worker {
    cn_line *line;
    unsigned number;
    pthread_t thread;
} worker;

struct cn_line {
    cn_line_ops ops;
    void *ctx;
    unsigned workers, waiting;
    uint64_t max_bytes, bytes;
    uint64_t filled, taken, written; /* batches so far; slot = number % CN_LINE_BATCHES */
    bool ended;                      /* fill has reached the end of the input */
    pthread_mutex_t lock;
    pthread_cond_t room, filled_one, ready_one; /* for fill, for work, for write */
    slot slots[CN_LINE_BATCHES];
    worker pool[CN_LINE_WORKERS_MAX];
    _Atomic bool stop;
    cn_err err;
    char file[CN_ERROR_FILE]; /* that is damaged; "": none is known */
    char text[CN_ERROR_TEXT];
};

cn_err cn_line_new(const cn_line_ops *ops, void *ctx, unsigned workers, uint64_t max_bytes, size_t arena_cap, cn_line **ret) {
    CN_ASSERT(workers >= 1 && workers <= CN_LINE_WORKERS_MAX);
    cn_line *l = cn_calloc(1, sizeof *l);
    if (!l)
        return cn_fail_memory();
    l->ops = *ops;
    l->ctx = ctx;
    l->workers = workers;
    l->max_bytes = max_bytes;
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->room, NULL);
    pthread_cond_init(&l->filled_one, NULL);
    pthread_cond_init(&l->ready_one, NULL);
    for (unsigned i = 0; i < CN_LINE_BATCHES; i++)
        cn_arena_init(&l->slots[i].batch.arena, ARENA_BLOCK, arena_cap);
    *ret = l;
    return CN_OK;
}

void cn_line_free(cn_line *l) {
    if (!l)
        return;
    for (unsigned i = 0; i < CN_LINE_BATCHES; i++)
        cn_arena_done(&l->slots[i].batch.arena);
    pthread_cond_destroy(&l->ready_one);
    pthread_cond_destroy(&l->filled_one);
    pthread_cond_destroy(&l->room);
    pthread_mutex_destroy(&l->lock);
    cn_free(l);
}

static void wake_all(cn_line *l) {
    pthread_cond_broadcast(&l->room);
    pthread_cond_broadcast(&l->filled_one);
    pthread_cond_broadcast(&l->ready_one);
}

void cn_line_stop(cn_line *l, cn_err err, const char *text) {
    pthread_mutex_lock(&l->lock);
    if (!l->stop) {
        l->err = err;
        size_t n = strnlen(text, sizeof l->text - 1);
        memcpy(l->text, text, n);
        l->text[n] = 0;
        snprintf(l->file, sizeof l->file, "%s", err == CN_DAMAGED ? cn_error_file() : "");
        l->stop = true;
        wake_all(l);
    }
    pthread_mutex_unlock(&l->lock);
}

bool cn_line_stopping(cn_line *l) { return atomic_load_explicit(&l->stop, memory_order_relaxed); }

unsigned cn_line_spare(cn_line *l) {
    pthread_mutex_lock(&l->lock);
    unsigned n = l->waiting;
    pthread_mutex_unlock(&l->lock);
    return n;
}

static slot *slot_of(cn_line *l, uint64_t number) { return &l->slots[number % CN_LINE_BATCHES]; }

/* The arena's heap is what a batch costs; counted again whenever a step has added to it. */
static void recount(cn_line *l, slot *s) {
    l->bytes += s->batch.arena.used - s->bytes;
    s->bytes = s->batch.arena.used;
}

static bool may_fill(const cn_line *l) {
    uint64_t under_way = l->filled - l->written;
    return under_way < CN_LINE_BATCHES && (under_way == 0 || l->bytes < l->max_bytes);
}

/* The next batch to fill; NULL when the line stops. */
static slot *wait_room(cn_line *l) {
    pthread_mutex_lock(&l->lock);
    while (!l->stop && !may_fill(l))
        pthread_cond_wait(&l->room, &l->lock);
    slot *s = l->stop ? NULL : slot_of(l, l->filled);
    pthread_mutex_unlock(&l->lock);
    return s;
}

static void *run_fill(void *arg) {
    cn_line *l = arg;
    slot *s;
    while ((s = wait_room(l))) {
        cn_err err = l->ops.fill(l->ctx, &s->batch);
        if (err != CN_OK) {
            cn_line_stop(l, err, cn_error_detail());
            break;
        }
        pthread_mutex_lock(&l->lock);
        bool end = s->batch.n == 0;
        if (end) {
            l->ended = true;
            wake_all(l);
        } else {
            s->state = SLOT_FILLED;
            recount(l, s);
            l->filled++;
            pthread_cond_signal(&l->filled_one);
        }
        pthread_mutex_unlock(&l->lock);
        if (end)
            break;
    }
    return NULL;
}

/* The oldest batch nobody works on; NULL at the end or when the line stops. */
static slot *take_filled(cn_line *l) {
    pthread_mutex_lock(&l->lock);
    l->waiting++;
    while (!l->stop && l->taken == l->filled && !l->ended)
        pthread_cond_wait(&l->filled_one, &l->lock);
    l->waiting--;
    slot *s = NULL;
    if (!l->stop && l->taken < l->filled) {
        s = slot_of(l, l->taken++);
        s->state = SLOT_WORKING;
    } else {
        l->waiting++; /* for good: its processor is free for the others */
    }
    pthread_mutex_unlock(&l->lock);
    return s;
}

static void *run_worker(void *arg) {
    worker *w = arg;
    cn_line *l = w->line;
    slot *s;
    while ((s = take_filled(l))) {
        cn_err err = l->ops.work(l->ctx, l, w->number, &s->batch);
        if (err != CN_OK) {
            cn_line_stop(l, err, cn_error_detail());
            break;
        }
        pthread_mutex_lock(&l->lock);
        s->state = SLOT_READY;
        recount(l, s);
        pthread_cond_signal(&l->ready_one);
        pthread_mutex_unlock(&l->lock);
    }
    return NULL;
}

static slot *wait_ready(cn_line *l) {
    pthread_mutex_lock(&l->lock);
    slot *s = slot_of(l, l->written);
    while (!l->stop && !(l->ended && l->written == l->filled) && s->state != SLOT_READY)
        pthread_cond_wait(&l->ready_one, &l->lock);
    if (l->stop || s->state != SLOT_READY)
        s = NULL;
    pthread_mutex_unlock(&l->lock);
    return s;
}

static void empty(slot *s) {
    if (s->batch.arena.used > CN_LINE_KEEP)
        cn_arena_done(&s->batch.arena);
    else
        cn_arena_reset(&s->batch.arena);
    s->batch.items = NULL;
    s->batch.n = 0;
}

static void run_write(cn_line *l) {
    slot *s;
    while ((s = wait_ready(l))) {
        cn_err err = l->ops.write(l->ctx, &s->batch);
        if (err != CN_OK) {
            cn_line_stop(l, err, cn_error_detail());
            break;
        }
        empty(s);
        pthread_mutex_lock(&l->lock);
        l->bytes -= s->bytes;
        s->bytes = 0;
        s->state = SLOT_FREE;
        l->written++;
        pthread_cond_signal(&l->room);
        pthread_mutex_unlock(&l->lock);
    }
}

/* The caller's thread is the writer. */
cn_err cn_line_run(cn_line *l) {
    pthread_t reader;
    if (pthread_create(&reader, NULL, run_fill, l) != 0)
        return cn_fail(CN_OVERLOADED, "cannot start a thread; raise the limit on processes (ulimit -u) or on memory (ulimit -v), or use fewer --threads");
    unsigned started = 0;
    for (; started < l->workers; started++) {
        worker *w = &l->pool[started];
        *w = (worker){.line = l, .number = started};
        if (pthread_create(&w->thread, NULL, run_worker, w) != 0)
            break;
    }
    if (started == 0)
        cn_line_stop(l, CN_OVERLOADED, "cannot start a thread; raise the limit on processes (ulimit -u) or on memory (ulimit -v), or use fewer --threads");
    run_write(l);
    for (unsigned i = 0; i < started; i++)
        pthread_join(l->pool[i].thread, NULL);
    pthread_join(reader, NULL);
    if (!l->stop)
        return CN_OK;
    if (*l->file)
        cn_error_note_file(l->file);
    return cn_fail(l->err, "%s", l->text);
}
