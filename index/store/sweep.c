#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "index/store/dir.h"
#include "index/store/segment.h"

typedef struct sweep {
    const char *dir;
    bool (*keep)(void *ctx, const cn_seg_id *id);
    void *ctx;
    uint32_t files;
    uint64_t bytes;
} sweep;

/* The id at the front of a name of ours: 32 hex digits, then ".mdb", ".<kind>.mdb" or ".<kind>.mdb.tmp". */
static bool id_of(const char *name, cn_seg_id *ret, bool *ret_tmp) {
    size_t n = strlen(name);
    if (n < 2 * CN_SEG_ID + 4 || name[2 * CN_SEG_ID] != '.' || cn_unhex((cn_str){name, 2 * CN_SEG_ID}, ret->b, CN_SEG_ID) != 0)
        return false;
    *ret_tmp = n > 8 && strcmp(name + n - 8, ".mdb.tmp") == 0;
    return *ret_tmp || strcmp(name + n - 4, ".mdb") == 0;
}

/* Unlinks under the file's lock, so that no job takes it up meanwhile; leaves it where someone holds the lock. */
static cn_err remove_one(sweep *s, const char *path) {
    struct stat st;
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return errno == ENOENT ? CN_OK : cn_fail_errno(errno, "opening %s", path);
    cn_err e = CN_OK;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0 && fstat(fd, &st) == 0) {
        if (unlink(path) == 0) {
            s->files++;
            s->bytes += (uint64_t)st.st_size;
        } else if (errno != ENOENT) {
            e = cn_fail_errno(errno, "removing %s", path);
        }
    }
    close(fd);
    return e;
}

static cn_err look_at(void *ctx, const char *name) {
    char path[CN_PATH_MAX];
    sweep *s = ctx;
    cn_seg_id id;
    bool tmp;
    if (!id_of(name, &id, &tmp) || (!tmp && s->keep(s->ctx, &id)))
        return CN_OK;
    CN_TRY(cn_path(path, sizeof path, "%s/%s", s->dir, name));
    return remove_one(s, path);
}

cn_err cn_seg_sweep(cn_tenant *t, bool (*keep)(void *ctx, const cn_seg_id *id), void *ctx, uint32_t *ret_files, uint64_t *ret_bytes) {
    char dir[CN_PATH_MAX];
    sweep s = {.dir = dir, .keep = keep, .ctx = ctx};
    CN_TRY(cn_path(dir, sizeof dir, "%s/segments", cn_tenant_dir(t)));
    CN_TRY(cn_dir_each(dir, look_at, &s));
    if (s.files)
        CN_TRY(cn_dir_sync(dir));
    *ret_files = s.files;
    *ret_bytes = s.bytes;
    return CN_OK;
}
