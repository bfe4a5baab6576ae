/* The parts of a job by themselves: the line of batches, digests, outlines, guards, rows and what was rejected. */
#include <CUnit/Basic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "ingest/job/digests.h"
#include "ingest/job/folders.h"
#include "ingest/job/guard.h"
#include "ingest/job/joblock.h"
#include "ingest/job/keyset.h"
#include "ingest/job/line.h"
#include "ingest/job/opts.h"
#include "ingest/job/outline.h"
#include "ingest/job/rows.h"
#include "ingest/job/tables.h"

/* ---------- line ---------- */
typedef struct numbers {
    uint32_t n, next, written, fail_at;
    size_t each;             /* bytes a batch takes */
    _Atomic uint32_t bad, held;
    uint32_t most_held;
    const char *fail_step;
} numbers;

static bool fails(const numbers *c, const char *step, uint32_t i) { return c->fail_step && strcmp(c->fail_step, step) == 0 && i == c->fail_at; }

static cn_err fill(void *ctx, cn_batch *b) {
    numbers *c = ctx;
    if (fails(c, "fill", c->next))
        return cn_fail(CN_INVALID, "fill of %u", c->next);
    if (c->next == c->n)
        return CN_OK;
    uint32_t *v = cn_arena_alloc(&b->arena, c->each + sizeof *v);
    *v = c->next++;
    b->items = v;
    b->n = 1;
    uint32_t held = atomic_fetch_add(&c->held, 1) + 1;
    if (held > c->most_held)
        c->most_held = held;
    return CN_OK;
}

static cn_err work(void *ctx, cn_line *l, unsigned worker, cn_batch *b) {
    numbers *c = ctx;
    uint32_t *v = b->items;
    (void)worker;
    if (cn_line_spare(l) > 4)
        atomic_fetch_add(&c->bad, 1);
    if (fails(c, "work", *v))
        return cn_fail(CN_DAMAGED, "work on %u", *v);
    usleep(*v % 7 * 20);
    *v = *v * 2 + 1;
    return CN_OK;
}

static cn_err write_one(void *ctx, cn_batch *b) {
    numbers *c = ctx;
    uint32_t *v = b->items;
    if (fails(c, "write", c->written))
        return cn_fail(CN_CONFLICT, "write of %u", c->written);
    if (*v != c->written++ * 2 + 1)
        atomic_fetch_add(&c->bad, 1);
    atomic_fetch_sub(&c->held, 1);
    return CN_OK;
}

static cn_err run_numbers(numbers *c, unsigned workers, uint64_t bytes) {
    const cn_line_ops ops = {fill, work, write_one};
    cn_line *l;
    CU_ASSERT_EQUAL_FATAL(cn_line_new(&ops, c, workers, bytes, (size_t)1 << 30, &l), CN_OK);
    cn_err err = cn_line_run(l);
    cn_line_free(l);
    return err;
}

static void line_keeps_order(void) {
    for (unsigned workers = 1; workers <= 4; workers++) {
        numbers c = {.n = 1000, .each = 100};
        CU_ASSERT_EQUAL(run_numbers(&c, workers, (uint64_t)1 << 30), CN_OK);
        CU_ASSERT_EQUAL(c.written, 1000);
        CU_ASSERT_EQUAL(c.bad, 0);
        CU_ASSERT(c.most_held <= CN_LINE_BATCHES);
    }
    numbers none = {.n = 0};
    CU_ASSERT_EQUAL(run_numbers(&none, 2, 1), CN_OK);
}

static void line_is_bounded_by_bytes(void) {
    numbers c = {.n = 60, .each = (size_t)8 << 20};
    CU_ASSERT_EQUAL(run_numbers(&c, 2, (uint64_t)20 << 20), CN_OK);
    CU_ASSERT_EQUAL(c.written, 60);
    CU_ASSERT(c.most_held <= 4);
    numbers large = {.n = 5, .each = (size_t)8 << 20}; /* each over the limit: one at a time */
    CU_ASSERT_EQUAL(run_numbers(&large, 2, 1), CN_OK);
    CU_ASSERT_EQUAL(large.most_held, 1);
}

static void line_stops_at_an_error(void) {
    const char *steps[] = {"fill", "work", "write"};
    const cn_err errs[] = {CN_INVALID, CN_DAMAGED, CN_CONFLICT};
    for (int i = 0; i < 3; i++) {
        numbers c = {.n = 500, .each = 10, .fail_step = steps[i], .fail_at = 123};
        CU_ASSERT_EQUAL(run_numbers(&c, 3, (uint64_t)1 << 30), errs[i]);
        CU_ASSERT_PTR_NOT_NULL(strstr(cn_error_detail(), "123"));
        CU_ASSERT(c.written <= 123);
    }
}

/* ---------- digests ---------- */
static cn_digest content_of(const cn_raw *raw) {
    cn_digest vector = cn_vector_digest(raw);
    return cn_content_digest(raw, &vector);
}

static void digests_tell_apart(void) {
    cn_raw a = {.id = CN_STR("x"), .format = CN_FMT_TEXT, .bytes = CN_STR("hello"), .modified = 1};
    cn_raw b = a;
    cn_digest da = content_of(&a), db;
    b.modified = 2;
    b.where = CN_STR("elsewhere");
    db = content_of(&b);
    CU_ASSERT(cn_digest_eq(&da, &db));
    b.title = CN_STR("h");
    b.bytes = CN_STR("ello");
    db = content_of(&b);
    CU_ASSERT_FALSE(cn_digest_eq(&da, &db));
    float v[2] = {1, 2};
    b = a;
    b.vector = v;
    b.dim = 2;
    db = content_of(&b);
    CU_ASSERT_FALSE(cn_digest_eq(&da, &db));
    cn_str one = CN_STR("g:a");
    cn_triple allow = {.allow = {&one, 1}}, deny = {.deny = {&one, 1}};
    cn_digest ra = cn_row_digest(&da, &allow, CN_STR("")), rd = cn_row_digest(&da, &deny, CN_STR("")), rm = cn_row_digest(&da, &allow, CN_STR("m"));
    CU_ASSERT_FALSE(cn_digest_eq(&ra, &rd));
    CU_ASSERT_FALSE(cn_digest_eq(&ra, &rm));
}

/* ---------- outlines ---------- */
static void outline_round_trip(void) {
    cn_block in[] = {{.from = 0, .to = 10, .page = 1, .kind = CN_BLOCK_HEADING, .level = 2}, {.from = 12, .to = 400, .page = 1, .kind = CN_BLOCK_PARA},
                     {.from = 402, .to = 402, .page = 7, .kind = CN_BLOCK_CODE}, {.from = 500, .to = 100000, .page = 300, .kind = CN_BLOCK_QUOTE}};
    CN_AUTO_BUF cn_buf b;
    cn_arena a;
    const cn_block *out;
    uint32_t n;
    cn_buf_init(&b, 1000);
    cn_arena_init(&a, 4096, 1 << 20);
    CU_ASSERT_EQUAL(cn_outline_pack(in, 4, &b), CN_OK);
    CU_ASSERT_EQUAL(cn_outline_unpack(cn_buf_str(&b), 100000, &a, &out, &n), CN_OK);
    CU_ASSERT_EQUAL_FATAL(n, 4);
    for (uint32_t i = 0; i < n; i++)
        CU_ASSERT(in[i].from == out[i].from && in[i].to == out[i].to && in[i].page == out[i].page && in[i].kind == out[i].kind && in[i].level == out[i].level);
    CU_ASSERT_EQUAL(cn_outline_unpack(cn_buf_str(&b), 99999, &a, &out, &n), CN_DAMAGED);
    for (size_t cut = 1; cut < b.n; cut++)
        CU_ASSERT_EQUAL(cn_outline_unpack((cn_str){b.p, cut}, 100000, &a, &out, &n), CN_DAMAGED);
    CU_ASSERT_EQUAL(cn_outline_unpack(CN_STR(""), 77, &a, &out, &n), CN_OK);
    CU_ASSERT(n == 1 && out[0].to == 77);
    cn_arena_done(&a);
}

static void outline_survives_any_bytes(void) {
    cn_arena a;
    cn_arena_init(&a, 4096, 64 << 20);
    srand(1);
    for (int i = 0; i < 20000; i++) {
        char bytes[24] = {1};
        const cn_block *out;
        uint32_t n;
        for (size_t k = 1; k < sizeof bytes; k++)
            bytes[k] = (char)(rand() % 4 ? rand() % 20 : rand());
        cn_arena_reset(&a);
        if (cn_outline_unpack((cn_str){bytes, sizeof bytes}, 1000, &a, &out, &n) == CN_OK)
            for (uint32_t k = 0; k < n; k++)
                CU_ASSERT(out[k].from <= out[k].to && out[k].to <= 1000);
    }
    cn_arena_done(&a);
}

/* ---------- guards ---------- */
static void keys_are_kept(void) {
    cn_keyset s = {0};
    cn_key key = {{0}};
    for (uint32_t i = 1; i <= 5000; i++) {
        memcpy(key.b, &(uint32_t){i / 3}, 4); /* three by three in one place */
        memcpy(key.b + 8, &i, 4);
        CU_ASSERT(!cn_keyset_has(&s, &key));
        CU_ASSERT_EQUAL(cn_keyset_add(&s, &key), CN_OK);
        CU_ASSERT(cn_keyset_has(&s, &key));
    }
    memset(key.b, 0, sizeof key.b);
    memcpy(key.b, &(uint32_t){7}, 4);
    CU_ASSERT(!cn_keyset_has(&s, &key));
    cn_keyset_done(&s);
}

static void guards(void) {
    char why[512] = "";
    cn_guard g = {.before = 50000, .deleted = 5000, .max_deleted = CN_GUARD_DEFAULT, .max_relabelled = CN_GUARD_DEFAULT, .max_rejected = CN_GUARD_DEFAULT};
    CU_ASSERT_FALSE(cn_guard_trips(&g, why, sizeof why));
    g.deleted = 5001;
    CU_ASSERT_TRUE(cn_guard_trips(&g, why, sizeof why));
    CU_ASSERT_PTR_NOT_NULL(strstr(why, "5001"));
    CU_ASSERT_PTR_NOT_NULL(strstr(why, "--max-deleted 5001"));
    g.max_deleted = 5001;
    CU_ASSERT_FALSE(cn_guard_trips(&g, why, sizeof why));
    g.relabelled = 6000;
    CU_ASSERT_TRUE(cn_guard_trips(&g, why, sizeof why));
    CU_ASSERT_PTR_NOT_NULL(strstr(why, "max-relabelled"));
    cn_guard small = {.before = 100, .deleted = 100, .rejected = 1000, .max_deleted = CN_GUARD_DEFAULT, .max_relabelled = CN_GUARD_DEFAULT, .max_rejected = CN_GUARD_DEFAULT};
    CU_ASSERT_FALSE(cn_guard_trips(&small, why, sizeof why));
    small.max_rejected = 0;
    small.first = 3, small.last = 5;
    CU_ASSERT_TRUE(cn_guard_trips(&small, why, sizeof why));
    CU_ASSERT_PTR_NOT_NULL(strstr(why, "`cairn drop` version 5:")); /* the others have nothing to do with it */
    small.max_deleted = 0;
    CU_ASSERT_TRUE(cn_guard_trips(&small, why, sizeof why));
    CU_ASSERT_PTR_NOT_NULL(strstr(why, "`cairn drop` versions 3 to 5:"));
}

/* ---------- rows ---------- */
static char dir[] = "/tmp/cairn-jobparts-XXXXXX";
static cn_data *data;
static cn_tenant *tenant;
static const cn_actor actor = {{"uid:0(root)", 11}, {"command", 7}, {"", 0}};

static void fill_row(cn_job_row *r, const char *source) {
    cn_job_row_init(r);
    cn_job_new_id(r->id);
    r->index = CN_STR("docs");
    r->source = cn_str_of(source);
    r->kind = CN_STR("ingest");
    r->who = actor.who;
    r->via = actor.via;
    r->opts = CN_STR("o");
}

static void one_job_for_an_index_and_source(void) {
    cn_job_row a, b, c;
    bool has_old = false, cancel = true;
    cn_seg_id old;
    fill_row(&a, "s1");
    fill_row(&b, "s1");
    fill_row(&c, "s2");
    CU_ASSERT_EQUAL_FATAL(cn_jobs_claim(tenant, &a, &has_old, &old), CN_OK);
    CU_ASSERT_EQUAL(cn_jobs_claim(tenant, &b, &has_old, &old), CN_CONFLICT);
    CU_ASSERT_PTR_NOT_NULL(strstr(cn_error_detail(), a.id));
    CU_ASSERT_EQUAL(cn_jobs_claim(tenant, &c, &has_old, &old), CN_OK);
    CU_ASSERT_FALSE(has_old);
    CU_ASSERT_EQUAL(cn_jobs_save(tenant, &a, &cancel), CN_OK);
    CU_ASSERT_FALSE(cancel);
    cn_audit_head before, after;
    CU_ASSERT_EQUAL(cn_audit_newest(tenant, &before), CN_OK);
    CU_ASSERT_EQUAL(cn_job_cancel(tenant, cn_str_of(a.id), &actor), CN_OK);
    CU_ASSERT_EQUAL(cn_audit_newest(tenant, &after), CN_OK);
    CU_ASSERT_EQUAL(after.seq, before.seq + 1);
    CU_ASSERT_EQUAL(cn_jobs_save(tenant, &a, &cancel), CN_OK);
    CU_ASSERT_TRUE(cancel);
    a.state = CN_JOB_DONE;
    a.counts.read = 7;
    CU_ASSERT_EQUAL(cn_jobs_end(tenant, &a), CN_OK);
    c.state = CN_JOB_DONE;
    CU_ASSERT_EQUAL(cn_jobs_end(tenant, &c), CN_OK);
    CU_ASSERT_EQUAL(cn_job_cancel(tenant, cn_str_of(a.id), &actor), CN_INVALID);
    CU_ASSERT_EQUAL(cn_job_cancel(tenant, CN_STR("nothing"), &actor), CN_NOT_FOUND);
    CU_ASSERT_EQUAL(cn_audit_newest(tenant, &after), CN_OK);
    CU_ASSERT_EQUAL(after.seq, before.seq + 3); /* refused attempts too */
    CU_ASSERT_EQUAL(cn_jobs_claim(tenant, &b, &has_old, &old), CN_OK);
    b.state = CN_JOB_DONE;
    CU_ASSERT_EQUAL(cn_jobs_end(tenant, &b), CN_OK);
    cn_job_row_done(&a), cn_job_row_done(&b), cn_job_row_done(&c);
}

static void a_dead_job_is_interrupted(void) {
    cn_job_row a, b, seen;
    bool has_old = false;
    cn_seg_id old = {{0}};
    fill_row(&a, "s3");
    a.has_file = true;
    memset(a.file.b, 7, sizeof a.file.b);
    CU_ASSERT_EQUAL_FATAL(cn_jobs_claim(tenant, &a, &has_old, &old), CN_OK);
    cn_joblock_drop(a.lock); /* as the kernel does when a process dies */
    a.lock = -1;
    cn_job_row_init(&seen);
    CU_ASSERT_EQUAL(cn_jobs_get(tenant, cn_str_of(a.id), &seen), CN_OK);
    CU_ASSERT_EQUAL(seen.state, CN_JOB_INTERRUPTED);
    cn_job_row_done(&seen);
    cn_job_row_init(&seen);
    struct rlimit was, none = {3, 0};
    CU_ASSERT_EQUAL(getrlimit(RLIMIT_NOFILE, &was), 0);
    none.rlim_max = was.rlim_max;
    CU_ASSERT_EQUAL(setrlimit(RLIMIT_NOFILE, &none), 0);
    cn_err err = cn_jobs_take_up(tenant, cn_str_of(a.id), "ingest", &seen); /* it is not known whether it runs: that is said, and no pid of a dead one */
    CU_ASSERT_EQUAL(setrlimit(RLIMIT_NOFILE, &was), 0);
    CU_ASSERT(err == CN_UNAVAILABLE || err == CN_OVERLOADED);
    cn_job_row_done(&seen);
    cn_job_row_init(&seen);
    CU_ASSERT_EQUAL(cn_jobs_take_up(tenant, cn_str_of(a.id), "ingest", &seen), CN_OK);
    CU_ASSERT_EQUAL(seen.state, CN_JOB_RUNNING);
    CU_ASSERT_TRUE(seen.has_file && seen.file.b[0] == 7);
    CU_ASSERT(cn_str_is(seen.opts, "o"));
    cn_job_row_done(&seen);
    fill_row(&b, "s3");
    CU_ASSERT_EQUAL(cn_jobs_claim(tenant, &b, &has_old, &old), CN_OK);
    CU_ASSERT_TRUE(has_old && old.b[0] == 7);
    cn_job_row_init(&seen);
    CU_ASSERT_EQUAL(cn_jobs_take_up(tenant, cn_str_of(a.id), "ingest", &seen), CN_CONFLICT);
    cn_job_row_done(&seen);
    b.state = CN_JOB_DONE;
    CU_ASSERT_EQUAL(cn_jobs_end(tenant, &b), CN_OK);
    cn_job_row_init(&seen);
    CU_ASSERT_EQUAL(cn_jobs_take_up(tenant, cn_str_of(b.id), "ingest", &seen), CN_INVALID);
    cn_job_row_done(&seen);
    cn_job_row_done(&a), cn_job_row_done(&b);
}

static void rejected_are_listed(void) {
    cn_job_row a;
    bool has_old;
    cn_seg_id old;
    fill_row(&a, "s4");
    CU_ASSERT_EQUAL_FATAL(cn_jobs_claim(tenant, &a, &has_old, &old), CN_OK);
    cn_reject v[300];
    char where[300][16];
    for (uint32_t i = 0; i < 300; i++) {
        snprintf(where[i], sizeof where[i], "f:%u", i);
        v[i] = (cn_reject){i * 3, CN_STR("doc"), cn_str_of(where[i]), CN_STR("because"), false};
    }
    CU_ASSERT_EQUAL(cn_rejects_add(tenant, a.id, v, 300), CN_OK);
    CU_ASSERT_EQUAL(cn_rejects_add(tenant, a.id, v + 10, 5), CN_OK); /* again: the same entries */
    uint64_t n = 0;
    CU_ASSERT_EQUAL(cn_rejects_count(tenant, a.id, &n), CN_OK);
    CU_ASSERT_EQUAL(n, 300);
    CU_ASSERT_EQUAL(cn_rejects_cut(tenant, a.id, 100 * 3), CN_OK);
    CU_ASSERT_EQUAL(cn_rejects_count(tenant, a.id, &n), CN_OK);
    CU_ASSERT_EQUAL(n, 100);
    CN_AUTO_BUF cn_buf out;
    cn_buf_init(&out, 1 << 20);
    CU_ASSERT_EQUAL(cn_job_show(tenant, cn_str_of(a.id), true, NULL, &out), CN_OK);
    cn_unpacked u = {0};
    CU_ASSERT_EQUAL_FATAL(cn_unpack(&u, out.p, out.n), CN_OK);
    const msgpack_object *list = cn_get(&u.o, "rejected");
    CU_ASSERT_FATAL(list && list->type == MSGPACK_OBJECT_ARRAY);
    CU_ASSERT_EQUAL(list->via.array.size, 100);
    CU_ASSERT(cn_str_is(cn_obj_str(cn_get(&list->via.array.ptr[99], "where")), "f:99"));
    cn_unpacked_done(&u);
    a.state = CN_JOB_DONE;
    CU_ASSERT_EQUAL(cn_jobs_end(tenant, &a), CN_OK);
    cn_job_row_done(&a);
}

static void jobs_are_listed_newest_first(void) {
    CN_AUTO_BUF cn_buf out;
    cn_buf_init(&out, 1 << 20);
    CU_ASSERT_EQUAL(cn_job_list(tenant, NULL, NULL, NULL, &out), CN_OK);
    cn_unpacked u = {0};
    CU_ASSERT_EQUAL_FATAL(cn_unpack(&u, out.p, out.n), CN_OK);
    CU_ASSERT_FATAL(u.o.type == MSGPACK_OBJECT_ARRAY && u.o.via.array.size >= 5);
    for (uint32_t i = 1; i < u.o.via.array.size; i++)
        CU_ASSERT(cn_str_cmp(cn_obj_str(cn_get(&u.o.via.array.ptr[i - 1], "job")), cn_obj_str(cn_get(&u.o.via.array.ptr[i], "job"))) > 0);
    cn_unpacked_done(&u);
}

static void ended(const char *source, cn_job_state state, char id[CN_JOB_ID_TEXT]) {
    cn_job_row r;
    bool has_old;
    cn_seg_id old;
    fill_row(&r, source);
    CU_ASSERT_EQUAL_FATAL(cn_jobs_claim(tenant, &r, &has_old, &old), CN_OK);
    r.state = state;
    CU_ASSERT_EQUAL(cn_jobs_end(tenant, &r), CN_OK);
    memcpy(id, r.id, CN_JOB_ID_TEXT);
    cn_job_row_done(&r);
}

/* Failed jobs can be resumed and stay; those after them go all the same. */
static void failed_jobs_do_not_stop_pruning(void) {
    char failed[CN_JOB_ID_TEXT], done[CN_JOB_ID_TEXT], source[16];
    cn_job_row seen;
    for (int i = 0; i < 70; i++) {
        snprintf(source, sizeof source, "f%d", i);
        ended(source, CN_JOB_FAILED, failed);
    }
    ended("done", CN_JOB_DONE, done);
    cn_tables w;
    CU_ASSERT_EQUAL_FATAL(cn_tables_write(tenant, &w), CN_OK);
    CU_ASSERT_EQUAL(cn_tables_prune(&w, 1), CN_OK);
    CU_ASSERT_EQUAL(cn_tables_commit(&w), CN_OK);
    cn_job_row_init(&seen);
    CU_ASSERT_EQUAL(cn_jobs_get(tenant, cn_str_of(failed), &seen), CN_OK);
    CU_ASSERT_EQUAL(cn_jobs_get(tenant, cn_str_of(done), &seen), CN_NOT_FOUND);
    cn_job_row_done(&seen);
}

static void told(const cn_job_row *r, const cn_job_reader *to, const char *says, const char *want) {
    CN_CLEANUP(cn_arena_done) cn_arena a;
    cn_folders f;
    char text[128];
    cn_arena_init(&a, 4096, 1 << 20);
    CU_ASSERT_EQUAL_FATAL(cn_folders_of(r, to, &a, &f), CN_OK);
    snprintf(text, sizeof text, "%s", says);
    text[cn_folders_cut(&f, text, strlen(text))] = 0;
    CU_ASSERT_STRING_EQUAL(text, want);
}

static void folders_are_not_told(void) {
    static const char *const paths[] = {"/srv/my in/a.csv", "/srv/deep/", "/top", "-", "/srv/g/*/x?.csv"};
    static const cn_str roots[] = {{"/im", 3}, {"/im/port//", 10}};
    const cn_job_reader to = {roots, 2};
    CN_AUTO_BUF cn_buf b;
    cn_job_opts o;
    cn_buf_init(&b, 1 << 16);
    cn_job_opts_default(&o);
    o.index = CN_STR("a");
    o.from.paths = paths;
    o.from.n_paths = 5;
    o.from.rows = "/rows/r.jsonl";
    CU_ASSERT_EQUAL(cn_opts_pack(&o, &b), CN_OK);
    cn_job_row r = {.via = CN_STR("command"), .opts = cn_buf_str(&b)};
    told(&r, NULL, "/srv/my in/a.csv: broken", "/srv/my in/a.csv: broken");
    told(&r, &to, "/srv/my in/a.csv: broken", "./a.csv: broken");
    told(&r, &to, "in /srv/deep/b and /rows/r.jsonl:3", "in ./deep/b and ./r.jsonl:3");
    told(&r, &to, "no file fits /srv/g//*/x?.csv", "no file fits .//*/x?.csv");
    told(&r, &to, "/top /rowsy/r x/rows/r /im/port/a", "/top /rowsy/r x/rows/r /im/port/a");
    told(&r, &to, "", "");
    r.via = CN_STR("rpc");
    told(&r, &to, "/im/port/a/b.csv /im/a (/im/port) /import", "./a/b.csv ./a (.) /import");
    told(&r, NULL, "/im/port/a", "/im/port/a");
}

static void options_round_trip(void) {
    const char *paths[] = {"/a", "b/c", "-"};
    cn_str rules[] = {CN_STR("*.md=public")}, label = CN_STR("group:x");
    cn_job_opts o, back;
    cn_job_opts_default(&o);
    o.index = CN_STR("docs");
    o.from.paths = paths;
    o.from.n_paths = 3;
    o.from.label_rules = rules;
    o.from.n_label_rules = 1;
    o.from.labels = (cn_labels){&label, 1};
    o.from.rows = "/r.jsonl";
    o.sync = o.strict_input = true;
    o.max_deleted = 12;
    o.threads = 2;
    CN_AUTO_BUF cn_buf b;
    cn_arena a;
    cn_buf_init(&b, 65536);
    cn_arena_init(&a, 4096, 1 << 20);
    CU_ASSERT_EQUAL(cn_opts_pack(&o, &b), CN_OK);
    cn_job_opts_default(&back);
    CU_ASSERT_EQUAL_FATAL(cn_opts_unpack(cn_buf_str(&b), &a, &back), CN_OK);
    CU_ASSERT_STRING_EQUAL(back.from.paths[0], "/a");
    CU_ASSERT(back.from.paths[1][0] == '/' && strstr(back.from.paths[1], "/b/c"));
    CU_ASSERT_STRING_EQUAL(back.from.paths[2], "-");
    CU_ASSERT_STRING_EQUAL(back.from.rows, "/r.jsonl");
    CU_ASSERT(back.sync && back.strict_input && !back.activate && back.max_deleted == 12 && back.max_rejected == UINT64_MAX && back.threads == 2);
    CU_ASSERT(cn_str_is(back.from.label_rules[0], "*.md=public") && cn_str_is(back.from.labels.v[0], "group:x") && cn_str_is(back.index, "docs"));
    cn_arena_done(&a);
}

static int open_data(void) {
    char path[sizeof dir + 8];
    if (!mkdtemp(dir))
        return 1;
    snprintf(path, sizeof path, "%s/d", dir);
    if (cn_data_init(path) != CN_OK || cn_data_open(path, &data) != CN_OK || cn_tenant_create(data, CN_STR("acme"), &actor) != CN_OK ||
        cn_tenant_open(data, CN_STR("acme"), &tenant) != CN_OK) {
        fprintf(stderr, "%s\n", cn_error_detail());
        return 1;
    }
    return 0;
}

static int close_data(void) {
    char command[sizeof dir + 16];
    cn_tenant_unref(tenant);
    cn_data_close(data);
    snprintf(command, sizeof command, "rm -rf %s", dir);
    return system(command);
}

int main(void) {
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    CU_pSuite s = CU_add_suite("parts", NULL, NULL);
    CU_add_test(s, "line keeps order", line_keeps_order);
    CU_add_test(s, "line is bounded by bytes", line_is_bounded_by_bytes);
    CU_add_test(s, "line stops at an error", line_stops_at_an_error);
    CU_add_test(s, "digests tell apart", digests_tell_apart);
    CU_add_test(s, "outline round trip", outline_round_trip);
    CU_add_test(s, "outline survives any bytes", outline_survives_any_bytes);
    CU_add_test(s, "keys are kept", keys_are_kept);
    CU_add_test(s, "guards", guards);
    CU_add_test(s, "options round trip", options_round_trip);
    CU_add_test(s, "folders are not told", folders_are_not_told);
    s = CU_add_suite("rows", open_data, close_data);
    CU_add_test(s, "one job for an index and source", one_job_for_an_index_and_source);
    CU_add_test(s, "a dead job is interrupted", a_dead_job_is_interrupted);
    CU_add_test(s, "rejected are listed", rejected_are_listed);
    CU_add_test(s, "jobs are listed newest first", jobs_are_listed_newest_first);
    CU_add_test(s, "failed jobs do not stop pruning", failed_jobs_do_not_stop_pruning);
    CU_basic_set_mode(CU_BRM_NORMAL);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures() + CU_get_number_of_suites_failed();
    CU_cleanup_registry();
    return failures != 0;
}
