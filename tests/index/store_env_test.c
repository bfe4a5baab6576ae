#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/os.h"
#include "index/store/env_inside.h"
#include "tests/index/store_test.h"

static char dir[64], path[128];

static int setup(void) {
    snprintf(dir, sizeof dir, "/tmp/cairn-env-XXXXXX");
    if (!mkdtemp(dir))
        return 1;
    snprintf(path, sizeof path, "%s/x.mdb", dir);
    return 0;
}

static int teardown(void) {
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", dir);
    return system(command) != 0;
}

static cn_err put(cn_env *e, MDB_dbi dbi, const char *key, size_t bytes) {
    MDB_txn *txn;
    CN_AUTO_FREE char *p = cn_calloc(1, bytes);
    CN_TRY(cn_txn_write(e, &txn));
    cn_err err = cn_db_put(txn, dbi, cn_str_of(key), (cn_str){p, bytes});
    if (err == CN_OK)
        return cn_txn_commit(e, txn);
    cn_txn_abort(e, txn);
    return err;
}

static cn_err count_one(void *ctx, cn_str key, cn_str value, bool *stop) {
    (void)key, (void)value;
    *stop = ++*(unsigned *)ctx == 1000;
    return CN_OK;
}

static unsigned count(cn_env *e, MDB_dbi dbi, const char *prefix) {
    MDB_txn *txn;
    unsigned n = 0;
    OK(cn_txn_read(e, &txn));
    OK(cn_db_each(txn, dbi, cn_str_of(prefix), count_one, &n));
    cn_txn_abort(e, txn);
    return n;
}

static void one_environment_a_file(void) {
    cn_env *a, *b;
    MDB_dbi x, y;
    char link_path[160];
    snprintf(link_path, sizeof link_path, "%s/hard.mdb", dir);
    FAILS(cn_env_open(path, CN_ENV_CONTROL, false, &a), CN_NOT_FOUND);
    if (!OK(cn_env_open(path, CN_ENV_CONTROL, true, &a)))
        return;
    CU_ASSERT_EQUAL(link(path, link_path), 0);
    OK(cn_env_open(link_path, CN_ENV_CONTROL, false, &b)); /* another name of the same file */
    CU_ASSERT_PTR_EQUAL(a, b);
    CU_ASSERT_EQUAL(cn_env_count(), 1);
    b = NULL;
    FAILS(cn_env_open(path, CN_ENV_SEALED, false, &b), CN_CONFLICT);
    CU_ASSERT_PTR_NULL(b); /* nothing that the refused would close */
    FAILS(cn_env_dbi(a, "one", false, &x), CN_NOT_FOUND);
    OK(cn_env_dbi(a, "one", true, &x));
    OK(cn_env_dbi(a, "one", false, &y));
    CU_ASSERT_EQUAL(x, y);
    cn_env_close(a), cn_env_close(a);
    CU_ASSERT_EQUAL(cn_env_count(), 0);
    unlink(link_path);
}

static void pairs_by_prefix(void) {
    cn_env *e;
    MDB_dbi dbi;
    MDB_txn *txn;
    cn_str v;
    char key[16];
    if (!OK(cn_env_open(path, CN_ENV_CONTROL, true, &e)) || !OK(cn_env_dbi(e, "one", true, &dbi)))
        return;
    for (int i = 0; i < 300; i++) {
        snprintf(key, sizeof key, "%c%03d", i < 100 ? 'a' : 'b', i);
        OK(put(e, dbi, key, i % 7 ? 10 : 9000));
    }
    CU_ASSERT_EQUAL(count(e, dbi, "a"), 100);
    CU_ASSERT_EQUAL(count(e, dbi, "b2"), 100);
    CU_ASSERT_EQUAL(count(e, dbi, ""), 300);
    CU_ASSERT_EQUAL(count(e, dbi, "c"), 0);
    OK(cn_txn_write(e, &txn));
    OK(cn_db_del(txn, dbi, CN_STR("a000")));
    OK(cn_db_del(txn, dbi, CN_STR("never there")));
    FAILS(cn_db_get(txn, dbi, CN_STR("a000"), &v), CN_NOT_FOUND);
    OK(cn_txn_commit(e, txn));
    CU_ASSERT_EQUAL(count(e, dbi, "a"), 99);
    cn_env_close(e);
    OK(cn_env_check(path));
}

static void hold_in_child(int ready) {
    cn_env *e;
    MDB_txn *txn;
    if (cn_env_open(path, CN_ENV_CONTROL, true, &e) != CN_OK || cn_txn_write(e, &txn) != CN_OK)
        _exit(1);
    if (write(ready, "x", 1) != 1)
        _exit(1);
    for (;;)
        pause();
}

/* A stopped writer must not stop us for ever; a killed one must not stop us at all. */
static void a_stopped_writer_is_named(void) {
    int ready[2];
    char c, pid_text[32];
    cn_env *e;
    MDB_txn *txn;
    CU_ASSERT_EQUAL_FATAL(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0)
        hold_in_child(ready[1]);
    CU_ASSERT_EQUAL(read(ready[0], &c, 1), 1);
    kill(pid, SIGSTOP);
    snprintf(pid_text, sizeof pid_text, "(pid %d)", (int)pid);
    if (OK(cn_env_open(path, CN_ENV_CONTROL, true, &e))) {
        OK(cn_txn_read(e, &txn)); /* readers do not wait */
        cn_txn_abort(e, txn);
        FAILS(cn_txn_write(e, &txn), CN_OVERLOADED);
        CU_ASSERT_PTR_NOT_NULL(strstr(cn_error_detail(), pid_text));
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        OK(cn_txn_write(e, &txn));
        cn_txn_abort(e, txn);
        cn_env_close(e);
    }
    close(ready[0]), close(ready[1]);
}

static off_t size_of(const char *p) {
    struct stat st;
    return stat(p, &st) == 0 ? st.st_size : -1;
}

static bool opens(void) {
    cn_env *e;
    MDB_dbi dbi;
    cn_err err = cn_env_open(path, CN_ENV_CONTROL, false, &e);
    CU_ASSERT_TRUE(err == CN_OK || err == CN_DAMAGED);
    if (err != CN_OK)
        return false;
    if (cn_env_dbi(e, "one", false, &dbi) == CN_OK) {
        count(e, dbi, "");
        err = put(e, dbi, "zz", 5000); /* writing over a damaged list of free pages would be worse than reading */
        CU_ASSERT_TRUE(err == CN_OK || err == CN_DAMAGED);
    }
    cn_env_close(e);
    return true;
}

static void copy(const char *from, const char *to) {
    char command[400];
    snprintf(command, sizeof command, "cp %s %s", from, to);
    CU_ASSERT_EQUAL(system(command), 0);
}

static void cut_and_flipped_trees_are_refused_or_harmless(void) {
    char good[160];
    unsigned refused = 0;
    snprintf(good, sizeof good, "%s/good", dir);
    copy(path, good);
    off_t size = size_of(path);
    for (off_t n = 0; n < size; n += 4096 + 1000) {
        copy(good, path);
        CU_ASSERT_EQUAL(truncate(path, n), 0);
        refused += !opens();
    }
    CU_ASSERT_TRUE(refused > 10);
    for (unsigned i = 0; i < 400; i++) {
        copy(good, path);
        FILE *f = fopen(path, "r+b");
        off_t at = (off_t)(i * 2654435761u % (unsigned)(size / 4096)) * 4096 + (i % 3 ? i % 160 : i * 37 % 4096);
        fseeko(f, at, SEEK_SET);
        int c = fgetc(f);
        fseeko(f, at, SEEK_SET);
        fputc(c ^ (1 << i % 8), f);
        fclose(f);
        opens();
    }
    copy(good, path);
    CU_ASSERT_TRUE(opens());
    FILE *f = fopen(path, "wb");
    for (int i = 0; i < 20000; i++)
        fputc(i * 7 + i / 256, f);
    fclose(f);
    FAILS(cn_env_check(path), CN_DAMAGED);
    unlink(path);
}

/* Cut to `bytes` while it is open (UINT64_MAX: to none, under a value being read): refused from then on, by reader and
 * writer, even when it is lengthened again, and well once its bytes are back and it is opened anew. */
static void cut_while_open(uint64_t bytes) {
    char good[160];
    cn_env *e, *other;
    MDB_dbi dbi;
    MDB_txn *txn;
    cn_str value;
    snprintf(good, sizeof good, "%s/good", dir);
    unlink(path);
    if (!OK(cn_env_open(path, CN_ENV_CONTROL, true, &e)))
        return;
    OK(cn_env_dbi(e, "one", true, &dbi));
    for (unsigned i = 0; i < 40; i++)
        OK(put(e, dbi, (char[]){'a', (char)('0' + i), 0}, 9000));
    copy(path, good);
    off_t size = size_of(path);
    OK(cn_txn_read(e, &txn));
    OK(cn_db_get(txn, dbi, CN_STR("a1"), &value));
    CU_ASSERT_EQUAL(truncate(path, bytes == UINT64_MAX ? 0 : (off_t)bytes), 0);
    for (size_t i = 0; bytes == UINT64_MAX && i < value.n; i += 512)
        CU_ASSERT_EQUAL(value.p[i], 0);
    cn_txn_abort(e, txn);
    for (int longer = 0; longer < 2; longer++) {
        FAILS(cn_txn_read(e, &txn), CN_DAMAGED);
        CU_ASSERT_PTR_NOT_NULL(strstr(cn_error_detail(), "cut short"));
        FAILS(put(e, dbi, "b", 10), CN_DAMAGED);
        CU_ASSERT_EQUAL(truncate(path, size), 0);
    }
    cn_env_close(e);
    copy(good, path);
    if (OK(cn_env_open(path, CN_ENV_CONTROL, false, &other))) {
        OK(cn_env_dbi(other, "one", false, &dbi));
        CU_ASSERT_EQUAL(count(other, dbi, "a"), 40);
        OK(put(other, dbi, "b", 10));
        cn_env_close(other);
    }
}

static void cut_short_while_open(void) {
    cut_while_open(0);
    cut_while_open(8192);
    cut_while_open(100 * 1000);
    cut_while_open(UINT64_MAX);
    unlink(path);
}

/* Readers keep a number for as long as nobody commits, and no longer. */
static void a_stamp_tells_commits_apart(void) {
    cn_env *e;
    MDB_dbi dbi;
    MDB_txn *txn;
    uint64_t first = 0, second = 0, number = 0;
    if (!OK(cn_env_open(path, CN_ENV_CONTROL, true, &e)))
        return;
    OK(cn_env_dbi(e, "d", true, &dbi));
    OK(put(e, dbi, "a", 8));
    OK(cn_txn_read(e, &txn));
    uint64_t read_under = mdb_txn_id(txn);
    cn_txn_abort(e, txn);
    OK(cn_env_stamp(e, &first));
    CU_ASSERT_EQUAL(first, read_under);
    CU_ASSERT_FALSE(cn_env_recall(e, first, &number));
    cn_env_keep(e, first, 42);
    CU_ASSERT_TRUE(cn_env_recall(e, first, &number) && number == 42);
    OK(cn_env_stamp(e, &second));
    CU_ASSERT_EQUAL(second, first);
    OK(put(e, dbi, "b", 8));
    OK(cn_env_stamp(e, &second));
    CU_ASSERT_TRUE(second > first);
    CU_ASSERT_FALSE(cn_env_recall(e, second, &number));
    CU_ASSERT_FALSE(cn_env_recall(e, 0, &number));
    CU_ASSERT_EQUAL(truncate(path, 0), 0);
    cn_err err = CN_OK;
    for (int i = 0; err == CN_OK && i < 1000; i++) {
        usleep(1000);
        err = cn_env_stamp(e, &second);
    }
    CU_ASSERT_EQUAL(err, CN_DAMAGED);
    cn_env_close(e);
    unlink(path);
}

/* A write of LMDB's has failed and the file is not there: once it is back, all goes on. */
static void opened_anew_at_the_second_try(void) {
    char away[160];
    cn_env *e, *same;
    MDB_dbi dbi;
    MDB_txn *txn;
    snprintf(away, sizeof away, "%s/away", dir);
    if (!OK(cn_env_open(path, CN_ENV_CONTROL, true, &e)))
        return;
    OK(cn_env_dbi(e, "one", true, &dbi));
    OK(put(e, dbi, "a1", 9000));
    e->broken = true;
    CU_ASSERT_EQUAL(rename(path, away), 0);
    FAILS(cn_txn_read(e, &txn), CN_NOT_FOUND);
    CU_ASSERT_EQUAL(rename(away, path), 0);
    int other[8]; /* short files, which get the numbers of the descriptors that were closed */
    for (int i = 0; i < 8; i++)
        other[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (OK(cn_env_open(path, CN_ENV_CONTROL, false, &same))) {
        CU_ASSERT_PTR_EQUAL(same, e);
        CU_ASSERT_EQUAL(count(same, dbi, "a"), 1);
        OK(put(same, dbi, "a2", 10));
        CU_ASSERT_EQUAL(count(e, dbi, "a"), 2);
        cn_env_close(same);
    }
    for (int i = 0; i < 8; i++)
        close(other[i]);
    cn_env_close(e);
    unlink(path);
}

/* Of what is ours: a request is not to blame for it. */
static void what_is_no_file_is_damage(void) {
    cn_env *e;
    char writer[160];
    snprintf(writer, sizeof writer, "%s-writer", path);
    CU_ASSERT_EQUAL(mkfifo(path, 0600), 0);
    FAILS(cn_env_open(path, CN_ENV_CONTROL, false, &e), CN_DAMAGED);
    unlink(path);
    CU_ASSERT_EQUAL(mkdir(path, 0700), 0);
    FAILS(cn_env_open(path, CN_ENV_SEALED, false, &e), CN_DAMAGED);
    rmdir(path);
    CU_ASSERT_EQUAL(symlink("/dev/zero", path), 0);
    FAILS(cn_env_open(path, CN_ENV_CONTROL, false, &e), CN_DAMAGED);
    unlink(path);
    unlink(writer);
    CU_ASSERT_EQUAL(mkdir(writer, 0700), 0);
    FAILS(cn_env_open(path, CN_ENV_CONTROL, true, &e), CN_DAMAGED);
    rmdir(writer);
    unlink(path);
}

void env_suite(void) {
    CU_pSuite s = CU_add_suite("env", setup, teardown);
    CU_ADD_TEST(s, one_environment_a_file);
    CU_ADD_TEST(s, pairs_by_prefix);
    CU_ADD_TEST(s, a_stopped_writer_is_named);
    CU_ADD_TEST(s, cut_and_flipped_trees_are_refused_or_harmless);
    CU_ADD_TEST(s, cut_short_while_open);
    CU_ADD_TEST(s, a_stamp_tells_commits_apart);
    CU_ADD_TEST(s, opened_anew_at_the_second_try);
    CU_ADD_TEST(s, what_is_no_file_is_damage);
}
