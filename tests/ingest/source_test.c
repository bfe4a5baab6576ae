#include <CUnit/Basic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/pack.h"
#include "ingest/source/source.h"
#include "tests/ingest/parse_test.h"

static char dir[64];
static cn_arena arena;

static int set_up(void) {
    snprintf(dir, sizeof dir, "/tmp/cairn-source-XXXXXX");
    cn_arena_init(&arena, 1 << 20, (size_t)1 << 30);
    return mkdtemp(dir) == NULL;
}

static int tear_down(void) {
    char cmd[96];
    cn_arena_done(&arena);
    snprintf(cmd, sizeof cmd, "rm -rf %s", dir);
    return system(cmd);
}

static const char *put(const char *name, const void *bytes, size_t n) {
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "wb");
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    CU_ASSERT_EQUAL(fwrite(bytes, 1, n, f), n);
    fclose(f);
    return path;
}

static cn_source *open_one(const char *path, const cn_source_opts *more) {
    static const char *paths[1];
    cn_source_opts o = more ? *more : (cn_source_opts){0};
    cn_source *s = NULL;
    paths[0] = path;
    o.paths = paths;
    o.n_paths = 1;
    cn_arena_reset(&arena);
    CU_ASSERT_EQUAL_FATAL(cn_source_open(&o, &s), CN_OK);
    return s;
}

static void wants(cn_source *s, const char *say) { /* the next one is rejected, and why says so */
    cn_raw r = {0};
    CU_ASSERT_EQUAL(cn_source_next(s, &arena, &r), CN_OK);
    CU_ASSERT_EQUAL(r.err, CN_INVALID);
    if (!r.why.p || !memmem(r.why.p, r.why.n, say, strlen(say)))
        printf("\n  said: %.*s, not: %s\n", CN_STR_ARG(r.why), say);
    CU_ASSERT(r.why.p && memmem(r.why.p, r.why.n, say, strlen(say)));
}

static void rows(void) {
    static const char text[] =
        "{\"id\":\"a\",\"text\":\"h\\u00e9\\ud83d\\ude00\",\"title\":\" T\\n\",\"labels\":[\"public\"],\"meta\":{\"n\":9007199254740993,\"a\":[\"x\"]},\"modified\":\"2026-01-01\"}\n"
        "\n{\"_id\":7,\"text\":\"t\",\"vector\":[0.1,-2e0]}\r\n{\"id\":\"r\",\"labels\":[\"group:x\"]}\n{\"id\":\"d\",\"op\":\"delete\"}\n";
    cn_source *s = open_one(put("rows.jsonl", text, sizeof text - 1), NULL);
    cn_raw r = {0};
    CU_ASSERT_EQUAL(cn_source_next(s, &arena, &r), CN_OK);
    CU_ASSERT(r.err == CN_OK && cn_str_is(r.id, "a") && cn_str_is(r.bytes, "h\xc3\xa9\xf0\x9f\x98\x80") && cn_str_is(r.title, "T"));
    CU_ASSERT(r.labelled && r.labels.allow.n == 1 && r.modified == 1767225600000000);
    CU_ASSERT(cn_str_eq(r.meta, (cn_str){"\x82\xa1" "a\x91\xa1x\xa1n\xcf\x00\x20\x00\x00\x00\x00\x00\x01", 17}));
    CU_ASSERT_EQUAL(cn_source_next(s, &arena, &r), CN_OK);
    CU_ASSERT(cn_str_is(r.id, "7") && !r.labelled && r.dim == 2);
    CU_ASSERT(r.vector && r.vector[0] > 0.0999999f && r.vector[0] < 0.1000001f && r.vector[1] < -1.99f);
    CU_ASSERT_EQUAL(cn_source_next(s, &arena, &r), CN_OK);
    CU_ASSERT(r.op == CN_OP_RELABEL && r.labels.allow.n == 1);
    CU_ASSERT_EQUAL(cn_source_next(s, &arena, &r), CN_OK);
    CU_ASSERT(r.op == CN_OP_DELETE && cn_str_is(r.id, "d"));
    CU_ASSERT_EQUAL(cn_source_next(s, &arena, &r), CN_END);
    cn_source_close(s);
}

static void bad_rows(void) {
    static const struct { const char *line, *say; } bad[] = {
        {"[1]", "not a JSON object"}, {"{\"id\":\"a\"}", "no field \"text\""}, {"{\"text\":\"a\"}", "no field \"id\""}, {"{\"id\":\"a\",\"text\":\"\"}", "empty"},
        {"{\"id\":\"a\",\"text\":\"b\"", "too early"}, {"{\"id\":\"a\",\"text\":\"\xff\"}", "byte 19 (0xFF)"}, {"{\"id\":\"a\",\"text\":\"\\ud800\"}", "surrogate"},
        {"{\"id\":\"a\",\"id\":\"a\"}", "twice"}, {"{\"id\":\"a\",\"text\":1}", "field \"text\""}, {"{\"id\":\"a\",\"text\":\"b\"} x", "follows"},
        {"{\"id\":\"a\",\"text\":\"b\",\"meta\":{\"k\":{}}}", "entry 1: it is nested"}, {"{\"id\":\"a\",\"text\":\"b\",\"meta\":{\"k\":99999999999999999999}}", "64 bits"},
        {"{\"id\":\"a\",\"text\":\"b\",\"labels\":[\"no kind\"]}", "field \"labels\""}, {"{\"id\":\"a\",\"text\":\"b\",\"modified\":\"soon\"}", "not a time"},
        {"{\"id\":\"a\",\"text\":\"b\",\"vector\":[1,2]}", "has 2 numbers"}, {"{\"id\":\"a\",\"text\":\"b\",\"vector\":[1,NaN,2]}", "NaN"},
        {"{\"id\":\"a\",\"text\":\"b\",\"labels\":null}", "field \"labels\" is null"}, {"{\"id\":\"a\",\"Labels\":[\"group:x\"],\"text\":\"b\"}", "\"Labels\" looks like \"labels\""},
        {"{\"id\":\"a\",\"text\":\"b\",\"label\":\"group:x\"}", "--map labels=label;"}, {"{\"id\":\"a\",\"text\":\"b\",\"lables\":[]}", "\"lables\" looks like"},
        {"{\"id\":\"a\",\"text\":\"b\",\"acl\":{}}", "\"acl\" looks like"}, {"{\"id\":\"a\",\"text\":\"b\",\"access\":null}", "\"access\" looks like"},
        {"{\"id\":\"a\",\"text\":\"b\",\"labels\":[\"public\"],\"Deny\":[\"group:x\"]}", "looks like \"deny\""},
        {"{\"id\":\"a\",\"text\":\"b\",\"labels\":[\"public\"],\"required\":[\"group:x\"]}", "looks like \"require\""},
        {"{\"id\":\"a\",\"text\":\"b\",\"vector\":[0,0,0]}", "field \"vector\""}, {"{\"id\":\"a\",\"text\":\"b\",\"vector\":[1,1e99,2]}", "field \"vector\""}};
    cn_buf b;
    cn_buf_init(&b, 1 << 16);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        cn_buf_printf(&b, "%s\n", bad[i].line);
    const cn_source_opts o = {.dim = 3};
    cn_source *s = open_one(put("bad.jsonl", b.p, b.n), &o);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        wants(s, bad[i].say);
    cn_source_close(s);
    cn_buf_done(&b);
}

/* Fields that look like labels, of rows that have some, of numbers, of a deletion, or where --map says which is meant. */
static void fields_that_are_no_labels(void) {
    static const char text[] = "{\"id\":\"a\",\"text\":\"b\",\"access\":\"open\",\"labels\":[\"public\"]}\n{\"id\":\"b\",\"text\":\"b\",\"label\":1,\"required\":true,\"headers\":\"x\"}\n"
                               "{\"id\":\"c\",\"op\":\"delete\",\"labels\":null,\"acl\":[]}\n";
    static const char other[] = "{\"id\":\"a\",\"text\":\"b\",\"label\":\"a class\",\"acl\":\"public\"}\n";
    cn_raw r = {0};
    cn_source *s = open_one(put("no_labels.jsonl", text, sizeof text - 1), NULL);
    for (int i = 0; i < 3; i++) {
        CU_ASSERT_EQUAL(cn_source_next(s, &arena, &r), CN_OK);
        CU_ASSERT(r.err == CN_OK && r.labelled == (i == 0));
    }
    cn_source_close(s);
    for (int i = 0; i < 2; i++) {
        const cn_source_opts o = {.map = cn_str_of(i ? "labels=labels" : "labels=acl")};
        s = open_one(put("mapped.jsonl", other, sizeof other - 1), &o);
        CU_ASSERT_EQUAL(cn_source_next(s, &arena, &r), CN_OK);
        CU_ASSERT(r.err == CN_OK && r.labelled == !i);
        cn_source_close(s);
    }
}

static void misspelt_columns(void) {
    static const char text[] = "id,text,Label,access\na,b,group:x,1\nb,c,7,\nc,d,,x\n";
    cn_raw r = {0};
    cn_source *s = open_one(put("columns.csv", text, sizeof text - 1), NULL);
    wants(s, "\"Label\" looks like \"labels\"");
    wants(s, "\"access\" looks like");
    wants(s, "looks like \"labels\"");
    CU_ASSERT_EQUAL(cn_source_next(s, &arena, &r), CN_END);
    cn_source_close(s);
}

static void folder(void) {
    char path[256], cmd[512];
    snprintf(cmd, sizeof cmd, "cd %s && mkdir -p f/a f/.hid && echo 1 > f/a/x.txt && echo 2 > f/a.txt && echo 3 > f/.hid/n.txt && : > f/z.txt && ln -s /etc/passwd f/l.txt && "
                              "ln -s ../f f/loop && ln -s a.txt f/m.txt && mkfifo f/pipe && echo s > f/s.htm && echo '{\"labels\":[\"public\"]}' > f/s.htm.meta.json && "
                              "printf '{\"id\":\"g\",\"text\":\"g\"}\\n' | gzip > f/y.jsonl.gz", dir);
    CU_ASSERT_EQUAL_FATAL(system(cmd), 0);
    snprintf(path, sizeof path, "%s/f", dir);
    static const cn_str rules[] = {{"a/*=group:x", 11}};
    cn_str pub = CN_STR("public");
    const cn_source_opts o = {.label_rules = rules, .n_label_rules = 1, .labels = {&pub, 1}};
    static const struct { const char *id; bool ok; const char *label; } want[] = {
        {"a.txt", true, "public"}, {"a/x.txt", true, "group:x"}, {"l.txt", false, ""}, {"m.txt", true, "public"}, {"s.htm", true, "public"}, {"g", true, "public"}, {"z.txt", false, ""}};
    cn_source *s = open_one(path, &o);
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        cn_raw r = {0};
        CU_ASSERT_EQUAL(cn_source_next(s, &arena, &r), CN_OK);
        CU_ASSERT(cn_str_is(r.id, want[i].id) && (r.err == CN_OK) == want[i].ok);
        CU_ASSERT(want[i].ok || !r.why.n || !memmem(r.why.p, r.why.n, "passwd", 6)); /* where a link leads is not told */
        CU_ASSERT(!want[i].ok || (r.labels.allow.n == 1 && cn_str_is(r.labels.allow.v[0], want[i].label)));
    }
    cn_raw r;
    CU_ASSERT_EQUAL(cn_source_next(s, &arena, &r), CN_END);
    cn_source_close(s);
}

/* What goes while a folder is read is passed over; all else of it still comes. A file named by itself must be there. */
static void things_that_go(void) {
    char path[256], cmd[512];
    snprintf(cmd, sizeof cmd, "cd %s && mkdir -p g/b g/c/d && echo 1 > g/a.txt && echo 2 > g/b/x.txt && echo 3 > g/c/d/y.txt && echo 4 > g/e.txt && echo 5 > g/f.txt", dir);
    CU_ASSERT_EQUAL_FATAL(system(cmd), 0);
    snprintf(path, sizeof path, "%s/g", dir);
    cn_source *s = open_one(path, NULL);
    cn_raw r = {0};
    CU_ASSERT_EQUAL(cn_source_next(s, &arena, &r), CN_OK);
    CU_ASSERT(cn_str_is(r.id, "a.txt"));
    snprintf(cmd, sizeof cmd, "cd %s/g && rm -r b c e.txt", dir);
    CU_ASSERT_EQUAL_FATAL(system(cmd), 0);
    CU_ASSERT_EQUAL(cn_source_next(s, &arena, &r), CN_OK);
    CU_ASSERT(cn_str_is(r.id, "f.txt") && r.err == CN_OK);
    CU_ASSERT_EQUAL(cn_source_next(s, &arena, &r), CN_END);
    cn_source_close(s);
    s = open_one(put("one.txt", "1", 1), NULL);
    CU_ASSERT_EQUAL(unlink(put("one.txt", "1", 1)), 0);
    CU_ASSERT_EQUAL(cn_source_next(s, &arena, &r), CN_NOT_FOUND);
    cn_source_close(s);
}

static void ready_vectors(void) {
    char npy[128 + 24] = "\x93NUMPY\x01\x00\x76\x00{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }";
    const float v[6] = {1, 2, 3, 4, 5, 6};
    memcpy(npy + 128, v, sizeof v);
    npy[127] = '\n';
    cn_raw r = {0};
    cn_source *s = open_one(put("v.npy", npy, sizeof npy), NULL);
    CU_ASSERT_EQUAL(cn_source_next(s, &arena, &r), CN_OK);
    CU_ASSERT_EQUAL(cn_source_next(s, &arena, &r), CN_OK);
    CU_ASSERT(cn_str_is(r.id, "1") && r.dim == 3 && r.vector && memcmp(r.vector, v + 3, 12) == 0);
    CU_ASSERT_EQUAL(cn_source_next(s, &arena, &r), CN_END);
    cn_source_close(s);
    s = open_one(put("cut.npy", npy, sizeof npy - 4), NULL);
    CU_ASSERT_EQUAL(cn_source_next(s, &arena, &r), CN_OK);
    CU_ASSERT_EQUAL(cn_source_next(s, &arena, &r), CN_INVALID);
    cn_source_close(s);
}

void add_source_tests(void) {
    CU_pSuite s = CU_add_suite("sources", set_up, tear_down);
    CU_add_test(s, "rows of JSON", rows);
    CU_add_test(s, "rows that are wrong", bad_rows);
    CU_add_test(s, "fields that are no labels", fields_that_are_no_labels);
    CU_add_test(s, "misspelt columns", misspelt_columns);
    CU_add_test(s, "a folder", folder);
    CU_add_test(s, "things that go", things_that_go);
    CU_add_test(s, "ready vectors", ready_vectors);
}
