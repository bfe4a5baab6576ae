/* JSON and settings: the texts that people and programs write by hand. */
#include <CUnit/Basic.h>
#include <math.h>
#include <stdlib.h>

#include "engine/base/json.h"
#include "engine/base/mem.h"
#include "engine/base/settings.h"

static char *round_trip(const char *json, int indent) {
    CN_AUTO_BUF cn_buf packed = {.cap = 1 << 20}, text = {.cap = 1 << 20};
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    CU_ASSERT_EQUAL_FATAL(cn_json_parse(cn_str_of(json), &packed), CN_OK);
    CU_ASSERT_EQUAL_FATAL(cn_unpack(&u, packed.p, packed.n), CN_OK);
    cn_json_write(&text, &u.o, indent);
    return cn_strdup_n(text.p, text.n);
}

static void same(const char *in, const char *want) {
    CN_AUTO_FREE char *got = round_trip(in, 0);
    CU_ASSERT_STRING_EQUAL(got, want);
}

static void test_json_round_trip(void) {
    same("{\"a\":1,\"b\":[true,null,-2.5,\"x\"]}", "{\"a\": 1, \"b\": [true, null, -2.5, \"x\"]}");
    same("9007199254740993", "9007199254740993");
    same("-9223372036854775808", "-9223372036854775808");
    same("0.1", "0.1");
    same("1e300", "1e+300");
    same("2.0", "2.0");
    same("\"\\u0000\\n\\t\\\"\\\\\\u00e9\"", "\"\\u0000\\n\\t\\\"\\\\\xc3\xa9\"");
    same("\"a\\u007f\\u0085\\u009b\\u00a0\\u061c\\u200e\\u2027\\u2028\\u202e\\u202f\\u2066\\u2069\\u206a\"",
         "\"a\\u007f\\u0085\\u009b\xc2\xa0\\u061c\\u200e\xe2\x80\xa7\\u2028\\u202e\xe2\x80\xaf\\u2066\\u2069\xe2\x81\xaa\""); /* what plays with a terminal, and its neighbours */
    same("[]", "[]");
    CN_AUTO_FREE char *pretty = round_trip("{\"a\":[1],\"b\":{}}", 2);
    CU_ASSERT_STRING_EQUAL(pretty, "{\n  \"a\": [\n    1\n  ],\n  \"b\": {}\n}");
}

/* A megabyte of what must be escaped or replaced: each byte is looked at a few times, not a million times. */
static void test_json_writes_long_strings(void) {
    enum { N = 1 << 20 };
    char *text = malloc(N);
    cn_buf out;
    CU_ASSERT_PTR_NOT_NULL_FATAL(text);
    cn_buf_init(&out, (size_t)8 * N);
    memset(text, '"', N);
    cn_json_write_str(&out, (cn_str){text, N});
    CU_ASSERT_EQUAL(out.n, 2 * (size_t)N + 2);
    for (int i = 0; i < N; i++)
        text[i] = "a\xff\n\xc3"[i % 4];
    cn_buf_reset(&out);
    cn_json_write_str(&out, (cn_str){text, N});
    CU_ASSERT_EQUAL(cn_buf_check(&out), CN_OK);
    CU_ASSERT_EQUAL(out.n, (size_t)N / 4 * (1 + 3 + 2 + 3) + 2);
    CU_ASSERT_NSTRING_EQUAL(out.p, "\"a\xef\xbf\xbd\\n\xef\xbf\xbd" "a", 11);
    cn_buf_done(&out);
    free(text);
}

static void refused(cn_str json) {
    CN_AUTO_BUF cn_buf out = {.cap = 1 << 20};
    cn_buf_puts(&out, "kept");
    CU_ASSERT_EQUAL(cn_json_parse(json, &out), CN_INVALID);
    CU_ASSERT_EQUAL(out.n, 4);
}

static void test_json_refuses(void) {
    refused(CN_STR(""));
    refused(CN_STR("{\"a\":1,\"a\":2}"));
    refused(CN_STR("{\"a\":1} x"));
    refused(CN_STR("\"\xff\""));
    refused(CN_STR("1e999"));
    refused(CN_STR("99999999999999999999"));
    char deep[CN_PACK_DEPTH * 2 + 3] = {0};
    for (int i = 0; i <= CN_PACK_DEPTH; i++) {
        deep[i] = '[';
        deep[2 * CN_PACK_DEPTH + 1 - i] = ']';
    }
    refused(cn_str_of(deep));
    deep[CN_PACK_DEPTH] = ' ';
    deep[CN_PACK_DEPTH + 1] = ' ';
    CN_AUTO_BUF cn_buf out = {.cap = 64};
    CU_ASSERT_EQUAL(cn_json_parse(cn_str_of(deep), &out), CN_OK);
    CN_AUTO_BUF cn_buf small = {.cap = 4};
    CU_ASSERT_EQUAL(cn_json_parse(CN_STR("\"too long\""), &small), CN_OVERLOADED);
}

static void test_json_odd_values(void) {
    CN_AUTO_BUF cn_buf packed = {.cap = 4096}, text = {.cap = 4096};
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    cn_pack_map(&packed, 4);
    cn_pack_uint(&packed, 7);
    cn_pack_f64(&packed, NAN);
    cn_pack_cstr(&packed, "bin");
    cn_pack_bin(&packed, "\x01\xff", 2);
    cn_pack_cstr(&packed, "f32");
    cn_pack_f32(&packed, 0.1f);
    cn_pack_cstr(&packed, "bad");
    cn_pack_str(&packed, CN_STR("a\xffz"));
    CU_ASSERT_EQUAL_FATAL(cn_unpack(&u, packed.p, packed.n), CN_OK);
    cn_json_write(&text, &u.o, 0);
    cn_buf_putc(&text, 0);
    CU_ASSERT_STRING_EQUAL(text.p, "{\"7\": null, \"bin\": \"01ff\", \"f32\": 0.1, \"bad\": \"a\xef\xbf\xbdz\"}");
}

/* --- settings --- */
static const cn_setting table[] = {
    {"listen", CN_SET_LIST, "", 0, 0, "where to listen"},
    {"max_frame_bytes", CN_SET_BYTES, "64MiB", 1024, 1 << 30, "largest request"},
    {"idle_timeout", CN_SET_DURATION_MS, "10m", 0, 86400000, "close an idle connection"},
    {"workers", CN_SET_INT, "0", 0, 256, "worker threads"},
    {"insecure", CN_SET_BOOL, "false", 0, 0, "plain TCP beyond loopback"},
    {"data", CN_SET_TEXT, "", 0, 0, "data directory"},
};
#define ROWS (sizeof table / sizeof *table)

static cn_settings *fresh(void) {
    cn_settings *s = NULL;
    CU_ASSERT_EQUAL_FATAL(cn_settings_new(table, ROWS, &s), CN_OK);
    return s;
}

static void test_settings_values(void) {
    cn_settings *s = fresh();
    CU_ASSERT_EQUAL(cn_settings_int(s, "max_frame_bytes"), 64 << 20);
    CU_ASSERT_EQUAL(cn_settings_int(s, "idle_timeout"), 600000);
    CU_ASSERT_STRING_EQUAL(cn_settings_text(s, "data"), "");
    CU_ASSERT_EQUAL(cn_settings_set(s, "max-frame-bytes", "2MiB", "--max-frame-bytes"), CN_OK);
    CU_ASSERT_EQUAL(cn_settings_int(s, "max_frame_bytes"), 2 << 20);
    CU_ASSERT_EQUAL(cn_settings_set(s, "insecure", "yes", "x"), CN_OK);
    CU_ASSERT_EQUAL(cn_settings_int(s, "insecure"), 1);
    CU_ASSERT_EQUAL(cn_settings_set(s, "listen", "tcp://127.0.0.1:1", "x"), CN_OK);
    CU_ASSERT_EQUAL(cn_settings_set(s, "listen", "unix:/a", "x"), CN_OK);
    const char *const *list;
    CU_ASSERT_EQUAL_FATAL(cn_settings_list(s, "listen", &list), 2);
    CU_ASSERT_STRING_EQUAL(list[1], "unix:/a");
    cn_settings_free(s);
}

static void test_settings_refuse(void) {
    cn_settings *s = fresh();
    CU_ASSERT_EQUAL(cn_settings_set(s, "nothing", "1", "a.conf:3"), CN_NOT_FOUND);
    CU_ASSERT_PTR_NOT_NULL(strstr(cn_error_detail(), "a.conf:3"));
    static const char *const wrong[][2] = {{"workers", "257"}, {"workers", "-1"}, {"workers", ""}, {"workers", "4x"}, {"workers", " 4"},
                                           {"max_frame_bytes", "9223372036854775807GiB"}, {"max_frame_bytes", "1"},
                                           {"idle_timeout", "3 parsecs"}, {"insecure", "maybe"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        CU_ASSERT_EQUAL(cn_settings_set(s, wrong[i][0], wrong[i][1], "here"), CN_INVALID);
    CU_ASSERT_EQUAL(cn_settings_int(s, "workers"), 0);
    char long_text[CN_SETTING_TEXT + 1];
    memset(long_text, 'x', CN_SETTING_TEXT);
    long_text[CN_SETTING_TEXT] = 0;
    CU_ASSERT_EQUAL(cn_settings_set(s, "data", long_text, "here"), CN_INVALID);
    cn_settings_free(s);
}

static void test_settings_env_and_sample(void) {
    cn_settings *s = fresh();
    setenv("CAIRN_WORKERS", "7", 1);
    CU_ASSERT_EQUAL(cn_settings_env(s, "CAIRN"), CN_OK);
    CU_ASSERT_EQUAL(cn_settings_int(s, "workers"), 7);
    setenv("CAIRN_WORKERS", "seven", 1);
    CU_ASSERT_EQUAL(cn_settings_env(s, "CAIRN"), CN_INVALID);
    CU_ASSERT_PTR_NOT_NULL(strstr(cn_error_detail(), "CAIRN_WORKERS"));
    unsetenv("CAIRN_WORKERS");
    CN_AUTO_BUF cn_buf out = {.cap = 65536};
    cn_settings_sample(table, ROWS, &out);
    cn_buf_putc(&out, 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(out.p, ";max_frame_bytes = 64MiB\n"));
    cn_settings_free(s);
}

int main(void) {
    CU_initialize_registry();
    CU_pSuite s = CU_add_suite("text", NULL, NULL);
    CU_add_test(s, "json round trip", test_json_round_trip);
    CU_add_test(s, "json writes long strings", test_json_writes_long_strings);
    CU_add_test(s, "json refuses", test_json_refuses);
    CU_add_test(s, "json odd values", test_json_odd_values);
    CU_add_test(s, "settings values", test_settings_values);
    CU_add_test(s, "settings refuse", test_settings_refuse);
    CU_add_test(s, "settings env and sample", test_settings_env_and_sample);
    CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures(), ran = CU_get_number_of_tests_run();
    CU_cleanup_registry();
    return failed || !ran;
}
