/* store_test.h -- what the tests of index/store share: a data directory of their own, and documents made from a number.
 *
 * Owns:    the fixture owns its directory, removed by fixture_done().
 * Thread:  one.
 * Limits:  texts of gen() are some hundred bytes. */
#pragma once
#include <CUnit/CUnit.h>

#include "engine/base/arena.h"
#include "engine/base/mem.h"
#include "index/store/root.h"

#define OK(expr) check_ok((expr), #expr, __LINE__)
#define FAILS(expr, code) check_fails((expr), (code), #expr, __LINE__)
bool check_ok(cn_err e, const char *expr, int line);
void check_fails(cn_err e, cn_err want, const char *expr, int line);

typedef struct fixture {
    char dir[64];
    cn_data *data;
    cn_tenant *tenant;
} fixture;

bool fixture_init(fixture *f); /* with one tenant, "acme" */
void fixture_done(fixture *f);
extern const cn_actor tester;

/* Document `n` in its `edit`-th form: same n -> same key. dim 0: no vectors. Lives in the arena. */
void gen(cn_arena *a, uint32_t n, uint32_t edit, uint32_t dim, cn_doc *ret);
bool same_doc(const cn_doc *a, const cn_doc *b, uint32_t dim);

/* A sealed segment of documents from..to-1, each in the form edit. */
cn_err make_segment(fixture *f, uint32_t from, uint32_t to, uint32_t edit, uint32_t dim, cn_part *ret);

void env_suite(void);
void cut_suite(void);
int cut_elsewhere(const char *path, const char *put, const char *there); /* the program as its own other process: 0 when `there` was and `put` is in */
void fields_suite(void);
void data_suite(void);
void segment_suite(void);
void root_suite(void);
void bitmap_suite(void);
void behind_suite(void);
void derived_suite(void);
void postings_suite(void);
void analyser_suite(void);
void fault_suite(void);
