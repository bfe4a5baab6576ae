/* Vectors of a stored row that the document's new row can keep: of chunks whose text and headings are still the same. */
#include "engine/base/digest.h"
#include "ingest/job/run.h"

#define PROBES 16 /* a chunk that would need more is embedded again: no input can make this slow */

typedef struct kept {
    const cn_doc *doc;
    const cn_chunk **slots; /* by hash; NULL: free */
    uint32_t mask;
} kept;

static cn_str text_of(const cn_doc *d, const cn_chunk *c) { return (cn_str){d->text.p + c->from, c->to - c->from}; }

static uint32_t hash_of(const cn_doc *d, const cn_chunk *c) {
    cn_str t = text_of(d, c);
    return cn_crc32c(cn_crc32c(0, t.p, t.n), c->headings.p, c->headings.n);
}

static void add(kept *k, const cn_chunk *c) {
    uint32_t at = hash_of(k->doc, c);
    for (int i = 0; i < PROBES; i++, at++)
        if (!k->slots[at & k->mask]) {
            k->slots[at & k->mask] = c;
            return;
        }
}

static const float *find(const kept *k, const cn_doc *d, const cn_chunk *c) {
    uint32_t at = hash_of(d, c);
    for (int i = 0; i < PROBES && k->slots[at & k->mask]; i++, at++) {
        const cn_chunk *old = k->slots[at & k->mask];
        if (cn_str_eq(text_of(k->doc, old), text_of(d, c)) && cn_str_eq(old->headings, c->headings))
            return old->vector;
    }
    return NULL;
}

/* True when the row found was made by the model of this job. A row erased before a restore gives nothing. */
static bool may_reuse(const cn_run *r, const cn_item *it) {
    const cn_recipe *head = &r->head.recipe, *now = &r->recipe;
    return it->found && !it->erased && it->chunks && !r->o.reparse && cn_str_eq(head->precision, now->precision) &&
           cn_digest_eq(&head->embedder_digest, &now->embedder_digest);
}

cn_err cn_reuse_vectors(cn_run *r, cn_arena *a, cn_item *it) {
    cn_doc old;
    if (!may_reuse(r, it))
        return CN_OK;
    CN_TRY(cn_seg_doc_full(cn_ledger_seg(&r->ledger, it->at), it->at.doc, a, &old));
    uint32_t room = 4;
    while (room < 2 * old.n_chunks)
        room *= 2;
    kept k = {.doc = &old, .slots = cn_arena_zalloc(a, room, sizeof *k.slots), .mask = room - 1};
    if (!k.slots)
        return cn_fail_memory();
    for (uint32_t i = 0; i < old.n_chunks; i++)
        if (old.chunks[i].vector)
            add(&k, &old.chunks[i]);
    for (uint32_t i = 0; i < it->doc.n_chunks; i++)
        it->chunks[i].vector = find(&k, &it->doc, &it->chunks[i]);
    return CN_OK;
}
