/* Each allocation of each method fails once: OVERLOADED or success, never a crash, and what the method changes is done or not
 * done, whole; a query asked next answers. A row of `rows` for each method; the last allocation of one is known by its passing. */
#include <CUnit/Basic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/base/mem.h"
#include "engine/cells/cells.h"
#include "ingest/embed/embed.h"
#include "tests/count.h"
#include "tests/ingest/tiny_model.h"
#include "tests/server/fixture.h"

static fixture f;
static unsigned long failed, fine;
#define DENSE 32
#define MANY 4096

typedef struct step {
    const char *method, *params; /* %u: a number that grows, at most twice */
} step;

#define UNDO 5
typedef struct row {
    step is, undo[UNDO]; /* on the same number; none: nothing has to be undone */
} row;

#define T "{\"tenant\":\"acme\""
#define DOCS T ",\"index\":\"docs\""
#define PUTS T ",\"index\":\"puts\""
#define ONE(id, labels) "{\"id\":\"" id "\",\"text\":\"new\",\"labels\":" labels ",\"vector\":[1,2]}"
#define PUT(id, labels) {"documents.put", PUTS ",\"activate\":true,\"documents\":[" ONE(id, labels) "]}"}
/* acme/puts is made anew: of a row that is put again and again the segments become more with each try. */
#define ANEW {"admin.index_drop", PUTS "}"}, {"admin.index_create", PUTS ",\"embedder\":\"none\"}"}, PUT("q", "[\"public\",\"group:x\"]")
#define QUESTION "\"text\":\"\\\"the public one\\\" st*\",\"mode\":\"lexical\""
#define FREEZE {"gate.freeze", DOCS ",\"set\":\"core\",\"queries\":[{\"id\":\"a\",\"vector\":[1,0,0,0],\"must_find\":[\"d0\"],\"must_not_see\":[\"d1\"],\"relevant\":{\"d5\":2}}]}"}
#define UNFREEZE {"gate.unfreeze", DOCS ",\"set\":\"core\"}"}
#define TRACE "0af7651916cd43dd8448eb211c80319c"

static const row rows[] = {
    {{"query", DOCS ",\"vector\":[1,0,%u,0],\"labels\":[\"group:n%u\",\"public\"],\"filter\":{\"field\":\"lang\",\"in\":[\"en\",\"de\"]}}"}, {{0}}},
    {{"query", DOCS "," QUESTION ",\"operators\":true,\"highlight\":true,\"labels\":[\"public\",\"group:o%u\"]}"}, {{0}}},
    {{"query", DOCS ",\"text\":\"public new\",\"mode\":\"lexical\",\"also\":[\"puts\"],\"expand\":1,\"distinct\":true,\"max_tokens\":9,\"per_doc\":2,\"labels\":[\"public\",\"group:s%u\"]}"}, {{0}}},
    {{"query", DOCS ",\"vector\":[1,0,%u,0],\"section\":true,\"explain\":true,\"min_relevance\":0.1,\"merge\":\"rank\",\"also\":[\"more\"]}"}, {{0}}},
    {{"query", T ",\"index\":\"both\",\"text\":\"time and people %u\",\"mode\":\"hybrid\",\"explain\":true,\"labels\":[\"public\",\"group:h%u\"]}"}, {{0}}},
    {{"query", T ",\"index\":\"cells\",\"vector\":[1,0,%u,0],\"labels\":[\"public\",\"group:c%u\"]}"}, {{0}}},
    {{"query_batch", DOCS ",\"queries\":[{\"vector\":[1,0,%u,0]},{\"vector\":[1,0,0,0],\"as\":\"user:ana\"}]}"}, {{0}}},
    {{"fetch", DOCS ",\"doc\":\"d0\",\"labels\":[\"public\",\"group:f%u\"]}"}, {{0}}},
    {{"documents.list", DOCS ",\"labels\":[\"public\",\"group:l%u\"]}"}, {{0}}},
    {{"documents.get", DOCS ",\"doc\":\"d0\",\"labels\":[\"public\",\"group:g%u\"]}"}, {{0}}},
    {{"stats", T "}"}, {{0}}},
    {{"versions.list", DOCS "}"}, {{0}}},
    {{"versions.diff", DOCS ",\"from\":1,\"to\":2}"}, {{0}}},
    {{"versions.activate", DOCS ",\"version\":1,\"reason\":\"x\"}"}, {{"versions.activate", DOCS ",\"version\":2,\"reason\":\"x\"}"}}},
    {{"versions.rollback", DOCS "}"}, {{"versions.activate", DOCS ",\"version\":2,\"reason\":\"x\"}"}}},
    {{"versions.release", DOCS "}"}, {{"versions.rollback", DOCS "}"}, {"versions.activate", DOCS ",\"version\":2,\"reason\":\"x\"}"}}},
    {{"versions.pin", DOCS ",\"version\":1}"}, {{"versions.unpin", DOCS ",\"version\":1}"}}},
    {{"versions.quarantine", DOCS ",\"version\":1}"}, {{"versions.unquarantine", DOCS ",\"version\":1}"}}},
    {{"versions.drop", PUTS ",\"version\":1}"}, {ANEW, PUT("s", "[\"public\"]")}},
    {{"versions.compact", PUTS "}"}, {ANEW, PUT("q", "[\"group:x\"]"), PUT("s", "[\"public\"]")}},
    {{"versions.gc", DOCS "}"}, {{0}}},
    {{"policy.deny", T ",\"docs\":[\"x%u\"],\"labels\":[\"group:x\"]}"}, {{0}}},
    {{"policy.allow", T ",\"docs\":[\"w%u\"],\"labels\":[\"group:x\"]}"}, {{0}}},
    {{"policy.clear", T ",\"docs\":[\"c\"]}"}, {{"policy.deny", T ",\"docs\":[\"c\"],\"labels\":[\"group:x\"]}"}}},
    {{"policy.hide", T ",\"glob\":\"x%u\"}"}, {{0}}},
    {{"policy.unhide", T ",\"glob\":\"u\"}"}, {{"policy.hide", T ",\"glob\":\"u\"}"}}},
    {{"policy.erase", T ",\"docs\":[\"e%u\"]}"}, {{0}}},
    {{"policy.restore", T ",\"docs\":[\"r\"],\"reason\":\"x\"}"}, {{"policy.erase", T ",\"docs\":[\"r\"]}"}}},
    {{"policy.show", T ",\"docs\":[\"d0\",\"x%u\"]}"}, {{0}}},
    {{"policy.apply", T ",\"changes\":[{\"op\":\"hide\",\"docs\":[\"y%u\"]},{\"op\":\"allow\",\"docs\":[\"z\"],\"labels\":[\"group:x\"]}]}"}, {{0}}},
    {{"policy.reinstate", PUTS ",\"version\":2,\"reason\":\"x\"}"}, {ANEW, PUT("q", "[\"public\"]")}},
    {{"members.set", T ",\"member\":\"user:m%u\",\"labels\":[\"group:hr\"]}"}, {{0}}},
    {{"members.add", T ",\"member\":\"user:bo\",\"labels\":[\"group:a%u\"]}"}, {{"members.remove", T ",\"member\":\"user:bo\"}"}}},
    {{"members.remove", T ",\"member\":\"user:eve\"}"}, {{"members.set", T ",\"member\":\"user:eve\",\"labels\":[\"group:hr\"]}"}}},
    {{"members.sync", T ",\"text\":\"user:ana group:hr\\ngroup:hr group:staff\\nuser:m%u group:x\\nuser:eve group:x\"}"}, {{0}}},
    {{"members.list", T "}"}, {{0}}},
    {{"modes.set", DOCS ",\"mode\":\"exact\"}"}, {{"modes.set", DOCS ",\"mode\":\"normal\"}"}}},
    {{"modes.show", T "}"}, {{0}}},
    {{"modes.set_host", "{\"mode\":\"exact\"}"}, {{"modes.set_host", "{\"mode\":\"normal\"}"}}},
    {{"modes.show_host", "{}"}, {{0}}},
    {{"gate.set", DOCS ",\"requirements\":[\"a>=0.5\",\"core/missed<=0\"]}"}, {{"gate.set", DOCS ",\"requirements\":[]}"}}},
    {{"gate.show", DOCS "}"}, {{0}}},
    {{"gate.submit", DOCS ",\"version\":1,\"results\":{\"a\":0.%u}}"}, {{0}}},
    {{"gate.forget", DOCS ",\"version\":1,\"names\":[\"a\"]}"}, {{"gate.submit", DOCS ",\"version\":1,\"results\":{\"a\":1}}"}}},
    {FREEZE, {UNFREEZE}},
    {UNFREEZE, {FREEZE}},
    {{"gate.sets", DOCS "}"}, {{0}}},
    {{"gate.run", DOCS ",\"version\":1}"}, {{0}}},
    {{"incident.which_versions", DOCS ",\"doc\":\"d1\"}"}, {{0}}},
    {{"incident.why_not", DOCS ",\"doc\":\"d3\",\"vector\":[1,0,%u,0],\"principal\":\"user:ana\"}"}, {{0}}},
    {{"incident.explain_access", DOCS ",\"doc\":\"d1\",\"principal\":\"user:ana\"}"}, {{0}}},
    {{"incident.find", DOCS ",\"text\":\"the public\",\"all_versions\":true}"}, {{0}}},
    {{"trace.get", T ",\"trace_id\":\"" TRACE "\"}"}, {{0}}},
    {{"trace.exposed", T ",\"doc\":\"d0\",\"limit\":3}"}, {{0}}},
    {{"audit.list", T ",\"limit\":5}"}, {{0}}},
    {{"audit.verify", T "}"}, {{0}}},
    {{"admin.key_add", T ",\"scopes\":[\"query\"],\"labels\":[\"group:k%u\"]}"}, {{0}}},
    {{"admin.index_create", T ",\"index\":\"i%u\",\"embedder\":\"none\"}"}, {{0}}},
    {{"ingest.start", PUTS ",\"activate\":true,\"wait\":true,\"paths\":[\"rows.jsonl\"]}"}, {ANEW}},
    {{"ingest.rebuild", PUTS ",\"chunker\":\"document\",\"activate\":true,\"wait\":true}"}, {ANEW}},
    {{"ingest.list", T "}"}, {{0}}},
    {{"documents.put", PUTS ",\"activate\":true,\"documents\":[" ONE("p%u", "[\"public\"]") "]}"}, {ANEW}},
    {{"documents.delete", PUTS ",\"activate\":true,\"docs\":[\"q\"]}"}, {ANEW}},
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
    CN_ASSERT(cn_json_parse(cn_str_of(with_number(r->is.params, number)), &f.packed) == CN_OK && cn_unpack(&u, f.packed.p, f.packed.n) == CN_OK);
    f.call.caller = &f.operator;
    uint64_t before = cn_alloc_count();
    cn_alloc_fail_at(n);
    cn_err err = cn_service_call(f.s, &f.call, cn_str_of(r->is.method), &u.o, &f.answer);
    bool had = cn_alloc_count() - before >= n;
    cn_alloc_fail_at(0);
    if (err != CN_OK && (err != CN_OVERLOADED || f.answer.n)) {
        printf("\n  %s, allocation %llu: %s %s", r->is.method, (unsigned long long)n, cn_err_name(err), cn_error_detail());
        CU_FAIL("an error that is not about memory");
    }
    cn_call_reset(&f.call);
    *(err == CN_OK ? &fine : &failed) += 1;
    return had;
}

/* The last one's answer. What a failed method has not done is refused to be undone. */
static const char *undo(const row *r, unsigned number) {
    const char *answer = "{";
    for (size_t i = 0; i < UNDO && r->undo[i].method; i++)
        answer = call(r->undo[i].method, r->undo[i].params, number);
    return answer;
}

static void sound_after(const row *r, unsigned number, uint64_t n) {
    const char *answer = call("query", DOCS ",\"vector\":[1,0,0,0],\"labels\":[\"public\"]}", 0);
    if (!works(answer) || !strstr(answer, "the public one") || strstr(answer, "for nobody")) {
        printf("\n  %s, allocation %llu, and then a query: %s", r->is.method, (unsigned long long)n, answer);
        CU_FAIL("no answer, or a wrong one");
    }
    undo(r, number);
}

static void must(const char *answer, const row *r) {
    if (!works(answer))
        printf("\n  %s: %s", r->is.method, answer);
    CU_ASSERT_TRUE(works(answer));
}

/* All of the first, then ever fewer; in the long form all. */
static uint64_t next(uint64_t n) { return n + 1 + (test_long() ? 0 : n / DENSE); }

static void test_each_allocation(void) {
    unsigned number = 0;
    for (const row *r = rows; r < rows + sizeof rows / sizeof *rows; r++) {
        bool more = true;
        undo(r, ++number);
        for (uint64_t n = 1; more; n = next(n)) {
            more = once(r, ++number, n);
            sound_after(r, number, n);
        }
        must(call(r->is.method, r->is.params, ++number), r);
        must(undo(r, number), r);
    }
    printf("\n  %lu calls failed, %lu did without ", failed, fine);
    CU_ASSERT(failed > 1000 && fine > sizeof rows / sizeof *rows);
    CU_ASSERT_TRUE(works(call("audit.verify", T "}", 0)));
}

static void make(const char *method, const char *params) {
    const char *answer = call(method, params, 0);
    if (!works(answer))
        printf("%s: %s\n", method, answer);
    CN_ASSERT(works(answer));
}

/* As many as have codes, so that there are cells over them. */
static void write_many(void) {
    CN_AUTO_BUF cn_buf rows_of = {.cap = 1 << 20};
    for (unsigned i = 0; i < MANY; i++)
        cn_buf_printf(&rows_of, "{\"id\":\"c%u\",\"text\":\"c\",\"labels\":[\"public\"],\"vector\":[1,%u,%u,%u]}\n", i, i % 61, i % 67, i % 71);
    CN_ASSERT(!rows_of.failed);
    tiny_file(f.dir, "many.jsonl", cn_buf_str(&rows_of));
}

static void make_all(void) {
    static const step all[] = {ANEW, {"policy.erase", T ",\"docs\":[\"r\"]}"},
        {"documents.put", DOCS ",\"activate\":true,\"documents\":[{\"id\":\"d6\",\"text\":\"w\",\"labels\":[\"public\"],\"vector\":[0,0,0,1]}]}"},
        {"admin.index_create", T ",\"index\":\"more\",\"embedder\":\"none\"}"},
        {"documents.put", T ",\"index\":\"more\",\"activate\":true,\"documents\":[{\"id\":\"m\",\"text\":\"more\",\"labels\":[\"public\"],\"vector\":[0,0,1,0]}]}"},
        {"admin.index_create", T ",\"index\":\"both\",\"embedder\":\"tiny\",\"mode\":\"hybrid\"}"},
        {"documents.put", T ",\"index\":\"both\",\"activate\":true,\"documents\":[{\"id\":\"b\",\"text\":\"time and people\",\"labels\":[\"public\"]}]}"},
        {"admin.index_create", T ",\"index\":\"cells\",\"embedder\":\"none\",\"kind\":\"cells\"}"},
        {"ingest.start", T ",\"index\":\"cells\",\"activate\":true,\"wait\":true,\"paths\":[\"many.jsonl\"]}"},
        {"query", DOCS ",\"vector\":[1,0,0,0],\"traceparent\":\"00-" TRACE "-b7ad6b7169203331-01\"}"}};
    static tiny_model model;
    char folder[64];
    tiny_write(&model, tiny_folder(folder), TINY_F32, "");
    CN_ASSERT(cn_model_add(f.dir, CN_STR("tiny"), folder) == CN_OK);
    tiny_remove(folder);
    tiny_done(&model);
    tiny_file(f.dir, "rows.jsonl", CN_STR(ONE("i1", "[\"public\"]") "\n" ONE("i2", "[\"group:x\"]") "\n"));
    write_many();
    CN_ASSERT(chdir(f.dir) == 0);
    cn_cells_set_from(MANY);
    call("admin.index_create", PUTS ",\"embedder\":\"none\"}", 0);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        make(all[i].method, all[i].params);
}

int main(void) {
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 2;
    fixture_init(&f);
    make_all();
    CU_pSuite s = CU_add_suite("no memory", NULL, NULL);
    CU_add_test(s, "each allocation of each method", test_each_allocation);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned bad = CU_get_number_of_failures();
    CU_cleanup_registry();
    fixture_done(&f);
    return bad != 0;
}
