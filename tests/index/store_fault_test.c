#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/index/store_test.h"

static cn_err build(void *ctx, cn_put_array *put, void *put_ctx) {
    (void)ctx;
    return put(put_ctx, 0, 0, "x", 1);
}

static cn_err read_all(cn_seg *s) {
    cn_derived *d;
    CN_TRY(cn_seg_validate(s));
    CN_TRY(cn_derived_build(s, "test", build, NULL));
    CN_TRY(cn_derived_open(s, "test", &d));
    cn_derived_close(d);
    CN_AUTO_BUF cn_buf out;
    cn_buf_init(&out, 1 << 20);
    cn_live live = {&s, NULL, 1};
    return cn_buckets_make(&live, cn_seg_docs(s), (cn_str){NULL, 0}, NULL, 0, &out);
}

static cn_err resume(fixture *f, const cn_doc *docs, cn_part *p) {
    cn_segw *w;
    CN_TRY(cn_segw_new(f->tenant, 6, &w));
    p->id = cn_segw_id(w);
    cn_err e = cn_segw_add(w, &docs[0]);
    cn_segw_leave(w);
    CN_TRY(e);
    CN_TRY(cn_segw_open_again(f->tenant, &p->id, &w));
    for (uint32_t i = cn_segw_docs(w); e == CN_OK && i < 4; i++)
        e = cn_segw_add(w, &docs[i]);
    if (e == CN_OK)
        return cn_segw_seal(w, &p->digest);
    cn_segw_abort(w);
    return e;
}

static cn_err cycle(fixture *f, const cn_doc *docs) {
    cn_part p;
    cn_seg *s;
    CN_TRY(resume(f, docs, &p));
    CN_TRY(cn_seg_open(f->tenant, &p.id, &p.digest, &s));
    cn_err e = read_all(s);
    cn_seg_close(s);
    return e;
}

/* Each allocation of a cycle fails once: a clear error, nothing leaked (the address sanitizer looks), nothing left open. */
static void no_memory_is_an_error(void) {
    fixture f;
    cn_arena a;
    cn_doc docs[4];
    bool whole = false;
    cn_arena_init(&a, 1 << 20, 1 << 24);
    if (!fixture_init(&f))
        return;
    for (uint32_t i = 0; i < 4; i++)
        gen(&a, i, 0, 6, &docs[i]);
    unsigned open = cn_env_count();
    for (uint64_t n = 1; n < 1000 && !whole; n++) {
        cn_alloc_fail_at(n);
        uint64_t before = cn_alloc_count();
        cn_err e = cycle(&f, docs);
        whole = cn_alloc_count() - before < n;
        cn_alloc_fail_at(0);
        CU_ASSERT_TRUE(e == CN_OK || e == CN_OVERLOADED);
        CU_ASSERT_EQUAL(cn_env_count(), open);
    }
    CU_ASSERT_TRUE(whole);
    OK(cycle(&f, docs));
    cn_arena_done(&a);
    fixture_done(&f);
}

/* The largest file allowed stands for a full disk. */
static void a_full_disk_is_an_error(void) {
    fixture f;
    int status;
    if (!fixture_init(&f))
        return;
    pid_t pid = fork();
    if (pid == 0) {
        cn_part p;
        struct rlimit l = {600 << 10, 600 << 10};
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &l);
        cn_err e = make_segment(&f, 0, 3000, 0, 64, &p);
        _exit(e == CN_UNAVAILABLE ? 0 : 1);
    }
    waitpid(pid, &status, 0);
    CU_ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    cn_part p;
    OK(make_segment(&f, 0, 10, 0, 64, &p));
    fixture_done(&f);
}

void fault_suite(void) {
    CU_pSuite s = CU_add_suite("fault", NULL, NULL);
    CU_ADD_TEST(s, no_memory_is_an_error);
    CU_ADD_TEST(s, a_full_disk_is_an_error);
}
