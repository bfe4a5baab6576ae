#include "ingest/chunk/pack.h"

#include "engine/base/mem.h"

cn_err cn_chunk_list_add(cn_chunk_list *l, const cn_chunk *c) {
    if (l->n == CN_CHUNKS_MAX)
        return cn_fail(CN_INVALID, "the document makes over %u chunks; take larger ones (tokens=N) or cut the document", CN_CHUNKS_MAX);
    if (!cn_grow(l->v, l->n, l->room))
        return cn_fail_memory();
    l->v[l->n++] = *c;
    return CN_OK;
}

void cn_chunk_list_done(cn_chunk_list *l) {
    cn_free(l->v);
    *l = (cn_chunk_list){0};
}

/* How many stretches the chunk takes, at least one fresh: up to the best beginning of the next in the budget's second
 * half, the last of equal ones. `next` is what begins after all of them. */
static uint32_t choose_cut(const cn_packer *p, cn_rank next) {
    uint32_t best = p->n, cost = p->cost;
    cn_rank rank = next;
    for (uint32_t i = p->n; !p->exact && i > p->fresh + 1; i--) {
        cost -= p->v[i - 1].cost;
        if (cost < p->budget / 2)
            break;
        if (p->v[i - 1].rank > rank) {
            rank = p->v[i - 1].rank;
            best = i - 1;
        }
    }
    return best;
}

/* The first stretch of the chunk [0, cut) that the next chunk repeats: within `overlap` tokens, at a sentence if one
 * begins there. */
static uint32_t overlap_from(const cn_packer *p, uint32_t cut) {
    uint32_t cost = 0, any = cut, sentence = cut;
    for (uint32_t i = cut; i > 1 && !p->v[i - 1].whole; i--) {
        cost += p->v[i - 1].cost;
        if (cost > p->overlap)
            break;
        any = i - 1;
        if (p->v[i - 1].rank >= CN_RANK_SENTENCE)
            sentence = i - 1;
    }
    return sentence < cut && !p->exact ? sentence : any;
}

static void drop(cn_packer *p, uint32_t n) {
    for (uint32_t i = 0; i < n; i++)
        p->cost -= p->v[i].cost;
    memmove(p->v, p->v + n, (p->n - n) * sizeof *p->v);
    p->n -= n;
    p->fresh = p->fresh > n ? p->fresh - n : 0;
}

static cn_err emit(cn_packer *p, uint32_t cut) {
    cn_chunk c = {.from = p->v[0].from, .to = p->v[cut - 1].to, .page = p->v[0].page, .headings = p->headings};
    CN_TRY(cn_chunk_list_add(p->out, &c));
    p->fresh = cut;
    return CN_OK;
}

static cn_err make_room(cn_packer *p, const cn_atom *a) {
    while (p->n && p->cost + a->cost > p->budget) {
        if (p->fresh == p->n) { /* only overlap is left, and no room for it */
            drop(p, p->n);
            return CN_OK;
        }
        uint32_t cut = choose_cut(p, a->rank);
        CN_TRY(emit(p, cut));
        drop(p, overlap_from(p, cut));
    }
    return CN_OK;
}

cn_err cn_packer_add(void *packer, const cn_atom *a) {
    cn_packer *p = packer;
    CN_ASSERT(a->cost > 0 && a->cost <= p->budget);
    CN_TRY(make_room(p, a));
    if (!cn_grow(p->v, p->n, p->room))
        return cn_fail_memory();
    p->v[p->n++] = *a;
    p->cost += a->cost;
    return CN_OK;
}

cn_err cn_packer_end(cn_packer *p) {
    if (p->fresh < p->n)
        CN_TRY(emit(p, p->n));
    p->n = p->fresh = p->cost = 0;
    return CN_OK;
}

void cn_packer_done(cn_packer *p) {
    cn_free(p->v);
    p->v = NULL;
    p->n = p->room = 0;
}
