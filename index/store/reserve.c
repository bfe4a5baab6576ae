#include "index/store/reserve.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "engine/base/log.h"
#include "index/store/dir.h"

#define STEPS 4
#define SCRAP ((uint64_t)1 << 20) /* less than this free: the disk is full, whatever the error said */
#define CHUNK 65536

static uint64_t free_bytes(const char *dir) {
    struct statvfs fs;
    return statvfs(dir, &fs) == 0 ? (uint64_t)fs.f_bavail * fs.f_frsize : 0;
}

static uint64_t blocks_of(int fd) {
    struct stat st;
    return fstat(fd, &st) == 0 ? (uint64_t)st.st_blocks * 512 : 0;
}

/* -1 with errno set. make: when it is not there. The lock is held until it is closed: one at a time grows or shrinks it. */
static int open_locked(const cn_data *d, bool make) {
    char path[CN_PATH_MAX];
    if (cn_path(path, sizeof path, "%s/reserve", cn_data_dir(d)) != CN_OK)
        return -1;
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | (make ? O_CREAT : 0), 0600);
    if (fd >= 0 && flock(fd, LOCK_EX) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

/* Where the file system cannot give blocks unwritten they are written, not with zeros, which might be left out. */
static int fill(int fd, uint64_t bytes) {
    static char block[CHUNK];
    if (fallocate(fd, 0, 0, (off_t)bytes) == 0)
        return 0;
    if (errno != EOPNOTSUPP && errno != ENOSYS)
        return errno;
    for (size_t i = 0; i < sizeof block; i++)
        block[i] = (char)(i * 131 + 7);
    for (uint64_t at = 0; at < bytes; at += CHUNK)
        if (pwrite(fd, block, CHUNK, (off_t)at) != CHUNK)
            return errno ? errno : ENOSPC;
    return 0;
}

static cn_err wanted(cn_data *d, uint64_t *ret) {
    char text[24] = {0};
    MDB_dbi settings;
    MDB_txn *txn;
    cn_str v;
    CN_TRY(cn_env_dbi(cn_data_host(d), "settings", false, &settings));
    CN_TRY(cn_txn_read(cn_data_host(d), &txn));
    cn_err err = cn_db_get(txn, settings, CN_STR("reserve"), &v);
    if (err == CN_OK && v.n < sizeof text)
        memcpy(text, v.p, v.n);
    cn_txn_abort(cn_data_host(d), txn);
    if (err != CN_OK && err != CN_NOT_FOUND)
        return err;
    uint64_t n = err == CN_OK ? strtoull(text, NULL, 10) : CN_RESERVE_DEFAULT;
    *ret = n < CN_RESERVE_MAX ? n : CN_RESERVE_MAX;
    return CN_OK;
}

cn_err cn_reserve_look(cn_data *d, cn_reserve_state *ret) {
    cn_reserve_state s = {0};
    char path[CN_PATH_MAX];
    struct stat st;
    CN_TRY(wanted(d, &s.wanted));
    CN_TRY(cn_path(path, sizeof path, "%s/reserve", cn_data_dir(d)));
    if (stat(path, &st) == 0)
        s.there = (uint64_t)st.st_blocks * 512;
    *ret = s;
    return CN_OK;
}

static uint64_t step_of(uint64_t bytes) { return bytes / STEPS > CHUNK ? bytes / STEPS / CHUNK * CHUNK : CHUNK; }

/* In quarters, at most half of what it and the free space are together: a job does not run into a wall that was just put up. */
static uint64_t grown(const cn_data *d, uint64_t there, uint64_t bytes) {
    uint64_t step = step_of(bytes), most = (there + free_bytes(cn_data_dir(d))) / 2 / step * step;
    return bytes < most ? bytes : most > there ? most : there;
}

static cn_err make_file(cn_data *d, uint64_t bytes) {
    int fd = open_locked(d, true);
    if (fd < 0)
        return errno == ENOSPC || errno == EDQUOT ? CN_OK : cn_fail_errno(errno, "making %s/reserve", cn_data_dir(d));
    uint64_t there = blocks_of(fd), more = there < bytes ? grown(d, there, bytes) : there;
    int rc = 0;
    if (there > bytes)
        rc = ftruncate(fd, (off_t)bytes) == 0 ? 0 : errno;
    else if (more > there)
        rc = fill(fd, more);
    if (rc == ENOSPC || rc == EDQUOT || rc == EIO)
        rc = ftruncate(fd, (off_t)there) == 0 ? 0 : errno;
    close(fd);
    return rc ? cn_fail_errno(rc, "making %s/reserve", cn_data_dir(d)) : CN_OK;
}

cn_err cn_reserve_make(cn_data *d) {
    cn_reserve_state s;
    CN_TRY(cn_reserve_look(d, &s));
    return s.there == s.wanted || (s.there > s.wanted && s.wanted) ? CN_OK : make_file(d, s.wanted);
}

static cn_err note(cn_data *d, uint64_t bytes) {
    char text[24];
    MDB_dbi settings;
    MDB_txn *txn;
    int n = snprintf(text, sizeof text, "%llu", (unsigned long long)bytes);
    CN_TRY(cn_env_dbi(cn_data_host(d), "settings", false, &settings));
    CN_TRY(cn_txn_write(cn_data_host(d), &txn));
    cn_err err = cn_db_put(txn, settings, CN_STR("reserve"), (cn_str){text, (size_t)n});
    if (err == CN_OK)
        return cn_txn_commit(cn_data_host(d), txn);
    cn_txn_abort(cn_data_host(d), txn);
    return err;
}

cn_err cn_reserve_set(cn_data *d, uint64_t bytes) {
    uint64_t now;
    CN_TRY(wanted(d, &now));
    if (now != bytes)
        CN_TRY(note(d, bytes));
    return make_file(d, bytes);
}

/* The next quarter; false when nothing is left of it. */
static bool give_step(cn_data *d, uint64_t *ret_step) {
    uint64_t size = CN_RESERVE_DEFAULT;
    int fd = open_locked(d, false);
    if (fd < 0)
        return false;
    uint64_t there = blocks_of(fd);
    bool any = there > 0;
    if (wanted(d, &size) != CN_OK || size == 0)
        size = there;
    uint64_t step = step_of(size), left = there > step ? (there - step) / CHUNK * CHUNK : 0;
    any = any && ftruncate(fd, (off_t)left) == 0;
    close(fd);
    *ret_step = there - left;
    if (any)
        cn_log(CN_LOG_WARN, "reserve.given_up", "the disk is full: %llu KiB of %s/reserve were given up for what must be written, %llu KiB are left; free some space",
               (unsigned long long)((there - left) >> 10), cn_data_dir(d), (unsigned long long)(left >> 10));
    return any;
}

bool cn_reserve_give_up(cn_data *d, cn_env *e) {
    int why = cn_mdb_last();
    if (why != ENOSPC && why != EDQUOT && !(why == EIO && free_bytes(cn_data_dir(d)) < SCRAP))
        return false;
    char text[CN_ERROR_TEXT];
    snprintf(text, sizeof text, "%s", cn_error_detail()); /* of the failure, which stays the answer when nothing is left */
    uint64_t step = 0;
    bool freed = false, taken = true; /* by another program */
    while (taken && give_step(d, &step)) {
        freed = true;
        taken = cn_env_widen(e, step / 2) != CN_OK;
    }
    if (!freed)
        cn_fail(CN_UNAVAILABLE, "%s; %s/reserve, which is kept for this, is used up: it is made again by itself, a quarter at a time, once twice as much is free", text, cn_data_dir(d));
    return freed;
}
