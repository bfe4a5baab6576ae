/* Texts found in documents: what matches, in which versions, page by page, within a time. */
#include <CUnit/CUnit.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "index/search/find.h"
#include "tests/index/small.h"
#include "tests/index/suites.h"

#define OK(x) CU_ASSERT_EQUAL(x, CN_OK)

/* ---------- the needle ---------- */
static bool holds(const char *text, const char *needle, bool fold, size_t from, size_t to) {
    cn_needle n;
    size_t at = 999, end = 999;
    if (cn_needle_make(cn_str_of(needle), fold, &s_arena, &n) != CN_OK)
        return false;
    bool found = cn_needle_find(&n, cn_str_of(text), 0, strlen(text), &at, &end);
    if (found && (at != from || end != to))
        printf("\n  \"%s\" in \"%s\": %zu-%zu\n", needle, text, at, end);
    return found && at == from && end == to;
}
#define HAS(text, needle, fold, from, to) CU_ASSERT(holds(text, needle, fold, from, to))
#define LACKS(text, needle, fold) CU_ASSERT_FALSE(holds(text, needle, fold, 0, 0))

static void test_needle(void) {
    cn_needle n;
    HAS("the salary of ana", "salary", false, 4, 10);
    HAS("the salary of ana", "the salary of ana", false, 0, 17);
    HAS("the salary\n\t of ana", "salary of", false, 4, 15); /* wrapped */
    HAS("the salary of ana", "  salary \n of ", false, 4, 13);
    LACKS("the salary", "salaries", false);
    LACKS("the salary ", "salary x", false);
    LACKS("the Salary", "salary", false);
    HAS("the SaLaRy", "sAlArY", true, 4, 10);
    HAS("aab aac", "aac", false, 4, 7);
    HAS("aaab", "aab", true, 1, 4);
    HAS("na\xc3\xafve", "na\x69\xcc\x88ve", false, 0, 6);      /* a composed and a decomposed i with diaeresis */
    HAS("STRASSE", "stra\xc3\x9f" "e", true, 0, 7);            /* full folding: sharp s is ss, both ways */
    HAS("eine Stra\xc3\x9f" "e!", "STRASSE", true, 5, 12);
    HAS("\xce\xa3\xce\xbf\xcf\x86\xcf\x8c\xcf\x82", "\xcf\x83\xce\xbf\xcf\x86\xcf\x8c\xcf\x83", true, 0, 10); /* sigma, final or not */
    HAS("x\xe2\x80\x83y", "x y", false, 0, 5);                 /* an em space is white space */
    HAS("cooperate", "co\xc2\xadoperate", false, 0, 9);        /* soft hyphens are dropped */
    LACKS("stra\xc3\x9f", "stras", true);                      /* half of a character is none */
    CU_ASSERT_EQUAL(cn_needle_make(CN_STR(" \n\t "), false, &s_arena, &n), CN_INVALID);
    CU_ASSERT_EQUAL(cn_needle_make(CN_STR("\xff"), false, &s_arena, &n), CN_INVALID);
    static const char big[CN_NEEDLE_MAX + 1] = {'x'};
    CU_ASSERT_EQUAL(cn_needle_make((cn_str){big, sizeof big}, false, &s_arena, &n), CN_INVALID);
}

/* Every text of a small alphabet against every needle, by the plainest way there is. */
static void test_needle_by_hand(void) {
    for (unsigned t = 0; t < 6561; t++) { /* 3^8 */
        char text[9] = {0};
        for (unsigned i = 0, x = t; i < 8; i++, x /= 3)
            text[i] = "ab\n"[x % 3];
        for (unsigned m = 0; m < 27; m++) {
            char needle[4] = {"ab "[m % 3], "ab "[m / 3 % 3], "ab "[m / 9], 0};
            cn_needle n;
            size_t at = 0, end = 0, want = 99;
            if (needle[0] == ' ' || needle[2] == ' ')
                continue;
            for (size_t from = 0; from < 8 && want == 99; from++) {
                size_t k = from;
                bool fits = true;
                for (int i = 0; i < 3 && fits; i++) {
                    fits = k < 8 && (needle[i] == ' ' ? text[k] == '\n' : text[k] == needle[i]);
                    k++;
                    while (needle[i] == ' ' && k < 8 && text[k] == '\n')
                        k++;
                }
                want = fits ? from : 99;
            }
            CU_ASSERT_FATAL(cn_needle_make(cn_str_of(needle), t % 2, &s_arena, &n) == CN_OK);
            bool found = cn_needle_find(&n, (cn_str){text, 8}, 0, 8, &at, &end);
            CU_ASSERT_FATAL(found == (want != 99) && (!found || at == want));
        }
    }
}

/* ---------- documents ---------- */
typedef struct got {
    char text[4096];
    uint32_t n, unread, damaged; /* whole versions; documents */
} got;

static cn_err note(void *ctx, const cn_found *f) {
    got *g = ctx;
    size_t at = strlen(g->text);
    int n = snprintf(g->text + at, sizeof g->text - at, "%.*s:%u:", (int)f->id.n, f->id.p, f->matches);
    for (uint32_t i = 0; i < f->n_versions; i++)
        n += snprintf(g->text + at + (size_t)n, sizeof g->text - at - (size_t)n, "%llu", (unsigned long long)f->versions[i]);
    snprintf(g->text + at + (size_t)n, sizeof g->text - at - (size_t)n, " ");
    g->n++;
    return CN_OK;
}

static cn_err note_unread(void *ctx, uint64_t version, const cn_found *x) {
    got *g = ctx;
    g->unread += x == NULL;
    g->damaged += x != NULL;
    CU_ASSERT(!x || (version == 1 && cn_str_is(x->source, "default") && x->id.n));
    return CN_OK;
}

static int set_up(void) {
    static const s_row one[] = {{"a", "the secret plan, the secret", "public", "", ""}, {"b", "nothing", "public", "", ""}, {"c", "a secret\nplan too", "", "", ""}};
    static const s_row two[] = {{"b", "now the secret plan is here", "public", "", ""}, {"d", "unrelated", "public", "", ""}};
    if (!s_open())
        return 1;
    s_index("f");
    return s_seal("f", one, 3, NULL) != 1 || s_seal("f", two, 2, "c") != 2 || s_activate("f", 2) != CN_OK;
}

static int tear_down(void) {
    s_close();
    return 0;
}

static got find_of(const char *index, const char *needle, uint64_t only, uint32_t limit, cn_find *io) {
    got g = {0};
    cn_needle n;
    cn_version *v;
    uint32_t count;
    OK(cn_needle_make(cn_str_of(needle), false, &s_arena, &n));
    OK(cn_version_list(s_tenant, cn_str_of(index), &s_arena, &v, &count));
    io->needle = &n;
    io->limit = limit;
    OK(cn_find_text(s_tenant, only ? &v[only - 1] : v, only ? 1 : count, io, note, note_unread, &g));
    return g;
}

static got find(const char *needle, uint64_t only, uint32_t limit, cn_find *io) { return find_of("f", needle, only, limit, io); }

static void test_versions(void) {
    cn_find io = {0};
    CU_ASSERT_STRING_EQUAL(find("secret plan", 2, 100, &io).text, "a:1:2 b:1:2 ");
    CU_ASSERT(!io.more && io.docs == 3); /* c is deleted and the old b replaced: not looked at */
    CU_ASSERT_STRING_EQUAL(find("secret plan", 1, 100, &io).text, "a:1:1 c:1:1 ");
    CU_ASSERT_STRING_EQUAL(find("secret plan", 0, 100, &io).text, "a:1:12 c:1:1 b:1:2 ");
    CU_ASSERT_STRING_EQUAL(find("secret", 2, 100, &io).text, "a:2:2 b:1:2 ");
    CU_ASSERT_EQUAL(find("no such words", 0, 100, &io).n, 0);
}

static void test_pages(void) {
    char all[4096] = "";
    cn_find io = {0};
    for (int page = 0; page == 0 || io.more; page++) {
        got g = find("secret", 0, 1, &io);
        CU_ASSERT_FATAL(page < 10 && g.n <= 1);
        snprintf(all + strlen(all), sizeof all - strlen(all), "%s", g.text);
        io.after = true;
    }
    CU_ASSERT_STRING_EQUAL(all, "a:2:12 c:1:1 b:1:2 ");
    memset(&io.segment, 0xee, sizeof io.segment); /* taken up where there is nothing any more */
    cn_needle n;
    cn_version *v;
    uint32_t count;
    got g = {0};
    OK(cn_needle_make(CN_STR("x"), false, &s_arena, &n));
    OK(cn_version_list(s_tenant, CN_STR("f"), &s_arena, &v, &count));
    io.needle = &n;
    CU_ASSERT_EQUAL(cn_find_text(s_tenant, v, count, &io, note, note_unread, &g), CN_NOT_FOUND);
}

static void test_deadline(void) { /* each call gets a document further, however little time it has */
    char all[4096] = "";
    cn_find io = {0};
    int calls = 0;
    do {
        io.deadline_ns = 1;
        got g = find("secret", 0, 100, &io);
        CU_ASSERT_FATAL(++calls < 20);
        CU_ASSERT(io.docs <= 1);
        snprintf(all + strlen(all), sizeof all - strlen(all), "%s", g.text);
        io.after = true;
    } while (io.more);
    CU_ASSERT_STRING_EQUAL(all, "a:2:12 c:1:1 b:1:2 ");
    CU_ASSERT(calls >= 5);
}

static void test_unreadable(void) { /* the others are searched, and that one is told */
    cn_version v;
    char path[4096], away[4200];
    cn_find io = {0};
    OK(cn_version_get(s_tenant, CN_STR("f"), 2, &s_arena, &v));
    s_segment_path(&v.own, path);
    snprintf(away, sizeof away, "%s.away", path);
    cn_views_flush(s_tenant);
    CU_ASSERT_EQUAL(rename(path, away), 0);
    got g = find("secret plan", 0, 100, &io);
    CU_ASSERT(g.unread == 1 && strcmp(g.text, "a:1:1 c:1:1 ") == 0);
    CU_ASSERT_EQUAL(rename(away, path), 0);
}

static bool flip_where(const char *path, const char *text) {
    char page[4096];
    int fd = open(path, O_RDWR);
    bool done = false;
    for (off_t at = 0; fd >= 0 && !done && pread(fd, page, sizeof page, at) > 0; at += (off_t)sizeof page) {
        char *p = memmem(page, sizeof page, text, strlen(text));
        if (p)
            done = pwrite(fd, "#", 1, at + (p - page)) == 1;
    }
    close(fd);
    return done;
}

/* A document whose text is damaged is told of; the others are searched, behind it too, on one page and page by page. */
static void test_damaged_text(void) {
    static char long_text[100000];
    static s_row many[40];
    cn_version v;
    cn_find io = {0};
    char path[4096], all[4096] = "", id[40][8];
    unsigned unread = 0;
    memset(long_text, 'w', sizeof long_text - 1); /* each in a block of its own */
    s_index("d");
    for (int i = 0; i < 40; i++) {
        snprintf(id[i], sizeof id[i], "n%02d", i);
        many[i] = (s_row){id[i], i == 20 ? "the marked one, to be damaged" : i % 10 == 5 ? "a heliotrope" : long_text, "public", "", ""};
    }
    CU_ASSERT_EQUAL_FATAL(s_seal("d", many, 40, NULL), 1);
    OK(cn_version_get(s_tenant, CN_STR("d"), 1, &s_arena, &v));
    s_segment_path(&v.parts[0].id, path);
    cn_views_flush(s_tenant);
    CU_ASSERT_FATAL(flip_where(path, "the marked one"));
    got g = find_of("d", "heliotrope", 1, 100, &io);
    CU_ASSERT(g.damaged > 0 && g.unread == 0 && g.n >= 3 && strstr(g.text, "n35:1:1 ") && !io.more);
    CU_ASSERT(io.docs + g.damaged == 40);
    io = (cn_find){0};
    for (int page = 0; page == 0 || io.more; page++) {
        got one = find_of("d", "heliotrope", 1, 1, &io);
        CU_ASSERT_FATAL(page < 60 && one.n + one.damaged <= 1);
        snprintf(all + strlen(all), sizeof all - strlen(all), "%s", one.text);
        unread += one.damaged;
        io.after = true;
    }
    CU_ASSERT(strcmp(all, g.text) == 0 && unread == g.damaged);
}

void add_find_suite(void) {
    CU_pSuite s = CU_add_suite("texts found", set_up, tear_down);
    CU_add_test(s, "what matches", test_needle);
    CU_add_test(s, "against the plain way", test_needle_by_hand);
    CU_add_test(s, "in which versions", test_versions);
    CU_add_test(s, "page by page", test_pages);
    CU_add_test(s, "within a time", test_deadline);
    CU_add_test(s, "beside a damaged version", test_unreadable);
    CU_add_test(s, "beside a damaged text", test_damaged_text);
}
