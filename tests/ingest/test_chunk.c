#include <stdio.h>
#include <stdlib.h>

#include "engine/base/mem.h"
#include "engine/base/utf8.h"
#include "ingest/chunk/chunk.h"
#include "ingest/chunk/sentence.h"
#include "tests/ingest/embed_test.h"
#include "tests/ingest/tiny_model.h"

static char data[64], folder[64];
static tiny_model tiny;
static cn_embedder *model;
static cn_arena arena;
static uint32_t limit; /* of the model, for text */

static int up(void) {
    tiny_write(&tiny, tiny_folder(folder), TINY_F32, "");
    tiny_folder(data);
    cn_arena_init(&arena, 1 << 16, (size_t)1 << 30);
    if (cn_model_add(data, CN_STR("tiny"), folder) != CN_OK || cn_embedder_open(data, CN_STR("tiny"), CN_STR("fp32"), &model) != CN_OK)
        return 1;
    limit = cn_embedder_text_tokens(model);
    return limit != cn_embedder_max_tokens(model) - 2;
}
static int down(void) {
    cn_embedder_unref(model);
    cn_arena_done(&arena);
    tiny_done(&tiny);
    tiny_remove(folder);
    tiny_remove(data);
    return 0;
}

/* --- documents from a small notation: a line is a block: "#..": heading, "|": row, ">": code, else a paragraph --- */
typedef struct made {
    cn_parsed doc;
    cn_block blocks[64];
} made;

static made make(const char *lines, const char *title) {
    static char text[1 << 16];
    made m = {0};
    size_t n = 0;
    for (const char *p = lines; *p;) {
        size_t len = strcspn(p, "\n");
        cn_block *b = &m.blocks[m.doc.n_blocks++];
        const char *body = p;
        if (*p == '#')
            for (b->kind = CN_BLOCK_HEADING; *body == '#'; body++)
                b->level++;
        else if (*p == '|' || *p == '>')
            b->kind = *body++ == '|' ? CN_BLOCK_ROW : CN_BLOCK_CODE;
        b->page = m.doc.n_blocks;
        b->from = n;
        for (; body < p + len; body++)
            text[n++] = *body == '~' ? '\n' : *body; /* a line inside a block */
        b->to = n;
        text[n++] = '\n';
        text[n++] = '\n';
        p += len + (p[len] == '\n');
    }
    m.doc.text = (cn_str){text, n};
    m.doc.title = cn_str_of(title);
    return m;
}

typedef struct cut {
    cn_chunk *v;
    uint32_t n;
} cut;

static cut run(const char *chunker, uint32_t most, cn_embedder *e, made *m) {
    cn_chunker c;
    cut r = {0};
    m->doc.blocks = m->blocks;
    CU_ASSERT_EQUAL_FATAL(cn_chunker_parse(cn_str_of(chunker), most, &c), CN_OK);
    CU_ASSERT_EQUAL_FATAL(cn_chunk_document(&c, e, &m->doc, &arena, &r.v, &r.n), CN_OK);
    return r;
}

static void expect(const made *m, const cut *r, uint32_t i, const char *headings, const char *passage) {
    CU_ASSERT_TRUE_FATAL(i < r->n);
    cn_str got = {m->doc.text.p + r->v[i].from, r->v[i].to - r->v[i].from};
    CU_ASSERT_TRUE(cn_str_is(got, passage));
    CU_ASSERT_TRUE(cn_str_is(r->v[i].headings, headings));
    if (!cn_str_is(got, passage) || !cn_str_is(r->v[i].headings, headings))
        fprintf(stderr, "\n  chunk %u is [" CN_STR_FMT "] [" CN_STR_FMT "]\n", i, CN_STR_ARG(r->v[i].headings), CN_STR_ARG(got));
}

static void sections_keep_their_path_of_headings(void) {
    made m = make("Before all.\n#Top\nUnder top.\n##Left\nOne. Two.\n##Right\n#Bare\n#Last\nEnd.", "The Book");
    cut r = run("structure", 0, NULL, &m);
    CU_ASSERT_EQUAL(r.n, 6);
    expect(&m, &r, 0, "The Book", "Before all.");
    expect(&m, &r, 1, "The Book\nTop", "Under top.");
    expect(&m, &r, 2, "The Book\nTop\nLeft", "One. Two.");
    expect(&m, &r, 3, "The Book\nTop", "Right"); /* nothing stands under it */
    expect(&m, &r, 4, "The Book", "Bare");
    expect(&m, &r, 5, "The Book\nLast", "End.");
    CU_ASSERT_EQUAL(r.v[5].page, 9);
}

static void a_title_that_is_the_heading_stands_once(void) {
    made m = make("#The Book\nText.", "The  Book");
    cut r = run("structure", 0, NULL, &m);
    CU_ASSERT_EQUAL(r.n, 1);
    expect(&m, &r, 0, "The Book", "Text.");
    cn_str s = cn_chunk_embed_text(&r.v[0], m.doc.text, &arena);
    CU_ASSERT_TRUE(cn_str_is(s, "The Book\nText."));
}

static void a_split_section_overlaps_by_sentences(void) {
    made m = make("A b c dd. E f g hh. I j k ll. M n o pq. Q r s tt.\nu v.", "");
    cut r = run("structure tokens=16 overlap=5", 0, NULL, &m);
    CU_ASSERT_EQUAL(r.n, 3);
    expect(&m, &r, 0, "", "A b c dd. E f g hh. I j k ll.");
    expect(&m, &r, 1, "", "I j k ll. M n o pq. Q r s tt.");
    expect(&m, &r, 2, "", "Q r s tt.\n\nu v.");
}

static void paragraphs_are_better_places_to_cut_than_sentences(void) {
    made m = make("a b c d. e f g h.\ni j k l. m n o p.\nq r.", "");
    cut r = run("structure tokens=16 overlap=0", 0, NULL, &m);
    CU_ASSERT_EQUAL_FATAL(r.n, 2);
    expect(&m, &r, 0, "", "a b c d. e f g h.");
    expect(&m, &r, 1, "", "i j k l. m n o p.\n\nq r.");
    CU_ASSERT_EQUAL(r.v[1].page, 2);
}

static void code_and_rows_stay_together(void) {
    made m = make("a b c d e f. g h.\n>x = 1; y = 2~z = 3\n|p q\n|r s\n|t u\nend.", "");
    cut r = run("structure tokens=16 overlap=4", 0, NULL, &m);
    CU_ASSERT_EQUAL_FATAL(r.n, 3);
    expect(&m, &r, 1, "", "x = 1; y = 2\nz = 3\n\np q\n\nr s\n\nt u"); /* it does not fit beside the sentences */
    expect(&m, &r, 2, "", "end.");
    m = make(">a b c d~e f g h~i j k l", "");
    r = run("structure tokens=8 overlap=0", 0, NULL, &m);
    CU_ASSERT_EQUAL_FATAL(r.n, 2);
    expect(&m, &r, 0, "", "a b c d\ne f g h");
}

static void long_headings_leave_room(void) {
    made m = make("#a b c d e f g h\n##i j k\n###l m\nx y z.", "t t t t t t");
    cut r = run("structure tokens=18 overlap=0", 0, NULL, &m);
    CU_ASSERT_EQUAL_FATAL(r.n, 1);
    expect(&m, &r, 0, "i j k\nl m", "x y z."); /* a third of 18 */
}

static void sentences_end_where_a_reader_says(void) {
    static const struct {
        const char *text; /* '^' stands where the next sentence begins, or '_' where none does */
    } cases[] = {{"One. ^Two"}, {"Dr. _Who"}, {"e.g. _This"}, {"J. _Doe"}, {"Fig. _3"}, {"Really?\" ^Yes"}, {"so! ^Now"}, {"v1. ^2"},
                 {"stop. _and"}, {"\xe3\x80\x82^\xe6\xbc\xa2"}, {"\xe3\x80\x82_\xe3\x80\x8d"}, {"3._14"}, {"end\xe2\x80\xa6 ^Next"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[64];
        const char *mark = strpbrk(cases[i].text, "^_");
        size_t at = (size_t)(mark - cases[i].text), end = at;
        snprintf(text, sizeof text, "%.*s%s", (int)at, cases[i].text, mark + 1);
        while (end > 0 && text[end - 1] == ' ')
            end--;
        CU_ASSERT_EQUAL(cn_sentence_ends(cn_str_of(text), end, at), *mark == '^');
    }
}

static void signs_stay_with_their_words(void) {
    static const char *const cases[] = {"end_.", "end_)", "(_a", "a ^b", "well-^known", "3_.14", "3._14", "a_, ^b", "so_!\"", "\xe6\xbc\xa2_\xe3\x80\x82", "\xe6\xbc\xa2^\xe5\xad\x97", "say_:^x"};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[64];
        size_t n = 0;
        for (const char *p = cases[i]; *p; p++) {
            if (*p != '_' && *p != '^')
                text[n++] = *p;
        }
        cn_str s = {text, n};
        size_t at = 0;
        for (const char *p = cases[i]; *p; p++) {
            if (*p == '_' || *p == '^')
                CU_ASSERT_EQUAL(cn_word_begins(s, at), *p == '^');
            at += *p != '_' && *p != '^';
        }
    }
    /* The sentence has 16 words, as many as go together, and then its full stop; the overlap takes both or neither. */
    made m = make("a b c d e f g h i j k l m n o p.\nq r s t u v w x.\ny z a b c d e f.", "");
    cut r = run("structure tokens=20 overlap=4", 0, NULL, &m);
    CU_ASSERT_EQUAL_FATAL(r.n, 2);
    for (uint32_t i = 0; i < r.n; i++)
        CU_ASSERT_NOT_EQUAL(m.doc.text.p[r.v[i].from], '.');
}

static void windows_have_exactly_their_tokens(void) {
    made m = make("#Head\na b c d e f g h i j\nk l m n o p.", "");
    cut r = run("fixed tokens=8 overlap=2", 0, NULL, &m);
    CU_ASSERT_EQUAL_FATAL(r.n, 3);
    expect(&m, &r, 0, "", "Head\n\na b c d e f g");
    expect(&m, &r, 1, "", "f g h i j\n\nk l m");
    expect(&m, &r, 2, "", "l m n o p.");
    CU_ASSERT_EQUAL(r.v[2].page, 3);
}

static void a_document_is_one_chunk_or_refused(void) {
    made m = make("  a b.\nc d.", "");
    cut r = run("document", limit, model, &m);
    CU_ASSERT_EQUAL_FATAL(r.n, 1);
    expect(&m, &r, 0, "", "a b.\n\nc d.");
    m = make("a b c d e f g h i j k l m n o p q r s t u v w x y z a b c d e", "");
    cn_chunker c;
    cn_chunk *v = NULL;
    uint32_t n = 7;
    m.doc.blocks = m.blocks;
    CU_ASSERT_EQUAL(cn_chunker_parse(CN_STR("document"), limit, &c), CN_OK);
    CU_ASSERT_EQUAL(cn_chunk_document(&c, model, &m.doc, &arena, &v, &n), CN_INVALID);
    CU_ASSERT_EQUAL(n, 7);
    m = make("", "title");
    r = run("document", limit, model, &m);
    CU_ASSERT_EQUAL(r.n, 0);
    r = run("structure", limit, model, &m);
    CU_ASSERT_EQUAL(r.n, 0);
}

static void settings_are_checked(void) {
    static const char *const bad[] = {"paragraph", "structure tokens=7", "structure tokens=255", "structure tokens=", "fixed tokens=1e2", "fixed tokens=20 overlap=11",
                                      "document tokens=3", "structure size=3", "structure tokens=-5", "structure tokens=99999999999999999999", "tokens=20"};
    cn_chunker c = {.tokens = 77};
    char text[96];
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CU_ASSERT_EQUAL(cn_chunker_parse(cn_str_of(bad[i]), 254, &c), CN_INVALID);
        CU_ASSERT_EQUAL(c.tokens, 77);
    }
    CU_ASSERT_EQUAL(cn_chunker_parse(CN_STR(""), 254, &c), CN_OK);
    cn_chunker_text(&c, text);
    CU_ASSERT_STRING_EQUAL(text, "structure/1 tokens=200 overlap=32");
    CU_ASSERT_EQUAL(cn_chunker_parse(cn_str_of(text), 254, &c), CN_OK); /* its own form can be read */
    CU_ASSERT_EQUAL(cn_chunker_parse(CN_STR(" fixed  overlap=0 tokens=100 "), 128, &c), CN_OK);
    cn_chunker_text(&c, text);
    CU_ASSERT_STRING_EQUAL(text, "fixed/1 tokens=100 overlap=0");
    CU_ASSERT_EQUAL(cn_chunker_parse(CN_STR("structure"), limit, &c), CN_OK);
    CU_ASSERT_EQUAL(c.tokens, limit);
    CU_ASSERT_EQUAL(c.overlap, 7);
    CU_ASSERT_EQUAL(cn_chunker_parse(CN_STR("document"), limit, &c), CN_OK);
    cn_chunker_text(&c, text);
    CU_ASSERT_STRING_EQUAL(text, "document/1");
}

/* --- promises on random documents --- */

static uint32_t tokens_of(cn_embedder *e, cn_str s) {
    cn_token *t;
    uint32_t n = 0;
    CU_ASSERT_EQUAL(cn_tokenize(e, s, &arena, &t, &n), CN_OK);
    return n;
}

static void random_text(char *p, size_t n) {
    static const char *const some[] = {"a", "hello", "worlding", " ", " ", " ", ". ", ".\n", "? ", "\n\n", "\xe6\xbc\xa2\xe3\x80\x82", "e\xcc\x81", "\xc3\x9f", "-", ",", "[SEP]", "\xcd\xbe", "\xe0\xa4\x95\xe0\xa5\x81",
                                       "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
    size_t at = 0;
    int only = rand() % 8 ? -1 : rand() % 19;
    while (at < n) {
        const char *s = some[only >= 0 && rand() % 4 ? only : rand() % 19];
        size_t len = strlen(s);
        if (at + len > n)
            break;
        memcpy(p + at, s, len);
        at += len;
    }
    memset(p + at, ' ', n - at);
}

static bool gap_is_space(cn_str t, uint64_t from, uint64_t to) {
    for (; from < to; from++)
        if (t.p[from] != ' ' && t.p[from] != '\n')
            return false;
    return true;
}

static void check_promises(const made *m, const cut *r, const cn_chunker *c, cn_embedder *e) {
    uint64_t covered = 0;
    for (uint32_t i = 0; i < r->n; i++) {
        const cn_chunk *k = &r->v[i];
        CU_ASSERT_TRUE_FATAL(k->from < k->to && k->to <= m->doc.text.n);
        cn_str s = {m->doc.text.p + k->from, k->to - k->from};
        CU_ASSERT_TRUE(cn_utf8_ok(s) && cn_utf8_ok(k->headings));
        CU_ASSERT_TRUE(!strchr(" \n", s.p[0]) && !strchr(" \n", s.p[s.n - 1]));
        CU_ASSERT_TRUE(tokens_of(e, cn_chunk_embed_text(k, m->doc.text, &arena)) <= c->tokens);
        if (i) {
            CU_ASSERT_TRUE(k->from > k[-1].from && k->to > k[-1].to);
            if (k->from < k[-1].to)
                CU_ASSERT_TRUE(tokens_of(e, (cn_str){s.p, k[-1].to - k->from}) <= c->overlap);
        }
        if (c->kind == CN_CHUNK_FIXED || m->doc.n_blocks == 1)
            CU_ASSERT_TRUE(k->from <= covered || gap_is_space(m->doc.text, covered, k->from));
        covered = k->to;
    }
    if (c->kind == CN_CHUNK_FIXED || m->doc.n_blocks == 1)
        CU_ASSERT_TRUE(gap_is_space(m->doc.text, covered, m->doc.text.n));
}

static cn_str block_text(const made *m, uint32_t i) {
    return (cn_str){m->doc.text.p + m->blocks[i].from, m->blocks[i].to - m->blocks[i].from};
}

/* Every sign of a block that is no heading stands in a chunk, whatever the sections. */
static void check_cover(const made *m, const cut *r, cn_embedder *e) {
    static bool seen[1 << 18];
    uint32_t lost = 0;
    memset(seen, 0, m->doc.text.n);
    for (uint32_t i = 0; i < r->n; i++)
        memset(seen + r->v[i].from, 1, r->v[i].to - r->v[i].from);
    for (uint32_t i = 0; i < m->doc.n_blocks; i++) {
        if (m->blocks[i].kind == CN_BLOCK_HEADING || tokens_of(e, block_text(m, i)) == 0)
            continue;
        for (uint64_t at = m->blocks[i].from; at < m->blocks[i].to; at++)
            lost += !seen[at] && !strchr(" \n", m->doc.text.p[at]);
    }
    CU_ASSERT_EQUAL(lost, 0);
}

/* White space to single spaces, none at the ends. */
static cn_str one_line(cn_str s, char *out) {
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++)
        if (!strchr(" \n", s.p[i]))
            out[n++] = s.p[i];
        else if (n && out[n - 1] != ' ')
            out[n++] = ' ';
    return (cn_str){out, n && out[n - 1] == ' ' ? n - 1 : n};
}

/* A chunk's path ends with the heading it stands under, where that takes no more than a third of the budget. */
static void check_headings(const made *m, const cut *r, const cn_chunker *c, cn_embedder *e) {
    char line[4096];
    for (uint32_t i = 0; i < r->n; i++) {
        const cn_block *under = NULL;
        bool is_heading = false;
        for (uint32_t k = 0; k < m->doc.n_blocks && m->blocks[k].from <= r->v[i].from; k++) {
            is_heading = m->blocks[k].kind == CN_BLOCK_HEADING && r->v[i].from < m->blocks[k].to;
            if (m->blocks[k].kind == CN_BLOCK_HEADING)
                under = &m->blocks[k];
        }
        if (!under || is_heading)
            continue;
        cn_str want = one_line((cn_str){m->doc.text.p + under->from, under->to - under->from}, line), got = r->v[i].headings;
        if (want.n == 0 || want.n > 400 || tokens_of(e, want) > c->tokens / 3)
            continue;
        CU_ASSERT_TRUE(got.n >= want.n && memcmp(got.p + got.n - want.n, want.p, want.n) == 0);
    }
}

static void promises_hold_on_random_documents(void) {
    static const char *const chunkers[] = {"structure tokens=8 overlap=0", "structure tokens=30 overlap=10", "structure tokens=16 overlap=8", "fixed tokens=20 overlap=5", "fixed tokens=8 overlap=4"};
    static char text[1 << 18];
    srand(3);
    for (int round = 0; round < 400; round++) {
        made m = {0};
        size_t n = 0, most = round % 50 == 0 ? sizeof text : 3000;
        m.doc.title = round % 3 ? (cn_str){0} : CN_STR("hello world");
        m.doc.n_blocks = round % 4 == 0 ? 1 : 1 + (uint32_t)(rand() % 60);
        for (uint32_t i = 0; i < m.doc.n_blocks; i++) {
            size_t len = m.doc.n_blocks == 1 ? most : (size_t)(rand() % (rand() % 3 ? 300 : 20));
            random_text(text + n, len);
            m.blocks[i] = (cn_block){.from = n, .to = n + len, .kind = m.doc.n_blocks == 1 ? CN_BLOCK_PARA : (uint8_t)((unsigned)rand() % 6), .level = (uint8_t)((unsigned)rand() % 7)};
            n += len;
            text[n < sizeof text ? n++ : n - 1] = '\n';
        }
        m.doc.text = (cn_str){text, n};
        cn_embedder *e = round % 2 ? model : NULL;
        cn_chunker c;
        const char *which = chunkers[rand() % 5];
        CU_ASSERT_EQUAL_FATAL(cn_chunker_parse(cn_str_of(which), limit, &c), CN_OK);
        cut r = run(which, limit, e, &m);
        check_promises(&m, &r, &c, e);
        check_cover(&m, &r, e);
        if (c.kind == CN_CHUNK_STRUCTURE)
            check_headings(&m, &r, &c, e);
        cn_arena_reset(&arena);
    }
}

static void a_giant_word_is_cut_evenly(void) {
    size_t n = 300000;
    char *text = malloc(n);
    memset(text, 'Q', n);
    made m = {.doc = {.text = {text, n}}};
    for (int k = 0; k < 2; k++) {
        cut r = run("structure tokens=20 overlap=5", limit, k ? model : NULL, &m);
        uint64_t at = 0;
        for (uint32_t i = 0; i < r.n; i++) {
            CU_ASSERT_TRUE(r.v[i].from <= at && r.v[i].to > at && r.v[i].to - r.v[i].from <= 20 * 256);
            at = r.v[i].to;
        }
        CU_ASSERT_EQUAL(at, n);
        CU_ASSERT_TRUE(r.n < 200);
    }
    free(text);
}

static void memory_failures_leave_nothing(void) {
    made m = make("#Top\na b c d. e f g h. i j k l. m n o p. q r s t.\nu v.", "Title");
    cn_chunker c;
    cn_chunk *v = NULL;
    uint32_t n = 0;
    m.doc.blocks = m.blocks;
    CU_ASSERT_EQUAL_FATAL(cn_chunker_parse(CN_STR("structure tokens=16"), limit, &c), CN_OK);
    uint64_t before = cn_alloc_count();
    CU_ASSERT_EQUAL(cn_chunk_document(&c, model, &m.doc, &arena, &v, &n), CN_OK);
    uint64_t all = cn_alloc_count() - before;
    for (uint64_t nth = 1; nth <= all; nth++) {
        cn_chunk *none = NULL;
        cn_alloc_fail_at(nth);
        CU_ASSERT_EQUAL(cn_chunk_document(&c, model, &m.doc, &arena, &none, &n), CN_OVERLOADED);
        CU_ASSERT_PTR_NULL(none);
    }
    cn_alloc_fail_at(0);
}

static void blocks_out_of_order_are_a_defect(void) {
    made m = make("a\nb", "");
    cn_chunker c;
    cn_chunk *v = NULL;
    uint32_t n = 0;
    m.doc.blocks = m.blocks;
    CU_ASSERT_EQUAL_FATAL(cn_chunker_parse(CN_STR("structure"), limit, &c), CN_OK);
    m.blocks[1].to = 1000;
    CU_ASSERT_EQUAL(cn_chunk_document(&c, NULL, &m.doc, &arena, &v, &n), CN_INTERNAL);
    m.blocks[1] = m.blocks[0];
    CU_ASSERT_EQUAL(cn_chunk_document(&c, NULL, &m.doc, &arena, &v, &n), CN_INTERNAL);
}

void add_chunk_tests(void) {
    CU_pSuite s = CU_add_suite("chunk", up, down);
    ADD(s, sections_keep_their_path_of_headings);
    ADD(s, a_title_that_is_the_heading_stands_once);
    ADD(s, a_split_section_overlaps_by_sentences);
    ADD(s, paragraphs_are_better_places_to_cut_than_sentences);
    ADD(s, code_and_rows_stay_together);
    ADD(s, long_headings_leave_room);
    ADD(s, sentences_end_where_a_reader_says);
    ADD(s, signs_stay_with_their_words);
    ADD(s, windows_have_exactly_their_tokens);
    ADD(s, a_document_is_one_chunk_or_refused);
    ADD(s, settings_are_checked);
    ADD(s, promises_hold_on_random_documents);
    ADD(s, a_giant_word_is_cut_evenly);
    ADD(s, memory_failures_leave_nothing);
    ADD(s, blocks_out_of_order_are_a_defect);
}
