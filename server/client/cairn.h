/* cairn.h -- libcairn, the C client of cairn: one connection to a cairnd, over TCP or a Unix socket.
 *
 *     cairn_client *c;
 *     if (cairn_connect("tcp://127.0.0.1:7700", NULL, &c) != CAIRN_OK) ... cairn_connect_error() ...
 *     cairn_auth(c, key);
 *     cairn_answer a;
 *     if (cairn_call(c, "query", params, params_size, &a) == CAIRN_OK) ... a.data, a.size: one MessagePack map ...
 *     cairn_answer_free(&a);
 *     cairn_close(c);
 *
 * Parameters and answers are MessagePack maps, as METHODS.md lists them; cairn_query() builds and reads them for you.
 * Owns:    a client owns its socket and buffers; an answer owns its bytes until cairn_answer_free().
 * Thread:  one at a time for a client; any number of clients.
 * Limits:  an answer of at most max_answer_bytes; a call of at most timeout_ms. */
#ifndef CAIRN_H
#define CAIRN_H
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The same names as on the wire; the first two are the client's own. */
typedef enum cairn_code {
    CAIRN_OK = 0,
    CAIRN_UNREACHABLE,     /* no connection, or it broke: the call may or may not have been done */
    CAIRN_TIMEOUT,         /* no answer in time; the connection was closed */
    CAIRN_NOT_FOUND,
    CAIRN_INVALID,
    CAIRN_UNAUTHENTICATED,
    CAIRN_DENIED,
    CAIRN_CONFLICT,
    CAIRN_REFUSED,
    CAIRN_OVERLOADED,
    CAIRN_DEADLINE,
    CAIRN_UNAVAILABLE,
    CAIRN_DAMAGED,
    CAIRN_INTERNAL
} cairn_code;
const char *cairn_code_name(cairn_code code); /* "NOT_FOUND" */

typedef struct cairn_client cairn_client;

typedef struct cairn_options {
    uint32_t connect_timeout_ms; /* 0: 5,000 */
    uint32_t timeout_ms;         /* of one call; 0: 60,000 */
    size_t max_answer_bytes;     /* 0: 100 MiB */
    int reconnect;               /* tries to connect again, with the key given before, when a call finds the connection broken
                                    before its request went out; 0: never. A request that was sent is never sent again. */
} cairn_options;

/* address: "tcp://HOST:PORT", "tcp://[::1]:PORT" or "unix:PATH". options may be NULL. */
cairn_code cairn_connect(const char *address, const cairn_options *options, cairn_client **ret);
const char *cairn_connect_error(void); /* why the last cairn_connect() of this thread failed */
void cairn_close(cairn_client *c);     /* NULL is fine */
/* The key counts for the connection, and again after a reconnect. */
cairn_code cairn_auth(cairn_client *c, const char *key);
/* Text of the last failed call, "CODE: what"; "" before the first. Valid until the next call. */
const char *cairn_error(const cairn_client *c);
/* How long to wait before trying again, as the server said; 0 when trying again does not help. */
uint32_t cairn_retry_after_ms(const cairn_client *c);

typedef struct cairn_answer {
    const void *data;  /* one MessagePack object */
    size_t size;
} cairn_answer;
void cairn_answer_free(cairn_answer *a);

/* params: one packed map, or NULL for none. */
cairn_code cairn_call(cairn_client *c, const char *method, const void *params, size_t size, cairn_answer *ret);

/* Pipelining: requests go out together, answers are matched to them. Each gets its own code and answer; the return value is
 * CAIRN_OK when all answers came, whatever they say. Free each answer in any case: when the connection ended half-way, some came. */
typedef struct cairn_request {
    const char *method;
    const void *params;
    size_t size;
    cairn_code code;      /* out */
    cairn_answer answer;  /* out; when code is an error: its text, NUL-terminated, size without the NUL */
} cairn_request;
cairn_code cairn_call_many(cairn_client *c, cairn_request *requests, size_t n);

/* --- queries --- */
typedef struct cairn_query_options {
    const char *tenant;       /* NULL: the key's own */
    const char *index;
    const char *text;         /* or */
    const float *vector;      /* dim of them */
    uint32_t dim;
    uint32_t k;               /* 0: the server's default */
    const char *as;           /* with a key of scope act-as; NULL */
    const char *mode;         /* NULL: the index's */
    uint32_t deadline_ms;     /* 0: none */
} cairn_query_options;

typedef struct cairn_hit { /* strings are NUL-terminated and live in the result */
    const char *doc, *source, *text, *title, *uri;
    uint32_t chunk;
    float score, relevance;
    uint64_t from, to;        /* bytes of the document's text */
} cairn_hit;

typedef struct cairn_result {
    cairn_hit *hits;
    size_t n;
    const char *evidence;     /* "ok", "weak", "none" */
    const char *trace_id;
    uint64_t version;
    cairn_answer raw;         /* the whole answer: made_by, meta, headings ... */
    void *memory;
} cairn_result;
cairn_code cairn_query(cairn_client *c, const cairn_query_options *q, cairn_result *ret);
void cairn_result_free(cairn_result *r);

const char *cairn_version(void);

#ifdef __cplusplus
}
#endif
#endif
