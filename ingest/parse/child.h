/* child.h -- one process of this program that does a stranger's work locked in, and the socket to it.
 *
 * Owns:    a cn_child owns its process and its end of the socket, until cn_child_end() or cn_child_bury().
 * Thread:  one at a time for a child.
 * Limits:  every wait ends at `until`, on the monotonic clock, in nanoseconds. */
#pragma once
#include <sys/types.h>

#include "ingest/parse/parse.h"

typedef struct cn_child {
    pid_t pid; /* 0: not started, or gone */
    int fd;
} cn_child;

/* arg: what its main() knows its work by (worker.h). */
cn_err cn_child_start(const char *arg, cn_child *ret);
/* All n bytes, or CN_DEADLINE, or CN_UNAVAILABLE: it is gone. */
cn_err cn_child_send(cn_child *c, const void *p, size_t n, uint64_t until);
cn_err cn_child_take(cn_child *c, void *p, size_t n, uint64_t until);
/* True when it has ended by itself, or says what nobody asked for: between two documents neither may be. */
bool cn_child_lost(const cn_child *c);
/* Ends it, and gives its status as waitpid() does. bury waits a moment for one that is dying by itself (e is CN_UNAVAILABLE),
 * so that its own signal is seen and not ours. */
int cn_child_end(cn_child *c);
int cn_child_bury(cn_child *c, cn_err e);
/* Why it gave no answer, for the document's entry: "its parser crashed on it". who: "parser"; doing: "parsing". */
cn_err cn_child_explain(cn_err e, int status, const char *who, const char *doing, uint64_t limit_ns);
