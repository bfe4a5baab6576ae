#include "ingest/chunk/split.h"

#include "engine/base/utf8.h"
#include "ingest/chunk/sentence.h"
#include "ingest/embed/unicode.h"
#include "ingest/embed/words.h"

#define BOUNDARY_SEARCH 512

/* What is being put together while the tokens of a slice are read. */
typedef struct state {
    const cn_splitter *s;
    cn_split_kind kind;
    cn_atom a;       /* cost 0: none yet */
    cn_rank next;    /* rank of the next one */
} state;

static uint32_t token_cost(const cn_token *t) {
    uint32_t n = t->to - t->from;
    return n <= CN_TOKEN_BYTES ? 1 : (n + CN_TOKEN_BYTES - 1) / CN_TOKEN_BYTES;
}

/* The end of the slice that begins at `from`: before a word where one begins near the slice's end. */
static uint64_t slice_end(cn_str text, uint64_t from, uint64_t to) {
    if (to - from <= CN_SLICE)
        return to;
    uint64_t end = cn_utf8_cut(text, from + CN_SLICE), at = end;
    for (uint64_t low = end - BOUNDARY_SEARCH; at > low; at = cn_utf8_cut(text, at - 1))
        if (cn_word_begins(text, at))
            return at;
    return end;
}

/* Marks that the tokenizer drops belong to the word before them. */
static uint64_t with_marks(cn_str text, uint64_t to, uint64_t limit) {
    while (to < limit) {
        uint32_t c, n = cn_uni_next((const uint8_t *)text.p + to, limit - to, &c);
        if (cn_uni_space(c))
            break;
        to += n;
    }
    return to;
}

static cn_err flush(state *x, uint64_t next) {
    if (!x->a.cost)
        return CN_OK;
    x->a.to = with_marks(x->s->text, x->a.to, next);
    CN_TRY(x->s->fn(x->s->ctx, &x->a));
    x->a.cost = 0;
    return CN_OK;
}

static void start(state *x, uint64_t from, uint64_t to, uint32_t cost) {
    x->a.from = from;
    x->a.to = to;
    x->a.cost = cost;
    x->a.rank = x->next;
    x->next = CN_RANK_INSIDE;
}

/* A word that costs more than `most`, in even parts. One token stands for a word too long to be known, and so does each of
 * its parts; else a part has at most as many tokens as bytes. */
static cn_err put_parts(state *x, uint64_t from, uint64_t to, bool one_token) {
    uint64_t room = one_token ? (uint64_t)x->s->most * CN_TOKEN_BYTES : x->s->most;
    uint64_t parts = (to - from + room - 4) / (room - 3), each = (to - from + parts - 1) / parts; /* a part may end 3 bytes later */
    CN_TRY(flush(x, from));
    while (from < to) {
        uint64_t end = to - from <= each ? to : from + each, latest = end + 3;
        while (end < to && end < latest && ((uint8_t)x->s->text.p[end] & 0xc0) == 0x80)
            end++;
        start(x, from, end, (uint32_t)(one_token ? (end - from + CN_TOKEN_BYTES - 1) / CN_TOKEN_BYTES : end - from));
        if (end < to) /* the last part waits for the marks that may follow */
            CN_TRY(flush(x, end));
        from = end;
    }
    return CN_OK;
}

static bool ends_before(const state *x, uint64_t end, uint64_t next) {
    if (x->kind == CN_SPLIT_LINES)
        return memchr(x->s->text.p + end, '\n', next - end) != NULL;
    return x->kind == CN_SPLIT_PROSE && cn_sentence_ends(x->s->text, end, next);
}

static cn_err put_word(state *x, const cn_token *t, uint32_t n) {
    uint64_t from = t[0].from, to = t[n - 1].to;
    uint32_t cost = 0;
    for (uint32_t i = 0; i < n; i++)
        cost += token_cost(&t[i]);
    if (x->a.cost && from >= x->a.to && ends_before(x, x->a.to, from)) {
        CN_TRY(flush(x, from));
        x->next = CN_RANK_SENTENCE;
    }
    if (cost > x->s->most)
        return put_parts(x, from, to, n == 1);
    uint32_t unit = x->kind == CN_SPLIT_LINES ? x->s->most : x->s->unit;
    if (x->a.cost && (x->kind == CN_SPLIT_WORDS || x->a.cost + cost > unit))
        CN_TRY(flush(x, from));
    if (!x->a.cost) {
        start(x, from, to, cost);
        return CN_OK;
    }
    x->a.to = to;
    x->a.cost += cost;
    return CN_OK;
}

/* Tokens with places in the whole text. */
static cn_err slice_tokens(const cn_splitter *s, uint64_t from, uint64_t to, cn_token **ret, uint32_t *ret_n) {
    cn_arena_reset(s->scratch);
    cn_token *t = NULL;
    uint32_t n = 0;
    CN_TRY(cn_tokenize(s->e, (cn_str){s->text.p + from, to - from}, s->scratch, &t, &n));
    for (uint32_t i = 0; i < n; i++) {
        t[i].from += (uint32_t)from;
        t[i].to += (uint32_t)from;
    }
    *ret = t;
    *ret_n = n;
    return CN_OK;
}

/* Counting words, a run of letters that is too long is cut already: its pieces may part. */
static bool is_cut(const cn_splitter *s, const cn_token *t) { return !s->e && t->to - t->from > CN_WORD_BYTES - 4; }

static cn_err put_slice(state *x, uint64_t from, uint64_t to) {
    cn_token *t;
    uint32_t n;
    CN_TRY(slice_tokens(x->s, from, to, &t, &n));
    for (uint32_t i = 0; i < n;) {
        uint32_t k = i + 1;
        while (k < n && (t[k].from < t[k - 1].to || (!is_cut(x->s, &t[k - 1]) && !cn_word_begins(x->s->text, t[k].from))))
            k++;
        CN_TRY(put_word(x, t + i, k - i));
        i = k;
    }
    return CN_OK;
}

cn_err cn_split(const cn_splitter *s, cn_split_kind kind, uint64_t from, uint64_t to, uint32_t page) {
    state x = {.s = s, .kind = kind, .next = CN_RANK_BLOCK};
    x.a.page = page;
    x.a.whole = kind == CN_SPLIT_LINES;
    while (from < to) {
        uint64_t end = slice_end(s->text, from, to);
        CN_TRY(put_slice(&x, from, end));
        from = end;
    }
    return flush(&x, to);
}

cn_err cn_split_count(const cn_splitter *s, uint64_t from, uint64_t to, uint32_t enough, uint32_t *ret) {
    uint32_t count = 0;
    while (from < to && count <= enough) {
        cn_token *t;
        uint32_t n;
        uint64_t end = slice_end(s->text, from, to);
        CN_TRY(slice_tokens(s, from, end, &t, &n));
        for (uint32_t i = 0; i < n; i++)
            count += token_cost(&t[i]);
        from = end;
    }
    *ret = count;
    return CN_OK;
}

void cn_trim(cn_str t, uint64_t *from, uint64_t *to) {
    uint64_t a = *from, b = *to;
    uint32_t c, n;
    while (a < b && (n = cn_uni_next((const uint8_t *)t.p + a, b - a, &c), cn_uni_space(c)))
        a += n;
    while (b > a) {
        uint64_t at = b - 1;
        while (at > a && ((uint8_t)t.p[at] & 0xc0) == 0x80)
            at--;
        cn_uni_next((const uint8_t *)t.p + at, b - at, &c);
        if (!cn_uni_space(c))
            break;
        b = at;
    }
    *from = a;
    *to = b;
}
