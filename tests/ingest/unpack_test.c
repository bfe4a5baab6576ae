/* Unpacking in a locked-in process: members, what breaks off, one process for one input after the other. */
#include <CUnit/Basic.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "ingest/parse/unpack.h"
#include "tests/ingest/parse_test.h"

#define MANY ((size_t)3 << 20)

static cn_unpacker *unpacker;
static FILE *file;

static int set_up(void) {
    setenv("CAIRN_PARSE_SECONDS", "1", 1);
    file = tmpfile();
    return !file || cn_unpacker_new(&unpacker) != CN_OK;
}

static int tear_down(void) {
    cn_unpacker_free(unpacker);
    unsetenv("CAIRN_PARSE_SECONDS");
    return fclose(file);
}

static size_t pack(const char *p, size_t n, char *ret, size_t room) {
    z_stream z = {0};
    union { const char *c; Bytef *b; } in = {.c = p};
    CU_ASSERT_EQUAL_FATAL(deflateInit2(&z, 1, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = in.b;
    z.avail_in = (uInt)n;
    z.next_out = (Bytef *)ret;
    z.avail_out = (uInt)room;
    CU_ASSERT_EQUAL(deflate(&z, Z_FINISH), Z_STREAM_END);
    deflateEnd(&z);
    return room - z.avail_out;
}

static void begin(const char *p, size_t n) {
    rewind(file);
    CU_ASSERT(ftruncate(fileno(file), 0) == 0 && pwrite(fileno(file), p, n, 0) == (ssize_t)n);
    CU_ASSERT_EQUAL(lseek(fileno(file), 0, SEEK_SET), 0);
    CU_ASSERT_EQUAL_FATAL(cn_unpack_begin(unpacker, fileno(file), CN_PACK_GZ), CN_OK);
}

/* Reads to the end or the error; the bytes that came. */
static size_t drain(char *to, size_t room, cn_err *ret, bool *ret_cut) {
    size_t n = 0, got = 1;
    cn_err e = CN_OK;
    *ret_cut = false;
    while (got && e == CN_OK && n < room) {
        e = cn_unpack_read(unpacker, to + n, room - n, &got, ret_cut);
        n += e == CN_OK ? got : 0;
    }
    *ret = e;
    return n;
}

static char text[MANY], packed[MANY + 4096], back[MANY + 64];

static void fill_text(void) {
    uint64_t x = 88172645463325252u;
    for (size_t i = 0; i < MANY; i++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        text[i] = (char)('a' + x % 26);
    }
}

static void members(void) {
    cn_err e;
    bool cut;
    fill_text();
    size_t n = pack(text, 1000, packed, sizeof packed);
    n += pack(text + 1000, MANY - 1000, packed + n, sizeof packed - n);
    memcpy(packed + n, "\0\0tail", 6);
    for (int twice = 0; twice < 2; twice++) { /* by the same process */
        begin(packed, n + 6);
        CU_ASSERT_EQUAL(drain(back, sizeof back, &e, &cut), MANY);
        CU_ASSERT(e == CN_OK && !cut && memcmp(back, text, MANY) == 0);
        CU_ASSERT_EQUAL(cn_unpack_taken(unpacker), n + 6);
    }
}

static void breaks(void) {
    cn_err e;
    bool cut;
    size_t n = pack(text, MANY, packed, sizeof packed), got;
    begin(packed, n / 2);
    got = drain(back, sizeof back, &e, &cut);
    CU_ASSERT(e == CN_INVALID && cut && got > MANY / 3 && memcmp(back, text, got) == 0);
    begin(packed, 5); /* inside the first member's head */
    CU_ASSERT(drain(back, sizeof back, &e, &cut) == 0 && e == CN_INVALID && cut);
    packed[n - 6] ^= 1;
    begin(packed, n);
    CU_ASSERT_EQUAL(drain(back, sizeof back, &e, &cut), MANY);
    CU_ASSERT(e == CN_INVALID && !cut && strstr(cn_error_detail(), "checksum does not hold"));
    static const char *const none[] = {"", "x", "words", "\x1f"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        begin(none[i], strlen(none[i]));
        CU_ASSERT(drain(back, sizeof back, &e, &cut) == 0 && e == CN_INVALID && !cut && strstr(cn_error_detail(), "rename"));
    }
}

/* An input that is left half read is not met again by the next one. */
static void left(void) {
    cn_err e;
    bool cut;
    size_t n = pack(text, MANY, packed, sizeof packed), got;
    begin(packed, n);
    CU_ASSERT_EQUAL(cn_unpack_read(unpacker, back, 100, &got, &cut), CN_OK);
    n = pack(text + 7, 300, packed, sizeof packed);
    begin(packed, n);
    CU_ASSERT_EQUAL(drain(back, sizeof back, &e, &cut), 300);
    CU_ASSERT(e == CN_OK && memcmp(back, text + 7, 300) == 0);
}

/* One that died between inputs costs none of them; one that hangs costs the input it hangs at. */
static void lost(void) {
    char path[64];
    long pid = 0;
    size_t n = pack(text, 300, packed, sizeof packed);
    cn_err e;
    bool cut;
    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)gettid());
    for (int hang = 0; hang < 2; hang++) {
        FILE *f = fopen(path, "r");
        CU_ASSERT_PTR_NOT_NULL_FATAL(f);
        CU_ASSERT_EQUAL(fscanf(f, "%ld", &pid), 1);
        fclose(f);
        CU_ASSERT_EQUAL(kill((pid_t)pid, hang ? SIGSTOP : SIGKILL), 0);
        usleep(50000);
        begin(packed, n);
        CU_ASSERT_EQUAL(drain(back, sizeof back, &e, &cut), hang ? 0 : 300);
        CU_ASSERT(hang ? e == CN_INVALID && strstr(cn_error_detail(), "unpacking it takes over 1 s") : e == CN_OK);
    }
    begin(packed, n);
    CU_ASSERT(drain(back, sizeof back, &e, &cut) == 300 && e == CN_OK);
}

void add_unpack_tests(void) {
    CU_pSuite s = CU_add_suite("unpacking", set_up, tear_down);
    CU_add_test(s, "members", members);
    CU_add_test(s, "what breaks off", breaks);
    CU_add_test(s, "left half read", left);
    CU_add_test(s, "a process that dies or hangs", lost);
}
