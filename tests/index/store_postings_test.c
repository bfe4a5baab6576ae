/* Postings of a segment: made at sealing or when first asked for, in a file or in memory, and made anew when they do not fit. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <fcntl.h>
#include <unistd.h>

#include "engine/base/os.h"
#include "tests/index/store_test.h"

#define DOCS 200 /* some 450 rows: enough for a file */
#define FEW 10

static cn_analyser english, none;

typedef struct made {
    fixture f;
    cn_part p;
    cn_seg *s;
    char path[4096];
} made;

static bool begin(made *m, uint32_t docs) {
    bool ok = OK(cn_analyser_parse(CN_STR("english"), &english)) && OK(cn_analyser_parse(CN_STR("none"), &none)) && fixture_init(&m->f) &&
              OK(make_segment(&m->f, 0, docs, 0, 0, &m->p)) && OK(cn_seg_open(m->f.tenant, &m->p.id, &m->p.digest, &m->s)) &&
              OK(cn_seg_path(m->f.tenant, &m->p.id, CN_POSTINGS_KIND, m->path, sizeof m->path));
    return ok;
}

static void end(made *m) {
    cn_seg_close(m->s);
    fixture_done(&m->f);
}

static bool again(made *m) { /* as another process finds it */
    cn_seg_close(m->s);
    return OK(cn_seg_open(m->f.tenant, &m->p.id, &m->p.digest, &m->s));
}

static bool there(const made *m) { return access(m->path, F_OK) == 0; }

typedef struct counting {
    cn_str term;
    cn_row_set rows;
    uint32_t n;
} counting;

static cn_err count_in(void *ctx, const cn_postings *p) {
    counting *c = ctx;
    CN_TRY(cn_postings_validate(p));
    return cn_postings_count(p, c->term, c->rows, &c->n);
}

/* Rows that hold the term, by the postings; UINT32_MAX: there are none to ask. */
static uint32_t count(made *m, const cn_analyser *a, const char *term) {
    uint32_t rows = cn_seg_rows(m->s);
    uint64_t *all = malloc((rows / 64 + 1) * sizeof *all);
    memset(all, 0xff, (rows / 64 + 1) * sizeof *all);
    counting c = {cn_str_of(term), {all, rows}, UINT32_MAX};
    OK(cn_seg_use_postings(m->s, a, 0, count_in, &c));
    free(all);
    return c.n;
}

static bool holds(cn_str text, const char *word) { return memmem(text.p, text.n, word, strlen(word)) != NULL; }

static uint32_t really(made *m, const char *word) {
    uint32_t n = 0;
    cn_arena a;
    cn_doc d;
    cn_arena_init(&a, 1 << 16, 1 << 24);
    for (uint32_t doc = 0; doc < cn_seg_docs(m->s); doc++) {
        OK(cn_seg_doc_full(m->s, doc, &a, &d));
        for (uint32_t i = 0; i < d.n_chunks; i++)
            n += holds(d.chunks[i].headings, word) || holds(d.title, word) || holds((cn_str){d.text.p + d.chunks[i].from, d.chunks[i].to - d.chunks[i].from}, word);
        cn_arena_reset(&a);
    }
    cn_arena_done(&a);
    return n;
}

static void check_all(made *m) {
    CU_ASSERT_EQUAL(count(m, &none, "moor"), really(m, "moor"));
    CU_ASSERT_EQUAL(count(m, &none, "walks"), really(m, "Walks")); /* a heading */
    CU_ASSERT_EQUAL(count(m, &none, "title"), really(m, "Title"));
    CU_ASSERT_EQUAL(count(m, &none, "nowhere"), 0);
    CU_ASSERT(count(m, &none, "moor") > 0 && count(m, &none, "walks") > 0);
}

static void made_at_sealing(void) {
    made m;
    if (!begin(&m, DOCS))
        return;
    OK(cn_seg_build_postings(m.s, &none, NULL, NULL));
    CU_ASSERT_TRUE(there(&m));
    struct stat before, after;
    CU_ASSERT(stat(m.path, &before) == 0);
    OK(cn_seg_build_postings(m.s, &none, NULL, NULL)); /* it fits: nothing is done */
    check_all(&m);
    CU_ASSERT(stat(m.path, &after) == 0 && after.st_ino == before.st_ino);
    end(&m);
}

static void made_when_asked(void) {
    made m;
    if (!begin(&m, DOCS))
        return;
    CU_ASSERT_FALSE(there(&m)); /* a segment of before */
    check_all(&m);
    CU_ASSERT_TRUE(there(&m));
    again(&m);
    check_all(&m);
    end(&m);
}

static void write_over(const char *path) {
    char bad[4096];
    struct stat st;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    memset(bad, 0xff, sizeof bad);
    CU_ASSERT_FATAL(fd >= 0 && fstat(fd, &st) == 0);
    for (off_t at = 8192; at < st.st_size; at += (off_t)sizeof bad)
        CU_ASSERT_EQUAL(pwrite(fd, bad, sizeof bad, at), (ssize_t)sizeof bad);
    close(fd);
}

/* Under the map of a running program. What needs no postings is not disturbed. */
static void harmed_while_open(void) {
    for (int how = 0; how < 2; how++) {
        made m;
        if (!begin(&m, DOCS))
            return;
        OK(cn_seg_build_postings(m.s, &none, NULL, NULL));
        check_all(&m);
        if (how == 1)
            write_over(m.path);
        CU_ASSERT_EQUAL(how == 0 ? truncate(m.path, 8192) : 0, 0);
        check_all(&m);
        OK(cn_seg_sound(m.s));
        again(&m);
        check_all(&m);
        end(&m);
    }
}

static void few_rows_stay_in_memory(void) {
    made m;
    if (!begin(&m, FEW))
        return;
    OK(cn_seg_build_postings(m.s, &none, NULL, NULL));
    check_all(&m);
    CU_ASSERT_FALSE(there(&m));
    end(&m);
}

static void another_analyser(void) {
    made m;
    if (!begin(&m, DOCS))
        return;
    CU_ASSERT(count(&m, &none, "stones") > 0);
    CU_ASSERT_EQUAL(count(&m, &english, "stones"), 0); /* stemmed */
    CU_ASSERT(count(&m, &english, "stone") >= count(&m, &none, "stone"));
    CU_ASSERT(count(&m, &none, "stones") > 0); /* what is open stays */
    end(&m);
}

static void damage_is_made_anew(void) {
    made m;
    if (!begin(&m, DOCS))
        return;
    check_all(&m);
    for (off_t at = 100; at < 60000; at += 1999) {
        struct stat st;
        char byte;
        cn_seg_close(m.s);
        int fd = open(m.path, O_RDWR);
        CU_ASSERT(fd >= 0 && fstat(fd, &st) == 0);
        CU_ASSERT(pread(fd, &byte, 1, at % st.st_size) == 1);
        byte = (char)(byte ^ 0x40);
        CU_ASSERT(pwrite(fd, &byte, 1, at % st.st_size) == 1);
        close(fd);
        if (!OK(cn_seg_open(m.f.tenant, &m.p.id, &m.p.digest, &m.s)))
            return;
        CU_ASSERT_EQUAL(count(&m, &none, "moor"), really(&m, "moor"));
    }
    again(&m);
    CU_ASSERT(truncate(m.path, 5000) == 0);
    check_all(&m);
    end(&m);
}

/* Postings of one segment under another's name. */
static void foreign_ones_are_refused(void) {
    made m;
    cn_part other;
    cn_seg *s;
    char path[4096];
    if (!begin(&m, DOCS) || !OK(make_segment(&m.f, 500, 500 + DOCS, 1, 0, &other)) || !OK(cn_seg_open(m.f.tenant, &other.id, &other.digest, &s)))
        return;
    OK(cn_seg_build_postings(s, &none, NULL, NULL));
    cn_seg_close(s);
    OK(cn_seg_path(m.f.tenant, &other.id, CN_POSTINGS_KIND, path, sizeof path));
    CU_ASSERT(rename(path, m.path) == 0);
    check_all(&m);
    end(&m);
}

/* The files of two stay beside one another; a third's is the second then, and all answer. */
static void of_several_analysers(void) {
    made m;
    char second[4200];
    struct stat first, now;
    cn_analyser german;
    if (!begin(&m, DOCS) || !OK(cn_analyser_parse(CN_STR("german"), &german)) || !OK(cn_seg_path(m.f.tenant, &m.p.id, CN_POSTINGS_KIND_2, second, sizeof second)))
        return;
    OK(cn_seg_build_postings(m.s, &none, NULL, NULL));
    CU_ASSERT(stat(m.path, &first) == 0 && access(second, F_OK) != 0);
    OK(cn_seg_build_postings(m.s, &english, NULL, NULL));
    OK(cn_seg_build_postings(m.s, &none, NULL, NULL));
    CU_ASSERT(stat(m.path, &now) == 0 && now.st_ino == first.st_ino && access(second, F_OK) == 0);
    CU_ASSERT(stat(second, &first) == 0);
    again(&m);
    CU_ASSERT_EQUAL(count(&m, &none, "moor"), really(&m, "moor"));
    CU_ASSERT_EQUAL(count(&m, &english, "moor"), really(&m, "moor"));
    CU_ASSERT(stat(second, &now) == 0 && now.st_ino == first.st_ino);
    CU_ASSERT_EQUAL(count(&m, &german, "moor"), really(&m, "moor"));
    CU_ASSERT(stat(second, &now) == 0 && now.st_ino != first.st_ino);
    CU_ASSERT(truncate(second, 5000) == 0); /* what is damaged is made anew where it was */
    again(&m);
    CU_ASSERT_EQUAL(count(&m, &german, "moor"), really(&m, "moor"));
    CU_ASSERT_EQUAL(count(&m, &none, "moor"), really(&m, "moor"));
    cn_seg_files_unlink(m.f.tenant, &m.p.id);
    CU_ASSERT(access(m.path, F_OK) != 0 && access(second, F_OK) != 0);
    end(&m);
}

/* While another process makes the file, or where none can be written, they are made in memory. */
static void without_a_file(void) {
    made m;
    char tmp[4200];
    if (!begin(&m, DOCS))
        return;
    snprintf(tmp, sizeof tmp, "%s.tmp", m.path);
    int fd = open(tmp, O_RDWR | O_CREAT, 0600);
    CU_ASSERT(fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0);
    check_all(&m);
    CU_ASSERT_FALSE(there(&m));
    close(fd);
    unlink(tmp);
    again(&m);
    CU_ASSERT(mkdir(tmp, 0700) == 0); /* no file can be made there, not even by root */
    check_all(&m);
    CU_ASSERT(rmdir(tmp) == 0);
    end(&m);
}

typedef struct asking {
    made *m;
    cn_postings *got;
    cn_err e;
    pthread_t thread;
} asking;

static void *ask(void *arg) {
    asking *a = arg;
    a->e = cn_seg_postings(a->m->s, &none, 0, &a->got);
    return NULL;
}

static void many_at_once(void) {
    made m;
    asking a[6];
    if (!begin(&m, DOCS))
        return;
    for (int i = 0; i < 6; i++) {
        a[i] = (asking){.m = &m};
        CU_ASSERT_EQUAL_FATAL(pthread_create(&a[i].thread, NULL, ask, &a[i]), 0);
    }
    for (int i = 0; i < 6; i++) {
        pthread_join(a[i].thread, NULL);
        CU_ASSERT(a[i].e == CN_OK && a[i].got == a[0].got);
    }
    end(&m);
}

static uint64_t s_later_ns;
static uint64_t later(void) { return cn_os_real.mono_ns() + s_later_ns; }

/* Turns a byte of the word in the segment's file over, or back. */
static bool flip(made *m, const char *word) {
    static char bytes[8 << 20];
    char path[4096];
    if (!OK(cn_seg_path(m->f.tenant, &m->p.id, NULL, path, sizeof path)))
        return false;
    int fd = open(path, O_RDWR);
    ssize_t n = pread(fd, bytes, sizeof bytes, 0);
    char *at = n > 0 ? memmem(bytes, (size_t)n, word, strlen(word)) : NULL;
    char changed = at ? (char)(*at ^ 0x20) : 0;
    bool ok = at && pwrite(fd, &changed, 1, at - bytes) == 1;
    close(fd);
    return ok;
}

/* What could not be made is not tried again at each question: only a second later. */
static void a_failure_is_remembered(void) {
    made m;
    cn_postings *p;
    char first[512];
    cn_os os = cn_os_real;
    os.mono_ns = later;
    if (!begin(&m, DOCS))
        return;
    s_later_ns = 0;
    cn_os_now = &os;
    CU_ASSERT_TRUE(flip(&m, "moor"));
    FAILS(cn_seg_postings(m.s, &none, 0, &p), CN_DAMAGED);
    snprintf(first, sizeof first, "%s", cn_error_detail());
    CU_ASSERT_TRUE(flip(&m, "Moor"));
    FAILS(cn_seg_postings(m.s, &none, 0, &p), CN_DAMAGED);
    CU_ASSERT_STRING_EQUAL(cn_error_detail(), first);
    OK(cn_seg_postings(m.s, &english, 0, &p)); /* another one's did not fail */
    s_later_ns = 2000000000u;
    check_all(&m);
    cn_os_now = &cn_os_real;
    end(&m);
}

static void no_memory(void) {
    unsigned failed = 0;
    for (uint64_t nth = 1; nth < 120; nth++) {
        made m;
        cn_postings *p = NULL;
        if (!begin(&m, FEW))
            return;
        cn_alloc_fail_at(nth);
        cn_err e = cn_seg_postings(m.s, &none, 0, &p);
        cn_alloc_fail_at(0);
        failed += e != CN_OK;
        CU_ASSERT(e == CN_OK || e == CN_OVERLOADED);
        check_all(&m); /* and nothing half made is kept */
        end(&m);
    }
    CU_ASSERT(failed > 5);
}

void postings_suite(void) {
    CU_pSuite s = CU_add_suite("postings", NULL, NULL);
    CU_add_test(s, "made at sealing", made_at_sealing);
    CU_add_test(s, "made when asked", made_when_asked);
    CU_add_test(s, "postings harmed while they are open", harmed_while_open);
    CU_add_test(s, "few rows stay in memory", few_rows_stay_in_memory);
    CU_add_test(s, "another analyser", another_analyser);
    CU_add_test(s, "of several analysers", of_several_analysers);
    CU_add_test(s, "damage is made anew", damage_is_made_anew);
    CU_add_test(s, "foreign ones are refused", foreign_ones_are_refused);
    CU_add_test(s, "without a file", without_a_file);
    CU_add_test(s, "many at once", many_at_once);
    CU_add_test(s, "a failure is remembered", a_failure_is_remembered);
    CU_add_test(s, "no memory", no_memory);
}
