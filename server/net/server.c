/* Starting, accepting, reloading, draining. */
#include "server/net/server.h"

#include <signal.h>
#include <sys/resource.h>

#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "server/net/inside.h"
#include "server/net/log_sink.h"
#include "server/net/notify.h"

#define FILES_BESIDE 256 /* segments, environments, logs, pipes */
#define FORCED_WAIT_MS 2000

static void set_limits(limits *lim, const cn_config *c) {
    atomic_store(&lim->max_connections, c->max_connections);
    atomic_store(&lim->max_pipelined, c->max_pipelined);
    atomic_store(&lim->max_frame, c->max_frame);
    atomic_store(&lim->max_response, c->max_response);
    atomic_store(&lim->max_buffered, c->max_buffered);
    atomic_store(&lim->idle_ms, c->idle_ms);
    atomic_store(&lim->frame_ms, c->frame_ms);
    atomic_store(&lim->write_ms, c->write_ms);
    atomic_store(&lim->request_ms, c->request_ms);
    atomic_store(&lim->gate_ms, c->gate_ms);
    atomic_store(&lim->drain_ms, c->drain_ms);
    atomic_store(&lim->slow_ms, c->slow_ms);
}

/* As many files as the system lets us have; a limit too low for the connections asked for is said, and kept to. */
static void check_files(cn_config *c) {
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) != 0)
        return;
    r.rlim_cur = r.rlim_max;
    setrlimit(RLIMIT_NOFILE, &r);
    getrlimit(RLIMIT_NOFILE, &r);
    if (r.rlim_cur >= c->max_connections + FILES_BESIDE)
        return;
    unsigned fit = r.rlim_cur > 2 * FILES_BESIDE ? (unsigned)r.rlim_cur - FILES_BESIDE : (unsigned)r.rlim_cur / 2;
    cn_log(CN_LOG_WARN, "server.files", "limit=%llu connections=%u the limit of open files allows fewer connections than max_connections (%u)",
           (unsigned long long)r.rlim_cur, fit, c->max_connections);
    c->max_connections = fit;
}

/* --- accepting: the first loop accepts for all, and hands on in turn --- */
static void hand_on(net *n, int fd, bool unix_socket) {
    loop *l = &n->loops[n->next_loop++ % n->n_loops];
    if (l->number == 0 ? conn_open(l, fd, unix_socket) == CN_OK : loop_hand_fd(l, fd, unix_socket) == CN_OK)
        return;
    cn_log(CN_LOG_WARN, "conn.refused", "%s", cn_error_detail());
}

static void free_handle(uv_handle_t *h) { cn_free(h); }

/* libuv accepts into a handle of its own loop; the socket is taken out of it again for the loop that will serve it. */
static int take_fd(uv_stream_t *server, bool unix_socket) {
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } *h = cn_alloc(sizeof *h);
    uv_os_fd_t fd;
    int copy = -1;
    if (!h) {
        server->data = server; /* until it is taken, libuv accepts no other */
        return -1;
    }
    if (unix_socket)
        uv_pipe_init(server->loop, &h->pipe, 0);
    else
        uv_tcp_init(server->loop, &h->tcp);
    if (uv_accept(server, &h->stream) == 0 && uv_fileno(&h->handle, &fd) == 0)
        copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    uv_close(&h->handle, free_handle);
    return copy;
}

static void on_connection(uv_stream_t *server, int status) {
    net *n = server->loop->data;
    bool unix_socket = server->type == UV_NAMED_PIPE;
    if (status < 0) {
        cn_log(CN_LOG_WARN, "conn.refused", "%s", uv_strerror(status));
        return;
    }
    int fd = take_fd(server, unix_socket);
    if (fd < 0) {
        cn_log(CN_LOG_WARN, "conn.refused", "no descriptor or memory is left for a connection");
        return;
    }
    if (atomic_load(&n->connections) >= atomic_load(&n->lim.max_connections)) {
        close(fd);
        cn_log(CN_LOG_WARN, "conn.refused", "%u connections are open (max_connections)", atomic_load(&n->connections));
        return;
    }
    hand_on(n, fd, unix_socket);
}

void server_accept_again(net *n) {
    for (size_t i = 0; i < n->n_listeners; i++) {
        uv_stream_t *s = n->listening[i];
        if (!s || !s->data || uv_is_closing((uv_handle_t *)s))
            continue;
        s->data = NULL;
        on_connection(s, 0);
    }
}

static cn_err start_listening(net *n, size_t i) {
    cn_listener *l = &n->listeners[i];
    union {
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } *h = cn_calloc(1, sizeof *h);
    if (!h)
        return cn_fail_memory();
    n->listening[i] = &h->stream;
    uv_loop_t *uv = &n->loops[0].uv;
    int rc = l->unix_socket ? uv_pipe_init(uv, &h->pipe, 0) : uv_tcp_init(uv, &h->tcp);
    if (rc == 0)
        rc = l->unix_socket ? uv_pipe_open(&h->pipe, l->fd) : uv_tcp_open(&h->tcp, l->fd);
    if (rc == 0) {
        l->fd = -1; /* libuv's now */
        rc = uv_listen(&h->stream, 1024, on_connection);
    }
    if (rc != 0)
        return cn_fail(CN_UNAVAILABLE, "listening on %s: %s", l->text, uv_strerror(rc));
    cn_log(CN_LOG_INFO, "server.listening", "address=%s", l->text);
    return CN_OK;
}

static cn_err bind_all(net *n) {
    cn_config *c = n->config;
    n->listeners = cn_calloc(c->n_listen, sizeof *n->listeners);
    n->listening = cn_calloc(c->n_listen, sizeof *n->listening);
    if (!n->listeners || !n->listening)
        return cn_fail_memory();
    for (size_t i = 0; i < c->n_listen; i++, n->n_listeners++)
        CN_TRY(cn_listen(c->listen[i], c->insecure, c->unix_mode, &n->listeners[i]));
    return CN_OK;
}

/* --- signals --- */
static void stop_listening(net *n) {
    for (size_t i = 0; i < n->n_listeners; i++) {
        if (n->listening[i] && !uv_is_closing((uv_handle_t *)n->listening[i]))
            uv_close((uv_handle_t *)n->listening[i], NULL);
        cn_listen_close(&n->listeners[i]);
    }
}

static void end_serving(net *n) {
    atomic_store(&n->drain_end_ns, cn_mono_ns() + atomic_load(&n->lim.drain_ms) * 1000000u);
    atomic_store(&n->draining, true);
    cn_service_leave(n->s);
    stop_listening(n);
}

static void wake_all(net *n) {
    for (unsigned i = 0; i < n->n_loops; i++)
        loop_wake(&n->loops[i]);
}

static void drain(net *n, const char *why) {
    if (atomic_load(&n->draining)) { /* asked twice: now */
        atomic_store(&n->forced, true);
    } else {
        cn_log(CN_LOG_INFO, "server.stopping", "signal=%s connections=%u running=%u", why, atomic_load(&n->connections), atomic_load(&n->running));
        cn_notify("STOPPING=1");
        end_serving(n);
    }
    wake_all(n);
}

static void reload(net *n) {
    cn_config fresh;
    if (n->reload(n->reload_ctx, &fresh) != CN_OK) {
        cn_log(CN_LOG_ERROR, "server.reload", "the settings stay as they were: %s", cn_error_detail());
        return;
    }
    check_files(&fresh);
    set_limits(&n->lim, &fresh);
    cn_log_sink_set(fresh.log_format, fresh.log_level);
    if (cn_service_set_anonymous(n->s, fresh.anonymous, (uint32_t)fresh.n_anonymous) != CN_OK)
        cn_log(CN_LOG_ERROR, "server.reload", "anonymous stays as it was: %s", cn_error_detail());
    cn_service_set_trace(n->s, fresh.trace_bytes, fresh.trace_keep_us);
    cn_service_set_upkeep(n->s, &fresh.upkeep);
    CN_AUTO_BUF cn_buf waiting = {.cap = 4096};
    cn_config_restart(n->config, &fresh, &waiting);
    if (waiting.n)
        cn_log(CN_LOG_WARN, "server.reload", "restart=" CN_STR_FMT " these settings differ and hold only after a restart", CN_STR_ARG(cn_buf_str(&waiting)));
    cn_config_done(&fresh);
    cn_log(CN_LOG_INFO, "server.reload", "settings read again%s", waiting.n ? ", but for those that need a restart" : "");
}

static void on_signal(uv_signal_t *s, int number) {
    net *n = s->loop->data;
    if (number == SIGHUP)
        reload(n);
    else
        drain(n, number == SIGTERM ? "TERM" : "INT");
}

static cn_err watch_signals(loop *l) {
    static const int numbers[3] = {SIGTERM, SIGINT, SIGHUP};
    signal(SIGPIPE, SIG_IGN);
    for (int i = 0; i < 3; i++)
        if (uv_signal_init(&l->uv, &l->signals[i]) != 0 || uv_signal_start(&l->signals[i], on_signal, numbers[i]) != 0)
            return cn_fail(CN_UNAVAILABLE, "signals cannot be watched");
    return CN_OK;
}

/* --- all together --- */
static bool questions_wait(void *ctx) { return cn_pool_waiting(((net *)ctx)->queries) > 0; }

static cn_err start_pools(net *n) {
    cn_config *c = n->config;
    unsigned workers = c->workers ? c->workers : cn_cpus() < 2 ? 2 : cn_cpus();
    const cn_pool_opts queries = {.threads = workers, .queue = c->queue, .nice = QUERY_NICE}, longs = {.threads = c->long_workers, .queue = c->queue, .nice = LONG_NICE, .keep_one = true},
                       changes = {.threads = CHANGE_THREADS, .queue = c->queue, .one_each = true};
    CN_TRY(cn_pool_new(&queries, &n->queries));
    CN_TRY(cn_pool_new(&longs, &n->longs));
    CN_TRY(cn_pool_new(&changes, &n->changes));
    cn_service_set_busy(n->s, questions_wait, n);
    return CN_OK;
}

static cn_err start_loops(net *n) {
    n->loops = cn_calloc(n->config->loops, sizeof *n->loops);
    if (!n->loops)
        return cn_fail_memory();
    for (; n->n_loops < n->config->loops; n->n_loops++) {
        CN_TRY(loop_init(&n->loops[n->n_loops], n, n->n_loops));
        n->loops[n->n_loops].uv.data = n;
    }
    return watch_signals(&n->loops[0]);
}

static void *serve_loop(void *arg) {
    loop_run(arg);
    return NULL;
}

/* Those that have begun are ended as by a signal, and awaited: nothing of theirs is freed before. */
static cn_err run_loops(net *n) {
    unsigned begun = 1;
    while (begun < n->n_loops && pthread_create(&n->loops[begun].thread, NULL, serve_loop, &n->loops[begun]) == 0)
        begun++;
    if (begun == n->n_loops) {
        cn_notify("READY=1");
        cn_log(CN_LOG_INFO, "server.ready", "build=%s data=%s", CAIRN_VERSION, n->config->data);
    } else {
        end_serving(n);
        atomic_store(&n->forced, true);
        wake_all(n);
    }
    loop_run(&n->loops[0]);
    for (unsigned i = 1; i < begun; i++)
        pthread_join(n->loops[i].thread, NULL);
    return begun == n->n_loops ? CN_OK : cn_fail(CN_OVERLOADED, "a thread for event loop %u of %u could not be started", begun + 1, n->n_loops);
}

static cn_err serve(net *n) {
    CN_TRY(bind_all(n));
    CN_TRY(start_pools(n));
    CN_TRY(start_loops(n));
    for (size_t i = 0; i < n->n_listeners; i++)
        CN_TRY(start_listening(n, i));
    return run_loops(n);
}

/* What still runs was cut off by drain_timeout. It is safe to leave at any moment (a job killed so resumes or is swept). */
static void leave_running(net *n) {
    for (int ms = 0; atomic_load(&n->running) && ms < FORCED_WAIT_MS; ms += 10)
        uv_sleep(10);
    if (!atomic_load(&n->running))
        return;
    cn_log(CN_LOG_WARN, "server.stopped", "running=%u requests were cut off after drain_timeout", atomic_load(&n->running));
    cn_service_cut(n->s);
    _exit(0);
}

static void net_done(net *n) {
    cn_service_set_busy(n->s, NULL, NULL);
    cn_pool_free(n->queries);
    cn_pool_free(n->longs);
    cn_pool_free(n->changes);
    for (unsigned i = 0; i < n->n_loops; i++)
        loop_done(&n->loops[i]);
    for (size_t i = 0; i < n->n_listeners; i++) {
        cn_listen_close(&n->listeners[i]);
        cn_free(n->listening[i]);
    }
    jobs_done(n);
    for (kit *k = n->kits, *next; k; k = next) {
        next = k->next;
        kit_done(k);
        cn_free(k);
    }
    cn_free(n->loops);
    cn_free(n->listeners);
    cn_free(n->listening);
    pthread_mutex_destroy(&n->kit_lock);
    cn_free(n);
}

cn_err cn_server_run(cn_config *config, cn_service *s, cn_err (*reload_fn)(void *ctx, cn_config *ret), void *ctx) {
    net *n = cn_calloc(1, sizeof *n);
    if (!n)
        return cn_fail_memory();
    n->s = s;
    n->config = config;
    n->reload = reload_fn;
    n->reload_ctx = ctx;
    pthread_mutex_init(&n->kit_lock, NULL);
    cn_random(&n->cost_seed, sizeof n->cost_seed);
    check_files(config);
    set_limits(&n->lim, config);
    cn_err err = serve(n);
    if (err == CN_OK)
        leave_running(n);
    net_done(n);
    if (err == CN_OK)
        cn_log(CN_LOG_INFO, "server.stopped", "all requests were answered");
    return err;
}
