#include <CUnit/Basic.h>
#include <stdio.h>

#include "engine/base/utf8.h"
#include "ingest/parse/charset.h"
#include "ingest/parse/normal.h"
#include "tests/ingest/parse_test.h"

static void gives(const char *in, const char *want) {
    cn_buf b;
    cn_buf_init(&b, 1 << 20);
    cn_normal_add(&b, cn_str_of(in));
    if (!cn_str_is(cn_buf_str(&b), want)) printf("\n  got \"%.*s\" not \"%s\"\n", CN_STR_ARG(cn_buf_str(&b)), want);
    CU_ASSERT(cn_str_is(cn_buf_str(&b), want));
    cn_buf_reset(&b);
    cn_normal_add(&b, cn_str_of(want)); /* the normal form of the normal form is itself */
    CU_ASSERT(cn_str_is(cn_buf_str(&b), want));
    cn_buf_done(&b);
}

static void normal_form(void) {
    gives("plain text\n\tand tab", "plain text\n\tand tab");
    gives("a\r\nb\rc\fd", "a\nb\nc\nd");
    gives("cafe\xcc\x81 x", "caf\xc3\xa9 x");
    gives("\xcc\x81start", "\xcc\x81start");
    gives("e\xc2\xad\xcc\x81", "\xc3\xa9");                       /* a soft hyphen between letter and mark */
    gives("a\xc2\xa0" "b\xef\xbb\xbf" "c\x01\x7f", "a bc");
    gives("\xe1\x84\x80\xe1\x85\xa1", "\xea\xb0\x80");            /* Hangul jamo join */
    gives("q\xcc\x87\xcc\xa3", "q\xcc\xa3\xcc\x87");              /* marks in canonical order */
    gives("\xe2\x84\xab", "\xc3\x85");                            /* the Angstrom sign is a letter */
    gives("x\xe2\x80\xa8y", "x\ny");
    CU_ASSERT(cn_normal_is(CN_STR("\xe4\xbd\xa0\xe5\xa5\xbd \xd0\xb9")));
    CU_ASSERT(!cn_normal_is(CN_STR("a\r\n")));
}

static void decodes(const char *in, size_t n, const char *want) {
    cn_buf hold;
    cn_str got = {NULL, 0};
    cn_buf_init(&hold, 1 << 20);
    CU_ASSERT_EQUAL(cn_charset_utf8((cn_str){in, n}, CN_STR(""), &hold, &got), CN_OK);
    CU_ASSERT(cn_str_is(got, want));
    cn_buf_done(&hold);
}

static void refuses(const char *in, size_t n, const char *say) {
    cn_buf hold;
    cn_str got;
    cn_buf_init(&hold, 1 << 20);
    CU_ASSERT_EQUAL(cn_charset_utf8((cn_str){in, n}, CN_STR(""), &hold, &got), CN_INVALID);
    if (!strstr(cn_error_detail(), say)) printf("\n  said: %s\n", cn_error_detail());
    CU_ASSERT_PTR_NOT_NULL(strstr(cn_error_detail(), say));
    cn_buf_done(&hold);
}

#define BYTES(s) s, sizeof(s) - 1
static void charsets(void) {
    decodes(BYTES("\xef\xbb\xbfhi"), "hi");
    decodes(BYTES("\xff\xfeh\0i\0"), "hi");
    decodes(BYTES("\xfe\xff\0h\0i"), "hi");
    decodes(BYTES("\xff\xfe\0\0h\0\0\0"), "h");
    decodes(BYTES("h\0e\0l\0l\0o\0"), "hello");
    decodes(BYTES("caf\xe9 au lait, d\xe9j\xe0 vu"), "caf\xc3\xa9 au lait, d\xc3\xa9j\xc3\xa0 vu");
    refuses(BYTES("abc\0def"), "byte 3 is zero");
    refuses(BYTES("\x01\x02\x03\x04\x05\x06 x"), "control characters");
    refuses(BYTES("\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9 \xff x"), "byte 11 (0xFF)");
    CU_ASSERT(cn_str_is(cn_charset_of_html(CN_STR("<meta charset=\"koi8-r\">....")), "koi8-r"));
}

void add_normal_tests(void) {
    CU_pSuite s = CU_add_suite("normal form and charsets", NULL, NULL);
    CU_add_test(s, "normal form", normal_form);
    CU_add_test(s, "charsets", charsets);
}
