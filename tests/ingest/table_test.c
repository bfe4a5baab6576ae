/* Sources that tests/ingest/source_test.c leaves: CSV, front matter, sidecars, globs, numbers of .npy files. */
#include <CUnit/Basic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/base/pack.h"
#include "ingest/source/source.h"
#include "tests/ingest/parse_test.h"

static char dir[64];
static cn_arena arena;

static int set_up(void) {
    snprintf(dir, sizeof dir, "/tmp/cairn-table-XXXXXX");
    cn_arena_init(&arena, 1 << 20, (size_t)1 << 30);
    return mkdtemp(dir) == NULL;
}

static int tear_down(void) {
    char cmd[96];
    cn_arena_done(&arena);
    snprintf(cmd, sizeof cmd, "rm -rf %s", dir);
    return system(cmd);
}

static const char *put(const char *name, const char *bytes, size_t n) {
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "wb");
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    CU_ASSERT_EQUAL(fwrite(bytes, 1, n, f), n);
    fclose(f);
    return path;
}
#define PUT(name, text) put(name, text, sizeof(text) - 1)

static cn_err try_open(const char *path, cn_source_opts o, cn_source **ret) {
    static const char *paths[1];
    paths[0] = path;
    o.paths = paths;
    o.n_paths = 1;
    cn_arena_reset(&arena);
    return cn_source_open(&o, ret);
}

static cn_source *open_one(const char *path, cn_source_opts o) {
    cn_source *s = NULL;
    CU_ASSERT_EQUAL_FATAL(try_open(path, o, &s), CN_OK);
    return s;
}

static cn_raw next(cn_source *s) {
    cn_raw r = {0};
    CU_ASSERT_EQUAL(cn_source_next(s, &arena, &r), CN_OK);
    return r;
}

static bool said(cn_str why, const char *what) {
    bool yes = why.p && memmem(why.p, why.n, what, strlen(what));
    if (!yes)
        printf("\n  said: %.*s, not: %s\n", CN_STR_ARG(why), what);
    return yes;
}

static void ends(cn_source *s) {
    cn_raw r;
    CU_ASSERT_EQUAL(cn_source_next(s, &arena, &r), CN_END);
    cn_source_close(s);
}

static uint64_t number(cn_str meta, const char *key) {
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    uint64_t v = UINT64_MAX;
    CU_ASSERT_EQUAL(cn_unpack(&u, meta.p, meta.n), CN_OK);
    cn_get_uint(&u.o, key, 0, UINT64_MAX, &v);
    return v;
}

static bool text_of(cn_str meta, const char *key, const char *want) {
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    cn_str s = {NULL, 0};
    return cn_unpack(&u, meta.p, meta.n) == CN_OK && cn_get_str(&u.o, key, &s) == CN_OK && cn_str_is(s, want);
}

static void table(void) {
    cn_source *s = open_one(PUT("t.csv", "\xef\xbb\xbfid,text,labels,year,meta.zip,meta\r\n"
        "a,\"one, \"\"two\"\"\r\nthree\",\"public, group:x\",2021,007,\"{\"\"k\"\":\"\"v\"\"}\"\r\n\r\nb,x 5\" pipe,,1.5,,\n"), (cn_source_opts){0});
    cn_raw r = next(s);
    CU_ASSERT(r.err == CN_OK && cn_str_is(r.id, "a") && cn_str_is(r.bytes, "one, \"two\"\nthree") && r.labels.allow.n == 2);
    CU_ASSERT(said(r.where, "t.csv:2") && number(r.meta, "year") == 2021 && text_of(r.meta, "zip", "007") && text_of(r.meta, "k", "v"));
    r = next(s);
    CU_ASSERT(r.err == CN_OK && cn_str_is(r.id, "b") && cn_str_is(r.bytes, "x 5\" pipe") && r.labelled && r.labels.allow.n == 0);
    CU_ASSERT(said(r.where, "t.csv:5"));
    ends(s);
    s = open_one(PUT("u.tsv", "key\tbody\tvec\n1\ttext, one\t[1, 2]\n"), (cn_source_opts){.map = CN_STR("id=key,text=body,vector=vec")});
    r = next(s);
    CU_ASSERT(r.err == CN_OK && cn_str_is(r.bytes, "text, one") && r.dim == 2);
    ends(s);
    s = open_one(PUT("v.csv", "id;text\n1;a,b\n"), (cn_source_opts){0});
    CU_ASSERT(cn_str_is(next(s).bytes, "a,b"));
    ends(s);
}

static void bad_tables(void) {
    static const struct { const char *text, *say; } whole[] = {
        {"", "empty"}, {"text\nx\n", "no column \"id\""}, {"id,x\n1,2\n", "no column \"text\""}, {"id,,text\n", "column 2 has no name"},
        {"id,text,id\n", "\"id\" stands there twice"}, {"\xff\xfei\0", "UTF-16"}};
    static const char rows[] = "id,text,vector,labels\n1,ok,,\n2,a\n3,a,,,\n4,\"a\"b,,\n5,\xff,,\n6,,,\n7,a,[NaN],\n8,a,,bad label\n\n9,\"never closed\n10,a,,\n";
    static const char *const say[] = {NULL, "has 2 cells; the header names 4", "has 5 cells", "closing quote", "not UTF-8", "text is empty", "NaN", "field \"labels\""};
    cn_raw r;
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++) {
        cn_source *s = open_one(put("w.csv", whole[i].text, strlen(whole[i].text)), (cn_source_opts){0});
        CU_ASSERT_EQUAL(cn_source_next(s, &arena, &r), CN_INVALID);
        CU_ASSERT(said(cn_str_of(cn_error_detail()), whole[i].say));
        cn_source_close(s);
    }
    cn_source *s = open_one(PUT("r.csv", rows), (cn_source_opts){0});
    for (size_t i = 0; i < sizeof say / sizeof *say; i++) {
        r = next(s);
        CU_ASSERT(say[i] ? r.err == CN_INVALID && said(r.why, say[i]) : r.err == CN_OK);
    }
    CU_ASSERT_EQUAL(cn_source_next(s, &arena, &r), CN_INVALID); /* rows were lost: the job must not end as if all was read */
    CU_ASSERT(said(cn_str_of(cn_error_detail()), "r.csv:11: a quote in this record is not closed"));
    cn_source_close(s);
}

static void authors(void) {
    static const char md[] = "---\ntitle: \"A: b\"\nlabels: [group:x, 'user:y']\ndeny:\n  - group:z\n# note\nyear: 2020 # when\nversion: \"1.0\"\ntags: [a, b]\nbody: |\n  deep: x\nmodified: 2026-01-01\n---\n# H\n\ntext\n";
    const unsigned both = CN_TRUST_FRONT_MATTER | CN_TRUST_SIDECAR;
    cn_str pub = CN_STR("public");
    const cn_labels fall = {&pub, 1};
    cn_source *s = open_one(PUT("a.md", md), (cn_source_opts){.trust = CN_TRUST_FRONT_MATTER, .labels = fall});
    cn_raw r = next(s);
    CU_ASSERT(r.err == CN_OK && cn_str_is(r.title, "A: b") && r.labels.allow.n == 2 && r.labels.deny.n == 1 && cn_str_is(r.labels.deny.v[0], "group:z"));
    CU_ASSERT(number(r.meta, "year") == 2020 && text_of(r.meta, "version", "1.0") && !text_of(r.meta, "deep", "x") && r.modified == 1767225600000000);
    ends(s);
    s = open_one(PUT("a.md", md), (cn_source_opts){.labels = fall});
    r = next(s);
    CU_ASSERT(r.title.n == 0 && r.labels.allow.n == 1 && cn_str_is(r.labels.allow.v[0], "public") && r.labels.deny.n == 0 && r.meta.n == 0);
    ends(s);
    PUT("a.md.meta.json", "{\"labels\":[\"group:side\"],\"meta\":{\"year\":1}}");
    s = open_one(PUT("a.md", md), (cn_source_opts){.trust = both, .labels = fall});
    r = next(s);
    CU_ASSERT(r.labels.allow.n == 1 && cn_str_is(r.labels.allow.v[0], "group:side") && number(r.meta, "year") == 1);
    ends(s);
    PUT("a.md.meta.json", "{\"labels\":[\"no kind\"]}");
    s = open_one(PUT("a.md", md), (cn_source_opts){.trust = both, .labels = fall});
    CU_ASSERT(said(next(s).why, "sidecar"));
    ends(s);
    s = open_one(PUT("b.md", "---\nx: 1\nlabels: [oops\n---\ntext"), (cn_source_opts){.trust = CN_TRUST_FRONT_MATTER});
    CU_ASSERT(said(next(s).why, "its front matter: line 3, \"labels\""));
    ends(s);
}

/* The reason is kept as long as its job is listed; the document may be erased. */
static void reasons_hold_nothing_of_a_row(void) {
    static const char *const rows[][2] = {
        {"{\"id\": \"a\", \"text\": \"x\", \"labels\": [\"public\", \"heliotrope\"]}", "field \"labels\": number 2 of the list: a label has no kind"},
        {"{\"id\": \"a\", \"text\": \"x\", \"labels\": [\"A heliotrope:x\"]}", "field \"labels\": a label has a kind with other characters"},
        {"{\"id\": \"a\", \"text\": \"x\", \"labels\": [\"group:a heliotrope\"]}", "field \"labels\": a label has a space, comma or control character at byte 7"},
        {"{\"id\": \"a\", \"text\": \"x\", \"labels\": \"public,,heliotrope:x\"}", "field \"labels\""},
        {"{\"id\": \"a\", \"text\": \"x\", \"meta\": {\"b\": null, \"heliotrope\": {}}}", "field \"meta\": entry 2: it is nested"},
        {"{\"id\": \"a\", \"text\": \"x\", \"meta\": {\"heliotrope\": 1, \"heliotrope\": 2}}", "a key of metadata stands there twice"},
        {"{\"id\": \"a\", \"text\": \"x\", \"heliotrope\": }", "not JSON at byte"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cn_source *s = open_one(put("held.jsonl", rows[i][0], strlen(rows[i][0])), (cn_source_opts){0});
        cn_str why = next(s).why;
        CU_ASSERT(said(why, rows[i][1]) && !memmem(why.p, why.n, "heliotrope", 10));
        ends(s);
    }
    cn_source *s = open_one(PUT("held.md", "---\nheliotrope: [a\n---\ntext"), (cn_source_opts){.trust = CN_TRUST_FRONT_MATTER});
    cn_str why = next(s).why;
    CU_ASSERT(said(why, "its front matter: line 2: its list [") && !memmem(why.p, why.n, "heliotrope", 10));
    ends(s);
}

static void globs(void) {
    char cmd[512], path[128];
    snprintf(cmd, sizeof cmd, "cd %s && mkdir -p g/a/b && for f in g/x.html g/a/y.html g/a/b/z.html g/a/n.txt; do echo text > $f; done; "
                              "echo css > g/s.css; printf 'GIF8\\000' > g/pic; : > g/a/e.txt", dir);
    CU_ASSERT_EQUAL_FATAL(system(cmd), 0);
    snprintf(path, sizeof path, "%s/g/**/*.html", dir);
    cn_source *s = open_one(path, (cn_source_opts){0}), *none = NULL;
    static const char *const want[] = {"a/b/z.html", "a/y.html", "x.html"};
    for (size_t i = 0; i < 3; i++)
        CU_ASSERT(cn_str_is(next(s).id, want[i]));
    ends(s);
    snprintf(path, sizeof path, "%s/g/*.pdf", dir);
    CU_ASSERT_EQUAL(try_open(path, (cn_source_opts){0}, &none), CN_NOT_FOUND);
    snprintf(path, sizeof path, "%s/g", dir);
    s = open_one(path, (cn_source_opts){0});
    static const struct { const char *id; bool ok, skipped; } all[] = {{"a/b/z.html", true, false}, {"a/e.txt", false, false}, {"a/n.txt", true, false},
        {"a/y.html", true, false}, {"pic", false, true}, {"s.css", false, true}, {"x.html", true, false}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        cn_raw r = next(s);
        CU_ASSERT(cn_str_is(r.id, all[i].id) && (r.err == CN_OK) == all[i].ok && r.skipped == all[i].skipped);
    }
    ends(s);
    snprintf(path, sizeof path, "%s/g/s.css", dir);
    s = open_one(path, (cn_source_opts){0});
    cn_raw r = next(s);
    CU_ASSERT(r.err == CN_INVALID && !r.skipped && said(r.why, "--format"));
    ends(s);
}

static cn_source *open_npy(const char *descr, const char *body, size_t n) {
    char file[256] = "\x93NUMPY\x01\x00\x76\x00";
    snprintf(file + 10, 118, "{'descr': '%s', 'fortran_order': False, 'shape': (1, 2), }", descr);
    memcpy(file + 128, body, n);
    return open_one(put("n.npy", file, 128 + n), (cn_source_opts){.metric = CN_IP});
}

static void numbers(void) {
    static const struct { const char *descr, *bytes; size_t n; float want[2]; } good[] = {
        {"<f2", "\x00\x3c\x01\x80", 4, {1, -0x1p-24f}}, {">f2", "\x3c\x00\xc0\x00", 4, {1, -2}}, {">f4", "\x3f\x80\0\0\xc0\0\0\0", 8, {1, -2}},
        {">f8", "\x3f\xf0\0\0\0\0\0\0\xc0\0\0\0\0\0\0\0", 16, {1, -2}}, {"<f8", "\0\0\0\0\0\0\xf0\x3f\0\0\0\0\0\0\0\xc0", 16, {1, -2}}};
    cn_raw r;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        cn_source *s = open_npy(good[i].descr, good[i].bytes, good[i].n);
        r = next(s);
        CU_ASSERT(r.dim == 2 && r.vector && memcmp(r.vector, good[i].want, 8) == 0);
        ends(s);
    }
    static const char *const bad[] = {"<i4", "|u1", "<f16", "<c8"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cn_source *s = open_npy(bad[i], "12345678", 8);
        CU_ASSERT_EQUAL(cn_source_next(s, &arena, &r), CN_INVALID);
        CU_ASSERT(said(cn_str_of(cn_error_detail()), "astype"));
        cn_source_close(s);
    }
    cn_source *s = open_npy("<f2", "\x00\x7c\x00\x3c", 4);
    CU_ASSERT_EQUAL(next(s).err, CN_INVALID); /* infinity */
    ends(s);
}

void add_table_tests(void) {
    CU_pSuite s = CU_add_suite("tables, authors, globs", set_up, tear_down);
    CU_add_test(s, "CSV", table);
    CU_add_test(s, "CSV that is wrong", bad_tables);
    CU_add_test(s, "front matter and sidecars", authors);
    CU_add_test(s, "reasons hold nothing of a row", reasons_hold_nothing_of_a_row);
    CU_add_test(s, "globs and files that are no documents", globs);
    CU_add_test(s, "numbers of .npy files", numbers);
}
