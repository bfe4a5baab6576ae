/* What single methods promise beside their answers: which fields they take, as of when they speak, on whose behalf, and under
 * which name they stand in the audit chain. */
#include <CUnit/Basic.h>
#include <CUnit/CUnit.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "index/policy/policy.h"
#include "server/service/inside.h"
#include "tests/server/fixture.h"

static fixture f;
static cn_arena keys;
static cn_caller app, hr, limited;

#define HAS(text, part) CU_ASSERT_TRUE(has((text), (part), true, __LINE__))
#define LACKS(text, part) CU_ASSERT_TRUE(has((text), (part), false, __LINE__))

static bool has(const char *text, const char *part, bool want, int line) {
    bool found = strstr(text, part) != NULL;
    if (found != want)
        printf("\n  line %d: \"%s\" is %sin %.1500s\n", line, part, found ? "" : "not ", text);
    return found == want;
}

static const char *as_operator(const char *method, const char *json) { return ask(&f, &f.operator, method, json); }

/* ---------- policy.apply ---------- */
static const char *apply(const char *change) {
    char json[512];
    snprintf(json, sizeof json, "{\"tenant\":\"acme\",\"changes\":[{\"op\":\"hide\",\"docs\":[\"d0\"]},%s]}", change);
    return as_operator("policy.apply", json);
}

/* A field that the op would pass over in silence is refused by its name, and nothing is done. */
static void test_fields_of_each_op(void) {
    static const char *const wrong[][2] = {
        {"{\"op\":\"deny\",\"docs\":[\"d1\"],\"labels\":[\"x:y\"],\"glob\":\"secret/*\"}", "glob"},
        {"{\"op\":\"allow\",\"docs\":[\"d1\"],\"labels\":[\"x:y\"],\"all_of\":\"default\"}", "all_of"},
        {"{\"op\":\"clear\",\"docs\":[\"d1\"],\"glob\":\"*\"}", "glob"},
        {"{\"op\":\"erase\",\"docs\":[\"d1\"],\"labels\":[\"x:y\"]}", "labels"},
        {"{\"op\":\"restore\",\"docs\":[\"d1\"],\"labels\":[\"x:y\"]}", "labels"},
        {"{\"op\":\"hide\",\"docs\":[\"d1\"],\"labels\":[\"x:y\"]}", "labels"},
        {"{\"op\":\"unhide\",\"glob\":\"*\",\"labels\":[]}", "labels"},
        {"{\"op\":\"hide\",\"all_of\":\"default\",\"source\":\"other\"}", "source"},
        {"{\"op\":\"deny\",\"docs\":[\"d1\"],\"labels\":[\"x:y\"],\"reason\":\"r\"}", "reason"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char want[64];
        const char *a = apply(wrong[i][0]);
        snprintf(want, sizeof want, "field \"%s\"", wrong[i][1]);
        HAS(a, "INVALID: change 2: ");
        HAS(a, want);
    }
    HAS(apply("{\"op\":\"burn\",\"docs\":[\"d1\"]}"), "INVALID: change 2: unknown op \"burn\"");
    HAS(as_operator("policy.show", "{\"tenant\":\"acme\",\"docs\":[\"d0\",\"d1\"]}"), "\"denied\": [], \"hidden\": false, \"hidden_by\": [], \"erased\": false}]");
    HAS(apply("{\"op\":\"deny\",\"docs\":[\"d1\"],\"labels\":[\"x:y\"],\"source\":\"default\"}"), "\"documents\": 2");
    HAS(apply("{\"op\":\"clear\",\"docs\":[\"d1\"],\"labels\":[\"x:y\"]}"), "\"documents\": 2");
    HAS(apply("{\"op\":\"unhide\",\"docs\":[\"d0\"],\"source\":\"default\"}"), "\"documents\": 2");
}

/* ---------- policy.show ---------- */
static _Atomic bool stop;

static void *toggle(void *arg) {
    const cn_actor who = {CN_STR("tester"), CN_STR("command"), CN_STR("test")};
    uint64_t epoch;
    for (int i = 0; !stop; i++) {
        cn_policy_op op = i % 2 ? CN_POLICY_UNHIDE : CN_POLICY_HIDE;
        const cn_policy_change both[] = {{op, CN_STR("default"), CN_STR("first"), {0}}, {op, CN_STR("default"), CN_STR("last"), {0}}};
        CU_ASSERT_EQUAL(cn_policy_apply(arg, both, 2, &who, &epoch), CN_OK);
    }
    return NULL;
}

/* Of two documents that are hidden and shown together no answer tells that one is and the other not. */
static void test_shown_as_of_one_epoch(void) {
    char json[4096] = "{\"tenant\":\"acme\",\"docs\":[\"first\"";
    unsigned torn = 0;
    pthread_t t;
    cn_tenant *acme;
    for (int i = 0; i < 200; i++)
        snprintf(json + strlen(json), 16, ",\"x%d\"", i);
    strcat(json, ",\"last\"]}");
    CU_ASSERT_EQUAL_FATAL(cn_tenant_open(f.s->data, CN_STR("acme"), &acme), CN_OK);
    CU_ASSERT_EQUAL_FATAL(pthread_create(&t, NULL, toggle, acme), 0);
    for (int i = 0; i < 200; i++)
        torn += times_in(as_operator("policy.show", json), "\"hidden\": true") == 1;
    stop = true;
    pthread_join(t, NULL);
    cn_tenant_unref(acme);
    CU_ASSERT_EQUAL(torn, 0);
}

/* ---------- versions.diff ---------- */
/* On behalf of somebody: what that one may read, and no more. */
static void test_diff_on_behalf(void) {
    HAS(as_operator("documents.put", "{\"tenant\":\"acme\",\"index\":\"docs\",\"documents\":[{\"id\":\"n0\",\"text\":\"a\",\"labels\":[\"group:hr\"],\"vector\":[1,1,0,0]},"
                    "{\"id\":\"n1\",\"text\":\"b\",\"labels\":[\"user:bob\"],\"vector\":[1,1,0,0]}]}"), "{");
    HAS(ask(&f, &app, "versions.diff", "{\"index\":\"docs\",\"from\":1,\"to\":2}"), "INVALID: this key asks on behalf of people");
    const char *a = ask(&f, &app, "versions.diff", "{\"index\":\"docs\",\"from\":1,\"to\":2,\"as\":\"user:ana\"}");
    HAS(a, "\"n0\"");
    LACKS(a, "n1");
    HAS(a, "\"added\": 1");
    LACKS(a, "group:hr");
    a = ask(&f, &app, "versions.diff", "{\"index\":\"docs\",\"from\":1,\"to\":2,\"as\":\"user:ana\",\"labels\":[\"user:ana\"]}");
    HAS(a, "\"added\": 0");
    a = as_operator("versions.diff", "{\"tenant\":\"acme\",\"index\":\"docs\",\"from\":1,\"to\":2,\"labels\":[\"user:bob\"]}");
    HAS(a, "\"n1\"");
    LACKS(a, "n0");
    HAS(as_operator("versions.diff", "{\"tenant\":\"acme\",\"index\":\"docs\",\"from\":1,\"to\":2}"), "\"added\": 2");
}

/* ---------- the audit chain ---------- */
/* A denied attempt bears the name that the action has when it is done, and whoever sees the one sees the other. */
static void test_one_name_of_an_action(void) {
    static const char *const tried[][3] = {
        {"versions.activate", "\"index\":\"docs\",\"version\":1", "version.activate"}, {"admin.index_set", "\"index\":\"docs\",\"mode\":\"exact\"", "index.set"},
        {"ingest.start", "\"index\":\"docs\"", "index.ingest"},                          {"documents.delete", "\"index\":\"docs\",\"docs\":[\"d0\"]", "index.ingest"},
        {"modes.set", "\"index\":\"docs\",\"mode\":\"freeze\"", "mode.set"},            {"gate.set", "\"index\":\"docs\",\"requirements\":[\"none\"]", "gate.set"}};
    for (size_t i = 0; i < sizeof tried / sizeof *tried; i++) {
        char json[256], action[64];
        snprintf(json, sizeof json, "{%s}", tried[i][1]);
        HAS(ask(&f, &hr, tried[i][0], json), "DENIED");
        snprintf(action, sizeof action, "\"action\": \"%s\", \"target\": \"docs\"", tried[i][2]);
        const char *a = ask(&f, &limited, "audit.list", "{\"limit\":1}");
        HAS(a, action);
        HAS(a, "refused: ");
    }
    HAS(ask(&f, &hr, "members.add", "{\"member\":\"user:eve\",\"labels\":[\"group:hr\"]}"), "DENIED");
    HAS(as_operator("audit.list", "{\"tenant\":\"acme\",\"limit\":1}"), "\"action\": \"member.add\"");
    HAS(ask(&f, &hr, "admin.key_revoke", "{\"id\":\"aaaaaaaa\"}"), "DENIED");
    HAS(as_operator("audit.list", "{\"tenant\":\"acme\",\"limit\":1}"), "\"action\": \"key.revoke\"");
}

static void set_up(void) {
    char scratch[CN_KEY_TEXT];
    fixture_init(&f);
    cn_arena_init(&keys, 4096, 1 << 20);
    make_key(&f, "{\"tenant\":\"acme\",\"scopes\":[\"query\"],\"labels\":[\"group:hr\"]}", &keys, &hr, scratch);
    make_key(&f, "{\"tenant\":\"acme\",\"scopes\":[\"query\",\"versions\",\"act-as\"]}", &keys, &app, scratch);
    make_key(&f, "{\"tenant\":\"acme\",\"scopes\":[\"audit\"],\"index\":\"doc*\"}", &keys, &limited, scratch);
}

int main(void) {
    CU_initialize_registry();
    set_up();
    CU_pSuite s = CU_add_suite("methods", NULL, NULL);
    CU_add_test(s, "fields of each op", test_fields_of_each_op);
    CU_add_test(s, "shown as of one epoch", test_shown_as_of_one_epoch);
    CU_add_test(s, "a difference on behalf of somebody", test_diff_on_behalf);
    CU_add_test(s, "one name of an action", test_one_name_of_an_action);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures();
    CU_cleanup_registry();
    cn_arena_done(&keys);
    fixture_done(&f);
    return failed != 0;
}
