/* Why a document may be read or not, and how it stood in each version: a story in which each reason comes up once. */
#include <CUnit/CUnit.h>
#include <stdio.h>

#include "index/catalog/history.h"
#include "index/policy/principal.h"
#include "tests/index/small.h"
#include "tests/index/suites.h"

#define OK(x) CU_ASSERT_EQUAL(x, CN_OK)

/* Version 1: a for public and x; b denies u and requires v. Version 2 (active): a for x alone, b denies w too, c new. */
static int set_up(void) {
    static const s_row one[] = {{"a", "first", "public,group:x", "", ""}, {"b", "second", "public", "user:u", "user:v"}};
    static const s_row two[] = {{"a", "first", "group:x", "", ""}, {"b", "second", "public", "user:u,user:w", "user:v"}, {"c", "third", "public", "", ""}};
    if (!s_open())
        return 1;
    s_index("e");
    return s_seal("e", one, 2, NULL) != 1 || s_activate("e", 1) != CN_OK || s_seal("e", two, 3, NULL) != 2 || s_activate("e", 2) != CN_OK;
}

static int tear_down(void) {
    s_close();
    return 0;
}

/* The explanation for a holder of these labels; what a question says must agree. */
static cn_explained why(uint64_t version, const char *labels, const char *id) {
    cn_explained x = {.verdict = CN_V_ABSENT};
    cn_view *v;
    cn_principal who = cn_principal_of(s_labels(labels));
    OK(cn_view_open(s_tenant, CN_STR("e"), version, &v));
    OK(cn_view_explain(v, CN_STR("default"), cn_str_of(id), &who, &s_arena, &x));
    CU_ASSERT_EQUAL(s_sees("e", version, labels, id), x.verdict == CN_V_READABLE);
    cn_view_unref(v);
    return x;
}

static bool only(cn_labels l, const char *label) { return l.n == 1 && cn_str_is(l.v[0], label); }

static void test_rows(void) {
    cn_explained x = why(2, "public,group:x", "a");
    CU_ASSERT(x.verdict == CN_V_READABLE && only(x.met, "group:x") && only(x.row.allow, "group:x"));
    x = why(2, "public", "b");
    CU_ASSERT(x.verdict == CN_V_LACKING && only(x.lacking, "user:v") && only(x.met, "public"));
    x = why(2, "public,user:v,user:w", "b");
    CU_ASSERT(x.verdict == CN_V_DENIED && only(x.denied_by, "user:w") && x.lacking.n == 0);
    x = why(2, "group:y", "c");
    CU_ASSERT(x.verdict == CN_V_NOT_ALLOWED && x.met.n == 0);
    x = why(1, "public", "c");
    CU_ASSERT(x.verdict == CN_V_ABSENT && x.seg == NULL);
    CU_ASSERT_EQUAL(why(2, "public", "never was").verdict, CN_V_ABSENT);
}

static void test_revoked(void) { /* what version 2 took away is away in version 1 */
    cn_explained x = why(1, "public", "a");
    CU_ASSERT(x.verdict == CN_V_NOT_ALLOWED && x.row.allow.n == 2 && only(x.now.allow, "group:x"));
    CU_ASSERT_FATAL(x.said.n_lists == 1);
    CU_ASSERT(x.said.lists[0].version == 2 && only(x.said.lists[0].gone->allow, "public"));
    x = why(1, "public,user:v,user:w", "b");
    CU_ASSERT(x.verdict == CN_V_DENIED && only(x.row.deny, "user:u") && only(x.said.lists[0].gone->deny, "user:w"));
}

static void test_policy(void) {
    OK(s_policy(CN_POLICY_ALLOW, "c", "group:y", &s_who));
    cn_explained x = why(2, "group:y", "c");
    CU_ASSERT(x.verdict == CN_V_READABLE && only(x.said.granted, "group:y") && only(x.row.allow, "public"));
    OK(s_policy(CN_POLICY_DENY, "c", "user:z", &s_who));
    x = why(2, "group:y,user:z", "c");
    CU_ASSERT(x.verdict == CN_V_DENIED && only(x.said.denied, "user:z") && x.row.deny.n == 0);
    OK(s_policy(CN_POLICY_HIDE_GLOB, "[cd]", "", &s_who));
    x = why(2, "public", "c");
    CU_ASSERT_FATAL(x.verdict == CN_V_HIDDEN && x.said.n_patterns == 1);
    CU_ASSERT(cn_str_is(x.said.patterns[0]->glob, "[cd]") && !x.said.hidden && only(x.met, "public")); /* what let it through is told still */
    OK(s_policy(CN_POLICY_HIDE, "c", "", &s_who));
    OK(s_policy(CN_POLICY_UNHIDE_GLOB, "[cd]", "", &s_who));
    x = why(2, "public", "c");
    CU_ASSERT(x.verdict == CN_V_HIDDEN && x.said.hidden && x.said.n_patterns == 0);
    OK(s_policy(CN_POLICY_ERASE, "c", "", &s_who));
    CU_ASSERT(why(2, "public", "c").verdict == CN_V_ERASED);
    CU_ASSERT(why(1, "public", "c").verdict == CN_V_ERASED); /* also where it never was: its name is erased */
    OK(s_policy(CN_POLICY_RESTORE, "c", "", &s_why));
    x = why(2, "public", "c");
    CU_ASSERT(x.verdict == CN_V_ERASED && !x.said.erased && x.said.row_erased);
    CU_ASSERT(why(1, "public", "c").verdict == CN_V_ABSENT);
}

/* ---------- history ---------- */
typedef struct told {
    uint64_t number[8];
    cn_digest leaf[8], content[8];
    uint32_t allow[8], n, absent, unreadable;
} told;

static cn_err tell(void *ctx, const cn_version *v, const cn_stand *s, cn_err err) {
    told *t = ctx;
    t->unreadable += err != CN_OK;
    t->absent += err == CN_OK && !s;
    if (!s)
        return CN_OK;
    t->number[t->n] = v->number;
    t->leaf[t->n] = s->leaf;
    t->content[t->n] = s->content;
    t->allow[t->n++] = s->labels.allow.n;
    return CN_OK;
}

static told history(const char *id) {
    told t = {0};
    OK(cn_version_history(s_tenant, CN_STR("e"), CN_STR("default"), cn_str_of(id), tell, &t));
    return t;
}

static void test_history(void) {
    static const s_row three[] = {{"b", "second again", "public", "user:u,user:w", "user:v"}};
    CU_ASSERT_EQUAL(s_seal("e", three, 1, "a"), 3);
    told t = history("a");
    CU_ASSERT_FATAL(t.n == 2 && t.absent == 1 && t.unreadable == 0);
    CU_ASSERT(t.number[0] == 1 && t.allow[0] == 2 && t.number[1] == 2 && t.allow[1] == 1);
    CU_ASSERT(!cn_digest_eq(&t.leaf[0], &t.leaf[1]) && cn_digest_eq(&t.content[0], &t.content[1])); /* only its labels changed */
    t = history("b");
    CU_ASSERT(t.n == 3 && cn_digest_eq(&t.content[0], &t.content[1]) && !cn_digest_eq(&t.content[1], &t.content[2]));
    CU_ASSERT(history("never was").absent == 3);
}

/* ---------- through which groups ---------- */
static void test_trail(void) {
    cn_held *h;
    cn_labels all;
    uint32_t n;
    OK(cn_member_set(s_tenant, CN_STR("user:ana"), s_labels("group:hr"), &s_who));
    OK(cn_member_set(s_tenant, CN_STR("group:hr"), s_labels("group:staff,group:office"), &s_who));
    OK(cn_member_set(s_tenant, CN_STR("group:staff"), s_labels("group:hr,group:all"), &s_who)); /* a circle ends */
    OK(cn_principal_trail(s_tenant, CN_STR("user:ana"), &s_arena, &h, &n));
    OK(cn_principal_expand(s_tenant, CN_STR("user:ana"), &s_arena, &all));
    CU_ASSERT_FATAL(n == all.n && n == 6);
    for (uint32_t i = 0; i < n; i++) {
        bool found = h[i].through.n == 0;
        for (uint32_t k = 0; k < i; k++)
            found |= cn_str_eq(h[k].label, h[i].through);
        CU_ASSERT(found && cn_labels_has(all, h[i].label)); /* each through one that was found before */
        if (cn_str_is(h[i].label, "group:all"))
            CU_ASSERT(cn_str_is(h[i].through, "group:staff"));
        if (cn_str_is(h[i].label, "public"))
            CU_ASSERT_EQUAL(h[i].through.n, 0);
    }
}

void add_explain_suite(void) {
    CU_pSuite s = CU_add_suite("why a document may be read", set_up, tear_down);
    CU_add_test(s, "its row", test_rows);
    CU_add_test(s, "revoked by a later version", test_revoked);
    CU_add_test(s, "the policy", test_policy);
    CU_add_test(s, "in each version", test_history);
    CU_add_test(s, "through which groups", test_trail);
}
