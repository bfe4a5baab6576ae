/* Connections and calls. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "server/client/inside.h"

#define REQUESTS_CAP ((size_t)1 << 30)

static _Thread_local char connect_error[CN_CLIENT_ERROR_TEXT];

const char *cairn_version(void) { return CAIRN_VERSION; }

static const struct {
    cairn_code code;
    cn_err err;
} codes[] = {{CAIRN_NOT_FOUND, CN_NOT_FOUND}, {CAIRN_INVALID, CN_INVALID}, {CAIRN_UNAUTHENTICATED, CN_UNAUTHENTICATED}, {CAIRN_DENIED, CN_DENIED},
             {CAIRN_CONFLICT, CN_CONFLICT}, {CAIRN_REFUSED, CN_REFUSED}, {CAIRN_OVERLOADED, CN_OVERLOADED}, {CAIRN_DEADLINE, CN_DEADLINE},
             {CAIRN_UNAVAILABLE, CN_UNAVAILABLE}, {CAIRN_DAMAGED, CN_DAMAGED}, {CAIRN_INTERNAL, CN_INTERNAL}};
#define CODES (sizeof codes / sizeof *codes)

const char *cairn_code_name(cairn_code code) {
    if (code == CAIRN_OK)
        return "OK";
    if (code == CAIRN_UNREACHABLE)
        return "UNREACHABLE";
    if (code == CAIRN_TIMEOUT)
        return "TIMEOUT";
    for (size_t i = 0; i < CODES; i++)
        if (codes[i].code == code)
            return cn_err_name(codes[i].err);
    return "INTERNAL";
}

static cairn_code code_of(cn_err err) {
    for (size_t i = 0; i < CODES; i++)
        if (codes[i].err == err)
            return codes[i].code;
    return CAIRN_INTERNAL;
}

/* --- opening --- */
static void set_options(cairn_client *c, const cairn_options *o) {
    if (o)
        c->o = *o;
    if (!c->o.connect_timeout_ms)
        c->o.connect_timeout_ms = 5000;
    if (!c->o.timeout_ms)
        c->o.timeout_ms = 60000;
    if (!c->o.max_answer_bytes)
        c->o.max_answer_bytes = (size_t)100 << 20;
}

cairn_code cairn_connect(const char *address, const cairn_options *options, cairn_client **ret) {
    cairn_client *c = cn_calloc(1, sizeof *c);
    if (!c || !(c->address = cn_strdup_n(address, strlen(address)))) {
        cn_free(c);
        snprintf(connect_error, sizeof connect_error, "INTERNAL: out of memory");
        return CAIRN_INTERNAL;
    }
    c->fd = -1;
    set_options(c, options);
    cn_buf_init(&c->out, REQUESTS_CAP);
    cn_buf_init(&c->in, 2 * c->o.max_answer_bytes + ((size_t)1 << 20));
    cairn_code code = client_open(c);
    if (code != CAIRN_OK) {
        memcpy(connect_error, c->error, sizeof connect_error);
        cairn_close(c);
        return code;
    }
    *ret = c;
    return CAIRN_OK;
}

const char *cairn_connect_error(void) { return connect_error; }

static void forget_key(cairn_client *c) {
    if (c->key)
        explicit_bzero(c->key, strlen(c->key));
    cn_free(c->key);
    c->key = NULL;
}

void cairn_close(cairn_client *c) {
    if (!c)
        return;
    client_drop(c);
    cn_buf_done(&c->out);
    cn_buf_done(&c->in);
    cn_free(c->address);
    forget_key(c);
    cn_free(c);
}

const char *cairn_error(const cairn_client *c) { return c->error; }

uint32_t cairn_retry_after_ms(const cairn_client *c) {
    const char *hint = NULL; /* the server's own is the last: what stands before may quote anything */
    for (const char *p = c->error; (p = strstr(p, " retry_after_ms=")); p += 16)
        hint = p + 16;
    return hint && hint[strspn(hint, "0123456789")] == 0 ? (uint32_t)strtoul(hint, NULL, 10) : 0;
}

void cairn_answer_free(cairn_answer *a) {
    void *data;
    memcpy(&data, &a->data, sizeof data);
    cn_free(data);
    *a = (cairn_answer){0};
}

/* --- calls --- */
static cairn_code keep_answer(cn_str bytes, cairn_answer *ret) {
    char *copy = cn_strdup_n(bytes.p, bytes.n);
    if (!copy)
        return CAIRN_INTERNAL;
    *ret = (cairn_answer){copy, bytes.n};
    return CAIRN_OK;
}

static void take_answer(cairn_request *r, const cn_message *m) {
    cn_str text;
    bool failed = m->error.n != 1 || (unsigned char)m->error.p[0] != 0xc0;
    cn_err err = failed ? cn_rpc_error_read(m->error, &text) : CN_OK;
    r->code = failed ? code_of(err) : CAIRN_OK;
    if (keep_answer(failed ? text : m->result, &r->answer) != CAIRN_OK)
        r->code = CAIRN_INTERNAL;
}

static void pack_requests(cairn_client *c, const cairn_request *r, size_t n) {
    for (size_t i = 0; i < n; i++)
        cn_rpc_request(&c->out, c->next_id + i, cn_str_of(r[i].method), (cn_str){r[i].params, r[i].size});
}

/* Answers come in any order; the id says whose each is. */
static cairn_code take_answers(cairn_client *c, cairn_request *r, size_t n, uint64_t first, uint64_t deadline_ns) {
    for (size_t left = n; left;) {
        cn_message m;
        cairn_code code = client_receive(c, deadline_ns, &m);
        if (code != CAIRN_OK)
            return code;
        if (m.kind != CN_RESPONSE)
            continue;
        size_t i = (size_t)(m.msgid - first);
        if (m.msgid < first || i >= n || r[i].code != CAIRN_UNREACHABLE) {
            client_drop(c);
            return client_fail(c, CAIRN_UNREACHABLE, "the server answered a request that was not made");
        }
        take_answer(&r[i], &m);
        left--;
    }
    return CAIRN_OK;
}

static cairn_code exchange(cairn_client *c, cairn_request *r, size_t n) {
    uint64_t first = c->next_id, deadline = cn_mono_ns() + c->o.timeout_ms * 1000000ull;
    cn_buf_reset(&c->out);
    pack_requests(c, r, n);
    c->next_id += n;
    if (c->out.failed)
        return client_fail(c, CAIRN_INVALID, "the requests are over %zu bytes together", REQUESTS_CAP);
    cairn_code code = client_send(c, deadline);
    return code == CAIRN_OK ? take_answers(c, r, n, first, deadline) : code;
}

static void keep_error(cairn_client *c, const cairn_request *r) {
    snprintf(c->error, sizeof c->error, "%s", r->answer.data ? (const char *)r->answer.data : "INTERNAL: out of memory");
}

/* All of its memory: what was sent is no longer counted in n. */
static void wipe(cn_buf *b) {
    if (b->room)
        explicit_bzero(b->p, b->room);
}

static cairn_code say_key(cairn_client *c) {
    CN_AUTO_BUF cn_buf params = {.cap = 65536};
    cn_pack_map(&params, 1);
    cn_pack_cstr(&params, "key");
    cn_pack_cstr(&params, c->key);
    cairn_request r = {.method = "auth", .params = params.p, .size = params.n, .code = CAIRN_UNREACHABLE};
    cairn_code code = exchange(c, &r, 1);
    wipe(&params);
    wipe(&c->out);
    if (code == CAIRN_OK && r.code != CAIRN_OK)
        keep_error(c, &r);
    cairn_answer_free(&r.answer);
    return code == CAIRN_OK ? r.code : code;
}

/* A connection that the other side has closed meanwhile shows it before anything is sent. */
static bool is_stale(cairn_client *c) {
    if (c->fd < 0)
        return true;
    char byte;
    ssize_t got = recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR);
}

static cairn_code be_connected(cairn_client *c) {
    if (!is_stale(c))
        return CAIRN_OK;
    client_drop(c);
    cairn_code code = client_fail(c, CAIRN_UNREACHABLE, "the connection is closed");
    for (int i = 0; i < c->o.reconnect && code != CAIRN_OK; i++) {
        if (i)
            usleep(50000u << (i < 5 ? i : 5)); /* 0.1 s, 0.2 s ... 1.6 s */
        code = client_open(c);
    }
    return code == CAIRN_OK && c->key ? say_key(c) : code;
}

cairn_code cairn_call_many(cairn_client *c, cairn_request *requests, size_t n) {
    for (size_t i = 0; i < n; i++) {
        requests[i].code = CAIRN_UNREACHABLE;
        requests[i].answer = (cairn_answer){0};
    }
    cairn_code code = be_connected(c);
    return code == CAIRN_OK ? exchange(c, requests, n) : code;
}

cairn_code cairn_call(cairn_client *c, const char *method, const void *params, size_t size, cairn_answer *ret) {
    cairn_request r = {.method = method, .params = params, .size = size};
    cairn_code code = cairn_call_many(c, &r, 1);
    if (code == CAIRN_OK && r.code == CAIRN_OK) {
        *ret = r.answer;
        return CAIRN_OK;
    }
    if (code == CAIRN_OK)
        keep_error(c, &r);
    cairn_answer_free(&r.answer);
    return code == CAIRN_OK ? r.code : code;
}

cairn_code cairn_auth(cairn_client *c, const char *key) {
    char *copy = cn_strdup_n(key, strlen(key));
    if (!copy)
        return client_fail(c, CAIRN_INTERNAL, "out of memory");
    forget_key(c); /* be_connected() must not say the old one */
    cairn_code code = be_connected(c);
    c->key = copy;
    return code == CAIRN_OK ? say_key(c) : code;
}
