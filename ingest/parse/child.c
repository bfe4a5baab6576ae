#include "ingest/parse/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/os.h"
#include "engine/base/sanitize.h"
#include "ingest/parse/worker.h"

cn_err cn_child_start(const char *arg, cn_child *ret) {
    int pair[2];
    union { const char *c[3]; char *p[3]; } argv = {.c = {"cairn-parse", arg, NULL}};
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        return cn_fail_errno(errno, "a socket to a parser");
    int theirs = pair[1];
    if (theirs == CN_WORKER_FD && (theirs = fcntl(pair[1], F_DUPFD_CLOEXEC, CN_WORKER_FD + 1)) >= 0)
        close(pair[1]); /* dup2 onto itself would leave close-on-exec set */
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, theirs, CN_WORKER_FD);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    if (!CN_SANITIZED) /* what it says there is a sanitizer's finding, or nothing */
        posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
    pid_t pid;
    char *room[4];
    int e = posix_spawn(&pid, "/proc/self/exe", &actions, NULL, argv.p, cn_parse_environment(room));
    posix_spawn_file_actions_destroy(&actions);
    close(theirs);
    if (e != 0) {
        close(pair[0]);
        return cn_fail_errno(e, "starting a parser");
    }
    fcntl(pair[0], F_SETFL, O_NONBLOCK);
    *ret = (cn_child){pid, pair[0]};
    return CN_OK;
}

static cn_err wait_for(const cn_child *c, short events, uint64_t until) {
    uint64_t now = cn_mono_ns();
    if (now >= until)
        return CN_DEADLINE;
    struct pollfd f = {.fd = c->fd, .events = events};
    int got = poll(&f, 1, (int)((until - now) / 1000000) + 1);
    return got > 0 || (got < 0 && errno == EINTR) ? CN_OK : got == 0 ? CN_DEADLINE : CN_UNAVAILABLE;
}

/* After a send or a recv that did `did` bytes: how to go on. */
static cn_err after(const cn_child *c, ssize_t did, short events, uint64_t until) {
    if (did > 0)
        return CN_OK;
    return did < 0 && (errno == EAGAIN || errno == EINTR) ? wait_for(c, events, until) : CN_UNAVAILABLE;
}

cn_err cn_child_send(cn_child *c, const void *p, size_t n, uint64_t until) {
    for (const char *at = p; n;) {
        ssize_t did = send(c->fd, at, n, MSG_NOSIGNAL);
        CN_TRY(after(c, did, POLLOUT, until));
        at += did > 0 ? did : 0;
        n -= did > 0 ? (size_t)did : 0;
    }
    return CN_OK;
}

cn_err cn_child_take(cn_child *c, void *p, size_t n, uint64_t until) {
    for (char *at = p; n;) {
        ssize_t did = recv(c->fd, at, n, 0);
        CN_TRY(after(c, did, POLLIN, until));
        at += did > 0 ? did : 0;
        n -= did > 0 ? (size_t)did : 0;
    }
    return CN_OK;
}

bool cn_child_lost(const cn_child *c) {
    char one;
    return recv(c->fd, &one, 1, MSG_PEEK) >= 0 || (errno != EAGAIN && errno != EINTR);
}

int cn_child_end(cn_child *c) {
    int status = 0;
    close(c->fd);
    kill(c->pid, SIGKILL);
    while (waitpid(c->pid, &status, 0) < 0 && errno == EINTR)
        ;
    c->pid = 0;
    return status;
}

int cn_child_bury(cn_child *c, cn_err e) {
    int status;
    for (int i = 0; e == CN_UNAVAILABLE && i < 100; i++) {
        if (waitpid(c->pid, &status, WNOHANG) == c->pid) {
            close(c->fd);
            c->pid = 0;
            return status;
        }
        usleep(2000);
    }
    return cn_child_end(c);
}

cn_err cn_child_explain(cn_err e, int status, const char *who, const char *doing, uint64_t limit_ns) {
    if (e == CN_OVERLOADED)
        return e;
    if (e == CN_DEADLINE || (WIFSIGNALED(status) && WTERMSIG(status) == SIGXCPU))
        return cn_fail(CN_DEADLINE, "%s it takes over %llu s", doing, (unsigned long long)(limit_ns / 1000000000u));
    if (WIFEXITED(status) && WEXITSTATUS(status) == 3)
        return cn_fail(CN_UNAVAILABLE, "a parser could not lock itself in: this system allows no seccomp filter");
    if (WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL)
        return cn_fail(CN_INVALID, "its %s crashed on it (signal %d)", who, WTERMSIG(status));
    return cn_fail(CN_INVALID, "its %s gave no sound answer", who);
}
