/* listen.h -- listening addresses: tcp://HOST:PORT and unix:PATH, to bound sockets.
 *
 * Owns:    the caller owns the file descriptor returned.
 * Thread:  one at a time, while the server starts.
 * Limits:  plain TCP beyond loopback only when allowed. */
#pragma once
#include "engine/base/error.h"

#define CN_ADDRESS_TEXT 160

typedef struct cn_listener {
    int fd;
    bool unix_socket;
    char text[CN_ADDRESS_TEXT]; /* as bound: with the port the kernel chose for port 0 */
    char path[108];             /* of a Unix socket: unlinked when the server stops */
} cn_listener;

/* A dead Unix socket is removed first; one that answers is left alone (CN_CONFLICT). */
cn_err cn_listen(const char *address, bool insecure, unsigned unix_mode, cn_listener *ret);
/* Whether the address is well formed and allowed, without binding. */
cn_err cn_listen_check(const char *address, bool insecure);
void cn_listen_close(cn_listener *l);
