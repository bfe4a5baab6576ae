/* rpc.h -- MessagePack-RPC as specified: where a message ends, what kind it is, and how answers are written.
 *
 *   request       [0, msgid, method, [params]]      method: str or bin; params: none, or one map
 *   response      [1, msgid, error, result]         error: nil, or [0|1, "CODE: text"] (0: the server's, 1: the caller's)
 *   notification  [2, method, [params]]             never answered
 *
 * Bytes are checked by cn_pack_scan before anything is decoded; what is handed out is borrowed from them.
 * Owns:    nothing.
 * Thread:  one at a time for a reader.
 * Limits:  a message of at most `max` bytes, known from its first heads, before the bytes are there. */
#pragma once
#include "engine/base/pack.h"

#define CN_FRAME_DEFAULT ((size_t)64 << 20)
#define CN_METHOD_NAME_MAX 128

typedef struct cn_frames {
    cn_pack_scan scan;
    size_t max;
} cn_frames;
void cn_frames_init(cn_frames *f, size_t max);
/* p: all bytes from the start of the next message on. CN_OK: *ret_n of them are one message (and the reader is ready for
 * the one behind it); CN_UNAVAILABLE: more are needed; CN_INVALID: these bytes can never be one, or it is too big. */
cn_err cn_frames_next(cn_frames *f, const void *p, size_t n, size_t *ret_n);

typedef enum cn_message_kind { CN_REQUEST = 0, CN_RESPONSE = 1, CN_NOTIFICATION = 2 } cn_message_kind;
typedef struct cn_message {
    cn_message_kind kind;
    uint64_t msgid;
    cn_str method;   /* request, notification */
    cn_str params;   /* the packed array of them */
    cn_str error;    /* response: packed; nil is one byte, 0xc0 */
    cn_str result;   /* response: packed */
} cn_message;
/* The bytes of one whole message (cn_frames_next said so). CN_INVALID: it is MessagePack, but no message of RPC; if it is
 * a request with a msgid, ret->kind and ret->msgid are set all the same, so that the error can be answered. */
cn_err cn_message_parse(cn_str frame, cn_message *ret);
/* Bytes that will never be a whole message may still begin like a request: then its msgid, so that the error can be answered;
 * else ret_msgid stays as it is. */
bool cn_request_begins(cn_str bytes, uint64_t *ret_msgid);
/* The one map of the params: NULL when there are none. CN_INVALID: two, or no map. */
cn_err cn_params_map(const msgpack_object *params, const msgpack_object **ret);

void cn_rpc_request(cn_buf *b, uint64_t msgid, cn_str method, cn_str packed_map); /* an empty packed_map: no params */
void cn_rpc_notification(cn_buf *b, cn_str method, cn_str packed_params);
void cn_rpc_result_open(cn_buf *b, uint64_t msgid);                  /* the result is appended by the caller */
void cn_rpc_error(cn_buf *b, uint64_t msgid, cn_err code, const char *detail);
/* "CODE: text", with " retry_after_ms=N" at its end where trying again helps. */
#define CN_RPC_ERROR_TEXT 1200
void cn_rpc_error_text(cn_err code, const char *detail, char text[CN_RPC_ERROR_TEXT]);
/* The error of a response: its code by name (CN_INTERNAL when unknown) and the whole text. */
cn_err cn_rpc_error_read(cn_str packed, cn_str *ret_text);
