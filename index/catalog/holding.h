/* holding.h -- what the versions that a tenant keeps hold, in all its indexes: which documents a change of the policy meets now.
 * A document counts where a version has it, whatever the policy says of it; the stub of an erased one does not.
 *
 * Owns:    a cn_holding owns references to the segments and one bitmap for each, until cn_holding_done().
 * Thread:  one at a time.
 * Limits:  looks until the deadline; takes 8 bytes for each row of a document that was asked for. */
#pragma once
#include <roaring/roaring.h>

#include "index/catalog/version.h"
#include "index/policy/policy.h"

typedef struct cn_holding_part {
    cn_seg *seg;
    roaring_bitmap_t *dead; /* documents that none of the versions has */
} cn_holding_part;

typedef struct cn_holding {
    cn_holding_part *v;
    uint32_t n, room;
    uint64_t deadline_ns;
    uint64_t *met;           /* the first bytes of each document's key, once for each row */
    size_t n_met, room_met;
    bool over;               /* nothing more is looked at: the time is up, or memory */
    char why[CN_ERROR_TEXT]; /* what could not be looked at first; "": all was */
} cn_holding;

/* Opens what can be read; what cannot is in `why`. deadline_ns: cn_mono_ns() */
void cn_holding_open(cn_tenant *t, uint64_t deadline_ns, cn_holding *ret);
void cn_holding_done(cn_holding *h);
/* Each says whether there is such a document, and has it counted; false too where `over`. */
bool cn_holding_doc(cn_holding *h, cn_str source, cn_str id);
bool cn_holding_pattern(cn_holding *h, const cn_pattern *p);
/* Other sources that have a document of this id: at most `most`, borrowed from the segments. Returns how many. */
uint32_t cn_holding_sources(cn_holding *h, cn_str source, cn_str id, cn_str *ret, uint32_t most);
/* The documents that were met so far, each once, wherever it stands. */
uint64_t cn_holding_count(cn_holding *h);
