/* ledger.h -- what the index's head knows of each document, and what the job under way has met of it.
 *
 * The head's segments are the ledger themselves: a document's content and row digests stand in its record, so nothing can
 * disagree with them. Two bits a document are added for the time of a job: seen (its source still has it) and taken (its
 * row is decided; a second mention of its id is a mistake).
 * Owns:    references to the head's segments, and the bits.
 * Thread:  find and read from any; see, take and the walks from the one that writes.
 * Limits:  three bits of memory a document of the head. */
#pragma once
#include "index/catalog/version.h"

typedef struct cn_place {
    uint32_t part, doc;
} cn_place;

typedef struct cn_ledger_part {
    cn_seg *seg;
    uint32_t docs;
    uint64_t *dead, *seen, *taken; /* a bit a document */
} cn_ledger_part;

typedef struct cn_ledger {
    cn_ledger_part *parts;
    uint32_t n;
    uint64_t live;                 /* documents of the head */
} cn_ledger;

cn_err cn_ledger_open(cn_tenant *t, const cn_version *head, cn_ledger *ret); /* head NULL: an empty one */
void cn_ledger_close(cn_ledger *l);
void cn_ledger_forget(cn_ledger *l); /* nothing seen, nothing taken */

bool cn_ledger_find(const cn_ledger *l, const cn_key *key, cn_place *ret);
static inline cn_seg *cn_ledger_seg(const cn_ledger *l, cn_place at) { return l->parts[at.part].seg; }

void cn_ledger_see(cn_ledger *l, cn_place at);
bool cn_ledger_take(cn_ledger *l, cn_place at); /* sees it too; false: it was taken before */

bool cn_ledger_lives(const cn_ledger_part *p, uint32_t doc);
bool cn_ledger_taken(const cn_ledger_part *p, uint32_t doc);

/* The first live document from *io_at on that is not taken; false: none is left. Start with {0, 0}. */
bool cn_ledger_next_rest(const cn_ledger *l, cn_place *io_at);
/* Calls fn with the key of each live document of this source that was not seen. */
cn_err cn_ledger_unseen(const cn_ledger *l, cn_str source, cn_err (*fn)(void *ctx, const cn_key *key), void *ctx);
