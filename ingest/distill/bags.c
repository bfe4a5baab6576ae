#include "ingest/distill/bags.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/mem.h"

#define ARENA_MOST ((size_t)1 << 30)

static int by_id(const void *a, const void *b) {
    uint32_t x = ((const cn_token *)a)->id, y = ((const cn_token *)b)->id;
    return x < y ? -1 : x > y;
}

void cn_bags_done(cn_bags *b) {
    cn_free(b->from), cn_free(b->piece), cn_free(b->x);
    cn_free(b->by_from), cn_free(b->by_passage), cn_free(b->by_x);
    *b = (cn_bags){0};
}

static cn_err add(cn_bags *b, cn_token *v, uint32_t n, uint64_t *room) {
    uint64_t at = b->from[b->n], room_x = *room;
    if (!cn_grow(b->x, at + n, room_x) || !cn_grow(b->piece, at + n, *room)) /* both of that size */
        return cn_fail_memory();
    qsort(v, n, sizeof *v, by_id);
    float one = n ? 1 / __builtin_sqrtf((float)n) : 0;
    for (uint32_t i = 0; i < n; i++) {
        bool same = i && v[i].id == v[i - 1].id;
        if (same) {
            b->x[at - 1] += one;
            continue;
        }
        b->piece[at] = v[i].id;
        b->x[at++] = one;
    }
    b->from[++b->n] = at;
    return CN_OK;
}

/* Passages in order under each piece. */
static cn_err turn(cn_bags *b) {
    uint64_t all = b->from[b->n];
    CN_AUTO_FREE uint64_t *at = cn_calloc((size_t)b->words + 1, sizeof *at);
    b->by_from = cn_calloc((size_t)b->words + 1, sizeof *b->by_from);
    b->by_passage = cn_calloc(all + 1, sizeof *b->by_passage);
    b->by_x = cn_calloc(all + 1, sizeof *b->by_x);
    if (!at || !b->by_from || !b->by_passage || !b->by_x)
        return cn_fail_memory();
    for (uint64_t i = 0; i < all; i++)
        b->by_from[b->piece[i] + 1]++;
    for (uint32_t w = 0; w < b->words; w++)
        at[w] = b->by_from[w], b->by_from[w + 1] += b->by_from[w];
    for (uint32_t p = 0; p < b->n; p++)
        for (uint64_t i = b->from[p]; i < b->from[p + 1]; i++) {
            uint64_t to = at[b->piece[i]]++;
            b->by_passage[to] = p;
            b->by_x[to] = b->x[i];
        }
    return CN_OK;
}

static cn_err make(cn_embedder *e, const cn_str *texts, uint32_t n, cn_bags *b) {
    uint64_t room = 0;
    uint32_t most = cn_embedder_text_tokens(e);
    cn_arena a;
    cn_err err = CN_OK;
    b->from = cn_calloc((size_t)n + 1, sizeof *b->from);
    if (!b->from)
        return cn_fail_memory();
    cn_arena_init(&a, 65536, ARENA_MOST);
    for (uint32_t i = 0; err == CN_OK && i < n; i++) {
        cn_token *v;
        uint32_t tokens;
        err = cn_tokenize(e, texts[i], &a, &v, &tokens);
        if (err == CN_OK)
            err = add(b, v, tokens < most ? tokens : most, &room);
        cn_arena_reset(&a);
    }
    cn_arena_done(&a);
    return err == CN_OK ? turn(b) : err;
}

cn_err cn_bags_make(cn_embedder *e, const cn_str *texts, uint32_t n, uint32_t words, cn_bags *ret) {
    cn_bags b = {.words = words};
    cn_err err = make(e, texts, n, &b);
    if (err == CN_OK)
        *ret = b;
    else
        cn_bags_done(&b);
    return err;
}
