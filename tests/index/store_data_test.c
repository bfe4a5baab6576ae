#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/log.h"
#include "engine/base/utf8.h"
#include "index/control/records.h"
#include "index/store/dir.h"
#include "index/store/damage.h"
#include "tests/index/store_test.h"

static void made_once_and_private(void) {
    fixture f;
    struct stat st;
    char path[128];
    if (!fixture_init(&f))
        return;
    FAILS(cn_data_init(f.dir), CN_CONFLICT);
    snprintf(path, sizeof path, "%s/tenants/acme/control.mdb", f.dir);
    CU_ASSERT_TRUE(stat(path, &st) == 0 && (st.st_mode & 0777) == 0600);
    snprintf(path, sizeof path, "%s/tenants/acme", f.dir);
    CU_ASSERT_TRUE(stat(path, &st) == 0 && (st.st_mode & 0777) == 0700);
    fixture_done(&f);
}

static void not_ours_is_refused(void) {
    char dir[] = "/tmp/cairn-data-XXXXXX", path[64];
    cn_data *d;
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(dir));
    FAILS(cn_data_open(dir, &d), CN_NOT_FOUND);
    FAILS(cn_data_open("/tmp/there/is/no/such/place", &d), CN_NOT_FOUND);
    snprintf(path, sizeof path, "%s/mine.txt", dir);
    fclose(fopen(path, "w"));
    FAILS(cn_data_init(dir), CN_INVALID);
    unlink(path);
    OK(cn_data_init(dir));
    snprintf(path, sizeof path, "%s/cairn.mdb", dir);
    CU_ASSERT_EQUAL(truncate(path, 5000), 0);
    FAILS(cn_data_open(dir, &d), CN_DAMAGED);
    OK(cn_dir_remove(dir));
}

static void another_format_is_refused(void) {
    fixture f;
    cn_data *d;
    MDB_txn *txn;
    MDB_dbi dbi;
    if (!fixture_init(&f))
        return;
    cn_env *host = cn_data_host(f.data);
    OK(cn_env_dbi(host, "settings", false, &dbi));
    OK(cn_txn_write(host, &txn));
    OK(cn_db_put(txn, dbi, CN_STR("format"), CN_STR("3")));
    OK(cn_txn_commit(host, txn));
    FAILS(cn_data_open(f.dir, &d), CN_REFUSED);
    OK(cn_txn_write(host, &txn)); /* and the one before: its tenants lack what this one looks for */
    OK(cn_db_put(txn, dbi, CN_STR("format"), CN_STR("1")));
    OK(cn_txn_commit(host, txn));
    FAILS(cn_data_open(f.dir, &d), CN_REFUSED);
    fixture_done(&f);
}

static cn_err count_tenant(void *ctx, cn_str name, int64_t made) {
    (void)name;
    CU_ASSERT_TRUE(made > 0);
    ++*(unsigned *)ctx;
    return CN_OK;
}

static void tenants_come_and_go(void) {
    fixture f;
    cn_tenant *t;
    cn_env *work;
    unsigned n = 0;
    if (!fixture_init(&f))
        return;
    FAILS(cn_tenant_create(f.data, CN_STR("acme"), &tester), CN_CONFLICT);
    FAILS(cn_tenant_create(f.data, CN_STR("../up"), &tester), CN_INVALID);
    FAILS(cn_tenant_open(f.data, CN_STR("other"), &t), CN_NOT_FOUND);
    OK(cn_tenant_create(f.data, CN_STR("other"), &tester));
    OK(cn_tenant_open(f.data, CN_STR("other"), &t));
    OK(cn_tenant_work(t, &work));
    OK(cn_tenant_list(f.data, count_tenant, &n));
    CU_ASSERT_EQUAL(n, 2);
    OK(cn_tenant_drop(f.data, CN_STR("other"), NULL, NULL, &tester)); /* while it is open */
    CU_ASSERT_NOT_EQUAL(access(cn_tenant_dir(t), F_OK), 0);
    FAILS(cn_tenant_drop(f.data, CN_STR("other"), NULL, NULL, &tester), CN_NOT_FOUND);
    OK(cn_tenant_create(f.data, CN_STR("other"), &tester));
    cn_tenant *again;
    OK(cn_tenant_open(f.data, CN_STR("other"), &again));
    CU_ASSERT_PTR_NOT_EQUAL(t, again); /* not the dropped one's environments */
    cn_tenant_unref(t), cn_tenant_unref(again);
    fixture_done(&f);
}

/* A tenant is dropped for its damaged file: what is still open of it says nothing of the one made in its place. */
static void made_anew_after_a_cut(void) {
    fixture f;
    cn_tenant *t;
    MDB_txn *txn;
    char path[200];
    if (!fixture_init(&f))
        return;
    OK(cn_tenant_create(f.data, CN_STR("other"), &tester));
    OK(cn_tenant_open(f.data, CN_STR("other"), &t));
    cn_tenant_unref(t); /* it stays open for a while */
    snprintf(path, sizeof path, "%s/tenants/other/control.mdb", f.dir);
    CU_ASSERT_EQUAL(truncate(path, 5000), 0);
    OK(cn_tenant_drop(f.data, CN_STR("other"), NULL, NULL, &tester));
    OK(cn_tenant_create(f.data, CN_STR("other"), &tester));
    if (OK(cn_tenant_open(f.data, CN_STR("other"), &t))) {
        OK(cn_txn_write(cn_tenant_control(t), &txn));
        OK(cn_txn_commit(cn_tenant_control(t), txn));
        cn_tenant_unref(t);
    }
    fixture_done(&f);
}

static bool shell(const fixture *f, const char *in_tenants) {
    char command[400];
    snprintf(command, sizeof command, "cd %s/tenants && %s", f->dir, in_tenants);
    return system(command) == 0;
}

/* By whoever brings a backup back while a program runs: lock files and all. */
static void put_back_as_a_whole(void) {
    fixture f;
    cn_tenant *t, *again;
    cn_segw *w;
    MDB_txn *txn;
    if (!fixture_init(&f))
        return;
    OK(cn_tenant_create(f.data, CN_STR("other"), &tester));
    OK(cn_tenant_open(f.data, CN_STR("other"), &t));
    CU_ASSERT_TRUE(shell(&f, "cp -a other .back && mv other .old && mv .back other"));
    usleep(20000); /* a stamp looks once a tick of the clock */
    FAILS(cn_tenant_open(f.data, CN_STR("other"), &again), CN_DAMAGED);
    CU_ASSERT_PTR_NOT_NULL(strstr(cn_error_detail(), "was replaced or overwritten"));
    FAILS(cn_tenant_still(t), CN_DAMAGED);
    FAILS(cn_segw_new(t, 4, &w), CN_DAMAGED);
    FAILS(cn_txn_read(cn_tenant_control(t), &txn), CN_DAMAGED);
    FAILS(cn_txn_write(cn_tenant_control(t), &txn), CN_DAMAGED);
    CU_ASSERT_TRUE(shell(&f, "mv other .back && mv .old other")); /* what is written to the other one meanwhile is not here */
    FAILS(cn_tenant_open(f.data, CN_STR("other"), &again), CN_DAMAGED);
    OK(cn_tenant_drop(f.data, CN_STR("other"), NULL, NULL, &tester));
    OK(cn_tenant_create(f.data, CN_STR("other"), &tester));
    if (OK(cn_tenant_open(f.data, CN_STR("other"), &again)))
        cn_tenant_unref(again);
    cn_tenant_unref(t);
    fixture_done(&f);
}

/* Whoever still works on a tenant that was dropped makes nothing in the directory of its successor. */
static void a_dropped_one_goes_on_in_no_other(void) {
    fixture f;
    cn_tenant *t, *now;
    cn_env *work;
    cn_segw *w;
    if (!fixture_init(&f))
        return;
    OK(cn_tenant_create(f.data, CN_STR("other"), &tester));
    OK(cn_tenant_open(f.data, CN_STR("other"), &t));
    OK(cn_tenant_still(t));
    OK(cn_tenant_drop(f.data, CN_STR("other"), NULL, NULL, &tester));
    FAILS(cn_segw_new(t, 4, &w), CN_NOT_FOUND);
    OK(cn_tenant_create(f.data, CN_STR("other"), &tester));
    FAILS(cn_tenant_still(t), CN_NOT_FOUND);
    FAILS(cn_segw_new(t, 4, &w), CN_NOT_FOUND);
    FAILS(cn_tenant_work(t, &work), CN_NOT_FOUND);
    OK(cn_tenant_open(f.data, CN_STR("other"), &now));
    if (OK(cn_segw_new(now, 4, &w)))
        cn_segw_abort(w);
    cn_tenant_unref(t), cn_tenant_unref(now);
    fixture_done(&f);
}

static void touch_dir(const fixture *f, const char *name, time_t age) {
    char path[256];
    const struct timespec t[2] = {{time(NULL) - age, 0}, {time(NULL) - age, 0}};
    snprintf(path, sizeof path, "%s/tenants/%s", f->dir, name);
    CU_ASSERT_EQUAL(mkdir(path, 0700), 0);
    CU_ASSERT_EQUAL(utimensat(AT_FDCWD, path, t, 0), 0);
}

static bool is_there(const fixture *f, const char *name) {
    char path[256];
    snprintf(path, sizeof path, "%s/tenants/%s", f->dir, name);
    return access(path, F_OK) == 0;
}

/* What killed commands left: a tenant dropped half-way, one that was never listed, one that someone is making right now. */
static void leftovers_of_tenants_go(void) {
    fixture f;
    cn_tenant *t;
    if (!fixture_init(&f))
        return;
    touch_dir(&f, ".dropped-x-0123456789abcdef", 0);
    touch_dir(&f, ".making-x-0123456789abcdef", 7200);
    touch_dir(&f, ".making-y-0123456789abcdef", 10);
    touch_dir(&f, "other", 0); /* its directory is there, the list does not know it */
    OK(cn_tenant_create(f.data, CN_STR("other"), &tester));
    OK(cn_tenant_open(f.data, CN_STR("other"), &t));
    cn_tenant_unref(t);
    OK(cn_tenant_drop(f.data, CN_STR("other"), NULL, NULL, &tester));
    CU_ASSERT_FALSE(is_there(&f, ".dropped-x-0123456789abcdef"));
    CU_ASSERT_FALSE(is_there(&f, ".making-x-0123456789abcdef"));
    CU_ASSERT_TRUE(is_there(&f, ".making-y-0123456789abcdef"));
    CU_ASSERT_FALSE(is_there(&f, "other"));
    fixture_done(&f);
}

static void end_here(void *ctx, cn_log_level level, const char *event, const char *text) {
    (void)ctx, (void)level, (void)text;
    if (strcmp(event, "tenant.dropped") == 0)
        _exit(7);
}

/* Killed when the tenant is off the list and its texts are all there: they go with the next start. */
static void a_drop_cut_short_is_ended(void) {
    fixture f;
    cn_tenant *t;
    int status = 0;
    if (!fixture_init(&f))
        return;
    OK(cn_tenant_create(f.data, CN_STR("other"), &tester));
    OK(cn_tenant_create(f.data, CN_STR("anew"), &tester));
    touch_dir(&f, "never", 0); /* which the list does not know, and nobody dropped: of an older list that was brought back */
    cn_tenant_unref(f.tenant);
    cn_data_close(f.data);
    for (int i = 0; i < 2; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            cn_data *d;
            cn_log_set(end_here, NULL, CN_LOG_INFO);
            if (cn_data_open(f.dir, &d) == CN_OK)
                cn_tenant_drop(d, i ? CN_STR("anew") : CN_STR("other"), NULL, NULL, &tester);
            _exit(1);
        }
        CU_ASSERT(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 7);
    }
    OK(cn_data_open(f.dir, &f.data));
    OK(cn_tenant_open(f.data, CN_STR("acme"), &f.tenant));
    CU_ASSERT_TRUE(is_there(&f, "other"));
    FAILS(cn_tenant_open(f.data, CN_STR("other"), &t), CN_NOT_FOUND);
    touch_dir(&f, ".dropped-x-0123456789abcdef", 0); /* and one that was killed while it removed files */
    OK(cn_tenant_create(f.data, CN_STR("anew"), &tester));
    OK(cn_tenants_tidy(f.data));
    CU_ASSERT_FALSE(is_there(&f, "other"));
    CU_ASSERT_FALSE(is_there(&f, ".dropped-x-0123456789abcdef"));
    CU_ASSERT_TRUE(is_there(&f, "never"));
    OK(cn_tenant_open(f.data, CN_STR("anew"), &t));
    cn_tenant_unref(t);
    OK(cn_tenants_tidy(f.data));
    CU_ASSERT_TRUE(is_there(&f, "anew"));
    fixture_done(&f);
}

/* One that cannot be looked at now stays for another time, and keeps neither others nor their answers. */
static void one_that_stays_keeps_no_other(void) {
    fixture f;
    cn_env *held;
    char path[200];
    if (!fixture_init(&f))
        return;
    OK(cn_tenant_create(f.data, CN_STR("first"), &tester));
    OK(cn_tenant_create(f.data, CN_STR("other"), &tester));
    snprintf(path, sizeof path, "%s/tenants/first/control.mdb", f.dir);
    if (OK(cn_env_open(path, CN_ENV_SEALED, false, &held))) { /* another use of the file keeps it from being opened */
        OK(cn_tenant_drop(f.data, CN_STR("first"), NULL, NULL, &tester));
        OK(cn_tenant_drop(f.data, CN_STR("other"), NULL, NULL, &tester));
        CU_ASSERT_TRUE(is_there(&f, "first"));
        CU_ASSERT_FALSE(is_there(&f, "other"));
        OK(cn_tenants_tidy(f.data));
        cn_env_close(held);
    }
    OK(cn_tenants_tidy(f.data));
    CU_ASSERT_FALSE(is_there(&f, "first"));
    fixture_done(&f);
}

static void copy_host(const fixture *f, const char *from, const char *to) {
    char cmd[512];
    snprintf(cmd, sizeof cmd, "cp %s/%s %s/%s", f->dir, from, f->dir, to);
    CU_ASSERT_EQUAL(system(cmd), 0);
}

/* A backup of cairn.mdb of that moment says so too: it must not cost the tenant that was made anew since. */
static void a_drop_of_an_older_list_takes_nothing_anew(void) {
    fixture f;
    int status = 0;
    if (!fixture_init(&f))
        return;
    OK(cn_tenant_create(f.data, CN_STR("anew"), &tester));
    cn_tenant_unref(f.tenant);
    cn_data_close(f.data);
    pid_t pid = fork();
    if (pid == 0) {
        cn_data *d;
        cn_log_set(end_here, NULL, CN_LOG_INFO);
        if (cn_data_open(f.dir, &d) == CN_OK)
            cn_tenant_drop(d, CN_STR("anew"), NULL, NULL, &tester);
        _exit(1);
    }
    CU_ASSERT(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 7);
    copy_host(&f, "cairn.mdb", "backup");
    OK(cn_data_open(f.dir, &f.data));
    OK(cn_tenant_create(f.data, CN_STR("anew"), &tester));
    cn_data_close(f.data);
    copy_host(&f, "backup", "cairn.mdb");
    OK(cn_data_open(f.dir, &f.data));
    OK(cn_tenant_open(f.data, CN_STR("acme"), &f.tenant));
    OK(cn_tenants_tidy(f.data));
    CU_ASSERT_TRUE(is_there(&f, "anew"));
    OK(cn_tenants_tidy(f.data));
    CU_ASSERT_TRUE(is_there(&f, "anew"));
    fixture_done(&f);
}

static void a_lost_control_file_answers_nothing(void) {
    fixture f;
    cn_tenant *t;
    char path[128];
    if (!fixture_init(&f))
        return;
    OK(cn_tenant_create(f.data, CN_STR("other"), &tester));
    snprintf(path, sizeof path, "%s/tenants/other/control.mdb", f.dir);
    CU_ASSERT_EQUAL(truncate(path, 0), 0);
    FAILS(cn_tenant_open(f.data, CN_STR("other"), &t), CN_DAMAGED);
    unlink(path);
    FAILS(cn_tenant_open(f.data, CN_STR("other"), &t), CN_DAMAGED);
    CU_ASSERT_NOT_EQUAL(access(path, F_OK), 0); /* and it was not made anew */
    fixture_done(&f);
}

static void move_tenant(const fixture *f, const char *from, const char *to) {
    char a[256], b[256];
    snprintf(a, sizeof a, "%s/tenants/%s", f->dir, from);
    snprintf(b, sizeof b, "%s/tenants/%s", f->dir, to);
    CU_ASSERT_EQUAL(rename(a, b), 0);
}

static cn_err owner_of_acme(fixture *f, bool forget) {
    MDB_dbi meta;
    MDB_txn *txn;
    cn_str value;
    CN_TRY(cn_env_dbi(cn_tenant_control(f->tenant), "meta", false, &meta));
    CN_TRY(cn_txn_write(cn_tenant_control(f->tenant), &txn));
    cn_err e = forget ? cn_db_del(txn, meta, CN_STR("owner")) : cn_db_get(txn, meta, CN_STR("owner"), &value);
    return forget ? cn_txn_commit(cn_tenant_control(f->tenant), txn) : (cn_txn_abort(cn_tenant_control(f->tenant), txn), e);
}

static cn_err nothing(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    (void)ctx, (void)c, (void)txn;
    return CN_OK;
}

static void reopen(fixture *f) {
    cn_data_close(f->data);
    CN_ASSERT(cn_data_open(f->dir, &f->data) == CN_OK);
}

/* Another tenant's directory, one of an earlier tenant of the same name, and a link to one, are not served in place of its own. */
static void a_directory_is_one_tenants(void) {
    fixture f;
    cn_tenant *t;
    char own[256], other[256];
    if (!fixture_init(&f))
        return;
    OK(owner_of_acme(&f, false));
    OK(owner_of_acme(&f, true)); /* as one that an earlier build made: it opens, and the first who writes has it say whose it is */
    cn_tenant_unref(f.tenant);
    reopen(&f);
    OK(cn_tenant_open(f.data, CN_STR("acme"), &f.tenant));
    FAILS(owner_of_acme(&f, false), CN_NOT_FOUND);
    OK(cn_catalog_write(f.tenant, nothing, NULL));
    OK(owner_of_acme(&f, false));
    cn_tenant_unref(f.tenant);
    OK(cn_tenant_create(f.data, CN_STR("other"), &tester));
    reopen(&f);
    move_tenant(&f, "acme", ".kept");
    move_tenant(&f, "other", "acme");
    FAILS(cn_tenant_open(f.data, CN_STR("acme"), &t), CN_DAMAGED);
    CU_ASSERT_PTR_NOT_NULL(strstr(cn_error_detail(), "is the directory of another tenant, so"));
    move_tenant(&f, "acme", "other");
    snprintf(own, sizeof own, "%s/tenants/acme", f.dir);
    snprintf(other, sizeof other, "%s/tenants/.kept", f.dir);
    CU_ASSERT_EQUAL(symlink(other, own), 0);
    FAILS(cn_tenant_open(f.data, CN_STR("acme"), &t), CN_DAMAGED);
    unlink(own);
    FAILS(cn_tenant_open(f.data, CN_STR("acme"), &t), CN_DAMAGED);
    OK(cn_tenant_drop(f.data, CN_STR("acme"), NULL, NULL, &tester));
    OK(cn_tenant_create(f.data, CN_STR("acme"), &tester));
    move_tenant(&f, "acme", ".younger");
    move_tenant(&f, ".kept", "acme");
    FAILS(cn_tenant_open(f.data, CN_STR("acme"), &t), CN_DAMAGED);
    CU_ASSERT_PTR_NOT_NULL(strstr(cn_error_detail(), "that had this name"));
    move_tenant(&f, "acme", ".kept");
    move_tenant(&f, ".younger", "acme");
    OK(cn_tenant_open(f.data, CN_STR("acme"), &f.tenant));
    fixture_done(&f);
}

/* Each byte of a tenant's record in turn: it is not opened, under its own name or as another. */
static void a_damaged_record_opens_nothing(void) {
    fixture f;
    MDB_txn *txn;
    MDB_dbi dbi;
    cn_str v;
    char whole[512], changed[512];
    size_t n = 0;
    if (!fixture_init(&f))
        return;
    cn_env *host = cn_data_host(f.data);
    OK(cn_env_dbi(host, "tenants", false, &dbi));
    OK(cn_txn_read(host, &txn));
    OK(cn_db_get(txn, dbi, CN_STR("acme"), &v));
    memcpy(whole, v.p, n = v.n);
    cn_txn_abort(host, txn);
    for (size_t at = 0; at <= n; at++) { /* the last: as it was */
        cn_tenant *t;
        memcpy(changed, whole, n);
        if (at < n)
            changed[at] ^= 1;
        OK(cn_txn_write(host, &txn));
        OK(cn_db_put(txn, dbi, CN_STR("acme"), (cn_str){changed, n}));
        OK(cn_txn_commit(host, txn));
        cn_err e = cn_tenant_open(f.data, CN_STR("acme"), &t);
        CU_ASSERT_EQUAL(e, at < n ? CN_DAMAGED : CN_OK);
        if (e == CN_OK)
            cn_tenant_unref(t);
        else
            CU_ASSERT_PTR_NOT_NULL(strstr(cn_error_detail(), "acme"));
    }
    fixture_done(&f);
}

static unsigned made, done_count;
static cn_err make_slot(cn_tenant *t, void **ret) {
    (void)t;
    made++;
    *ret = &made;
    return CN_OK;
}
static cn_err fail_slot(cn_tenant *t, void **ret) {
    (void)t, (void)ret;
    return cn_fail(CN_UNAVAILABLE, "not now");
}
static void done_slot(void *p) {
    CU_ASSERT_PTR_EQUAL(p, &made);
    done_count++;
}

static void slots_are_made_once(void) {
    fixture f;
    void *p = NULL;
    if (!fixture_init(&f))
        return;
    FAILS(cn_tenant_slot(f.tenant, CN_SLOT_VIEWS, fail_slot, done_slot, &p), CN_UNAVAILABLE);
    OK(cn_tenant_slot(f.tenant, CN_SLOT_VIEWS, make_slot, done_slot, &p));
    OK(cn_tenant_slot(f.tenant, CN_SLOT_VIEWS, make_slot, done_slot, &p));
    CU_ASSERT_TRUE(made == 1 && p == &made && done_count == 0);
    fixture_done(&f);
    CU_ASSERT_EQUAL(done_count, 1);
}

/* ---------- what was found damaged ---------- */
static cn_damaged met(fixture *f, const char *within, const char *tenant, const char *index) {
    char path[256];
    cn_error_forget_file();
    if (within) {
        snprintf(path, sizeof path, "%s%s", f->dir, within);
        CU_ASSERT_EQUAL(cn_fail_file(path, " is not what it was"), CN_DAMAGED);
        cn_fail(CN_INVALID, "something else");
    }
    return cn_damaged_of(f->data, cn_str_of(tenant), cn_str_of(index));
}

static bool is(const cn_damaged *x, const char *tenant, const char *index, const char *file) {
    return strcmp(x->tenant, tenant) == 0 && strcmp(x->index, index) == 0 && strcmp(x->file, file) == 0;
}

static void damaged_files_are_told_apart(void) {
    fixture f;
    cn_damaged x;
    if (!fixture_init(&f))
        return;
    x = met(&f, "/tenants/acme/segments/00ff.mdb", "acme", "docs");
    CU_ASSERT_TRUE(is(&x, "acme", "docs", "00ff.mdb"));
    x = met(&f, "/tenants/acme/segments/00ff.flat.mdb", "other", "docs"); /* whose it is the path says */
    CU_ASSERT_TRUE(is(&x, "acme", "docs", "00ff.flat.mdb"));
    x = met(&f, "/tenants/acme/control.mdb", "acme", "docs");
    CU_ASSERT_TRUE(is(&x, "acme", "", "control.mdb"));
    x = met(&f, "/models/tiny", "acme", "docs");
    CU_ASSERT_TRUE(is(&x, "", "", "models/tiny"));
    x = met(&f, NULL, "acme", "docs"); /* a record of the catalog */
    CU_ASSERT_TRUE(is(&x, "acme", "", "control.mdb"));
    x = met(&f, NULL, "", "");
    CU_ASSERT_TRUE(is(&x, "", "", "cairn.mdb"));
    fixture_done(&f);
}

static void damaged_files_are_kept(void) {
    fixture f;
    cn_arena a;
    cn_damaged *v, x, y;
    uint32_t n = 9;
    if (!fixture_init(&f))
        return;
    cn_arena_init(&a, 16384, 1 << 20);
    OK(cn_damaged_list(f.data, &a, &v, &n));
    CU_ASSERT_EQUAL(n, 0);
    x = met(&f, "/tenants/acme/segments/00ff.mdb", "acme", "docs");
    x.at_us = 1000;
    y = met(&f, "/models/tiny", "", "");
    OK(cn_damaged_put(f.data, &x));
    OK(cn_damaged_put(f.data, &y));
    x.version = 3;
    x.at_us = 2000;
    OK(cn_damaged_put(f.data, &x));
    OK(cn_damaged_list(f.data, &a, &v, &n));
    CU_ASSERT_EQUAL_FATAL(n, 2);
    CU_ASSERT_TRUE(is(&v[0], "", "", "models/tiny") && is(&v[1], "acme", "docs", "00ff.mdb"));
    CU_ASSERT_TRUE(v[1].version == 3 && v[1].at_us == 1000); /* found first */
    OK(cn_damaged_drop(f.data, &y));
    OK(cn_damaged_drop(f.data, &y));
    OK(cn_damaged_list(f.data, &a, &v, &n));
    CU_ASSERT_TRUE(n == 1 && cn_damaged_same(&v[0], &x));
    for (int i = 0; i < 2 * CN_DAMAGED_MAX; i++) {
        snprintf(x.file, sizeof x.file, "%04d.mdb", i);
        OK(cn_damaged_put(f.data, &x));
    }
    OK(cn_damaged_list(f.data, &a, &v, &n));
    CU_ASSERT_EQUAL(n, CN_DAMAGED_MAX);
    cn_arena_done(&a);
    fixture_done(&f);
}

/* For callers elsewhere. */
static void texts_name_no_path(void) {
    fixture f;
    char text[512], out[512];
    if (!fixture_init(&f))
        return;
    snprintf(text, sizeof text, "%s/tenants/a/x is gone; so is (%s), %sx, /else%s/y; job j (pid 12) runs", f.dir, f.dir, f.dir, f.dir);
    CU_ASSERT_TRUE(cn_data_hide(f.data, text, out, sizeof out));
    char want[512];
    snprintf(want, sizeof want, "DATA/tenants/a/x is gone; so is (DATA), %sx, /else%s/y; job j runs", f.dir, f.dir);
    CU_ASSERT_STRING_EQUAL(out, want);
    CU_ASSERT_FALSE(cn_data_hide(f.data, "field \"k\" (pid x)", out, sizeof out));
    CU_ASSERT_STRING_EQUAL(out, "field \"k\" (pid x)");
    fixture_done(&f);
}

/* A reason is whoever's words: in a line of the log it can be taken for nothing else. */
static void reasons_stay_in_their_quotes(void) {
    char text[CN_REASON_LOGGED], longer[2 * CN_REASON_LOGGED];
    const cn_actor who = {.reason = CN_STR("so\nit \"was\" who=root")}, none = {.reason = CN_STR("")};
    CU_ASSERT_STRING_EQUAL(cn_reason_logged(&who, text), "\"so it 'was' who=root\"");
    CU_ASSERT_STRING_EQUAL(cn_reason_logged(&none, text), "\"\"");
    for (size_t i = 0; i < sizeof longer; i++)
        longer[i] = i % 2 ? '\xa9' : '\xc3';
    const cn_actor much = {.reason = {longer, sizeof longer}}, ends = {.reason = {longer, 4}};
    CU_ASSERT_TRUE(cn_utf8_ok(cn_str_of(cn_reason_logged(&much, text))) && strlen(text) < sizeof text);
    CU_ASSERT_STRING_EQUAL(cn_reason_logged(&ends, text), "\"\xc3\xa9\xc3\xa9\"");
}

void data_suite(void) {
    CU_pSuite s = CU_add_suite("data", NULL, NULL);
    CU_ADD_TEST(s, made_once_and_private);
    CU_ADD_TEST(s, not_ours_is_refused);
    CU_ADD_TEST(s, another_format_is_refused);
    CU_ADD_TEST(s, tenants_come_and_go);
    CU_ADD_TEST(s, made_anew_after_a_cut);
    CU_ADD_TEST(s, put_back_as_a_whole);
    CU_ADD_TEST(s, a_dropped_one_goes_on_in_no_other);
    CU_ADD_TEST(s, leftovers_of_tenants_go);
    CU_ADD_TEST(s, a_drop_cut_short_is_ended);
    CU_ADD_TEST(s, one_that_stays_keeps_no_other);
    CU_ADD_TEST(s, a_drop_of_an_older_list_takes_nothing_anew);
    CU_ADD_TEST(s, a_directory_is_one_tenants);
    CU_ADD_TEST(s, a_lost_control_file_answers_nothing);
    CU_ADD_TEST(s, a_damaged_record_opens_nothing);
    CU_ADD_TEST(s, slots_are_made_once);
    CU_ADD_TEST(s, damaged_files_are_told_apart);
    CU_ADD_TEST(s, damaged_files_are_kept);
    CU_ADD_TEST(s, texts_name_no_path);
    CU_ADD_TEST(s, reasons_stay_in_their_quotes);
}
