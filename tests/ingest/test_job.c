/* Jobs from rows with ready vectors to versions: counts, roots, guards, bad rows, and a job killed and resumed. */
#include <CUnit/Basic.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "index/policy/policy.h"
#include "ingest/job/job.h"
#include "ingest/job/run.h"

#define DIM 8
static char dir[] = "/tmp/cairn-job-XXXXXX";
static char data_dir[64], input[64];
static cn_data *data;
static cn_tenant *tenant;
static const cn_actor actor = {{"uid:0(root)", 11}, {"command", 7}, {"test", 4}};

/* ---------- inputs ---------- */
/* One row: its text, vector and label follow from its number and from two salts. */
static void put_row(FILE *f, unsigned i, unsigned text_salt, unsigned label_salt) {
    fprintf(f, "{\"id\": \"doc-%u\", \"title\": \"Title %u\", \"text\": \"Row number %u says %u.\", \"labels\": [\"group:g%u\"], \"meta\": {\"n\": %u}, \"vector\": [", i, i, i,
            text_salt, (i + label_salt) % 5, i % 17);
    for (unsigned k = 0; k < DIM; k++)
        fprintf(f, "%s%u.%u", k ? ", " : "", (i * 7 + k * 13 + text_salt) % 19 + 1, i % 10);
    fputs("]}\n", f);
}

static FILE *start_input(void) {
    FILE *f = fopen(input, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    return f;
}

static void rows(unsigned from, unsigned to, unsigned text_salt, unsigned label_salt) {
    FILE *f = start_input();
    for (unsigned i = from; i < to; i++)
        put_row(f, i, text_salt, label_salt);
    fclose(f);
}

static void lines(const char *text) {
    FILE *f = start_input();
    fputs(text, f);
    fclose(f);
}

/* ---------- running ---------- */
static const char *input_path = input;

static void options(cn_job_opts *o, const char *index) {
    cn_job_opts_default(o);
    o->index = cn_str_of(index);
    o->from.paths = &input_path;
    o->from.n_paths = 1;
    o->from.format = CN_FMT_JSONL;
    o->threads = 2;
    o->activate = o->activate_set = true;
}

static cn_job_result run(const cn_job_opts *o, cn_err expect) {
    cn_job_result r = {0};
    cn_err err = cn_job_run(tenant, o, &actor, NULL, NULL, &r);
    CU_ASSERT_EQUAL(err, expect);
    if (err != expect)
        fprintf(stderr, "%s: %s\n", cn_err_name(err), cn_error_detail());
    const cn_counts *c = &r.counts;
    CU_ASSERT_EQUAL(c->read, c->added + c->unchanged + c->changed + c->relabelled + c->rejected);
    return r;
}

static cn_job_result run_plain(const char *index) {
    cn_job_opts o;
    options(&o, index);
    return run(&o, CN_OK);
}

static void make_index(const char *name) {
    cn_index_settings s;
    cn_index_settings_default(&s);
    s.embedder = CN_STR("none");
    cn_err err = cn_index_create(tenant, cn_str_of(name), &s, &actor);
    CU_ASSERT_EQUAL(err, CN_OK);
    if (err != CN_OK)
        fprintf(stderr, "%s\n", cn_error_detail());
}

static uint64_t active(const char *name) {
    cn_arena a;
    cn_index_info info = {.active = 0};
    cn_arena_init(&a, 4096, 1 << 20);
    CU_ASSERT_EQUAL(cn_index_get(tenant, cn_str_of(name), &a, &info), CN_OK);
    cn_arena_done(&a);
    return info.active;
}

/* ---------- tests ---------- */
static void added_unchanged_relabelled_changed_deleted(void) {
    make_index("plain");
    rows(0, 500, 0, 0);
    cn_job_result r = run_plain("plain");
    CU_ASSERT(r.version == 1 && r.state == CN_JOB_DONE && r.activated);
    CU_ASSERT(r.counts.added == 500 && r.counts.documents == 500 && r.counts.chunks == 500 && r.counts.unlabelled == 0);
    CU_ASSERT_EQUAL(active("plain"), 1);
    cn_digest first = r.root;
    r = run_plain("plain");
    CU_ASSERT(r.state == CN_JOB_UNCHANGED && r.version == 0 && r.counts.unchanged == 500 && r.counts.documents == 500);
    rows(0, 500, 0, 1);
    r = run_plain("plain");
    CU_ASSERT(r.version == 2 && r.counts.relabelled == 500 && r.counts.documents == 500 && r.chunks_embedded == 0);
    CU_ASSERT_FALSE(cn_digest_eq(&first, &r.root));
    rows(0, 500, 0, 0);
    r = run_plain("plain");
    CU_ASSERT(r.version == 3 && cn_digest_eq(&first, &r.root)); /* the same documents, the same root */
    rows(100, 600, 0, 0);
    cn_job_opts o;
    options(&o, "plain");
    o.sync = true;
    r = run(&o, CN_OK);
    CU_ASSERT(r.counts.added == 100 && r.counts.deleted == 100 && r.counts.unchanged == 400 && r.counts.documents == 500);
    rows(100, 110, 3, 0);
    r = run_plain("plain");
    CU_ASSERT(r.counts.changed == 10 && r.counts.documents == 500);
    lines("{\"id\": \"doc-100\", \"op\": \"delete\"}\n{\"id\": \"nobody\", \"op\": \"delete\"}\n{\"id\": \"doc-101\", \"labels\": [\"public\"]}\n{\"id\": \"nobody\", \"labels\": [\"public\"]}\n");
    r = run_plain("plain");
    CU_ASSERT(r.counts.deleted == 1 && r.counts.unchanged == 1 && r.counts.relabelled == 1 && r.counts.rejected == 1 && r.counts.documents == 499);
}

static void one_root_however_built(void) {
    cn_digest root[4];
    const char *names[] = {"r0", "r1", "r2", "r3"};
    for (int k = 0; k < 4; k++)
        make_index(names[k]);
    rows(0, 1000, 0, 0);
    for (unsigned k = 0; k < 2; k++) {
        cn_job_opts o;
        options(&o, names[k]);
        o.threads = k + 1;
        root[k] = run(&o, CN_OK).root;
    }
    for (unsigned k = 0; k < 10; k++) {
        rows(k * 100, k * 100 + 100, 0, 0);
        root[2] = run_plain(names[2]).root;
    }
    FILE *f = start_input();
    for (unsigned i = 1000; i-- > 0;)
        put_row(f, i, 0, 0);
    fclose(f);
    root[3] = run_plain(names[3]).root;
    for (int k = 1; k < 4; k++)
        CU_ASSERT(cn_digest_eq(&root[0], &root[k]));
}

static void expect_reject(const char *job, const char *where, const char *why) {
    CN_AUTO_BUF cn_buf out;
    cn_unpacked u = {0};
    bool found = false;
    cn_buf_init(&out, 1 << 20);
    CU_ASSERT_EQUAL(cn_job_show(tenant, cn_str_of(job), true, NULL, &out), CN_OK);
    CU_ASSERT_EQUAL_FATAL(cn_unpack(&u, out.p, out.n), CN_OK);
    const msgpack_object *list = cn_get(&u.o, "rejected");
    for (uint32_t i = 0; list && i < list->via.array.size; i++) {
        cn_str w = cn_obj_str(cn_get(&list->via.array.ptr[i], "where")), y = cn_obj_str(cn_get(&list->via.array.ptr[i], "why"));
        found |= memmem(w.p, w.n, where, strlen(where)) && memmem(y.p, y.n, why, strlen(why));
    }
    CU_ASSERT(found);
    if (!found)
        fprintf(stderr, "no rejected row at %s with \"%s\"\n", where, why);
    cn_unpacked_done(&u);
}

static void bad_rows_cost_themselves_alone(void) {
    make_index("bad");
    lines("{\"id\": \"a\", \"text\": \"one\", \"labels\": [\"public\"], \"vector\": [1, 2]}\n"
          "not json\n"
          "{\"id\": \"b\", \"text\": \"two\", \"labels\": [\"public\"], \"vector\": [1, 2, 3]}\n"
          "{\"id\": \"c\", \"text\": \"three\", \"labels\": [\"public\"], \"vector\": [0, 0]}\n"
          "{\"id\": \"a\", \"text\": \"again\", \"labels\": [\"public\"], \"vector\": [2, 2]}\n"
          "{\"id\": \"d\", \"text\": \"four\", \"labels\": [\"Not A Label\"], \"vector\": [2, 2]}\n"
          "{\"id\": \"e\", \"text\": \"no labels\", \"vector\": [2, 2]}\n"
          "{\"id\": \"f\", \"text\": \"no vector\", \"labels\": [\"public\"]}\n"
          "{\"text\": \"no id\", \"labels\": [\"public\"], \"vector\": [2, 2]}\n");
    cn_job_result r = run_plain("bad");
    CU_ASSERT(r.counts.read == 9 && r.counts.added == 2 && r.counts.rejected == 7 && r.counts.unlabelled == 1 && r.counts.documents == 2);
    expect_reject(r.job, ":2", "");
    expect_reject(r.job, ":3", "3");
    expect_reject(r.job, ":4", "");
    expect_reject(r.job, ":5", "before");
    expect_reject(r.job, ":6", "abel");
    expect_reject(r.job, ":8", "vector");
    cn_job_opts o;
    options(&o, "bad"); /* a rejected row is no deletion */
    o.sync = true;
    lines("{\"id\": \"a\", \"text\": \"one\", \"labels\": [\"public\"], \"vector\": [1, 2, 3]}\n{\"id\": \"e\", \"text\": \"no labels\", \"vector\": [2, 2]}\n");
    r = run(&o, CN_OK);
    CU_ASSERT(r.state == CN_JOB_UNCHANGED && r.counts.rejected == 1 && r.counts.deleted == 0 && r.counts.documents == 2);
}

static void guards_hold_back(void) {
    make_index("guard");
    rows(0, 3000, 0, 0);
    run_plain("guard");
    cn_job_opts o;
    options(&o, "guard");
    o.sync = true;
    rows(0, 1500, 0, 0);
    cn_job_result r = run(&o, CN_OK);
    CU_ASSERT(r.state == CN_JOB_GUARDED && r.version == 2 && !r.activated && r.counts.deleted == 1500);
    CU_ASSERT_PTR_NOT_NULL(strstr(r.why, "max-deleted"));
    CU_ASSERT_PTR_NOT_NULL(strstr(r.why, "Version 2 is sealed but not active"));
    CU_ASSERT_EQUAL(active("guard"), 1);
    rows(0, 1501, 0, 0); /* one more document does not carry the deletions past the guard */
    r = run(&o, CN_OK);
    CU_ASSERT(r.state == CN_JOB_GUARDED && r.version == 3);
    CU_ASSERT_PTR_NOT_NULL(strstr(r.why, "If not, `cairn drop` versions 2 to 3"));
    CU_ASSERT_EQUAL(active("guard"), 1);
    o.max_deleted = 1500;
    r = run(&o, CN_OK); /* nothing new, and a clear word */
    CU_ASSERT(r.state == CN_JOB_UNCHANGED);
    CU_ASSERT_EQUAL(active("guard"), 3);
}

/* Held versions lie between the active one and the new one: what is lost is counted between those two. */
static void guards_forget_what_came_back(void) {
    static const unsigned many[] = {3000, 1500, 3000, 3010, 1500, 3010}; /* a night each */
    static const bool held[] = {false, true, false, false, true, false};
    make_index("nights");
    cn_job_opts o;
    options(&o, "nights");
    o.sync = true;
    o.activate = o.activate_set = true;
    for (unsigned i = 0; i < 6; i++) {
        rows(0, many[i], 0, 0);
        cn_job_result r = run(&o, CN_OK);
        CU_ASSERT_EQUAL(r.state, held[i] ? CN_JOB_GUARDED : CN_JOB_DONE);
        CU_ASSERT_EQUAL(r.activated, !held[i]);
        if (held[i])
            CU_ASSERT_PTR_NOT_NULL(strstr(r.why, many[i - 1] == 3000 ? "1500 of 3000 documents would be deleted" : "1510 of 3010 documents would be deleted"));
    }
    CU_ASSERT_EQUAL(active("nights"), 6);
}

/* Where no version was ever active, what is lost is counted from the first on. */
static void guards_hold_before_the_first_is_active(void) {
    make_index("young");
    cn_job_opts o;
    options(&o, "young");
    o.activate = false;
    rows(0, 1200, 0, 0);
    cn_job_result r = run(&o, CN_OK);
    CU_ASSERT(r.state == CN_JOB_DONE && r.version == 1 && !r.activated);
    rows(0, 1200, 0, 1);
    r = run(&o, CN_OK);
    CU_ASSERT(r.state == CN_JOB_GUARDED && r.version == 2);
    o.activate = true;
    rows(1200, 1201, 0, 0);
    r = run(&o, CN_OK);
    CU_ASSERT(r.state == CN_JOB_GUARDED && r.version == 3 && !r.activated);
    CU_ASSERT_PTR_NOT_NULL(strstr(r.why, "1200 of 1200 documents would be relabelled"));
    CU_ASSERT_PTR_NOT_NULL(strstr(r.why, "`cairn drop` versions 2 to 3"));
    CU_ASSERT_EQUAL(active("young"), 0);
    o.sync = true;
    rows(1200, 1201, 0, 0);
    r = run(&o, CN_OK);
    CU_ASSERT(r.state == CN_JOB_GUARDED && r.version == 4);
    CU_ASSERT_PTR_NOT_NULL(strstr(r.why, "1200 of 1200 documents would be deleted"));
    CU_ASSERT_EQUAL(cn_version_drop(tenant, CN_STR("young"), 1, &actor), CN_OK); /* then what is left of the chain still tells */
    o.sync = false;
    rows(1201, 1202, 0, 0);
    r = run(&o, CN_OK);
    CU_ASSERT(r.state == CN_JOB_GUARDED && r.version == 5);
    CU_ASSERT_PTR_NOT_NULL(strstr(r.why, "1200 of 1200 documents would be deleted"));
    CU_ASSERT_EQUAL(active("young"), 0);
    make_index("mended");
    static const unsigned groups[] = {0, 1, 0};
    for (unsigned i = 0; i < 3; i++) {
        options(&o, "mended");
        o.activate = i == 2;
        rows(0, 1200, 0, groups[i]);
        r = run(&o, CN_OK);
        CU_ASSERT_EQUAL(r.state, i == 1 ? CN_JOB_GUARDED : CN_JOB_DONE);
    }
    CU_ASSERT_EQUAL(active("mended"), 3); /* as the first has them */
}

static void dry_run_writes_nothing(void) {
    make_index("dry");
    rows(0, 100, 0, 0);
    cn_job_opts o;
    options(&o, "dry");
    o.dry_run = true;
    cn_job_result r = run(&o, CN_OK);
    CU_ASSERT(r.counts.added == 100 && r.version == 0 && r.job[0] == 0);
    CU_ASSERT_EQUAL(active("dry"), 0);
    static const atomic_bool gone = true;
    o.gone = &gone;
    run(&o, CN_UNAVAILABLE);
    CU_ASSERT_PTR_NOT_NULL(strstr(cn_error_detail(), "whoever asked has closed the connection"));
    o.dry_run = false; /* a job itself goes on */
    r = run(&o, CN_OK);
    CU_ASSERT(r.counts.added == 100 && r.version == 1);
}

static void puts_from_memory(void) {
    make_index("put");
    float v[2] = {1, 2};
    cn_str label = CN_STR("public");
    cn_raw raws[2] = {{.op = CN_OP_PUT, .id = CN_STR("a"), .format = CN_FMT_TEXT, .bytes = CN_STR("hello"), .vector = v, .dim = 2, .modified = CN_NO_TIME, .labels = {.allow = {&label, 1}}},
                      {.op = CN_OP_PUT, .id = CN_STR("b"), .format = CN_FMT_TEXT, .bytes = CN_STR("there"), .vector = v, .dim = 2, .modified = CN_NO_TIME, .labels = {.allow = {&label, 1}}}};
    cn_job_opts o;
    cn_job_result r = {0};
    cn_job_opts_default(&o);
    o.index = CN_STR("put");
    CU_ASSERT_EQUAL(cn_job_put(tenant, &o, raws, 2, &actor, &r), CN_OK);
    CU_ASSERT(r.counts.added == 2 && r.version == 1);
    raws[0].op = CN_OP_DELETE;
    CU_ASSERT_EQUAL(cn_job_put(tenant, &o, raws, 1, &actor, &r), CN_OK);
    CU_ASSERT(r.counts.deleted == 1 && r.counts.documents == 1 && r.version == 2);
}

static void erase_and_restore(const char *id) {
    uint64_t epoch;
    cn_policy_change c = {.op = CN_POLICY_ERASE, .source = CN_STR("default"), .id = cn_str_of(id)};
    CU_ASSERT_EQUAL(cn_policy_apply(tenant, &c, 1, &actor, &epoch), CN_OK);
    c.op = CN_POLICY_RESTORE;
    CU_ASSERT_EQUAL(cn_policy_apply(tenant, &c, 1, &actor, &epoch), CN_OK);
}

/* An array of one vector, cut off or whole: the job that reads it ends there, and can be resumed. */
static void put_array(const char *path, bool whole) {
    char npy[128 + DIM * sizeof(float)] = "\x93NUMPY\x01\x00\x76\x00{'descr': '<f4', 'fortran_order': False, 'shape': (1, 8), }";
    const float v[DIM] = {1, 2, 3, 4, 5, 6, 7, 8};
    FILE *f = fopen(path, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    memcpy(npy + 128, v, sizeof v);
    npy[127] = '\n';
    CU_ASSERT_EQUAL(fwrite(npy, whole ? sizeof npy : sizeof npy - 4, 1, f), 1);
    fclose(f);
}

/* A job stopped after it copied a row, which was erased and restored before it went on: its copy is not used. */
static void resumed_after_a_restore(void) {
    const unsigned many = (CN_LINE_BATCHES + 5) * CN_BATCH_ITEMS; /* more than are under way at once: some were copied when the last is read */
    char array[80];
    snprintf(array, sizeof array, "%s/array.npy", dir);
    make_index("restored");
    rows(0, many, 0, 0);
    run_plain("restored");
    rows(0, many, 0, 1);
    put_array(array, false);
    const char *paths[] = {input, array};
    cn_job_opts o;
    options(&o, "restored");
    o.from.format = CN_FMT_AUTO;
    o.from.paths = paths;
    o.from.n_paths = 2;
    cn_job_result r = run(&o, CN_INVALID);
    CU_ASSERT(r.counts.relabelled > 0 && r.counts.relabelled <= many);
    erase_and_restore("doc-0");
    put_array(array, true);
    o.resume = cn_str_of(r.job);
    r = run(&o, CN_OK);
    CU_ASSERT(r.counts.relabelled == many - 1 && r.counts.added == 1);
    CU_ASSERT_EQUAL(r.counts.changed, 1); /* made of what its source says, nothing of the row of before */
}

/* ---------- killed and resumed ---------- */
static int open_data(void) {
    cn_err err = cn_data_open(data_dir, &data);
    if (err == CN_OK)
        err = cn_tenant_open(data, CN_STR("acme"), &tenant);
    if (err != CN_OK)
        fprintf(stderr, "%s\n", cn_error_detail());
    return err != CN_OK;
}

static int close_data(void) {
    cn_tenant_unref(tenant);
    cn_data_close(data);
    return 0;
}

#define KILL_ROWS 60000
static int resumed; /* kills that met the job alive */

static void die(void *ctx, const cn_job_progress *p) {
    (void)ctx;
    if (p->state == CN_JOB_RUNNING)
        kill(getpid(), SIGKILL);
}

/* after_us: 0: when it first tells how far it is. */
static cn_digest killed_root(unsigned after_us, const char *name) {
    char id[CN_JOB_ID_TEXT];
    cn_job_opts o;
    options(&o, name);
    cn_job_new_id(id);
    memcpy(o.id, id, sizeof id);
    pid_t child = fork();
    if (child == 0) {
        cn_job_result r;
        _exit(open_data() || cn_job_run(tenant, &o, &actor, after_us ? NULL : die, NULL, &r) != CN_OK);
    }
    if (after_us) {
        usleep(after_us);
        kill(child, SIGKILL);
    }
    waitpid(child, NULL, 0);
    CU_ASSERT_EQUAL_FATAL(open_data(), 0);
    options(&o, name);
    o.resume = cn_str_of(id);
    cn_job_result r = {0};
    cn_err err = cn_job_run(tenant, &o, &actor, NULL, NULL, &r);
    resumed += err == CN_OK;
    if (err == CN_INVALID || err == CN_NOT_FOUND) { /* it had ended, or not begun */
        options(&o, name);
        err = cn_job_run(tenant, &o, &actor, NULL, NULL, &r);
    }
    CU_ASSERT_EQUAL(err, CN_OK);
    CU_ASSERT_EQUAL(r.counts.documents, KILL_ROWS);
    if (err != CN_OK)
        fprintf(stderr, "%s\n", cn_error_detail());
    close_data();
    return r.root;
}

static void killed_and_resumed(void) {
    CU_ASSERT_EQUAL_FATAL(open_data(), 0);
    make_index("whole");
    rows(0, KILL_ROWS, 0, 0);
    cn_digest whole = run_plain("whole").root;
    char name[16];
    for (unsigned i = 0; i < 6; i++) {
        snprintf(name, sizeof name, "kill%u", i);
        make_index(name);
    }
    close_data();
    for (unsigned i = 0; i < 6; i++) {
        snprintf(name, sizeof name, "kill%u", i);
        cn_digest root = killed_root(90000 * i, name);
        CU_ASSERT(cn_digest_eq(&whole, &root));
    }
    CU_ASSERT(resumed > 0);
}

static int make_data(void) {
    if (!mkdtemp(dir))
        return 1;
    snprintf(data_dir, sizeof data_dir, "%s/d", dir);
    snprintf(input, sizeof input, "%s/in.jsonl", dir);
    cn_err err = cn_data_init(data_dir);
    if (err == CN_OK)
        err = cn_data_open(data_dir, &data);
    if (err == CN_OK)
        err = cn_tenant_create(data, CN_STR("acme"), &actor);
    cn_data_close(data);
    return err != CN_OK;
}

int main(int argc, char **argv) {
    cn_parse_worker_main(argc, argv);
    if (CU_initialize_registry() != CUE_SUCCESS || make_data() != 0)
        return 1;
    CU_pSuite s = CU_add_suite("jobs", open_data, close_data);
    CU_add_test(s, "added, unchanged, relabelled, changed, deleted", added_unchanged_relabelled_changed_deleted);
    CU_add_test(s, "one root however built", one_root_however_built);
    CU_add_test(s, "bad rows cost themselves alone", bad_rows_cost_themselves_alone);
    CU_add_test(s, "guards hold back", guards_hold_back);
    CU_add_test(s, "guards forget what came back", guards_forget_what_came_back);
    CU_add_test(s, "guards hold before the first is active", guards_hold_before_the_first_is_active);
    CU_add_test(s, "a dry run writes nothing", dry_run_writes_nothing);
    CU_add_test(s, "puts from memory", puts_from_memory);
    CU_add_test(s, "resumed after a restore", resumed_after_a_restore);
    s = CU_add_suite("killed", NULL, NULL);
    CU_add_test(s, "killed and resumed", killed_and_resumed);
    CU_basic_set_mode(CU_BRM_NORMAL);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures() + CU_get_number_of_suites_failed();
    CU_cleanup_registry();
    char command[sizeof dir + 16];
    snprintf(command, sizeof command, "rm -rf %s", dir);
    return system(command) != 0 || failures != 0;
}
