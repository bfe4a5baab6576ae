#include <pthread.h>
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

/* A file cut short under its reader: zeros and an error, and the others go on. */
static void cut_short_while_open(void) {
    fixture f;
    cn_part p, other;
    cn_seg *s, *sound;
    cn_vecs v;
    cn_arena a;
    cn_doc d;
    char path[256];
    cn_arena_init(&a, 1 << 16, 1 << 24);
    if (!fixture_init(&f))
        return;
    OK(make_segment(&f, 0, 3000, 0, 64, &p));
    OK(make_segment(&f, 3000, 3010, 0, 64, &other));
    OK(cn_seg_open(f.tenant, &p.id, &p.digest, &s));
    OK(cn_seg_open(f.tenant, &other.id, &other.digest, &sound));
    OK(cn_seg_vecs(s, &v));
    OK(cn_seg_doc_full(s, 2999, &a, &d));
    OK(cn_seg_sound(s));
    OK(cn_seg_path(f.tenant, &p.id, NULL, path, sizeof path));
    CU_ASSERT_EQUAL(truncate(path, 8192), 0);
    float sum = 0;
    for (uint32_t row = 0; row < v.n; row++)
        for (uint32_t k = 0; k < v.dim; k++)
            sum += v.blocks[row / v.block_rows][(row % v.block_rows) * v.dim + k];
    CU_ASSERT(sum == sum);
    FAILS(cn_seg_sound(s), CN_DAMAGED);
    FAILS(cn_seg_doc_full(s, 2999, &a, &d), CN_DAMAGED);
    FAILS(cn_seg_validate(s), CN_DAMAGED);
    OK(cn_seg_sound(sound));
    OK(cn_seg_validate(sound));
    cn_seg_close(s);
    cn_seg_close(sound);
    FAILS(cn_seg_open(f.tenant, &p.id, &p.digest, &s), CN_DAMAGED);
    cn_arena_done(&a);
    fixture_done(&f);
}

/* A SIGBUS that has nothing to do with a segment still ends the process. */
static void other_faults_are_fatal(void) {
    fixture f;
    cn_part p;
    cn_seg *s;
    int status = 0;
    if (!fixture_init(&f))
        return;
    OK(make_segment(&f, 0, 4, 0, 6, &p));
    OK(cn_seg_open(f.tenant, &p.id, &p.digest, &s));
    pid_t child = fork();
    if (child == 0) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        raise(SIGBUS);
        _exit(0);
    }
    CU_ASSERT_EQUAL(waitpid(child, &status, 0), child);
    CU_ASSERT(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
    cn_seg_close(s);
    fixture_done(&f);
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

/* ---------- many openers at once ---------- */
#define OPENERS 4
#define FILES 3
#define TURNS 300

typedef struct opener {
    pthread_t thread;
    const fixture *f;
    const cn_part *part; /* the last of them is damaged */
    unsigned wrong;
} opener;

static void *open_and_close(void *arg) {
    opener *o = arg;
    for (unsigned i = 0; i < TURNS; i++) {
        unsigned at = i % FILES;
        cn_seg *s = NULL, *again = NULL;
        cn_err e = cn_seg_open(o->f->tenant, &o->part[at].id, &o->part[at].digest, &s);
        o->wrong += e != (at == FILES - 1 ? CN_DAMAGED : CN_OK);
        if (e != CN_OK)
            continue;
        o->wrong += cn_seg_open(o->f->tenant, &o->part[at].id, &o->part[at].digest, &again) != CN_OK || again != s || cn_seg_docs(s) != 10 + at;
        cn_seg_close(again);
        cn_seg_close(s);
        cn_tenant *t;
        o->wrong += cn_tenant_open(o->f->data, CN_STR("acme"), &t) != CN_OK || t != o->f->tenant;
        cn_tenant_unref(t);
    }
    return NULL;
}

/* Several threads want the same file at once: one opens it, all get that one; of a damaged one each gets the error. */
static void many_open_at_once(void) {
    fixture f;
    cn_part p[FILES];
    opener o[OPENERS];
    char path[256];
    if (!fixture_init(&f))
        return;
    unsigned before = cn_env_count();
    for (uint32_t i = 0; i < FILES; i++)
        OK(make_segment(&f, 0, 10 + i, 0, 6, &p[i]));
    OK(cn_seg_path(f.tenant, &p[FILES - 1].id, NULL, path, sizeof path));
    CU_ASSERT_EQUAL(truncate(path, 8192), 0);
    for (int i = 0; i < OPENERS; i++) {
        o[i] = (opener){.f = &f, .part = p};
        CU_ASSERT_EQUAL_FATAL(pthread_create(&o[i].thread, NULL, open_and_close, &o[i]), 0);
    }
    for (int i = 0; i < OPENERS; i++) {
        pthread_join(o[i].thread, NULL);
        CU_ASSERT_EQUAL(o[i].wrong, 0);
    }
    CU_ASSERT_EQUAL(cn_env_count(), before);
    fixture_done(&f);
}

void fault_suite(void) {
    CU_pSuite s = CU_add_suite("fault", NULL, NULL);
    CU_ADD_TEST(s, no_memory_is_an_error);
    CU_ADD_TEST(s, a_full_disk_is_an_error);
    CU_ADD_TEST(s, cut_short_while_open);
    CU_ADD_TEST(s, other_faults_are_fatal);
    CU_ADD_TEST(s, many_open_at_once);
}
