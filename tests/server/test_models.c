/* Models that a server has at hand: one that is replaced under its name over and over takes no more places than there are. */
#include <CUnit/Basic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "engine/base/os.h"
#include "ingest/embed/embed.h"
#include "server/service/models.h"
#include "tests/ingest/tiny_model.h"

#define OK(x) CU_ASSERT_EQUAL_FATAL(x, CN_OK)

static char dir[64] = "/tmp/cairn-test-models-XXXXXX";

/* The i-th of that name takes the place of the one before. */
static void replace(int i) {
    static tiny_model model;
    char folder[64], word[16], from[128], to[128];
    snprintf(from, sizeof from, "%s/models/tiny", dir);
    snprintf(to, sizeof to, "%s/models/.before-%d", dir, i);
    snprintf(word, sizeof word, "hello%d", i);
    CU_ASSERT(i == 0 || rename(from, to) == 0);
    tiny_write(&model, tiny_folder(folder), TINY_F32, "");
    tiny_edit(folder, "vocab.txt", "hello", word);
    OK(cn_model_add(dir, CN_STR("tiny"), folder));
    tiny_remove(folder);
    tiny_done(&model);
}

static cn_recipe recipe_now(void) {
    cn_embedder *e;
    OK(cn_embedder_open(dir, CN_STR("tiny"), CN_STR("int8"), &e));
    cn_recipe r = {.embedder = CN_STR("tiny"), .precision = CN_STR("int8"), .embedder_digest = cn_embedder_digest(e), .dim = cn_embedder_dim(e)};
    cn_embedder_unref(e);
    return r;
}

static void test_replaced_over_and_over(void) {
    cn_models *m;
    cn_embedder *first = NULL, *e = NULL;
    cn_recipe r = {0};
    float before[TINY_HIDDEN], after[TINY_HIDDEN];
    const cn_str text = CN_STR("hello0 world");
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(dir));
    OK(cn_models_new(dir, &m));
    for (int i = 0; i < CN_MODELS_MAX + 4; i++) {
        replace(i);
        r = recipe_now();
        OK(cn_models_get(m, &r, &e));
        cn_models_scale(m, e, 1);
        if (i == 0) {
            first = e;
            OK(cn_embed(first, &text, 1, 1, before, NULL));
        } else {
            cn_embedder_unref(e);
        }
    }
    OK(cn_embed(first, &text, 1, 1, after, NULL)); /* who asks with it still has it, though its place is another's */
    CU_ASSERT_EQUAL(memcmp(before, after, sizeof before), 0);
    cn_scale scale = cn_models_scale(m, first, 1);
    CU_ASSERT(scale.answering != scale.apart);
    r.embedder_digest = cn_embedder_digest(first);
    CU_ASSERT_EQUAL(cn_models_get(m, &r, &e), CN_UNAVAILABLE); /* it is in no folder any more */
    cn_embedder_unref(first);
    cn_models_free(m);
    tiny_remove(dir);
}

int main(void) {
    CU_initialize_registry();
    CU_pSuite s = CU_add_suite("models at hand", NULL, NULL);
    CU_add_test(s, "replaced over and over", test_replaced_over_and_over);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failed ? 1 : 0;
}
