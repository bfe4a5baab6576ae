/* revoke.h -- the revocation list of a version being sealed (DESIGN.md section 7, "revoked"); for index/catalog only.
 *
 * Owns:    nothing; the list is appended to the caller's buffer in the form that inforce.h draws.
 * Thread:  one at a time.
 * Limits:  memory is proportional to the documents whose permissions narrowed. */
#pragma once
#include "index/catalog/live.h"

typedef struct cn_revoke {
    cn_tenant *t;
    const cn_living *now;          /* the new version's documents */
    const cn_living *base;         /* the head it was made from */
    const cn_version *base_version; /* NULL: none */
    cn_seg *also;                  /* the own file of a version that `now` was made from too, whose list goes on; NULL: none */
    cn_seg *const *written;        /* files of rows of the new version; each may be NULL */
    uint32_t n_written;
    const cn_version *all;         /* of the index, by number */
    uint32_t n_all;
} cn_revoke;

/* The list's form alone: begin, each entry by the order of keys, end with how many there were; then look at out->failed. */
void cn_revoked_begin(cn_buf *out);
void cn_revoked_add(cn_buf *out, const cn_key *key, const cn_triple *gone);
void cn_revoked_end(cn_buf *out, uint64_t n);
cn_err cn_revoke_make(const cn_revoke *r, cn_buf *out, uint64_t *ret_entries);
