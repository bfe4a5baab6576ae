/* A file that is cut short under a transaction: a walk, a change, a value in hand, a map that nobody watches. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "index/store/mapguard.h"
#include "tests/index/store_test.h"

#define PAIRS 300
static char dir[64], path[128], said[160];
static const off_t lengths[] = {0, 1, 4096, 8192, 8192 + 100, 40 * 1000, 65536, 100 * 1000};

static int setup(void) {
    snprintf(dir, sizeof dir, "/tmp/cairn-cut-XXXXXX");
    if (!mkdtemp(dir))
        return 1;
    snprintf(path, sizeof path, "%s/x.mdb", dir);
    snprintf(said, sizeof said, "%s/said", dir);
    return 0;
}

static int teardown(void) {
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", dir);
    return system(command) != 0;
}

/* Pairs of 400 bytes, so that leaves and their parent are many pages. */
static cn_err fill(cn_env *e, MDB_dbi dbi) {
    MDB_txn *txn;
    char key[16], value[400] = {1};
    CN_TRY(cn_txn_write(e, &txn));
    for (int i = 0; i < PAIRS; i++) {
        snprintf(key, sizeof key, "key %04d", i);
        cn_err err = cn_db_put(txn, dbi, cn_str_of(key), (cn_str){value, sizeof value});
        if (err != CN_OK) {
            cn_txn_abort(e, txn);
            return err;
        }
    }
    return cn_txn_commit(e, txn);
}

static bool begin(cn_env **e, MDB_dbi *dbi) {
    unlink(path);
    return OK(cn_env_open(path, CN_ENV_CONTROL, true, e)) && OK(cn_env_dbi(*e, "one", true, dbi)) && OK(fill(*e, *dbi)) && OK(fill(*e, *dbi));
}

typedef struct cutting {
    int met, at; /* cut when so many were met */
    off_t length;
} cutting;

static cn_err cut_at(void *ctx, cn_str key, cn_str value, bool *stop) {
    (void)key, (void)value, (void)stop;
    cutting *c = ctx;
    if (c->met++ == c->at)
        CU_ASSERT_EQUAL(truncate(path, c->length), 0);
    return CN_OK;
}

/* Wherever it is cut: the walk does not end as if there were no more. */
static void a_walk(void) {
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
        for (int at = 0; at < PAIRS; at += 37) {
            cn_env *e;
            MDB_dbi dbi;
            MDB_txn *txn;
            cutting c = {.at = at, .length = lengths[i]};
            if (!begin(&e, &dbi))
                return;
            OK(cn_txn_read(e, &txn));
            FAILS(cn_db_each(txn, dbi, CN_STR(""), cut_at, &c), CN_DAMAGED);
            CU_ASSERT_PTR_NOT_NULL(strstr(cn_error_detail(), path));
            CU_ASSERT_PTR_NOT_NULL(strstr(cn_error_detail(), "backup"));
            cn_txn_abort(e, txn);
            FAILS(cn_txn_read(e, &txn), CN_DAMAGED);
            cn_env_close(e);
        }
}

/* One that is not found in what is left of it may have been there. */
static void a_look_up(void) {
    cn_env *e;
    MDB_dbi dbi;
    MDB_txn *txn;
    cn_str value;
    uint64_t n;
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        if (!begin(&e, &dbi))
            return;
        OK(cn_txn_read(e, &txn));
        CU_ASSERT_EQUAL(cn_db_get(txn, dbi, CN_STR("none"), &value), CN_NOT_FOUND);
        CU_ASSERT_EQUAL(truncate(path, lengths[i]), 0);
        FAILS(cn_db_get(txn, dbi, CN_STR("none"), &value), CN_DAMAGED);
        cn_txn_abort(e, txn);
        FAILS(cn_txn_read(e, &txn), CN_DAMAGED);
        cn_env_close(e);
        if (!begin(&e, &dbi))
            return;
        OK(cn_txn_read(e, &txn));
        CU_ASSERT_EQUAL(truncate(path, lengths[i]), 0);
        cn_err err = cn_db_count(txn, dbi, &n);
        CU_ASSERT(err == CN_DAMAGED || (err == CN_OK && n == PAIRS));
        cn_txn_abort(e, txn);
        cn_env_close(e);
    }
}

static cn_err away(MDB_txn *txn, MDB_dbi dbi, int from, off_t length) {
    MDB_cursor *c;
    char text[16];
    snprintf(text, sizeof text, "key %04d", from);
    MDB_val k = {strlen(text), text}, v;
    CN_TRY(cn_mdb(cn_cursor_open(txn, dbi, &c), "opening"));
    int rc = cn_cursor_get(c, &k, &v, MDB_SET_RANGE);
    if (truncate(path, length) < 0)
        rc = EIO;
    for (; rc == 0; rc = rc ? rc : cn_cursor_get(c, &k, &v, MDB_NEXT))
        rc = mdb_cursor_del(c, 0);
    mdb_cursor_close(c);
    return rc == MDB_NOTFOUND ? CN_OK : cn_mdb(rc, "taking away");
}

/* In a process of its own, since it may end there: 0 when each step was an error or well, and the last one an error. */
static int change(off_t length, int steps_before, bool by_cursor) {
    cn_env *e;
    MDB_dbi dbi;
    MDB_txn *txn;
    char key[16], value[700] = {2};
    if (cn_env_open(path, CN_ENV_CONTROL, false, &e) != CN_OK || cn_env_dbi(e, "one", false, &dbi) != CN_OK || cn_txn_write(e, &txn) != CN_OK)
        return 1;
    cn_err err = CN_OK;
    if (by_cursor)
        err = away(txn, dbi, 11 * steps_before, length);
    for (int i = 0; err == CN_OK && i < PAIRS; i += 11) {
        if (i / 11 == steps_before && truncate(path, length) < 0)
            return 2;
        snprintf(key, sizeof key, "key %04d", i);
        err = i % 2 ? cn_db_del(txn, dbi, cn_str_of(key)) : cn_db_put(txn, dbi, cn_str_of(key), (cn_str){value, sizeof value});
    }
    if (err == CN_OK)
        err = cn_txn_commit(e, txn);
    else
        cn_txn_abort(e, txn);
    return err == CN_DAMAGED ? 0 : 3;
}

static void child(off_t length, int steps_before, bool by_cursor) {
    int fd = open(said, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    dup2(fd, STDERR_FILENO);
    alarm(20);
    _exit(change(length, steps_before, by_cursor));
}

static bool was_said(const char *what) {
    char text[1000] = {0};
    int fd = open(said, O_RDONLY);
    bool found = fd >= 0 && read(fd, text, sizeof text - 1) > 0 && strstr(text, what);
    close(fd);
    return found;
}

/* Nothing of a change is kept in a file that was cut short under it: an error, or an end that says which file. */
static void a_change(void) {
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
        for (int steps = 0; steps <= 27; steps++) {
            cn_env *e;
            MDB_dbi dbi;
            int status;
            if (!begin(&e, &dbi))
                return;
            cn_env_close(e);
            pid_t pid = fork();
            if (pid == 0)
                child(lengths[i], steps / 2 * 2, steps % 2);
            waitpid(pid, &status, 0);
            CU_ASSERT_TRUE(WIFEXITED(status));
            CU_ASSERT_TRUE(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == CN_EXIT_LOST);
            CU_ASSERT_TRUE(WEXITSTATUS(status) == 0 || was_said(path));
            FAILS(cn_env_open(path, CN_ENV_CONTROL, false, &e), CN_DAMAGED);
        }
}

/* ---------- a page that is nonsense ---------- */

/* Writes `n` bytes over the head of the page in which `at` lies: 10 flags, 12 where its free bytes begin and end. */
static int spoil(const void *at, off_t offset, const void *bytes, size_t n) {
    const char *page = (const char *)at - (uintptr_t)at % 4096;
    uint64_t number;
    memcpy(&number, page, sizeof number);
    int fd = open(path, O_WRONLY);
    bool done = fd >= 0 && pwrite(fd, bytes, n, (off_t)number * 4096 + offset) == (ssize_t)n;
    close(fd);
    return done ? 0 : -1;
}

static cn_err spoil_flags(void *ctx, cn_str key, cn_str value, bool *stop) {
    (void)value, (void)stop;
    int *met = ctx;
    if ((*met)++ == 0)
        CU_ASSERT_EQUAL(spoil(key.p, 10, "\0\0", 2), 0);
    return CN_OK;
}

static void read_nonsense(void) {
    cn_env *e;
    MDB_dbi dbi;
    MDB_txn *txn;
    int met = 0;
    if (!begin(&e, &dbi))
        return;
    OK(cn_txn_read(e, &txn));
    FAILS(cn_db_each(txn, dbi, CN_STR(""), spoil_flags, &met), CN_DAMAGED);
    CU_ASSERT_EQUAL(met, 1);
    CU_ASSERT_PTR_NOT_NULL(strstr(cn_error_detail(), "backup"));
    cn_txn_abort(e, txn);
    FAILS(cn_txn_read(e, &txn), CN_DAMAGED); /* and nothing more of it */
    FAILS(cn_txn_write(e, &txn), CN_DAMAGED);
    cn_env_close(e);
    FAILS(cn_env_open(path, CN_ENV_CONTROL, false, &e), CN_DAMAGED);
}

static int write_over_nonsense(void) {
    cn_env *e;
    MDB_dbi dbi;
    MDB_txn *txn;
    cn_str value;
    int fd = open(said, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    dup2(fd, STDERR_FILENO);
    if (cn_env_open(path, CN_ENV_CONTROL, false, &e) != CN_OK || cn_env_dbi(e, "one", false, &dbi) != CN_OK || cn_txn_write(e, &txn) != CN_OK)
        return 1;
    if (cn_db_get(txn, dbi, CN_STR("key 0100"), &value) != CN_OK || spoil(value.p, 12, "\x00\x0f\x10\x00", 4) < 0)
        return 2;
    return cn_db_put(txn, dbi, CN_STR("key 0100x"), CN_STR("more")) == CN_OK ? 3 : 4;
}

/* No error can be given then, and a bare abort() would say nothing. Whoever comes next is let in, and finds the damage. */
static void written_nonsense(void) {
    cn_env *e;
    MDB_dbi dbi;
    int status;
    if (!begin(&e, &dbi))
        return;
    cn_env_close(e);
    pid_t pid = fork();
    if (pid == 0)
        _exit(write_over_nonsense());
    waitpid(pid, &status, 0);
    CU_ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == CN_EXIT_LOST);
    CU_ASSERT_TRUE(was_said(path) && was_said("backup"));
    FAILS(cn_env_open(path, CN_ENV_CONTROL, false, &e), CN_DAMAGED);
}

/* Of a file that nobody watches: an end with a word, and no bare signal. */
static void a_map_of_another(void) {
    int status;
    cn_env *e;
    MDB_dbi dbi;
    if (!begin(&e, &dbi))
        return;
    cn_env_close(e);
    pid_t pid = fork();
    if (pid == 0) {
        int fd = open(said, O_RDWR | O_CREAT | O_TRUNC, 0600), other = open(path, O_RDWR);
        const volatile char *p = mmap(NULL, 65536, PROT_READ, MAP_SHARED, other, 0);
        dup2(fd, STDERR_FILENO);
        _exit(cn_env_open(path, CN_ENV_CONTROL, false, &e) != CN_OK || ftruncate(other, 0) < 0 || p[0] ? 1 : 2);
    }
    waitpid(pid, &status, 0);
    CU_ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == CN_EXIT_LOST);
    CU_ASSERT_TRUE(was_said("cut short"));
    unlink(path);
}

/* ---------- the lock file ---------- */
static char lock[160];

static cn_err put_one(cn_env *e, MDB_dbi dbi, const char *key) {
    MDB_txn *txn;
    CN_TRY(cn_txn_write(e, &txn));
    cn_err err = cn_db_put(txn, dbi, cn_str_of(key), CN_STR("a value"));
    if (err == CN_OK)
        return cn_txn_commit(e, txn);
    cn_txn_abort(e, txn);
    return err;
}

static bool has(cn_env *e, MDB_dbi dbi, const char *key) {
    MDB_txn *txn;
    cn_str value;
    if (cn_txn_read(e, &txn) != CN_OK)
        return false;
    cn_err err = cn_db_get(txn, dbi, cn_str_of(key), &value);
    cn_txn_abort(e, txn);
    return err == CN_OK;
}

/* In another process, as a command does beside a server. */
static int elsewhere(const char *put, const char *there) {
    int status = 0;
    pid_t pid = fork();
    if (pid == 0) { /* it has no environment of its own open: the parent's is none of its business */
        char self[4096];
        ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
        self[n > 0 ? n : 0] = 0;
        execl(self, self, "--put", path, put, there, (char *)NULL);
        _exit(99);
    }
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 100;
}

int cut_elsewhere(const char *at, const char *put, const char *there) {
    cn_env *e;
    MDB_dbi dbi;
    if (cn_env_open(at, CN_ENV_CONTROL, false, &e) != CN_OK || cn_env_dbi(e, "one", false, &dbi) != CN_OK)
        return 1;
    if (!has(e, dbi, there))
        return 2;
    int code = put_one(e, dbi, put) == CN_OK ? 0 : 3;
    cn_env_close(e);
    return code;
}

/* Whatever becomes of it: what is committed is seen by all, nothing is written over, and no one ends. */
static void a_lock_file_that_is_lost(void) {
    static const off_t cut[] = {-2, -1, 0, 100, 4096, 8192, 60000}; /* -2: another in its place; -1: removed */
    snprintf(lock, sizeof lock, "%s-lock", path);
    for (size_t i = 0; i < sizeof cut / sizeof *cut; i++) {
        cn_env *e;
        MDB_dbi dbi;
        MDB_txn *reading;
        cn_str value;
        uint64_t before, after;
        unlink(lock);
        if (!begin(&e, &dbi))
            return;
        OK(put_one(e, dbi, "before"));
        OK(cn_txn_read(e, &reading)); /* it goes on, and keeps nobody out for long */
        if (cut[i] < 0) {
            CU_ASSERT_EQUAL(unlink(lock), 0);
        } else {
            CU_ASSERT_EQUAL(truncate(lock, cut[i]), 0);
        }
        OK(cn_db_get(reading, dbi, CN_STR("before"), &value));
        cn_txn_abort(e, reading);
        if (cut[i] == -2)
            CU_ASSERT_EQUAL(elsewhere("elsewhere 1", "before"), 0);
        CU_ASSERT_TRUE(has(e, dbi, "before"));
        CU_ASSERT_TRUE(cut[i] != -2 || has(e, dbi, "elsewhere 1"));
        OK(put_one(e, dbi, "after"));
        CU_ASSERT_EQUAL(elsewhere("elsewhere 2", "after"), 0);
        CU_ASSERT_TRUE(has(e, dbi, "elsewhere 2") && has(e, dbi, "after") && has(e, dbi, "before"));
        OK(cn_txn_write(e, &reading)); /* of nothing: its number comes again */
        OK(cn_txn_commit(e, reading));
        CU_ASSERT_TRUE(has(e, dbi, "after"));
        OK(cn_env_stamp(e, &before));
        CU_ASSERT_EQUAL(elsewhere("elsewhere 3", "elsewhere 2"), 0);
        OK(cn_env_stamp(e, &after));
        CU_ASSERT(after > before);
        cn_env_close(e);
        OK(cn_env_check(path));
    }
    unlink(path), unlink(lock);
}

/* A commit that another one came before, by a lock file of its own, is none. */
static void a_lock_file_lost_while_writing(void) {
    cn_env *e;
    MDB_dbi dbi;
    MDB_txn *txn;
    unlink(lock);
    if (!begin(&e, &dbi))
        return;
    OK(cn_txn_write(e, &txn));
    OK(cn_db_put(txn, dbi, CN_STR("late"), CN_STR("x")));
    unlink(lock);
    char writer[160];
    snprintf(writer, sizeof writer, "%s-writer", path);
    unlink(writer); /* else it would wait for us */
    CU_ASSERT_EQUAL(elsewhere("first", "key 0001"), 0);
    FAILS(cn_txn_commit(e, txn), CN_UNAVAILABLE);
    CU_ASSERT_TRUE(has(e, dbi, "first"));
    CU_ASSERT_FALSE(has(e, dbi, "late"));
    OK(put_one(e, dbi, "late"));
    CU_ASSERT_TRUE(has(e, dbi, "first") && has(e, dbi, "late"));
    cn_env_close(e);
    OK(cn_env_check(path));
    unlink(path), unlink(lock);
}

/* Its mutexes are gone under their holder: an end with a word, and what was committed is there. */
static void a_lock_file_cut_while_writing(void) {
    int status;
    cn_env *e;
    MDB_dbi dbi;
    unlink(lock);
    if (!begin(&e, &dbi))
        return;
    cn_env_close(e);
    pid_t pid = fork();
    if (pid == 0) {
        MDB_txn *txn;
        int fd = open(said, O_RDWR | O_CREAT | O_TRUNC, 0600);
        dup2(fd, STDERR_FILENO);
        if (cn_env_open(path, CN_ENV_CONTROL, false, &e) != CN_OK || cn_env_dbi(e, "one", false, &dbi) != CN_OK || cn_txn_write(e, &txn) != CN_OK ||
            cn_db_put(txn, dbi, CN_STR("whole"), CN_STR("x")) != CN_OK || truncate(lock, 0) < 0)
            _exit(1);
        cn_txn_commit(e, txn);
        _exit(2);
    }
    waitpid(pid, &status, 0);
    CU_ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == CN_EXIT_LOST);
    CU_ASSERT_TRUE(was_said("-lock") && was_said("start it anew"));
    if (OK(cn_env_open(path, CN_ENV_CONTROL, false, &e)) && OK(cn_env_dbi(e, "one", false, &dbi)))
        CU_ASSERT_TRUE(has(e, dbi, "whole"));
    cn_env_close(e);
    unlink(path), unlink(lock);
}

/* ---------- a copy brought back ---------- */
static void copy(const char *from, const char *to, bool anew) {
    char command[800];
    if (anew)
        snprintf(command, sizeof command, "cp '%s' '%s.new' && mv '%s.new' '%s'", from, to, to, to);
    else
        snprintf(command, sizeof command, "cat '%s' 1<> '%s'", from, to);
    CU_ASSERT_EQUAL(system(command), 0);
}

/* By a rename, or over it: nothing is served or acknowledged any more, by whoever has it open or opens it; once nobody has, it is
 * what was brought back. */
static void an_old_copy_under_a_program(void) {
    char old[160];
    snprintf(old, sizeof old, "%s/old", dir);
    for (int anew = 0; anew < 2; anew++) {
        cn_env *e, *other;
        MDB_dbi dbi;
        MDB_txn *txn;
        unlink(lock);
        if (!begin(&e, &dbi))
            return;
        copy(path, old, true);
        OK(put_one(e, dbi, "later"));
        OK(put_one(e, dbi, "latest"));
        copy(old, path, anew);
        FAILS(cn_txn_read(e, &txn), CN_DAMAGED);
        CU_ASSERT_PTR_NOT_NULL(strstr(cn_error_detail(), "was replaced or overwritten"));
        FAILS(cn_txn_write(e, &txn), CN_DAMAGED);
        FAILS(cn_env_open(path, CN_ENV_CONTROL, false, &other), CN_DAMAGED);
        CU_ASSERT_EQUAL(elsewhere("elsewhere", "key 0001"), 1);
        cn_env_close(e);
        CU_ASSERT_EQUAL(elsewhere("elsewhere", "key 0001"), 0);
        if (!OK(cn_env_open(path, CN_ENV_CONTROL, false, &e)) || !OK(cn_env_dbi(e, "one", false, &dbi)))
            return;
        CU_ASSERT_TRUE(has(e, dbi, "elsewhere") && !has(e, dbi, "latest"));
        cn_env_close(e);
        OK(cn_env_check(path));
        unlink(path), unlink(lock);
    }
}

static void a_file_replaced_while_writing(void) {
    cn_env *e;
    MDB_dbi dbi;
    MDB_txn *txn;
    char old[160];
    snprintf(old, sizeof old, "%s/old", dir);
    unlink(lock);
    if (!begin(&e, &dbi))
        return;
    OK(cn_txn_write(e, &txn));
    OK(cn_db_put(txn, dbi, CN_STR("late"), CN_STR("x")));
    copy(path, old, true);
    copy(old, path, true);
    FAILS(cn_txn_commit(e, txn), CN_DAMAGED);
    cn_env_close(e);
    unlink(path), unlink(lock);
}

void cut_suite(void) {
    CU_pSuite s = CU_add_suite("cut short under a transaction", setup, teardown);
    CU_ADD_TEST(s, a_walk);
    CU_ADD_TEST(s, a_look_up);
    CU_ADD_TEST(s, a_change);
    CU_ADD_TEST(s, read_nonsense);
    CU_ADD_TEST(s, written_nonsense);
    CU_ADD_TEST(s, a_map_of_another);
    CU_ADD_TEST(s, a_lock_file_that_is_lost);
    CU_ADD_TEST(s, a_lock_file_lost_while_writing);
    CU_ADD_TEST(s, a_lock_file_cut_while_writing);
    CU_ADD_TEST(s, an_old_copy_under_a_program);
    CU_ADD_TEST(s, a_file_replaced_while_writing);
}
