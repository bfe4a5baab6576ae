/* A policy that takes over what did not change, and the views made under it, against those that are read whole. */
#include <CUnit/CUnit.h>
#include <stdio.h>
#include <stdlib.h>

#include "index/policy/policy_inside.h"
#include "index/policy/principal.h"
#include "index/search/view_inside.h"
#include "tests/index/oracle.h"
#include "tests/index/small.h"
#include "tests/index/suites.h"

#define OK(x) CU_ASSERT_EQUAL(x, CN_OK)
#define DOCS (2 * CN_TOUCH_BLOCK + 100)
#define NARROWED 700 /* documents of versions 2 and 3 */
#define VERSIONS 3
#define SEEN_MAX ((size_t)64 << 20)

static char ids[DOCS + 50][8]; /* those behind DOCS are in no version */
static bool erased[DOCS + 50];
static const char *const labels[] = {"group:x", "group:y", "public", "user:z"};
static const char *const principals[] = {"", "group:x", "group:y,public", "public,user:z"};

static uint64_t seal(o_rand *r, unsigned from, unsigned n) {
    s_row *rows = calloc(n, sizeof *rows);
    for (unsigned i = 0; rows && i < n; i++)
        rows[i] = (s_row){ids[from + i], "text", labels[o_below(r, 4)], o_chance(r, 10) ? "group:y" : "", o_chance(r, 10) ? "public" : ""};
    uint64_t number = rows ? s_seal("p", rows, n, NULL) : 0;
    free(rows);
    return number;
}

static int set_up(void) {
    o_rand r = {7};
    for (unsigned i = 0; i < DOCS + 50; i++)
        snprintf(ids[i], sizeof ids[i], "d%u", i);
    if (!s_open())
        return 1;
    s_index("p");
    return seal(&r, 0, DOCS) != 1 || s_activate("p", 1) != CN_OK || seal(&r, 400, NARROWED) != 2 || seal(&r, 900, NARROWED) != VERSIONS;
}

static int tear_down(void) {
    s_close();
    memset(erased, 0, sizeof erased);
    return 0;
}

/* ---------- all that is in memory, as bytes ---------- */
static void add_triple(cn_buf *b, const cn_triple *t) {
    cn_labels_pack(b, t->allow);
    cn_labels_pack(b, t->deny);
    cn_labels_pack(b, t->require);
}

static void add_policy(cn_buf *b, const cn_policy *p) {
    for (unsigned i = 0; i < CN_POLICY_BLOCKS; i++)
        for (uint32_t k = 0; p->blocks[i] && k < p->blocks[i]->n; k++)
            cn_policy_doc_pack(b, &p->blocks[i]->v[k]);
    for (uint32_t i = 0; i < p->n_patterns; i++)
        cn_pack_str(b, p->patterns[i].source), cn_pack_str(b, p->patterns[i].glob);
    for (uint32_t i = 0; i < p->n_lists; i++) {
        cn_pack_uint(b, p->lists[i]->number);
        for (uint32_t k = 0; k < p->lists[i]->n; k++)
            cn_pack_bin(b, &p->lists[i]->v[k].key, sizeof(cn_key)), add_triple(b, &p->lists[i]->v[k].gone);
    }
}

static void add_part(cn_buf *b, const cn_view_part *p) {
    for (uint32_t doc = 0; doc < cn_seg_docs(p->seg); doc++) {
        const cn_touched *t = cn_touches_find(p->touches, doc);
        if (!t || (p->hidden && roaring_bitmap_contains(p->hidden, doc))) /* whatever else is said of what a pattern hides */
            continue;
        cn_pack_uint(b, doc);
        cn_pack_bool(b, t->effect.dead);
        add_triple(b, &t->effect.labels); /* of a dead one: none */
    }
}

static void add_view(cn_buf *b, cn_view *v) {
    for (uint32_t i = 0; i < v->n_parts; i++)
        add_part(b, &v->parts[i]);
    for (unsigned w = 0; w < sizeof principals / sizeof *principals; w++) {
        cn_principal who = cn_principal_of(s_labels(principals[w]));
        cn_permit *p = NULL;
        OK(cn_permit_get(v, &who, NULL, 0, &p));
        for (uint32_t i = 0; p && i < v->n_parts; i++)
            cn_pack_uint(b, p->n_rows[i]), cn_pack_bin(b, p->rows[i], (cn_seg_rows(v->parts[i].seg) / 64 + 1) * 8);
        cn_permit_unref(p);
    }
}

static cn_view *view_of(uint64_t number) {
    cn_view *v = NULL;
    OK(cn_view_open(s_tenant, CN_STR("p"), number, &v));
    return v;
}

static cn_buf look(void) {
    cn_buf b = {.cap = SEEN_MAX};
    cn_policy *p = NULL;
    OK(cn_policy_load(s_tenant, &p));
    if (p)
        add_policy(&b, p);
    cn_policy_unref(p);
    for (uint64_t n = 0; n <= VERSIONS; n++) {
        cn_view *v = view_of(n);
        if (v)
            add_view(&b, v);
        cn_view_unref(v);
    }
    CU_ASSERT(b.n > 0 && cn_buf_check(&b) == CN_OK);
    return b;
}

static void reopen(void) {
    cn_tenant_unref(s_tenant);
    cn_data_close(s_data);
    CU_ASSERT_FATAL(s_open_again());
}

static bool as_read_whole(void) {
    CN_AUTO_BUF cn_buf now = look();
    reopen();
    CN_AUTO_BUF cn_buf whole = look();
    return cn_str_eq(cn_buf_str(&now), cn_buf_str(&whole));
}

/* ---------- a history ---------- */
static cn_policy_change random_change(o_rand *r) {
    static const cn_policy_op ops[] = {CN_POLICY_ALLOW, CN_POLICY_ALLOW, CN_POLICY_DENY, CN_POLICY_DENY, CN_POLICY_DENY, CN_POLICY_CLEAR, CN_POLICY_HIDE, CN_POLICY_UNHIDE, CN_POLICY_ERASE,
                                       CN_POLICY_HIDE_GLOB, CN_POLICY_UNHIDE_GLOB, CN_POLICY_HIDE_SOURCE, CN_POLICY_UNHIDE_SOURCE, CN_POLICY_UNHIDE_SOURCE};
    static const char *const globs[] = {"d1?", "d20*", "*9"};
    unsigned doc = o_chance(r, 50) ? o_below(r, DOCS + 50) : o_below(r, 60); /* some again and again */
    cn_policy_op op = ops[o_below(r, sizeof ops / sizeof *ops)];
    if (op >= CN_POLICY_HIDE_GLOB && o_chance(r, 60))
        op = CN_POLICY_DENY;
    if (erased[doc] && op < CN_POLICY_RESTORE && o_chance(r, 50))
        op = CN_POLICY_RESTORE;
    bool glob = op == CN_POLICY_HIDE_GLOB || op == CN_POLICY_UNHIDE_GLOB;
    if (op == CN_POLICY_ERASE || op == CN_POLICY_RESTORE)
        erased[doc] = op == CN_POLICY_ERASE;
    return (cn_policy_change){op, CN_STR("default"), cn_str_of(glob ? globs[o_below(r, 3)] : ids[doc]),
                              op <= CN_POLICY_CLEAR ? s_labels(op == CN_POLICY_CLEAR && o_chance(r, 30) ? "" : labels[o_below(r, 4)]) : (cn_labels){0}};
}

static void random_policy(o_rand *r) {
    cn_policy_change c[8];
    uint64_t epoch;
    uint32_t n = o_chance(r, 70) ? 1 : 1 + o_below(r, 8);
    bool brief = o_chance(r, 10);
    for (uint32_t i = 0; i < n && !brief; i++)
        c[i] = random_change(r);
    if (brief) { /* nobody sees it between the two */
        unsigned doc = o_below(r, DOCS);
        c[0] = (cn_policy_change){CN_POLICY_ERASE, CN_STR("default"), cn_str_of(ids[doc]), {0}};
        c[1] = c[0];
        c[1].op = CN_POLICY_RESTORE;
        n = 2;
        erased[doc] = false;
    }
    OK(cn_policy_apply(s_tenant, c, n, &s_why, &epoch));
}

/* Flips put lists in force and reinstating ends them; some are refused. */
static void random_flip(o_rand *r) {
    uint64_t epoch, from, to, number = 1 + o_below(r, VERSIONS);
    switch (o_below(r, 4)) {
    case 0: cn_policy_reinstate(s_tenant, CN_STR("p"), number, &s_why, &epoch); break;
    case 1:
        if (cn_version_rollback(s_tenant, CN_STR("p"), 0, &s_why, &from, &to) == CN_OK)
            OK(cn_version_release(s_tenant, CN_STR("p"), &s_why));
        break;
    case 2: OK(s_activate("p", number)); break;
    default: OK(cn_member_set(s_tenant, CN_STR("user:z"), s_labels(labels[o_below(r, 4)]), &s_who));
    }
}

static void history(uint64_t seed) {
    o_rand r = {seed};
    for (unsigned round = 0; round < 12; round++) {
        for (unsigned i = 0; i < 6; i++) {
            if (o_chance(&r, 75))
                random_policy(&r);
            else
                random_flip(&r);
            if (o_chance(&r, 70)) { /* else the next one takes over from farther back */
                CN_AUTO_BUF cn_buf b = look();
            }
        }
        bool same = as_read_whole();
        CU_ASSERT_TRUE(same);
        if (!same) {
            printf("\n  CAIRN_SEED=%llu, round %u", (unsigned long long)seed, round);
            return;
        }
    }
}

static void test_histories(void) {
    const char *given = getenv("CAIRN_SEED");
    for (uint64_t seed = given ? strtoull(given, NULL, 10) : 1, n = 0; n < 12; n++, seed++)
        history(seed);
    uint64_t epoch;
    static const cn_policy_change unhide = {CN_POLICY_UNHIDE_SOURCE, {"default", 7}, {"", 0}, {0}};
    OK(cn_policy_apply(s_tenant, &unhide, 1, &s_why, &epoch));
}

/* ---------- what is taken over ---------- */
static unsigned shared_blocks(const cn_policy *p, const cn_policy *q) {
    unsigned n = 0;
    for (unsigned i = 0; i < CN_POLICY_BLOCKS; i++)
        n += p->blocks[i] == q->blocks[i];
    return n;
}

static unsigned other_blocks(const cn_view *v, const cn_view *w) {
    unsigned n = 0;
    for (uint32_t i = 0; i < v->n_parts; i++)
        for (uint32_t k = 0; k < v->parts[i].touches->n; k++)
            n += v->parts[i].touches->blocks[k] != w->parts[i].touches->blocks[k];
    return n;
}

static cn_policy *policy_now(void) {
    cn_policy *p = NULL;
    OK(cn_policy_load(s_tenant, &p));
    CU_ASSERT_PTR_NOT_NULL_FATAL(p);
    return p;
}

static cn_permit *set_of(cn_view *v, const char *who) {
    cn_principal p = cn_principal_of(s_labels(who));
    cn_permit *set = NULL;
    OK(cn_permit_get(v, &p, NULL, 0, &set));
    CU_ASSERT_PTR_NOT_NULL_FATAL(set);
    return set;
}

/* One denial makes one block of the policy anew, one of the view, and a set out of the one before; who reads the one before
 * goes on with it. */
static void test_one_change(void) {
    for (unsigned i = 0; i < DOCS; i += 3)
        OK(s_policy(CN_POLICY_DENY, ids[i], "user:any", &s_who));
    OK(s_activate("p", 1));
    CN_AUTO_BUF cn_buf first = look();
    cn_policy *before = policy_now();
    cn_view *old = view_of(1);
    CN_AUTO_BUF cn_buf was = {.cap = SEEN_MAX};
    CN_AUTO_BUF cn_buf still = {.cap = SEEN_MAX};
    add_policy(&was, before), add_view(&was, old);
    OK(s_policy(CN_POLICY_DENY, ids[1500], "user:other", &s_who));
    cn_policy *now = policy_now();
    cn_view *v = view_of(1);
    CU_ASSERT(now != before && shared_blocks(now, before) == CN_POLICY_BLOCKS - 1);
    CU_ASSERT_EQUAL(other_blocks(v, old), 1);
    CU_ASSERT_EQUAL(s_sees("p", 1, "user:other", ids[1500]), 0);
    OK(s_policy(CN_POLICY_HIDE, "in no version", "", &s_who));
    cn_view *next = view_of(1);
    cn_permit *a = set_of(v, "public"), *b = set_of(next, "public");
    CU_ASSERT(next != v && other_blocks(next, v) == 0);
    cn_view *later = view_of(1);
    cn_permit *c = set_of(later, "public");
    CU_ASSERT_PTR_EQUAL(b, c);
    CU_ASSERT_EQUAL(a->n_rows[0], b->n_rows[0]);
    add_policy(&still, before), add_view(&still, old);
    CU_ASSERT(cn_str_eq(cn_buf_str(&was), cn_buf_str(&still)));
    cn_permit_unref(a), cn_permit_unref(b), cn_permit_unref(c);
    cn_view_unref(old), cn_view_unref(v), cn_view_unref(next), cn_view_unref(later);
    cn_policy_unref(before), cn_policy_unref(now);
    CU_ASSERT_TRUE(as_read_whole());
}

/* More than anybody looks up one by one. */
static void test_many_changes(void) {
    static cn_policy_change c[DOCS];
    uint64_t epoch;
    CN_AUTO_BUF cn_buf first = look();
    for (unsigned i = 0; i < DOCS; i++)
        c[i] = (cn_policy_change){CN_POLICY_DENY, CN_STR("default"), cn_str_of(ids[i]), s_labels("user:many")};
    OK(cn_policy_apply(s_tenant, c, DOCS, &s_why, &epoch));
    CU_ASSERT_TRUE(as_read_whole());
}

/* ---------- where nothing may be taken over ---------- */
typedef struct forge {
    const char *id;
    bool lose;           /* the newest audit record is damaged */
    bool sum;            /* the count and digest follow */
} forge;

/* A document is hidden, and no audit record tells which. */
static cn_err forge_in(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    const forge *f = ctx;
    CN_AUTO_BUF cn_buf b = {.cap = 4096};
    char at[33] = "d";
    cn_sum sum;
    cn_policy_doc d = {.key = cn_key_of(CN_STR("default"), cn_str_of(f->id)), .source = CN_STR("default"), .id = cn_str_of(f->id), .hidden = true, .erased_us = CN_NO_TIME};
    memcpy(at + 1, &d.key, sizeof d.key);
    cn_policy_doc_pack(&b, &d);
    CN_TRY(cn_sum_get(txn, c->policy, CN_POLICY_WHAT, &sum));
    CN_TRY(cn_sum_replace(txn, c->policy, (cn_str){at, sizeof at}, cn_buf_str(&b), &sum));
    if (f->sum)
        CN_TRY(cn_sum_put(txn, c->policy, &sum));
    if (f->lose) {
        uint64_t seq;
        CN_TRY(cn_audit_add(s_tenant, txn, &s_who, "policy.hide", cn_str_of(f->id), "done", (cn_str){0}));
        CN_TRY(cn_audit_seq(txn, c->meta, &seq));
        cn_catalog_key key = cn_key2(seq, 0);
        CN_TRY(cn_db_put(txn, c->audit, (cn_str){(const char *)key.b, 8}, CN_STR("no record")));
    }
    return cn_epoch_raise(s_tenant, txn, NULL);
}

static void test_untold(void) {
    CN_AUTO_BUF cn_buf first = look();
    OK(s_policy(CN_POLICY_ALLOW, "d700", "public", &s_who)); /* so that it is seen where nothing hides it */
    OK(cn_catalog_write(s_tenant, forge_in, &(forge){.id = "d701", .sum = true}));
    CU_ASSERT_EQUAL(s_sees("p", 1, "group:x,group:z", "d701"), 0);
    cn_policy *p = policy_now();
    cn_key key = cn_key_of(CN_STR("default"), CN_STR("d701"));
    CU_ASSERT(cn_policy_find(p, &key) && cn_policy_find(p, &key)->hidden);
    cn_policy_unref(p);
    CU_ASSERT_TRUE(as_read_whole());
    OK(cn_catalog_write(s_tenant, forge_in, &(forge){.id = "d702", .sum = true, .lose = true}));
    key = cn_key_of(CN_STR("default"), CN_STR("d702"));
    p = policy_now();
    CU_ASSERT(cn_policy_find(p, &key) && cn_policy_find(p, &key)->hidden);
    cn_policy_unref(p);
    CU_ASSERT_TRUE(as_read_whole());
}

/* Records and their sum disagree: no answer, whatever was known before. */
static void test_damage(void) {
    CN_AUTO_BUF cn_buf first = look();
    OK(cn_catalog_write(s_tenant, forge_in, &(forge){.id = "d703"}));
    OK(s_policy(CN_POLICY_DENY, "d703", "group:y", &s_who)); /* in the same block */
    CU_ASSERT_EQUAL(s_sees("p", 1, "public", "d704"), -2);
    CU_ASSERT(strstr(cn_error_detail(), "count and digest") != NULL);
    cn_view *v;
    CU_ASSERT_EQUAL(cn_view_open(s_tenant, CN_STR("p"), 1, &v), CN_DAMAGED);
}

void add_policy_next_suite(void) {
    CU_pSuite s = CU_add_suite("policies one after the other", set_up, tear_down);
    CU_add_test(s, "histories", test_histories);
    CU_add_test(s, "one change", test_one_change);
    CU_add_test(s, "many changes", test_many_changes);
    CU_add_test(s, "what no audit record tells", test_untold);
    CU_add_test(s, "damage", test_damage);
}
