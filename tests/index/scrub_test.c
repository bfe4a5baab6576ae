/* The background's reading of files: each file once, what `cairn scrub` finds it finds, it stops where it is told to, and
 * what it finds in a file that is open is refused from then on. */
#include <CUnit/CUnit.h>
#include <stdio.h>
#include <unistd.h>

#include "index/catalog/check.h"
#include "index/catalog/scrub.h"
#include "tests/index/small.h"
#include "tests/index/suites.h"

#define OK(x) CU_ASSERT_EQUAL(x, CN_OK)
#define IS(x, code) CU_ASSERT_EQUAL(x, code)
#define STEP 61 /* bytes between those that are changed */

static const s_row one[] = {{"a", "first", "public", "", ""}, {"b", "second", "group:x", "", ""}}, two[] = {{"c", "third", "public", "", ""}};

static int set_up(void) {
    if (!s_open())
        return 1;
    s_index("m");
    return s_seal("m", one, 2, NULL) == 1 && s_activate("m", 1) == CN_OK && s_seal("m", two, 1, "a") == 2 ? 0 : 1;
}

static int tear_down(void) {
    s_close();
    return 0;
}

typedef struct paced {
    uint64_t bytes, pieces, most;
} paced;

static bool pace(void *ctx, uint64_t n) {
    paced *p = ctx;
    if (p->pieces == p->most)
        return false;
    p->bytes += n;
    p->pieces++;
    return true;
}

static cn_err read_one(const cn_scrub_file *f, paced *p, bool *ret_all) {
    const char *kind;
    return cn_scrub_one(s_tenant, f, pace, p, ret_all, &kind);
}

static cn_scrub_file *list(uint32_t *ret_n) {
    cn_scrub_file *v = NULL;
    *ret_n = 0;
    OK(cn_scrub_list(s_tenant, &s_arena, &v, ret_n));
    return v;
}

static cn_err read_each(void) {
    CN_CATALOG_ARENA(a);
    uint32_t n = 0;
    cn_scrub_file *v = NULL;
    cn_err err = CN_OK;
    bool all;
    OK(cn_scrub_list(s_tenant, &a, &v, &n));
    for (uint32_t i = 0; i < n && err == CN_OK; i++)
        err = read_one(&v[i], &(paced){.most = UINT64_MAX}, &all);
    return err;
}

static const cn_scrub_file *largest(void) {
    uint32_t n, at = 0;
    cn_scrub_file *v = list(&n);
    uint64_t most = 0;
    for (uint32_t i = 0; i < n; i++) {
        paced p = {.most = UINT64_MAX};
        bool all;
        OK(read_one(&v[i], &p, &all));
        if (p.bytes > most)
            most = p.bytes, at = i;
    }
    return &v[at];
}

static void each_file_once(void) {
    cn_version v[3];
    uint32_t n, want = 0;
    cn_scrub_file *f = list(&n);
    OK(cn_version_get(s_tenant, CN_STR("m"), 1, &s_arena, &v[1]));
    OK(cn_version_get(s_tenant, CN_STR("m"), 2, &s_arena, &v[2]));
    for (int k = 1; k <= 2; k++)
        want += v[k].n_parts + (k == 1 || memcmp(&v[1].own, &v[2].own, sizeof v[1].own) != 0);
    want -= v[1].n_parts; /* version 2 names them too */
    CU_ASSERT_EQUAL(n, want);
    for (uint32_t i = 0; i < n; i++) {
        paced p = {.most = UINT64_MAX};
        bool all = false;
        OK(read_one(&f[i], &p, &all));
        CU_ASSERT_TRUE(all && p.bytes > 0 && cn_str_is(f[i].index, "m"));
        bool of_first = memcmp(&f[i].part.id, &v[1].own, sizeof v[1].own) == 0;
        for (uint32_t k = 0; k < v[1].n_parts; k++)
            of_first |= memcmp(&f[i].part.id, &v[1].parts[k].id, sizeof f[i].part.id) == 0;
        CU_ASSERT_EQUAL(f[i].version, of_first ? 1 : 2); /* the active one before a newer one */
        CU_ASSERT_EQUAL(f[i].active, of_first);
    }
}

static void it_stops(void) {
    const cn_scrub_file *f = largest();
    paced whole = {.most = UINT64_MAX};
    bool all;
    OK(read_one(f, &whole, &all));
    CU_ASSERT_TRUE(all);
    for (uint64_t most = 0; most < whole.pieces; most++) {
        paced p = {.most = most};
        OK(read_one(f, &p, &all));
        CU_ASSERT_FALSE(all);
        CU_ASSERT_EQUAL(p.pieces, most);
    }
}

static void change(const char *path, long at, int by) {
    FILE *f = fopen(path, "r+b");
    CU_ASSERT_FATAL(f && fseek(f, at, SEEK_SET) == 0);
    int c = fgetc(f);
    CU_ASSERT_FATAL(fseek(f, at, SEEK_SET) == 0 && fputc(c ^ by, f) != EOF && fclose(f) == 0);
}

static cn_err check_all(void) {
    CN_CATALOG_ARENA(a);
    cn_err err = CN_OK;
    for (uint64_t n = 1; n <= 2 && err == CN_OK; n++) {
        cn_version v;
        OK(cn_version_get(s_tenant, CN_STR("m"), n, &a, &v));
        err = cn_version_check(s_tenant, &v);
    }
    return err;
}

/* Nothing is open meanwhile, so that the check verifies anew, too. */
static void what_the_check_finds(void) {
    char path[4096];
    uint32_t n;
    unsigned long found = 0, both = 0;
    cn_scrub_file *v = list(&n);
    for (uint32_t i = 0; i < n; i++) {
        s_segment_path(&v[i].part.id, path);
        FILE *f = fopen(path, "rb");
        CU_ASSERT_FATAL(f && fseek(f, 0, SEEK_END) == 0);
        long size = ftell(f);
        fclose(f);
        for (long at = 0; at < size; at += STEP) {
            change(path, at, 0x10);
            cn_err checked = check_all(), read = read_each();
            found += read == CN_DAMAGED;
            both += read == CN_DAMAGED && checked != CN_OK;
            CU_ASSERT_TRUE(checked == CN_OK || read != CN_OK);
            change(path, at, 0x10);
        }
    }
    CU_ASSERT_TRUE(found > 0 && both > 0);
    printf(" %lu of them found ", found);
    OK(read_each());
    OK(check_all());
}

static void a_file_that_is_gone(void) {
    char path[4096], aside[4110];
    bool all;
    const cn_scrub_file *f = largest();
    s_segment_path(&f->part.id, path);
    snprintf(aside, sizeof aside, "%s.aside", path);
    CU_ASSERT_FATAL(rename(path, aside) == 0);
    IS(read_one(f, &(paced){.most = UINT64_MAX}, &all), CN_DAMAGED);
    CU_ASSERT_FATAL(rename(aside, path) == 0);
    OK(read_one(f, &(paced){.most = UINT64_MAX}, &all));
}

static long payload_of(const char *path, const char *text) {
    static char bytes[1 << 20];
    FILE *f = fopen(path, "rb");
    CU_ASSERT_FATAL(f != NULL);
    size_t n = fread(bytes, 1, sizeof bytes, f);
    fclose(f);
    char *p = memmem(bytes, n, text, strlen(text));
    return p ? p - bytes : -1;
}

static void what_is_open_is_refused(void) {
    char path[4096];
    uint32_t n;
    cn_scrub_file *v = list(&n);
    CU_ASSERT_EQUAL(s_sees("m", 0, "group:x", "b"), 1); /* verified, and the view stays */
    long at = -1;
    for (uint32_t i = 0; i < n && at < 0; i++) {
        s_segment_path(&v[i].part.id, path);
        at = payload_of(path, "second");
    }
    CU_ASSERT_FATAL(at >= 0);
    change(path, at, 1);
    IS(read_each(), CN_DAMAGED);
    CU_ASSERT_PTR_NOT_NULL(strstr(cn_error_detail(), path));
    CU_ASSERT_EQUAL(s_sees("m", 0, "group:x", "b"), -2);
    change(path, at, 1);
    OK(read_each());
    cn_tenant_unref(s_tenant);
    cn_data_close(s_data);
    CU_ASSERT_FATAL(s_open_again());
    CU_ASSERT_EQUAL(s_sees("m", 0, "group:x", "b"), 1);
}

/* A list that is older than a drop: the file is gone, or nobody's. */
static void what_no_version_names_is_no_damage(void) {
    char path[4096];
    uint32_t n, gone = 0;
    bool all;
    cn_scrub_file *v = list(&n);
    OK(cn_version_drop(s_tenant, CN_STR("m"), 2, &s_why));
    for (uint32_t i = 0; i < n; i++)
        if (v[i].version == 2) {
            s_segment_path(&v[i].part.id, path);
            CU_ASSERT_FATAL(unlink(path) == 0);
            OK(read_one(&v[i], &(paced){.most = UINT64_MAX}, &all));
            gone++;
        }
    CU_ASSERT_TRUE(gone > 0);
    OK(read_each());
}

void add_scrub_suite(void) {
    CU_pSuite s = CU_add_suite("scrub", set_up, tear_down);
    CU_add_test(s, "each file once", each_file_once);
    CU_add_test(s, "it stops where it is told to", it_stops);
    CU_add_test(s, "what the check finds, it finds", what_the_check_finds);
    CU_add_test(s, "a file that is gone", a_file_that_is_gone);
    CU_add_test(s, "what is open is refused", what_is_open_is_refused);
    CU_add_test(s, "what no version names is no damage", what_no_version_names_is_no_damage);
}
