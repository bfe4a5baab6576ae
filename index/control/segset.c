#include "index/control/segset.h"

#include "engine/base/mem.h"

typedef struct look {
    const cn_segset *s;
    const cn_seg_id *id;
} look;

static bool is(void *ctx, uint32_t number) {
    const look *l = ctx;
    return memcmp(cn_seg_get_id(l->s->v[number]), l->id, sizeof *l->id) == 0;
}

static uint32_t hash_of(const cn_seg_id *id) {
    uint32_t hash;
    memcpy(&hash, id->b, sizeof hash); /* ids are random */
    return hash;
}

uint32_t cn_segset_find(const cn_segset *s, const cn_seg_id *id) { return cn_table_find(&s->table, hash_of(id), is, &(look){s, id}); }

cn_err cn_segset_open(cn_segset *s, cn_tenant *t, const cn_part *part) {
    if (cn_segset_find(s, &part->id) != UINT32_MAX)
        return CN_OK;
    if (!cn_grow(s->v, s->n, s->room))
        return cn_fail_memory();
    CN_TRY(cn_seg_open(t, &part->id, &part->digest, &s->v[s->n]));
    return cn_table_add(&s->table, hash_of(&part->id), s->n++);
}

void cn_segset_done(cn_segset *s) {
    for (uint32_t i = 0; i < s->n; i++)
        cn_seg_close(s->v[i]);
    cn_free(s->v);
    cn_table_done(&s->table);
    *s = (cn_segset){0};
}
