/* The heap's seam, arenas and buffers: limits hold, a refused request changes nothing, a warm arena asks the heap for nothing. */
#include <CUnit/Basic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/arena.h"
#include "engine/base/buf.h"
#include "engine/base/mem.h"

/* --- heap --- */
static void test_heap_limits(void) {
    CU_ASSERT_PTR_NULL(cn_alloc(CN_ALLOC_MAX + 1));
    CU_ASSERT_PTR_NULL(cn_calloc(SIZE_MAX / 2, 3));
    CU_ASSERT_PTR_NULL(cn_alloc_aligned(64, CN_ALLOC_MAX + 1));
    CN_AUTO_FREE void *none = cn_alloc(0);
    CU_ASSERT_PTR_NOT_NULL(none);
    CN_AUTO_FREE unsigned char *zeros = cn_calloc(7, 11);
    CU_ASSERT_PTR_NOT_NULL_FATAL(zeros);
    for (int i = 0; i < 77; i++)
        CU_ASSERT_EQUAL(zeros[i], 0);
    CN_AUTO_FREE void *lines = cn_alloc_aligned(64, 100);
    CU_ASSERT_EQUAL((uintptr_t)lines % 64, 0);
    CN_AUTO_FREE char *text = cn_strdup_n("abcdef", 3);
    CU_ASSERT_STRING_EQUAL(text, "abc");
}

static void test_heap_failures(void) {
    uint64_t before = cn_alloc_count();
    CN_AUTO_FREE char *p = cn_alloc(10);
    memcpy(p, "123456789", 10);
    cn_alloc_fail_at(1);
    CU_ASSERT_PTR_NULL(cn_alloc(12345));
    CU_ASSERT_EQUAL(cn_fail_memory(), CN_OVERLOADED);
    CU_ASSERT_PTR_NOT_NULL(strstr(cn_error_detail(), "12345 bytes more were asked for"));
    CU_ASSERT_EQUAL(cn_fail_memory(), CN_OVERLOADED);
    CU_ASSERT_STRING_EQUAL(cn_error_detail(), "out of memory"); /* it is told once */
    cn_alloc_fail_at(2);
    CN_AUTO_FREE void *first = cn_alloc(1);
    CU_ASSERT_PTR_NOT_NULL(first);
    CU_ASSERT_PTR_NULL(cn_realloc(p, 1000)); /* the second from then; p stays */
    CU_ASSERT_STRING_EQUAL(p, "123456789");
    p = cn_realloc(p, 1000);
    CU_ASSERT_PTR_NOT_NULL_FATAL(p);
    CU_ASSERT_STRING_EQUAL(p, "123456789");
    cn_alloc_fail_at(0);
    CU_ASSERT_EQUAL(cn_alloc_count() - before, 5);
}

static void test_growing(void) {
    CN_AUTO_FREE uint16_t *v = NULL;
    CN_AUTO_FREE char *bytes = NULL;
    uint32_t n = 0, room = 0;
    uint64_t wide = 0;
    for (; n < 1000; n++) {
        CU_ASSERT_TRUE_FATAL(cn_grow(v, n, room));
        CU_ASSERT(room > n && (room <= CN_GROW_FIRST || room <= 2 * n));
        v[n] = (uint16_t)n;
    }
    for (uint32_t i = 0; i < n; i++)
        CU_ASSERT_EQUAL(v[i], i);
    uint16_t *same = v;
    uint64_t asked = cn_alloc_count();
    CU_ASSERT_TRUE(cn_grow(v, room - 1, room));
    CU_ASSERT(v == same && cn_alloc_count() == asked);
    uint32_t had = room;
    cn_alloc_fail_at(1);
    CU_ASSERT_FALSE(cn_grow(v, room, room));
    CU_ASSERT(v == same && room == had && v[999] == 999);
    cn_alloc_fail_at(0);
    CU_ASSERT_TRUE(cn_grow(bytes, 5000, wide)); /* not only the next one */
    CU_ASSERT(wide > 5000);
}

/* What a number of items takes is worked out with more bits than its counter has, and refused where that is not enough. */
static void test_growing_too_far(void) {
    CN_AUTO_FREE char *v = NULL;
    struct large {
        char x[1 << 20];
    } *large = NULL;
    uint32_t room = UINT32_MAX, half = (uint32_t)1 << 31;
    uint64_t wide = (uint64_t)1 << 43;
    CU_ASSERT_FALSE(cn_grow(v, UINT32_MAX, room)); /* no doubling to 0 */
    CU_ASSERT_FALSE(cn_grow(large, half, half));   /* 2^52 bytes, over CN_ALLOC_MAX */
    CU_ASSERT_FALSE(cn_grow(large, wide, wide));   /* 2^64 bytes: no product that begins again at 0 */
    CU_ASSERT_FALSE(cn_resize(large, (uint64_t)1 << 44));
    CU_ASSERT_FALSE(cn_resize(large, UINT64_MAX));
    CU_ASSERT(!v && !large && room == UINT32_MAX && half == (uint32_t)1 << 31 && wide == (uint64_t)1 << 43);
    CU_ASSERT_TRUE(cn_resize(v, 3));
    CU_ASSERT_PTR_NOT_NULL(v);
}

/* --- arena --- */
static void test_arena_alignment(void) {
    cn_arena a;
    cn_arena_init(&a, 1000, 1 << 20);
    for (size_t n = 0; n < 100; n++) {
        unsigned char *p = cn_arena_alloc(&a, n);
        CU_ASSERT_FATAL(p && (uintptr_t)p % 16 == 0);
        memset(p, 0xee, n);
        unsigned char *z = cn_arena_zalloc(&a, n, 3);
        CU_ASSERT_PTR_NOT_NULL_FATAL(z);
        for (size_t i = 0; i < 3 * n; i++)
            CU_ASSERT_FATAL(z[i] == 0);
    }
    cn_arena_done(&a);
    cn_arena_done(&a); /* and again is fine */
}

static void test_arena_pieces_apart(void) {
    cn_arena a;
    unsigned char *p[300];
    cn_arena_init(&a, 256, 1 << 20);
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < 300; i++) {
            CU_ASSERT_PTR_NOT_NULL_FATAL(p[i] = cn_arena_alloc(&a, i));
            memset(p[i], (int)(i & 255), i);
        }
        for (size_t i = 0; i < 300; i++)
            for (size_t j = 0; j < i; j++)
                CU_ASSERT_FATAL(p[i][j] == (i & 255));
        cn_arena_reset(&a);
    }
    cn_arena_done(&a);
}

static void test_arena_cap(void) {
    cn_arena a;
    cn_arena_init(&a, 1024, 8192);
    size_t taken = 0;
    while (cn_arena_alloc(&a, 512))
        taken += 512;
    CU_ASSERT(taken > 4096 && taken <= 8192 && a.used <= 8192);
    size_t used = a.used;
    CU_ASSERT_PTR_NULL(cn_arena_alloc(&a, 5000));
    CU_ASSERT_PTR_NULL(cn_arena_alloc(&a, SIZE_MAX));
    CU_ASSERT_PTR_NULL(cn_arena_alloc(&a, SIZE_MAX - 63));
    CU_ASSERT_PTR_NULL(cn_arena_zalloc(&a, SIZE_MAX / 2, 3));
    CU_ASSERT_PTR_NULL(cn_arena_str(&a, (cn_str){"x", SIZE_MAX - 10}).p);
    CU_ASSERT_EQUAL(a.used, used);
    cn_arena_reset(&a);
    CU_ASSERT_PTR_NOT_NULL(cn_arena_alloc(&a, 5000)); /* a piece larger than a block gets its own */
    cn_arena_done(&a);
    CU_ASSERT_EQUAL(a.used, 0);
}

static void test_arena_growing(void) {
    cn_arena a;
    uint64_t *v = NULL;
    uint32_t n = 0, room = 0;
    cn_arena_init(&a, 256, 65536);
    while (cn_arena_grow(&a, v, n, room)) {
        CU_ASSERT(v[n] == 0); /* cleared */
        v[n] = n;
        n++;
    }
    CU_ASSERT(n == room && n >= 1024 && n < 8192); /* the cap */
    for (uint32_t i = 0; i < n; i++)
        CU_ASSERT_EQUAL(v[i], i);
    cn_arena_done(&a);
}

static void test_arena_warm(void) {
    cn_arena a;
    cn_arena_init(&a, 4096, 1 << 16);
    CU_ASSERT_PTR_NOT_NULL(cn_arena_alloc(&a, 10));
    uint64_t before = cn_alloc_count();
    for (int i = 0; i < 100; i++) {
        cn_arena_reset(&a);
        CU_ASSERT_PTR_NOT_NULL(cn_arena_alloc(&a, 3000));
    }
    CU_ASSERT_EQUAL(cn_alloc_count(), before);
    cn_alloc_fail_at(1);
    CU_ASSERT_PTR_NULL(cn_arena_alloc(&a, 3000));
    cn_alloc_fail_at(0);
    CU_ASSERT_PTR_NOT_NULL(cn_arena_alloc(&a, 3000)); /* the failure cost nothing */
    cn_arena_done(&a);
}

static void test_arena_text(void) {
    cn_arena a;
    cn_arena_init(&a, 64, 4096);
    cn_str s = cn_arena_str(&a, CN_STR("a\0b"));
    CU_ASSERT(s.n == 3 && memcmp(s.p, "a\0b", 4) == 0);
    s = cn_arena_str(&a, (cn_str){NULL, 0});
    CU_ASSERT(s.p && s.n == 0 && *s.p == 0);
    CU_ASSERT_STRING_EQUAL(cn_arena_printf(&a, "%s-%d", "abc", 42), "abc-42");
    CU_ASSERT_STRING_EQUAL(cn_arena_printf(&a, "%0200d", 7) + 199, "7"); /* longer than a block */
    CU_ASSERT_PTR_NULL(cn_arena_printf(&a, "%05000d", 7));
    cn_arena_done(&a);
}

/* --- buf --- */
static void test_buf_grows(void) {
    CN_AUTO_BUF cn_buf b;
    cn_buf_init(&b, 1 << 20);
    for (int i = 0; i < 1000; i++)
        cn_buf_printf(&b, "%03d", i);
    cn_buf_putc(&b, '!');
    cn_buf_puts(&b, "end");
    cn_buf_add(&b, NULL, 0);
    CU_ASSERT_EQUAL(b.n, 3004);
    CU_ASSERT(memcmp(b.p + 2997, "999!end", 7) == 0);
    CU_ASSERT_EQUAL(cn_buf_check(&b), CN_OK);
    cn_buf_reset(&b);
    uint64_t before = cn_alloc_count();
    cn_buf_puts(&b, "again");
    CU_ASSERT(cn_str_is(cn_buf_str(&b), "again"));
    CU_ASSERT_EQUAL(cn_alloc_count(), before);
}

/* After the first append that is refused, every later one is ignored, however short. */
static void test_buf_cap(void) {
    CN_AUTO_BUF cn_buf b;
    cn_buf_init(&b, 10);
    cn_buf_puts(&b, "1234567890");
    CU_ASSERT_EQUAL(cn_buf_check(&b), CN_OK);
    cn_buf_putc(&b, 'x');
    CU_ASSERT_EQUAL(cn_buf_check(&b), CN_OVERLOADED);
    CU_ASSERT_PTR_NOT_NULL(strstr(cn_error_detail(), "10 bytes"));
    cn_buf_reset(&b);
    cn_buf_puts(&b, "12345678");
    CU_ASSERT_PTR_NULL(cn_buf_take(&b, SIZE_MAX));
    cn_buf_putc(&b, 'x');
    cn_buf_printf(&b, "y");
    CU_ASSERT_PTR_NULL(cn_buf_take(&b, 1));
    CU_ASSERT_EQUAL(b.n, 8);
    CU_ASSERT_EQUAL(cn_buf_check(&b), CN_OVERLOADED);
    cn_buf_reset(&b);
    cn_buf_printf(&b, "%s", "more than ten bytes");
    CU_ASSERT(b.failed && b.n == 0);
}

static void test_buf_out_of_memory(void) {
    CN_AUTO_BUF cn_buf b;
    cn_buf_init(&b, 1 << 20);
    cn_buf_puts(&b, "kept");
    cn_alloc_fail_at(1);
    CU_ASSERT_PTR_NULL(cn_buf_take(&b, 1000));
    cn_alloc_fail_at(0);
    CU_ASSERT(cn_str_is(cn_buf_str(&b), "kept"));
    CU_ASSERT_EQUAL(cn_buf_check(&b), CN_OVERLOADED);
}

int main(void) {
    CU_initialize_registry();
    CU_pSuite s = CU_add_suite("memory", NULL, NULL);
    CU_add_test(s, "heap limits", test_heap_limits);
    CU_add_test(s, "heap failures", test_heap_failures);
    CU_add_test(s, "growing", test_growing);
    CU_add_test(s, "growing too far", test_growing_too_far);
    CU_add_test(s, "arena alignment", test_arena_alignment);
    CU_add_test(s, "arena pieces apart", test_arena_pieces_apart);
    CU_add_test(s, "arena cap", test_arena_cap);
    CU_add_test(s, "arena growing", test_arena_growing);
    CU_add_test(s, "arena warm", test_arena_warm);
    CU_add_test(s, "arena text", test_arena_text);
    CU_add_test(s, "buf grows", test_buf_grows);
    CU_add_test(s, "buf cap", test_buf_cap);
    CU_add_test(s, "buf out of memory", test_buf_out_of_memory);
    CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures(), ran = CU_get_number_of_tests_run();
    CU_cleanup_registry();
    return failed || !ran;
}
