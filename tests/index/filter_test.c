#include <CUnit/CUnit.h>
#include <stdio.h>

#include "index/search/filter.h"
#include "tests/index/oracle.h"
#include "tests/index/suites.h"

static cn_err from_bytes(const cn_buf *b, cn_arena *a, const cn_filter **ret) {
    cn_unpacked u CN_AUTO_UNPACKED = {0};
    cn_err err = cn_unpack(&u, b->p, b->n);
    return err == CN_OK ? cn_filter_from_map(&u.o, a, ret) : err;
}

static cn_err from_text(const char *text, cn_arena *a, const cn_filter **ret) {
    cn_buf b CN_AUTO_BUF;
    cn_buf_init(&b, 1 << 20);
    cn_err err = cn_filter_parse(cn_str_of(text), &b);
    return err == CN_OK ? from_bytes(&b, a, ret) : err;
}

/* Text and map of one random tree make filters of one digest, and both say what the oracle says. */
static void test_against_oracle(void) {
    o_rand r = {7};
    cn_arena a;
    cn_arena_init(&a, 1 << 16, 1 << 24);
    cn_buf text CN_AUTO_BUF, map CN_AUTO_BUF, meta CN_AUTO_BUF;
    cn_buf_init(&text, 1 << 20);
    cn_buf_init(&map, 1 << 20);
    cn_buf_init(&meta, 1 << 20);
    unsigned wrong = 0, matched = 0;
    for (int round = 0; round < 3000; round++) {
        o_filter *f = o_filter_random(&r, 3);
        const cn_filter *by_text = NULL, *by_map = NULL;
        cn_buf_reset(&text);
        cn_buf_reset(&map);
        cn_arena_reset(&a);
        o_filter_text(f, &text);
        o_filter_map(f, &map);
        cn_buf_putc(&text, 0);
        CU_ASSERT_EQUAL_FATAL(from_text(text.p, &a, &by_text), CN_OK);
        CU_ASSERT_EQUAL_FATAL(from_bytes(&map, &a, &by_map), CN_OK);
        cn_digest x = cn_filter_digest(by_text), y = cn_filter_digest(by_map);
        wrong += !cn_digest_eq(&x, &y);
        for (int i = 0; i < 20; i++) {
            o_doc d = {.source = "s1"};
            snprintf(d.id, sizeof d.id, "doc-%u", o_below(&r, 200));
            o_doc_random(&r, 1, &d);
            cn_buf_reset(&meta);
            o_doc_meta(&d, &meta);
            cn_doc doc = {.source = cn_str_of(d.source), .id = cn_str_of(d.id), .meta = cn_buf_str(&meta), .modified = o_doc_modified(&d)};
            bool want = o_filter_match(f, &d);
            matched += want;
            if (cn_filter_match(by_text, &doc) != want && wrong++ < 5)
                printf("\n  %s on %.*s\n", text.p, 20, d.id);
        }
        o_filter_free(f);
    }
    CU_ASSERT_EQUAL(wrong, 0);
    CU_ASSERT(matched > 10000 && matched < 50000);
    cn_arena_done(&a);
}

static bool match_text(const char *filter, const cn_doc *doc) {
    const cn_filter *f = NULL;
    cn_arena a;
    cn_arena_init(&a, 4096, 1 << 20);
    cn_err err = from_text(filter, &a, &f);
    if (err != CN_OK)
        printf("\n  %s: %s\n", filter, cn_error_detail());
    bool match = err == CN_OK && cn_filter_match(f, doc);
    cn_arena_done(&a);
    return match;
}

static void test_text_forms(void) {
    cn_buf meta CN_AUTO_BUF;
    cn_buf_init(&meta, 4096);
    cn_pack_map(&meta, 7);
    cn_pack_cstr(&meta, "big"), cn_pack_uint(&meta, UINT64_MAX);
    cn_pack_cstr(&meta, "date"), cn_pack_cstr(&meta, "2024-03-05T10:00:00Z");
    cn_pack_cstr(&meta, "exists"), cn_pack_cstr(&meta, "yes");
    cn_pack_cstr(&meta, "low"), cn_pack_int(&meta, -40000);
    cn_pack_cstr(&meta, "name"), cn_pack_cstr(&meta, "it's \"so\"");
    cn_pack_cstr(&meta, "none"), cn_pack_array(&meta, 0);
    cn_pack_cstr(&meta, "über"), cn_pack_f32(&meta, 0.5f);
    cn_doc doc = {.source = CN_STR("wiki"), .id = CN_STR("a/b.html"), .mime = CN_STR("text/html"), .modified = CN_NO_TIME, .meta = cn_buf_str(&meta)};
    static const char *const yes[] = {
        "big = 18446744073709551615", "big > 18446744073709551614", "low = -40000", "low < -39999.5 and low > -4.00005e4",
        "date >= 2024-03-05", "date < '2024-03-05T12:00:00+01:00'", "exists = yes", "exists exists", "not not exists date",
        "name = 'it\\'s \"so\"'", "name = \"it's \\\"so\\\"\"", "not exists none", "über = .5", "über=0.5", "source == wiki AND id = a/b.html",
        "mime in (text/html, text/plain)", "id not in (x, y)", "not exists modified", "not modified > 2000-01-01", "missing != 3",
        "((((source = wiki))))", "source = x or source = y or (source = wiki and big != 1)", "source > wi", "not source in ()"};
    static const char *const no[] = {
        "big = \"18446744073709551615\"", "exists none", "none = a", "not exists exists", "source = Wiki", "source = x or source = wiki and id = y",
        "not (source = wiki or missing = 1)", "über > 0.5", "date > 2024-03-05T10:00:00Z", "modified > 2000-01-01", "low > zebra", "source = true"};
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++)
        if (!match_text(yes[i], &doc)) {
            printf("\n  should match: %s\n", yes[i]);
            CU_FAIL("no match");
        }
    for (size_t i = 0; i < sizeof no / sizeof *no; i++)
        if (match_text(no[i], &doc)) {
            printf("\n  should not match: %s\n", no[i]);
            CU_FAIL("match");
        }
}

/* The error holds the text, and the caret stands under the byte that is wrong. */
static void test_carets(void) {
    static const struct {
        const char *text, *what;
        int column;
    } bad[] = {
        {"", "expected a field", 0}, {"lang =", "expected a value", 6}, {"lang = en and", "expected a field", 13},
        {"lang en", "expected = != <", 5}, {"(lang = en", "expected )", 10}, {"lang = en)", "expected and, or, or the end", 9},
        {"tag in a", "expected ( and a list", 7}, {"tag in (a b)", "expected , or )", 10}, {"tag in (a,)", "expected a value", 10},
        {"tag not = a", "expected in", 8}, {"exists (", "expected the name of a field", 7}, {"lang = \"en", "this quote has no end", 7},
        {"lang ! en", "expected =", 5}, {"lang = en; x = 1", "expected and, or, or the end", 9}, {"über = ;", "expected a value", 7},
        {"year = 1e999", "too large", 7}, {"a = 1 and\n\t&", "expected a field", 11}};
    cn_buf out CN_AUTO_BUF;
    cn_buf_init(&out, 4096);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cn_buf_reset(&out);
        cn_buf_puts(&out, "keep");
        CU_ASSERT_EQUAL(cn_filter_parse(cn_str_of(bad[i].text), &out), CN_INVALID);
        CU_ASSERT_EQUAL(out.n, 4);
        const char *text = cn_error_detail(), *last = strrchr(text, '\n');
        CU_ASSERT_PTR_NOT_NULL_FATAL(last);
        if (!strstr(text, bad[i].what) || (int)strlen(last) - 4 != bad[i].column || last[strlen(last) - 1] != '^') {
            printf("\n%s\n", text);
            CU_FAIL("wrong text or caret");
        }
    }
    char wide[400];
    memset(wide, 'x', sizeof wide - 1);
    wide[sizeof wide - 1] = 0;
    memcpy(wide + 200, " = ;", 4);
    CU_ASSERT_EQUAL(cn_filter_parse(cn_str_of(wide), &out), CN_INVALID);
    const char *line = strchr(cn_error_detail(), '\n');
    CU_ASSERT_PTR_NOT_NULL_FATAL(line);
    CU_ASSERT_EQUAL(line[1 + strcspn(line + 1, ";")], ';');
    CU_ASSERT_EQUAL(strcspn(line + 1, ";"), strlen(strrchr(line, '\n')) - 2);
}

static void test_limits(void) {
    const cn_filter *f = NULL;
    cn_arena a;
    cn_arena_init(&a, 1 << 16, 1 << 24);
    cn_buf b CN_AUTO_BUF, out CN_AUTO_BUF;
    cn_buf_init(&b, 1 << 20);
    cn_buf_init(&out, 1 << 20);
    for (int i = 0; i < 100; i++)
        cn_buf_puts(&b, "(");
    CU_ASSERT_EQUAL(cn_filter_parse(cn_buf_str(&b), &out), CN_INVALID);
    CU_ASSERT_PTR_NOT_NULL(strstr(cn_error_detail(), "nested too deep"));
    cn_buf_reset(&b);
    for (int i = 0; i < 6; i++)
        cn_buf_puts(&b, "a = 1 and (b = 1 or (");
    cn_buf_puts(&b, "c = 1))))))))))))");
    CU_ASSERT_EQUAL(cn_filter_parse(cn_buf_str(&b), &out), CN_INVALID);
    CU_ASSERT_PTR_NOT_NULL(strstr(cn_error_detail(), "nested too deep"));
    for (int values = CN_FILTER_VALUES; values <= CN_FILTER_VALUES + 1; values++) {
        cn_buf_reset(&b);
        cn_pack_map(&b, 2);
        cn_pack_cstr(&b, "field"), cn_pack_cstr(&b, "x"), cn_pack_cstr(&b, "in");
        cn_pack_array(&b, (uint32_t)values);
        for (int i = 0; i < values; i++)
            cn_pack_int(&b, i);
        CU_ASSERT_EQUAL(from_bytes(&b, &a, &f), values > CN_FILTER_VALUES ? CN_INVALID : CN_OK);
    }
    cn_buf_reset(&b);
    cn_pack_map(&b, 1);
    cn_pack_cstr(&b, "and");
    cn_pack_array(&b, CN_FILTER_NODES);
    for (int i = 0; i < CN_FILTER_NODES; i++) {
        cn_pack_map(&b, 2);
        cn_pack_cstr(&b, "field"), cn_pack_cstr(&b, "x"), cn_pack_cstr(&b, "eq"), cn_pack_int(&b, i);
    }
    CU_ASSERT_EQUAL(from_bytes(&b, &a, &f), CN_INVALID);
    char *long_text = calloc(1, CN_FILTER_TEXT + 2);
    memset(long_text, ' ', CN_FILTER_TEXT + 1);
    CU_ASSERT_EQUAL(cn_filter_parse(cn_str_of(long_text), &out), CN_INVALID);
    free(long_text);
    CU_ASSERT_EQUAL(cn_filter_parse((cn_str){"a = \xff", 5}, &out), CN_INVALID);
    CU_ASSERT_PTR_NOT_NULL(strstr(cn_error_detail(), "UTF-8"));
    cn_arena_done(&a);
}

static void pack_any(cn_buf *b, o_rand *r) {
    switch (o_below(r, 5)) {
    case 0: cn_pack_int(b, (int64_t)o_below(r, 40) - 20); break;
    case 1: cn_pack_f64(b, (double)o_below(r, 80) / 2 - 20); break;
    case 2: cn_pack_bool(b, o_below(r, 2)); break;
    case 3: cn_pack_cstr(b, o_below(r, 2) ? "2024-01-02" : "2024-01-02T00:00:00Z"); break;
    default: {
        char text[3] = {(char)('a' + o_below(r, 4)), (char)('a' + o_below(r, 4)), 0};
        cn_pack_cstr(b, text);
    }
    }
}

/* {field: x, in: [...]} holds where one of {field: x, eq: ...} does, for values of every kind mixed. */
static void test_in_is_any_equal(void) {
    o_rand r = {31};
    cn_arena a;
    cn_arena_init(&a, 1 << 16, 1 << 24);
    cn_buf in CN_AUTO_BUF, eq CN_AUTO_BUF, meta CN_AUTO_BUF;
    cn_buf_init(&in, 1 << 20);
    cn_buf_init(&eq, 1 << 20);
    cn_buf_init(&meta, 1 << 20);
    unsigned wrong = 0, held = 0;
    for (int round = 0; round < 3000; round++) {
        const cn_filter *one[16], *all;
        uint32_t n = o_below(&r, 16);
        cn_arena_reset(&a);
        cn_buf_reset(&in);
        cn_pack_map(&in, 2);
        cn_pack_cstr(&in, "field"), cn_pack_cstr(&in, round % 3 ? "x" : "modified"), cn_pack_cstr(&in, "in");
        cn_pack_array(&in, n);
        for (uint32_t i = 0; i < n; i++) {
            cn_buf_reset(&eq);
            cn_pack_map(&eq, 2);
            cn_pack_cstr(&eq, "field"), cn_pack_cstr(&eq, round % 3 ? "x" : "modified"), cn_pack_cstr(&eq, "eq");
            size_t at = eq.n;
            pack_any(&eq, &r);
            cn_buf_add(&in, eq.p + at, eq.n - at);
            CU_ASSERT_EQUAL_FATAL(from_bytes(&eq, &a, &one[i]), CN_OK);
        }
        CU_ASSERT_EQUAL_FATAL(from_bytes(&in, &a, &all), CN_OK);
        for (int docs = 0; docs < 8; docs++) {
            cn_buf_reset(&meta);
            cn_pack_map(&meta, 1);
            cn_pack_cstr(&meta, "x");
            pack_any(&meta, &r);
            cn_doc doc = {.meta = cn_buf_str(&meta), .modified = docs % 2 ? CN_NO_TIME : 1704153600000000};
            bool want = false;
            for (uint32_t i = 0; i < n; i++)
                want |= cn_filter_match(one[i], &doc);
            held += want;
            wrong += cn_filter_match(all, &doc) != want;
        }
    }
    CU_ASSERT_EQUAL(wrong, 0);
    CU_ASSERT(held > 1000);
    cn_arena_done(&a);
}

/* Maps that are no filters name what is wrong. JSON-like notation: built by hand. */
static void test_bad_maps(void) {
    static const struct {
        const char *bytes;
        size_t n;
        const char *what;
    } bad[] = {
        {"\x01", 1, "expected a map"}, {"\x80", 1, "expected a map"}, {"\x81\xa2" "eq\x01", 5, "needs \"field\""},
        {"\x81\xa5" "field\xa1x", 9, "needs one of"}, {"\x81\xa5" "field\x01", 8, "must name a field"},
        {"\x82\xa5" "field\xa1x\xa2" "zz\x01", 13, "unknown key \"zz\""}, {"\x82\xa5" "field\xa1x\xa2" "eq\x90", 13, "must be a string"},
        {"\x82\xa5" "field\xa1x\xa2" "in\x01", 13, "must be a list"}, {"\x82\xa5" "field\xa1x\xa6" "exists\x01", 17, "true or false"},
        {"\x81\xa3" "and\x01", 6, "a list of filters"}, {"\x82\xa3" "not\x80\xa2or\x90", 10, "stand alone"}, {"\x81\xa3xor\x90", 6, "unknown key \"xor\""},
        {"\x82\xa5" "field\xa1x\xa2" "eq\xcb\x7f\xf0\0\0\0\0\0\0", 21, "finite"}, {"\x82\xa5" "field\xa1x\xa2" "eq\xa1\xff", 14, "UTF-8"},
        {"\x82\xa5" "field\xa1x\xa3" "and\x90", 14, "unknown key \"and\""}};
    cn_arena a;
    cn_arena_init(&a, 4096, 1 << 20);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const cn_filter *f = NULL;
        cn_unpacked u CN_AUTO_UNPACKED = {0};
        CU_ASSERT_EQUAL_FATAL(cn_unpack(&u, bad[i].bytes, bad[i].n), CN_OK);
        CU_ASSERT_EQUAL(cn_filter_from_map(&u.o, &a, &f), CN_INVALID);
        CU_ASSERT_PTR_NULL(f);
        if (!strstr(cn_error_detail(), bad[i].what)) {
            printf("\n  %zu: %s\n", i, cn_error_detail());
            CU_FAIL("wrong text");
        }
    }
    cn_arena_done(&a);
}

/* Random texts and random bytes: an answer or CN_INVALID; what parses is a filter, and matching it is harmless. */
static void test_random_input(void) {
    static const char *const word[] = {"a", "lang", "=", "!=", ">", "in", "not", "and", "or", "exists", "(", ")", ",", "\"x y\"", "'", "12", "-1.5e3", "2024-01-02", "!", ";", "é", "\\", "true"};
    o_rand r = {99};
    cn_arena a;
    cn_arena_init(&a, 1 << 16, 1 << 24);
    cn_buf text CN_AUTO_BUF, map CN_AUTO_BUF;
    cn_buf_init(&text, 1 << 16);
    cn_buf_init(&map, 1 << 20);
    unsigned good = 0;
    for (int round = 0; round < 30000; round++) {
        cn_buf_reset(&text);
        cn_buf_reset(&map);
        cn_arena_reset(&a);
        bool bytes = o_chance(&r, 20);
        for (uint32_t n = o_below(&r, 14); n > 0; n--) {
            if (bytes)
                cn_buf_putc(&text, (char)o_next(&r));
            else
                cn_buf_printf(&text, "%s ", word[o_below(&r, sizeof word / sizeof *word)]);
        }
        cn_err err = cn_filter_parse(cn_buf_str(&text), &map);
        CU_ASSERT_FATAL(err == CN_OK || err == CN_INVALID);
        if (err != CN_OK)
            continue;
        const cn_filter *f = NULL;
        CU_ASSERT_EQUAL_FATAL(from_bytes(&map, &a, &f), CN_OK);
        cn_doc doc = {.modified = CN_NO_TIME, .meta = cn_buf_str(&text)}; /* the text as broken metadata */
        good += 1 + cn_filter_match(f, &doc);
    }
    CU_ASSERT(good > 100);
    for (int round = 0; round < 30000; round++) { /* a good map with bytes changed */
        o_filter *o = o_filter_random(&r, 2);
        cn_buf_reset(&map);
        cn_arena_reset(&a);
        o_filter_map(o, &map);
        for (uint32_t i = 1 + o_below(&r, 4); i > 0; i--)
            map.p[o_below(&r, (uint32_t)map.n)] = (char)o_next(&r);
        const cn_filter *f = NULL;
        cn_err err = from_bytes(&map, &a, &f);
        CU_ASSERT_FATAL(err == CN_OK || err == CN_INVALID || err == CN_OVERLOADED);
        cn_doc doc = {.modified = CN_NO_TIME, .meta = cn_buf_str(&map)};
        if (err == CN_OK)
            good += cn_filter_match(f, &doc);
        o_filter_free(o);
    }
    cn_arena_done(&a);
}

void add_filter_suite(void) {
    CU_pSuite s = CU_add_suite("filter", NULL, NULL);
    CU_add_test(s, "text and map agree with the oracle", test_against_oracle);
    CU_add_test(s, "in is any equal", test_in_is_any_equal);
    CU_add_test(s, "forms of the text", test_text_forms);
    CU_add_test(s, "errors carry a caret", test_carets);
    CU_add_test(s, "limits", test_limits);
    CU_add_test(s, "maps that are no filters", test_bad_maps);
    CU_add_test(s, "random input", test_random_input);
}
