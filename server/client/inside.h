/* inside.h -- the client's connection, for server/client only.
 *
 * Owns:    the socket and both buffers.
 * Thread:  one at a time.
 * Limits:  see cairn.h. */
#pragma once
#include "engine/base/buf.h"
#include "server/client/cairn.h"
#include "server/wire/rpc.h"

#define CN_CLIENT_ERROR_TEXT 1400

struct cairn_client {
    int fd;                  /* -1: not connected */
    char *address, *key;
    cairn_options o;
    uint64_t next_id;
    cn_buf out, in;
    size_t taken;            /* bytes of `in` dealt with */
    cn_frames frames;
    char error[CN_CLIENT_ERROR_TEXT];
};

/* socket.c */
cairn_code client_open(cairn_client *c);
void client_drop(cairn_client *c);
/* Sends all of c->out and takes what comes meanwhile (a server may wait for its answers to be read). */
cairn_code client_send(cairn_client *c, uint64_t deadline_ns);
/* The next whole message; borrowed until the next call. */
cairn_code client_receive(cairn_client *c, uint64_t deadline_ns, cn_message *ret);
cairn_code client_fail(cairn_client *c, cairn_code code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
