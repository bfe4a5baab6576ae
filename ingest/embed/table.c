#include "ingest/embed/table.h"

#include <stddef.h>

#define MAGIC "cairntab"
enum { LOWER = 1, STRIP = 2, APART = 4 };

typedef struct head {
    char magic[8];
    uint32_t format, crc, words, dim, cuts, zero;
    uint8_t from[32], texts[32];
    uint64_t passages;
    uint8_t rest[24];
} head;
_Static_assert(sizeof(head) == CN_TABLE_HEAD, "as drawn in table.h");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "rows are read in place");
#define CRC_FROM offsetof(head, words)

static bool zeros(const uint8_t *p, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (p[i])
            return false;
    return true;
}

static cn_err check_head(const head *h, cn_str file) {
    if (memcmp(h->magic, MAGIC, sizeof h->magic) != 0)
        return cn_fail(CN_INVALID, "the table does not begin with \"" MAGIC "\"");
    if (h->format != CN_TABLE_FORMAT)
        return cn_fail(CN_INVALID, "the table has format %u; this cairn reads format %d", h->format, CN_TABLE_FORMAT);
    if (h->words < 1 || h->words > CN_TABLE_WORDS_MAX || h->dim < 1 || h->dim > CN_TABLE_DIM_MAX)
        return cn_fail(CN_INVALID, "the table says %u words of %u numbers; at most %u of %u", h->words, h->dim, CN_TABLE_WORDS_MAX, CN_TABLE_DIM_MAX);
    uint64_t want = CN_TABLE_HEAD + (uint64_t)h->words * h->dim * sizeof(int16_t);
    if (file.n != want)
        return cn_fail(CN_INVALID, "the table has %zu bytes; %u words of %u numbers take %llu", file.n, h->words, h->dim, (unsigned long long)want);
    if (h->cuts > (LOWER | STRIP | APART) || h->zero || !zeros(h->rest, sizeof h->rest))
        return cn_fail(CN_INVALID, "bytes of the table's head that are not in use are not 0");
    return CN_OK;
}

static bool is_short(const int16_t *v, size_t n) {
    int16_t least = 0, most = 0;
    for (size_t i = 0; i < n; i++) {
        least = v[i] < least ? v[i] : least;
        most = v[i] > most ? v[i] : most;
    }
    return least >= -CN_TABLE_SHORT && most <= CN_TABLE_SHORT;
}

cn_err cn_table_validate(cn_str file, cn_token_table *ret) {
    head h;
    if (file.n < CN_TABLE_HEAD)
        return cn_fail(CN_INVALID, "the table has %zu bytes, and its head alone has %d", file.n, CN_TABLE_HEAD);
    memcpy(&h, file.p, sizeof h);
    CN_TRY(check_head(&h, file));
    if (cn_crc32c(0, file.p + CRC_FROM, file.n - CRC_FROM) != h.crc)
        return cn_fail(CN_INVALID, "the table's checksum does not hold");
    cn_token_table t = {.words = h.words, .dim = h.dim, .pieces = {h.cuts & LOWER, h.cuts & STRIP, h.cuts & APART}, .passages = h.passages};
    memcpy(t.from.b, h.from, sizeof h.from);
    memcpy(t.texts.b, h.texts, sizeof h.texts);
    t.rows = (const int16_t *)__builtin_assume_aligned(file.p + CN_TABLE_HEAD, 2);
    t.is_short = is_short(t.rows, (size_t)t.words * t.dim);
    *ret = t;
    return CN_OK;
}

void cn_table_head(const cn_token_table *t, uint8_t ret[CN_TABLE_HEAD]) {
    head h = {.magic = MAGIC, .format = CN_TABLE_FORMAT, .words = t->words, .dim = t->dim, .passages = t->passages};
    h.cuts = (t->pieces.lower ? LOWER : 0) | (t->pieces.strip_accents ? STRIP : 0) | (t->pieces.cjk ? APART : 0);
    memcpy(h.from, t->from.b, sizeof h.from);
    memcpy(h.texts, t->texts.b, sizeof h.texts);
    h.crc = cn_crc32c(cn_crc32c(0, (const uint8_t *)&h + CRC_FROM, sizeof h - CRC_FROM), t->rows, (size_t)t->words * t->dim * sizeof *t->rows);
    memcpy(ret, &h, sizeof h);
}
