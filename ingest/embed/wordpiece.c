#include "ingest/embed/wordpiece.h"

#include "engine/base/mem.h"
#include "ingest/embed/unicode.h"

#define WORD_CHARS 100                   /* a longer word is [UNK] */
#define WORD_BYTES (WORD_CHARS * 4)
#define MARKS 128                        /* combining marks waiting to be sorted; more make the word [UNK] anyway */
#define NONE UINT32_MAX

enum { C_OTHER, C_REMOVED, C_SPACE, C_PUNCT };

typedef struct piece {
    uint64_t first;    /* its first bytes, the first one lowest: most pieces are known by them alone */
    uint32_t at, n;    /* bytes of the vocabulary, without "##" */
    uint32_t id, next; /* next in its slot's chain, NONE at its end */
} piece;

struct cn_wordpiece {
    cn_wordpiece_opts o;
    char *text;             /* the vocabulary's file */
    piece *pieces;
    uint32_t n, lines, longest;
    uint32_t *slots[2];     /* [0] beginnings of words, [1] continuations: the first of a chain */
    uint32_t mask;
    uint32_t unk, cls, sep;
    struct { cn_str name; uint32_t id; } special[5];
    uint32_t n_special;
    uint8_t ascii[128];     /* class of each */
};

/* One word under way: its normalised bytes, and for each the bytes of the text it came from. */
typedef struct word {
    const cn_wordpiece *w;
    cn_tokens *out;
    cn_err err;
    uint32_t n, chars, from, to;
    uint8_t b[WORD_BYTES + 4];
    uint32_t at[WORD_BYTES + 4], end[WORD_BYTES + 4];
    uint32_t n_marks;
    struct { uint32_t c, class, at, end; } marks[MARKS];
    /* Scratch of one word; as locals they would be cleared at each. */
    uint32_t hash[WORD_BYTES + 4];   /* of the bytes from a piece's beginning on */
    cn_token found[WORD_BYTES + 4];  /* its pieces */
} word;

void cn_tokens_done(cn_tokens *t) {
    cn_free(t->v);
    *t = (cn_tokens){0};
}

cn_err cn_tokens_add(cn_tokens *t, uint32_t id, uint32_t from, uint32_t to) {
    if (t->n == t->max) {
        t->full = true;
        return CN_OK;
    }
    if (!cn_grow(t->v, t->n, t->room))
        return cn_fail_memory();
    t->v[t->n++] = (cn_token){id, from, to};
    return CN_OK;
}

/* --- the vocabulary --- */

static uint32_t hash_end(uint32_t h) { return h ^ h >> 15; }

static uint32_t hash_of(const char *p, size_t n) { return hash_end(cn_hash_bytes(CN_HASH_BEGIN, (cn_str){p, n})); }

#define FIRST 8u
static uint64_t first_of(const char *p, size_t n) {
    uint64_t first = 0;
    for (size_t i = 0; i < n && i < FIRST; i++)
        first |= (uint64_t)(uint8_t)p[i] << 8 * i;
    return first;
}

static uint32_t find_first(const cn_wordpiece *w, int more, uint32_t hash, uint64_t first, const uint8_t *p, uint32_t n) {
    for (uint32_t i = w->slots[more][hash & w->mask]; i != NONE; i = w->pieces[i].next) {
        const piece *x = &w->pieces[i];
        if (x->n == n && x->first == first && (n <= FIRST || memcmp(w->text + x->at, p, n) == 0))
            return x->id;
    }
    return NONE;
}

static uint32_t find(const cn_wordpiece *w, int more, uint32_t hash, const uint8_t *p, uint32_t n) {
    return find_first(w, more, hash, first_of((const char *)p, n), p, n);
}

static void add_piece(cn_wordpiece *w, uint32_t at, uint32_t n, uint32_t id) {
    bool more = n > 2 && w->text[at] == '#' && w->text[at + 1] == '#';
    piece *p = &w->pieces[w->n++];
    *p = (piece){.at = more ? at + 2 : at, .n = more ? n - 2 : n, .id = id};
    p->first = first_of(w->text + p->at, p->n);
    if (p->n > w->longest)
        w->longest = p->n;
}

/* Begins with the last, so that common pieces, which stand first, are found first. One that stands twice has the id of its
 * last line. */
static void chain_pieces(cn_wordpiece *w) {
    for (uint32_t i = w->n; i-- > 0;) {
        piece *p = &w->pieces[i];
        int more = p->at > 0 && w->text[p->at - 1] == '#'; /* else a line begins there */
        uint32_t hash = hash_of(w->text + p->at, p->n), *slot = &w->slots[more][hash & w->mask];
        if (find_first(w, more, hash, p->first, (const uint8_t *)w->text + p->at, p->n) != NONE)
            continue;
        p->next = *slot;
        *slot = i;
    }
}

static void add_pieces(cn_wordpiece *w, size_t size) {
    size_t at = 0;
    while (at < size) {
        const char *nl = memchr(w->text + at, '\n', size - at);
        size_t end = nl ? (size_t)(nl - w->text) : size, n = end - at;
        if (n && w->text[end - 1] == '\r')
            n--;
        if (n)
            add_piece(w, (uint32_t)at, (uint32_t)n, w->lines);
        w->lines++;
        at = end + 1;
    }
    chain_pieces(w);
}

static uint32_t find_name(const cn_wordpiece *w, const char *name) {
    size_t n = strlen(name);
    return find(w, 0, hash_of(name, n), (const uint8_t *)name, (uint32_t)n);
}

static cn_err find_specials(cn_wordpiece *w) {
    static const char *const names[5] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
    for (uint32_t i = 0; i < 5; i++) {
        uint32_t id = find_name(w, names[i]);
        if (id == NONE && i >= 1 && i <= 3)
            return cn_fail(CN_INVALID, "vocab.txt has no line %s; a BERT vocabulary needs [UNK], [CLS] and [SEP]", names[i]);
        if (id == NONE)
            continue;
        w->special[w->n_special].name = cn_str_of(names[i]);
        w->special[w->n_special++].id = id;
    }
    w->unk = find_name(w, "[UNK]");
    w->cls = find_name(w, "[CLS]");
    w->sep = find_name(w, "[SEP]");
    return CN_OK;
}

static void ascii_classes(cn_wordpiece *w) {
    for (uint32_t c = 0; c < 128; c++)
        w->ascii[c] = cn_uni_space(c) ? C_SPACE : cn_uni_is_removed(c) ? C_REMOVED : cn_uni_is_punct(c) ? C_PUNCT : C_OTHER;
}

static uint32_t count_lines(cn_str s) {
    uint32_t n = 1;
    for (size_t i = 0; i < s.n && n <= CN_VOCAB_MAX; i++)
        n += s.p[i] == '\n';
    return n;
}

static cn_err vocab_load(cn_wordpiece *w, cn_str vocab) {
    uint32_t lines = count_lines(vocab), size = 16;
    if (lines > CN_VOCAB_MAX || vocab.n > UINT32_MAX / 2)
        return cn_fail(CN_INVALID, "vocab.txt has over %u lines", CN_VOCAB_MAX);
    while (size < lines * 2)
        size *= 2;
    w->mask = size - 1;
    w->text = cn_strdup_n(vocab.p, vocab.n);
    w->pieces = cn_calloc(lines, sizeof *w->pieces);
    for (int i = 0; i < 2; i++)
        if ((w->slots[i] = cn_alloc((size_t)size * sizeof(uint32_t))))
            memset(w->slots[i], 0xff, (size_t)size * sizeof(uint32_t));
    if (!w->text || !w->pieces || !w->slots[0] || !w->slots[1])
        return cn_fail_memory();
    add_pieces(w, vocab.n);
    return find_specials(w);
}

cn_err cn_wordpiece_new(cn_str vocab, const cn_wordpiece_opts *o, cn_wordpiece **ret) {
    cn_wordpiece *w = cn_calloc(1, sizeof *w);
    if (!w)
        return cn_fail_memory();
    w->o = *o;
    ascii_classes(w);
    cn_err err = vocab_load(w, vocab);
    if (err == CN_OK)
        *ret = w;
    else
        cn_wordpiece_free(w);
    return err;
}

void cn_wordpiece_free(cn_wordpiece *w) {
    if (!w)
        return;
    cn_free(w->text);
    cn_free(w->pieces);
    cn_free(w->slots[0]);
    cn_free(w->slots[1]);
    cn_free(w);
}

uint32_t cn_wordpiece_size(const cn_wordpiece *w) { return w->lines; }
uint32_t cn_wordpiece_cls(const cn_wordpiece *w) { return w->cls; }
uint32_t cn_wordpiece_sep(const cn_wordpiece *w) { return w->sep; }

/* --- words to pieces --- */

static void emit(word *d, uint32_t id, uint32_t from, uint32_t to) {
    if (d->err == CN_OK)
        d->err = cn_tokens_add(d->out, id, from, to);
}

/* The longest piece that starts at byte `at` of the word; its end in *ret_end. */
static uint32_t longest_piece(word *d, uint32_t at, uint32_t *ret_end) {
    uint32_t h = CN_HASH_BEGIN;
    uint32_t most = d->n - at < d->w->longest ? d->n - at : d->w->longest;
    for (uint32_t i = 0; i < most; i++)
        d->hash[i] = h = cn_hash_byte(h, d->b[at + i]);
    for (uint32_t n = most; n > 0; n--) {
        if (at + n < d->n && (d->b[at + n] & 0xc0) == 0x80)
            continue; /* not the end of a character */
        uint32_t id = find(d->w, at > 0, hash_end(d->hash[n - 1]), d->b + at, n);
        if (id != NONE) {
            *ret_end = at + n;
            return id;
        }
    }
    return NONE;
}

/* Sorted marks may have left the order of the text: a piece's place holds all its bytes. */
static cn_token piece_token(const word *d, uint32_t id, uint32_t at, uint32_t end) {
    cn_token t = {id, d->at[at], d->end[at]};
    for (uint32_t i = at + 1; i < end; i++) {
        t.from = d->at[i] < t.from ? d->at[i] : t.from;
        t.to = d->end[i] > t.to ? d->end[i] : t.to;
    }
    return t;
}

/* What is not known whole is not known in part: pieces are given out only when they cover the word. */
static void word_end(word *d) {
    uint32_t n = 0, at = 0;
    if (!d->chars)
        return;
    if (d->chars > WORD_CHARS)
        at = NONE;
    while (at < d->n) {
        uint32_t end = 0, id = longest_piece(d, at, &end);
        if (id == NONE) {
            at = NONE;
            break;
        }
        d->found[n++] = piece_token(d, id, at, end);
        at = end;
    }
    if (at == NONE)
        emit(d, d->w->unk, d->from, d->to);
    for (uint32_t i = 0; at != NONE && i < n; i++)
        emit(d, d->found[i].id, d->found[i].from, d->found[i].to);
    d->n = d->chars = 0;
}

/* --- characters to words --- */

static void word_char(word *d, uint32_t c, uint32_t at, uint32_t end) {
    if (d->chars++ == 0) {
        d->from = at;
        d->to = end;
    }
    d->from = at < d->from ? at : d->from;
    d->to = end > d->to ? end : d->to;
    if (d->chars > WORD_CHARS)
        return;
    uint32_t n = cn_uni_put(c, d->b + d->n);
    for (uint32_t i = 0; i < n; i++) {
        d->at[d->n + i] = at;
        d->end[d->n + i] = end;
    }
    d->n += n;
}

/* A word by itself, known whole or not at all. */
static void put_sign(word *d, uint32_t c, uint32_t at, uint32_t end) {
    uint8_t b[4];
    uint32_t n = cn_uni_put(c, b);
    word_end(d);
    uint32_t id = find(d->w, 0, hash_of((const char *)b, n), b, n);
    emit(d, id == NONE ? d->w->unk : id, at, end);
}

/* A normalised character: lower case, then to its word. */
static void put_char(word *d, uint32_t c, uint32_t at, uint32_t end) {
    uint32_t low[2] = {c, 0}, n = d->w->o.lower ? cn_uni_lower_of(c, low) : 1;
    for (uint32_t i = 0; i < n; i++) {
        if (low[i] < 128 ? d->w->ascii[low[i]] == C_PUNCT : cn_uni_is_punct(low[i]))
            put_sign(d, low[i], at, end);
        else
            word_char(d, low[i], at, end);
    }
}

/* Marks of one run, in canonical order: a stable sort by class. */
static void put_marks(word *d) {
    for (uint32_t i = 1; i < d->n_marks; i++) {
        __typeof__(d->marks[0]) m = d->marks[i];
        uint32_t k = i;
        for (; k > 0 && d->marks[k - 1].class > m.class; k--)
            d->marks[k] = d->marks[k - 1];
        d->marks[k] = m;
    }
    for (uint32_t i = 0; i < d->n_marks; i++)
        put_char(d, d->marks[i].c, d->marks[i].at, d->marks[i].end);
    d->n_marks = 0;
}

static void put_decomposed(word *d, uint32_t c, uint32_t at, uint32_t end) {
    uint32_t many[CN_UNI_MANY], n = cn_uni_decompose(c, many);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t class = cn_uni_class(many[i]);
        if (!class || d->n_marks == MARKS)
            put_marks(d);
        if (cn_uni_in(&cn_uni_accent, many[i]))
            continue;
        if (class) {
            d->marks[d->n_marks].c = many[i];
            d->marks[d->n_marks].class = class;
            d->marks[d->n_marks].at = at;
            d->marks[d->n_marks++].end = end;
        } else {
            put_char(d, many[i], at, end);
        }
    }
}

static void put_wide(word *d, uint32_t c, uint32_t at, uint32_t end) {
    bool alone = d->w->o.cjk && cn_uni_cjk(c);
    if (cn_uni_is_removed(c))
        return;
    if (alone || cn_uni_space(c)) {
        put_marks(d);
        word_end(d);
    }
    if (cn_uni_space(c))
        return;
    if (d->w->o.strip_accents)
        put_decomposed(d, c, at, end);
    else
        put_char(d, c, at, end);
    if (alone) {
        put_marks(d);
        word_end(d);
    }
}

static void put_ascii(word *d, uint8_t c, uint32_t at) {
    uint8_t class = d->w->ascii[c];
    if (class == C_REMOVED)
        return;
    if (d->n_marks)
        put_marks(d);
    if (class == C_OTHER) {
        if (d->w->o.lower && c >= 'A' && c <= 'Z')
            c = (uint8_t)(c + 32);
        word_char(d, c, at, at + 1);
    } else {
        word_end(d);
        if (class == C_PUNCT)
            put_sign(d, c, at, at + 1);
    }
}

/* A word of ASCII alone that begins at p[i], with no other word under way: most of most texts, without a look at each
 * character's place. Its bytes, or 0 when it is none (a sign, or the word goes on with what must be normalised). */
static size_t put_ascii_word(word *d, const uint8_t *p, size_t i, size_t to) {
    uint32_t h = CN_HASH_BEGIN;
    uint64_t first = 0;
    size_t n = 0, most = to - i < WORD_CHARS ? to - i : WORD_CHARS;
    uint8_t upper = d->w->o.lower ? 'A' : 0x80; /* no ASCII letter is from 0x80 on */
    for (; n < most && p[i + n] < 0x80 && d->w->ascii[p[i + n]] == C_OTHER; n++) {
        uint8_t c = p[i + n];
        c = c >= upper && c <= 'Z' ? (uint8_t)(c + 32) : c;
        d->b[n] = c;
        h = cn_hash_byte(h, c);
        first |= n < FIRST ? (uint64_t)c << 8 * n : 0;
    }
    if (n == 0 || (i + n < to && (p[i + n] >= 0x80 || d->w->ascii[p[i + n]] == C_REMOVED || n == WORD_CHARS)))
        return 0;
    uint32_t id = find_first(d->w, 0, hash_end(h), first, d->b, (uint32_t)n);
    if (id != NONE) {
        emit(d, id, (uint32_t)i, (uint32_t)(i + n));
        return n;
    }
    for (uint32_t k = 0; k < n; k++)
        d->end[k] = (d->at[k] = (uint32_t)i + k) + 1;
    d->from = (uint32_t)i;
    d->to = (uint32_t)(i + n);
    d->n = d->chars = (uint32_t)n;
    word_end(d);
    return n;
}

/* A stretch without special tokens: normalised by itself. */
static void put_stretch(word *d, const uint8_t *p, size_t from, size_t to) {
    for (size_t i = from; i < to && !d->out->full && d->err == CN_OK;) {
        size_t whole = d->chars == 0 && d->n_marks == 0 ? put_ascii_word(d, p, i, to) : 0;
        if (whole) {
            i += whole;
            continue;
        }
        if (p[i] < 0x80) {
            put_ascii(d, p[i], (uint32_t)i);
            i++;
            continue;
        }
        uint32_t c, n = cn_uni_next(p + i, to - i, &c);
        put_wide(d, c, (uint32_t)i, (uint32_t)(i + n));
        i += n;
    }
    put_marks(d);
    word_end(d);
}

/* The special token that stands at p, or NULL. */
static uint32_t special_at(const cn_wordpiece *w, const char *p, size_t n) {
    for (uint32_t i = 0; i < w->n_special; i++)
        if (w->special[i].name.n <= n && memcmp(p, w->special[i].name.p, w->special[i].name.n) == 0)
            return i;
    return NONE;
}

cn_err cn_wordpiece_run(const cn_wordpiece *w, cn_str text, cn_tokens *out) {
    if (text.n >= UINT32_MAX)
        return cn_fail(CN_INVALID, "a text of %zu bytes; at most 4 GiB can be tokenized", text.n);
    word d;
    d.w = w;
    d.out = out;
    d.err = CN_OK;
    d.n = d.chars = d.from = d.to = d.n_marks = 0;
    size_t from = 0, at = 0;
    while (at < text.n && !out->full && d.err == CN_OK) {
        const char *open = memchr(text.p + at, '[', text.n - at);
        at = open ? (size_t)(open - text.p) : text.n;
        uint32_t k = open ? special_at(w, open, text.n - at) : NONE;
        if (open && k == NONE) {
            at++;
            continue;
        }
        put_stretch(&d, (const uint8_t *)text.p, from, at);
        if (open && !out->full) {
            emit(&d, w->special[k].id, (uint32_t)at, (uint32_t)(at + w->special[k].name.n));
            at += w->special[k].name.n;
        }
        from = at;
    }
    if (from < text.n)
        put_stretch(&d, (const uint8_t *)text.p, from, text.n);
    return d.err;
}
