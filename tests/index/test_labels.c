/* Labels: their form, sets, the rule of permission; globs against a plain recursive matcher. */
#include <CUnit/Basic.h>
#include <CUnit/CUnit.h>

#include "index/policy/glob.h"
#include "index/policy/labels.h"

static cn_arena arena;

static cn_labels parse(const char *text) {
    cn_labels set = {0};
    CU_ASSERT_EQUAL(cn_labels_parse(&arena, cn_str_of(text), &set), CN_OK);
    return set;
}

static void label_forms(void) {
    const char *good[] = {"public", "group:hr", "user:ana", "g:x", "role-2:A/b:c", "a_b:\xc3\xa9", "user:\xe6\x97\xa5\xe6\x9c\xac"};
    const char *bad[] = {"", "Public", "publics", "group", "group:", ":hr", "Group:hr", "1g:x", "-g:x", "group:h r", "group:a,b", "group:a\tb",
                         "group:a\xc2\xa0" "b", "group:a\xe2\x80\xa8", "group:a\x01", "group:\xff", "gr\xc3\xbcn:x", " public", "group:\x7f"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        CU_ASSERT_EQUAL(cn_label_check(cn_str_of(good[i])), CN_OK);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CU_ASSERT_EQUAL(cn_label_check(cn_str_of(bad[i])), CN_INVALID);
        CU_ASSERT(strlen(cn_error_detail()) > 10);
    }
    CU_ASSERT_EQUAL(cn_label_check((cn_str){"g:a\0b", 5}), CN_INVALID);
}

static void label_lengths(void) {
    char text[CN_LABEL_MAX + 8] = "g:";
    memset(text + 2, 'x', 201);
    CU_ASSERT_EQUAL(cn_label_check((cn_str){text, 202}), CN_OK);
    CU_ASSERT_EQUAL(cn_label_check((cn_str){text, 203}), CN_INVALID);
    for (int i = 0; i < 127; i++)
        memcpy(text + 2 + 2 * i, "\xc3\xa9", 2);
    CU_ASSERT_EQUAL(cn_label_check((cn_str){text, 256}), CN_OK);
    CU_ASSERT_EQUAL(cn_label_check((cn_str){text, 258}), CN_INVALID);
}

static void labels_normalise(void) {
    cn_str composed = CN_STR("user:\xc3\xa9"), apart = CN_STR("user:e\xcc\x81");
    cn_str both[] = {apart, CN_PUBLIC, composed, CN_PUBLIC};
    cn_labels set;
    CU_ASSERT_EQUAL(cn_labels_make(&arena, both, 4, &set), CN_OK);
    CU_ASSERT_EQUAL_FATAL(set.n, 2);
    CU_ASSERT(cn_str_eq(set.v[0], CN_PUBLIC));
    CU_ASSERT(cn_str_eq(set.v[1], composed));
    /* Longer than the limit as given, within it in NFC. */
    char text[512] = "g:";
    for (int i = 0; i < 100; i++)
        memcpy(text + 2 + 3 * i, "e\xcc\x81", 3);
    CU_ASSERT_EQUAL(cn_labels_make(&arena, &(cn_str){text, 302}, 1, &set), CN_OK);
    CU_ASSERT_EQUAL(set.v[0].n, 202);
}

static void labels_parse(void) {
    cn_labels set = parse("user:b, group:hr,public,group:hr");
    CU_ASSERT_EQUAL_FATAL(set.n, 3);
    CU_ASSERT(cn_str_is(set.v[0], "group:hr") && cn_str_is(set.v[1], "public") && cn_str_is(set.v[2], "user:b"));
    CU_ASSERT_EQUAL(parse("").n, 0);
    CU_ASSERT_EQUAL(parse("  ").n, 0);
    const char *bad[] = {",", "public,", ",public", "public,,group:a", "public;group:a", "public group:a"};
    cn_labels kept = set;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CU_ASSERT_EQUAL(cn_labels_parse(&arena, cn_str_of(bad[i]), &set), CN_INVALID);
    CU_ASSERT(set.v == kept.v && set.n == kept.n);
}

static void labels_limits(void) {
    static cn_str many[CN_LABELS_MAX + 1];
    static char text[CN_LABELS_MAX + 1][16];
    for (int i = 0; i <= CN_LABELS_MAX; i++)
        many[i] = (cn_str){text[i], (size_t)snprintf(text[i], sizeof text[i], "g:%d", i)};
    cn_labels set;
    CU_ASSERT_EQUAL(cn_labels_make(&arena, many, CN_LABELS_MAX + 1, &set), CN_INVALID);
    CU_ASSERT_EQUAL(cn_labels_make(&arena, many, CN_LABELS_MAX, &set), CN_OK);
    CU_ASSERT_EQUAL(set.n, CN_LABELS_MAX);
    for (int i = 0; i < CN_LABELS_MAX; i++)
        CU_ASSERT(cn_labels_has(set, many[i]));
    CU_ASSERT_FALSE(cn_labels_has(set, many[CN_LABELS_MAX]));
    cn_arena small;
    cn_arena_init(&small, 64, 64);
    CU_ASSERT_EQUAL(cn_labels_make(&small, many, CN_LABELS_MAX, &set), CN_OVERLOADED);
    cn_arena_done(&small);
}

/* Sets of a few labels against bit masks. */
static cn_labels of_mask(unsigned mask) {
    static const char *const names[] = {"g:a", "g:b", "g:c", "public"};
    cn_str v[4];
    uint32_t n = 0;
    for (unsigned i = 0; i < 4; i++)
        if (mask >> i & 1)
            v[n++] = cn_str_of(names[i]);
    cn_labels set = {0};
    CU_ASSERT_EQUAL(cn_labels_make(&arena, v, n, &set), CN_OK);
    return set;
}

static bool same(cn_labels a, cn_labels b) {
    cn_digest x = cn_labels_digest(a), y = cn_labels_digest(b);
    return a.n == b.n && cn_digest_eq(&x, &y);
}

static void set_algebra(void) {
    cn_labels set[16], got;
    for (unsigned m = 0; m < 16; m++)
        set[m] = of_mask(m);
    for (unsigned x = 0; x < 16; x++)
        for (unsigned y = 0; y < 16; y++) {
            CU_ASSERT_EQUAL(cn_labels_meet(set[x], set[y]), (x & y) != 0);
            CU_ASSERT_EQUAL(cn_labels_within(set[x], set[y]), (x & ~y) == 0);
            CU_ASSERT_EQUAL(cn_labels_union(&arena, set[x], set[y], &got), CN_OK);
            CU_ASSERT(same(got, set[x | y]));
            CU_ASSERT_EQUAL(cn_labels_minus(&arena, set[x], set[y], &got), CN_OK);
            CU_ASSERT(same(got, set[x & ~y]));
            CU_ASSERT_EQUAL(same(set[x], set[y]), x == y);
        }
}

static void globs_checked(void) {
    static const char *const sound[] = {"", "*", "[a-c]x", "[]]", "[!]]", "\\[ab", "a]", "[\\]", "\\\\", "[\xff]"};
    static const struct {
        const char *glob, *says;
    } t[] = {{"[sal*", "glob: this [ has no ]; for the character itself write \\[, at byte 0\n  [sal*\n  ^"}, {"x[]", "at byte 1\n  x[]\n   ^"},
             {"[a]\xc3\xa9[b", "at byte 5\n  [a]\xc3\xa9[b\n      ^"}, {"ab\\", "glob: nothing follows this \\; for the character itself write \\\\, at byte 2\n  ab\\\n    ^"}};
    for (size_t i = 0; i < sizeof sound / sizeof *sound; i++)
        CU_ASSERT_EQUAL(cn_glob_check(cn_str_of(sound[i])), CN_OK);
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        CU_ASSERT_EQUAL(cn_glob_check(cn_str_of(t[i].glob)), CN_INVALID);
        CU_ASSERT_PTR_NOT_NULL(strstr(cn_error_detail(), t[i].says));
    }
}

static void permission_rule(void) {
    for (unsigned bits = 0; bits < 1u << 16; bits++) {
        unsigned allow = bits & 15, deny = bits >> 4 & 15, require = bits >> 8 & 15, holds = bits >> 12;
        static cn_labels set[16];
        if (bits == 0)
            for (unsigned m = 0; m < 16; m++)
                set[m] = of_mask(m);
        cn_triple row = {set[allow], set[deny], set[require]};
        bool want = (allow & holds) && !(deny & holds) && !(require & ~holds);
        cn_principal who = cn_principal_of(set[holds]);
        if (cn_triple_permits(&row, &who) != want)
            CU_FAIL("the rule of permission");
        for (unsigned asks = holds; asks; asks = (asks - 1) & holds) { /* asking with fewer labels never shows more */
            cn_principal narrowed = {set[holds], set[asks]};
            if (cn_triple_permits(&row, &narrowed) != ((allow & asks) && !(deny & holds) && !(require & ~asks)))
                CU_FAIL("the rule of permission, narrowed");
        }
    }
    cn_triple open = {0};
    cn_principal one = cn_principal_of(of_mask(8));
    CU_ASSERT_FALSE(cn_triple_permits(&open, &one));
}

static void globs(void) {
    static const struct {
        const char *glob, *text;
        bool fits;
    } t[] = {
        {"", "", true}, {"", "a", false}, {"*", "", true}, {"*", "abc", true}, {"*", "a/b", false}, {"**", "a/b", true}, {"**", "", true},
        {"*.html", "a.html", true}, {"*.html", "x/a.html", false}, {"**/*.html", "x/y/a.html", true}, {"**/*.html", "a.html", true},
        {"a/**", "a/b/c", true}, {"a/**", "ab/c", false}, {"a/**", "a", false}, {"a/**/b", "a/b", true}, {"a/**/b", "a/x/y/b", true},
        {"a/**/b", "a/xb", false}, {"a**b", "a/x/b", true}, {"x**/b", "xy/b", true}, {"x**/b", "xb", false}, {"?", "/", false}, {"?", "\xc3\xa9", true},
        {"??", "\xc3\xa9", false}, {"[a-c]x", "bx", true}, {"[a-c]x", "dx", false}, {"[!a-c]x", "dx", true}, {"[^a-c]x", "ax", false},
        {"[!a]", "/", false}, {"[]]", "]", true}, {"[a-]", "-", true}, {"[\xc3\xa0-\xc3\xbf]", "\xc3\xa9", true}, {"[ab", "[ab", true}, {"[ab", "a", false},
        {"\\*", "*", true}, {"\\*", "x", false}, {"a\\", "a\\", true}, {"*a*b*c", "xxaxxbxxc", true}, {"*a*b*c", "xxaxxcxxb", false},
        {"**/a/*/b", "a/a/x/b", true}, {"**/a/*/b", "q/a/a/b", true}, {"A", "a", false}, {"user:*", "user:ana", true}, {"user:*", "group:ana", false},
        {"?", "\xff", true}, {"\xff", "\xff", true}, {"\xff", "\xfe", false}, {"[\xff]", "\xc3\xbf", false},
    };
    for (size_t i = 0; i < sizeof t / sizeof *t; i++)
        if (cn_glob_match(cn_str_of(t[i].glob), cn_str_of(t[i].text)) != t[i].fits) {
            printf("glob %s on %s\n", t[i].glob, t[i].text);
            CU_FAIL("glob");
        }
}

/* Every way a star can go, tried. */
static bool naive(const char *g, const char *t, const char *start) {
    if (!*g)
        return !*t;
    if (g[0] == '*' && g[1] == '*') {
        const char *from = g;
        while (*g == '*')
            g++;
        bool dirs = *g == '/' && (from == start || from[-1] == '/');
        if (dirs && naive(g + 1, t, start))
            return true;
        for (;; t++) {
            if (!dirs && naive(g, t, start))
                return true;
            if (!*t)
                return false;
            if (dirs && *t == '/' && naive(g + 1, t + 1, start))
                return true;
        }
    }
    if (*g == '*') {
        for (;; t++) {
            if (naive(g + 1, t, start))
                return true;
            if (!*t || *t == '/')
                return false;
        }
    }
    return *t && (*g == '?' ? *t != '/' : *g == *t) && naive(g + 1, t + 1, start);
}

static void globs_as_naive(void) {
    uint64_t seed = 7;
    unsigned fits = 0;
    for (int round = 0; round < 200000; round++) {
        char g[10], t[12];
        for (size_t i = 0; i < sizeof g; i++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            g[i] = "ab/**?\0"[(seed >> 33) % 7];
        }
        for (size_t i = 0; i < sizeof t; i++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            t[i] = "aab//b\0"[(seed >> 33) % 7];
        }
        g[sizeof g - 1] = t[sizeof t - 1] = 0;
        bool want = naive(g, t, g);
        fits += want;
        if (cn_glob_match(cn_str_of(g), cn_str_of(t)) != want) {
            printf("glob %s on %s\n", g, t);
            CU_FAIL("glob differs from the naive one");
        }
    }
    CU_ASSERT(fits > 1000);
}

/* A pattern that takes exponential time in a naive matcher. */
static void globs_stay_fast(void) {
    char g[4096], t[4096];
    memset(t, 'a', sizeof t);
    for (size_t i = 0; i < sizeof g; i += 4)
        memcpy(g + i, "a**a", 4);
    CU_ASSERT_TRUE(cn_glob_match((cn_str){g, sizeof g}, (cn_str){t, sizeof t}));
    g[sizeof g - 1] = 'b';
    CU_ASSERT_FALSE(cn_glob_match((cn_str){g, sizeof g}, (cn_str){t, sizeof t}));
    for (size_t i = 0; i < 400; i += 2)
        memcpy(g + i, "*a", 2);
    memcpy(g + 200, "**", 2);
    g[399] = 'b';
    CU_ASSERT_FALSE(cn_glob_match((cn_str){g, 400}, (cn_str){t, sizeof t}));
}

int main(void) {
    cn_arena_init(&arena, 1 << 20, (size_t)1 << 30);
    CU_initialize_registry();
    CU_pSuite s = CU_add_suite("labels", NULL, NULL);
    CU_add_test(s, "forms", label_forms);
    CU_add_test(s, "lengths", label_lengths);
    CU_add_test(s, "normalise", labels_normalise);
    CU_add_test(s, "parse", labels_parse);
    CU_add_test(s, "limits", labels_limits);
    CU_add_test(s, "set algebra", set_algebra);
    CU_add_test(s, "permission rule", permission_rule);
    CU_add_test(s, "globs", globs);
    CU_add_test(s, "globs checked", globs_checked);
    CU_add_test(s, "globs as a naive matcher", globs_as_naive);
    CU_add_test(s, "globs stay fast", globs_stay_fast);
    CU_basic_run_tests();
    int failed = (int)CU_get_number_of_failures();
    CU_cleanup_registry();
    cn_arena_done(&arena);
    return failed != 0;
}
