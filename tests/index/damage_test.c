/* Bytes and pages of a tenant's files changed one at a time: cairn.mdb, control.mdb, work.mdb, trace.mdb, segments, versions' own
 * files, codes, cells, postings. Each question is then answered as before or with an error, never otherwise; the audit chain is
 * whole or says that it is not.
 * Arguments: the step between bytes (1: every byte), and the seed of what they are changed to. */
#include <CUnit/Basic.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/count.h"
#include "tests/index/damage_ask.h"
#include "tests/index/oracle.h"

#define TRIES 16  /* places of one of its files, which are large; in the long form all */
#define FILES 64
#define DATABASES 3 /* of them: cairn.mdb, control.mdb, work.mdb */
#define PAGE 4096
#define LARGE ((size_t)128 << 10)

static unsigned long step;
static o_rand seeded = {3};
static unsigned long answered, refused;

/* ---------- files ---------- */
typedef struct file {
    char path[4096];
    char *bytes;
    size_t n;
} file;

/* Also where it was set aside, which is forgotten. */
static void put_back(const file *f) {
    char aside[4200];
    snprintf(aside, sizeof aside, "%s.damaged", f->path);
    unlink(aside);
    FILE *o = fopen(f->path, access(f->path, F_OK) == 0 ? "r+b" : "wb");
    CU_ASSERT_FATAL(o && fwrite(f->bytes, 1, f->n, o) == f->n && fclose(o) == 0 && truncate(f->path, (off_t)f->n) == 0);
}

static void change_byte(const file *f, size_t at, char by) {
    FILE *o = fopen(f->path, "r+b");
    char c = (char)(f->bytes[at] ^ by);
    CU_ASSERT_FATAL(o && fseek(o, (long)at, SEEK_SET) == 0 && fwrite(&c, 1, 1, o) == 1 && fclose(o) == 0);
}

static bool take(file *f, const char *path) {
    FILE *in = fopen(path, "rb");
    if (!in)
        return false;
    snprintf(f->path, sizeof f->path, "%s", path);
    fseek(in, 0, SEEK_END);
    f->n = (size_t)ftell(in);
    rewind(in);
    f->bytes = malloc(f->n + 1);
    bool ok = fread(f->bytes, 1, f->n, in) == f->n;
    fclose(in);
    return ok;
}

static int all_files(file *v) {
    static const char *const names[] = {"cairn.mdb", "tenants/acme/control.mdb", "tenants/acme/work.mdb", "tenants/acme/trace.mdb"};
    char path[4096];
    int n = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/%s", s_dir, names[i]);
        n += take(&v[n], path);
    }
    snprintf(path, sizeof path, "%s/tenants/acme/segments", s_dir);
    DIR *d = opendir(path);
    for (struct dirent *e; d && (e = readdir(d)) != NULL;)
        if (e->d_name[0] != '.') {
            CU_ASSERT_FATAL(n < FILES); /* none is left out */
            snprintf(path, sizeof path, "%s/tenants/acme/segments/%s", s_dir, e->d_name);
            n += take(&v[n], path);
        }
    closedir(d);
    return n;
}

/* Between two places of a file that are tried. */
static size_t step_of(const file *f, size_t usual) {
    size_t most = f->n / TRIES / usual * usual;
    return test_long() || f->n < LARGE || most < usual ? usual : most;
}

/* ---------- one changed byte ---------- */
static void compare(const file *f, size_t at, const int *want) {
    int got[QUESTIONS];
    a_ask_all(got);
    for (int i = 0; i < QUESTIONS; i++) {
        answered += got[i] == want[i];
        refused += got[i] == REFUSED;
        if (got[i] != want[i] && got[i] != REFUSED) {
            printf("\n  %s byte %zu: question %d answers %d, not %d", strrchr(f->path, '/'), at, i, got[i], want[i]);
            CU_FAIL("a wrong answer");
        }
    }
}

static void check_chain(const file *f, size_t at, uint64_t records) {
    uint64_t n;
    cn_digest head;
    cn_err e = cn_audit_verify(s_tenant, &n, &head);
    if ((e == CN_OK && n != records) || e == CN_INTERNAL) {
        printf("\n  %s byte %zu: %llu audit records, %s", strrchr(f->path, '/'), at, (unsigned long long)n, cn_error_detail());
        CU_FAIL("the audit chain");
    }
}

/* A file is hurt: what is answered now, and then it is as it was. */
static void try_hurt(const file *f, size_t at, const int *want, uint64_t records) {
    s_data = NULL;
    s_tenant = NULL;
    if (cn_data_open(s_dir, &s_data) == CN_OK && cn_tenant_open(s_data, CN_STR("acme"), &s_tenant) == CN_OK) {
        compare(f, at, want);
        check_chain(f, at, records);
    } else {
        refused++;
    }
    if (s_tenant)
        cn_tenant_unref(s_tenant);
    if (s_data)
        cn_data_close(s_data);
    put_back(f);
}

static void try_bit(const file *f, size_t at, char bit, const int *want, uint64_t records) {
    change_byte(f, at, bit);
    try_hurt(f, at, want, records);
}

/* ---------- whole pages: a row for each way ---------- */
/* A work.mdb of no bytes is one that begins anew: what a creation leaves that was killed at once, and no policy is in it. */
static void cut_at(const file *f, size_t at) { CU_ASSERT(truncate(f->path, (off_t)(at ? at : strstr(f->path, "work.mdb") != NULL)) == 0); }
static void cut_inside(const file *f, size_t at) { CU_ASSERT(truncate(f->path, (off_t)(at + 1 + o_below(&seeded, PAGE - 1))) == 0); }

static void write_page(const file *f, size_t at, const char *bytes) {
    FILE *o = fopen(f->path, "r+b");
    CU_ASSERT_FATAL(o && fseek(o, (long)at, SEEK_SET) == 0 && fwrite(bytes, 1, PAGE, o) == PAGE && fclose(o) == 0);
}

static void zeros(const file *f, size_t at) {
    static const char none[PAGE];
    write_page(f, at, none);
}

static void noise(const file *f, size_t at) {
    char bytes[PAGE];
    for (size_t i = 0; i < PAGE; i++)
        bytes[i] = (char)o_below(&seeded, 256);
    write_page(f, at, bytes);
}

static void another_page(const file *f, size_t at) { write_page(f, at, f->bytes + (size_t)o_below(&seeded, (uint32_t)(f->n / PAGE)) * PAGE); }

static void half_a_page(const file *f, size_t at) { /* a write torn between sectors */
    char bytes[PAGE] = {0};
    memcpy(bytes, f->bytes + at, 512 * (1 + o_below(&seeded, 7)));
    write_page(f, at, bytes);
}

static const struct {
    const char *name;
    void (*hurt)(const file *f, size_t at);
} hurts[] = {{"cut", cut_at}, {"cut inside", cut_inside}, {"zeros", zeros}, {"noise", noise}, {"another page", another_page}, {"half a page", half_a_page}};

/* Copied pages may be the same: then nothing was hurt. */
static void test_every_page(void) {
    static file v[FILES];
    int want[QUESTIONS], n;
    uint64_t records;
    cn_digest head;
    a_ask_all(want);
    CU_ASSERT_EQUAL(cn_audit_verify(s_tenant, &records, &head), CN_OK);
    cn_tenant_unref(s_tenant);
    cn_data_close(s_data);
    n = all_files(v);
    for (size_t k = 0; k < sizeof hurts / sizeof *hurts; k++) {
        unsigned long before = refused;
        for (int i = 0; i < n; i++)
            for (size_t at = 0; at + PAGE <= v[i].n; at += step_of(&v[i], PAGE)) {
                hurts[k].hurt(&v[i], at);
                try_hurt(&v[i], at, want, records);
            }
        printf("\n  %s: %lu refused ", hurts[k].name, refused - before);
        CU_ASSERT(refused > before);
    }
    for (int i = 0; i < n; i++)
        free(v[i].bytes);
    CU_ASSERT_FATAL(s_open_again());
    int after[QUESTIONS];
    a_ask_all(after);
    CU_ASSERT_EQUAL(memcmp(want, after, sizeof want), 0);
}

/* Two numbers in a row after the change as before it, the second bit of one of them: half of all files have one or two such.
 * Nothing in the file tells that from the state before. */
static bool still_in_a_row(const file *f, size_t at, int bit) {
    uint64_t a, b, flipped = (uint64_t)1 << (8 * (at % 4096 - 144) + (unsigned)bit);
    memcpy(&a, f->bytes + 144, 8);
    memcpy(&b, f->bytes + 4096 + 144, 8);
    *(at < 4096 ? &a : &b) ^= flipped;
    return a + 1 == b || b + 1 == a;
}

/* The numbers of the two newest transactions, bit by bit: the older state would be a whole one, only not the last. */
static void test_transaction_numbers(void) {
    static file f;
    int want[QUESTIONS];
    char path[4096];
    uint64_t records;
    cn_digest head;
    a_ask_all(want);
    CU_ASSERT_EQUAL(cn_audit_verify(s_tenant, &records, &head), CN_OK);
    cn_tenant_unref(s_tenant);
    cn_data_close(s_data);
    snprintf(path, sizeof path, "%s/tenants/acme/control.mdb", s_dir);
    CU_ASSERT_FATAL(take(&f, path));
    unsigned hidden = 0;
    for (size_t at = 144; at < 152; at++)
        for (int i = 0; i < 16; i++) {
            size_t byte = at + (i < 8 ? 0 : 4096);
            if (still_in_a_row(&f, byte, i % 8))
                hidden++;
            else
                try_bit(&f, byte, (char)(1 << i % 8), want, records);
        }
    CU_ASSERT(hidden <= 2);
    free(f.bytes);
    CU_ASSERT_FATAL(s_open_again());
}

/* ---------- names and keys of the databases: no checksum of a record covers what it is found by ---------- */
static uint16_t u16_at(const file *f, size_t at) { return (uint16_t)((uint8_t)f->bytes[at] | (uint8_t)f->bytes[at + 1] << 8); }

/* Of an LMDB page: 8 its number, 10 flags (1 branch, 2 leaf), 12 where its slots end, 16 the slots; a pair has 6 its key's bytes, 8 the key. */
static void keys_of_page(const file *f, size_t page, const int *want, uint64_t records) {
    uint64_t number;
    memcpy(&number, f->bytes + page, sizeof number);
    if (number != page / PAGE || (u16_at(f, page + 10) & ~3))
        return;
    for (size_t slot = page + 16; slot < page + u16_at(f, page + 12) && slot < page + PAGE; slot += 2) {
        size_t pair = page + u16_at(f, slot), n = u16_at(f, pair + 6);
        for (size_t i = 0; i < n && pair + 8 + n <= page + PAGE; i++)
            for (int bit = 0; bit < 8; bit++)
                if (test_long() || o_below(&seeded, 32) == 0)
                    try_bit(f, pair + 8 + i, (char)(1 << bit), want, records);
    }
}

static void test_every_key(void) {
    static file v[FILES];
    int want[QUESTIONS];
    uint64_t records;
    cn_digest head;
    a_ask_all(want);
    CU_ASSERT_EQUAL(cn_audit_verify(s_tenant, &records, &head), CN_OK);
    cn_tenant_unref(s_tenant);
    cn_data_close(s_data);
    int n = all_files(v);
    unsigned long before = refused, asked = answered;
    for (int i = 0; i < n; i++) {
        for (size_t page = 0; i < DATABASES && page + PAGE <= v[i].n; page += PAGE)
            keys_of_page(&v[i], page, want, records);
        free(v[i].bytes);
    }
    CU_ASSERT_FATAL(s_open_again());
    printf("\n  %lu answers as before, %lu refused ", answered - asked, refused - before);
    CU_ASSERT(refused > before);
}

static void test_every_byte(void) {
    static file v[FILES];
    int want[QUESTIONS], n;
    uint64_t records;
    cn_digest head;
    a_ask_all(want);
    for (int i = 0; i < QUESTIONS; i++)
        CU_ASSERT(i < SEEN ? want[i] == 0 || want[i] == 1 : want[i] > 0 || i == REVOKED);
    CU_ASSERT_EQUAL(want[REVOKED], REFUSED);
    CU_ASSERT_EQUAL(cn_audit_verify(s_tenant, &records, &head), CN_OK);
    cn_tenant_unref(s_tenant);
    cn_data_close(s_data);
    n = all_files(v);
    CU_ASSERT(n >= 18);
    for (int i = 0; i < n; i++) {
        for (size_t at = o_below(&seeded, (uint32_t)step); at < v[i].n; at += step_of(&v[i], step))
            try_bit(&v[i], at, (char)(1u << o_below(&seeded, 8)), want, records);
        free(v[i].bytes);
    }
    CU_ASSERT_FATAL(s_open_again());
    int after[QUESTIONS];
    a_ask_all(after);
    CU_ASSERT_EQUAL(memcmp(want, after, sizeof want), 0);
    printf("\n  %d files: %lu answers as before, %lu refused ", n, answered, refused);
    CU_ASSERT(answered > 0 && refused > 0 && a_by_cells > 0);
}

int main(int argc, char **argv) {
    step = test_count(211, 13);
    if (argc > 1 && strtoul(argv[1], NULL, 10))
        step = strtoul(argv[1], NULL, 10);
    if (argc > 2)
        seeded.s = strtoul(argv[2], NULL, 10);
    if (!a_set_up() || CU_initialize_registry() != CUE_SUCCESS)
        return 2;
    CU_pSuite s = CU_add_suite("damage", NULL, NULL);
    CU_add_test(s, "numbers of transactions", test_transaction_numbers);
    CU_add_test(s, "every key", test_every_key);
    CU_add_test(s, "every byte", test_every_byte);
    CU_add_test(s, "every page", test_every_page);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures();
    CU_cleanup_registry();
    s_close();
    return failed != 0;
}
