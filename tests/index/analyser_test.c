/* Texts to terms: what is a word, what becomes of it, and what stays the same. */
#include <stdio.h>
#include <stdlib.h>

#include "index/text/inside.h"
#include "tests/index/store_test.h"

typedef struct list {
    char text[4096], at[4096]; /* terms; what they stand for */
    size_t n, at_n;
    uint32_t terms, longest;
    const char *from, *end;
} list;

static cn_err add(void *ctx, const cn_word *w) {
    list *l = ctx;
    if (l->n + w->term.n + 4 < sizeof l->text)
        l->n += (size_t)snprintf(l->text + l->n, sizeof l->text - l->n, "%s" CN_STR_FMT "%s", l->n ? " " : "", CN_STR_ARG(w->term), w->stop ? "*" : "");
    if (l->at_n + w->at.n + 2 < sizeof l->at)
        l->at_n += (size_t)snprintf(l->at + l->at_n, sizeof l->at - l->at_n, "%s" CN_STR_FMT, l->at_n ? "|" : "", CN_STR_ARG(w->at));
    CU_ASSERT(w->at.p >= l->from && w->at.p + w->at.n <= l->end && w->at.n > 0);
    l->terms++;
    l->longest = w->term.n > l->longest ? (uint32_t)w->term.n : l->longest;
    return CN_OK;
}

static list terms_of(const char *language, cn_str text) {
    cn_analyser a;
    cn_terms *t;
    list l = {.from = text.p, .end = text.p + text.n};
    if (OK(cn_analyser_parse(cn_str_of(language), &a)) && OK(cn_terms_new(&a, &t))) {
        OK(cn_terms_each(t, text, add, &l));
        CU_ASSERT_TRUE(cn_terms_are(t, &a));
        cn_terms_free(t);
    }
    return l;
}

static void is(const char *language, const char *text, const char *want) {
    list l = terms_of(language, cn_str_of(text));
    if (strcmp(l.text, want) != 0)
        fprintf(stderr, "\n  %s: \"%s\" gives \"%s\", not \"%s\"\n", language, text, l.text, want);
    CU_ASSERT_STRING_EQUAL(l.text, want);
}

static void words(void) {
    is("none", "", "");
    is("none", " \t.,-()'", "");
    is("none", "Two words,and-more", "two words and more");
    is("none", "don't 'quoted' dogs' o'clock", "don't quoted dogs o'clock");
    is("none", "don\xe2\x80\x99t", "don't");
    is("none", "3.14 1,400 v1.2.3 end. 5, 6", "3.14 1,400 v1.2.3 end 5 6");
    is("none", "a1b2 x_y 10km", "a1b2 x y 10km");
    is("none", "co\xc2\xadoperate", "cooperate");
    is("none", "\xe6\x9d\xb1\xe4\xba\xac\xe9\x83\xbd xyz \xe6\x9d\xb1", "\xe6\x9d\xb1\xe4\xba\xac \xe4\xba\xac\xe9\x83\xbd xyz \xe6\x9d\xb1");
    is("none", "abc\xe6\x9d\xb1\xe4\xba\xac", "abc \xe6\x9d\xb1\xe4\xba\xac");
    is("none", "\xed\x95\x9c\xea\xb5\xad\xec\x96\xb4 \xd0\x9c\xd0\xbe\xd1\x81\xd0\xba\xd0\xb2\xd0\xb0", "\xed\x95\x9c\xea\xb5\xad\xec\x96\xb4 \xd0\xbc\xd0\xbe\xd1\x81\xd0\xba\xd0\xb2\xd0\xb0");
    is("none", "bad\xff" "byte \xc3", "bad byte");
}

static void stands_at(const char *text, const char *want) {
    list l = terms_of("english", cn_str_of(text));
    CU_ASSERT_STRING_EQUAL(l.at, want);
}

static void places(void) {
    stands_at("The Running, dogs' 1,400!", "The|Running|dogs|1,400");
    stands_at("co\xc2\xadoperating Stra\xc3\x9f" "en", "co\xc2\xadoperating|Stra\xc3\x9f" "en");
    stands_at("\xe6\x9d\xb1\xe4\xba\xac\xe9\x83\xbd \xe6\x9d\xb1", "\xe6\x9d\xb1\xe4\xba\xac|\xe4\xba\xac\xe9\x83\xbd|\xe6\x9d\xb1");
}

static void folding(void) {
    is("none", "Stra\xc3\x9f" "e STRASSE", "strasse strasse");
    is("none", "\xef\xac\x81nance \xef\xbc\x91\xef\xbc\x92 \xe2\x85\xa7", "finance 12 viii");   /* ligature, full width, Roman numeral */
    is("none", "cafe\xcc\x81 caf\xc3\xa9", "caf\xc3\xa9 caf\xc3\xa9");                          /* both forms of e acute */
    is("none", "\xce\x9f\xce\x94\xce\x9f\xce\xa3", "\xce\xbf\xce\xb4\xce\xbf\xcf\x83");          /* final sigma folded */
}

static void languages(void) {
    is("english", "The running dogs were generously relational", "the* run dog were* generous relat");
    is("english", "What's a C compiler, and how do I get one?", "what's* a* c compil and* how* do* i* get one");
    is("english", "to be or not to be", "to* be* or* not* to* be*");
    is("", "running", "run");
    is("german", "Die H\xc3\xa4user der St\xc3\xa4" "dte f\xc3\xbcr uns", "die* haus der* stadt f\xc3\xbcr* uns");
    is("french", "les chevaux \xc3\xa0 Paris", "les* cheval \xc3\xa0* paris");
    is("russian", "\xd1\x81\xd0\xbe\xd0\xb1\xd0\xb0\xd0\xba\xd0\xb8", "\xd1\x81\xd0\xbe\xd0\xb1\xd0\xb0\xd0\xba");
    is("none", "the running dogs", "the running dogs");
    CU_ASSERT(cn_word_stops("english", CN_STR("with")) && cn_word_stops("english", CN_STR("a")) && !cn_word_stops("english", CN_STR("cairn")));
    CU_ASSERT(cn_word_stops("german", CN_STR("zur")) && cn_word_stops("french", CN_STR("\xc3\xa0")) && cn_word_stops("italian", CN_STR("\xc3\xa8")));
    CU_ASSERT(cn_word_stops("spanish", CN_STR("y")) && cn_word_stops("dutch", CN_STR("zijn")) && !cn_word_stops("finnish", CN_STR("ja")));
}

static void names(void) {
    cn_analyser a = {.language = "kept"}, b, c;
    OK(cn_analyser_parse(CN_STR("english"), &b));
    OK(cn_analyser_parse(cn_str_of(b.name), &c));
    CU_ASSERT_STRING_EQUAL(b.name, "words/2 language=english");
    CU_ASSERT(strcmp(b.name, c.name) == 0 && cn_digest_eq(&b.digest, &c.digest));
    OK(cn_analyser_parse(CN_STR("porter"), &c));
    CU_ASSERT(!cn_digest_eq(&b.digest, &c.digest));
    OK(cn_analyser_parse(CN_STR("english headings=1 title=2"), &c));
    CU_ASSERT(strcmp(b.name, c.name) == 0 && cn_digest_eq(&b.digest, &c.digest) && c.title == 2 && c.headings == 1);
    OK(cn_analyser_parse(CN_STR("german headings=20 title=0"), &c));
    CU_ASSERT(strcmp(c.name, "words/2 language=german title=0 headings=20") == 0 && c.title == 0 && c.headings == 20);
    OK(cn_analyser_parse(cn_str_of(c.name), &b));
    CU_ASSERT(strcmp(b.name, c.name) == 0 && cn_digest_eq(&b.digest, &c.digest));
    static const char *const wrong[] = {"english title=21", "english title=", "english title=-1", "english title=1x", "english titel=1", "english text=2", "english  ", "title=3"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        FAILS(cn_analyser_parse(cn_str_of(wrong[i]), &a), CN_INVALID);
    FAILS(cn_analyser_parse(CN_STR("klingon"), &a), CN_INVALID);
    CU_ASSERT_PTR_NOT_NULL(strstr(cn_error_detail(), "german"));
    FAILS(cn_analyser_parse(CN_STR("words/1 language=english"), &a), CN_INVALID);
    FAILS(cn_analyser_parse(CN_STR("english\0x"), &a), CN_INVALID);
    FAILS(cn_analyser_parse(CN_STR("a name that is longer than any language has"), &a), CN_INVALID);
    CU_ASSERT_STRING_EQUAL(a.language, "kept");
}

/* However long a word, a term is short and ends between two characters. */
static void long_words(void) {
    size_t n = 100000;
    char *text = malloc(n + 1);
    memset(text, 'x', n);
    list l = terms_of("english", (cn_str){text, n});
    CU_ASSERT(l.terms == 1 && l.longest == CN_TERM_MAX);
    for (size_t i = 0; i + 1 < n; i += 2)
        memcpy(text + i, "\xc3\xa9", 2);
    text[0] = 'a', text[1] = 'b'; /* so that no character ends at 64 */
    memmove(text + 1, text + 2, n - 2);
    l = terms_of("none", (cn_str){text, n - 2});
    CU_ASSERT(l.terms == 1 && l.longest == CN_TERM_MAX - 1);
    for (size_t i = 0; i + 2 < n; i += 3)
        memcpy(text + i, "\xef\xb7\xba", 3); /* one character that stands for eighteen */
    l = terms_of("none", (cn_str){text, n - 1});
    CU_ASSERT(l.terms <= 1 && l.longest <= CN_TERM_MAX);
    free(text);
}

/* Any bytes give terms within the limits, and the same ones again. */
static void any_bytes(void) {
    unsigned seed = 5;
    for (int round = 0; round < 3000; round++) {
        char text[300];
        for (size_t i = 0; i < sizeof text; i++) {
            seed = seed * 1103515245u + 12345u;
            static const char few[] = "aB\xc3\xa9\xe6\x9d\xb1'.,1 \xcc\x81\xf0\x9d\x90\x81\xe2\x80\x99";
            text[i] = round % 2 ? (char)(seed >> 16) : few[(seed >> 16) % (sizeof few - 1)];
        }
        list a = terms_of("english", (cn_str){text, sizeof text}), b = terms_of("english", (cn_str){text, sizeof text});
        CU_ASSERT(a.longest <= CN_TERM_MAX && a.terms == b.terms && strcmp(a.text, b.text) == 0);
    }
}

/* What a cn_terms knows of words before changes nothing, though words push each other out. */
static void known_words(void) {
    static char text[40000];
    cn_analyser a;
    cn_terms *t;
    size_t n = 0;
    unsigned seed = 9;
    for (int i = 0; i < 4000; i++) {
        static const char *const ends[] = {"", "s", "ing", "ational", "\xc3\xa9s", "'s"};
        seed = seed * 1103515245u + 12345u;
        n += (size_t)snprintf(text + n, sizeof text - n, "%c%c%s%s ", 'a' + (int)(seed >> 16) % 26, 'A' + (int)(seed >> 8) % 23, seed >> 31 ? "or" : "", ends[(seed >> 20) % 6]);
    }
    OK(cn_analyser_parse(CN_STR("english"), &a));
    OK(cn_terms_new(&a, &t));
    for (int round = 0; round < 2; round++)
        for (cn_str left = {text, n}, word; cn_str_next(&left, ' ', &word);) {
            list one = terms_of("english", word), again = {.from = word.p, .end = word.p + word.n};
            OK(cn_terms_each(t, word, add, &again));
            CU_ASSERT(one.terms == 1 && strcmp(one.text, again.text) == 0 && strcmp(one.at, again.at) == 0);
        }
    cn_terms_free(t);
}

static cn_err give_up(void *ctx, const cn_word *w) {
    (void)w;
    ++*(int *)ctx;
    return CN_DEADLINE;
}

static void ends_when_told(void) {
    cn_analyser a;
    cn_terms *t;
    int calls = 0;
    if (OK(cn_analyser_parse(CN_STR("none"), &a)) && OK(cn_terms_new(&a, &t))) {
        CU_ASSERT_EQUAL(cn_terms_each(t, CN_STR("one two"), give_up, &calls), CN_DEADLINE);
        CU_ASSERT_EQUAL(calls, 1);
        cn_terms_free(t);
    }
}

void analyser_suite(void) {
    CU_pSuite s = CU_add_suite("analyser", NULL, NULL);
    CU_add_test(s, "words", words);
    CU_add_test(s, "places", places);
    CU_add_test(s, "folding", folding);
    CU_add_test(s, "languages", languages);
    CU_add_test(s, "names", names);
    CU_add_test(s, "long words", long_words);
    CU_add_test(s, "known words", known_words);
    CU_add_test(s, "any bytes", any_bytes);
    CU_add_test(s, "ends when told", ends_when_told);
}
