/* Request records: put and found again, bounded in bytes and age, and begun anew when their file is damaged, cut or gone. */
#include <CUnit/Basic.h>
#include <CUnit/CUnit.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/os.h"
#include "index/trace/run.h"
#include "index/trace/trace.h"
#include "tests/index/small.h"

#define OK(x) CU_ASSERT_EQUAL(x, CN_OK)
#define MAX ((size_t)64 << 10)
static const cn_trace_limits plenty = {(uint64_t)64 << 20, CN_TRACE_KEEP_US};
static int64_t now_us;
static int64_t fake_wall(void) { return now_us; }

static int set_up(void) { return !s_open(); }
static int tear_down(void) {
    s_close();
    cn_os_now = &cn_os_real;
    return 0;
}

/* ---------- records of these tests: {n: number, word: text of some length} ---------- */
static cn_trace_id id_of(uint32_t n) {
    cn_trace_id id = {{1}};
    memcpy(id.b + 1, &n, sizeof n);
    return id;
}

static cn_err put(uint32_t n, int64_t at_us, size_t bytes, const cn_trace_limits *lim) {
    static char pad[MAX];
    CN_AUTO_BUF cn_buf b;
    cn_buf_init(&b, 2 * MAX);
    memset(pad, 'x', sizeof pad);
    cn_pack_map(&b, 2);
    cn_pack_cstr(&b, "n"), cn_pack_uint(&b, n);
    cn_pack_cstr(&b, "word"), cn_pack_str(&b, (cn_str){pad, bytes});
    cn_trace_entry e = {at_us, id_of(n), cn_buf_str(&b)};
    return cn_trace_put(s_tenant, &e, 1, lim);
}

typedef struct seen {
    uint32_t n, gaps, broken, last, stop_after;
    int64_t at;
} seen;

static cn_err see(void *ctx, const cn_trace_key *key, const msgpack_object *map, bool *stop) {
    seen *s = ctx;
    uint64_t n = 0;
    if (s->stop_after && s->n == s->stop_after) {
        *stop = true;
        return CN_OK;
    }
    s->gaps += cn_trace_is_gap(key);
    s->broken += map == NULL;
    if (map && !cn_trace_is_gap(key)) {
        CU_ASSERT(cn_get_uint(map, "n", 0, UINT32_MAX, &n) == CN_OK && key->at_us >= s->at);
        s->n++;
    }
    s->last = (uint32_t)n;
    s->at = key->at_us;
    return CN_OK;
}

static seen all_since(int64_t from_us) {
    seen s = {0};
    cn_trace_scan sc = {.from_us = from_us};
    OK(cn_trace_each(s_tenant, &sc, see, &s));
    CU_ASSERT_FALSE(sc.more);
    return s;
}

static seen of_id(uint32_t n) {
    seen s = {0};
    cn_trace_id id = id_of(n);
    OK(cn_trace_get(s_tenant, &id, see, &s));
    return s;
}

static cn_trace_state look(void) {
    cn_trace_state st = {0};
    OK(cn_trace_look(s_tenant, &st));
    return st;
}

static void path_of(char path[160], const char *suffix) { snprintf(path, 160, "%s/tenants/acme/trace.mdb%s", s_dir, suffix); }

/* ---------- tests ---------- */
static void test_nothing_yet(void) {
    char path[160];
    path_of(path, "");
    CU_ASSERT_EQUAL(look().from_us, CN_NO_TIME);
    CU_ASSERT_EQUAL(all_since(0).n, 0);
    CU_ASSERT_EQUAL(of_id(1).n, 0);
    bool more = true;
    OK(cn_trace_prune(s_tenant, &plenty, &more));
    CU_ASSERT_FALSE(more);
    CU_ASSERT_NOT_EQUAL(access(path, F_OK), 0); /* looking makes no file */
}

static void test_found_again(void) {
    int64_t t = cn_wall_us();
    for (uint32_t n = 0; n < 50; n++)
        OK(put(n, t + 1000 * n, 100 * n, &plenty));
    OK(put(7, t + 70000, 10, &plenty)); /* a trace of two requests */
    CU_ASSERT_EQUAL(all_since(0).n, 51);
    CU_ASSERT_EQUAL(all_since(t + 1000 * 49).n, 2);
    CU_ASSERT_EQUAL(of_id(7).n, 2);
    CU_ASSERT_EQUAL(of_id(8).last, 8);
    CU_ASSERT_EQUAL(of_id(99).n, 0);
    CU_ASSERT_EQUAL(look().records, 51);
}

static void test_paged(void) {
    seen s = {.stop_after = 20};
    cn_trace_scan sc = {.from_us = 0};
    cn_trace_key at, back;
    char text[CN_TRACE_KEY_TEXT];
    OK(cn_trace_each(s_tenant, &sc, see, &s));
    CU_ASSERT(sc.more && s.n == 20);
    at = sc.last;
    cn_trace_key_text(&at, text);
    OK(cn_trace_key_parse(cn_str_of(text), &back));
    CU_ASSERT(back.at_us == at.at_us && back.number == at.number && memcmp(&back.id, &at.id, sizeof at.id) == 0);
    CU_ASSERT_EQUAL(cn_trace_key_parse(CN_STR("5f"), &back), CN_INVALID);
    s.stop_after = 0;
    sc = (cn_trace_scan){.after = &at};
    OK(cn_trace_each(s_tenant, &sc, see, &s));
    CU_ASSERT(!sc.more && s.n == 51);
    sc = (cn_trace_scan){.word = CN_STR("no such bytes")};
    s = (seen){0};
    OK(cn_trace_each(s_tenant, &sc, see, &s));
    CU_ASSERT_EQUAL(s.n, 0);
}

static void test_other_process(void) { /* what is closed and opened again is all there */
    cn_tenant_unref(s_tenant);
    cn_data_close(s_data);
    CU_ASSERT_FATAL(s_open_again());
    CU_ASSERT_EQUAL(all_since(0).n, 51);
}

static void test_bytes(void) {
    cn_trace_limits small = {200000, CN_TRACE_KEEP_US};
    struct stat one, two;
    char path[160];
    int64_t t = cn_wall_us() + 1000000; /* behind those of the tests before */
    path_of(path, "");
    for (uint32_t n = 1000; n < 3000; n++)
        OK(put(n, t + n, 900, &small));
    seen s = all_since(0);
    CU_ASSERT(s.n > 100 && s.n < 222 && s.last == 2999);
    CU_ASSERT(look().bytes <= small.bytes && look().records == s.n);
    CU_ASSERT_EQUAL(of_id(1000).n, 0); /* the oldest went, with what finds them */
    CU_ASSERT_EQUAL(of_id(2999).n, 1);
    CU_ASSERT(look().from_us > t && look().from_us < t + 3000);
    CU_ASSERT_EQUAL(stat(path, &one), 0);
    for (uint32_t n = 3000; n < 6000; n++)
        OK(put(n, t + n, 900, &small));
    CU_ASSERT_EQUAL(stat(path, &two), 0);
    CU_ASSERT(two.st_size <= 2 * one.st_size); /* pages are used again: the file does not grow with what went through it */
    OK(put(9000, t + 9000, 60000, &small));    /* one with pages of its own counts as these */
    CU_ASSERT(look().bytes <= small.bytes);
    CU_ASSERT_EQUAL(of_id(9000).n, 1);
}

static void test_limits_noted(void) {
    int64_t t = cn_wall_us() + 1000000;
    for (uint32_t n = 0; n < 500; n++)
        OK(put(20000 + n, t + 10000 + n, 900, NULL)); /* as a command beside the server does */
    CU_ASSERT(look().bytes <= 200000);
    CU_ASSERT_EQUAL(look().limits.bytes, 200000);
    cn_trace_limits none = {0, CN_TRACE_KEEP_US};
    bool more = true;
    while (more)
        OK(cn_trace_prune(s_tenant, &none, &more));
    CU_ASSERT(look().records == 0 && all_since(0).n == 0);
    OK(put(1, t + 20000, 10, NULL)); /* none are to be kept */
    CU_ASSERT_EQUAL(all_since(0).n, 0);
}

static void test_age(void) {
    static cn_os os;
    cn_trace_limits day = {(uint64_t)64 << 20, (uint64_t)86400 * 1000000};
    int64_t t = cn_wall_us(), hour = (int64_t)3600 * 1000000;
    bool more;
    os = cn_os_real;
    os.wall_us = fake_wall;
    now_us = t;
    cn_os_now = &os;
    for (uint32_t n = 0; n < 48; n++)
        OK(put(30000 + n, t - (48 - n) * hour, 10, &day));
    CU_ASSERT_EQUAL(all_since(0).n, 24);
    now_us = t + 12 * hour; /* no question comes, and they grow old all the same */
    OK(cn_trace_prune(s_tenant, &day, &more));
    CU_ASSERT_EQUAL(all_since(0).n, 12);
    CU_ASSERT_EQUAL(look().from_us, t - 13 * hour);
    cn_os_now = &cn_os_real;
}

/* ---------- damage ---------- */
static void overwrite(const char *path, long at, size_t n) {
    static const char junk[4096] = {0x5a, 0x5a, 0x5a};
    int fd = open(path, O_WRONLY);
    CU_ASSERT_FATAL(fd >= 0);
    for (size_t done = 0; done < n; done += sizeof junk)
        CU_ASSERT_EQUAL(pwrite(fd, junk, sizeof junk, at + (long)done), (ssize_t)sizeof junk);
    close(fd);
}

static void refill(void) {
    for (uint32_t n = 0; n < 200; n++)
        OK(put(40000 + n, cn_wall_us(), 500, &plenty));
    CU_ASSERT(all_since(0).n >= 200);
}

static void begun_anew(const char *how) {
    char aside[160];
    path_of(aside, ".damaged");
    OK(put(50000, cn_wall_us(), 10, &plenty));
    seen s = all_since(0);
    if (s.n != 1 || s.gaps != 1)
        printf("\n  %s: %u records, %u gaps\n", how, s.n, s.gaps);
    CU_ASSERT(s.n == 1 && s.gaps == 1 && look().aside);
    CU_ASSERT_EQUAL(access(aside, F_OK), 0);
}

static void close_all(void) {
    cn_tenant_unref(s_tenant);
    cn_data_close(s_data);
}

static void test_damaged_file(void) {
    char path[160], aside[160];
    path_of(path, "");
    path_of(aside, ".damaged");
    refill();
    close_all();
    overwrite(path, 0, 8192); /* both meta pages */
    CU_ASSERT_FATAL(s_open_again());
    begun_anew("no meta page");
    refill();
    close_all();
    CU_ASSERT_EQUAL(truncate(path, 12288), 0);
    CU_ASSERT_FATAL(s_open_again());
    begun_anew("cut short");
    refill();
    close_all();
    CU_ASSERT_EQUAL(truncate(path, 100), 0);
    CU_ASSERT_FATAL(s_open_again());
    seen s = all_since(0); /* looking finds it out too */
    CU_ASSERT(s.n == 0);
    begun_anew("cut to nothing");
    close_all();
    CU_ASSERT_EQUAL(unlink(path), 0);
    CU_ASSERT_EQUAL(unlink(aside), 0);
    CU_ASSERT_FATAL(s_open_again());
    OK(put(1, cn_wall_us(), 10, &plenty));
    s = all_since(0);
    CU_ASSERT(s.n == 1 && s.gaps == 0 && !look().aside);
}

/* Under the process that has it open. */
static void test_gone_while_open(void) {
    char path[160], other[160];
    path_of(path, "");
    path_of(other, ".elsewhere");
    refill();
    CU_ASSERT_EQUAL(rename(path, other), 0);
    OK(put(1, cn_wall_us(), 10, &plenty));
    CU_ASSERT_EQUAL(all_since(0).n, 1);
    refill();
    CU_ASSERT_EQUAL(truncate(path, 8192), 0);
    begun_anew("cut while open");
}

static void test_one_record(void) { /* its checksum fails: the others are told, and that one is */
    char path[160];
    int64_t t = cn_wall_us();
    path_of(path, "");
    for (uint32_t n = 0; n < 5; n++)
        OK(put(60000 + n, t + 100 + n, 9000, &plenty)); /* each on pages of its own */
    close_all();
    int fd = open(path, O_RDWR);
    char page[4096];
    long at = -1;
    for (long p = 0; pread(fd, page, sizeof page, p) == (ssize_t)sizeof page; p += (long)sizeof page)
        if (memmem(page, sizeof page, "word", 4) && memmem(page, sizeof page, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", 70) &&
            page[sizeof page - 1] == 'x' && page[sizeof page - 200] == 'x')
            at = p;
    CU_ASSERT_FATAL(at >= 0);
    CU_ASSERT_EQUAL(pwrite(fd, "y", 1, at + 4000), 1);
    close(fd);
    CU_ASSERT_FATAL(s_open_again());
    seen s = all_since(t + 100);
    CU_ASSERT(s.n == 4 && s.broken == 1);
}

/* The very bytes by which a record is looked for are damaged: it is told of all the same. */
static void test_word_damaged(void) {
    static const char word[] = "quercus-suber";
    CN_AUTO_BUF cn_buf b;
    char path[160];
    int64_t t = cn_wall_us();
    struct stat st;
    path_of(path, "");
    cn_buf_init(&b, 1024);
    cn_pack_map(&b, 2);
    cn_pack_cstr(&b, "n"), cn_pack_uint(&b, 1);
    cn_pack_cstr(&b, "word"), cn_pack_cstr(&b, word);
    OK(cn_trace_put(s_tenant, &(cn_trace_entry){t, id_of(61000), cn_buf_str(&b)}, 1, &plenty));
    close_all();
    int fd = open(path, O_RDWR);
    CU_ASSERT_FATAL(fd >= 0 && fstat(fd, &st) == 0);
    char *p = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), *at = p;
    CU_ASSERT_FATAL(p != MAP_FAILED);
    while ((at = memmem(at, (size_t)(p + st.st_size - at), word, sizeof word - 1)))
        at[3] ^= 1;
    munmap(p, (size_t)st.st_size);
    close(fd);
    CU_ASSERT_FATAL(s_open_again());
    seen s = {0};
    cn_trace_scan sc = {.from_us = t, .word = cn_str_of(word)};
    OK(cn_trace_each(s_tenant, &sc, see, &s));
    CU_ASSERT(s.n == 0 && s.broken == 1);
}

/* A byte here and there: whatever is found of it, records are taken and told as before, and nothing ends the process. */
static void test_any_byte(void) {
    char path[160], kept[160], command[512];
    unsigned wrong = 0, told = 0;
    path_of(path, "");
    path_of(kept, ".kept");
    cn_trace_limits all = {0, CN_TRACE_KEEP_US};
    bool more = true;
    while (more)
        OK(cn_trace_prune(s_tenant, &all, &more));
    refill();
    close_all();
    snprintf(command, sizeof command, "cp %s %s", path, kept);
    CU_ASSERT_EQUAL_FATAL(system(command), 0);
    struct stat st;
    CU_ASSERT_EQUAL(stat(path, &st), 0);
    snprintf(command, sizeof command, "cp %s %s", kept, path);
    for (long at = 0; at < st.st_size; at += 373) {
        char b;
        CU_ASSERT_EQUAL_FATAL(system(command), 0);
        int fd = open(path, O_RDWR);
        CU_ASSERT(pread(fd, &b, 1, at) == 1);
        b = (char)(b ^ (1 << at % 8));
        CU_ASSERT(pwrite(fd, &b, 1, at) == 1);
        close(fd);
        CU_ASSERT_FATAL(s_open_again());
        seen s = {0};
        cn_trace_scan sc = {0};
        cn_err e = cn_trace_each(s_tenant, &sc, see, &s);
        told += e != CN_OK || s.gaps || s.broken;
        wrong += put(70000, cn_wall_us(), 100, &plenty) != CN_OK || of_id(70000).n != 1;
        close_all();
    }
    if (wrong)
        printf("\n  %u of the places\n", wrong);
    CU_ASSERT(wrong == 0 && told > 100);
    CU_ASSERT_FATAL(s_open_again());
    unlink(kept);
}

static void test_gap(void) {
    CN_AUTO_BUF cn_buf b;
    cn_buf_init(&b, 1024);
    cn_trace_gap_pack(&b, "dropped", 17);
    int64_t t = cn_wall_us() + 1000000;
    OK(cn_trace_put(s_tenant, &(cn_trace_entry){.at_us = t, .map = cn_buf_str(&b)}, 1, &plenty));
    seen s = {0};
    cn_trace_scan sc = {.from_us = t, .word = CN_STR("no such bytes")}; /* a gap may hide what is looked for */
    OK(cn_trace_each(s_tenant, &sc, see, &s));
    CU_ASSERT(s.gaps == 1 && s.n == 0);
}

static _Atomic bool over;

static void *begin_and_end(void *arg) {
    for (int i = 0; i < 2000; i++) {
        cn_trace_run *r = NULL;
        OK(cn_trace_run_begin(arg, &r));
        cn_trace_run_end(r, true);
    }
    over = true;
    return NULL;
}

/* Each time its mark is unlinked while it may be looked at. */
static void test_one_that_ends_well_is_not_cut(void) {
    pthread_t other;
    cn_trace_run *r = NULL;
    int64_t cut = 0;
    unsigned wrong = 0;
    CU_ASSERT_EQUAL_FATAL(pthread_create(&other, NULL, begin_and_end, s_data), 0);
    while (!over) {
        OK(cn_trace_run_cut(s_data, &cut));
        wrong += cut != CN_NO_TIME;
    }
    pthread_join(other, NULL);
    CU_ASSERT_EQUAL(wrong, 0);
    OK(cn_trace_run_begin(s_data, &r));
    cn_trace_run_end(r, false);
    OK(cn_trace_run_cut(s_data, &cut));
    CU_ASSERT_NOT_EQUAL(cut, CN_NO_TIME);
}

int main(void) {
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 2;
    CU_pSuite s = CU_add_suite("request records", set_up, tear_down);
    CU_add_test(s, "nothing yet", test_nothing_yet);
    CU_add_test(s, "put and found again", test_found_again);
    CU_add_test(s, "page by page", test_paged);
    CU_add_test(s, "opened again", test_other_process);
    CU_add_test(s, "bounded in bytes", test_bytes);
    CU_add_test(s, "by the limits noted", test_limits_noted);
    CU_add_test(s, "bounded in age", test_age);
    CU_add_test(s, "a damaged file is set aside", test_damaged_file);
    CU_add_test(s, "gone or cut while it is open", test_gone_while_open);
    CU_add_test(s, "a damaged record", test_one_record);
    CU_add_test(s, "a damaged word", test_word_damaged);
    CU_add_test(s, "any byte damaged", test_any_byte);
    CU_add_test(s, "a gap is always told", test_gap);
    CU_add_test(s, "one that ends well is not cut", test_one_that_ends_well_is_not_cut);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failed != 0;
}
