#include "index/store/behind.h"

#include <pthread.h>
#include <stdio.h>

#include "engine/base/mem.h"
#include "engine/base/os.h"

/* One thing to do: a block to put, or, with pieces.p NULL, a commit. */
typedef struct task {
    struct task *next;
    bool commit;
    char kind;
    uint32_t a, no;
    cn_str tail;      /* in the bytes behind the task, as the block is */
    cn_piece block;
} task;

struct cn_behind {
    cn_env *env;
    cn_seg_id id;
    uint64_t put, dirty, open; /* bytes: ever, since the last commit that was asked for, since any; the caller's */

    /* whose turn it is: the thread's while there are tasks, else the caller's */
    MDB_txn *txn;
    MDB_dbi dbi;
    bool has_dbi;

    pthread_t thread;
    bool started;
    pthread_mutex_t lock;
    pthread_cond_t more, less; /* there is something to do, or to stop for; something was done */
    task *first, **last;
    uint64_t waiting;          /* bytes of the tasks not yet done */
    bool stop;
    uint64_t cpu_ns;           /* of the thread */
    cn_err err;                /* the first failure */
    char why[CN_ERROR_TEXT];
};

cn_err cn_behind_new(cn_env *env, const cn_seg_id *id, cn_behind **ret) {
    cn_behind *b = cn_calloc(1, sizeof *b);
    if (!b)
        return cn_fail_memory();
    b->env = env;
    b->id = *id;
    b->last = &b->first;
    pthread_mutex_init(&b->lock, NULL);
    pthread_cond_init(&b->more, NULL);
    pthread_cond_init(&b->less, NULL);
    *ret = b;
    return CN_OK;
}

/* ---------- doing it ---------- */

static cn_err begin(cn_behind *b) {
    if (!b->txn)
        CN_TRY(cn_txn_write(b->env, &b->txn));
    if (!b->has_dbi)
        CN_TRY(cn_mdb(mdb_dbi_open(b->txn, NULL, 0, &b->dbi), "opening %s", cn_env_path(b->env)));
    b->has_dbi = true;
    return CN_OK;
}

static cn_err commit(cn_behind *b) {
    MDB_txn *txn = b->txn;
    if (!txn)
        return CN_OK;
    b->txn = NULL;
    CN_TRY(cn_txn_commit(b->env, txn));
    cn_env_write_back(b->env);
    return CN_OK;
}

static cn_err put(cn_behind *b, char kind, uint32_t a, uint32_t no, cn_str tail, const cn_piece *pieces, unsigned n) {
    CN_TRY(begin(b));
    return cn_block_put(b->txn, b->dbi, &b->id, kind, a, no, tail, pieces, n);
}

static cn_err do_task(cn_behind *b, const task *t) {
    return t->commit ? commit(b) : put(b, t->kind, t->a, t->no, t->tail, &t->block, 1);
}

static void note_failure(cn_behind *b, cn_err err) {
    if (b->err != CN_OK)
        return;
    b->err = err;
    snprintf(b->why, sizeof b->why, "%s", cn_error_detail());
}

static void *run(void *arg) {
    cn_behind *b = arg;
    pthread_mutex_lock(&b->lock);
    for (;;) {
        while (!b->first && !b->stop)
            pthread_cond_wait(&b->more, &b->lock);
        task *t = b->first;
        if (b->stop || !t)
            break;
        bool broken = b->err != CN_OK;
        pthread_mutex_unlock(&b->lock);
        cn_err err = broken ? CN_OK : do_task(b, t);
        cn_give_way();
        pthread_mutex_lock(&b->lock);
        if (err != CN_OK)
            note_failure(b, err);
        b->first = t->next; /* only now: whoever waits for an empty list waits for what is being done, too */
        if (!b->first)
            b->last = &b->first;
        b->waiting -= t->block.n;
        b->cpu_ns = cn_thread_cpu_ns();
        cn_free(t);
        pthread_cond_signal(&b->less);
    }
    pthread_mutex_unlock(&b->lock);
    return NULL;
}

/* ---------- asking for it ---------- */

static cn_err told(const cn_behind *b) { return b->err == CN_OK ? CN_OK : cn_fail(b->err, "%s", b->why); }

/* Where no thread can be had the caller goes on by itself. */
static bool has_thread(cn_behind *b) {
    if (!b->started && b->put > CN_BEHIND_FROM && b->err == CN_OK)
        b->started = pthread_create(&b->thread, NULL, run, b) == 0;
    return b->started;
}

static cn_err here(cn_behind *b, cn_err err) {
    if (err != CN_OK)
        note_failure(b, err);
    return err;
}

static cn_err new_task(cn_str tail, const cn_piece *pieces, unsigned n, task **ret) {
    size_t bytes = 0;
    for (unsigned i = 0; i < n; i++)
        bytes += pieces[i].n;
    task *t = cn_alloc(sizeof *t + tail.n + bytes);
    if (!t)
        return cn_fail_memory();
    char *p = (char *)(t + 1);
    *t = (task){.block = {p, bytes}, .tail = {tail.p ? p + bytes : NULL, tail.n}};
    for (unsigned i = 0; i < n; p += pieces[i++].n)
        if (pieces[i].n)
            memcpy(p, pieces[i].p, pieces[i].n);
    if (tail.n)
        memcpy(p, tail.p, tail.n);
    *ret = t;
    return CN_OK;
}

static cn_err ask(cn_behind *b, task *t) {
    pthread_mutex_lock(&b->lock);
    while (b->err == CN_OK && b->first && b->waiting + t->block.n > CN_BEHIND_BYTES)
        pthread_cond_wait(&b->less, &b->lock);
    cn_err err = told(b);
    if (err == CN_OK) {
        *b->last = t;
        b->last = &t->next;
        b->waiting += t->block.n;
        pthread_cond_signal(&b->more);
    }
    pthread_mutex_unlock(&b->lock);
    if (err != CN_OK)
        cn_free(t);
    return err;
}

cn_err cn_behind_put(cn_behind *b, char kind, uint32_t a, uint32_t no, cn_str tail, const cn_piece *pieces, unsigned n) {
    task *t;
    for (unsigned i = 0; i < n; i++) {
        b->put += pieces[i].n;
        b->dirty += pieces[i].n;
        b->open += pieces[i].n;
    }
    if (!has_thread(b)) {
        CN_TRY(told(b));
        return here(b, put(b, kind, a, no, tail, pieces, n));
    }
    CN_TRY(new_task(tail, pieces, n, &t));
    t->kind = kind, t->a = a, t->no = no;
    return ask(b, t);
}

static cn_err ask_commit(cn_behind *b) {
    task *t;
    b->open = 0;
    if (!has_thread(b)) {
        CN_TRY(told(b));
        return here(b, commit(b));
    }
    CN_TRY(new_task((cn_str){NULL, 0}, NULL, 0, &t));
    t->commit = true;
    return ask(b, t);
}

cn_err cn_behind_commit(cn_behind *b) {
    b->dirty = 0;
    return ask_commit(b);
}

cn_err cn_behind_step(cn_behind *b) { return b->open < CN_BEHIND_STEP ? CN_OK : ask_commit(b); }

uint64_t cn_behind_dirty(const cn_behind *b) { return b->dirty; }

uint64_t cn_behind_cpu_ns(cn_behind *b) {
    pthread_mutex_lock(&b->lock);
    uint64_t ns = b->cpu_ns;
    pthread_mutex_unlock(&b->lock);
    return ns;
}

cn_err cn_behind_wait(cn_behind *b) {
    pthread_mutex_lock(&b->lock);
    while (b->first)
        pthread_cond_wait(&b->less, &b->lock);
    cn_err err = told(b);
    pthread_mutex_unlock(&b->lock);
    return err;
}

cn_err cn_behind_txn(cn_behind *b, MDB_txn **ret_txn, MDB_dbi *ret_dbi) {
    CN_TRY(cn_behind_wait(b));
    CN_TRY(here(b, begin(b)));
    *ret_txn = b->txn;
    *ret_dbi = b->dbi;
    return CN_OK;
}

void cn_behind_free(cn_behind *b) {
    if (!b)
        return;
    if (b->started) {
        pthread_mutex_lock(&b->lock);
        b->stop = true;
        pthread_cond_signal(&b->more);
        pthread_mutex_unlock(&b->lock);
        pthread_join(b->thread, NULL);
    }
    for (task *t = b->first, *next; t; t = next) {
        next = t->next;
        cn_free(t);
    }
    cn_txn_abort(b->env, b->txn);
    pthread_cond_destroy(&b->less);
    pthread_cond_destroy(&b->more);
    pthread_mutex_destroy(&b->lock);
    cn_free(b);
}
