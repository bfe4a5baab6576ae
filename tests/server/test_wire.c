/* Frames and messages of MessagePack-RPC, whole, split, damaged and hostile. */
#include <CUnit/Basic.h>
#include <stdlib.h>

#include "server/wire/rpc.h"

static void request(cn_buf *b, uint64_t msgid) {
    CN_AUTO_BUF cn_buf params = {.cap = 4096};
    cn_pack_map(&params, 2);
    cn_pack_cstr(&params, "index");
    cn_pack_cstr(&params, "docs");
    cn_pack_cstr(&params, "vector");
    cn_pack_bin(&params, "0123456789abcdef", 16);
    cn_rpc_request(b, msgid, CN_STR("query"), cn_buf_str(&params));
}

static void test_every_split(void) {
    CN_AUTO_BUF cn_buf b = {.cap = 4096};
    request(&b, 7);
    size_t one = b.n;
    request(&b, UINT64_MAX);
    for (size_t cut = 0; cut < one; cut++) {
        cn_frames f;
        cn_frames_init(&f, 4096);
        size_t n = 0;
        CU_ASSERT_EQUAL(cn_frames_next(&f, b.p, cut, &n), CN_UNAVAILABLE);
        CU_ASSERT_EQUAL(cn_frames_next(&f, b.p, b.n, &n), CN_OK);
        CU_ASSERT_EQUAL(n, one);
        CU_ASSERT_EQUAL(cn_frames_next(&f, b.p + one, b.n - one, &n), CN_OK);
        CU_ASSERT_EQUAL(n, b.n - one);
    }
    cn_frames f;
    cn_frames_init(&f, 4096);
    size_t n = 0;
    for (size_t have = 0; have < one; have++) /* a byte at a time */
        CU_ASSERT_EQUAL(cn_frames_next(&f, b.p, have, &n), CN_UNAVAILABLE);
    CU_ASSERT_EQUAL(cn_frames_next(&f, b.p, one, &n), CN_OK);
}

/* Feeding a byte at a time looks at each value once: the place only moves on. */
static void test_keeps_its_place(void) {
    CN_AUTO_BUF cn_buf b = {.cap = 1 << 20};
    cn_pack_array(&b, 60000);
    for (int i = 0; i < 60000; i++)
        cn_pack_uint(&b, 1);
    cn_frames f;
    cn_frames_init(&f, 1 << 20);
    size_t n, before = 0;
    for (size_t have = 1; have < b.n; have++) {
        CU_ASSERT_EQUAL_FATAL(cn_frames_next(&f, b.p, have, &n), CN_UNAVAILABLE);
        CU_ASSERT_FATAL(f.scan.at >= before && f.scan.at <= have);
        before = f.scan.at;
    }
    CU_ASSERT_EQUAL(f.scan.nodes, 60000);
    CU_ASSERT_EQUAL(cn_frames_next(&f, b.p, b.n, &n), CN_OK);
}

static cn_err frame(const char *bytes, size_t n, size_t max) {
    cn_frames f;
    cn_frames_init(&f, max);
    size_t whole;
    return cn_frames_next(&f, bytes, n, &whole);
}

static void test_hostile_frames(void) {
    CU_ASSERT_EQUAL(frame("\xdd\x10\x00\x00\x00", 5, 1 << 20), CN_INVALID);             /* 2^28 values promised */
    CU_ASSERT_EQUAL(frame("\xdf\x00\x3f\xff\xff", 5, 1 << 20), CN_INVALID);             /* more than fit a frame */
    CU_ASSERT_EQUAL(frame("\xc6\xff\xff\xff\xff", 5, 1 << 20), CN_INVALID);             /* 4 GiB of bytes promised */
    CU_ASSERT_EQUAL(frame("\xc6\x00\x0f\xff\xf0", 5, 1 << 20), CN_UNAVAILABLE);         /* just below the limit */
    CU_ASSERT_EQUAL(frame("\xc1", 1, 1 << 20), CN_INVALID);
    CU_ASSERT_EQUAL(frame("\x94\x00\x01\xc1", 4, 1 << 20), CN_INVALID);
    char deep[CN_PACK_DEPTH + 2];
    memset(deep, 0x91, sizeof deep);
    CU_ASSERT_EQUAL(frame(deep, sizeof deep, 1 << 20), CN_INVALID);
    CU_ASSERT_EQUAL(frame("\xa5hello", 6, 5), CN_INVALID);
    CU_ASSERT_EQUAL(frame("\xa5hello", 6, 6), CN_OK);
    CU_ASSERT_EQUAL(frame("", 0, 16), CN_UNAVAILABLE);
}

static cn_err parse(const char *bytes, size_t n, cn_message *m) { return cn_message_parse((cn_str){bytes, n}, m); }
#define PARSE(literal, m) parse(literal, sizeof(literal) - 1, m)

static void test_messages(void) {
    cn_message m;
    CU_ASSERT_EQUAL(PARSE("\x94\x00\x05\xa4ping\x90", &m), CN_OK);
    CU_ASSERT(m.kind == CN_REQUEST && m.msgid == 5 && cn_str_is(m.method, "ping") && m.params.n == 1);
    CU_ASSERT_EQUAL(PARSE("\x94\x00\xcf\xff\xff\xff\xff\xff\xff\xff\xff\xc4\x04ping\x90", &m), CN_OK); /* bin method, widest id */
    CU_ASSERT(m.msgid == UINT64_MAX && cn_str_is(m.method, "ping"));
    CU_ASSERT_EQUAL(PARSE("\xdc\x00\x04\xcc\x00\xd3\x00\x00\x00\x00\x00\x00\x00\x09\xda\x00\x04ping\xdc\x00\x00", &m), CN_OK);
    CU_ASSERT_EQUAL(m.msgid, 9);
    CU_ASSERT_EQUAL(PARSE("\x93\x02\xa4ping\x90", &m), CN_OK);
    CU_ASSERT_EQUAL(m.kind, CN_NOTIFICATION);
    CU_ASSERT_EQUAL(PARSE("\x94\x01\x07\xc0\xa2hi", &m), CN_OK);
    CU_ASSERT(m.kind == CN_RESPONSE && m.error.n == 1 && m.result.n == 3);
}

static void test_wrong_messages(void) {
    cn_message m;
    CU_ASSERT_EQUAL(PARSE("\xc0", &m), CN_INVALID);
    CU_ASSERT_EQUAL(PARSE("\x90", &m), CN_INVALID);
    CU_ASSERT_EQUAL(PARSE("\x94\x03\x01\xa1x\x90", &m), CN_INVALID);
    CU_ASSERT_EQUAL(PARSE("\x94\x00\xff\xa1x\x90", &m), CN_INVALID); /* msgid -1 */
    CU_ASSERT_EQUAL(m.kind, CN_NOTIFICATION);
    CU_ASSERT_EQUAL(PARSE("\x94\x00\xd0\xff\xa1x\x90", &m), CN_INVALID);
    CU_ASSERT_EQUAL(PARSE("\x94\x00\xa1x\xa1x\x90", &m), CN_INVALID);
    /* these have an id: the error can be answered */
    CU_ASSERT_EQUAL(PARSE("\x94\x00\x2a\x01\x90", &m), CN_INVALID);
    CU_ASSERT(m.kind == CN_REQUEST && m.msgid == 42);
    CU_ASSERT_EQUAL(PARSE("\x94\x00\x2a\xa1x\x80", &m), CN_INVALID);
    CU_ASSERT_EQUAL(PARSE("\x93\x00\x2a\xa1x", &m), CN_INVALID);
    CU_ASSERT(m.kind == CN_REQUEST && m.msgid == 42);
    CN_AUTO_BUF cn_buf b = {.cap = 4096};
    char name[CN_METHOD_NAME_MAX + 1];
    memset(name, 'm', sizeof name);
    cn_rpc_request(&b, 1, (cn_str){name, sizeof name}, CN_STR(""));
    CU_ASSERT_EQUAL(cn_message_parse(cn_buf_str(&b), &m), CN_INVALID);
}

static void test_params(void) {
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    const msgpack_object *map = &u.o;
    CU_ASSERT_EQUAL_FATAL(cn_unpack(&u, "\x90", 1), CN_OK);
    CU_ASSERT_EQUAL(cn_params_map(&u.o, &map), CN_OK);
    CU_ASSERT_PTR_NULL(map);
    CU_ASSERT_EQUAL_FATAL(cn_unpack(&u, "\x91\x81\xa1x\x01", 5), CN_OK);
    CU_ASSERT_EQUAL(cn_params_map(&u.o, &map), CN_OK);
    CU_ASSERT_EQUAL(map->type, MSGPACK_OBJECT_MAP);
    CU_ASSERT_EQUAL_FATAL(cn_unpack(&u, "\x92\x80\x80", 3), CN_OK);
    CU_ASSERT_EQUAL(cn_params_map(&u.o, &map), CN_INVALID);
    CU_ASSERT_EQUAL_FATAL(cn_unpack(&u, "\x91\x05", 2), CN_OK);
    CU_ASSERT_EQUAL(cn_params_map(&u.o, &map), CN_INVALID);
    CU_ASSERT_EQUAL(cn_unpack(&u, "\x90\xc0", 2), CN_INVALID); /* trailing bytes */
}

static void error_is(cn_err code, const char *detail, int kind, const char *want) {
    CN_AUTO_BUF cn_buf b = {.cap = 4096};
    cn_message m;
    cn_rpc_error(&b, 3, code, detail);
    CU_ASSERT_EQUAL_FATAL(cn_message_parse(cn_buf_str(&b), &m), CN_OK);
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    CU_ASSERT_EQUAL_FATAL(cn_unpack(&u, m.error.p, m.error.n), CN_OK);
    CU_ASSERT_EQUAL_FATAL(u.o.via.array.size, 2);
    CU_ASSERT_EQUAL(u.o.via.array.ptr[0].via.u64, (uint64_t)kind);
    CU_ASSERT(cn_str_is(cn_obj_str(&u.o.via.array.ptr[1]), want));
    cn_str text;
    CU_ASSERT_EQUAL(cn_rpc_error_read(m.error, &text), code);
    CU_ASSERT(cn_str_is(text, want));
}

static void test_errors(void) {
    error_is(CN_NOT_FOUND, "there is no x", 1, "NOT_FOUND: there is no x");
    error_is(CN_INTERNAL, "", 0, "INTERNAL: a defect of cairn");
    error_is(CN_OVERLOADED, "full", 0, "OVERLOADED: full retry_after_ms=200");
    error_is(CN_DEADLINE, "late", 0, "DEADLINE: late retry_after_ms=1000");
    error_is(CN_INVALID, "field \"\xff\xc3\"", 1, "INVALID: field \"??\"");
    cn_str text;
    CU_ASSERT_EQUAL(cn_rpc_error_read(CN_STR("\xa5plain"), &text), CN_INTERNAL);
    CU_ASSERT(cn_str_is(text, "plain"));
    CU_ASSERT_EQUAL(cn_rpc_error_read(CN_STR("\x80"), &text), CN_INTERNAL);
}

int main(void) {
    CU_initialize_registry();
    CU_pSuite s = CU_add_suite("wire", NULL, NULL);
    CU_add_test(s, "every split", test_every_split);
    CU_add_test(s, "keeps its place", test_keeps_its_place);
    CU_add_test(s, "hostile frames", test_hostile_frames);
    CU_add_test(s, "messages", test_messages);
    CU_add_test(s, "wrong messages", test_wrong_messages);
    CU_add_test(s, "params", test_params);
    CU_add_test(s, "errors", test_errors);
    CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures(), ran = CU_get_number_of_tests_run();
    CU_cleanup_registry();
    return failed || !ran;
}
