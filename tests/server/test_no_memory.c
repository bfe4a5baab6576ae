/* Each allocation of each method fails once: OVERLOADED or success, never a crash, and what the method changes is done or not
 * done, whole; a query asked next answers. A row of `rows` for each method; the last allocation of one is known by its passing. */
#include <CUnit/Basic.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/mem.h"
#include "tests/server/fixture.h"

static fixture f;
static unsigned long failed, fine;

typedef struct row {
    const char *method, *params; /* %u: a number that grows */
    const char *undo, *undo_method; /* parameters, on the same number, and method; NULL: none is needed */
} row;

/* In place of a method to undo with: acme/puts is made anew, with one document. Else its segments become more with each try. */
#define ANEW "{\"tenant\":\"acme\",\"index\":\"puts\",\"activate\":true,\"documents\":[{\"id\":\"q\",\"text\":\"new\",\"labels\":[\"public\"],\"vector\":[1,2]}]}", "anew"

static const row rows[] = {
    {"query", "{\"tenant\":\"acme\",\"index\":\"docs\",\"vector\":[1,0,%u,0],\"labels\":[\"group:n%u\",\"public\"],\"filter\":{\"field\":\"lang\",\"in\":[\"en\",\"de\"]}}", NULL, NULL},
    {"query_batch", "{\"tenant\":\"acme\",\"index\":\"docs\",\"queries\":[{\"vector\":[1,0,%u,0]},{\"vector\":[1,0,0,0],\"as\":\"user:ana\"}]}", NULL, NULL},
    {"fetch", "{\"tenant\":\"acme\",\"index\":\"docs\",\"doc\":\"d0\",\"labels\":[\"public\",\"group:f%u\"]}", NULL, NULL},
    {"query", "{\"tenant\":\"acme\",\"index\":\"docs\",\"text\":\"\\\"the public one\\\" st*\",\"mode\":\"lexical\",\"operators\":true,\"highlight\":true,\"labels\":[\"public\",\"group:o%u\"]}", NULL, NULL},
    {"documents.list", "{\"tenant\":\"acme\",\"index\":\"docs\",\"labels\":[\"public\",\"group:l%u\"]}", NULL, NULL},
    {"documents.get", "{\"tenant\":\"acme\",\"index\":\"docs\",\"doc\":\"d0\",\"labels\":[\"public\",\"group:g%u\"]}", NULL, NULL},
    {"versions.list", "{\"tenant\":\"acme\",\"index\":\"docs\"}", NULL, NULL},
    {"versions.diff", "{\"tenant\":\"acme\",\"index\":\"docs\",\"from\":1,\"to\":2}", NULL, NULL},
    {"versions.activate", "{\"tenant\":\"acme\",\"index\":\"docs\",\"version\":1,\"reason\":\"x\"}", "{\"tenant\":\"acme\",\"index\":\"docs\",\"version\":2,\"reason\":\"x\"}", "versions.activate"},
    {"versions.pin", "{\"tenant\":\"acme\",\"index\":\"docs\",\"version\":1}", "{\"tenant\":\"acme\",\"index\":\"docs\",\"version\":1}", "versions.unpin"},
    {"versions.gc", "{\"tenant\":\"acme\",\"index\":\"docs\"}", NULL, NULL},
    {"policy.deny", "{\"tenant\":\"acme\",\"docs\":[\"x%u\"],\"labels\":[\"group:x\"]}", NULL, NULL},
    {"policy.hide", "{\"tenant\":\"acme\",\"glob\":\"x%u\"}", NULL, NULL},
    {"policy.erase", "{\"tenant\":\"acme\",\"docs\":[\"e%u\"]}", NULL, NULL},
    {"policy.restore", "{\"tenant\":\"acme\",\"docs\":[\"r\"],\"reason\":\"x\"}", "{\"tenant\":\"acme\",\"docs\":[\"r\"]}", "policy.erase"},
    {"policy.show", "{\"tenant\":\"acme\",\"docs\":[\"d0\",\"x%u\"]}", NULL, NULL},
    {"policy.apply", "{\"tenant\":\"acme\",\"changes\":[{\"op\":\"hide\",\"docs\":[\"y%u\"]},{\"op\":\"allow\",\"docs\":[\"z\"],\"labels\":[\"group:x\"]}]}", NULL, NULL},
    {"members.set", "{\"tenant\":\"acme\",\"member\":\"user:m%u\",\"labels\":[\"group:hr\"]}", NULL, NULL},
    {"members.sync", "{\"tenant\":\"acme\",\"text\":\"user:ana group:hr\\ngroup:hr group:staff\\nuser:m%u group:x\"}", NULL, NULL},
    {"members.list", "{\"tenant\":\"acme\"}", NULL, NULL},
    {"audit.list", "{\"tenant\":\"acme\",\"limit\":5}", NULL, NULL},
    {"audit.verify", "{\"tenant\":\"acme\"}", NULL, NULL},
    {"admin.key_add", "{\"tenant\":\"acme\",\"scopes\":[\"query\"],\"labels\":[\"group:k%u\"]}", NULL, NULL},
    {"admin.index_create", "{\"tenant\":\"acme\",\"index\":\"i%u\",\"embedder\":\"none\"}", NULL, NULL},
    {"documents.put", "{\"tenant\":\"acme\",\"index\":\"puts\",\"activate\":true,\"documents\":[{\"id\":\"p%u\",\"text\":\"new\",\"labels\":[\"public\"],\"vector\":[1,2]}]}", ANEW},
    {"documents.delete", "{\"tenant\":\"acme\",\"index\":\"puts\",\"activate\":true,\"docs\":[\"q\"]}", ANEW},
};

static const char *with_number(const char *params, unsigned number) {
    static char json[1024];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(json, sizeof json, params, number, number);
#pragma GCC diagnostic pop
    return json;
}

static const char *call(const char *method, const char *params, unsigned number) { return ask(&f, &f.operator, method, with_number(params, number)); }

static bool works(const char *answer) { return *answer == '{'; }

/* The n-th allocation of the call fails. Whether it had so many. */
static bool once(const row *r, unsigned number, uint64_t n) {
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    cn_buf_reset(&f.packed);
    cn_buf_reset(&f.answer);
    CN_ASSERT(cn_json_parse(cn_str_of(with_number(r->params, number)), &f.packed) == CN_OK && cn_unpack(&u, f.packed.p, f.packed.n) == CN_OK);
    f.call.caller = &f.operator;
    uint64_t before = cn_alloc_count();
    cn_alloc_fail_at(n);
    cn_err err = cn_service_call(f.s, &f.call, cn_str_of(r->method), &u.o, &f.answer);
    bool had = cn_alloc_count() - before >= n;
    cn_alloc_fail_at(0);
    if (err != CN_OK && (err != CN_OVERLOADED || f.answer.n)) {
        printf("\n  %s, allocation %llu: %s %s", r->method, (unsigned long long)n, cn_err_name(err), cn_error_detail());
        CU_FAIL("an error that is not about memory");
    }
    cn_call_reset(&f.call);
    *(err == CN_OK ? &fine : &failed) += 1;
    return had;
}

static const char *undo(const row *r, unsigned number) {
    if (strcmp(r->undo_method, "anew") != 0)
        return call(r->undo_method, r->undo, number);
    call("admin.index_drop", "{\"tenant\":\"acme\",\"index\":\"puts\"}", 0);
    call("admin.index_create", "{\"tenant\":\"acme\",\"index\":\"puts\",\"embedder\":\"none\"}", 0);
    return call("documents.put", r->undo, 0);
}

static void sound_after(const row *r, unsigned number, uint64_t n) {
    const char *answer = call("query", "{\"tenant\":\"acme\",\"index\":\"docs\",\"vector\":[1,0,0,0],\"labels\":[\"public\"]}", 0);
    if (!works(answer) || !strstr(answer, "the public one") || strstr(answer, "for nobody")) {
        printf("\n  %s, allocation %llu, and then a query: %s", r->method, (unsigned long long)n, answer);
        CU_FAIL("no answer, or a wrong one");
    }
    if (r->undo)
        undo(r, number); /* refused when the method itself failed and there is nothing to undo */
}

static void test_each_allocation(void) {
    unsigned number = 0;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        bool more = true;
        for (uint64_t n = 1; more; n++) {
            more = once(&rows[i], ++number, n);
            sound_after(&rows[i], number, n);
        }
        CU_ASSERT_TRUE(works(call(rows[i].method, rows[i].params, ++number)));
        if (rows[i].undo)
            CU_ASSERT_TRUE(works(undo(&rows[i], number)));
    }
    printf("\n  %lu calls failed, %lu did without ", failed, fine);
    CU_ASSERT(failed > 100 && fine > sizeof rows / sizeof *rows);
    CU_ASSERT_TRUE(works(call("audit.verify", "{\"tenant\":\"acme\"}", 0)));
}

int main(void) {
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 2;
    fixture_init(&f);
    CN_ASSERT(works(undo(&rows[sizeof rows / sizeof *rows - 1], 0)));
    CN_ASSERT(works(call("policy.erase", "{\"tenant\":\"acme\",\"docs\":[\"r\"]}", 0)));
    CN_ASSERT(works(call("documents.put", "{\"tenant\":\"acme\",\"index\":\"docs\",\"activate\":true,\"documents\":[{\"id\":\"d6\",\"text\":\"w\",\"labels\":[\"public\"],"
                                          "\"vector\":[0,0,0,1]}]}", 0)));
    CU_pSuite s = CU_add_suite("no memory", NULL, NULL);
    CU_add_test(s, "each allocation of each method", test_each_allocation);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned bad = CU_get_number_of_failures();
    CU_cleanup_registry();
    fixture_done(&f);
    return bad != 0;
}
