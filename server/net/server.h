/* server.h -- cairnd: event loops that read requests, bounded workers that run the dear ones.
 *
 * Each connection lives on one loop. A request whose cost is known to be small runs where it was read; the others go to a
 * pool with a bounded queue, or are refused at once (OVERLOADED, with a hint when to retry). Considered and left: a thread
 * for each connection (ten thousand idle ones cost ten thousand stacks), and workers that read sockets themselves (then a
 * long query holds up the requests behind it).
 * Owns:    sockets, loops, pools; the service is the caller's.
 * Thread:  cn_server_run() is the program's main thread and the first loop.
 * Limits:  those of config.h. */
#pragma once
#include "server/net/config.h"
#include "server/service/service.h"

/* Returns when a signal has stopped it and all is drained. reload: called at SIGHUP to read the settings again; on failure
 * the old ones stay. */
cn_err cn_server_run(cn_config *config, cn_service *s, cn_err (*reload)(void *ctx, cn_config *ret), void *ctx);
