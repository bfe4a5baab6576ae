#include "index/search/word_counts.h"

#include "engine/base/mem.h"

typedef struct slot {
    uint64_t n;
    bool set;
    uint8_t bytes;
    char term[CN_TERM_MAX];
} slot;

struct cn_word_counts {
    pthread_mutex_t lock;
    slot v[CN_WORD_COUNTS];
};

cn_err cn_word_counts_new(cn_word_counts **ret) {
    cn_word_counts *c = cn_calloc(1, sizeof *c);
    if (!c)
        return cn_fail_memory();
    pthread_mutex_init(&c->lock, NULL);
    *ret = c;
    return CN_OK;
}

void cn_word_counts_free(cn_word_counts *c) {
    if (c)
        pthread_mutex_destroy(&c->lock);
    cn_free(c);
}

static slot *slot_of(cn_word_counts *c, cn_str term) {
    uint32_t h = cn_hash_bytes(CN_HASH_BEGIN, term);
    return &c->v[(h ^ h >> 16) % CN_WORD_COUNTS];
}

bool cn_word_counts_get(cn_word_counts *c, cn_str term, uint64_t *ret) {
    const slot *s = slot_of(c, term);
    pthread_mutex_lock(&c->lock);
    bool is = s->set && s->bytes == term.n && memcmp(s->term, term.p, term.n) == 0;
    if (is)
        *ret = s->n;
    pthread_mutex_unlock(&c->lock);
    return is;
}

void cn_word_counts_put(cn_word_counts *c, cn_str term, uint64_t n) {
    slot *s = slot_of(c, term);
    pthread_mutex_lock(&c->lock);
    s->n = n;
    s->set = true;
    s->bytes = (uint8_t)term.n;
    memcpy(s->term, term.p, term.n);
    pthread_mutex_unlock(&c->lock);
}
