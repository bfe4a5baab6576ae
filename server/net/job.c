/* Running requests: on a loop for cheap ones, by a pool for the others. */
#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "server/net/inside.h"

/* --- kits --- */
kit *kit_take(net *n) {
    pthread_mutex_lock(&n->kit_lock);
    kit *k = n->kits;
    if (k)
        n->kits = k->next;
    pthread_mutex_unlock(&n->kit_lock);
    if (k)
        return k;
    k = cn_calloc(1, sizeof *k);
    if (k && cn_call_init(&k->call) != CN_OK) {
        cn_free(k);
        return NULL;
    }
    return k;
}

void kit_give(net *n, kit *k) {
    pthread_mutex_lock(&n->kit_lock);
    k->next = n->kits;
    n->kits = k;
    pthread_mutex_unlock(&n->kit_lock);
}

void kit_done(kit *k) {
    cn_call_done(&k->call);
    cn_unpacked_done(&k->unpacked);
}

/* --- one request --- */
static cn_err call_method(net *n, kit *k, const cn_message *m, uint64_t start_ns, uint64_t limit_ms, cn_buf *out) {
    const msgpack_object *map;
    k->call.start_ns = start_ns;
    k->call.deadline_ns = start_ns + limit_ms * 1000000u;
    CN_TRY(cn_unpack(&k->unpacked, m->params.p, m->params.n));
    CN_TRY(cn_params_map(&k->unpacked.o, &map));
    return cn_service_call(n->s, &k->call, m->method, map, out);
}

/* An eighth up or down, towards what was seen: a running median, which searches that lost their processor for milliseconds, or
 * waited once for a disk, do not move far, as they would a mean. */
static uint64_t towards(uint64_t before, uint64_t us) {
    uint64_t step = before / 8 + 1;
    return us > before ? (us - before < step ? us : before + step) : before - us < step ? us : before - step;
}

uint32_t cost_known(net *n, uint32_t like, uint32_t *ret_epoch) {
    uint64_t v = atomic_load_explicit(&n->costs[like % COSTS], memory_order_relaxed);
    *ret_epoch = (uint32_t)(v >> 32);
    return (v >> 16 & UINT16_MAX) == like >> 16 ? v & UINT16_MAX : 0;
}

/* What a search costs, for the next one like it. The first of an epoch also makes what the others find made; that is no cost of
 * theirs. One that read nothing (epoch 0) says nothing. What is known to be cheap and worked for long (cpu_us: of the processor
 * alone, which a thread may lose for longer) did not find its set of rows in the cache, and will not the next time: it is dear. */
static void learn_cost(net *n, uint32_t like, uint64_t us, uint64_t cpu_us, uint64_t epoch) {
    if (!like || !epoch)
        return;
    uint32_t then, before = cost_known(n, like, &then);
    bool same = before && then == (uint32_t)epoch;
    uint64_t now = same && cpu_us > HELD_US ? us : same ? towards(before, us) : before ? before : us;
    now = now < 1 ? 1 : now > UINT16_MAX ? UINT16_MAX : now;
    atomic_store_explicit(&n->costs[like % COSTS], epoch << 32 | (uint64_t)(like >> 16) << 16 | now, memory_order_relaxed);
}

static void log_slow(net *n, const cn_message *m, const identity *who, uint64_t start_ns, cn_err err) {
    uint64_t us = (cn_mono_ns() - start_ns) / 1000;
    if (us / 1000 >= atomic_load(&n->lim.slow_ms))
        cn_log(CN_LOG_WARN, "request.slow", "method=" CN_STR_FMT " who=%s dur_us=%llu outcome=%s", CN_STR_ARG(m->method), who->caller.who,
               (unsigned long long)us, cn_err_name(err));
}

void run_request(net *n, kit *k, identity *who, cn_str frame, uint64_t start_ns, uint64_t limit_ms, uint32_t like, cn_buf *out) {
    cn_message m;
    uint64_t began = cn_mono_ns(), cpu = like ? cn_thread_cpu_ns() : 0;
    size_t before = out->n;
    cn_err err = cn_message_parse(frame, &m);
    CN_ASSERT(err == CN_OK); /* whoever hands it over has parsed it */
    k->call.caller = &who->caller;
    k->call.epoch = 0;
    cn_rpc_result_open(out, m.msgid);
    err = call_method(n, k, &m, start_ns, limit_ms, out);
    if (err != CN_OK || out->failed) {
        out->n = before;
        out->failed = false;
        cn_rpc_error(out, m.msgid, err == CN_OK ? CN_OVERLOADED : err, cn_error_detail());
    }
    if (err == CN_INTERNAL || err == CN_DAMAGED)
        cn_log(CN_LOG_ERROR, "request.failed", "method=" CN_STR_FMT " code=%s %s", CN_STR_ARG(m.method), cn_err_name(err), cn_error_detail());
    learn_cost(n, like, (cn_mono_ns() - began) / 1000, like ? (cn_thread_cpu_ns() - cpu) / 1000 : 0, k->call.epoch);
    log_slow(n, &m, who, start_ns, err);
    cn_call_reset(&k->call);
}

/* --- pools --- */
/* A warm request takes nothing from the heap here either: jobs and their buffers are used again. */
static job *job_take(net *n) {
    pthread_mutex_lock(&n->kit_lock);
    job *j = n->idle;
    if (j) {
        n->idle = j->next;
        n->n_idle--;
    }
    pthread_mutex_unlock(&n->kit_lock);
    return j ? j : cn_calloc(1, sizeof *j);
}

static void job_free(job *j) {
    cn_buf_done(&j->frame);
    cn_buf_done(&j->out);
    cn_free(j);
}

static void keep_small(cn_buf *b) {
    if (b->room > READ_STEP)
        cn_buf_done(b);
    cn_buf_reset(b);
}

static bool job_charge(job *j) { return net_charge(j->n, &j->charged, held(j->frame.room) + held(j->out.room)); }

static void job_give(job *j) {
    net *n = j->n;
    identity_unref(j->who);
    keep_small(&j->frame);
    keep_small(&j->out);
    job_charge(j);
    pthread_mutex_lock(&n->kit_lock);
    bool keep = n->n_idle < IDLE_JOBS;
    if (keep) {
        j->next = n->idle;
        n->idle = j;
        n->n_idle++;
    }
    pthread_mutex_unlock(&n->kit_lock);
    if (!keep)
        job_free(j);
}

void jobs_done(net *n) {
    for (job *j = n->idle, *next; j; j = next) {
        next = j->next;
        job_free(j);
    }
}

static void refuse(job *j, cn_err code, const char *why) { cn_rpc_error(&j->out, j->msgid, code, why); }

static void run_job(job *j) {
    net *n = j->n;
    uint64_t waited_ms = (cn_mono_ns() - j->start_ns) / 1000000;
    if (atomic_load(&n->forced)) {
        refuse(j, CN_UNAVAILABLE, "the server is stopping");
        return;
    }
    if (atomic_load(&j->c->unsent) > UNSENT_MAX) {
        refuse(j, CN_OVERLOADED, "this connection does not take its answers;");
        return;
    }
    if (waited_ms >= j->limit_ms) {
        refuse(j, CN_DEADLINE, "the request waited for a free thread until its time was up");
        return;
    }
    kit *k = kit_take(n);
    if (!k) {
        refuse(j, CN_OVERLOADED, "out of memory");
        return;
    }
    k->call.gone = &j->c->gone;
    run_request(n, k, j->who, cn_buf_str(&j->frame), j->start_ns, j->limit_ms, j->like, &j->out);
    k->call.gone = NULL;
    kit_give(n, k);
}

static void work(void *arg) {
    job *j = arg;
    loop *l = j->c->l; /* the connection stays as long as a job of it is under way */
    run_job(j);
    if (held(j->frame.room))
        cn_buf_done(&j->frame);
    if (!job_charge(j) && held(j->out.room)) {
        cn_buf_done(&j->out);
        refuse(j, CN_OVERLOADED, "the server holds as many bytes of requests and answers as it may (max_buffered);");
        job_charge(j);
    }
    atomic_fetch_sub(&j->n->running, 1);
    pthread_mutex_lock(&l->lock);
    bool first = !l->done; /* the others of a list need not wake; a loop that has ended takes it at its clearing up */
    j->next = l->done;
    l->done = j;
    pthread_mutex_unlock(&l->lock);
    if (first)
        loop_wake(l);
}

cn_err job_submit(conn *c, cn_pool *pool, unsigned lane, cn_str frame, uint64_t msgid, uint64_t start_ns, uint64_t limit_ms, uint32_t like) {
    net *n = c->l->n;
    job *j = job_take(n);
    if (!j)
        return cn_fail_memory();
    *j = (job){.n = n, .c = c, .who = identity_ref(c->who), .msgid = msgid, .start_ns = start_ns, .limit_ms = limit_ms, .frame = j->frame, .out = j->out, .like = like};
    j->frame.cap = frame.n > j->frame.room ? frame.n : j->frame.room;
    j->out.cap = atomic_load(&n->lim.max_response);
    cn_buf_add(&j->frame, frame.p, frame.n);
    if (j->frame.failed || !job_charge(j)) {
        job_give(j);
        return cn_fail(CN_OVERLOADED, "out of memory, or over max_buffered");
    }
    atomic_fetch_add(&n->running, 1);
    c->inflight++;
    cn_err err = cn_pool_submit(pool, lane, work, j);
    if (err != CN_OK) {
        atomic_fetch_sub(&n->running, 1);
        c->inflight--;
        job_give(j);
    }
    return err;
}

void job_finish(job *j) {
    conn *c = j->c;
    c->inflight--;
    c->active_ns = cn_mono_ns();
    if (!c->closing) {
        conn_expect(c);
        cn_buf_add(&c->out, j->out.p, j->out.n);
        if (j->out.failed) /* the error had no room either: the connection ends, for half of it would take the next answers with it */
            c->out.failed = true, c->out.refused = j->out.refused;
        conn_flush(c);
    }
    job_give(j);
    if (c->closing)
        conn_free_if_over(c);
    else
        conn_go_on(c);
}
