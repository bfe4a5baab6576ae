/* Connecting, sending and receiving with a deadline; sockets never block. */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "engine/base/os.h"
#include "server/client/inside.h"

#define STEP 65536

cairn_code client_fail(cairn_client *c, cairn_code code, const char *fmt, ...) {
    char text[CN_CLIENT_ERROR_TEXT - 32];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    snprintf(c->error, sizeof c->error, "%s: %s", cairn_code_name(code), text);
    return code;
}

void client_drop(cairn_client *c) {
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    cn_buf_reset(&c->out);
    cn_buf_reset(&c->in);
    c->taken = 0;
    cn_frames_init(&c->frames, c->o.max_answer_bytes);
}

/* Waits until the socket can do one of `events`; 0: the deadline passed first. */
static short wait_for(const cairn_client *c, short events, uint64_t deadline_ns) {
    for (;;) {
        uint64_t now = cn_mono_ns();
        if (now >= deadline_ns)
            return 0;
        uint64_t ms = (deadline_ns - now) / 1000000 + 1;
        struct pollfd p = {.fd = c->fd, .events = events};
        int rc = poll(&p, 1, ms > 60000 ? 60000 : (int)ms);
        if (rc > 0)
            return p.revents;
        if (rc < 0 && errno != EINTR)
            return POLLERR;
    }
}

/* --- connecting --- */
typedef union sock_addr {
    struct sockaddr any;
    struct sockaddr_un un;
    struct sockaddr_storage room;
} sock_addr;

static cairn_code connect_to(cairn_client *c, const struct sockaddr *addr, socklen_t len, uint64_t deadline_ns) {
    c->fd = socket(addr->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (c->fd < 0)
        return client_fail(c, CAIRN_UNREACHABLE, "a socket: %s", strerror(errno));
    int rc = connect(c->fd, addr, len), why = errno, on = 1;
    if (rc != 0 && why == EINPROGRESS) {
        socklen_t size = sizeof why;
        if (!wait_for(c, POLLOUT, deadline_ns))
            why = ETIMEDOUT;
        else if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &why, &size) != 0)
            why = errno;
        rc = why ? -1 : 0;
    }
    if (rc != 0) {
        client_drop(c);
        return client_fail(c, CAIRN_UNREACHABLE, "%s: %s", c->address, strerror(why));
    }
    if (addr->sa_family != AF_UNIX)
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return CAIRN_OK;
}

static cairn_code open_unix(cairn_client *c, const char *path, uint64_t deadline_ns) {
    sock_addr a = {.un.sun_family = AF_UNIX};
    size_t n = strlen(path);
    if (n == 0 || n >= sizeof a.un.sun_path)
        return client_fail(c, CAIRN_INVALID, "%s: a socket's path has 1 to %zu bytes", c->address, sizeof a.un.sun_path - 1);
    memcpy(a.un.sun_path, path, n + 1);
    return connect_to(c, &a.any, sizeof a.un, deadline_ns);
}

static cairn_code open_tcp(cairn_client *c, const char *rest, uint64_t deadline_ns) {
    const char *colon = strrchr(rest, ':');
    size_t n = colon ? (size_t)(colon - rest) : 0;
    char host[256];
    if (n >= 2 && rest[0] == '[' && rest[n - 1] == ']') {
        rest++;
        n -= 2;
    }
    if (!colon || n == 0 || n >= sizeof host || !colon[1])
        return client_fail(c, CAIRN_INVALID, "\"%s\" is no address; write tcp://HOST:PORT or unix:PATH", c->address);
    if (colon[1 + strspn(colon + 1, "0123456789")] == 0 && strtoul(colon + 1, NULL, 10) - 1 >= 65535)
        return client_fail(c, CAIRN_INVALID, "%s: a port is 1 to 65535", c->address);
    memcpy(host, rest, n);
    host[n] = 0;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
    int rc = getaddrinfo(host, colon + 1, &hints, &found);
    if (rc != 0)
        return client_fail(c, CAIRN_UNREACHABLE, "%s: %s", c->address, gai_strerror(rc));
    cairn_code code = CAIRN_UNREACHABLE;
    for (struct addrinfo *a = found; a && code != CAIRN_OK; a = a->ai_next)
        code = connect_to(c, a->ai_addr, a->ai_addrlen, deadline_ns);
    freeaddrinfo(found);
    return code;
}

cairn_code client_open(cairn_client *c) {
    uint64_t deadline = cn_mono_ns() + c->o.connect_timeout_ms * 1000000ull;
    client_drop(c);
    if (strncmp(c->address, "tcp://", 6) == 0)
        return open_tcp(c, c->address + 6, deadline);
    if (strncmp(c->address, "unix:", 5) == 0)
        return open_unix(c, strncmp(c->address + 5, "//", 2) == 0 ? c->address + 7 : c->address + 5, deadline);
    return client_fail(c, CAIRN_INVALID, "\"%s\" is no address; write tcp://HOST:PORT or unix:PATH", c->address);
}

/* --- bytes --- */
/* CAIRN_OK also when nothing was there just now. */
static cairn_code take_bytes(cairn_client *c) {
    if (c->taken) {
        memmove(c->in.p, c->in.p + c->taken, c->in.n - c->taken);
        c->in.n -= c->taken;
        c->taken = 0;
    }
    void *to = cn_buf_take(&c->in, STEP);
    if (!to) {
        client_drop(c);
        return client_fail(c, CAIRN_UNREACHABLE, "the answer is over the limit of %zu bytes", c->o.max_answer_bytes);
    }
    ssize_t got = recv(c->fd, to, STEP, 0);
    int why = errno;
    c->in.n -= STEP - (got > 0 ? (size_t)got : 0);
    if (got > 0 || (got < 0 && (why == EAGAIN || why == EINTR)))
        return CAIRN_OK;
    client_drop(c);
    return client_fail(c, CAIRN_UNREACHABLE, "the server closed the connection%s%s", got ? ": " : "", got ? strerror(why) : "");
}

static cairn_code too_late(cairn_client *c) {
    client_drop(c); /* an answer that comes later must not be taken for the next one's */
    return client_fail(c, CAIRN_TIMEOUT, "no answer in %u ms", c->o.timeout_ms);
}

cairn_code client_send(cairn_client *c, uint64_t deadline_ns) {
    size_t sent = 0;
    while (sent < c->out.n) {
        ssize_t n = send(c->fd, c->out.p + sent, c->out.n - sent, MSG_NOSIGNAL);
        if (n > 0) {
            sent += (size_t)n;
            continue;
        }
        if (errno != EAGAIN && errno != EINTR) {
            int why = errno;
            client_drop(c);
            return client_fail(c, CAIRN_UNREACHABLE, "sending: %s", strerror(why));
        }
        short can = wait_for(c, POLLOUT | POLLIN, deadline_ns);
        if (!can)
            return too_late(c);
        cairn_code code = can & POLLIN ? take_bytes(c) : CAIRN_OK;
        if (code != CAIRN_OK)
            return code;
    }
    cn_buf_reset(&c->out);
    return CAIRN_OK;
}

cairn_code client_receive(cairn_client *c, uint64_t deadline_ns, cn_message *ret) {
    for (;;) {
        size_t n;
        cn_err err = cn_frames_next(&c->frames, c->in.p + c->taken, c->in.n - c->taken, &n);
        if (err == CN_OK) {
            err = cn_message_parse((cn_str){c->in.p + c->taken, n}, ret);
            c->taken += n;
        }
        if (err == CN_OK)
            return CAIRN_OK;
        if (err != CN_UNAVAILABLE) {
            client_drop(c);
            return client_fail(c, CAIRN_UNREACHABLE, "the server's answer cannot be read: %s", cn_error_detail());
        }
        if (!wait_for(c, POLLIN, deadline_ns))
            return too_late(c);
        cairn_code code = take_bytes(c);
        if (code != CAIRN_OK)
            return code;
    }
}
