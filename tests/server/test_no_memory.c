/* Each allocation of each method fails once: OVERLOADED or success, never a crash; after OVERLOADED what the method changes is
 * as before, and after success it is changed; a query asked next answers. A row of `rows` for each method, and none lacks one; the
 * last allocation of one is known by its passing. */
#include <CUnit/Basic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/base/mem.h"
#include "engine/cells/cells.h"
#include "index/catalog/check.h"
#include "ingest/embed/embed.h"
#include "server/service/methods.h"
#include "tests/count.h"
#include "tests/ingest/tiny_model.h"
#include "tests/server/fixture.h"

static fixture f;
static cn_buf seen; /* what a look answered before */
static char key[CN_KEY_TEXT], told[CN_KEY_TEXT];
static unsigned long failed, fine;
#define DENSE 32
#define LATE 115 /* of the allocations of a small job: behind the making of its file, before the sealing */
#define MANY 4096

typedef struct step {
    const char *method, *params; /* %u: a number that grows; @: a key; $: the first id that the last step of `undo` told; -method: it fails, LATE */
} step;

#define UNDO 5
typedef struct row {
    step is, look, undo[UNDO]; /* look: whose answer the method changes; undo: on the same number, before each try too */
    bool goes_on;              /* goes on after its change (to the chain, the job's row, files that nobody names), and what then fails is told, though it is done */
} row;
#define READS {0}, {{0}}, false /* and changes nothing */
#define WHOLE false
#define GOES_ON true

#define T "{\"tenant\":\"acme\""
#define DOCS T ",\"index\":\"docs\""
#define PUTS T ",\"index\":\"puts\""
#define ONE(id, labels) "{\"id\":\"" id "\",\"text\":\"new\",\"labels\":" labels ",\"vector\":[1,2]}"
#define PUT(id, labels) {"documents.put", PUTS ",\"activate\":true,\"documents\":[" ONE(id, labels) "]}"}
/* acme/puts is made anew: of a row that is put again and again the segments become more with each try. */
#define ANEW_AS(settings) {"admin.index_drop", PUTS "}"}, {"admin.index_create", PUTS ",\"embedder\":\"none\"" settings "}"}, PUT("q", "[\"public\",\"group:x\"]")
#define ANEW ANEW_AS("")
#define QUESTION "\"text\":\"\\\"the public one\\\" st*\",\"mode\":\"lexical\""
#define FREEZE {"gate.freeze", DOCS ",\"set\":\"core\",\"queries\":[{\"id\":\"a\",\"vector\":[1,0,0,0],\"must_find\":[\"d0\"],\"must_not_see\":[\"d1\"],\"relevant\":{\"d5\":2}}]}"}
#define UNFREEZE {"gate.unfreeze", DOCS ",\"set\":\"core\"}"}
#define TRACE "0af7651916cd43dd8448eb211c80319c"
#define GONE "{\"tenant\":\"gone\"}"
#define ADD_KEY {"admin.key_add", T ",\"scopes\":[\"query\"],\"labels\":[\"group:k%u\"]}"}
/* A job that failed with rows in its file, which is kept for whoever goes on with it. */
#define STOPPED {"-ingest.start", PUTS ",\"wait\":true,\"source\":\"s%u\",\"threads\":1,\"paths\":[\"rows.jsonl\"]}"}, {"ingest.list", T "}"}

/* --- where a change shows --- */
#define VERSIONS {"versions.list", DOCS "}"}
#define VERSIONS_PUT {"versions.list", PUTS "}"}
#define FOUND {"documents.list", PUTS ",\"labels\":[\"public\",\"group:x\"]}"}
#define SAID(docs) {"policy.show", T ",\"docs\":[" docs "]}"}
#define MEMBERS {"members.list", T "}"}
#define GATE {"gate.show", DOCS "}"}
#define SETS {"gate.sets", DOCS "}"}
#define INDEXES {"admin.index_list", T "}"}
#define KEYS {"admin.key_list", T "}"}
#define TENANTS {"admin.tenant_list", "{}"}
#define JOB {"ingest.show", T ",\"job\":\"$\"}"}

static const row rows[] = {
    {{"auth", "{\"key\":\"@\"}"}, READS},
    {{"health", "{\"key\":\"@\"}"}, READS},
    {{"api.describe", "{}"}, READS},
    {{"query", DOCS ",\"vector\":[1,0,%u,0],\"labels\":[\"group:n%u\",\"public\"],\"filter\":{\"field\":\"lang\",\"in\":[\"en\",\"de\"]}}"}, READS},
    {{"query", DOCS "," QUESTION ",\"operators\":true,\"highlight\":true,\"labels\":[\"public\",\"group:o%u\"]}"}, READS},
    {{"query", DOCS ",\"text\":\"public new\",\"mode\":\"lexical\",\"also\":[\"puts\"],\"expand\":1,\"distinct\":true,\"max_tokens\":9,\"per_doc\":2,\"labels\":[\"public\",\"group:s%u\"]}"}, READS},
    {{"query", DOCS ",\"vector\":[1,0,%u,0],\"section\":true,\"explain\":true,\"min_relevance\":0.1,\"merge\":\"rank\",\"also\":[\"more\"]}"}, READS},
    {{"query", T ",\"index\":\"both\",\"text\":\"time and people %u\",\"mode\":\"hybrid\",\"explain\":true,\"labels\":[\"public\",\"group:h%u\"]}"}, READS},
    {{"query", T ",\"index\":\"cells\",\"vector\":[1,0,%u,0],\"labels\":[\"public\",\"group:c%u\"]}"}, READS},
    {{"query", "{\"key\":\"@\",\"index\":\"docs\",\"vector\":[1,0,%u,0]}"}, READS},
    {{"query_batch", DOCS ",\"queries\":[{\"vector\":[1,0,%u,0]},{\"vector\":[1,0,0,0],\"as\":\"user:ana\"}]}"}, READS},
    {{"fetch", DOCS ",\"doc\":\"d0\",\"labels\":[\"public\",\"group:f%u\"]}"}, READS},
    {{"documents.list", DOCS ",\"labels\":[\"public\",\"group:l%u\"]}"}, READS},
    {{"documents.get", DOCS ",\"doc\":\"d0\",\"labels\":[\"public\",\"group:g%u\"]}"}, READS},
    {{"stats", T "}"}, READS},
    {{"versions.list", DOCS "}"}, READS},
    {{"versions.diff", DOCS ",\"from\":1,\"to\":2}"}, READS},
    {{"versions.activate", DOCS ",\"version\":1,\"reason\":\"x\"}"}, VERSIONS, {{"versions.activate", DOCS ",\"version\":2,\"reason\":\"x\"}"}}, WHOLE},
    {{"versions.rollback", DOCS "}"}, VERSIONS, {{"versions.activate", DOCS ",\"version\":2,\"reason\":\"x\"}"}}, WHOLE},
    {{"versions.release", DOCS "}"}, VERSIONS, {{"versions.activate", DOCS ",\"version\":2,\"reason\":\"x\"}"}, {"versions.rollback", DOCS "}"}}, WHOLE},
    {{"versions.pin", DOCS ",\"version\":1}"}, VERSIONS, {{"versions.unpin", DOCS ",\"version\":1}"}}, WHOLE},
    {{"versions.unpin", DOCS ",\"version\":1}"}, VERSIONS, {{"versions.pin", DOCS ",\"version\":1}"}}, WHOLE},
    {{"versions.unquarantine", DOCS ",\"version\":1}"}, VERSIONS, {{"versions.activate", DOCS ",\"version\":2,\"reason\":\"x\"}"}, {"versions.quarantine", DOCS ",\"version\":1}"}}, WHOLE},
    {{"versions.quarantine", DOCS ",\"version\":1}"}, VERSIONS, {{"versions.activate", DOCS ",\"version\":2,\"reason\":\"x\"}"}, {"versions.unquarantine", DOCS ",\"version\":1}"}}, WHOLE},
    {{"versions.drop", PUTS ",\"version\":1}"}, VERSIONS_PUT, {ANEW, PUT("s", "[\"public\"]")}, WHOLE},
    {{"versions.compact", PUTS "}"}, {"versions.compact", PUTS ",\"dry_run\":true}"}, {ANEW, PUT("q", "[\"group:x\"]"), PUT("s", "[\"public\"]")}, GOES_ON},
    {{"versions.gc", PUTS "}"}, VERSIONS_PUT, {ANEW_AS(",\"keep_versions\":0,\"keep_days\":0"), PUT("s", "[\"public\"]"), PUT("t", "[\"public\"]")}, GOES_ON},
    {{"policy.deny", T ",\"docs\":[\"x%u\"],\"labels\":[\"group:x\"]}"}, SAID("\"x%u\""), {{0}}, WHOLE},
    {{"policy.allow", T ",\"docs\":[\"w%u\"],\"labels\":[\"group:x\"]}"}, SAID("\"w%u\""), {{0}}, WHOLE},
    {{"policy.clear", T ",\"docs\":[\"c\"]}"}, SAID("\"c\""), {{"policy.deny", T ",\"docs\":[\"c\"],\"labels\":[\"group:x\"]}"}}, WHOLE},
    {{"policy.hide", T ",\"glob\":\"x%u\"}"}, SAID("\"x%u\""), {{0}}, WHOLE},
    {{"policy.unhide", T ",\"glob\":\"u\"}"}, SAID("\"u\""), {{"policy.hide", T ",\"glob\":\"u\"}"}}, WHOLE},
    {{"policy.erase", T ",\"docs\":[\"e%u\"]}"}, SAID("\"e%u\""), {{0}}, WHOLE},
    {{"policy.restore", T ",\"docs\":[\"r\"],\"reason\":\"x\"}"}, SAID("\"r\""), {{"policy.erase", T ",\"docs\":[\"r\"]}"}}, WHOLE},
    {{"policy.show", T ",\"docs\":[\"d0\",\"x%u\"]}"}, READS},
    {{"policy.apply", T ",\"changes\":[{\"op\":\"hide\",\"docs\":[\"y%u\"]},{\"op\":\"allow\",\"docs\":[\"z%u\"],\"labels\":[\"group:x\"]}]}"}, SAID("\"y%u\",\"z%u\""), {{0}}, WHOLE},
    {{"policy.reinstate", PUTS ",\"version\":2,\"reason\":\"x\"}"}, {"documents.list", PUTS ",\"version\":1,\"labels\":[\"group:x\"]}"}, {ANEW, PUT("q", "[\"public\"]")}, WHOLE},
    {{"members.set", T ",\"member\":\"user:m%u\",\"labels\":[\"group:hr\"]}"}, MEMBERS, {{0}}, WHOLE},
    {{"members.add", T ",\"member\":\"user:bo\",\"labels\":[\"group:a%u\"]}"}, MEMBERS, {{"members.remove", T ",\"member\":\"user:bo\"}"}}, WHOLE},
    {{"members.remove", T ",\"member\":\"user:eve\"}"}, MEMBERS, {{"members.set", T ",\"member\":\"user:eve\",\"labels\":[\"group:hr\"]}"}}, WHOLE},
    {{"members.sync", T ",\"text\":\"user:ana group:hr\\ngroup:hr group:staff\\nuser:m%u group:x\\nuser:eve group:x\"}"}, MEMBERS, {{0}}, WHOLE},
    {{"members.list", T "}"}, READS},
    {{"modes.set", DOCS ",\"mode\":\"exact\"}"}, {"modes.show", T "}"}, {{"modes.set", DOCS ",\"mode\":\"normal\"}"}}, WHOLE},
    {{"modes.show", T "}"}, READS},
    {{"modes.set_host", "{\"mode\":\"exact\"}"}, {"modes.show_host", "{}"}, {{"modes.set_host", "{\"mode\":\"normal\"}"}}, GOES_ON},
    {{"modes.show_host", "{}"}, READS},
    {{"recall.show", DOCS "}"}, READS},
    {{"gate.set", DOCS ",\"requirements\":[\"a>=0.5\",\"core/missed<=0\"]}"}, GATE, {{"gate.set", DOCS ",\"requirements\":[]}"}}, WHOLE},
    {{"gate.show", DOCS "}"}, READS},
    {{"gate.submit", DOCS ",\"version\":1,\"results\":{\"a\":0.%u}}"}, GATE, {{0}}, WHOLE},
    {{"gate.forget", DOCS ",\"version\":1,\"names\":[\"a\"]}"}, GATE, {{"gate.submit", DOCS ",\"version\":1,\"results\":{\"a\":1}}"}}, WHOLE},
    {FREEZE, SETS, {UNFREEZE}, WHOLE},
    {UNFREEZE, SETS, {FREEZE}, WHOLE},
    {{"gate.sets", DOCS "}"}, READS},
    {{"gate.run", DOCS ",\"version\":1}"}, GATE, {{0}}, WHOLE},
    {{"eval.list", DOCS "}"}, READS},
    {{"incident.which_versions", DOCS ",\"doc\":\"d1\"}"}, READS},
    {{"incident.why_not", DOCS ",\"doc\":\"d3\",\"vector\":[1,0,%u,0],\"principal\":\"user:ana\"}"}, READS},
    {{"incident.explain_access", DOCS ",\"doc\":\"d1\",\"principal\":\"user:ana\"}"}, READS},
    {{"incident.find", DOCS ",\"text\":\"the public\",\"all_versions\":true}"}, READS},
    {{"trace.get", T ",\"trace_id\":\"" TRACE "\"}"}, READS},
    {{"trace.exposed", T ",\"doc\":\"d0\",\"limit\":3}"}, READS},
    {{"audit.list", T ",\"limit\":5}"}, READS},
    {{"audit.verify", T "}"}, READS},
    {ADD_KEY, {"audit.list", T ",\"limit\":1}"}, {{0}}, WHOLE}, /* a key that could not be recorded is there, revoked */
    {{"admin.key_revoke", T ",\"id\":\"$\"}"}, KEYS, {ADD_KEY}, GOES_ON},
    {{"admin.key_list", T "}"}, READS},
    {{"admin.model_list", T "}"}, READS},
    {{"admin.tenant_add", "{\"tenant\":\"t%u\"}"}, TENANTS, {{"admin.tenant_drop", "{\"tenant\":\"t%u\"}"}}, WHOLE},
    {{"admin.tenant_drop", GONE}, TENANTS, {{"admin.tenant_add", GONE}}, WHOLE},
    {{"admin.tenant_list", "{}"}, READS},
    {{"admin.index_create", T ",\"index\":\"i%u\",\"embedder\":\"none\"}"}, INDEXES, {{"admin.index_drop", T ",\"index\":\"i%u\"}"}}, WHOLE},
    {{"admin.index_show", DOCS "}"}, READS},
    {{"admin.index_list", T "}"}, READS},
    {{"admin.index_set", PUTS ",\"keep_versions\":%u}"}, INDEXES, {{0}}, WHOLE},
    {{"admin.index_set", PUTS ",\"mode\":\"exact\",\"seal_only\":true}"}, VERSIONS_PUT, {ANEW}, WHOLE},
    {{"admin.index_drop", T ",\"index\":\"gone\"}"}, INDEXES, {{"admin.index_create", T ",\"index\":\"gone\",\"embedder\":\"none\"}"}}, WHOLE},
    {{"ingest.start", PUTS ",\"activate\":true,\"wait\":true,\"paths\":[\"rows.jsonl\"]}"}, FOUND, {ANEW}, GOES_ON},
    {{"ingest.rebuild", PUTS ",\"chunker\":\"document\",\"activate\":true,\"wait\":true}"}, {"fetch", PUTS ",\"doc\":\"q\"}"}, {ANEW}, GOES_ON},
    {{"ingest.list", T "}"}, READS},
    {{"ingest.show", T ",\"job\":\"$\",\"rejected\":true}"}, {0}, {STOPPED}, WHOLE},
    {{"ingest.cancel", T ",\"job\":\"$\"}"}, JOB, {STOPPED}, GOES_ON},
    {{"documents.put", PUTS ",\"activate\":true,\"documents\":[" ONE("p%u", "[\"public\"]") "]}"}, FOUND, {ANEW}, GOES_ON},
    {{"documents.delete", PUTS ",\"activate\":true,\"docs\":[\"q\"]}"}, FOUND, {ANEW}, GOES_ON},
};
#define ROWS (sizeof rows / sizeof *rows)

static const char *filled(const char *params, unsigned number) {
    static cn_buf b = {.cap = 1024};
    cn_buf_reset(&b);
    for (const char *p = params; *p; p++)
        if (*p == '%' && p[1] == 'u')
            cn_buf_printf(&b, "%u", number), p++;
        else if (*p == '@' || *p == '$')
            cn_buf_puts(&b, *p == '@' ? key : told);
        else
            cn_buf_putc(&b, *p);
    cn_buf_putc(&b, 0);
    CN_ASSERT(!b.failed);
    return b.p;
}

static const char *call(const step *s, unsigned number) {
    bool fails = *s->method == '-';
    const char *params = filled(s->params, number), *answer;
    cn_alloc_fail_at(fails ? LATE : 0);
    answer = ask(&f, &f.operator, s->method + fails, params);
    cn_alloc_fail_at(0);
    return answer;
}

static bool works(const char *answer) { return *answer == '{'; }

/* The n-th allocation of the call fails, of a call whose every piece of memory is new. Its error; *ret_had: whether it had so many. */
static cn_err once(const row *r, unsigned number, uint64_t n, bool *ret_had) {
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    cn_buf_reset(&f.packed);
    cn_buf_done(&f.answer);
    cn_call_done(&f.call);
    CN_ASSERT(cn_call_init(&f.call) == CN_OK);
    CN_ASSERT(cn_json_parse(cn_str_of(filled(r->is.params, number)), &f.packed) == CN_OK && cn_unpack(&u, f.packed.p, f.packed.n) == CN_OK);
    f.call.caller = &f.operator;
    uint64_t before = cn_alloc_count();
    cn_alloc_fail_at(n);
    cn_err err = cn_service_call(f.s, &f.call, cn_str_of(r->is.method), &u.o, &f.answer);
    *ret_had = cn_alloc_count() - before >= n;
    cn_alloc_fail_at(0);
    if (err != CN_OK && (err != CN_OVERLOADED || f.answer.n || strstr(cn_error_detail(), "would be over"))) {
        printf("\n  %s, allocation %llu: %s %s", r->is.method, (unsigned long long)n, cn_err_name(err), cn_error_detail());
        CU_FAIL("an error that is not about memory");
    }
    cn_call_reset(&f.call);
    *(err == CN_OK ? &fine : &failed) += 1;
    return err;
}

/* What a row names by $ is what the last answer tells first. */
static void remember(const char *answer) {
    const char *at = strstr(answer, "\"job\": \""), *id = at ? at + 8 : (at = strstr(answer, "\"id\": \"")) ? at + 7 : NULL;
    if (id)
        snprintf(told, sizeof told, "%.*s", (int)strcspn(id, "\""), id);
}

/* The last one's answer. What a failed method has not done is refused to be undone. */
static const char *undo(const row *r, unsigned number) {
    const char *answer = "{";
    for (size_t i = 0; i < UNDO && r->undo[i].method; i++)
        answer = call(&r->undo[i], number);
    remember(answer);
    return answer;
}

static void look_before(const row *r, unsigned number) {
    cn_buf_reset(&seen);
    if (r->look.method)
        cn_buf_puts(&seen, call(&r->look, number));
    cn_buf_putc(&seen, 0);
}

/* Done or not done, whole. */
static void look_after(const row *r, unsigned number, uint64_t n, cn_err err) {
    if (!r->look.method)
        return;
    const char *answer = call(&r->look, number);
    bool same = strcmp(answer, seen.p) == 0, right = err == CN_OK ? !same : same || r->goes_on;
    if (!works(answer) || !right) {
        printf("\n  %s, allocation %llu: %s, and it is %s; before: %.300s; now: %.300s", r->is.method, (unsigned long long)n, cn_err_name(err), same ? "not done" : "done", seen.p, answer);
        CU_FAIL("done, and told that it is not, or the other way round");
    }
}

static void sound_after(const row *r, unsigned number, uint64_t n) {
    static const step asks = {"query", DOCS ",\"vector\":[1,0,0,0],\"labels\":[\"public\"]}"};
    const char *answer = call(&asks, 0);
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
    for (const row *r = rows; r < rows + ROWS; r++) {
        bool more = true;
        undo(r, ++number);
        for (uint64_t n = 1; more; n = next(n)) {
            look_before(r, ++number);
            cn_err err = once(r, number, n, &more);
            look_after(r, number, n, err);
            sound_after(r, number, n);
        }
        must(call(&r->is, ++number), r);
        must(undo(r, number), r);
    }
    printf("\n  %lu calls failed, %lu did without ", failed, fine);
    CU_ASSERT(failed > 1000 && fine > ROWS);
}

static void whole(void *ctx, cn_str what, cn_err err) {
    (void)ctx;
    if (err != CN_OK)
        printf("\n  " CN_STR_FMT ": %s", CN_STR_ARG(what), cn_error_detail());
    CU_ASSERT_EQUAL(err, CN_OK);
}

static void test_whole_afterwards(void) {
    cn_tenant *t;
    CU_ASSERT_EQUAL_FATAL(cn_tenant_open(cn_service_data(f.s), CN_STR("acme"), &t), CN_OK);
    CU_ASSERT_EQUAL(cn_tenant_check(t, whole, NULL), CN_OK);
    cn_tenant_unref(t);
}

static void test_no_method_without_a_row(void) {
    for (const cn_method *const *group = cn_methods; *group; group++)
        for (const cn_method *m = *group; m->name; m++) {
            const row *r = rows;
            while (r < rows + ROWS && strcmp(r->is.method, m->name) != 0)
                r++;
            bool has = r < rows + ROWS, looks = has && (r->look.method || !(m->flags & CN_METHOD_CHANGES));
            if (!looks)
                printf("\n  %s has no row%s", m->name, has ? " with a look" : "");
            CU_ASSERT_TRUE(looks);
        }
}

/* Whose key it is, is not told before it is known for sure: a caller is taken over whole or not at all. */
static void test_keys_fail_closed(void) {
    static const step revoke = {"admin.key_revoke", T ",\"id\":\"$\"}"};
    for (int revoked = 0; revoked < 2; revoked++) {
        bool more = true;
        cn_arena a;
        for (uint64_t n = 1; more; n++) {
            cn_caller c = f.nobody;
            cn_arena_init(&a, 1, 1 << 20); /* each string has a piece of its own */
            uint64_t before = cn_alloc_count();
            cn_alloc_fail_at(n);
            cn_err err = cn_service_auth(f.s, cn_str_of(key), "rpc", &a, &c);
            more = cn_alloc_count() - before >= n;
            cn_alloc_fail_at(0);
            CU_ASSERT_EQUAL(err, more ? CN_OVERLOADED : revoked ? CN_UNAUTHENTICATED : CN_OK);
            CU_ASSERT_EQUAL(c.kind, err == CN_OK ? CN_CALLER_KEY : CN_CALLER_NOBODY);
            CU_ASSERT_EQUAL(memcmp(&c, &f.nobody, sizeof c) == 0, err != CN_OK);
            cn_arena_done(&a);
        }
        snprintf(told, sizeof told, "%.8s", key + sizeof "cairn_" - 1);
        CU_ASSERT_TRUE(revoked || works(call(&revoke, 0)));
    }
}

static void make(const step *s) {
    const char *answer = call(s, 0);
    if (!works(answer))
        printf("%s: %s\n", s->method, answer);
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

static void make_a_key(void) {
    cn_arena a;
    cn_caller c;
    cn_arena_init(&a, 4096, 1 << 20);
    make_key(&f, T ",\"scopes\":[\"query\"],\"labels\":[\"public\",\"group:hr\"]}", &a, &c, key);
    cn_arena_done(&a);
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
    ask(&f, &f.operator, "admin.index_create", PUTS ",\"embedder\":\"none\"}");
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        make(&all[i]);
    make_a_key();
}

int main(void) {
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 2;
    fixture_init(&f);
    cn_buf_init(&seen, 4 << 20);
    make_all();
    CU_pSuite s = CU_add_suite("no memory", NULL, NULL);
    CU_add_test(s, "no method without a row", test_no_method_without_a_row);
    CU_add_test(s, "each allocation of each method", test_each_allocation);
    CU_add_test(s, "whole afterwards", test_whole_afterwards);
    CU_add_test(s, "keys fail closed", test_keys_fail_closed);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned bad = CU_get_number_of_failures();
    CU_cleanup_registry();
    cn_buf_done(&seen);
    fixture_done(&f);
    return bad != 0;
}
