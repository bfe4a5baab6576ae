/* shape.c -- which of the ranked hits stand in an answer: so many of a document, equal texts once. */
#include "index/search/searcher.h"

/* How many hits of its document there are; *ret_slot: where the next one is noted. */
static uint32_t of_document(const cn_searcher *s, const cn_hit *hits, const cn_hit *x, uint32_t *ret_slot) {
    uint32_t mask = s->room_told - 1, same = 0, at = (uint32_t)(((uintptr_t)x->seg >> 4) * 31 + x->doc) * 2654435761u >> 7 & mask;
    for (; s->told[at]; at = (at + 1) & mask)
        same += hits[s->told[at] - 1].seg == x->seg && hits[s->told[at] - 1].doc == x->doc;
    *ret_slot = at;
    return same;
}

static bool has_text(const cn_searcher *s, const cn_digest *text, uint32_t *ret_slot) {
    uint32_t mask = s->room_told - 1, at;
    memcpy(&at, text->b, sizeof at);
    for (at &= mask; s->told_texts[at]; at = (at + 1) & mask)
        if (cn_digest_eq(&s->texts[s->told_texts[at] - 1], text))
            return true;
    *ret_slot = at;
    return false;
}

cn_err cn_take(cn_searcher *s, const cn_query *q, const cn_hit *found, uint32_t n, cn_hit *hits, uint32_t *ret_n) {
    uint32_t out = 0, doc_slot = 0, text_slot = 0;
    cn_digest text;
    if (q->per_doc)
        memset(s->told, 0, s->room_told * sizeof *s->told);
    if (q->distinct)
        memset(s->told_texts, 0, s->room_told * sizeof *s->told_texts);
    for (uint32_t i = 0; i < n && out < q->k; i++) {
        if (q->per_doc && of_document(s, hits, &found[i], &doc_slot) >= q->per_doc)
            continue;
        if (q->distinct) {
            CN_TRY(cn_seg_text_digest(found[i].seg, found[i].row, &text));
            CN_TRY(cn_seg_sound(found[i].seg));
            if (has_text(s, &text, &text_slot))
                continue;
            s->texts[out] = text;
            s->told_texts[text_slot] = out + 1;
        }
        hits[out++] = found[i];
        if (q->per_doc)
            s->told[doc_slot] = out;
    }
    *ret_n = out;
    return CN_OK;
}

/* ---------- what stands around a hit ---------- */
typedef struct around {
    const cn_hit *hit;
    const cn_widen *how;
    cn_chunk own;
    uint32_t first_row, chunks; /* of the document */
} around;

/* Takes the chunk in, if it may be: not given already, of the section where only that is wanted, and within the size. */
static cn_err take_in(const around *a, uint32_t chunk, cn_span *io, bool *ret) {
    cn_chunk c;
    uint32_t doc, number;
    *ret = false;
    for (uint32_t i = 0; i < a->how->n_given; i++)
        if (chunk >= a->how->given[i].first && chunk <= a->how->given[i].last)
            return CN_OK;
    CN_TRY(cn_seg_row(a->hit->seg, a->first_row + chunk, &c, &doc, &number));
    uint64_t from = c.from < io->from ? c.from : io->from, to = c.to > io->to ? c.to : io->to;
    if ((a->how->section && !cn_str_eq(c.headings, a->own.headings)) || to - from > CN_WIDEN_BYTES)
        return CN_OK;
    *io = (cn_span){chunk < io->first ? chunk : io->first, chunk > io->last ? chunk : io->last, from, to};
    *ret = true;
    return CN_OK;
}

cn_err cn_hit_widen(const cn_hit *hit, const cn_widen *how, uint32_t steps, cn_span *ret) {
    const uint32_t *doc_row = cn_seg_doc_row(hit->seg);
    around a = {.hit = hit, .how = how, .first_row = doc_row[hit->doc], .chunks = doc_row[hit->doc + 1] - doc_row[hit->doc]};
    uint32_t doc, number, most = how->section && !how->each ? UINT32_MAX : how->each, n = 0;
    bool behind = true, before = true;
    CN_TRY(cn_seg_row(hit->seg, hit->row, &a.own, &doc, &number));
    cn_span s = {hit->chunk, hit->chunk, a.own.from, a.own.to};
    while (n < steps && (behind || before)) { /* the one behind first, then the one before, while there are any */
        behind = behind && s.last + 1 < a.chunks && s.last - hit->chunk < most;
        if (behind)
            CN_TRY(take_in(&a, s.last + 1, &s, &behind));
        n += behind;
        before = before && n < steps && s.first > 0 && hit->chunk - s.first < most;
        if (before)
            CN_TRY(take_in(&a, s.first - 1, &s, &before));
        n += before;
    }
    CN_TRY(cn_seg_sound(hit->seg));
    *ret = s;
    return CN_OK;
}
