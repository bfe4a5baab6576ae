#include "ingest/chunk/chunk.h"

#include <stdio.h>
#include <stdlib.h>

#include "ingest/chunk/pack.h"
#include "ingest/chunk/section.h"

#define TOKENS_MIN 8
#define TOKENS_MAX 8192     /* without a model's limit */
#define TOKENS_DEFAULT 200
#define OVERLAP_DEFAULT 32

static const char *const names[] = {"structure", "fixed", "document"};

/* --- settings --- */

static cn_str next_word(cn_str *rest) {
    while (rest->n && (*rest->p == ' ' || *rest->p == '\t'))
        rest->p++, rest->n--;
    cn_str w = {rest->p, 0};
    while (w.n < rest->n && w.p[w.n] != ' ' && w.p[w.n] != '\t')
        w.n++;
    rest->p += w.n;
    rest->n -= w.n;
    return w;
}

/* "tokens=200": the number after the name, false when it is another setting. */
static bool setting(cn_str word, const char *name, uint64_t *ret) {
    size_t n = strlen(name);
    char digits[16];
    if (word.n <= n || word.n - n >= sizeof digits || memcmp(word.p, name, n) != 0)
        return false;
    memcpy(digits, word.p + n, word.n - n);
    digits[word.n - n] = 0;
    if (strspn(digits, "0123456789") != word.n - n)
        return false;
    *ret = strtoull(digits, NULL, 10);
    return true;
}

static cn_err parse_kind(cn_str word, cn_chunker_kind *ret) {
    for (unsigned k = 0; k < sizeof names / sizeof *names; k++) {
        cn_str name = cn_str_of(names[k]), old = {word.p, word.n};
        if (word.n == name.n + 2 && memcmp(word.p + name.n, "/1", 2) == 0)
            old.n -= 2; /* the canonical form */
        if (cn_str_eq(old, name)) {
            *ret = (cn_chunker_kind)k;
            return CN_OK;
        }
    }
    return cn_fail(CN_INVALID, "chunker \"" CN_STR_FMT "\" is not known; write structure, fixed or document, e.g. \"structure tokens=200 overlap=32\"", CN_STR_ARG(word));
}

cn_err cn_chunker_parse(cn_str text, uint32_t max_tokens, cn_chunker *ret) {
    uint64_t most = max_tokens ? max_tokens : TOKENS_MAX, least = most < TOKENS_MIN ? most : TOKENS_MIN;
    uint64_t tokens = UINT64_MAX, overlap = UINT64_MAX;
    cn_chunker c = {0};
    cn_str word = next_word(&text);
    if (word.n)
        CN_TRY(parse_kind(word, &c.kind));
    while ((word = next_word(&text)).n)
        if (c.kind == CN_CHUNK_DOCUMENT || (!setting(word, "tokens=", &tokens) && !setting(word, "overlap=", &overlap)))
            return cn_fail(CN_INVALID, "\"" CN_STR_FMT "\" is no setting of the chunker %s; structure and fixed take tokens=N and overlap=N, document none", CN_STR_ARG(word), names[c.kind]);
    if (c.kind == CN_CHUNK_DOCUMENT) {
        c.tokens = max_tokens;
        *ret = c;
        return CN_OK;
    }
    if (tokens == UINT64_MAX)
        tokens = most < TOKENS_DEFAULT ? most : TOKENS_DEFAULT;
    if (overlap == UINT64_MAX)
        overlap = tokens / 4 < OVERLAP_DEFAULT ? tokens / 4 : OVERLAP_DEFAULT;
    if (tokens < least || tokens > most)
        return cn_fail(CN_INVALID, "tokens=%llu of the chunker must be %llu to %llu%s", (unsigned long long)tokens, (unsigned long long)least, (unsigned long long)most,
                       max_tokens ? ", the model's limit" : "");
    if (overlap > tokens / 2)
        return cn_fail(CN_INVALID, "overlap=%llu of the chunker must be at most half of tokens=%llu", (unsigned long long)overlap, (unsigned long long)tokens);
    c.tokens = (uint32_t)tokens;
    c.overlap = (uint32_t)overlap;
    *ret = c;
    return CN_OK;
}

void cn_chunker_text(const cn_chunker *c, char text[96]) {
    if (c->kind == CN_CHUNK_DOCUMENT)
        snprintf(text, 96, "document/1");
    else
        snprintf(text, 96, "%s/1 tokens=%u overlap=%u", names[c->kind], c->tokens, c->overlap);
}

cn_err cn_chunker_words(cn_str text, cn_arena *a, cn_str *ret) {
    const char *slash = memchr(text.p, '/', text.n);
    size_t at = slash ? (size_t)(slash - text.p) : text.n, end = slash ? at + 1 : at;
    while (end < text.n && text.p[end] >= '0' && text.p[end] <= '9')
        end++;
    char *p = cn_arena_printf(a, "%.*s%.*s", (int)at, text.p, (int)(text.n - end), text.p + end);
    if (!p)
        return cn_fail_memory();
    *ret = cn_str_of(p);
    return CN_OK;
}

/* --- chunking --- */

static cn_err check_blocks(const cn_parsed *doc) {
    uint64_t at = 0;
    if (doc->text.n > CN_TEXT_MAX)
        return cn_fail(CN_INVALID, "the document's text has %zu bytes; at most %u can be kept", doc->text.n, CN_TEXT_MAX);
    for (uint32_t i = 0; i < doc->n_blocks; i++) {
        const cn_block *b = &doc->blocks[i];
        if (b->from < at || b->to < b->from || b->to > doc->text.n)
            return cn_fail(CN_INTERNAL, "block %u of the parsed document is not in order", i);
        at = b->to;
    }
    return CN_OK;
}

static cn_err whole(const cn_chunker *c, const cn_sections *s, cn_chunk_list *out) {
    cn_str text = s->split.text;
    uint64_t from = 0, to = text.n;
    uint32_t tokens = 0;
    cn_trim(text, &from, &to);
    if (from == to)
        return CN_OK;
    if (c->tokens)
        CN_TRY(cn_split_count(&s->split, from, to, c->tokens, &tokens));
    if (c->tokens && tokens + s->path_cost > c->tokens)
        return cn_fail(CN_INVALID, "the document has over %u tokens, the model's limit for one text; choose the chunker structure or fixed, or cut the document", c->tokens);
    cn_chunk one = {.from = from, .to = to, .page = s->doc->n_blocks ? s->doc->blocks[0].page : 0, .headings = s->path};
    return cn_chunk_list_add(out, &one);
}

static cn_err windows(cn_sections *s) {
    cn_str text = s->split.text;
    s->pack.exact = true;
    CN_TRY(cn_split(&s->split, CN_SPLIT_WORDS, 0, text.n, s->doc->n_blocks ? s->doc->blocks[0].page : 0));
    return cn_packer_end(&s->pack);
}

/* Pages of windows, which do not follow the blocks. */
static void set_pages(const cn_parsed *doc, cn_chunk_list *l) {
    for (uint32_t i = 0, b = 0; i < l->n; i++) {
        while (b + 1 < doc->n_blocks && doc->blocks[b + 1].from <= l->v[i].from)
            b++;
        l->v[i].page = doc->n_blocks ? doc->blocks[b].page : 0;
    }
}

static cn_err give(const cn_chunk_list *l, cn_arena *a, cn_chunk **ret, uint32_t *ret_n) {
    cn_chunk *v = cn_arena_alloc(a, (l->n ? l->n : 1) * sizeof *v);
    if (!v)
        return cn_fail_memory();
    if (l->n)
        memcpy(v, l->v, l->n * sizeof *v);
    *ret = v;
    *ret_n = l->n;
    return CN_OK;
}

static cn_err chunk_into(const cn_chunker *c, cn_sections *s, cn_chunk_list *out) {
    switch (c->kind) {
    case CN_CHUNK_DOCUMENT:
        return whole(c, s, out);
    case CN_CHUNK_FIXED:
        CN_TRY(windows(s));
        set_pages(s->doc, out);
        return CN_OK;
    case CN_CHUNK_STRUCTURE:
    default:
        return cn_sections_run(s);
    }
}

cn_err cn_chunk_document(const cn_chunker *c, cn_embedder *e, const cn_parsed *doc, cn_arena *a, cn_chunk **ret, uint32_t *ret_n) {
    CN_TRY(check_blocks(doc));
    cn_sections s;
    cn_chunk_list out = {0};
    cn_err err = cn_sections_init(&s, c, e, doc, a, &out);
    if (err == CN_OK)
        err = chunk_into(c, &s, &out);
    cn_sections_done(&s);
    if (err == CN_OK)
        err = give(&out, a, ret, ret_n);
    cn_chunk_list_done(&out);
    return err;
}

cn_str cn_chunk_embed_text(const cn_chunk *c, cn_str text, cn_arena *a) {
    cn_str passage = {text.p + c->from, c->to - c->from};
    if (!c->headings.n)
        return passage;
    char *p = cn_arena_alloc(a, c->headings.n + 1 + passage.n);
    if (!p)
        return (cn_str){0};
    memcpy(p, c->headings.p, c->headings.n);
    p[c->headings.n] = '\n';
    memcpy(p + c->headings.n + 1, passage.p, passage.n);
    return (cn_str){p, c->headings.n + 1 + passage.n};
}
