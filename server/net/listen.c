#include "server/net/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 1024

typedef union sock_addr {
    struct sockaddr any;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    struct sockaddr_un un;
} sock_addr;

typedef struct parsed {
    bool unix_socket;
    sock_addr addr;
    socklen_t len;
} parsed;

/* --- addresses --- */
static cn_err split_tcp(const char *rest, char host[128], char port[8]) {
    const char *colon = strrchr(rest, ':');
    size_t n = colon ? (size_t)(colon - rest) : 0;
    const char *from = rest;
    if (n >= 2 && rest[0] == '[' && rest[n - 1] == ']') {
        from++;
        n -= 2;
    }
    long number = colon ? strtol(colon + 1, NULL, 10) : -1;
    if (!colon || n == 0 || n >= 128 || strlen(colon + 1) > 5 || strspn(colon + 1, "0123456789") != strlen(colon + 1) || !colon[1] || number > 65535)
        return cn_fail(CN_INVALID, "listen = \"tcp://%s\"; it must be tcp://HOST:PORT, like tcp://127.0.0.1:7700 or tcp://[::1]:7700", rest);
    memcpy(host, from, n);
    host[n] = 0;
    snprintf(port, 8, "%hu", (unsigned short)number);
    return CN_OK;
}

static bool is_loopback(const sock_addr *a) {
    if (a->any.sa_family == AF_INET)
        return (ntohl(a->in.sin_addr.s_addr) >> 24) == 127;
    return a->any.sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&a->in6.sin6_addr);
}

static cn_err parse_tcp(const char *rest, bool insecure, parsed *ret) {
    char host[128], port[8];
    CN_TRY(split_tcp(rest, host, port));
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV}, *found;
    int rc = getaddrinfo(host, port, &hints, &found);
    if (rc != 0)
        return cn_fail(CN_INVALID, "listen = \"tcp://%s\": %s", rest, gai_strerror(rc));
    parsed p = {.len = found->ai_addrlen};
    memcpy(&p.addr, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    if (!insecure && !is_loopback(&p.addr))
        return cn_fail(CN_REFUSED,
                       "listen = \"tcp://%s\" is reachable from other machines, and plain TCP shows keys and texts to whoever listens in: "
                       "listen on loopback or a Unix socket, or allow it with --insecure", rest);
    *ret = p;
    return CN_OK;
}

static cn_err parse(const char *address, bool insecure, parsed *ret) {
    if (strncmp(address, "tcp://", 6) == 0)
        return parse_tcp(address + 6, insecure, ret);
    if (strncmp(address, "unix:", 5) != 0)
        return cn_fail(CN_INVALID, "listen = \"%s\"; it must be tcp://HOST:PORT or unix:PATH", address);
    const char *path = strncmp(address + 5, "//", 2) == 0 ? address + 7 : address + 5;
    parsed p = {.unix_socket = true, .addr.un.sun_family = AF_UNIX, .len = sizeof(struct sockaddr_un)};
    if (!*path || strlen(path) >= sizeof p.addr.un.sun_path)
        return cn_fail(CN_INVALID, "listen = \"%s\"; a socket's path has 1 to %zu bytes", address, sizeof p.addr.un.sun_path - 1);
    memcpy(p.addr.un.sun_path, path, strlen(path) + 1);
    *ret = p;
    return CN_OK;
}

cn_err cn_listen_check(const char *address, bool insecure) {
    parsed p;
    return parse(address, insecure, &p);
}

/* --- Unix sockets left by a server that died --- */
static cn_err clear_dead(const parsed *p) {
    const char *path = p->addr.un.sun_path;
    struct stat st;
    if (lstat(path, &st) != 0)
        return errno == ENOENT ? CN_OK : cn_fail_errno(errno, "%s", path);
    if (!S_ISSOCK(st.st_mode))
        return cn_fail(CN_CONFLICT, "%s is there and is no socket; it is left as it is", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return cn_fail_errno(errno, "a socket");
    int rc = connect(fd, &p->addr.any, p->len), why = errno;
    close(fd);
    if (rc == 0 || why != ECONNREFUSED) /* EAGAIN: alive, and busy */
        return cn_fail(CN_CONFLICT, "a server is listening on %s already", path);
    return unlink(path) == 0 || errno == ENOENT ? CN_OK : cn_fail_errno(errno, "removing the dead socket %s", path);
}

/* --- binding --- */
static cn_err bind_at(int fd, const parsed *p, unsigned unix_mode, const char *address) {
    int on = 1;
    if (!p->unix_socket)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    mode_t before = p->unix_socket ? umask(0777 & ~unix_mode) : 0;
    int rc = bind(fd, &p->addr.any, p->len), why = errno;
    if (p->unix_socket)
        umask(before);
    if (rc != 0)
        return cn_fail_errno(why, "listening on %s", address);
    if (listen(fd, BACKLOG) != 0)
        return cn_fail_errno(errno, "listening on %s", address);
    return CN_OK;
}

static void name_bound(int fd, cn_listener *l) {
    sock_addr a = {0};
    socklen_t len = sizeof a;
    char host[INET6_ADDRSTRLEN] = "?";
    if (getsockname(fd, &a.any, &len) != 0)
        return;
    if (a.any.sa_family == AF_INET6) {
        inet_ntop(AF_INET6, &a.in6.sin6_addr, host, sizeof host);
        snprintf(l->text, sizeof l->text, "tcp://[%s]:%u", host, ntohs(a.in6.sin6_port));
    } else {
        inet_ntop(AF_INET, &a.in.sin_addr, host, sizeof host);
        snprintf(l->text, sizeof l->text, "tcp://%s:%u", host, ntohs(a.in.sin_port));
    }
}

cn_err cn_listen(const char *address, bool insecure, unsigned unix_mode, cn_listener *ret) {
    parsed p;
    cn_listener l = {.fd = -1};
    CN_TRY(parse(address, insecure, &p));
    if (p.unix_socket)
        CN_TRY(clear_dead(&p));
    l.unix_socket = p.unix_socket;
    l.fd = socket(p.addr.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (l.fd < 0)
        return cn_fail_errno(errno, "a socket for %s", address);
    cn_err err = bind_at(l.fd, &p, unix_mode, address);
    if (err != CN_OK) {
        close(l.fd);
        return err;
    }
    if (p.unix_socket) {
        memcpy(l.path, p.addr.un.sun_path, sizeof l.path);
        snprintf(l.text, sizeof l.text, "unix:%s", l.path);
    } else {
        name_bound(l.fd, &l);
    }
    *ret = l;
    return CN_OK;
}

void cn_listen_close(cn_listener *l) {
    if (l->fd >= 0)
        close(l->fd);
    if (l->unix_socket && l->path[0])
        unlink(l->path);
    l->fd = -1;
    l->path[0] = 0;
}
