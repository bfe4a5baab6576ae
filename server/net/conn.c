/* One connection: bytes in, frames out of them, answers back; nothing here grows without bound. */
#include <stdio.h>

#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "server/net/inside.h"

static void process(conn *c);

/* --- memory for what is sent --- */
static size_t out_cap(const net *n) { return 2 * atomic_load(&n->lim.max_response) + HIGH_WATER; }

void conn_expect(conn *c) {
    size_t cap = out_cap(c->l->n);
    c->out.cap = c->out.cap > cap ? c->out.cap : cap;
}

/* --- memory for what is read --- */
static bool charge(conn *c, size_t in_room) {
    size_t now = held(in_room) + held(c->out.room) + held(c->sending.room);
    atomic_store(&c->unsent, c->out.n + (c->writing ? c->sending.n : 0));
    return net_charge(c->l->n, &c->charged, now);
}

bool conn_charge(conn *c) { return charge(c, c->room); }

static bool grow(conn *c, size_t room) {
    if (!charge(c, room)) {
        conn_charge(c);
        return false;
    }
    char *p = cn_realloc(c->in, room);
    if (!p)
        return false;
    c->in = p;
    c->room = room;
    return true;
}

static void shrink(conn *c) {
    if (c->start < c->have)
        return;
    c->start = c->have = 0;
    if (c->room <= KEEP_BUFFER)
        return;
    cn_free(c->in);
    c->in = NULL;
    c->room = 0;
    conn_charge(c);
}

/* Room for the rest of the frame under way, or for a step. */
static void give_room(uv_handle_t *h, size_t suggested, uv_buf_t *buf) {
    (void)suggested;
    conn *c = h->data;
    if (c->start) {
        memmove(c->in, c->in + c->start, c->have - c->start);
        c->have -= c->start;
        c->start = 0;
    }
    size_t need = c->frames.scan.need > c->have ? c->frames.scan.need - c->have : 0, step = READ_STEP / 4;
    if (need > step)
        step = need < 16 * READ_STEP ? need : 16 * READ_STEP;
    *buf = (uv_buf_t){0};
    if (c->room - c->have < step / 4 + 1 && !grow(c, c->have + step > 2 * c->room ? c->have + step : 2 * c->room))
        return; /* libuv reports ENOBUFS */
    size_t room = c->room - c->have;
    *buf = (uv_buf_t){c->in + c->have, room < 16 * READ_STEP ? room : 16 * READ_STEP};
}

/* --- reading --- */
static void on_read(uv_stream_t *stream, ssize_t got, const uv_buf_t *buf) {
    (void)buf;
    conn *c = stream->data;
    if (got > 0 && c->ending) {
        return; /* unheard */
    } else if (got > 0) {
        c->have += (size_t)got;
        c->active_ns = cn_mono_ns();
        process(c);
    } else if (got == UV_EOF) {
        c->eof = true;
        atomic_store(&c->gone, true);
        uv_read_stop(stream);
        c->reading = false;
        conn_go_on(c);
    } else if (got == UV_ENOBUFS) {
        conn_close(c, "too many bytes are held already for all connections (max_buffered)");
    } else if (got < 0) {
        conn_close(c, NULL);
    }
}

static void set_reading(conn *c, bool on) {
    if (on == c->reading || c->eof)
        return;
    c->reading = on;
    if (!on)
        uv_read_stop(&c->uv.stream);
    else if (uv_read_start(&c->uv.stream, give_room, on_read) != 0)
        conn_close(c, "reading failed");
}

static bool must_wait(const conn *c) {
    return c->inflight >= atomic_load(&c->l->n->lim.max_pipelined) || c->out.n + (c->writing ? c->sending.n : 0) > HIGH_WATER;
}

/* --- a tenant that has had its share of a turn --- */
static void on_more(uv_idle_t *i) { (void)i; }

static bool had_its_share(const conn *c) { return c->l->used_ns[c->lane] >= TAKE_US * 1000u; }

static void put_off(conn *c) {
    loop *l = c->l;
    if (c->off)
        return;
    c->off = true;
    c->next_off = NULL;
    *(l->off ? &l->last_off->next_off : &l->off) = c;
    l->last_off = c;
    uv_idle_start(&l->more, on_more);
}

static conn *first_off(loop *l) {
    conn *c = l->off;
    l->off = c->next_off;
    c->off = false;
    return c;
}

static void not_off(conn *c) {
    conn **at = &c->l->off, *before = NULL;
    if (!c->off)
        return;
    for (; *at != c; at = &before->next_off)
        before = *at;
    *at = c->next_off;
    if (c->l->last_off == c)
        c->l->last_off = before;
    c->off = false;
}

void conn_go_on_off(loop *l) {
    for (conn *last = l->last_off, *c = NULL; l->off && c != last;) {
        c = first_off(l);
        process(c);
        conn_go_on(c);
    }
    if (!l->off)
        uv_idle_stop(&l->more);
}

void conn_end(conn *c, const char *why) {
    if (c->closing || c->ending)
        return;
    cn_log(CN_LOG_WARN, "conn.closed", "conn=%llu who=%s %s", (unsigned long long)c->id, c->who->caller.who, why);
    c->ending = true;
    c->frame_ns = 0;
    c->start = c->have;
    shrink(c);
    conn_flush(c);
    if (!c->closing)
        set_reading(c, true);
    conn_go_on(c);
}

void conn_refuse(conn *c, cn_str bytes, cn_err err) {
    uint64_t msgid = UINT32_MAX;
    char why[CN_ERROR_TEXT];
    snprintf(why, sizeof why, "%s", cn_error_detail());
    cn_request_begins(bytes, &msgid);
    cn_rpc_error(&c->out, msgid, err, why);
    conn_end(c, why);
}

/* auth may be among the frames that are there: so this is asked before each. */
static cn_err next_frame(conn *c, size_t *ret_n) {
    size_t most = atomic_load(&c->l->n->lim.max_frame);
    bool stranger = c->who->caller.kind == CN_CALLER_NOBODY && most > STRANGER_FRAME;
    c->frames.max = stranger ? STRANGER_FRAME : most;
    cn_err err = cn_frames_next(&c->frames, c->in + c->start, c->have - c->start, ret_n);
    if (err == CN_INVALID && stranger && c->frames.scan.need > STRANGER_FRAME)
        return cn_fail(CN_INVALID, "a message of %zu bytes or more; this end takes at most %d before auth: call auth {key} first", c->frames.scan.need, STRANGER_FRAME);
    return err;
}

/* Deals with every whole frame there is, as long as its answers are taken and its tenant has not had its share of this turn. */
static void process(conn *c) {
    while (!c->closing && !c->ending && c->start < c->have && !(c->paused = must_wait(c)) && !had_its_share(c)) {
        size_t n;
        cn_err err = next_frame(c, &n);
        if (err == CN_UNAVAILABLE)
            break;
        if (err != CN_OK) {
            conn_refuse(c, (cn_str){c->in + c->start, c->have - c->start}, err);
            return;
        }
        cn_str frame = {c->in + c->start, n};
        c->start += n;
        c->frame_ns = 0;
        dispatch(c, frame);
        if (c->out.n > READ_STEP)
            conn_flush(c);
    }
    if (c->closing || c->ending)
        return;
    c->paused = must_wait(c);
    if (c->start < c->have && !c->paused && had_its_share(c))
        put_off(c);
    if (c->start < c->have && !c->paused && !c->off && !c->frame_ns)
        c->frame_ns = cn_mono_ns(); /* a frame has begun; its rest must come in time */
    shrink(c);
    conn_flush(c);
    if (!c->closing)
        set_reading(c, !c->paused && !(c->off && c->have - c->start >= READ_STEP));
}

static void on_shut(uv_shutdown_t *s, int status) {
    (void)s;
    (void)status; /* the other end has closed, or will, or the time is up */
}

/* The last answer is out: the other end is told so, and its own end awaited. */
static void say_end(conn *c) {
    if (c->shut)
        return;
    c->shut = true;
    c->end_ns = cn_mono_ns();
    if (uv_shutdown(&c->shutdown, &c->uv.stream, on_shut) != 0)
        conn_close(c, NULL);
}

void conn_go_on(conn *c) {
    if (c->closing)
        return;
    if (c->paused && !c->ending && !must_wait(c)) {
        process(c);
        if (c->closing)
            return;
    }
    bool drained = c->inflight == 0 && !c->writing && c->out.n == 0, draining = atomic_load(&c->l->n->draining);
    if (!drained || ((c->paused || c->off) && !c->ending))
        return;
    if (c->eof && c->start < c->have)
        conn_refuse(c, (cn_str){c->in + c->start, c->have - c->start}, cn_fail(CN_INVALID, "the connection ended inside a message"));
    else if (c->eof || (draining && c->start == c->have))
        conn_close(c, NULL);
    else if (c->ending)
        say_end(c);
}

/* --- writing --- */
static void on_written(uv_write_t *w, int status) {
    conn *c = w->data;
    c->writing = false;
    if (c->closing)
        return;
    if (status < 0) {
        conn_close(c, NULL);
        return;
    }
    c->active_ns = cn_mono_ns();
    conn_flush(c);
    conn_go_on(c);
}

/* Tries at once; what the kernel does not take waits in `sending`, while new answers gather in `out`. */
static void flush(conn *c) {
    if (c->closing || c->writing || (c->out.n == 0 && !c->out.failed))
        return;
    if (c->out.failed) {
        conn_close(c, c->out.refused ? "there is no memory for its answers" : "it does not take its answers");
        return;
    }
    cn_buf swap = c->sending;
    c->sending = c->out;
    c->out = swap;
    cn_buf_reset(&c->out);
    uv_buf_t buf = {c->sending.p, c->sending.n};
    int sent = uv_try_write(&c->uv.stream, &buf, 1);
    if (sent == (int)c->sending.n) {
        if (c->sending.room > KEEP_BUFFER)
            cn_buf_done(&c->sending);
        cn_buf_reset(&c->sending);
        return;
    }
    if (sent < 0 && sent != UV_EAGAIN) {
        conn_close(c, NULL);
        return;
    }
    size_t done = sent > 0 ? (size_t)sent : 0;
    buf = (uv_buf_t){c->sending.p + done, c->sending.n - done};
    c->write.data = c;
    c->writing = true;
    c->write_ns = cn_mono_ns();
    if (uv_write(&c->write, &c->uv.stream, &buf, 1, on_written) != 0) {
        c->writing = false;
        conn_close(c, NULL);
    }
}

void conn_flush(conn *c) {
    flush(c);
    conn_charge(c);
}

/* --- beginning and end --- */
void conn_free_if_over(conn *c) {
    if (!c->closed || c->inflight)
        return;
    identity_unref(c->who);
    cn_buf_done(&c->out);
    cn_buf_done(&c->sending);
    cn_free(c->in);
    net_charge(c->l->n, &c->charged, 0);
    cn_free(c);
}

static void on_closed(uv_handle_t *h) {
    conn *c = h->data;
    c->closed = true;
    *(c->prev ? &c->prev->next : &c->l->conns) = c->next;
    if (c->next)
        c->next->prev = c->prev;
    atomic_fetch_sub(&c->l->n->connections, 1);
    conn_free_if_over(c);
}

void conn_close(conn *c, const char *why) {
    if (c->closing)
        return;
    c->closing = true;
    atomic_store(&c->gone, true);
    not_off(c);
    if (why)
        cn_log(CN_LOG_WARN, "conn.closed", "conn=%llu who=%s %s", (unsigned long long)c->id, c->who ? c->who->caller.who : "nobody", why);
    else
        cn_log(CN_LOG_DEBUG, "conn.closed", "conn=%llu", (unsigned long long)c->id);
    uv_close(&c->uv.handle, on_closed);
}

static int open_handle(conn *c, loop *l, int fd, bool unix_socket) {
    int rc = unix_socket ? uv_pipe_init(&l->uv, &c->uv.pipe, 0) : uv_tcp_init(&l->uv, &c->uv.tcp);
    if (rc != 0) {
        close(fd);
        return rc;
    }
    c->uv.handle.data = c;
    c->next = l->conns;
    if (l->conns)
        l->conns->prev = c;
    l->conns = c;
    rc = unix_socket ? uv_pipe_open(&c->uv.pipe, fd) : uv_tcp_open(&c->uv.tcp, fd);
    if (rc != 0)
        close(fd);
    else if (!unix_socket)
        uv_tcp_nodelay(&c->uv.tcp, 1);
    return rc;
}

/* fd becomes the connection's in any case. */
cn_err conn_open(loop *l, int fd, bool unix_socket) {
    net *n = l->n;
    conn *c = cn_calloc(1, sizeof *c);
    identity *who = identity_new();
    if (!c || !who) {
        cn_free(c);
        identity_unref(who);
        close(fd);
        return cn_fail_memory();
    }
    c->l = l;
    c->who = who;
    c->id = atomic_fetch_add(&n->next_id, 1) + 1;
    c->active_ns = cn_mono_ns();
    cn_frames_init(&c->frames, atomic_load(&n->lim.max_frame));
    cn_buf_init(&c->out, out_cap(n));
    cn_buf_init(&c->sending, c->out.cap);
    atomic_fetch_add(&n->connections, 1);
    int rc = open_handle(c, l, fd, unix_socket);
    if (rc != 0) {
        if (c->uv.handle.data) {
            conn_close(c, "it could not be taken over");
        } else { /* no handle yet, whose close would do this */
            atomic_fetch_sub(&n->connections, 1);
            c->closed = true;
            conn_free_if_over(c);
        }
        return cn_fail(CN_UNAVAILABLE, "a connection: %s", uv_strerror(rc));
    }
    set_reading(c, true);
    return CN_OK;
}
