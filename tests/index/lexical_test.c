/* A question's words made ready: within its time, and what was counted once is known; phrases and prefixes looked up. */
#include <CUnit/CUnit.h>
#include <math.h>
#include <stdio.h>

#include "index/search/searcher.h"
#include "tests/index/small.h"
#include "tests/index/suites.h"

#define OK(x) CU_ASSERT_EQUAL(x, CN_OK)

static const s_row rows[] = {{"a", "stones on the moor", "public", "", ""}, {"b", "stones in the rain", "public", "", ""}};

static int set_up(void) {
    if (!s_open())
        return 1;
    s_index("w");
    return s_seal("w", rows, 2, NULL) != 1 || s_activate("w", 1) != CN_OK;
}

static int tear_down(void) {
    s_close();
    return 0;
}

static void within_a_time(void) {
    cn_view *v;
    cn_lexical l = {0};
    cn_query q = {.who = cn_principal_of(s_labels("public")), .text = CN_STR("rain and stones"), .k = 10, .mode = CN_MODE_LEXICAL};
    CU_ASSERT_FATAL(cn_view_open(s_tenant, CN_STR("w"), 0, &v) == CN_OK);
    q.deadline_ns = 1;
    CU_ASSERT_EQUAL(cn_lexical_prepare(v, &q, &l), CN_DEADLINE);
    q.deadline_ns = 0;
    OK(cn_lexical_prepare(v, &q, &l));
    CU_ASSERT_EQUAL(l.n_wanted, 2);
    q.deadline_ns = 1;
    OK(cn_lexical_prepare(v, &q, &l)); /* counted already */
    CU_ASSERT_EQUAL(l.n_wanted, 2);
    q.text = CN_STR("moor");
    CU_ASSERT_EQUAL(cn_lexical_prepare(v, &q, &l), CN_DEADLINE);
    cn_lexical_done(&l);
    cn_view_unref(v);
}

/* ---------- operators ---------- */
static const s_row more[] = {{"a", "the lone fox ran over the moor", "public", "", ""}, {"b", "a fox alone; the moor, lone", "public", "", ""},
                             {"c", "lone foxes run", "group:x", "", ""}, {"d", "running to and fro on a moor", "public", "", ""},
                             {"e", "runner", "public", "", ""}};

static cn_err find(const char *text, const char *labels, uint64_t deadline_ns, char ids[64], cn_search_stats *st) {
    cn_view *v;
    cn_searcher *s;
    cn_hit hits[10];
    uint32_t n = 0;
    cn_query q = {.who = cn_principal_of(s_labels(labels)), .text = cn_str_of(text), .k = 10, .mode = CN_MODE_LEXICAL, .min_score = -INFINITY, .operators = true,
                  .deadline_ns = deadline_ns};
    CU_ASSERT_FATAL(cn_view_open(s_tenant, CN_STR("o"), 0, &v) == CN_OK && cn_searcher_new(&s) == CN_OK);
    cn_err e = cn_search(v, &q, s, hits, &n, st);
    ids[0] = 0;
    for (uint32_t i = 0; i < n; i++) {
        cn_doc d;
        OK(cn_seg_doc_brief(hits[i].seg, hits[i].doc, &d));
        snprintf(ids + strlen(ids), 64 - strlen(ids), CN_STR_FMT, CN_STR_ARG(d.id));
    }
    cn_searcher_free(s);
    cn_view_unref(v);
    return e;
}

static cn_search_stats finds(const char *text, const char *labels, const char *want) {
    char ids[64];
    cn_search_stats st = {0};
    OK(find(text, labels, 0, ids, &st));
    if (strcmp(ids, want) != 0)
        fprintf(stderr, "\n  %s as %s finds \"%s\", not \"%s\"\n", text, labels, ids, want);
    CU_ASSERT_STRING_EQUAL(ids, want);
    return st;
}

static void looked_up(void) {
    char ids[64];
    s_index("o");
    CU_ASSERT_FATAL(s_seal("o", more, 5, NULL) == 1 && s_activate("o", 1) == CN_OK);
    cn_search_stats st = finds("\"lone fox\"", "public", "a");
    CU_ASSERT(st.phrases == 1 && st.looked_at == 2 && st.terms == 2 && st.known == 2 && st.prefixes == 0);
    finds("\"lone fox\"", "public,group:x", "ca"); /* the shorter one first */
    finds("\"lone fox\"", "group:x", "c");
    finds("\"lone fox\" moor", "public", "a");
    finds("\"fox alone\" \"the moor\"", "public", "b");
    finds("\"the moor\" runner", "public", "ab");
    finds("\"on a moor\"", "public", "d");
    st = finds("\"moor unheard\" fox", "public", ""); /* no text is read for it */
    CU_ASSERT(st.looked_at == 0 && st.terms == 3 && st.known == 2);
    finds("\"of the\" fox", "public", "");
    finds("\"lone\" runner", "public", "ab");
    finds("moor \"lone fox", "public", "abd"); /* no phrase */
    st = finds("run*", "public", "ed");
    CU_ASSERT(st.prefixes == 1 && st.expanded == 2 && st.terms == 1 && st.known == 1 && !st.prefix_cut && st.phrases == 0);
    finds("fo*", "public,group:x", "cab");
    finds("xyz* fro", "public", "d");
    finds("\"run*\"", "group:x", "c"); /* the star is none in quotes */
    CU_ASSERT_EQUAL(find("\"lone fox\"", "public", 1, ids, NULL), CN_DEADLINE);
    CU_ASSERT_EQUAL(find("aa* bb* cc* dd* ee* ff* gg* hh* ii*", "public", 0, ids, NULL), CN_INVALID);
}

/* Of more words than a prefix may stand for, those of the most passages that may be read. */
static void cut_off(void) {
    enum { WORDS = 70 };
    static char text[WORDS][64], id[WORDS][8];
    static s_row both[2 * WORDS];
    s_index("c");
    for (int i = 0; i < WORDS; i++) { /* of the last words another passage, which some may not read */
        snprintf(id[i], sizeof id[i], "%02d", i);
        snprintf(text[i], sizeof text[i], "zz%02d", i);
        both[i] = (s_row){id[i], text[i], "public", "", ""};
    }
    for (int i = 0; i < WORDS; i++) {
        static char more_id[WORDS][8];
        snprintf(more_id[i], sizeof more_id[i], "x%02d", i);
        both[WORDS + i] = (s_row){more_id[i], text[i >= WORDS - 20 ? i : 0], "group:x", "", ""};
    }
    CU_ASSERT_FATAL(s_seal("c", both, 2 * WORDS, NULL) == 1 && s_activate("c", 1) == CN_OK);
    cn_view *v;
    cn_lexical l = {0};
    cn_query q = {.who = cn_principal_of(s_labels("public")), .text = CN_STR("zz*"), .k = 10, .mode = CN_MODE_LEXICAL, .operators = true};
    CU_ASSERT_FATAL(cn_view_open(s_tenant, CN_STR("c"), 0, &v) == CN_OK);
    OK(cn_lexical_prepare(v, &q, &l));
    CU_ASSERT(l.prefix_cut && l.n_wanted == CN_PREFIX_WORDS && l.n_expanded == CN_PREFIX_WORDS);
    CU_ASSERT(cn_str_is(l.wanted[0].term, "zz00") && !l.wanted[0].joins && cn_str_is(l.wanted[63].term, "zz63") && l.wanted[63].joins);
    q.who = cn_principal_of(s_labels("group:x,public"));
    OK(cn_lexical_prepare(v, &q, &l));
    CU_ASSERT(l.prefix_cut && cn_str_is(l.wanted[0].term, "zz00") && cn_str_is(l.wanted[1].term, "zz50") && cn_str_is(l.wanted[20].term, "zz69") && cn_str_is(l.wanted[21].term, "zz01"));
    q.who = cn_principal_of(s_labels("group:x"));
    OK(cn_lexical_prepare(v, &q, &l));
    CU_ASSERT(!l.prefix_cut && l.n_wanted == 21);
    cn_lexical_done(&l);
    cn_view_unref(v);
}

/* ---------- hybrid ---------- */
/* A word that stands in one passage only finds it, however near others are by their vectors: small.h gives the first row the
 * vector furthest from this one. With reciprocal ranks it comes beside the nearest. */
static void rare_word(void) {
    enum { NEIGHBOURS = 200 };
    static char id[NEIGHBOURS][8];
    static s_row all[NEIGHBOURS + 1] = {{"rare", "the code XK9 appears", "public", "", ""}};
    static const float vector[SMALL_DIM] = {0, 1, 0, 0};
    for (int i = 0; i < NEIGHBOURS; i++) {
        snprintf(id[i], sizeof id[i], "n%03d", i);
        all[i + 1] = (s_row){id[i], "the path over a moor", "public", "", ""};
    }
    s_index("h");
    CU_ASSERT_FATAL(s_seal("h", all, NEIGHBOURS + 1, NULL) == 1 && s_activate("h", 1) == CN_OK);
    cn_view *v;
    cn_searcher *s;
    CU_ASSERT_FATAL(cn_view_open(s_tenant, CN_STR("h"), 0, &v) == CN_OK && cn_searcher_new(&s) == CN_OK);
    for (int rrf = 0; rrf < 2; rrf++) {
        cn_hit hits[10];
        cn_doc d, second;
        uint32_t n = 0;
        cn_query q = {.who = cn_principal_of(s_labels("public")), .vector = vector, .text = CN_STR("what is XK9"), .k = 10, .mode = CN_MODE_HYBRID, .rrf = rrf, .min_score = -INFINITY};
        OK(cn_search(v, &q, s, hits, &n, NULL));
        CU_ASSERT_FATAL(n == 10 && cn_seg_doc_brief(hits[0].seg, hits[0].doc, &d) == CN_OK && cn_seg_doc_brief(hits[1].seg, hits[1].doc, &second) == CN_OK);
        CU_ASSERT(cn_str_is(rrf ? second.id : d.id, "rare"));
        CU_ASSERT(!rrf || (cn_str_is(d.id, "n199") && hits[0].score == hits[1].score && hits[0].score == (float)(1.0 / 61)));
    }
    cn_searcher_free(s);
    cn_view_unref(v);
}

void add_lexical_suite(void) {
    CU_pSuite s = CU_add_suite("lexical", set_up, tear_down);
    CU_add_test(s, "within a time", within_a_time);
    CU_add_test(s, "operators", looked_up);
    CU_add_test(s, "a prefix cut off", cut_off);
    CU_add_test(s, "a rare word in mode hybrid", rare_word);
}
