/* service.h -- every method of cairn as a function from one map to one map: what the wire, and the command on files, call.
 *
 * A method checks the caller's scope, its own fields (an unknown field is refused by name), does its work and appends its
 * result. No sockets here: server/net brings bytes, tools/cairn brings a caller who owns the files.
 * Owns:    cn_service owns the open data directory, embedders in use, caches and running jobs.
 * Thread:  any may call; a cn_call (arena, searcher, buffers) belongs to one thread at a time.
 * Limits:  those of methods.h; a warm query allocates nothing from the heap. */
#pragma once
#include <stdatomic.h>

#include "engine/base/arena.h"
#include "engine/base/pack.h"
#include "index/policy/key.h"
#include "index/policy/principal.h"

typedef struct cn_service cn_service;
typedef struct cn_upkeep_opts { /* what a server does by itself (upkeep.h) */
    uint64_t reserve; /* bytes (reserve.h) */
    uint64_t scrub_rate, scrub_every_ms; /* bytes a second; 0: none */
    uint64_t compact_after_ms; /* what was erased leaves its files so long after (compactor.h); 0: not by itself */
    uint64_t merge_rate; /* bytes a second at most of small files that are merged (merger.h); 0: none */
    unsigned recall_sample, recall_cpu; /* of 1000 questions, searched again exactly; percent of a processor (shadow.h) */
} cn_upkeep_opts;
typedef bool cn_busy_fn(void *ctx); /* do requests wait for a thread? */
typedef struct cn_service_opts {
    const char *data_dir;
    const char *const *import_roots;  /* "TENANT=PATH"; what a client may name to ingest */
    uint32_t n_import_roots;
    const char *const *anonymous;     /* tenants that answer {public} without credentials */
    uint32_t n_anonymous;
    unsigned embed_threads;           /* 0: all processors */
    enum { CN_TRACE_OFF, CN_TRACE_ON, CN_TRACE_AS_NOTED } trace; /* request records: none; by the limits below; by those a server noted last */
    uint64_t trace_bytes, trace_keep_us;
    const cn_upkeep_opts *upkeep;     /* NULL: none, as for the command */
} cn_service_opts;
cn_err cn_service_open(const cn_service_opts *o, cn_service **ret);
/* The program is about to end: jobs of ingest.* stop at their next document, to be resumed, and no other begins;
 * upkeep ends. */
void cn_service_leave(cn_service *s);
void cn_service_close(cn_service *s); /* the same, and waits for them */
void cn_service_cut(cn_service *s);   /* the program is about to end without it, since calls are still under way: writes what waits */
cn_data *cn_service_data(cn_service *s);
/* SIGHUP: tenants that answer without credentials; copied. */
cn_err cn_service_set_anonymous(cn_service *s, const char *const *tenants, uint32_t n);
void cn_service_set_trace(cn_service *s, uint64_t bytes, uint64_t keep_us); /* likewise; of CN_TRACE_ON */
void cn_service_set_upkeep(cn_service *s, const cn_upkeep_opts *o); /* likewise; where there is any */
/* What upkeep asks before each piece of its work; NULL: nobody, once this has returned. */
void cn_service_set_busy(cn_service *s, cn_busy_fn *fn, void *ctx);

typedef enum cn_caller_kind { CN_CALLER_NOBODY, CN_CALLER_KEY, CN_CALLER_OPERATOR } cn_caller_kind;
typedef struct cn_caller {
    cn_caller_kind kind;
    cn_key_info key;          /* of CN_CALLER_KEY */
    char who[96];             /* for the audit chain */
    const char *via;          /* "command", "rpc" */
    uint64_t checked_epoch;   /* cn_keys_epoch() the key was checked at; when it has moved on, check again */
    cn_digest secret;         /* to check it again */
} cn_caller;

/* A key to a caller; its strings live in the arena. UNAUTHENTICATED says no more than that. */
cn_err cn_service_auth(cn_service *s, cn_str key, const char *via, cn_arena *a, cn_caller *ret);
/* The same key once more, when keys have changed since (every call does so for itself; this is for a connection that
 * would otherwise pay it each time). */
cn_err cn_service_renew(cn_service *s, const cn_caller *old, cn_arena *a, cn_caller *ret);

/* An error as its caller may have it: an operator whole; others without the data directory's path and processes' numbers,
 * which are left to the log. cn_service_call does so itself; this is for texts that go another way. */
cn_err cn_tell(cn_service *s, const cn_caller *c, const char *method, cn_err err); /* the last error, after it came to err */
const char *cn_tell_text(cn_service *s, const cn_caller *c, const char *text, char room[CN_ERROR_TEXT]);

/* Progress of a long call (ingest on files): one map, as the method's own progress notification would carry. */
typedef void cn_progress_fn(void *ctx, cn_str packed_map);

typedef struct cn_call {
    cn_caller *caller;
    cn_arena arena;           /* reset by cn_call_reset */
    struct cn_searcher *searcher;
    struct cn_hit *hits;      /* CN_K_MAX of them, allocated on first use */
    struct cn_passage *passages; /* of the query at hand; as many as the longest answer so far needed */
    uint32_t passages_room;
    cn_buf record;            /* of this request, while it is made; its memory is used again */
    uint64_t began_ns, epoch; /* epoch: of the view last read from; 0: none was */
    uint64_t start_ns, deadline_ns; /* cn_mono_ns(); 0: none */
    cn_progress_fn *progress; /* NULL: none wanted */
    void *progress_ctx;
    const atomic_bool *gone;  /* whoever asked has closed its connection, or only its sending half; NULL: not known */
} cn_call;
cn_err cn_call_init(cn_call *c);
void cn_call_reset(cn_call *c);
void cn_call_done(cn_call *c);

/* params: one map (NULL: an empty one). Appends one map to out; on failure out is as it was and the error text is for the caller. */
cn_err cn_service_call(cn_service *s, cn_call *c, cn_str method, const msgpack_object *params, cn_buf *out);
/* How long a call may take, so that the server knows where to run it: at once; by a query worker (text to embed, a batch,
 * a page of documents); by those kept for changes of a tenant's catalog, which take its one writer and must wait behind
 * no question (flips, the policy, members, keys); or by the few workers kept for what runs for seconds (ingest, seal, gc),
 * or for as long as it has a time of its own for (a gate run). */
typedef enum cn_cost { CN_COST_CHEAP, CN_COST_SEARCH, CN_COST_DEAR, CN_COST_CHANGE, CN_COST_LONG, CN_COST_GATE } cn_cost;
cn_cost cn_service_cost(cn_str method, const msgpack_object *params); /* CN_COST_SEARCH: one vector over one index */
/* A number that each change of the tenant's versions or permissions raises: the next search then makes its views anew. */
cn_err cn_service_epoch(cn_service *s, cn_str tenant, uint64_t *ret);
