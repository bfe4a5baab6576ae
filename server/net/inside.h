/* inside.h -- what the files of server/net share. For server/net only.
 *
 * Owns:    drawn below; a conn belongs to its loop's thread, a job to whoever runs it, the rest is shared.
 * Thread:  as said at each part.
 * Limits:  config.h. */
#pragma once
#include <pthread.h>
#include <stdatomic.h>
#include <uv.h>

#include "engine/base/pool.h"
#include "server/net/listen.h"
#include "server/net/server.h"
#include "server/wire/rpc.h"

#define INLINE_FRAME 65536        /* larger requests are never looked into on a loop */
#define INLINE_US 200             /* a search known to take less runs where it was read */
#define HELD_US 2000              /* and one that worked so long is dear at once: job.c */
#define TURN_US 250              /* one tenant's requests run on a loop so long in one turn of it; the rest goes to a pool */
#define TAKE_US 500              /* and so long they are taken from its connections at all; the rest waits for the next turn */
#define QUERY_NICE 5              /* of the query workers: a loop that all wait for goes first */
#define LONG_NICE 10              /* of the threads for long work and what they start: questions go before them */
#define CHANGE_THREADS 4          /* for what takes a tenant's one writer: a tenant whose writer hangs holds one of them */
#define COSTS 8192                /* places of the table of costs */
#define READ_STEP 65536
#define STRANGER_FRAME 65536      /* largest request of a connection that has not said a key */
#define KEEP_BUFFER ((size_t)256 << 10) /* larger buffers are given back when empty */
#define HIGH_WATER ((size_t)4 << 20)    /* unsent bytes at which reading stops */
#define UNSENT_MAX (2 * HIGH_WATER)     /* unsent bytes at which requests already taken are refused instead of worked on */
#define IDLE_JOBS 64              /* kept for the next requests, with buffers of at most READ_STEP each */
#define AUTH_TRIES 10             /* wrong keys on one connection */

/* Who a connection speaks for; replaced whole by auth, so that requests under way keep theirs. Counted. */
typedef struct identity {
    atomic_uint refs;
    cn_caller caller;
    cn_arena arena;
} identity;

/* What one thread needs to run requests. */
typedef struct kit {
    cn_call call;
    cn_unpacked unpacked;
    struct kit *next;
} kit;

typedef struct net net;
typedef struct loop loop;
typedef struct conn conn;

/* A request on its way through a pool: the worker writes `out`, the loop sends it. */
typedef struct job {
    net *n;
    conn *c;
    identity *who;
    uint64_t msgid, start_ns, limit_ms; /* limit_ms: from start_ns on, waiting included */
    cn_buf frame, out;       /* a copy of the request; its answer */
    uint32_t like;           /* hash of the searches that cost the same; 0: none */
    size_t charged;
    struct job *next;
} job;

/* Limits a SIGHUP may change; read anew by each use. */
typedef struct limits {
    atomic_uint max_connections, max_pipelined;
    atomic_ullong max_frame, max_response, max_buffered, idle_ms, frame_ms, write_ms, request_ms, gate_ms, drain_ms, slow_ms;
} limits;

struct net {
    cn_service *s;
    limits lim;
    cn_pool *queries, *longs, *changes;
    pthread_mutex_t kit_lock; /* of kits and idle jobs */
    kit *kits;
    job *idle;
    unsigned n_idle;
    loop *loops;
    unsigned n_loops, next_loop;
    atomic_uint connections, running;
    atomic_ullong buffered, next_id, drain_end_ns;
    atomic_bool draining, forced;
    /* What searches of a hash cost: the epoch at which it was last measured (32 bits), the hash's upper half (16), microseconds, a
     * running median (16; 0: not known). */
    atomic_ullong costs[COSTS];
    uint64_t cost_seed;
    cn_listener *listeners;
    uv_stream_t **listening;
    size_t n_listeners;
    cn_config *config;
    cn_err (*reload)(void *ctx, cn_config *ret);
    void *reload_ctx;
};

struct loop {
    net *n;
    unsigned number;
    uv_loop_t uv;
    int wake_fd;             /* an eventfd; open until all threads that may wake the loop have ended */
    uv_poll_t wake;
    uv_timer_t tick;
    uv_prepare_t turn;
    uv_idle_t more;          /* active while a connection is put off: the next turn shall begin at once */
    conn *off, *last_off;    /* put off, in the order in which they go on */
    uint64_t used_ns[CN_POOL_LANES]; /* by each tenant's lane, in this turn */
    bool used;
    uv_signal_t signals[3];
    pthread_t thread;
    pthread_mutex_t lock;    /* of the two lists below: what other threads hand over */
    job *done;
    int *fds;                /* accepted sockets */
    bool *fd_is_unix;
    unsigned n_fds, room_fds;
    conn *conns;
    kit kit;
    bool stopping;
};

struct conn {
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } uv;
    loop *l;
    conn *prev, *next, *next_off;
    uint64_t id;
    char *in;                /* bytes read; in[start .. have) are not yet dealt with */
    size_t start, have, room, charged;
    atomic_bool gone;        /* the other end has closed, or will be: for those who would work for it in vain */
    atomic_size_t unsent;    /* bytes of answers that the other end has not taken; for those who work for it elsewhere */
    cn_frames frames;
    cn_buf out, sending;
    uv_write_t write;
    uv_shutdown_t shutdown;
    bool writing, reading, paused, off, eof, ending, shut, closing, closed;
    identity *who;
    unsigned inflight, wrong_keys, lane; /* lane: of the request before */
    uint64_t active_ns, frame_ns, write_ns, end_ns;
};

/* conn.c -- on the loop's thread */
cn_err conn_open(loop *l, int fd, bool unix_socket);
void conn_close(conn *c, const char *why); /* why NULL: an ordinary end, logged at debug */
/* No request is taken any more: what is under way is answered, then the other end's close is awaited, for CN_LINGER_MS at
 * most, since closing over unread bytes would take the last answer back. */
void conn_end(conn *c, const char *why);
/* conn_end() for bytes that are no message: answers them with the error, under their msgid or else UINT32_MAX. */
void conn_refuse(conn *c, cn_str bytes, cn_err err);
#define CN_LINGER_MS 2000
void conn_expect(conn *c);                 /* an answer is about to be added to `out`: max_response may have grown since the last one */
void conn_flush(conn *c);
bool conn_charge(conn *c);                 /* false: all connections and jobs together hold more than max_buffered */
void conn_go_on(conn *c);                  /* after an answer: read on, or end when that was the last thing to do */
void conn_free_if_over(conn *c);
void conn_go_on_off(loop *l);              /* a new turn: those put off in the one before go on */
/* dispatch.c -- on the loop's thread */
void dispatch(conn *c, cn_str frame);
/* Buffers over READ_STEP count towards max_buffered: requests that are read or wait, answers that wait to be sent. */
static inline size_t held(size_t room) { return room > READ_STEP ? room : 0; }
/* *charged becomes `now`; false: it is over the limit with that. */
static inline bool net_charge(net *n, size_t *charged, size_t now) {
    atomic_fetch_add(&n->buffered, now);
    atomic_fetch_sub(&n->buffered, *charged);
    *charged = now;
    return now == 0 || atomic_load(&n->buffered) <= atomic_load(&n->lim.max_buffered);
}
/* job.c */
cn_err job_submit(conn *c, cn_pool *pool, unsigned lane, cn_str frame, uint64_t msgid, uint64_t start_ns, uint64_t limit_ms, uint32_t like);
void jobs_done(net *n);                    /* frees the idle ones */
void job_finish(job *j);                   /* on the loop's thread: sends the answer */
/* Runs one request and appends its answer (a result or an error). Any thread with its own kit. */
void run_request(net *n, kit *k, identity *who, cn_str frame, uint64_t start_ns, uint64_t limit_ms, uint32_t like, cn_buf *out);
uint32_t cost_known(net *n, uint32_t like, uint32_t *ret_epoch); /* microseconds, measured in that epoch; 0: not known */
kit *kit_take(net *n);
void kit_give(net *n, kit *k);
void kit_done(kit *k);
/* server.c */
void server_accept_again(net *n);          /* on the first loop: takes connections for which there was no memory */
/* identity.c */
identity *identity_new(void);              /* nobody; NULL without memory */
identity *identity_ref(identity *i);
void identity_unref(identity *i);
/* loop.c */
cn_err loop_init(loop *l, net *n, unsigned number);
void loop_run(loop *l);
void loop_wake(loop *l);                    /* any thread */
cn_err loop_hand_fd(loop *l, int fd, bool unix_socket); /* fd becomes the loop's in any case */
void loop_done(loop *l);
