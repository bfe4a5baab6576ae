/* MessagePack: what is written reads back; what is cut, deep, huge or foreign is refused before anything is decoded. */
#include <CUnit/Basic.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/base/pack.h"

static uint64_t state = 88172645463325252u;
static uint64_t next(void) { /* xorshift64 (Marsaglia 2003) */
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}

/* One value of random shape. */
static void random_value(cn_buf *b, int depth) {
    static const char text[70000];
    uint32_t n = (uint32_t)(next() % 5);
    switch (next() % (depth ? 9 : 7)) {
    case 0: cn_pack_uint(b, next() >> next() % 64); break;
    case 1: cn_pack_int(b, -(int64_t)(next() >> (1 + next() % 63))); break;
    case 2: cn_pack_str(b, (cn_str){text, next() % (next() % 8 ? 300 : sizeof text)}); break;
    case 3: cn_pack_bin(b, text, next() % (next() % 8 ? 300 : sizeof text)); break;
    case 4: cn_pack_bool(b, next() & 1); break;
    case 5: next() & 1 ? cn_pack_f64(b, 0.1) : cn_pack_f32(b, 0.1f); break;
    case 6: cn_pack_nil(b); break;
    case 7:
        cn_pack_array(b, n);
        for (uint32_t i = 0; i < n; i++)
            random_value(b, depth - 1);
        break;
    default:
        cn_pack_map(b, n);
        for (uint32_t i = 0; i < n; i++) {
            cn_pack_uint(b, i);
            random_value(b, depth - 1);
        }
    }
}

static void test_round_trip(void) {
    CN_AUTO_BUF cn_buf b, again;
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    cn_buf_init(&b, 1 << 24), cn_buf_init(&again, 1 << 24);
    for (int i = 0; i < 500; i++) {
        cn_buf_reset(&b), cn_buf_reset(&again);
        random_value(&b, 6);
        CU_ASSERT_EQUAL_FATAL(cn_unpack(&u, b.p, b.n), CN_OK);
        cn_pack_object(&again, &u.o);
        CU_ASSERT(again.n == b.n && memcmp(again.p, b.p, b.n) == 0);
    }
}

/* Every beginning of a message needs more; in pieces it gives the same length as whole. */
static void test_prefixes_and_pieces(void) {
    CN_AUTO_BUF cn_buf b;
    size_t n = 0;
    cn_buf_init(&b, 1 << 24);
    for (int i = 0; i < 100; i++) {
        cn_pack_scan scan;
        cn_buf_reset(&b);
        random_value(&b, 5);
        for (size_t cut = 0; cut < b.n; cut += 1 + (b.n > 2000 ? next() % 500 : 0))
            CU_ASSERT_EQUAL(cn_pack_check(b.p, cut, &n), CN_UNAVAILABLE);
        CU_ASSERT(cn_pack_check(b.p, b.n, &n) == CN_OK && n == b.n);
        cn_pack_scan_start(&scan);
        for (size_t have = 0; have < b.n; have += 1 + next() % (b.n - have)) {
            CU_ASSERT_EQUAL(cn_pack_scan_more(&scan, b.p, have, &n), CN_UNAVAILABLE);
            CU_ASSERT(scan.at <= have && scan.need <= b.n);
        }
        CU_ASSERT(cn_pack_scan_more(&scan, b.p, b.n, &n) == CN_OK && n == b.n);
    }
}

static void check_is(const char *bytes, size_t n, cn_err want) {
    size_t whole = 99;
    CU_ASSERT_EQUAL(cn_pack_check(bytes, n, &whole), want);
    CU_ASSERT(want == CN_OK || whole == 99);
}

static void test_refuses(void) {
    char deep[CN_PACK_DEPTH + 2];
    check_is("\xc1", 1, CN_INVALID);
    check_is("\x92\x01\xc1", 3, CN_INVALID);
    check_is("\xdd\xff\xff\xff\xff", 5, CN_INVALID);         /* more values than a message may hold */
    check_is("\xdf\xff\xff\xff\xff", 5, CN_INVALID);
    check_is("\xdb\xff\xff\xff\xff", 5, CN_UNAVAILABLE);     /* a long text may still come; the caller's cap decides */
    check_is("\xd4\x05x", 3, CN_OK);                         /* an extension is a value like others */
    check_is("\xc7\x02\x05xy", 5, CN_OK);
    memset(deep, '\x91', sizeof deep);
    deep[CN_PACK_DEPTH] = 1;
    check_is(deep, CN_PACK_DEPTH + 1, CN_OK);
    deep[CN_PACK_DEPTH] = '\x91';
    deep[CN_PACK_DEPTH + 1] = 1;
    check_is(deep, CN_PACK_DEPTH + 2, CN_INVALID);
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    CU_ASSERT_EQUAL(cn_unpack(&u, "\x01\x02", 2), CN_INVALID); /* bytes behind the message */
    CU_ASSERT_EQUAL(cn_unpack(&u, "\x92\x01", 2), CN_INVALID);
    CU_ASSERT_EQUAL(cn_unpack(&u, "", 0), CN_INVALID);
}

/* Many small values cost few bytes: the count of them is bounded, too. */
static void test_too_many_values(void) {
    uint32_t n = CN_PACK_NODES / 4;
    CN_AUTO_BUF cn_buf b;
    cn_buf_init(&b, 1 << 25);
    cn_pack_array(&b, 5);
    for (int i = 0; i < 5; i++) {
        cn_pack_array(&b, n);
        char *p = cn_buf_take(&b, n);
        CU_ASSERT_PTR_NOT_NULL_FATAL(p);
        memset(p, 1, n);
    }
    check_is(b.p, b.n, CN_INVALID);
}

/* Whatever the bytes: a verdict, no read beyond them, and what passes is decoded. */
static void test_random_bytes(void) {
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    CN_AUTO_BUF cn_buf b;
    uint32_t passed = 0;
    cn_buf_init(&b, 1 << 20);
    for (int i = 0; i < 20000; i++) {
        size_t n = 0, len = next() % 40;
        CN_AUTO_FREE uint8_t *p = cn_alloc(len);
        CU_ASSERT_PTR_NOT_NULL_FATAL(p);
        for (size_t j = 0; j < len; j++)
            p[j] = (uint8_t)(next() % 3 ? 0x80 + next() % 0x60 : next());
        cn_err e = cn_pack_check(p, len, &n);
        CU_ASSERT(e == CN_OK || e == CN_INVALID || e == CN_UNAVAILABLE);
        if (e != CN_OK)
            continue;
        passed++;
        CU_ASSERT_FATAL(n >= 1 && n <= len);
        CU_ASSERT_EQUAL(cn_unpack(&u, p, n), CN_OK);
    }
    CU_ASSERT(passed > 1000);
}

/* --- fields --- */
static void open_map(cn_buf *b, cn_unpacked *u) {
    cn_pack_map(b, 7);
    cn_pack_cstr(b, "name"), cn_pack_cstr(b, "cairn");
    cn_pack_cstr(b, "k"), cn_pack_uint(b, 10);
    cn_pack_cstr(b, "minus"), cn_pack_int(b, -3);
    cn_pack_cstr(b, "half"), cn_pack_f64(b, 0.5);
    cn_pack_cstr(b, "yes"), cn_pack_bool(b, true);
    cn_pack_cstr(b, "none"), cn_pack_nil(b);
    cn_pack_bin(b, "id", 2), cn_pack_bin(b, "0123456789abcdef0123456789abcdef", 32);
    CU_ASSERT_EQUAL_FATAL(cn_unpack(u, b->p, b->n), CN_OK);
}

static void test_fields(void) {
    CN_AUTO_BUF cn_buf b;
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    cn_str text = CN_STR("untouched");
    uint64_t count = 77;
    int64_t number = 77;
    double real = 77;
    bool flag = false;
    uint8_t id[32];
    cn_buf_init(&b, 4096);
    open_map(&b, &u);
    CU_ASSERT(cn_get_str(&u.o, "none", &text) == CN_OK && cn_str_is(text, "untouched"));
    CU_ASSERT(cn_get_uint(&u.o, "absent", 1, 5, &count) == CN_OK && count == 77);
    CU_ASSERT(cn_get_str(&u.o, "name", &text) == CN_OK && cn_str_is(text, "cairn"));
    CU_ASSERT(cn_get_uint(&u.o, "k", 1, 10, &count) == CN_OK && count == 10);
    CU_ASSERT(cn_get_int(&u.o, "minus", &number) == CN_OK && number == -3);
    CU_ASSERT(cn_get_f64(&u.o, "half", &real) == CN_OK && real == 0.5);
    CU_ASSERT(cn_get_f64(&u.o, "minus", &real) == CN_OK && real == -3);
    CU_ASSERT(cn_get_bool(&u.o, "yes", &flag) == CN_OK && flag);
    CU_ASSERT(cn_get_digest32(&u.o, "id", id) == CN_OK && memcmp(id, "0123", 4) == 0);
}

static void test_fields_refused(void) {
    static const char *const known[] = {"name", "k", "minus", "half", "yes", "none", "id", NULL};
    CN_AUTO_BUF cn_buf b;
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    cn_str text = {0};
    uint64_t count = 77;
    int64_t number;
    double real;
    bool flag;
    uint8_t id[32];
    cn_buf_init(&b, 4096);
    open_map(&b, &u);
    CU_ASSERT_EQUAL(cn_get_uint(&u.o, "k", 11, 20, &count), CN_INVALID);
    CU_ASSERT_PTR_NOT_NULL(strstr(cn_error_detail(), "\"k\""));
    CU_ASSERT_EQUAL(cn_get_uint(&u.o, "k", 0, 9, &count), CN_INVALID);
    CU_ASSERT_EQUAL(cn_get_uint(&u.o, "minus", 0, 9, &count), CN_INVALID);
    CU_ASSERT_EQUAL(count, 77);
    CU_ASSERT_EQUAL(cn_get_str(&u.o, "k", &text), CN_INVALID);
    CU_ASSERT_EQUAL(cn_get_int(&u.o, "half", &number), CN_INVALID);
    CU_ASSERT_EQUAL(cn_get_f64(&u.o, "name", &real), CN_INVALID);
    CU_ASSERT_EQUAL(cn_get_bool(&u.o, "k", &flag), CN_INVALID);
    CU_ASSERT_EQUAL(cn_get_digest32(&u.o, "name", id), CN_INVALID);
    CU_ASSERT_EQUAL(cn_only_fields(&u.o, known), CN_OK);
    CU_ASSERT_EQUAL(cn_only_fields(&u.o, known + 1), CN_INVALID);
    CU_ASSERT_PTR_NOT_NULL(strstr(cn_error_detail(), "\"name\""));
    CU_ASSERT_EQUAL(cn_only_fields(NULL, known), CN_INVALID);
    CU_ASSERT_PTR_NULL(cn_get(NULL, "k"));
    CU_ASSERT_PTR_NULL(cn_get(cn_get(&u.o, "k"), "k")); /* no map */
}

static void test_open_counts(void) {
    CN_AUTO_BUF cn_buf b;
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    cn_buf_init(&b, 4096);
    size_t map = cn_pack_map_open(&b);
    cn_pack_cstr(&b, "list");
    size_t list = cn_pack_array_open(&b);
    for (uint32_t i = 0; i < 300; i++)
        cn_pack_uint(&b, i);
    cn_pack_array_close(&b, list, 300);
    cn_pack_map_close(&b, map, 1);
    CU_ASSERT_EQUAL_FATAL(cn_unpack(&u, b.p, b.n), CN_OK);
    const msgpack_object *o = cn_get(&u.o, "list");
    CU_ASSERT_FATAL(o && o->type == MSGPACK_OBJECT_ARRAY && o->via.array.size == 300);
    CU_ASSERT_EQUAL(o->via.array.ptr[299].via.u64, 299);
}

/* --- records --- */
static void test_records(void) {
    CN_AUTO_BUF cn_buf b;
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    cn_buf_init(&b, 4096);
    cn_buf_puts(&b, "before");
    size_t at = cn_record_open(&b, 3);
    cn_pack_array(&b, 2), cn_pack_uint(&b, 7), cn_pack_cstr(&b, "seven");
    cn_record_close(&b, at);
    cn_str r = {b.p + at, b.n - at};
    CU_ASSERT_EQUAL(cn_record_read(&u, r, 3, "a record"), CN_OK);
    CU_ASSERT(u.o.type == MSGPACK_OBJECT_ARRAY && u.o.via.array.ptr[0].via.u64 == 7);
    for (size_t cut = 0; cut < r.n; cut++)
        CU_ASSERT_EQUAL(cn_record_read(&u, (cn_str){r.p, cut}, 3, "a record"), CN_DAMAGED);
    for (size_t bit = 0; bit < 8 * r.n; bit++) { /* any bit turned is seen */
        b.p[at + bit / 8] = (char)(b.p[at + bit / 8] ^ (1 << bit % 8));
        CU_ASSERT_EQUAL(cn_record_read(&u, r, 3, "a record"), CN_DAMAGED);
        CU_ASSERT_PTR_NOT_NULL(strstr(cn_error_detail(), "a record"));
        b.p[at + bit / 8] = (char)(b.p[at + bit / 8] ^ (1 << bit % 8));
    }
    CU_ASSERT_EQUAL(cn_record_read(&u, r, 3, "a record"), CN_OK);
}

/* A writer whose buffer is full leaves it whole, and says so once at the end. */
static void test_full_buffer(void) {
    CN_AUTO_BUF cn_buf b;
    cn_buf_init(&b, 16);
    size_t at = cn_record_open(&b, 1), map = cn_pack_map_open(&b);
    for (int i = 0; i < 100; i++)
        cn_pack_cstr(&b, "too long for it");
    cn_pack_map_close(&b, map, 50);
    cn_record_close(&b, at);
    CU_ASSERT_EQUAL(cn_buf_check(&b), CN_OVERLOADED);
    CU_ASSERT(b.n <= 16);
}

int main(void) {
    CU_initialize_registry();
    CU_pSuite s = CU_add_suite("pack", NULL, NULL);
    CU_add_test(s, "round trip", test_round_trip);
    CU_add_test(s, "prefixes and pieces", test_prefixes_and_pieces);
    CU_add_test(s, "refuses", test_refuses);
    CU_add_test(s, "too many values", test_too_many_values);
    CU_add_test(s, "random bytes", test_random_bytes);
    CU_add_test(s, "fields", test_fields);
    CU_add_test(s, "fields refused", test_fields_refused);
    CU_add_test(s, "open counts", test_open_counts);
    CU_add_test(s, "records", test_records);
    CU_add_test(s, "full buffer", test_full_buffer);
    CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures(), ran = CU_get_number_of_tests_run();
    CU_cleanup_registry();
    return failed || !ran;
}
