/* Questions in two threads while a third flips, hides, denies and erases: each answer belongs to a state that was there while
 * it was asked, and what is erased never comes back. Run it under TSan too. */
#include <CUnit/Basic.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/index/oracle.h"
#include "tests/index/small.h"

#define READERS 2

/* "h" is hidden at times, "d" denied to public at times, "e" erased once; "n" is narrower in version 2; "v" is in version 1 only. */
static const s_row one[] = {{"d", "d", "public", "", ""}, {"e", "e", "public", "", ""}, {"h", "h", "public", "", ""}, {"n", "n", "public,group:x", "", ""},
                            {"v", "v", "public", "", ""}};
static const s_row two[] = {{"n", "n", "group:x", "", ""}};

/* Even: at rest in the state below; odd: a change is under way. */
static _Atomic uint64_t turn;
static _Atomic unsigned active;
static _Atomic bool hidden, denied, erased, stop;
static _Atomic unsigned long wrong, certain, asked;
static unsigned long changes = 300;

typedef struct answer {
    unsigned version, d, e, h, n, v;
} answer;

static bool ask(cn_searcher *s, o_rand *r, unsigned number, answer *ret) {
    static const float q[SMALL_DIM] = {1, 1, 1, 1};
    char other[40];
    cn_str l[2] = {CN_PUBLIC, {other, (size_t)snprintf(other, sizeof other, "user:%u", o_below(r, 200))}};
    cn_view *v;
    cn_hit hits[16];
    static const char ids[] = "dehnv";
    uint32_t n = 0;
    if (cn_view_open(s_tenant, CN_STR("t"), number, &v) != CN_OK)
        return false;
    cn_query query = {.who = {{l, 2}, {l, 2}}, .vector = q, .k = 16, .mode = o_chance(r, 50) ? CN_MODE_EXACT : CN_MODE_DENSE, .min_score = -INFINITY};
    cn_err e = cn_search(v, &query, s, hits, &n, NULL);
    *ret = (answer){.version = (unsigned)cn_view_version(v)->number}; /* no padding: compared as bytes */
    unsigned *const seen[] = {&ret->d, &ret->e, &ret->h, &ret->n, &ret->v};
    for (uint32_t i = 0; i < n; i++) {
        cn_doc doc;
        if (cn_seg_doc_brief(hits[i].seg, hits[i].doc, &doc) == CN_OK)
            *seen[strchr(ids, doc.id.p[0]) - ids] = 1;
    }
    cn_view_unref(v);
    return e == CN_OK;
}

/* What must be answered in the state as it is now. */
static answer expected(unsigned number) {
    unsigned version = number ? number : active;
    return (answer){.d = !denied, .e = !erased, .h = !hidden, .v = version == 1, .version = version};
}

static void judge(const answer *a, const answer *want) {
    certain++;
    if (memcmp(a, want, sizeof *a) != 0 && wrong++ < 5)
        printf("\n  version %u: d %d e %d h %d n %d v %d; expected version %u: d %d e %d h %d n %d v %d", a->version, a->d, a->e, a->h, a->n, a->v,
               want->version, want->d, want->e, want->h, want->n, want->v);
}

static void *reader(void *arg) {
    o_rand r = {(uintptr_t)arg};
    cn_searcher *s;
    if (cn_searcher_new(&s) != CN_OK)
        return NULL;
    while (!stop) {
        answer a;
        uint64_t before = turn;
        unsigned number = o_below(&r, 3);
        bool gone = erased;
        if (!ask(s, &r, number, &a)) {
            if (wrong++ < 5)
                printf("\n  %s", cn_error_detail());
            continue;
        }
        asked++;
        if ((gone && a.e) || a.n) /* whatever goes on */
            wrong++;
        answer want = expected(number);
        if (before % 2 == 0 && turn == before)
            judge(&a, &want);
    }
    cn_searcher_free(s);
    return NULL;
}

static void change(o_rand *r, unsigned long i) {
    uint32_t x = i == changes / 2 ? 9 : o_below(r, 5);
    turn++;
    cn_err e = CN_OK;
    if (x < 2) {
        unsigned to = 3 - active;
        e = s_activate("t", to);
        active = to;
    } else if (x == 2) {
        e = s_policy(hidden ? CN_POLICY_UNHIDE : CN_POLICY_HIDE, "h", "", &s_who);
        hidden = !hidden;
    } else if (x == 3) {
        e = s_policy(denied ? CN_POLICY_CLEAR : CN_POLICY_DENY, "d", "public", &s_who);
        denied = !denied;
    } else if (x == 9) {
        e = s_policy(CN_POLICY_ERASE, "e", "", &s_who);
        erased = true;
    } else {
        cn_views_flush(s_tenant);
    }
    turn++;
    if (e != CN_OK) {
        printf("\n  %s\n", cn_error_detail());
        wrong++;
    }
}

static void test_flips(void) {
    pthread_t t[READERS];
    o_rand r = {5};
    for (uintptr_t i = 0; i < READERS; i++)
        CU_ASSERT_EQUAL_FATAL(pthread_create(&t[i], NULL, reader, (void *)(i + 1)), 0);
    for (unsigned long i = 0; i < changes; i++) {
        change(&r, i);
        usleep(500);
    }
    stop = true;
    for (int i = 0; i < READERS; i++)
        pthread_join(t[i], NULL);
    printf("\n  %lu questions, %lu while nothing changed ", (unsigned long)asked, (unsigned long)certain);
    CU_ASSERT_EQUAL(wrong, 0);
    CU_ASSERT(asked > changes && certain > 0);
}

int main(int argc, char **argv) {
    if (argc > 1)
        changes = strtoul(argv[1], NULL, 10);
    if (!s_open() || CU_initialize_registry() != CUE_SUCCESS)
        return 2;
    s_index("t");
    if (s_seal("t", one, 5, NULL) != 1 || s_activate("t", 1) != CN_OK || s_seal("t", two, 1, "v") != 2 || s_activate("t", 2) != CN_OK)
        return 2;
    active = 2;
    CU_pSuite s = CU_add_suite("flips", NULL, NULL);
    CU_add_test(s, "while others ask", test_flips);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures();
    CU_cleanup_registry();
    s_close();
    return failed != 0;
}
