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
    series v[CN_REFUSALS], others;
} holder;

/* ---------- a count becomes a record ---------- */
typedef struct count {
    cn_tenant *t;
    const series *s;
} count;

static cn_err add_count(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    (void)c;
    const count *n = ctx;
    char since[CN_TIME_TEXT], outcome[160];
    cn_time_text(n->s->from_us, since);
    snprintf(outcome, sizeof outcome, "refused: %llu more attempts since %s, counted and not written one by one", (unsigned long long)n->s->counted, since);
    const cn_actor who = {cn_str_of(n->s->who), CN_STR("rpc"), CN_STR("")};
    return cn_audit_add(n->t, txn, &who, n->s->action, CN_STR(""), outcome, (cn_str){0});
}

static void begin(series *s, uint64_t span_us, uint32_t at_once) {
    s->from_us = cn_wall_us();
    s->end_ns = cn_mono_ns() + span_us * 1000;
    s->span_us = span_us;
    s->at_once = at_once;
    s->counted = 0;
}

/* Its time is over: it ends, or goes on for twice as long. */
static void settle(cn_tenant *t, series *s) {
    uint64_t longer = 2 * s->span_us;
    if (!s->counted)
        s->action = NULL;
    else if (cn_catalog_write(t, add_count, &(count){t, s}) == CN_OK)
        begin(s, longer < CN_REFUSALS_MOST_US ? longer : CN_REFUSALS_MOST_US, CN_REFUSALS_AT_ONCE);
}

static void settle_all(holder *h, uint64_t now_ns) {
    for (uint32_t i = 0; i <= CN_REFUSALS; i++) {
        series *s = i < CN_REFUSALS ? &h->v[i] : &h->others;
        if (s->action && now_ns >= s->end_ns)
            settle(h->t, s);
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

static bool is_there(const cn_tenant *t) {
    char path[CN_PATH_MAX];
    return snprintf(path, sizeof path, "%s/control.mdb", cn_tenant_dir(t)) < (int)sizeof path && access(path, F_OK) == 0;
}

/* All that is counted is written: nobody would write it later. */
static void free_holder(void *p) {
    holder *h = p;
    if (is_there(h->t)) /* not dropped */
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

static bool note(holder *h, const char *who, const char *action) {
    series *s = find(h, who, action);
    if (!s->action) {
        bool named = s != &h->others;
        snprintf(s->who, sizeof s->who, "%s", named ? who : "other keys");
        s->action = named ? action : "other actions";
        begin(s, CN_REFUSALS_FIRST_US, 0);
    }
    bool write = s->at_once < CN_REFUSALS_AT_ONCE;
    s->at_once += write;
    s->counted += !write;
    return write;
}

cn_err cn_refusals_note(cn_tenant *t, const cn_actor *who, const char *action, bool *ret_write) {
    holder *h;
    char name[WHO_MAX];
    CN_TRY(take(t, &h));
    snprintf(name, sizeof name, CN_STR_FMT, CN_STR_ARG(who->who));
    settle_all(h, cn_mono_ns());
    *ret_write = note(h, name, action);
    pthread_mutex_unlock(&h->lock);
    return CN_OK;
}

void cn_refusals_settle(cn_tenant *t) {
    holder *h;
    if (take(t, &h) != CN_OK)
        return;
    settle_all(h, cn_mono_ns());
    pthread_mutex_unlock(&h->lock);
}
