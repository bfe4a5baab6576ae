/* trace.h -- request records of a tenant: who asked, and what they were given (DESIGN.md section 11), in trace.mdb.
 *
 *   database   key                                                              value
 *   requests   time in us, u64 big-endian; number, u32 big-endian; trace id, 16   record (pack.h), format 1: one map, its maker's
 *   ids        trace id; time; number                                            empty
 *   state      "state"                                                           record, format 1: {records, bytes, from, max_bytes, keep_us}
 * from: everything written since that time is still here. A trace id of zeros is a gap: a map {gap: why, records: how many}
 * says what is missing here. The store is bounded in bytes and in age: the oldest go first. It is not synced: what the
 * machine's crash leaves of it is checked when it is opened. A file that is damaged is set aside under the name
 * trace.mdb.damaged (an older one of that name goes) and a new one begun, which starts with a gap; one that is gone is made
 * anew likewise. Nothing that answers questions waits for it.
 * Owns:    an open tenant's environment, in its slot.
 * Thread:  any; writing waits for the writer of trace.mdb, so it is for a thread of its own.
 * Limits:  CN_TRACE_MAP bytes a record, CN_TRACE_BYTES_MAX bytes a tenant, and never more than half of the map. */
#pragma once
#include "engine/base/pack.h"
#include "index/store/data.h"

#define CN_TRACE_ID 16
#define CN_TRACE_MAP ((size_t)2 << 20)
#define CN_TRACE_BYTES_MAX ((uint64_t)8 << 30)
#define CN_TRACE_BYTES ((uint64_t)256 << 20)                 /* presets: of each tenant */
#define CN_TRACE_KEEP_US ((uint64_t)30 * 86400 * 1000000)

typedef struct cn_trace_id {
    uint8_t b[CN_TRACE_ID];
} cn_trace_id;
/* A new one: milliseconds since 1970 in 48 bits, then 80 random ones, as UUID version 7 has it (RFC 9562). Ids of a time lie
 * together in trace.mdb; random ones would have nearly each record write a page of its own. */
void cn_trace_id_make(cn_trace_id *ret);

typedef struct cn_trace_key {
    int64_t at_us;
    uint32_t number;
    cn_trace_id id;
} cn_trace_key;
#define CN_TRACE_KEY_TEXT 57
void cn_trace_key_text(const cn_trace_key *k, char text[CN_TRACE_KEY_TEXT]);
cn_err cn_trace_key_parse(cn_str text, cn_trace_key *ret);
bool cn_trace_is_gap(const cn_trace_key *k);

typedef struct cn_trace_limits {
    uint64_t bytes, keep_us; /* bytes 0: nothing is kept */
} cn_trace_limits;

typedef struct cn_trace_entry {
    int64_t at_us;
    cn_trace_id id;
    cn_str map;
} cn_trace_entry;

/* One transaction: the entries, and away with what is over the limits. limits NULL: those that the last server noted. */
cn_err cn_trace_put(cn_tenant *t, const cn_trace_entry *v, uint32_t n, const cn_trace_limits *limits);
/* Only the limits; makes no file. *ret_more: there is more to take away, so call again. */
cn_err cn_trace_prune(cn_tenant *t, const cn_trace_limits *limits, bool *ret_more);
void cn_trace_gap_pack(cn_buf *out, const char *why, uint64_t records);

typedef struct cn_trace_state {
    uint64_t records, bytes;
    int64_t from_us;         /* CN_NO_TIME: there is no store yet */
    cn_trace_limits limits;  /* as noted */
    bool aside;              /* a damaged one lies beside it */
} cn_trace_state;
cn_err cn_trace_look(cn_tenant *t, cn_trace_state *ret); /* makes no file */

/* map NULL: a record that fails its checksum. */
typedef cn_err cn_trace_fn(void *ctx, const cn_trace_key *key, const msgpack_object *map, bool *stop);
cn_err cn_trace_get(cn_tenant *t, const cn_trace_id *id, cn_trace_fn *fn, void *ctx); /* all of that id, oldest first */

typedef struct cn_trace_scan {
    int64_t from_us;
    const cn_trace_key *after; /* NULL: from from_us on */
    cn_str word;               /* only records whose bytes hold it, damaged ones, and gaps; empty: all */
    uint64_t deadline_ns;      /* 0: none */
    cn_trace_key last;         /* filled in: the last one looked at */
    bool more;                 /* filled in: stopped before the end */
} cn_trace_scan;
cn_err cn_trace_each(cn_tenant *t, cn_trace_scan *io, cn_trace_fn *fn, void *ctx);
