/* Digests, UTF-8, times, errors and the log: the small parts that everything stands on. */
#include <CUnit/Basic.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/digest.h"
#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "engine/base/utf8.h"

/* --- digests --- */
static void check_sha256(const char *text, const char *want) {
    char hex[CN_HEX_TEXT];
    cn_digest d = cn_sha256_of(text, strlen(text));
    cn_hex(d.b, sizeof d.b, hex);
    CU_ASSERT_STRING_EQUAL(hex, want);
}

static void test_sha256(void) { /* FIPS 180-2, appendix B */
    check_sha256("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    check_sha256("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    cn_sha256 s;
    cn_sha256_begin(&s);
    cn_sha256_add(&s, "a", 1), cn_sha256_add(&s, "bc", 2);
    cn_digest d = cn_sha256_get(&s), whole = cn_sha256_of("abc", 3);
    CU_ASSERT(cn_digest_eq(&d, &whole));
    cn_sha256_begin(&s);
    cn_sha256_field(&s, CN_STR("ab")), cn_sha256_field(&s, CN_STR("c"));
    cn_digest fields = cn_sha256_get(&s);
    cn_sha256_begin(&s);
    cn_sha256_field(&s, CN_STR("a")), cn_sha256_field(&s, CN_STR("bc"));
    cn_digest others = cn_sha256_get(&s);
    CU_ASSERT(!cn_digest_eq(&fields, &others)); /* the lengths go in */
    cn_sha256_end(&s);
    cn_digest zero = {{0}};
    CU_ASSERT(cn_digest_is_zero(&zero) && !cn_digest_is_zero(&whole));
}

static void test_hex(void) {
    uint8_t p[3] = {9, 9, 9};
    CU_ASSERT(cn_unhex(CN_STR("00fFa0"), p, 3) == 0 && p[0] == 0 && p[1] == 255 && p[2] == 160);
    CU_ASSERT_EQUAL(cn_unhex(CN_STR("00ffa"), p, 3), -1);
    CU_ASSERT_EQUAL(cn_unhex(CN_STR("00ffa00"), p, 3), -1);
    CU_ASSERT_EQUAL(cn_unhex(CN_STR("00ffg0"), p, 3), -1);
}

static uint32_t crc_by_bits(const uint8_t *p, size_t n) {
    uint32_t c = ~0u;
    for (size_t i = 0; i < n; i++) {
        c ^= p[i];
        for (int k = 0; k < 8; k++)
            c = c & 1 ? c >> 1 ^ 0x82f63b78u : c >> 1;
    }
    return ~c;
}

static void test_crc32c(void) {
    static uint8_t p[40000];
    CU_ASSERT_EQUAL(cn_crc32c(0, "123456789", 9), 0xe3069283u); /* the check value of CRC-32C */
    for (size_t i = 0; i < sizeof p; i++)
        p[i] = (uint8_t)(i * 37 + (i >> 3));
    for (size_t n = 0; n < sizeof p - 8; n += n < 300 ? 1 + n / 20 : 1 + n / 6) /* the long ones: in lanes side by side */
        for (size_t off = 0; off < 8; off++) {
            uint32_t want = crc_by_bits(p + off, n);
            CU_ASSERT_EQUAL(cn_crc32c(0, p + off, n), want);
            CU_ASSERT_EQUAL(cn_crc32c(cn_crc32c(0, p + off, n / 3), p + off + n / 3, n - n / 3), want);
        }
}

/* --- UTF-8 --- */
static void valid_to(const char *text, size_t n, size_t want) {
    char padded[64]; /* also where the fast path over eight bytes of ASCII has been */
    CU_ASSERT_EQUAL(cn_utf8_valid_to((cn_str){text, n}), want);
    memset(padded, 'a', 16);
    memcpy(padded + 16, text, n);
    CU_ASSERT_EQUAL(cn_utf8_valid_to((cn_str){padded, 16 + n}), 16 + want);
}

static void test_utf8(void) {
    valid_to("", 0, 0);
    valid_to("abc\0d", 5, 5);
    valid_to("\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", 9, 9);
    valid_to("\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf", 10, 10); /* beside the surrogates, and the last of all */
    valid_to("ab\xed\xa0\x80", 5, 2);     /* a surrogate */
    valid_to("ab\xc0\xaf", 4, 2);         /* overlong */
    valid_to("\xe0\x9f\xbf", 3, 0);
    valid_to("\xf0\x8f\xbf\xbf", 4, 0);
    valid_to("\xf4\x90\x80\x80", 4, 0);   /* beyond U+10FFFF */
    valid_to("\xf5\x80\x80\x80", 4, 0);
    valid_to("a\x80", 2, 1);
    valid_to("a\xff", 2, 1);
    valid_to("abc\xe2\x82", 5, 3);        /* cut */
    valid_to("abc\xe2\x82z", 6, 3);
}

static void test_utf8_cut(void) {
    cn_str s = CN_STR("a\xe2\x82\xac\xf0\x9f\x98\x80z");
    static const size_t want[] = {0, 1, 1, 1, 4, 4, 4, 4, 8, 9, 9};
    for (size_t at = 0; at < sizeof want / sizeof *want; at++)
        CU_ASSERT_EQUAL(cn_utf8_cut(s, at), want[at]);
}

static void mends(const char *text, const char *want) {
    char p[16] = "";
    memcpy(p, text, strlen(text));
    cn_utf8_mend(p, strlen(text));
    CU_ASSERT_STRING_EQUAL(p, want);
}

static void test_utf8_mend(void) {
    mends("", "");
    mends("a\xe2\x82\xac", "a\xe2\x82\xac");
    mends("\xe9t\xe9", "?t?");
    mends("\xff\xfe", "??");
    mends("caf\xc3\xa9 \xe2\x82", "caf\xc3\xa9 ??");
    mends("\xf0\x9f\x98z\xc3\xa9", "???z\xc3\xa9");
}

/* --- times --- */
static void time_is(const char *text, int64_t want) {
    int64_t us = -77;
    CU_ASSERT_EQUAL(cn_time_parse(text, strlen(text), &us), 0);
    CU_ASSERT_EQUAL(us, want);
}

static void test_times(void) {
    time_is("1970-01-01", 0);
    time_is("1970-01-01T00:00:00Z", 0);
    time_is("2001-09-09T01:46:40.25z", 1000000000250000);
    time_is("2001-09-09 03:46:40+02:00", 1000000000000000);
    time_is("1969-12-31T23:59:59.999999Z", -1);
    time_is("2000-02-29", 951782400000000);
    time_is("2016-12-31T23:59:60Z", 1483228800000000); /* a leap second, which leads into the next day */
    time_is("2000-01-01T00:00:00.1234567Z", 946684800123456);
    char text[CN_TIME_TEXT];
    static const int64_t some[] = {0, -1, 951782400000001, 1483228800000000, 4102444800000000};
    for (size_t i = 0; i < sizeof some / sizeof *some; i++) {
        cn_time_text(some[i], text);
        time_is(text, some[i]);
    }
    cn_time_text(1483228799500000, text);
    CU_ASSERT_STRING_EQUAL(text, "2016-12-31T23:59:59.500000Z");
    cn_time_text(INT64_MAX, text); /* a year of six digits is not written */
    CU_ASSERT_STRING_EQUAL(text, "?");
}

static void test_times_refused(void) {
    static const char *const wrong[] = {"", "2000", "2000-01", "2000-13-01", "2000-00-01", "2000-01-00", "2001-02-29", "2000-04-31",
                                        "2000-01-01T", "2000-01-01T00:00", "2000-01-01T00:00:00", "2000-01-01T24:00:00Z",
                                        "2000-01-01T00:60:00Z", "2000-01-01T00:00:61Z", "2000-01-01T00:00:00.Z",
                                        "2000-01-01T00:00:00+0200", "2000-01-01T00:00:00+24:00", "2000-01-01T00:00:00Zx",
                                        " 2000-01-01", "2000-01-01 ", "+200-01-01"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        int64_t us = 77;
        CU_ASSERT_EQUAL(cn_time_parse(wrong[i], strlen(wrong[i]), &us), -1);
        CU_ASSERT_EQUAL(us, 77);
    }
}

static void test_os(void) {
    uint64_t a = cn_mono_ns(), b = cn_mono_ns();
    uint8_t x[32] = {0}, y[32] = {0};
    CU_ASSERT(b >= a && cn_wall_us() > 1600000000000000);
    cn_random(x, sizeof x), cn_random(y, sizeof y);
    CU_ASSERT(memcmp(x, y, sizeof x) != 0);
    CU_ASSERT(cn_cpus() >= 1);
}

/* --- errors --- */
static cn_err pass_up(cn_err e) {
    CN_TRY(e);
    return CN_INTERNAL;
}

static void test_errors(void) {
    char longest[3 * CN_ERROR_TEXT];
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = 0;
    CU_ASSERT_EQUAL(cn_fail(CN_INVALID, "k is %u", 0u), CN_INVALID);
    CU_ASSERT_STRING_EQUAL(cn_error_detail(), "k is 0");
    CU_ASSERT_EQUAL(cn_wrap(CN_INVALID, "line %d", 3), CN_INVALID);
    CU_ASSERT_STRING_EQUAL(cn_error_detail(), "line 3: k is 0");
    CU_ASSERT_EQUAL(cn_fail(CN_DAMAGED, "again: %s", cn_error_detail()), CN_DAMAGED); /* its own text as an argument */
    CU_ASSERT_STRING_EQUAL(cn_error_detail(), "again: line 3: k is 0");
    CU_ASSERT_EQUAL(cn_fail(CN_INVALID, "%s", longest), CN_INVALID);
    CU_ASSERT_EQUAL(strlen(cn_error_detail()), CN_ERROR_TEXT - 1);
    CU_ASSERT_EQUAL(cn_wrap(CN_INVALID, "%s", longest), CN_INVALID);
    CU_ASSERT_EQUAL(strlen(cn_error_detail()), CN_ERROR_TEXT - 1);
    uint64_t before = cn_alloc_count();
    CU_ASSERT_EQUAL(cn_fail_memory(), CN_OVERLOADED);
    CU_ASSERT_EQUAL(cn_alloc_count(), before);
    CU_ASSERT_EQUAL(pass_up(CN_DENIED), CN_DENIED);
    CU_ASSERT_EQUAL(pass_up(CN_OK), CN_INTERNAL);
}

static void test_error_names(void) {
    for (cn_err e = CN_OK; e < CN_ERR_COUNT; e++)
        CU_ASSERT(*cn_err_name(e) && *cn_err_text(e));
    CU_ASSERT_STRING_EQUAL(cn_err_name(CN_DAMAGED), "DAMAGED");
    CU_ASSERT(cn_err_retry(CN_OVERLOADED) && !cn_err_retry(CN_INVALID));
    CU_ASSERT_STRING_EQUAL(cn_err_name((cn_err)99), "INTERNAL");
    CU_ASSERT_EQUAL(cn_fail_errno(ENOSPC, "writing %s", "rows.mdb"), CN_UNAVAILABLE);
    CU_ASSERT_PTR_NOT_NULL(strstr(cn_error_detail(), "writing rows.mdb: "));
    CU_ASSERT_PTR_NOT_NULL(strstr(cn_error_detail(), "free some space"));
    CU_ASSERT_EQUAL(cn_fail_errno(ENOENT, "x"), CN_NOT_FOUND);
    CU_ASSERT_EQUAL(cn_fail_errno(EACCES, "x"), CN_DENIED);
    CU_ASSERT_EQUAL(cn_fail_errno(EMFILE, "x"), CN_OVERLOADED);
    CU_ASSERT_EQUAL(cn_fail_errno(EISDIR, "x"), CN_INVALID);
}

/* --- log --- */
static char logged[CN_LOG_LINE + 64];
static void keep(void *ctx, cn_log_level level, const char *event, const char *text) {
    ++*(int *)ctx;
    snprintf(logged, sizeof logged, "%d %s %s", (int)level, event, text);
}

static void test_log(void) {
    int lines = 0;
    char longest[2 * CN_LOG_LINE];
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = 0;
    cn_log(CN_LOG_ERROR, "early", "nobody listens");
    cn_log_set(keep, &lines, CN_LOG_INFO);
    cn_log(CN_LOG_DEBUG, "quiet", "x");
    CU_ASSERT_EQUAL(lines, 0);
    cn_log(CN_LOG_WARN, "flip.done", "to=%d", 3);
    CU_ASSERT_STRING_EQUAL(logged, "2 flip.done to=3");
    cn_log(CN_LOG_ERROR, "long", "%s", longest);
    CU_ASSERT_EQUAL(strlen(logged), strlen("3 long ") + CN_LOG_LINE - 1);
    CU_ASSERT_EQUAL(lines, 2);
    cn_log_set(NULL, NULL, CN_LOG_DEBUG);
}

/* --- runs of bytes --- */
static void test_str(void) {
    CU_ASSERT(cn_str_cmp(CN_STR("a"), CN_STR("ab")) < 0);
    CU_ASSERT(cn_str_cmp(CN_STR("b"), CN_STR("ab")) > 0);
    CU_ASSERT(cn_str_cmp(CN_STR("\xff"), CN_STR("a")) > 0); /* bytes are unsigned */
    CU_ASSERT(cn_str_cmp(CN_STR("a\0b"), CN_STR("a\0c")) < 0);
    CU_ASSERT(cn_str_cmp((cn_str){NULL, 0}, CN_STR("")) == 0);
    CU_ASSERT(cn_str_eq((cn_str){NULL, 0}, CN_STR("")) && !cn_str_eq(CN_STR("a"), CN_STR("")));
    CU_ASSERT(cn_str_is(CN_STR("abc"), "abc") && !cn_str_is(CN_STR("abc"), "ab"));
}

int main(void) {
    CU_initialize_registry();
    CU_pSuite s = CU_add_suite("base", NULL, NULL);
    CU_add_test(s, "sha256", test_sha256);
    CU_add_test(s, "hex", test_hex);
    CU_add_test(s, "crc32c", test_crc32c);
    CU_add_test(s, "utf8", test_utf8);
    CU_add_test(s, "utf8 cut", test_utf8_cut);
    CU_add_test(s, "utf8 mend", test_utf8_mend);
    CU_add_test(s, "times", test_times);
    CU_add_test(s, "times refused", test_times_refused);
    CU_add_test(s, "os", test_os);
    CU_add_test(s, "errors", test_errors);
    CU_add_test(s, "error names", test_error_names);
    CU_add_test(s, "log", test_log);
    CU_add_test(s, "str", test_str);
    CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures(), ran = CU_get_number_of_tests_run();
    CU_cleanup_registry();
    return failed || !ran;
}
