/* find.h -- documents whose extracted text holds a needle, in one version or in several: each text is read once, whatever the
 * number of versions that share it. For those who look into an incident: no permissions are asked here.
 *
 * Owns:    what is told of is borrowed for the call of fn.
 * Thread:  any.
 * Limits:  a damaged text is told of and passed over; stops at the deadline or at the limit, and can be taken up behind the last document looked at; CN_FOUND_PLACES
 *          places of a document are told, CN_FOUND_COUNT counted. */
#pragma once
#include "index/catalog/version.h"
#include "index/search/needle.h"

#define CN_FOUND_PLACES 10
#define CN_FOUND_COUNT 1000

typedef struct cn_found {
    cn_str source, id;
    cn_seg *seg;
    uint32_t doc;
    uint32_t matches, n_places;
    uint64_t places[CN_FOUND_PLACES][2]; /* from, to: bytes of the document's text */
    const uint64_t *versions;            /* that hold this very text */
    uint32_t n_versions;
} cn_found;
typedef cn_err cn_found_fn(void *ctx, const cn_found *f);
/* Cannot be read; why is in cn_error_detail(). x NULL: the whole version; else one document, of which matches and places say
 * nothing, nor source and id where its record cannot be read either; version: the newest of those that hold it. */
typedef cn_err cn_unread_fn(void *ctx, uint64_t version, const cn_found *x);

typedef struct cn_find {
    const cn_needle *needle;
    cn_str source;          /* only of this source; empty: all */
    uint32_t limit;         /* documents found, or not readable */
    uint64_t deadline_ns;   /* 0: none */
    bool after;             /* take up behind segment, doc */
    cn_seg_id segment;      /* in and out: the last one looked at */
    uint32_t doc;
    bool more;              /* out: stopped before the end */
    uint64_t docs, bytes;   /* out: looked at */
} cn_find;
/* v: versions of one index, none of them dropped. CN_NOT_FOUND: the segment to take up behind is gone. */
cn_err cn_find_text(cn_tenant *t, const cn_version *v, uint32_t n, cn_find *io, cn_found_fn *fn, cn_unread_fn *unread, void *ctx);
