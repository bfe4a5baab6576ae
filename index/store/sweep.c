#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "index/store/dir.h"
#include "index/store/segment.h"

typedef struct look {
    bool (*keep)(void *ctx, const cn_seg_id *id);
    void *ctx;
    cn_stray *v;
    uint32_t n, most;
} look;

/* The id at the front of a name of ours: 32 hex digits, then ".mdb", ".<kind>.mdb" or ".<kind>.mdb.tmp". */
static bool id_of(const char *name, cn_seg_id *ret, bool *ret_tmp) {
    size_t n = strlen(name);
    if (n < 2 * CN_SEG_ID + 4 || name[2 * CN_SEG_ID] != '.' || cn_unhex((cn_str){name, 2 * CN_SEG_ID}, ret->b, CN_SEG_ID) != 0)
        return false;
    *ret_tmp = n > 8 && strcmp(name + n - 8, ".mdb.tmp") == 0;
    return *ret_tmp || strcmp(name + n - 4, ".mdb") == 0;
}

static cn_err look_at(void *ctx, const char *name) {
    look *l = ctx;
    cn_seg_id id;
    bool tmp;
    if (strlen(name) >= sizeof l->v->name || !id_of(name, &id, &tmp) || (!tmp && l->keep(l->ctx, &id)) || l->n == l->most)
        return CN_OK;
    memcpy(l->v[l->n++].name, name, strlen(name) + 1);
    return CN_OK;
}

cn_err cn_seg_strays(cn_tenant *t, bool (*keep)(void *ctx, const cn_seg_id *id), void *ctx, cn_stray *ret, uint32_t most, uint32_t *ret_n) {
    char dir[CN_PATH_MAX];
    look l = {keep, ctx, ret, 0, most};
    CN_TRY(cn_path(dir, sizeof dir, "%s/segments", cn_tenant_dir(t)));
    CN_TRY(cn_dir_each(dir, look_at, &l));
    *ret_n = l.n;
    return CN_OK;
}

/* Under the file's lock, so that no job takes it up meanwhile; it stays where someone holds the lock. */
static cn_err remove_one(const char *path, uint32_t *io_files, uint64_t *io_bytes) {
    struct stat st;
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return errno == ENOENT ? CN_OK : cn_fail_errno(errno, "opening %s", path);
    cn_err e = CN_OK;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0 && fstat(fd, &st) == 0) {
        if (unlink(path) == 0) {
            ++*io_files;
            *io_bytes += (uint64_t)st.st_size;
        } else if (errno != ENOENT) {
            e = cn_fail_errno(errno, "removing %s", path);
        }
    }
    close(fd);
    return e;
}

cn_err cn_seg_strays_remove(cn_tenant *t, const cn_stray *v, uint32_t n, uint32_t *io_files, uint64_t *io_bytes) {
    char path[CN_PATH_MAX];
    for (uint32_t i = 0; i < n; i++) {
        CN_TRY(cn_path(path, sizeof path, "%s/segments/%s", cn_tenant_dir(t), v[i].name));
        CN_TRY(remove_one(path, io_files, io_bytes));
    }
    return CN_OK;
}
