/* Questions read: words, phrases and prefixes; phrases followed through a text; where all of these stand in it. */
#include <CUnit/CUnit.h>
#include <stdio.h>

#include "engine/base/mem.h"
#include "index/search/searcher.h"
#include "tests/index/small.h"
#include "tests/index/suites.h"

#define OK(x) CU_ASSERT_EQUAL(x, CN_OK)

static cn_asked asked;

static cn_err ask(const char *language, const char *text, bool operators) {
    cn_analyser a;
    OK(cn_analyser_parse(cn_str_of(language), &a));
    return cn_asked_read(&asked, &a, cn_str_of(text), operators);
}

/* Its words ("!" in quotes, "-" left out), its phrases, its prefixes with their stems. */
static void reads(const char *language, const char *text, const char *want) {
    char got[1024];
    size_t n = 0;
    OK(ask(language, text, true));
    for (uint32_t i = 0; i < asked.n; i++) {
        const cn_asked_word *w = &asked.words[i];
        n += (size_t)snprintf(got + n, sizeof got - n, CN_STR_FMT "%s%s ", CN_STR_ARG(cn_asked_term(&asked, i)), w->in_quotes ? "!" : "", w->left_out ? "-" : "");
    }
    n += (size_t)snprintf(got + n, sizeof got - n, "%u", asked.phrases);
    for (uint32_t i = 0; i < asked.n_prefixes; i++) {
        const cn_asked_prefix *p = &asked.prefix[i];
        n += (size_t)snprintf(got + n, sizeof got - n, " %.*s*%.*s", p->n_folded, p->folded, p->n_stem, p->stem);
    }
    if (strcmp(got, want) != 0)
        fprintf(stderr, "\n  %s: \"%s\" is read as \"%s\", not \"%s\"\n", language, text, got, want);
    CU_ASSERT_STRING_EQUAL(got, want);
}

static void operators(void) {
    reads("none", "", "0");
    reads("none", "\"two words\" and more", "two! words! and more 1");
    reads("none", "a \"b c\" d \"e\" b", "a b! c! d e! 2");
    reads("none", "\xe2\x80\x9ctwo words\xe2\x80\x9d \xe2\x80\x9e" "drei vier\xe2\x80\x9c", "two! words! drei! vier! 2");
    reads("english", "what does \"no such file\" mean", "what- does- no! such! file! mean 1");
    reads("english", "\"to be or not to be\"", "to! be! or! not! 1");
    reads("none", "confi* Zeit*, (wor*)", "0 confi*confi zeit*zeit wor*wor");
    reads("english", "the happy* Confi* and confi*", "the- and- 0 happy*happi confi*confi");
    reads("none", "\xc3\x89t\xc3\xa9*", "0 \xc3\xa9t\xc3\xa9*\xc3\xa9t\xc3\xa9");
}

/* What is no operator is what it was. */
static void signs(void) {
    reads("none", "5 * 3 * 2", "5 3 2 0");
    reads("none", "C* algebra, a C*-algebra", "c algebra a 0");
    reads("none", "ab*cd **bold** x** *y", "ab cd bold x y 0");
    reads("none", "a 5\" disk", "a 5 disk 0");
    reads("none", "say \"hello to them", "say hello to them 0");
    reads("none", "\"\" a \"?!\" b \"", "a b 0");
    reads("none", "\"confi* file\"", "confi! file! 1");
    reads("none", "\"", "0");
    reads("none", "*", "0");
}

static void plain(void) {
    OK(ask("english", "what does \"no such file\" mean, confi*?", false));
    CU_ASSERT(asked.n == 7 && asked.phrases == 0 && asked.n_prefixes == 0 && asked.n_kept == 3);
    CU_ASSERT(cn_asked_find(&asked, CN_STR("file")) && !cn_asked_find(&asked, CN_STR("file"))->in_quotes && !cn_asked_find(&asked, CN_STR("x")));
    OK(ask("english", "to be or not to be", false));
    CU_ASSERT(asked.n_kept == 4 && cn_asked_find(&asked, CN_STR("to"))->times == 2);
}

static void limits(void) {
    char text[4096] = "\"";
    for (uint32_t i = 0; i < CN_PHRASE_WORDS; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "w%u ", i % 9);
    strcat(text, "\"");
    OK(ask("none", text, true));
    CU_ASSERT(asked.phrases == 1 && asked.n_places == CN_PHRASE_WORDS);
    strcat(text, " \"more\"");
    CU_ASSERT_EQUAL(ask("none", text, true), CN_INVALID);
    CU_ASSERT_PTR_NOT_NULL(strstr(cn_error_detail(), "64 words in quotes"));
    OK(ask("none", text, false));
    OK(ask("none", "aa* bb* cc* dd* ee* ff* gg* hh* aa*", true));
    CU_ASSERT(asked.n_prefixes == CN_PREFIXES_MAX && asked.prefix[0].times == 2);
    CU_ASSERT_EQUAL(ask("none", "aa* bb* cc* dd* ee* ff* gg* hh* ii*", true), CN_INVALID);
}

static void stands(const char *question, const char *text, bool want) {
    cn_following f = {0};
    OK(ask("english", question, true));
    OK(cn_follow_text(&asked, &f, cn_str_of(text)));
    if ((f.found == asked.ends) != want)
        fprintf(stderr, "\n  %s %s in \"%s\"\n", question, want ? "is not found" : "is found", text);
    CU_ASSERT_EQUAL(f.found == asked.ends, want);
}

static void phrases(void) {
    stands("\"no such file\"", "error: No such files, or directory", true);
    stands("\"no such file\"", "such no file", false);
    stands("\"no such file\"", "no such a file", false);
    stands("\"no such file\"", "no such", false);
    stands("\"the state of the art\"", "It is state of the art.", false);
    stands("\"state of the art\"", "It is State-of-the-Art.", true);
    stands("\"a a b\"", "a a a b", true);
    stands("\"one two\" \"two three\"", "one two three", true);
    stands("\"one two\" \"two three\"", "one two, two", false);
    stands("\"two\" \"one two\"", "one two", true);
    stands("\"two three\" other \"one\"", "one x two three", true);
    stands("\"to be or not to be\"", "whether to be, or not to be: that", true);
    stands("\"\xe4\xba\xac\xe9\x83\xbd\"", "\xe6\x9d\xb1\xe4\xba\xac\xe9\x83\xbd", true);
}

/* The same question is not read again; another one is, also where only the way to read it differs. */
static void read_once(void) {
    OK(ask("english", "running \"dogs\"", true));
    asked.words[0].times = 77;
    OK(ask("english", "running \"dogs\"", true));
    CU_ASSERT(asked.n == 2 && asked.words[0].times == 77);
    OK(ask("english", "running \"dogs\"", false));
    CU_ASSERT(asked.n == 2 && asked.words[0].times == 1 && asked.phrases == 0);
    OK(ask("none", "running \"dogs\"", false));
    CU_ASSERT(cn_str_is(cn_asked_term(&asked, 0), "running"));
    OK(ask("none", "running", false));
    CU_ASSERT_EQUAL(asked.n, 1);
    OK(ask("none", "", false));
    CU_ASSERT_EQUAL(asked.n, 0);
    for (int i = 0; i < 2; i++)
        CU_ASSERT_EQUAL(ask("none", "aa* bb* cc* dd* ee* ff* gg* hh* ii*", true), CN_INVALID);
    OK(ask("none", "", false));
    CU_ASSERT_EQUAL(asked.n + asked.n_prefixes, 0);
}

/* ---------- highlights ---------- */
static const s_row rows[] = {{"a", "stones on the moor", "public", "", ""}};
static cn_searcher *searcher;
static cn_view *view;

static void marks(const char *question, bool ops, const char *text, const char *want) {
    char got[512] = "";
    const cn_range *v = NULL;
    uint32_t n = 0;
    OK(cn_highlight(view, searcher, cn_str_of(question), ops, cn_str_of(text), &v, &n));
    for (uint32_t i = 0; i < n; i++) {
        CU_ASSERT(v[i].from < v[i].to && v[i].to <= strlen(text) && (i == 0 || v[i].from >= v[i - 1].to));
        snprintf(got + strlen(got), sizeof got - strlen(got), "%s%.*s", i ? "|" : "", (int)(v[i].to - v[i].from), text + v[i].from);
    }
    if (strcmp(got, want) != 0)
        fprintf(stderr, "\n  %s marks \"%s\", not \"%s\"\n", question, got, want);
    CU_ASSERT_STRING_EQUAL(got, want);
}

static void highlights(void) {
    OK(cn_view_open(s_tenant, CN_STR("h"), 0, &view));
    OK(cn_searcher_new(&searcher));
    marks("running the dog", false, "The dogs RUN; a runner, the doghouse.", "dogs|RUN");
    marks("to be", false, "To be, or not", "To|be");
    marks("nothing", false, "of all this", "");
    marks("", false, "of all this", "");
    marks("words", false, "", "");
    marks("\"no such file\" mean", false, "such files mean no file", "files|mean|file");
    marks("\"no such file\" mean", true, "such files mean: no such file, no file", "mean|no such file");
    marks("\"one two\" \"two three four\" three", true, "one two three four three", "one two three four|three");
    marks("such \"no such file\"", true, "no such file is such", "no such file|such");
    marks("inst*", true, "The installer installs an INSTANCE instead", "installer|installs|INSTANCE|instead");
    marks("happy*", true, "happy, happily, hapless, happiness", "happy|happiness");
    marks("th* stone", true, "the theory of that stone", "theory|stone");
    marks("\xe6\x9d\xb1\xe4\xba\xac\xe9\x83\xbd", false, "x \xe6\x9d\xb1\xe4\xba\xac\xe9\x83\xbd\xe5\xba\x81 y", "\xe6\x9d\xb1\xe4\xba\xac\xe9\x83\xbd");
    cn_searcher_free(searcher);
    cn_view_unref(view);
}

/* However many there are: the first so many. */
static void many_highlights(void) {
    static char text[4 * CN_HIGHLIGHTS_MAX + 9];
    const cn_range *v;
    uint32_t n;
    for (size_t i = 0; i + 2 < sizeof text; i += 2)
        memcpy(text + i, "x ", 2);
    OK(cn_view_open(s_tenant, CN_STR("h"), 0, &view));
    OK(cn_searcher_new(&searcher));
    OK(cn_highlight(view, searcher, CN_STR("x"), false, cn_str_of(text), &v, &n));
    CU_ASSERT(n == CN_HIGHLIGHTS_MAX && v[n - 1].from == 2 * (CN_HIGHLIGHTS_MAX - 1u));
    cn_searcher_free(searcher);
    cn_view_unref(view);
}

/* Whichever allocation fails: an error, and the next time it works. */
static void no_memory(void) {
    const cn_range *v;
    uint32_t n = 0, failed = 0;
    OK(cn_view_open(s_tenant, CN_STR("h"), 0, &view));
    for (uint64_t nth = 1; nth < 12; nth++) {
        cn_hit hits[2];
        cn_query q = {.who = cn_principal_of(s_labels("public")), .text = CN_STR("\"on the moor\" st*"), .k = 2, .mode = CN_MODE_LEXICAL, .operators = true};
        OK(cn_searcher_new(&searcher));
        cn_alloc_fail_at(nth);
        cn_err e = cn_search(view, &q, searcher, hits, &n, NULL);
        e = e == CN_OK ? cn_highlight(view, searcher, q.text, true, q.text, &v, &n) : e;
        cn_alloc_fail_at(0);
        CU_ASSERT(e == CN_OK || e == CN_OVERLOADED);
        failed += e != CN_OK;
        OK(cn_search(view, &q, searcher, hits, &n, NULL));
        CU_ASSERT_EQUAL(n, 1);
        cn_searcher_free(searcher);
    }
    CU_ASSERT(failed > 5);
    cn_view_unref(view);
}

static int set_up(void) {
    if (!s_open())
        return 1;
    s_index("h");
    return s_seal("h", rows, 1, NULL) != 1 || s_activate("h", 1) != CN_OK;
}

static int tear_down(void) {
    s_close();
    cn_asked_done(&asked);
    asked = (cn_asked){0};
    return 0;
}

void add_asked_suite(void) {
    CU_pSuite s = CU_add_suite("questions read", set_up, tear_down);
    CU_add_test(s, "operators", operators);
    CU_add_test(s, "signs", signs);
    CU_add_test(s, "plain", plain);
    CU_add_test(s, "limits", limits);
    CU_add_test(s, "phrases", phrases);
    CU_add_test(s, "read once", read_once);
    CU_add_test(s, "highlights", highlights);
    CU_add_test(s, "many highlights", many_highlights);
    CU_add_test(s, "no memory", no_memory);
}
