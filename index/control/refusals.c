#include "index/control/refusals.h"

#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "index/control/audit.h"
#include "index/control/records.h"
#include "index/store/dir.h"

#define WHO_MAX 96

typedef struct series {
    char who[WHO_MAX];   /* cut, if need be */
    const char *action;  /* NULL: free */
    int64_t from_us;     /* since when it is counted; cn_wall_us() */
    uint64_t end_ns, span_us;
    uint32_t at_once;    /* written so far */
    uint64_t counted;    /* and not written */
} series;

typedef struct holder {
    cn_tenant *t;
    pthread_mutex_t lock;
    uint64_t retry_ns;   /* before, nothing is written: it failed */
    series v[CN_REFUSALS], others;
} holder;

/* ---------- a count becomes a record ---------- */
typedef struct due {
    const holder *h;
    uint64_t now_ns;
} due;

static const series *at(const holder *h, uint32_t i) { return i < CN_REFUSALS ? &h->v[i] : &h->others; }

static bool is_over(const series *s, uint64_t now_ns) { return s->action && now_ns >= s->end_ns; }

static cn_err add_count(cn_tenant *t, MDB_txn *txn, const series *s) {
    char since[CN_TIME_TEXT], outcome[160];
    cn_time_text(s->from_us, since);
    snprintf(outcome, sizeof outcome, "refused: %llu more attempts since %s, counted and not written one by one", (unsigned long long)s->counted, since);
    const cn_actor who = {cn_str_of(s->who), CN_STR("rpc"), CN_STR("")};
    return cn_audit_add(t, txn, &who, s->action, CN_STR(""), outcome, (cn_str){0});
}

static cn_err add_counts(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    (void)c;
    const due *d = ctx;
    for (uint32_t i = 0; i <= CN_REFUSALS; i++) {
        const series *s = at(d->h, i);
        if (is_over(s, d->now_ns) && s->counted)
            CN_TRY(add_count(d->h->t, txn, s));
    }
    return CN_OK;
}

static bool is_there(const cn_tenant *t) {
    char path[CN_PATH_MAX];
    return snprintf(path, sizeof path, "%s/control.mdb", cn_tenant_dir(t)) < (int)sizeof path && access(path, F_OK) == 0;
}

/* All that is due, at once or not at all; whoever meets this has an error of its own to tell. */
static bool write_counts(holder *h, uint64_t now_ns) {
    char text[CN_ERROR_TEXT];
    if (now_ns < h->retry_ns || !is_there(h->t)) /* or dropped */
        return false;
    snprintf(text, sizeof text, "%s", cn_error_detail());
    cn_err err = cn_catalog_write_now(h->t, add_counts, &(due){h, now_ns});
    if (err != CN_OK) {
        h->retry_ns = now_ns + CN_REFUSALS_RETRY_US * 1000;
        cn_fail(err, "%s", text);
    }
    return err == CN_OK;
}

static void begin(series *s, uint64_t span_us, uint32_t at_once) {
    s->from_us = cn_wall_us();
    s->end_ns = cn_mono_ns() + span_us * 1000;
    s->span_us = span_us;
    s->at_once = at_once;
    s->counted = 0;
}

/* Its time is over: it ends, or goes on for twice as long once its count is written. */
static void settle(series *s, bool written) {
    uint64_t longer = 2 * s->span_us;
    if (!s->counted)
        s->action = NULL;
    else if (written)
        begin(s, longer < CN_REFUSALS_MOST_US ? longer : CN_REFUSALS_MOST_US, CN_REFUSALS_AT_ONCE);
}

static void settle_all(holder *h, uint64_t now_ns) {
    bool any = false;
    for (uint32_t i = 0; i <= CN_REFUSALS && !any; i++)
        any = is_over(at(h, i), now_ns) && at(h, i)->counted;
    bool written = any && write_counts(h, now_ns);
    for (uint32_t i = 0; i <= CN_REFUSALS; i++) {
        series *s = i < CN_REFUSALS ? &h->v[i] : &h->others;
        if (is_over(s, now_ns))
            settle(s, written);
    }
}

/* ---------- of a tenant ---------- */
static cn_err make_holder(cn_tenant *t, void **ret) {
    holder *h = cn_calloc(1, sizeof *h);
    if (!h)
        return cn_fail_memory();
    h->t = t;
    pthread_mutex_init(&h->lock, NULL);
    *ret = h;
    return CN_OK;
}

/* All that is counted is written: nobody would write it later. */
static void free_holder(void *p) {
    holder *h = p;
    settle_all(h, UINT64_MAX);
    pthread_mutex_destroy(&h->lock);
    cn_free(h);
}

static cn_err take(cn_tenant *t, holder **ret) {
    void *slot;
    CN_TRY(cn_tenant_slot(t, CN_SLOT_REFUSALS, make_holder, free_holder, &slot));
    *ret = slot;
    pthread_mutex_lock(&(*ret)->lock);
    return CN_OK;
}

static series *find(holder *h, const char *who, const char *action) {
    series *free = NULL;
    for (uint32_t i = 0; i < CN_REFUSALS; i++) {
        series *s = &h->v[i];
        if (s->action && strcmp(s->action, action) == 0 && strcmp(s->who, who) == 0)
            return s;
        if (!s->action && !free)
            free = s;
    }
    return free ? free : &h->others;
}

static series *series_of(holder *h, const cn_actor *a, const char *action) {
    char who[WHO_MAX];
    snprintf(who, sizeof who, CN_STR_FMT, CN_STR_ARG(a->who));
    series *s = find(h, who, action);
    if (!s->action) {
        bool named = s != &h->others;
        snprintf(s->who, sizeof s->who, "%s", named ? who : "other keys");
        s->action = named ? action : "other actions";
        begin(s, CN_REFUSALS_FIRST_US, 0);
    }
    return s;
}

static bool note(series *s) {
    bool write = s->at_once < CN_REFUSALS_AT_ONCE;
    s->at_once += write;
    s->counted += !write;
    return write;
}

cn_err cn_refusals_note(cn_tenant *t, const cn_actor *who, const char *action, bool *ret_write) {
    holder *h;
    CN_TRY(take(t, &h));
    settle_all(h, cn_mono_ns());
    *ret_write = note(series_of(h, who, action));
    pthread_mutex_unlock(&h->lock);
    return CN_OK;
}

void cn_refusals_unwritten(cn_tenant *t, const cn_actor *who, const char *action) {
    holder *h;
    if (take(t, &h) != CN_OK)
        return;
    series_of(h, who, action)->counted++;
    pthread_mutex_unlock(&h->lock);
}

static void settle_one(void *p) {
    holder *h = p;
    pthread_mutex_lock(&h->lock);
    settle_all(h, cn_mono_ns());
    pthread_mutex_unlock(&h->lock);
}

void cn_refusals_settle(cn_data *d) { cn_tenant_each_slot(d, CN_SLOT_REFUSALS, settle_one); }
