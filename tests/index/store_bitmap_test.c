/* Lists of numbers from a file: what CRoaring wrote is read, what it would trust and should not is refused. */
#include "index/store/bitmap.h"
#include "tests/index/store_test.h"

static uint8_t bytes[1 << 20];

static cn_err read_n(size_t n, roaring_bitmap_t **ret) { return cn_bitmap_read((cn_str){(const char *)bytes, n}, "a list", ret); }

static bool refused(size_t n) {
    roaring_bitmap_t *b = NULL;
    cn_err e = read_n(n, &b);
    if (b)
        roaring_bitmap_free(b);
    return e == CN_DAMAGED;
}

/* Of all three kinds of containers, and of none. */
static roaring_bitmap_t *some(unsigned which) {
    roaring_bitmap_t *b = roaring_bitmap_create();
    CU_ASSERT_PTR_NOT_NULL_FATAL(b);
    if (which & 1)
        for (uint32_t i = 0; i < 500; i++)
            roaring_bitmap_add(b, 7 * i * i);
    if (which & 2)
        for (uint32_t i = 0; i < 6000; i++)
            roaring_bitmap_add(b, (9u << 16) + 5 * i);
    if (which & 4)
        roaring_bitmap_add_range(b, 20u << 16, (22u << 16) + 77);
    if (which & 8)
        roaring_bitmap_add(b, UINT32_MAX);
    if (which & 16)
        roaring_bitmap_run_optimize(b);
    return b;
}

static size_t write_out(const roaring_bitmap_t *b) {
    CU_ASSERT_FATAL(roaring_bitmap_portable_size_in_bytes(b) <= sizeof bytes);
    return roaring_bitmap_portable_serialize(b, (char *)bytes);
}

static void what_was_written_is_read(void) {
    for (unsigned which = 0; which < 32; which++) {
        roaring_bitmap_t *b = some(which), *got = NULL;
        size_t n = write_out(b);
        if (OK(read_n(n, &got))) {
            CU_ASSERT_TRUE(roaring_bitmap_equals(b, got));
            roaring_bitmap_free(got);
        }
        for (size_t cut = 0; cut < n; cut += cut < 600 ? 1 : 97)
            CU_ASSERT_TRUE(refused(cut));
        bytes[n] = 0;
        CU_ASSERT_TRUE(refused(n + 1));
        roaring_bitmap_free(b);
    }
}

typedef struct crafted {
    const char *what;
    bool good;
    size_t n;
    uint16_t v[24]; /* little-endian, as this machine is */
} crafted;

#define NO_RUNS(n) 12346, 0, n, 0
#define RUNS(n) 12347, (n) - 1
static const crafted all[] = {
    {"one array", true, 11, {NO_RUNS(1), 5, 2, 16, 0, 1, 5, 9}},
    {"an array out of order", false, 11, {NO_RUNS(1), 5, 2, 16, 0, 1, 9, 5}},
    {"a number twice", false, 11, {NO_RUNS(1), 5, 2, 16, 0, 1, 5, 5}},
    {"a wrong place", false, 11, {NO_RUNS(1), 5, 2, 17, 0, 1, 5, 9}},
    {"two arrays", true, 14, {NO_RUNS(2), 0, 0, 1, 0, 24, 0, 26, 0, 3, 4}},
    {"keys out of order", false, 14, {NO_RUNS(2), 1, 0, 0, 0, 24, 0, 26, 0, 3, 4}},
    {"a key twice", false, 14, {NO_RUNS(2), 1, 0, 1, 0, 24, 0, 26, 0, 3, 4}},
    {"two in one place", false, 14, {NO_RUNS(2), 0, 0, 1, 0, 24, 0, 24, 0, 3, 4}},
    {"more than there are", false, 5, {12346, 0, 1, 1, 0}},
    {"another cookie", false, 4, {12345, 0, 0, 0}},
    {"nothing", true, 4, {NO_RUNS(0)}},
};

/* Runs begin at an odd byte. */
static const struct {
    const char *what;
    bool good;
    uint16_t card, runs, v[6];
} runs[] = {
    {"two runs", true, 7, 2, {1, 3, 8, 2}},
    {"side by side", true, 7, 2, {1, 3, 5, 2}},
    {"they overlap", false, 7, 2, {1, 3, 4, 2}},
    {"out of order", false, 7, 2, {8, 2, 1, 3}},
    {"another number of them", false, 8, 2, {1, 3, 8, 2}},
    {"over the end", false, 7, 2, {1, 3, 65534, 2}},
    {"to the end", true, 6, 2, {1, 3, 65534, 1}},
    {"no runs", false, 1, 0, {0}},
};

static size_t put16(size_t at, const uint16_t *v, size_t n) {
    for (size_t i = 0; i < n; i++, at += 2) {
        bytes[at] = (uint8_t)v[i];
        bytes[at + 1] = (uint8_t)(v[i] >> 8);
    }
    return at;
}

static void expect(size_t n, bool good, const char *what) {
    roaring_bitmap_t *b = NULL;
    cn_err e = read_n(n, &b);
    if ((e == CN_OK) != good || (!good && e != CN_DAMAGED))
        printf("\n  %s: %s", what, cn_err_name(e));
    CU_ASSERT_EQUAL(e, good ? CN_OK : CN_DAMAGED);
    if (b)
        roaring_bitmap_free(b);
}

static void wrong_containers_are_refused(void) {
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        expect(put16(0, all[i].v, all[i].n), all[i].good, all[i].what);
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        size_t at = put16(0, (const uint16_t[]){RUNS(1)}, 2);
        bytes[at++] = 1;
        at = put16(at, (const uint16_t[]){3, (uint16_t)(runs[i].card - 1), runs[i].runs}, 3);
        expect(put16(at, runs[i].v, 2u * runs[i].runs), runs[i].good, runs[i].what);
    }
    roaring_bitmap_t *b = some(2);
    size_t n = write_out(b);
    bytes[n - 1] ^= 0x80; /* a bit of a bitset more or less than it counts */
    CU_ASSERT_TRUE(refused(n));
    roaring_bitmap_free(b);
}

/* With any byte changed, what is taken is a list in order, of as many numbers as it says. */
static void any_byte_changed(void) {
    for (unsigned which = 1; which < 32; which += 2) {
        roaring_bitmap_t *b = some(which), *got = NULL;
        size_t n = write_out(b);
        for (size_t at = 0; at < n; at += at < 600 ? 1 : 211) {
            uint64_t count = 0, last = 0;
            roaring_uint32_iterator_t it;
            bytes[at] ^= (uint8_t)(1 << at % 8);
            if (read_n(n, &got) == CN_OK) {
                for (roaring_init_iterator(got, &it); it.has_value; roaring_advance_uint32_iterator(&it), count++) {
                    CU_ASSERT_TRUE(count == 0 || it.current_value > last);
                    last = it.current_value;
                }
                CU_ASSERT_EQUAL(count, roaring_bitmap_get_cardinality(got));
                roaring_bitmap_free(got);
            }
            bytes[at] ^= (uint8_t)(1 << at % 8);
        }
        roaring_bitmap_free(b);
    }
}

void bitmap_suite(void) {
    CU_pSuite s = CU_add_suite("bitmaps", NULL, NULL);
    CU_ADD_TEST(s, what_was_written_is_read);
    CU_ADD_TEST(s, wrong_containers_are_refused);
    CU_ADD_TEST(s, any_byte_changed);
}
