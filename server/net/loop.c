/* An event loop: what other threads hand it, the passing of time, and its end. */
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "server/net/inside.h"
#include "server/net/notify.h"

#define TICK_MS 500

/* Not uv_async_send(): the loop, which goes before the sender, waits in a busy loop there for a sender that it has just put off
 * its processor (a seventh of all CPU time of a server under load). */
void loop_wake(loop *l) {
    uint64_t one = 1;
    ssize_t done = write(l->wake_fd, &one, sizeof one);
    (void)done; /* EAGAIN: 2^64 wakings wait already */
}

cn_err loop_hand_fd(loop *l, int fd, bool unix_socket) {
    cn_err err = CN_OK;
    pthread_mutex_lock(&l->lock);
    unsigned room = l->room_fds;
    if (cn_grow(l->fds, l->n_fds, room) && cn_grow(l->fd_is_unix, l->n_fds, l->room_fds)) { /* both of that size */
        l->fds[l->n_fds] = fd;
        l->fd_is_unix[l->n_fds++] = unix_socket;
    } else {
        close(fd);
        err = cn_fail_memory();
    }
    pthread_mutex_unlock(&l->lock);
    loop_wake(l);
    return err;
}

static void open_handed(loop *l) {
    for (;;) {
        pthread_mutex_lock(&l->lock);
        bool some = l->n_fds > 0, kind = some && l->fd_is_unix[l->n_fds - 1];
        int fd = some ? l->fds[--l->n_fds] : -1;
        pthread_mutex_unlock(&l->lock);
        if (!some)
            return;
        if (conn_open(l, fd, kind) != CN_OK)
            cn_log(CN_LOG_WARN, "conn.refused", "%s", cn_error_detail());
    }
}

static void finish_jobs(loop *l) {
    pthread_mutex_lock(&l->lock);
    job *list = l->done, *in_order = NULL;
    l->done = NULL;
    pthread_mutex_unlock(&l->lock);
    while (list) { /* handed over last first */
        job *next = list->next;
        list->next = in_order;
        in_order = list;
        list = next;
    }
    while (in_order) {
        job *next = in_order->next;
        job_finish(in_order);
        in_order = next;
    }
}

/* --- the end --- */
static void close_any(uv_handle_t *h, void *ctx) {
    (void)ctx;
    if (!uv_is_closing(h))
        uv_close(h, NULL);
}

static void close_idle(loop *l) {
    for (conn *c = l->conns, *next; c; c = next) {
        next = c->next;
        conn_go_on(c);
    }
}

static void stop_if_over(loop *l) {
    net *n = l->n;
    if (!atomic_load(&n->draining) || l->stopping)
        return;
    if (atomic_load(&n->forced))
        for (conn *c = l->conns, *next; c; c = next) {
            next = c->next;
            conn_close(c, "the server stops now");
        }
    else
        close_idle(l);
    if (l->conns)
        return;
    l->stopping = true;
    uv_walk(&l->uv, close_any, NULL);
}

static void on_wake(uv_poll_t *p, int status, int events) {
    loop *l = p->data;
    uint64_t times;
    (void)status;
    (void)events;
    ssize_t got = read(l->wake_fd, &times, sizeof times); /* before the lists: what comes after wakes again */
    (void)got;
    open_handed(l);
    finish_jobs(l);
    stop_if_over(l);
}

/* A new turn: every tenant may use the loop again, and who was put off comes first. */
static void on_turn(uv_prepare_t *p) {
    loop *l = p->data;
    if (l->used)
        memset(l->used_ns, 0, sizeof l->used_ns);
    l->used = false;
    conn_go_on_off(l);
}

/* --- time --- */
static bool over(uint64_t since, uint64_t now, uint64_t limit_ms) { return since && limit_ms && now - since > limit_ms * 1000000u; }

static void check_conn(conn *c, uint64_t now) {
    limits *lim = &c->l->n->lim;
    bool busy = c->inflight || c->writing;
    if (c->closing)
        return;
    if (over(c->end_ns, now, CN_LINGER_MS))
        conn_close(c, NULL);
    else if (c->writing && over(c->write_ns, now, atomic_load(&lim->write_ms)))
        conn_close(c, "it does not take its answers");
    else if (!c->paused && over(c->frame_ns, now, atomic_load(&lim->frame_ms)))
        conn_close(c, "a request stopped half-way");
    else if (!busy && over(c->active_ns, now, atomic_load(&lim->idle_ms)))
        conn_close(c, NULL);
}

/* A key that changed since is read again here, so that calls need not do it each time; one that went stays, and is refused. */
static void renew_key(conn *c, uint64_t epoch) {
    const cn_caller *old = &c->who->caller;
    if (c->closing || old->kind != CN_CALLER_KEY || old->checked_epoch == epoch)
        return;
    identity *fresh = identity_new();
    if (fresh && cn_service_renew(c->l->n->s, old, &fresh->arena, &fresh->caller) == CN_OK) {
        identity_unref(c->who);
        c->who = fresh;
    } else {
        identity_unref(fresh);
    }
}

static void on_tick(uv_timer_t *t) {
    loop *l = t->data;
    net *n = l->n;
    uint64_t now = cn_mono_ns(), epoch = 0;
    bool known = cn_keys_epoch(cn_service_data(n->s), &epoch) == CN_OK;
    for (conn *c = l->conns, *next; c; c = next) {
        next = c->next;
        check_conn(c, now);
        if (known)
            renew_key(c, epoch);
    }
    if (atomic_load(&n->draining) && now > atomic_load(&n->drain_end_ns))
        atomic_store(&n->forced, true);
    if (l->number == 0)
        server_accept_again(n);
    if (l->number == 0 && getenv("WATCHDOG_USEC"))
        cn_notify("WATCHDOG=1");
    stop_if_over(l);
}

/* --- beginning --- */
cn_err loop_init(loop *l, net *n, unsigned number) {
    *l = (loop){.n = n, .number = number};
    pthread_mutex_init(&l->lock, NULL);
    l->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    CN_TRY(l->wake_fd >= 0 ? cn_call_init(&l->kit.call) : cn_fail(CN_UNAVAILABLE, "an eventfd for an event loop: %s", strerror(errno)));
    int rc = uv_loop_init(&l->uv);
    if (rc == 0)
        rc = uv_poll_init(&l->uv, &l->wake, l->wake_fd);
    if (rc == 0)
        rc = uv_poll_start(&l->wake, UV_READABLE, on_wake);
    if (rc == 0)
        rc = uv_timer_init(&l->uv, &l->tick);
    if (rc == 0)
        rc = uv_timer_start(&l->tick, on_tick, TICK_MS, TICK_MS);
    if (rc == 0)
        rc = uv_prepare_init(&l->uv, &l->turn);
    if (rc == 0)
        rc = uv_prepare_start(&l->turn, on_turn);
    if (rc == 0)
        rc = uv_idle_init(&l->uv, &l->more);
    if (rc != 0)
        return cn_fail(CN_UNAVAILABLE, "an event loop: %s", uv_strerror(rc));
    l->wake.data = l->tick.data = l->turn.data = l;
    return CN_OK;
}

void loop_run(loop *l) {
    uv_run(&l->uv, UV_RUN_DEFAULT);
}

static void close_handle(uv_handle_t *h, void *arg) {
    (void)arg;
    if (!uv_is_closing(h))
        uv_close(h, NULL);
}

void loop_done(loop *l) {
    finish_jobs(l);
    uv_walk(&l->uv, close_handle, NULL); /* a loop that never ran, for want of a thread or a listener, still has its own */
    uv_run(&l->uv, UV_RUN_DEFAULT);
    while (l->n_fds) /* handed over after its end */
        close(l->fds[--l->n_fds]);
    uv_loop_close(&l->uv);
    close(l->wake_fd);
    kit_done(&l->kit);
    cn_free(l->fds);
    cn_free(l->fd_is_unix);
    pthread_mutex_destroy(&l->lock);
}
