#include "engine/base/mem.h"
#include "ingest/embed/wordpiece.h"
#include "ingest/embed/words.h"
#include "tests/ingest/embed_test.h"

static const char vocab[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nhello\nworld\n##s\nun\n##aff\n##able\n.\n[\n]\ncafe\n\xe6\xbc\xa2\n\xc3\x9f\nhello\r\na\n##a";

static cn_wordpiece *make(bool lower) {
    cn_wordpiece *w = NULL;
    cn_wordpiece_opts o = {lower, lower, true};
    CU_ASSERT_EQUAL_FATAL(cn_wordpiece_new(CN_STR(vocab), &o, &w), CN_OK);
    return w;
}

static void expect(const cn_wordpiece *w, cn_str text, const uint32_t *want, uint32_t n) {
    cn_tokens t = {.max = UINT32_MAX};
    CU_ASSERT_EQUAL_FATAL(cn_wordpiece_run(w, text, &t), CN_OK);
    CU_ASSERT_EQUAL(t.n, n);
    for (uint32_t i = 0; i < n && i < t.n; i++)
        CU_ASSERT_EQUAL(t.v[i].id, want[3 * i]);
    for (uint32_t i = 0; i < n && i < t.n; i++) {
        CU_ASSERT_EQUAL(t.v[i].from, want[3 * i + 1]);
        CU_ASSERT_EQUAL(t.v[i].to, want[3 * i + 2]);
    }
    cn_tokens_done(&t);
}
#define EXPECT(w, text, ...) expect(w, CN_STR(text), (const uint32_t[]){__VA_ARGS__}, sizeof((const uint32_t[]){__VA_ARGS__}) / 12)

static void pieces_are_the_longest_from_the_left(void) {
    cn_wordpiece *w = make(true);
    EXPECT(w, "Hello  worlds.", 17, 0, 5, 6, 7, 12, 7, 12, 13, 11, 13, 14); /* a piece listed twice has its last id */
    EXPECT(w, "unaffable", 8, 0, 2, 9, 2, 5, 10, 5, 9);
    EXPECT(w, "unaffablex hello", 1, 0, 10, 17, 11, 16); /* not known whole: one [UNK] */
    CU_ASSERT_EQUAL(cn_wordpiece_size(w), 20);
    cn_wordpiece_free(w);
}

static void accents_go_and_ideographs_stand_alone(void) {
    cn_wordpiece *w = make(true);
    EXPECT(w, "Caf\xc3\xa9", 14, 0, 5);
    EXPECT(w, "cafe\xcc\x81!", 14, 0, 4, 1, 6, 7);
    EXPECT(w, "a\xe6\xbc\xa2" "a", 18, 0, 1, 15, 1, 4, 18, 4, 5);
    EXPECT(w, "he\xc2\xadllo\xe2\x80\x8b", 17, 0, 7); /* a soft hyphen and a zero-width space are dropped */
    EXPECT(w, "\xff\xfehello\xc3", 17, 2, 7);          /* and bytes that are no UTF-8 */
    cn_wordpiece_free(w);
    w = make(false);
    EXPECT(w, "Caf\xc3\xa9 cafe", 1, 0, 5, 14, 6, 10); /* with case and accents it is another word */
    cn_wordpiece_free(w);
}

static void special_tokens_in_a_text_are_themselves(void) {
    cn_wordpiece *w = make(true);
    EXPECT(w, "a[SEP]a[sep", 18, 0, 1, 3, 1, 6, 18, 6, 7, 12, 7, 8, 1, 8, 11);
    EXPECT(w, "[[CLS]]", 12, 0, 1, 2, 1, 6, 13, 6, 7);
    EXPECT(w, "[", 12, 0, 1);
    cn_wordpiece_free(w);
}

static void words_over_100_characters_are_unknown(void) {
    cn_wordpiece *w = make(true);
    char text[102];
    memset(text, 'a', sizeof text);
    cn_tokens t = {.max = UINT32_MAX};
    CU_ASSERT_EQUAL(cn_wordpiece_run(w, (cn_str){text, 100}, &t), CN_OK);
    CU_ASSERT_EQUAL(t.n, 100);
    t.n = 0;
    CU_ASSERT_EQUAL(cn_wordpiece_run(w, (cn_str){text, 101}, &t), CN_OK);
    CU_ASSERT_EQUAL(t.n, 1);
    CU_ASSERT_EQUAL(t.v[0].id, 1);
    CU_ASSERT_EQUAL(t.v[0].to, 101);
    cn_tokens_done(&t);
    cn_wordpiece_free(w);
}

static void a_limit_cuts_and_says_so(void) {
    cn_wordpiece *w = make(true);
    cn_tokens t = {.max = 3};
    CU_ASSERT_EQUAL(cn_wordpiece_run(w, CN_STR("a a a"), &t), CN_OK);
    CU_ASSERT_EQUAL(t.n, 3);
    CU_ASSERT_FALSE(t.full);
    t.n = 0;
    CU_ASSERT_EQUAL(cn_wordpiece_run(w, CN_STR("a a a a"), &t), CN_OK);
    CU_ASSERT_EQUAL(t.n, 3);
    CU_ASSERT_TRUE(t.full);
    cn_tokens_done(&t);
    cn_wordpiece_free(w);
}

static void a_vocabulary_needs_its_special_tokens(void) {
    cn_wordpiece *w = NULL;
    cn_wordpiece_opts o = {true, true, true};
    CU_ASSERT_EQUAL(cn_wordpiece_new(CN_STR("[PAD]\n[CLS]\n[SEP]\na\n"), &o, &w), CN_INVALID);
    CU_ASSERT_PTR_NOT_NULL(strstr(cn_error_detail(), "[UNK]"));
    CU_ASSERT_EQUAL(cn_wordpiece_new((cn_str){"", 0}, &o, &w), CN_INVALID);
    CU_ASSERT_PTR_NULL(w);
}

static void memory_failures_leave_nothing(void) {
    cn_wordpiece_opts o = {true, true, true};
    for (uint64_t nth = 1; nth < 6; nth++) {
        cn_wordpiece *w = NULL;
        cn_alloc_fail_at(nth);
        CU_ASSERT_EQUAL(cn_wordpiece_new(CN_STR(vocab), &o, &w), CN_OVERLOADED);
        CU_ASSERT_PTR_NULL(w);
    }
    cn_alloc_fail_at(0);
}

static void without_a_model_words_are_counted(void) {
    cn_tokens t = {.max = UINT32_MAX};
    CU_ASSERT_EQUAL(cn_words_run(CN_STR("Caf\xc3\xa9 2nd-rate, \xe6\xbc\xa2\xe5\xad\x97"), CN_WORD_BYTES, &t), CN_OK);
    CU_ASSERT_EQUAL_FATAL(t.n, 7);
    CU_ASSERT_EQUAL(t.v[0].to, 5);
    CU_ASSERT_EQUAL(t.v[1].from, 6);
    CU_ASSERT_EQUAL(t.v[1].to, 9);
    CU_ASSERT_EQUAL(t.v[6].from, 19);
    t.n = 0;
    char text[1000];
    memset(text, 'x', sizeof text);
    CU_ASSERT_EQUAL(cn_words_run((cn_str){text, sizeof text}, CN_WORD_BYTES, &t), CN_OK);
    CU_ASSERT_EQUAL(t.n, 4);
    CU_ASSERT_EQUAL(t.v[3].to, 1000);
    cn_tokens_done(&t);
}

void add_wordpiece_tests(void) {
    CU_pSuite s = CU_add_suite("wordpiece", NULL, NULL);
    ADD(s, pieces_are_the_longest_from_the_left);
    ADD(s, accents_go_and_ideographs_stand_alone);
    ADD(s, special_tokens_in_a_text_are_themselves);
    ADD(s, words_over_100_characters_are_unknown);
    ADD(s, a_limit_cuts_and_says_so);
    ADD(s, a_vocabulary_needs_its_special_tokens);
    ADD(s, memory_failures_leave_nothing);
    ADD(s, without_a_model_words_are_counted);
}
