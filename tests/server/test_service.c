/* Methods as functions: who may ask what, what the answers hold, and that errors tell nothing. */
#include <CUnit/Basic.h>
#include <CUnit/CUnit.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "server/service/methods.h"
#include "server/service/question.h"
#include "tests/server/fixture.h"

static fixture f;
static cn_arena keys; /* strings of callers */
static cn_caller hr, app, app_hr_only, admin_key, auditor, globbed, none, keeper;
static char hr_key[CN_KEY_TEXT], scratch[CN_KEY_TEXT];

#define Q "\"index\":\"docs\",\"vector\":[1,0,0,0]"
#define HAS(text, part) CU_ASSERT_PTR_NOT_NULL(strstr((text), (part)))
#define LACKS(text, part) CU_ASSERT_PTR_NULL(strstr((text), (part)))

static int starts(const char *text, const char *with) {
    if (strncmp(text, with, strlen(with)) == 0)
        return 1;
    printf("\n  got: %.300s\n", text);
    return 0;
}
#define STARTS(text, with) CU_ASSERT_TRUE(starts((text), (with)))

/* The ids of an answer's hits, in order: "d0,d1". */
static const char *ids(const char *answer) {
    static char out[256];
    size_t n = 0;
    out[0] = 0;
    for (const char *p = answer; (p = strstr(p, "\"doc\": \"")); p++)
        n += (size_t)snprintf(out + n, sizeof out - n, "%s%.2s", n ? "," : "", p + 8);
    if (*answer != '{')
        snprintf(out, sizeof out, "%s", answer);
    return out;
}
static const char *query(cn_caller *who, const char *json) { return ids(ask(&f, who, "query", json)); }

static void set_up(void) {
    fixture_init(&f);
    cn_arena_init(&keys, 4096, 1 << 20);
    make_key(&f, "{\"tenant\":\"acme\",\"scopes\":[\"query\"],\"labels\":[\"group:hr\"]}", &keys, &hr, hr_key);
    make_key(&f, "{\"tenant\":\"acme\",\"scopes\":[\"query\",\"act-as\"]}", &keys, &app, scratch);
    make_key(&f, "{\"tenant\":\"acme\",\"scopes\":[\"query\",\"act-as\"],\"principals\":[\"group:h*\",\"user:bob\"]}", &keys, &app_hr_only, scratch);
    make_key(&f, "{\"tenant\":\"acme\",\"scopes\":[\"admin\"]}", &keys, &admin_key, scratch);
    make_key(&f, "{\"tenant\":\"acme\",\"scopes\":[\"query\",\"audit\",\"versions\"],\"labels\":[\"public\"]}", &keys, &auditor, scratch);
    make_key(&f, "{\"tenant\":\"acme\",\"scopes\":[\"query\"],\"labels\":[\"public\"],\"index\":\"doc*\"}", &keys, &globbed, scratch);
    make_key(&f, "{\"tenant\":\"acme\",\"scopes\":[\"query\"]}", &keys, &none, scratch);
    make_key(&f, "{\"tenant\":\"acme\",\"scopes\":[\"query\",\"versions\"],\"labels\":[\"group:hr\"]}", &keys, &keeper, scratch);
}

static void test_labels_of_keys(void) {
    CU_ASSERT_STRING_EQUAL(query(&hr, "{" Q "}"), "d1"); /* exactly its labels: not even public */
    CU_ASSERT_STRING_EQUAL(query(&none, "{" Q "}"), "");
    CU_ASSERT_STRING_EQUAL(query(&hr, "{" Q ",\"labels\":[\"public\",\"user:ana\"]}"), ""); /* can only narrow */
    CU_ASSERT_STRING_EQUAL(query(&hr, "{" Q ",\"labels\":[\"group:hr\",\"user:ana\"]}"), "d1");
    CU_ASSERT_STRING_EQUAL(query(&hr, "{" Q ",\"labels\":[]}"), "");
    STARTS(query(&hr, "{" Q ",\"labels\":[\"no good\"]}"), "INVALID");
    STARTS(query(&hr, "{" Q ",\"as\":\"user:ana\"}"), "DENIED");
    CU_ASSERT_STRING_EQUAL(query(&hr, "{" Q ",\"tenant\":\"acme\"}"), "d1");
}

static void test_act_as(void) {
    STARTS(query(&app, "{" Q "}"), "INVALID");
    CU_ASSERT_STRING_EQUAL(query(&app, "{" Q ",\"as\":\"user:ana\"}"), "d0,d1,d2,d5"); /* hr by membership; staff's d3 denies her */
    CU_ASSERT_STRING_EQUAL(query(&app, "{" Q ",\"as\":\"user:stranger\"}"), "d0,d5");
    CU_ASSERT_STRING_EQUAL(query(&app, "{" Q ",\"as\":\"group:hr\"}"), "d0,d1,d3,d5");
    CU_ASSERT_STRING_EQUAL(query(&app, "{" Q ",\"as\":\"user:ana\",\"labels\":[\"user:ana\"]}"), "d2");
    /* d3 denies what she holds, whatever she leaves out */
    CU_ASSERT_STRING_EQUAL(query(&app, "{" Q ",\"as\":\"user:ana\",\"labels\":[\"group:staff\",\"public\"]}"), "d0,d5");
    STARTS(ask(&f, &app, "fetch", "{\"index\":\"docs\",\"doc\":\"d3\",\"as\":\"user:ana\",\"labels\":[\"group:staff\"]}"), "NOT_FOUND");
    STARTS(ask(&f, &app, "documents.get", "{\"index\":\"docs\",\"doc\":\"d3\",\"as\":\"user:ana\",\"labels\":[\"group:staff\"]}"), "NOT_FOUND");
    STARTS(ask(&f, &app, "documents.list", "{\"index\":\"docs\",\"as\":\"user:ana\",\"labels\":[\"group:staff\"]}"), "{\"documents\": []}");
    CU_ASSERT_STRING_EQUAL(query(&app, "{" Q ",\"as\":\"user:stranger\",\"labels\":[\"group:hr\"]}"), "");
    STARTS(query(&app, "{" Q ",\"as\":\"nonsense\"}"), "INVALID");
    STARTS(query(&app_hr_only, "{" Q ",\"as\":\"user:ana\"}"), "DENIED");
    CU_ASSERT_STRING_EQUAL(query(&app_hr_only, "{" Q ",\"as\":\"group:hr\"}"), "d0,d1,d3,d5");
    STARTS(ask(&f, &f.operator, "admin.key_add", "{\"tenant\":\"acme\",\"scopes\":[\"query\",\"act-as\"],\"labels\":[\"public\"]}"), "INVALID");
}

static void test_operator(void) {
    CU_ASSERT_STRING_EQUAL(query(&f.operator, "{\"tenant\":\"acme\"," Q "}"), "d0,d5"); /* public unless said */
    CU_ASSERT_STRING_EQUAL(query(&f.operator, "{\"tenant\":\"acme\"," Q ",\"labels\":[\"group:staff\"]}"), "d3");
    HAS(ask(&f, &f.operator, "query", "{\"tenant\":\"acme\"," Q ",\"recall\":1}"), "\"search\": \"exact\"");
    HAS(ask(&f, &f.operator, "query", "{\"tenant\":\"acme\"," Q ",\"mode\":\"exact\"}"), "\"search\": \"exact\"");
    CU_ASSERT_STRING_EQUAL(query(&f.operator, "{\"tenant\":\"acme\"," Q ",\"as\":\"user:ana\"}"), "d0,d1,d2,d5");
    STARTS(query(&f.operator, "{" Q "}"), "INVALID");
    STARTS(query(&f.operator, "{\"tenant\":\"nope\"," Q "}"), "NOT_FOUND: there is no tenant \"nope\"");
}

static void test_nobody(void) {
    STARTS(query(&f.nobody, "{" Q "}"), "UNAUTHENTICATED");
    CU_ASSERT_STRING_EQUAL(query(&f.nobody, "{\"tenant\":\"acme\"," Q "}"), "d0,d5");
    CU_ASSERT_STRING_EQUAL(query(&f.nobody, "{\"tenant\":\"acme\"," Q ",\"labels\":[\"group:hr\"]}"), "");
    STARTS(query(&f.nobody, "{\"tenant\":\"acme\"," Q ",\"as\":\"user:ana\"}"), "DENIED");
    CN_AUTO_FREE char *other = strdup(ask(&f, &f.nobody, "query", "{\"tenant\":\"other\"," Q "}"));
    CU_ASSERT_STRING_EQUAL(other, ask(&f, &f.nobody, "query", "{\"tenant\":\"nowhere\"," Q "}"));
    STARTS(other, "UNAUTHENTICATED");
    STARTS(ask(&f, &f.nobody, "versions.list", "{\"tenant\":\"acme\",\"index\":\"docs\"}"), "UNAUTHENTICATED");
    STARTS(ask(&f, &f.nobody, "stats", "{}"), "UNAUTHENTICATED");
    STARTS(ask(&f, &f.nobody, "health", "{}"), "{\"status\": \"ok\"");
}

/* Every method with a scope refuses a key without it, and nobody, before it looks at its fields. */
static void test_every_method_checks(void) {
    int seen = 0;
    for (const cn_method *const *group = cn_methods; *group; group++)
        for (const cn_method *m = *group; m->name; m++) {
            if (m->flags & CN_METHOD_OPEN)
                continue;
            STARTS(ask(&f, &f.nobody, m->name, "{}"), "UNAUTHENTICATED");
            STARTS(ask(&f, &hr, m->name, "{\"unknown\":1}"), m->scope & ~CN_SCOPE(query) ? "DENIED" : "INVALID");
            if (m->flags & CN_METHOD_HOST)
                STARTS(ask(&f, &admin_key, m->name, "{}"), "DENIED");
            seen++;
        }
    CU_ASSERT(seen > 30);
}

/* ---------- attempts at what a key may not do ---------- */
static uint64_t records(void) {
    cn_tenant *t;
    cn_audit_head h = {0};
    CU_ASSERT_EQUAL_FATAL(cn_tenant_open(cn_service_data(f.s), CN_STR("acme"), &t), CN_OK);
    CU_ASSERT_EQUAL(cn_audit_newest(t, &h), CN_OK);
    cn_tenant_unref(t);
    return h.seq;
}

/* Long or short: whatever would change something. */
static void test_attempts_are_recorded(void) {
    static const char *const methods[] = {"ingest.start", "ingest.rebuild", "ingest.cancel", "documents.put", "documents.delete", "versions.gc", "versions.compact", "gate.run",
        "admin.index_create", "admin.tenant_add", "admin.tenant_drop", "policy.erase", "versions.activate"};
    static const char *const looks[] = {"versions.diff", "audit.list", "audit.verify", "admin.key_list", "incident.find"};
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        uint64_t n = records();
        STARTS(ask(&f, &hr, methods[i], "{\"index\":\"docs\"}"), "DENIED");
        CU_ASSERT_EQUAL(records(), n + 1);
    }
    uint64_t n = records();
    for (size_t i = 0; i < sizeof looks / sizeof *looks; i++)
        STARTS(ask(&f, &hr, looks[i], "{\"index\":\"docs\"}"), "DENIED");
    STARTS(ask(&f, &hr, "versions.gc", "{\"index\":\"docs\",\"dry_run\":true}"), "DENIED");
    CU_ASSERT_EQUAL(records(), n);
    STARTS(ask(&f, &hr, "policy.erase", "{\"docs\":[\"d0\"],\"dry_run\":true}"), "DENIED"); /* it knows no such word */
    STARTS(ask(&f, &hr, "versions.gc", "{\"index\":\"docs\",\"dry_run\":1}"), "DENIED");
    CU_ASSERT_EQUAL(records(), n + 2);
}

static void test_a_key_outlives_none(void) {
    static char made[CN_KEY_TEXT];
    cn_caller brief;
    make_key(&f, "{\"tenant\":\"acme\",\"scopes\":[\"admin\"],\"expires\":\"2090-01-01T00:00:00Z\"}", &keys, &brief, made);
    STARTS(ask(&f, &brief, "admin.key_add", "{\"scopes\":[\"admin\"]}"), "DENIED: this key expires at 2090-01-01");
    STARTS(ask(&f, &brief, "admin.key_add", "{\"scopes\":[\"admin\"],\"expires\":\"2090-01-01T00:00:01Z\"}"), "DENIED");
    STARTS(ask(&f, &brief, "admin.key_add", "{\"scopes\":[\"admin\"],\"expires\":\"2090-01-01T00:00:00Z\"}"), "{");
    STARTS(ask(&f, &admin_key, "admin.key_add", "{\"scopes\":[\"admin\"]}"), "{");
}

/* Where the data lies is the operator's to know. */
static void test_errors_name_no_path(void) {
    char damaged[128];
    snprintf(damaged, sizeof damaged, "%s/models/broken", f.dir);
    CU_ASSERT_EQUAL(mkdir(damaged, 0700), 0);
    HAS(ask(&f, &f.operator, "admin.index_create", "{\"tenant\":\"acme\",\"index\":\"x\",\"embedder\":\"broken\"}"), f.dir);
    const char *a = ask(&f, &admin_key, "admin.index_create", "{\"index\":\"x\",\"embedder\":\"broken\"}");
    LACKS(a, f.dir);
    HAS(a, "DATA/models/broken");
    CU_ASSERT_EQUAL(rmdir(damaged), 0);
}

static void same_answer(cn_caller *who, const char *method, const char *there, const char *not_there, const char *from, const char *to) {
    char swapped[1200] = "";
    CN_AUTO_FREE char *a = strdup(ask(&f, who, method, there));
    const char *b = ask(&f, who, method, not_there), *at = strstr(b, to);
    CU_ASSERT_PTR_NOT_NULL_FATAL(at);
    snprintf(swapped, sizeof swapped, "%.*s%s%s", (int)(at - b), b, from, at + strlen(to));
    CU_ASSERT_STRING_EQUAL(a, swapped);
    STARTS(a, "NOT_FOUND");
}

static void test_answers_tell_nothing(void) {
    same_answer(&hr, "fetch", "{\"index\":\"docs\",\"doc\":\"d2\"}", "{\"index\":\"docs\",\"doc\":\"zz\"}", "d2", "zz");
    same_answer(&hr, "documents.get", "{\"index\":\"docs\",\"doc\":\"d4\"}", "{\"index\":\"docs\",\"doc\":\"zz\"}", "d4", "zz");
    same_answer(&none, "fetch", "{\"index\":\"docs\",\"doc\":\"d0\"}", "{\"index\":\"docs\",\"doc\":\"zz\"}", "d0", "zz");
    same_answer(&hr, "query", "{\"tenant\":\"other\"," Q "}", "{\"tenant\":\"nowhere\"," Q "}", "other", "nowhere");
    same_answer(&globbed, "query", "{\"index\":\"secret\",\"vector\":[1,0]}", "{\"index\":\"absent\",\"vector\":[1,0]}", "secret", "absent");
    same_answer(&globbed, "query", "{\"index\":\"secret\",\"vector\":[1,0]}", "{\"index\":\"docabsent\",\"vector\":[1,0]}", "secret", "docabsent");
    same_answer(&globbed, "versions.list", "{\"index\":\"secret\"}", "{\"index\":\"absent\"}", "secret", "absent");
    same_answer(&globbed, "documents.list", "{\"index\":\"secret\"}", "{\"index\":\"absent\"}", "secret", "absent");
    same_answer(&hr, "versions.list", "{\"tenant\":\"other\",\"index\":\"docs\"}", "{\"tenant\":\"nowhere\",\"index\":\"docs\"}", "other", "nowhere");
    const char *all = ask(&f, &hr, "query", "{" Q ",\"k\":10000}");
    LACKS(all, "\"d0\"");
    LACKS(all, "plan");
}

/* Whatever the gate asks of them, each takes no more of a call's memory than its own record. */
static void test_many_versions_with_a_gate(void) {
    char put[256];
    size_t cap = f.call.arena.cap;
    STARTS(ask(&f, &f.operator, "admin.index_create", "{\"tenant\":\"acme\",\"index\":\"many\",\"embedder\":\"none\"}"), "{");
    for (int i = 0; i < 24; i++) {
        snprintf(put, sizeof put, "{\"tenant\":\"acme\",\"index\":\"many\",\"documents\":[{\"id\":\"m\",\"text\":\"text %d\",\"labels\":[\"public\"]}]}", i);
        STARTS(ask(&f, &f.operator, "documents.put", put), "{");
    }
    STARTS(ask(&f, &f.operator, "gate.set", "{\"tenant\":\"acme\",\"index\":\"many\",\"requirements\":[\"a>=1\"]}"), "{");
    STARTS(ask(&f, &f.operator, "gate.submit", "{\"tenant\":\"acme\",\"index\":\"many\",\"version\":3,\"results\":{\"a\":1}}"), "{");
    f.call.arena.cap = (size_t)320 << 10;
    const char *a = ask(&f, &f.operator, "versions.list", "{\"tenant\":\"acme\",\"index\":\"many\"}");
    f.call.arena.cap = cap;
    STARTS(a, "{");
    CU_ASSERT(times_in(a, "\"gate\": \"met\"") == 1 && times_in(a, "\"gate\": \"unmet\"") == 23);
    STARTS(ask(&f, &f.operator, "admin.index_drop", "{\"tenant\":\"acme\",\"index\":\"many\"}"), "{");
}

/* What the scope versions tells of documents that its holder may not read: counts, but no names and no labels. */
static void test_versions_tell_by_scope(void) {
    STARTS(ask(&f, &f.operator, "admin.index_create", "{\"tenant\":\"acme\",\"index\":\"two\",\"embedder\":\"none\"}"), "{");
    STARTS(ask(&f, &f.operator, "documents.put", "{\"tenant\":\"acme\",\"index\":\"two\",\"activate\":true,\"documents\":["
               "{\"id\":\"t0\",\"text\":\"a\",\"labels\":[\"group:hr\"]},{\"id\":\"t1\",\"text\":\"b\",\"labels\":[\"user:ana\"]}]}"), "{");
    STARTS(ask(&f, &f.operator, "documents.put", "{\"tenant\":\"acme\",\"index\":\"two\",\"documents\":["
               "{\"id\":\"t0\",\"text\":\"a\",\"labels\":[\"group:hr\",\"user:bob\"]},{\"id\":\"t1\",\"text\":\"c\",\"labels\":[\"user:ana\"]}]}"), "{");
    const char *a = ask(&f, &hr, "versions.list", "{\"index\":\"two\"}");
    HAS(a, "\"state\": \"active\"");
    LACKS(a, "\"documents\"");
    LACKS(a, "\"counts\"");
    HAS(ask(&f, &keeper, "versions.list", "{\"index\":\"two\"}"), "\"documents\": 2");
    a = ask(&f, &keeper, "versions.diff", "{\"index\":\"two\",\"from\":1,\"to\":2}");
    HAS(a, "\"documents\": [{\"change\": \"relabelled\", \"source\": \"default\", \"doc\": \"t0\"}]");
    HAS(a, "\"changed\": 0, \"relabelled\": 1, \"more\": false"); /* t1 is none of its business */
    a = ask(&f, &f.operator, "versions.diff", "{\"tenant\":\"acme\",\"index\":\"two\",\"from\":1,\"to\":2}");
    HAS(a, "\"t1\"");
    HAS(a, "user:bob");
    HAS(a, "\"changed\": 1, \"relabelled\": 1");
    STARTS(ask(&f, &f.operator, "documents.put", "{\"tenant\":\"acme\",\"index\":\"two\",\"documents\":["
               "{\"id\":\"t0\",\"text\":\"b\",\"labels\":[\"user:bob\"]},{\"id\":\"t1\",\"text\":\"c\",\"labels\":[\"user:ana\",\"group:hr\"]}]}"), "{");
    a = ask(&f, &keeper, "versions.diff", "{\"index\":\"two\",\"from\":2,\"to\":3}"); /* that t0 is still there, and t1 was, is not told */
    HAS(a, "{\"change\": \"deleted\", \"source\": \"default\", \"doc\": \"t0\"}");
    HAS(a, "{\"change\": \"added\", \"source\": \"default\", \"doc\": \"t1\"}");
    HAS(a, "\"added\": 1, \"deleted\": 1, \"changed\": 0, \"relabelled\": 0");
    HAS(ask(&f, &f.operator, "versions.diff", "{\"tenant\":\"acme\",\"index\":\"two\",\"from\":2,\"to\":3}"), "\"added\": 0, \"deleted\": 0, \"changed\": 1, \"relabelled\": 1");
    STARTS(ask(&f, &f.operator, "versions.quarantine", "{\"tenant\":\"acme\",\"index\":\"two\",\"version\":2}"), "{");
    HAS(ask(&f, &keeper, "versions.diff", "{\"index\":\"two\",\"from\":2,\"to\":2}"), "\"documents\": []"); /* it may not be looked at */
    STARTS(ask(&f, &f.operator, "policy.deny", "{\"tenant\":\"acme\",\"docs\":[\"t0\"],\"labels\":[\"group:hr\"]}"), "{");
    a = ask(&f, &keeper, "versions.diff", "{\"index\":\"two\",\"from\":1,\"to\":2}");
    HAS(a, "\"documents\": []");
    HAS(a, "\"relabelled\": 0");
    STARTS(ask(&f, &f.operator, "admin.index_drop", "{\"tenant\":\"acme\",\"index\":\"two\"}"), "{");
}

static void test_wrong_fields(void) {
    static const char *const bad[] = {"{\"vector\":[1,0,0,0]}",
                                      "{\"index\":\"docs\"}",
                                      "{\"index\":\"docs\",\"text\":\"x\",\"vector\":[1,0,0,0]}",
                                      "{\"index\":\"docs\",\"text\":\"x\",\"mode\":\"dense\"}",
                                      "{\"index\":\"docs\",\"text\":\"  \"}",
                                      "{\"index\":\"docs\",\"vector\":[]}",
                                      "{\"index\":\"docs\",\"vector\":[1,0,0]}",
                                      "{\"index\":\"docs\",\"vector\":[0,0,0,0]}",
                                      "{\"index\":\"docs\",\"vector\":[1,0,0,\"x\"]}",
                                      "{\"index\":\"docs\",\"vector\":\"0123456\"}",
                                      "{\"index\":\"docs\",\"vector\":[1e300,0,0,0]}",
                                      "{" Q ",\"k\":0}",
                                      "{" Q ",\"k\":10001}",
                                      "{" Q ",\"k\":-1}",
                                      "{" Q ",\"k\":\"3\"}",
                                      "{" Q ",\"nonsense\":1}",
                                      "{" Q ",\"mode\":\"lexical\"}",
                                      "{" Q ",\"mode\":\"fast\"}",
                                      "{" Q ",\"filter\":{\"field\":\"lang\"}}",
                                      "{" Q ",\"filter\":[]}",
                                      "{" Q ",\"min_relevance\":1.5}",
                                      "{" Q ",\"on_degraded\":\"maybe\"}",
                                      "{" Q ",\"tags\":{\"a\":1}}",
                                      "{" Q ",\"deadline_ms\":0}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        STARTS(query(&hr, bad[i]), "INVALID: ");
    HAS(ask(&f, &hr, "query", "{" Q ",\"nonsense\":1}"), "nonsense");
    STARTS(query(&hr, "{" Q ",\"version\":7}"), "DENIED");
    STARTS(query(&hr, "{" Q ",\"explain\":true}"), "DENIED");
    STARTS(query(&hr, "{" Q ",\"min_version\":9}"), "UNAVAILABLE");
    STARTS(ask(&f, &hr, "no.such", "{}"), "NOT_FOUND: there is no method");
    CN_AUTO_BUF cn_buf out = {.cap = 1000};
    msgpack_object list = {.type = MSGPACK_OBJECT_ARRAY};
    f.call.caller = &hr;
    CU_ASSERT_EQUAL(cn_service_call(f.s, &f.call, CN_STR("query"), &list, &out), CN_INVALID);
    CU_ASSERT_EQUAL(cn_service_call(f.s, &f.call, CN_STR("health"), NULL, &out), CN_OK);
}

static void test_an_answer(void) {
    const char *a = ask(&f, &auditor, "query", "{" Q ",\"k\":1,\"explain\":true,\"mode\":\"hybrid\",\"traceparent\":\"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\"}");
    HAS(a, "\"doc\": \"d0\"");
    HAS(a, "\"text\": \"the public one\"");
    HAS(a, "\"score\": 1.0, \"relevance\": 0.9");
    HAS(a, "\"grounds\": {\"cosine\": 1.0, \"place\": ");
    HAS(a, "\"meta\": {\"lang\": \"en\"}");
    HAS(a, "\"bytes\": [0, 14]");
    HAS(a, "\"evidence\": \"ok\"");
    HAS(a, "\"mode\": \"dense\""); /* the half there is */
    HAS(a, "\"trace_id\": \"0af7651916cd43dd8448eb211c80319c\"");
    HAS(a, "\"version\": 1");
    HAS(a, "\"plan\": {");
    CU_ASSERT_STRING_EQUAL(query(&auditor, "{" Q ",\"filter\":{\"field\":\"lang\",\"eq\":\"en\"}}"), "d0");
    CU_ASSERT_STRING_EQUAL(query(&auditor, "{" Q ",\"min_relevance\":0.5}"), "d0");
    CU_ASSERT_STRING_EQUAL(query(&auditor, "{" Q ",\"version\":1}"), "d0,d5");
    HAS(ask(&f, &auditor, "query", "{\"index\":\"docs\",\"vector\":[0,1,0,0]}"), "\"evidence\": \"none\"");
    LACKS(ask(&f, &auditor, "query", "{" Q ",\"traceparent\":\"garbage\"}"), "garbage");
}

static void test_batch(void) {
    const char *a = ask(&f, &auditor, "query_batch", "{\"index\":\"docs\",\"k\":1,\"queries\":[{\"vector\":[1,0,0,0]},{\"vector\":[1]},{\"text\":\"\"},{\"vector\":[0,0,1,0],\"k\":2},{\"index\":\"secret\"},3]}");
    CU_ASSERT_STRING_EQUAL(ids(a), "d0,d5,d0");
    HAS(a, "{\"error\": \"INVALID: the vector has 1 numbers");
    HAS(a, "{\"error\": \"INVALID: the text is empty\"}");
    HAS(a, "has no field \\\"index\\\"\"}");
    HAS(a, "{\"error\": \"INVALID: a query of a batch must be a map\"}");
    STARTS(ask(&f, &auditor, "query_batch", "{\"index\":\"docs\",\"queries\":{}}"), "INVALID");
    CU_ASSERT_STRING_EQUAL(ask(&f, &auditor, "query_batch", "{\"index\":\"docs\",\"queries\":[]}"), "{\"results\": []}");
}

static void test_fetch(void) {
    const char *a = ask(&f, &auditor, "fetch", "{\"index\":\"docs\",\"doc\":\"d0\",\"bytes\":[4,10]}");
    HAS(a, "\"text\": \"public\", \"bytes\": [4, 10]");
    HAS(a, "\"matches\": true");
    a = ask(&f, &auditor, "fetch", "{\"index\":\"docs\",\"doc\":\"d0\",\"digest\":\"0000000000000000000000000000000000000000000000000000000000000000\"}");
    HAS(a, "\"matches\": false");
    HAS(ask(&f, &hr, "fetch", "{\"index\":\"docs\",\"doc\":\"d1\",\"version\":9,\"digest\":\"0000000000000000000000000000000000000000000000000000000000000000\"}"),
        "\"version\": 1");
    HAS(ask(&f, &auditor, "fetch", "{\"index\":\"docs\",\"doc\":\"d5\",\"bytes\":[0,12]}"), "\"bytes\": [0, 11]"); /* no half character */
    HAS(ask(&f, &auditor, "fetch", "{\"index\":\"docs\",\"doc\":\"d5\",\"bytes\":[500,900]}"), "\"text\": \"\"");
    STARTS(ask(&f, &auditor, "fetch", "{\"index\":\"docs\",\"doc\":\"d0\",\"bytes\":[4]}"), "INVALID");
    STARTS(ask(&f, &auditor, "fetch", "{\"index\":\"docs\",\"doc\":\"d0\",\"bytes\":[9,4]}"), "INVALID");
    STARTS(ask(&f, &auditor, "fetch", "{\"index\":\"docs\",\"doc\":\"d0\",\"digest\":\"xyz\"}"), "INVALID");
}

static void test_documents(void) {
    const char *a = ask(&f, &auditor, "documents.list", "{\"index\":\"docs\",\"limit\":1}");
    CU_ASSERT_STRING_EQUAL(ids(a), "d0");
    HAS(a, "\"next\": \"default/d0\"");
    HAS(a, "\"labels\": {\"allow\": [\"public\"]"); /* the scope audit */
    a = ask(&f, &auditor, "documents.list", "{\"index\":\"docs\",\"limit\":1,\"after\":\"default/d0\"}");
    CU_ASSERT_STRING_EQUAL(ids(a), "d5");
    LACKS(a, "next");
    a = ask(&f, &hr, "documents.list", "{\"index\":\"docs\"}");
    CU_ASSERT_STRING_EQUAL(ids(a), "d1");
    LACKS(a, "labels");
    CU_ASSERT_STRING_EQUAL(ids(ask(&f, &none, "documents.list", "{\"index\":\"docs\"}")), "");
    STARTS(ask(&f, &hr, "documents.list", "{\"index\":\"docs\",\"after\":\"nonsense\"}"), "INVALID");
    STARTS(ask(&f, &hr, "documents.list", "{\"index\":\"docs\",\"limit\":0}"), "INVALID");
    a = ask(&f, &hr, "documents.get", "{\"index\":\"docs\",\"doc\":\"d1\"}");
    HAS(a, "\"text\": \"for hr\"");
    HAS(a, "\"passages\": [{\"chunk\": 0, \"bytes\": [0, 6]");
}

static void test_key_with_the_request(void) {
    char json[256];
    snprintf(json, sizeof json, "{" Q ",\"key\":\"%s\"}", hr_key);
    CU_ASSERT_STRING_EQUAL(query(&f.nobody, json), "d1");
    CU_ASSERT_STRING_EQUAL(query(&auditor, json), "d1"); /* that key counts, no other */
    STARTS(query(&auditor, "{" Q ",\"key\":\"cairn_wrong\"}"), "UNAUTHENTICATED");
    json[strlen(json) - 4] = json[strlen(json) - 4] == 'A' ? 'B' : 'A';
    STARTS(query(&auditor, json), "UNAUTHENTICATED");
    STARTS(ask(&f, &f.nobody, "auth", "{\"key\":\"\"}"), "UNAUTHENTICATED");
    snprintf(json, sizeof json, "{\"key\":\"%s\"}", hr_key);
    HAS(ask(&f, &f.nobody, "auth", json), "\"scopes\": [\"query\"], \"labels\": [\"group:hr\"]");
}

static int64_t late(void) { return cn_os_real.wall_us() + 7200 * INT64_C(1000000); }

static void test_revoked_and_expired(void) {
    cn_caller gone, brief;
    char key[CN_KEY_TEXT], json[128], time[CN_TIME_TEXT];
    make_key(&f, "{\"tenant\":\"acme\",\"scopes\":[\"query\"],\"labels\":[\"public\"]}", &keys, &gone, key);
    CU_ASSERT_STRING_EQUAL(query(&gone, "{" Q "}"), "d0,d5");
    snprintf(json, sizeof json, "{\"tenant\":\"acme\",\"id\":\"%s\"}", gone.key.id);
    STARTS(ask(&f, &f.operator, "admin.key_revoke", json), "{");
    STARTS(query(&gone, "{" Q "}"), "UNAUTHENTICATED"); /* from the very next request */
    CU_ASSERT_STRING_EQUAL(query(&hr, "{" Q "}"), "d1"); /* others are read again, and stay */
    cn_time_text(cn_wall_us() + 3600 * INT64_C(1000000), time);
    snprintf(json, sizeof json, "{\"tenant\":\"acme\",\"scopes\":[\"query\"],\"labels\":[\"public\"],\"expires\":\"%s\"}", time);
    make_key(&f, json, &keys, &brief, key);
    CU_ASSERT_STRING_EQUAL(query(&brief, "{" Q "}"), "d0,d5");
    cn_os later = cn_os_real;
    later.wall_us = late;
    cn_os_now = &later;
    STARTS(query(&brief, "{" Q "}"), "UNAUTHENTICATED");
    cn_os_now = &cn_os_real;
}

static void test_members_hold_at_once(void) {
    STARTS(ask(&f, &f.operator, "members.sync", "{\"tenant\":\"acme\",\"text\":\"# an export that failed\\n\"}"), "REFUSED: the text names no member");
    CU_ASSERT_STRING_EQUAL(query(&app, "{" Q ",\"as\":\"user:ana\"}"), "d0,d1,d2,d5");
    CU_ASSERT_STRING_EQUAL(query(&app, "{" Q ",\"as\":\"user:bob\"}"), "d0,d5");
    STARTS(ask(&f, &f.operator, "members.add", "{\"tenant\":\"acme\",\"member\":\"user:bob\",\"labels\":[\"group:hr\"]}"), "{");
    CU_ASSERT_STRING_EQUAL(query(&app, "{" Q ",\"as\":\"user:bob\"}"), "d0,d1,d3,d5");
    STARTS(ask(&f, &f.operator, "members.remove", "{\"tenant\":\"acme\",\"member\":\"user:bob\"}"), "{");
    CU_ASSERT_STRING_EQUAL(query(&app, "{" Q ",\"as\":\"user:bob\"}"), "d0,d5");
    STARTS(ask(&f, &f.operator, "members.remove", "{\"tenant\":\"acme\",\"member\":\"user:bob\"}"), "NOT_FOUND");
    STARTS(ask(&f, &f.operator, "members.set", "{\"tenant\":\"acme\",\"member\":\"public\",\"labels\":[\"group:hr\"]}"), "INVALID");
    STARTS(ask(&f, &f.operator, "members.set", "{\"tenant\":\"acme\",\"member\":\"group:hr\",\"labels\":[\"group:staff\",\"user:ana\"]}"), "{");
    CU_ASSERT_STRING_EQUAL(query(&app, "{" Q ",\"as\":\"user:ana\"}"), "d0,d1,d2,d5"); /* groups that hold each other end */
    STARTS(ask(&f, &f.operator, "members.sync", "{\"tenant\":\"acme\",\"text\":\"# all\\nuser:ana group:hr\\nuser:ana public\\n\"}"), "INVALID: line 3");
    STARTS(ask(&f, &f.operator, "members.sync", "{\"tenant\":\"acme\",\"text\":\"user:ana\\n\"}"), "INVALID: line 1");
    HAS(ask(&f, &f.operator, "members.sync", "{\"tenant\":\"acme\",\"text\":\"user:ana group:hr\\ngroup:hr group:staff\\n\"}"), "2");
}

static void test_groups_too_deep(void) {
    char text[2000] = "", json[2400];
    for (int i = 0; i < 20; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "group:g%d group:g%d\\n", i, i + 1);
    snprintf(json, sizeof json, "{\"tenant\":\"other\",\"text\":\"%s\"}", text);
    STARTS(ask(&f, &f.operator, "members.sync", json), "{");
    cn_caller key;
    make_key(&f, "{\"tenant\":\"other\",\"scopes\":[\"query\",\"act-as\"]}", &keys, &key, scratch);
    STARTS(ask(&f, &key, "documents.list", "{\"index\":\"docs\",\"as\":\"group:g0\"}"), "REFUSED");
    LACKS(ask(&f, &key, "documents.list", "{\"index\":\"docs\",\"as\":\"group:g5\"}"), "REFUSED");
}

static void test_anonymous_can_be_changed(void) {
    CU_ASSERT_EQUAL(cn_service_set_anonymous(f.s, NULL, 0), CN_OK);
    STARTS(query(&f.nobody, "{\"tenant\":\"acme\"," Q "}"), "UNAUTHENTICATED");
    const char *acme[] = {"acme"};
    CU_ASSERT_EQUAL(cn_service_set_anonymous(f.s, acme, 1), CN_OK);
    CU_ASSERT_STRING_EQUAL(query(&f.nobody, "{\"tenant\":\"acme\"," Q "}"), "d0,d5");
}

/* What is asked for, searched with, and judged by its like while it serves, is one recall. */
static void test_recall_between_two(void) {
    static const struct {
        const char *given, *asked, *aims_at;
    } cases[] = {{"0.5", "\"recall_asked\": 0.9,", "\"recall_aimed_at\": 0.9,"}, {"0.91", "\"recall_asked\": 0.95,", "\"recall_aimed_at\": 0.95,"},
                 {"0.95", "\"recall_asked\": 0.95,", "\"recall_aimed_at\": 0.95,"}, {"0.991", "\"recall_asked\": 0.999,", "\"recall_aimed_at\": 0.999,"},
                 {"0.9995", "\"recall_asked\": 0.9995,", "\"recall_aimed_at\": 0.9995,"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char json[256];
        snprintf(json, sizeof json, "{\"tenant\":\"acme\",\"index\":\"docs\",\"vector\":[1,0,0,0],\"labels\":[\"public\"],\"mode\":\"dense\",\"explain\":true,\"recall\":%s}", cases[i].given);
        const char *a = ask(&f, &f.operator, "query", json);
        HAS(a, cases[i].asked);
        HAS(a, cases[i].aims_at);
    }
}

static void test_describe_and_stats(void) {
    const char *a = ask(&f, &f.nobody, "api.describe", "{}");
    HAS(a, "\"name\": \"query\", \"scope\": \"query\"");
    HAS(a, "{\"code\": \"OVERLOADED\"");
    HAS(a, "\"required\": true");
    HAS(ask(&f, &f.operator, "stats", "{}"), "\"tenants\": [");
    LACKS(ask(&f, &hr, "stats", "{}"), "pid");
    HAS(ask(&f, &hr, "stats", "{}"), "\"requests\": ");
}

static cn_cost cost_of_query(const char *json) {
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    CN_AUTO_BUF cn_buf packed = {.cap = 4096};
    CN_ASSERT(cn_json_parse(cn_str_of(json), &packed) == CN_OK && cn_unpack(&u, packed.p, packed.n) == CN_OK);
    return cn_service_cost(CN_STR("query"), &u.o);
}

static void test_relevance(void) {
    const cn_scale usual = CN_SCALE_USUAL;
    cn_grounds far = {.by_vector = true, .place = .1f}, near = {.by_vector = true, .place = 1}, words = {.by_words = true, .share = .5f, .words = 4};
    CU_ASSERT(cn_relevance(&far) >= 0 && cn_relevance(&far) < cn_relevance(&near) && cn_relevance(&near) <= 1);
    CU_ASSERT_DOUBLE_EQUAL(cn_scale_place(&usual, usual.apart), 0, 1e-6);
    CU_ASSERT_DOUBLE_EQUAL(cn_scale_place(&usual, usual.answering), 1, 1e-6);
    float half = cn_relevance(&words);
    words.words = 1;
    CU_ASSERT(cn_relevance(&words) < half); /* half of four words says more than half of one */
    words.words = 16;
    words.share = .25f;
    CU_ASSERT_DOUBLE_EQUAL(cn_relevance(&words), half, 1e-6);
    CU_ASSERT_STRING_EQUAL(cn_evidence(CN_EVIDENCE_OK, true), "ok");
    CU_ASSERT_STRING_EQUAL(cn_evidence(CN_EVIDENCE_WEAK, true), "weak");
    CU_ASSERT_STRING_EQUAL(cn_evidence(.1f, true), "none");
    CU_ASSERT_STRING_EQUAL(cn_evidence(1, false), "none");
    CU_ASSERT_EQUAL(cn_service_cost(CN_STR("health"), NULL), CN_COST_CHEAP);
    CU_ASSERT_EQUAL(cn_service_cost(CN_STR("query"), NULL), CN_COST_SEARCH);
    CU_ASSERT_EQUAL(cn_service_cost(CN_STR("query_batch"), NULL), CN_COST_DEAR);
    CU_ASSERT_EQUAL(cn_service_cost(CN_STR("ingest.start"), NULL), CN_COST_LONG);
    CU_ASSERT_EQUAL(cn_service_cost(CN_STR("no.such"), NULL), CN_COST_CHEAP);
    CU_ASSERT_EQUAL(cost_of_query("{\"text\":\"a text\"}"), CN_COST_DEAR);
    CU_ASSERT_EQUAL(cost_of_query("{\"text\":null,\"vector\":[1]}"), CN_COST_SEARCH);
}

/* Asks the packed query once more; only the call itself is counted. */
static uint64_t allocations(cn_caller *who, const char *json) {
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    CN_AUTO_BUF cn_buf packed = {.cap = 65536}, out = {.cap = 1 << 20};
    CN_ASSERT(cn_json_parse(cn_str_of(json), &packed) == CN_OK && cn_unpack(&u, packed.p, packed.n) == CN_OK);
    f.call.caller = who;
    uint64_t before = 0;
    for (int i = 0; i < 3; i++) {
        before = cn_alloc_count();
        cn_buf_reset(&out);
        CU_ASSERT_EQUAL(cn_service_call(f.s, &f.call, CN_STR("query"), &u.o, &out), CN_OK);
        cn_call_reset(&f.call);
    }
    return cn_alloc_count() - before;
}

static void test_a_warm_query_allocates_nothing(void) {
    CU_ASSERT_EQUAL(allocations(&hr, "{" Q "}"), 0);
    CU_ASSERT_EQUAL(allocations(&app, "{" Q ",\"as\":\"user:ana\",\"k\":100}"), 0);
    CU_ASSERT_EQUAL(allocations(&f.nobody, "{\"tenant\":\"acme\"," Q "}"), 0);
}

/* Fails each allocation in turn: an error, or the right answer; never a crash, never another's documents. */
static void test_out_of_memory(void) {
    for (uint64_t n = 1; n < 60; n++) {
        cn_call fresh;
        cn_alloc_fail_at(n);
        cn_err err = cn_call_init(&fresh);
        if (err == CN_OK) {
            cn_call kept = f.call;
            f.call = fresh;
            cn_buf_done(&f.answer);
            cn_buf_init(&f.answer, 1 << 20);
            CN_AUTO_UNPACKED cn_unpacked u = {0};
            CN_AUTO_BUF cn_buf packed = {.cap = 65536};
            cn_alloc_fail_at(0);
            CN_ASSERT(cn_json_parse(cn_str_of("{" Q ",\"as\":\"user:ana\"}"), &packed) == CN_OK && cn_unpack(&u, packed.p, packed.n) == CN_OK);
            f.call.caller = &app;
            cn_alloc_fail_at(n);
            err = cn_service_call(f.s, &f.call, CN_STR("query"), &u.o, &f.answer);
            cn_alloc_fail_at(0);
            CU_ASSERT(err == CN_OK || err == CN_OVERLOADED);
            cn_call_done(&f.call);
            f.call = kept;
        }
        cn_alloc_fail_at(0);
    }
    CU_ASSERT_STRING_EQUAL(query(&hr, "{" Q "}"), "d1");
}

int main(void) {
    CU_initialize_registry();
    set_up();
    CU_pSuite s = CU_add_suite("service", NULL, NULL);
    CU_add_test(s, "labels of keys", test_labels_of_keys);
    CU_add_test(s, "act as", test_act_as);
    CU_add_test(s, "operator", test_operator);
    CU_add_test(s, "nobody", test_nobody);
    CU_add_test(s, "every method checks", test_every_method_checks);
    CU_add_test(s, "attempts are recorded", test_attempts_are_recorded);
    CU_add_test(s, "a key outlives none", test_a_key_outlives_none);
    CU_add_test(s, "errors name no path", test_errors_name_no_path);
    CU_add_test(s, "answers tell nothing", test_answers_tell_nothing);
    CU_add_test(s, "versions tell by scope", test_versions_tell_by_scope);
    CU_add_test(s, "many versions with a gate", test_many_versions_with_a_gate);
    CU_add_test(s, "wrong fields", test_wrong_fields);
    CU_add_test(s, "an answer", test_an_answer);
    CU_add_test(s, "batch", test_batch);
    CU_add_test(s, "fetch", test_fetch);
    CU_add_test(s, "documents", test_documents);
    CU_add_test(s, "key with the request", test_key_with_the_request);
    CU_add_test(s, "revoked and expired", test_revoked_and_expired);
    CU_add_test(s, "members hold at once", test_members_hold_at_once);
    CU_add_test(s, "groups too deep", test_groups_too_deep);
    CU_add_test(s, "anonymous can be changed", test_anonymous_can_be_changed);
    CU_add_test(s, "recall between two", test_recall_between_two);
    CU_add_test(s, "describe and stats", test_describe_and_stats);
    CU_add_test(s, "relevance and costs", test_relevance);
    CU_add_test(s, "a warm query allocates nothing", test_a_warm_query_allocates_nothing);
    CU_add_test(s, "out of memory", test_out_of_memory);
    CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures(), ran = CU_get_number_of_tests_run();
    CU_cleanup_registry();
    cn_arena_done(&keys);
    fixture_done(&f);
    return failed || !ran;
}
