/* A list of postings to bytes and back. Decoding never trusts them: what is read is read once, and stays within the run's arrays
 * and rows, whatever a file that was written over says since it was opened. */
#include "engine/base/buf.h"
#include "engine/postings/inside.h"

#define BLOCK CN_POSTING_BLOCK
#define GROUPS (BLOCK / 4)
#define BITS_MAX 24u

typedef uint32_t lanes __attribute__((vector_size(16)));

static unsigned bits_of(uint32_t v) { return v ? 32u - (unsigned)__builtin_clz(v) : 0; }

/* ---------- packing ---------- */
static void pack(const uint32_t *v, unsigned bits, cn_buf *out) {
    uint8_t *to = cn_buf_take(out, 16u * bits);
    lanes word = {0}, x;
    unsigned shift = 0;
    for (unsigned g = 0; to && bits && g < GROUPS; g++) {
        memcpy(&x, v + 4 * g, sizeof x);
        word |= x << shift;
        shift += bits;
        if (shift < 32)
            continue;
        memcpy(to, &word, sizeof word);
        to += sizeof word;
        shift -= 32;
        word = shift ? x >> (bits - shift) : (lanes){0};
    }
}

static void unpack(const uint8_t *from, unsigned bits, uint32_t *v) {
    uint32_t all = bits ? UINT32_MAX >> (32 - bits) : 0;
    lanes mask = {all, all, all, all}, word = {0}, x;
    unsigned shift = 32;
    for (unsigned g = 0; g < GROUPS; g++) {
        x = (lanes){0};
        if (bits && shift < 32)
            x = word >> shift;
        if (bits && shift + bits > 32) { /* the rest of it lies in the next word */
            memcpy(&word, from, sizeof word);
            from += sizeof word;
            x |= shift < 32 ? word << (32 - shift) : word;
            shift -= 32;
        }
        shift += bits;
        x &= mask;
        memcpy(v + 4 * g, &x, sizeof x);
    }
}

static void put_varint(cn_buf *out, uint32_t v) {
    while (v >= 0x80) {
        cn_buf_putc(out, (char)(v | 0x80));
        v >>= 7;
    }
    cn_buf_putc(out, (char)v);
}

static bool get_varint(const uint8_t **at, const uint8_t *end, uint32_t *ret) {
    uint32_t v = 0;
    for (unsigned shift = 0; shift < 28 && *at < end; shift += 7) {
        uint8_t byte = *(*at)++;
        v |= (byte & 0x7fu) << shift;
        if (!(byte & 0x80)) {
            *ret = v;
            return true;
        }
    }
    return false;
}

/* ---------- encoding ---------- */
static void encode_whole(const uint32_t *gap, const uint32_t *count, cn_buf *out) {
    uint32_t gaps = 0, counts = 0;
    for (uint32_t i = 0; i < BLOCK; i++) {
        gaps |= gap[i];
        counts |= count[i];
    }
    cn_buf_putc(out, (char)bits_of(gaps));
    cn_buf_putc(out, (char)bits_of(counts));
    pack(gap, bits_of(gaps), out);
    pack(count, bits_of(counts), out);
}

static void encode_block(const cn_posting *v, uint32_t n, uint32_t next, cn_buf *out) {
    uint32_t gap[BLOCK], count[BLOCK];
    for (uint32_t i = 0; i < n; i++) {
        gap[i] = v[i].row - next;
        count[i] = v[i].tf - 1;
        next = v[i].row + 1;
    }
    if (n == BLOCK) {
        encode_whole(gap, count, out);
        return;
    }
    for (uint32_t i = 0; i < n; i++) {
        put_varint(out, gap[i]);
        put_varint(out, count[i]);
    }
}

static void bound(const cn_posting *v, uint32_t n, const uint32_t *lengths, uint32_t *max_tf, uint32_t *min_len) {
    for (uint32_t i = 0; i < n; i++) {
        *max_tf = v[i].tf > *max_tf ? v[i].tf : *max_tf;
        *min_len = lengths[v[i].row] < *min_len ? lengths[v[i].row] : *min_len;
    }
}

void cn_posting_list_encode(const cn_posting *v, uint32_t n, const uint32_t *lengths, cn_buf *out, cn_entry *entry) {
    uint32_t n_blocks = (n + BLOCK - 1) / BLOCK;
    size_t skips = out->n, first = skips + (n_blocks > 1 ? n_blocks * sizeof(cn_skip) : 0);
    *entry = (cn_entry){.at = (uint32_t)out->n, .df = n, .min_len = UINT32_MAX};
    cn_buf_take(out, first - skips);
    for (uint32_t i = 0; i < n_blocks; i++) {
        uint32_t from = i * BLOCK, m = n - from < BLOCK ? n - from : BLOCK, max_tf = 0, min_len = UINT32_MAX;
        encode_block(v + from, m, from ? v[from - 1].row + 1 : 0, out);
        bound(v + from, m, lengths, &max_tf, &min_len);
        entry->max_tf = max_tf > entry->max_tf ? max_tf : entry->max_tf;
        entry->min_len = min_len < entry->min_len ? min_len : entry->min_len;
        cn_skip s = {v[from + m - 1].row, (uint32_t)(out->n - first), (uint16_t)max_tf, (uint16_t)(min_len < UINT16_MAX ? min_len : UINT16_MAX)};
        if (n_blocks > 1 && !out->failed)
            memcpy(out->p + skips + i * sizeof s, &s, sizeof s);
    }
}

/* ---------- decoding ---------- */
static cn_err damaged(const char *what) { return cn_fail(CN_DAMAGED, "a list of postings %s; the file will be made anew", what); }

cn_err cn_posting_list_open(const cn_postings_run *r, uint32_t term, cn_posting_list *ret) {
    cn_entry e[2];
    memcpy(e, &r->entries[term], sizeof e);
    if (e[0].df == 0 || e[0].df > r->head.rows || e[0].at > e[1].at || e[1].at > r->list_bytes)
        return damaged("is not where it should be");
    cn_posting_list l = {.entry = e[0], .rows = r->head.rows, .n_blocks = (e[0].df + BLOCK - 1) / BLOCK};
    uint32_t bytes = e[1].at - e[0].at, skips = l.n_blocks > 1 ? l.n_blocks * (uint32_t)sizeof(cn_skip) : 0;
    if (skips > bytes)
        return damaged("is shorter than it should be");
    l.skips = skips ? r->lists + e[0].at : NULL;
    l.blocks = r->lists + e[0].at + skips;
    l.bytes = bytes - skips;
    *ret = l;
    return CN_OK;
}

cn_skip cn_posting_list_skip(const cn_posting_list *l, uint32_t i) {
    cn_skip s = {l->rows - 1, l->bytes, (uint16_t)l->entry.max_tf, (uint16_t)(l->entry.min_len < UINT16_MAX ? l->entry.min_len : UINT16_MAX)};
    if (l->skips)
        memcpy(&s, l->skips + i * sizeof s, sizeof s);
    return s;
}

static cn_err decode_whole(const uint8_t *at, uint32_t bytes, cn_decoded *ret) {
    uint8_t bits[2] = {0};
    if (bytes >= sizeof bits)
        memcpy(bits, at, sizeof bits);
    if (bytes < sizeof bits || bits[0] > BITS_MAX || bits[1] > BITS_MAX || bytes != 2u + 16u * bits[0] + 16u * bits[1])
        return damaged("has a block of a wrong length");
    unpack(at + 2, bits[0], ret->row);
    unpack(at + 2 + 16u * bits[0], bits[1], ret->tf);
    return CN_OK;
}

static cn_err decode_rest(const uint8_t *at, uint32_t bytes, cn_decoded *ret) {
    const uint8_t *end = at + bytes;
    for (uint32_t i = 0; i < ret->n; i++)
        if (!get_varint(&at, end, &ret->row[i]) || !get_varint(&at, end, &ret->tf[i]))
            return damaged("is cut short");
    return at == end ? CN_OK : damaged("is longer than it should be");
}

/* Gaps to rows. The sum is made in 64 bits, so that what is too large shows at the end: no row before it was larger. */
static cn_err add_gaps(const cn_posting_list *l, uint32_t i, cn_skip s, cn_decoded *ret) {
    uint64_t next = i ? (uint64_t)cn_posting_list_before(l, i) + 1 : 0;
    for (uint32_t j = 0; j < ret->n; j++) {
        next += ret->row[j];
        ret->row[j] = (uint32_t)next++;
        ret->tf[j]++;
    }
    return next <= l->rows && next <= (uint64_t)s.last + 1 ? CN_OK : damaged("names rows that do not exist");
}

cn_err cn_posting_list_decode(const cn_posting_list *l, uint32_t i, cn_decoded *ret) {
    cn_skip s = cn_posting_list_skip(l, i);
    uint32_t from = i ? cn_posting_list_skip(l, i - 1).end : 0, left = l->entry.df - i * BLOCK;
    if (from > s.end || s.end > l->bytes)
        return damaged("has blocks out of order");
    ret->n = left < BLOCK ? left : BLOCK;
    CN_TRY(ret->n == BLOCK ? decode_whole(l->blocks + from, s.end - from, ret) : decode_rest(l->blocks + from, s.end - from, ret));
    return add_gaps(l, i, s, ret);
}

/* ---------- terms ---------- */
cn_err cn_posting_term(const cn_postings_run *r, uint32_t i, cn_str *ret) {
    uint32_t at[2];
    memcpy(at, &r->offsets[i], sizeof at);
    *ret = (cn_str){r->terms + at[0], at[1] - at[0]};
    return at[0] <= at[1] && at[1] <= r->term_bytes ? CN_OK : damaged("has a term that is not where it should be");
}

cn_err cn_posting_term_from(const cn_postings_run *r, cn_str term, uint32_t *ret) {
    uint32_t lo = 0, hi = r->head.terms;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        cn_str at;
        CN_TRY(cn_posting_term(r, mid, &at));
        if (cn_str_cmp(at, term) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    *ret = lo;
    return CN_OK;
}

cn_err cn_posting_list_find(const cn_postings_run *r, cn_str term, cn_posting_list *ret, bool *ret_is) {
    uint32_t i;
    cn_str at;
    *ret_is = false;
    CN_TRY(cn_posting_term_from(r, term, &i));
    if (i == r->head.terms)
        return CN_OK;
    CN_TRY(cn_posting_term(r, i, &at));
    *ret_is = cn_str_eq(at, term);
    return *ret_is ? cn_posting_list_open(r, i, ret) : CN_OK;
}
