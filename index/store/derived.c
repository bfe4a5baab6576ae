#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/mem.h"
#include "index/store/behind.h"
#include "index/store/dir.h"
#include "index/store/seg_inside.h"

struct cn_derived {
    cn_env *env;
    MDB_txn *txn;
    cn_blocks blocks;
};

/* Beside the segment's own file: <id>.mdb -> <id>.<kind>.mdb, or with .tmp behind it while it is built. */
static cn_err path_of(const cn_seg *s, const char *kind, const char *end, char path[CN_PATH_MAX]) {
    const char *rows = cn_env_path(s->env);
    return cn_path(path, CN_PATH_MAX, "%.*s.%s.mdb%s", (int)(strlen(rows) - 4), rows, kind, end);
}

/* ---------- building ---------- */

static cn_err put(void *behind, uint32_t array, uint32_t block, const void *bytes, size_t n) {
    CN_TRY(cn_behind_put(behind, 'x', array, block, (cn_str){NULL, 0}, &(cn_piece){bytes, n}, 1));
    return cn_behind_step(behind);
}

static cn_err fill(const cn_seg *s, cn_behind *b, const char *kind, cn_err (*build)(void *ctx, cn_put_array *put, void *put_ctx), void *ctx) {
    cn_derived_head h = {.format = CN_DERIVED_FORMAT, .of = s->blocks.digest};
    snprintf(h.kind, sizeof h.kind, "%s", kind);
    CN_TRY(cn_behind_put(b, 'h', 0, 0, (cn_str){NULL, 0}, &(cn_piece){&h, sizeof h}, 1));
    CN_TRY(build(ctx, put, b));
    CN_TRY(cn_behind_commit(b));
    return cn_behind_wait(b);
}

static cn_err build_in(const cn_seg *s, const char *tmp, const char *kind, cn_err (*build)(void *ctx, cn_put_array *put, void *put_ctx), void *ctx) {
    cn_env *env;
    cn_behind *b = NULL;
    CN_TRY(cn_env_open(tmp, CN_ENV_BUILD, true, &env));
    cn_err e = cn_behind_new(env, &s->id, &b);
    if (e == CN_OK)
        e = fill(s, b, kind, build, ctx);
    cn_behind_free(b);
    if (e == CN_OK)
        e = cn_env_fill(env);
    if (e == CN_OK)
        e = cn_env_sync(env);
    cn_env_close(env);
    return e;
}

/* The lock is on the file being built, which a killed builder may have left: it begins anew. */
static cn_err lock_tmp(const char *tmp, int *ret_fd) {
    struct stat here, there;
    int fd = open(tmp, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return cn_fail_errno(errno, "making %s", tmp);
    cn_err e = CN_OK;
    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        e = errno == EWOULDBLOCK ? cn_fail(CN_CONFLICT, "%s is being built by someone else", tmp) : cn_fail_errno(errno, "locking %s", tmp);
    else if (fstat(fd, &here) < 0 || stat(tmp, &there) < 0 || here.st_ino != there.st_ino)
        e = cn_fail(CN_CONFLICT, "%s was built by someone else just now", tmp);
    else if (ftruncate(fd, 0) < 0)
        e = cn_fail_errno(errno, "emptying %s", tmp);
    if (e != CN_OK) {
        close(fd);
        return e;
    }
    *ret_fd = fd;
    return CN_OK;
}

/* Whoever still has the rows open may build from them after their file was unlinked; a file beside it would bring back words
 * of erased documents. Looked at once the file being built is there, and again once it has its name: whoever unlinks the rows
 * and looks for these (cn_seg_is_gone) sees one of them, or is seen. */
static cn_err has_rows(const cn_seg *s) {
    struct stat st;
    const char *rows = cn_env_path(s->env);
    if (stat(rows, &st) == 0)
        return CN_OK;
    return errno == ENOENT ? cn_fail(CN_NOT_FOUND, "%s was removed meanwhile; nothing is derived from it any more", rows) : cn_fail_errno(errno, "looking for %s", rows);
}

static cn_err publish(const cn_seg *s, const char *tmp, const char *path) {
    char dir[CN_PATH_MAX];
    if (rename(tmp, path) < 0) {
        cn_err e = cn_fail_errno(errno, "renaming %s", tmp);
        unlink(tmp);
        return e;
    }
    cn_err e = has_rows(s);
    if (e != CN_OK) {
        unlink(path);
        return e;
    }
    CN_TRY(cn_path(dir, sizeof dir, "%.*s", (int)(strrchr(path, '/') - path), path));
    return cn_dir_sync(dir);
}

cn_err cn_derived_build(cn_seg *s, const char *kind, cn_err (*build)(void *ctx, cn_put_array *put, void *put_ctx), void *ctx) {
    char path[CN_PATH_MAX], tmp[CN_PATH_MAX];
    int fd = -1;
    CN_TRY(path_of(s, kind, "", path));
    CN_TRY(path_of(s, kind, ".tmp", tmp));
    CN_TRY(lock_tmp(tmp, &fd));
    cn_err e = has_rows(s);
    if (e == CN_OK)
        e = build_in(s, tmp, kind, build, ctx);
    if (e == CN_OK)
        e = publish(s, tmp, path);
    else
        unlink(tmp);
    close(fd);
    return e;
}

/* ---------- reading ---------- */

static cn_err check_head(cn_derived *d, const cn_seg *s, const char *kind) {
    cn_derived_head h;
    cn_str p;
    uint32_t n;
    uint32_t at = cn_blocks_first(&d->blocks, 'h', 0, &n);
    if (n != 1)
        return cn_fail_file(d->blocks.path, " has no header");
    CN_TRY(cn_blocks_get(&d->blocks, at, &p));
    if (p.n != sizeof h)
        return cn_fail_file(d->blocks.path, ": its header has a wrong length");
    memcpy(&h, p.p, sizeof h);
    if (h.format != CN_DERIVED_FORMAT || strncmp(h.kind, kind, sizeof h.kind) != 0 || !cn_digest_eq(&h.of, &s->blocks.digest))
        return cn_fail_file(d->blocks.path, " was made from another segment, or in another format");
    return CN_OK;
}

static cn_err load(cn_derived *d, const cn_seg *s, const char *kind) {
    MDB_dbi dbi;
    const char *path = cn_env_path(d->env);
    CN_TRY(cn_txn_read(d->env, &d->txn));
    CN_TRY(cn_mdb(mdb_dbi_open(d->txn, NULL, 0, &dbi), "reading %s", path));
    CN_TRY(cn_blocks_load(&d->blocks, path, &s->id, d->txn, dbi));
    return check_head(d, s, kind);
}

cn_err cn_derived_open(cn_seg *s, const char *kind, cn_derived **ret) {
    char path[CN_PATH_MAX];
    CN_TRY(path_of(s, kind, "", path));
    cn_derived *d = cn_calloc(1, sizeof *d);
    if (!d)
        return cn_fail_memory();
    cn_err e = cn_env_open(path, CN_ENV_SEALED, false, &d->env);
    if (e == CN_OK)
        e = load(d, s, kind);
    if (e != CN_OK) {
        cn_derived_close(d);
        return e;
    }
    *ret = d;
    return CN_OK;
}

cn_err cn_derived_sound(const cn_derived *d) { return cn_blocks_sound(&d->blocks); }

void cn_derived_close(cn_derived *d) {
    if (!d)
        return;
    cn_blocks_done(&d->blocks);
    cn_txn_abort(d->env, d->txn);
    cn_env_close(d->env);
    cn_free(d);
}

cn_err cn_derived_get(void *derived, uint32_t array, uint32_t block, const void **ret_bytes, size_t *ret_n) {
    cn_derived *d = derived;
    uint32_t n;
    cn_str p;
    uint32_t at = cn_blocks_first(&d->blocks, 'x', array, &n);
    for (uint32_t lo = 0, hi = n; lo < hi;) {
        uint32_t mid = lo + (hi - lo) / 2, b = d->blocks.v[at + mid].head->b;
        if (b == block) {
            CN_TRY(cn_blocks_get(&d->blocks, at + mid, &p));
            *ret_bytes = p.p;
            *ret_n = p.n;
            return CN_OK;
        }
        if (b < block)
            lo = mid + 1;
        else
            hi = mid;
    }
    return cn_fail(CN_NOT_FOUND, "%s has no block %u of array %u", d->blocks.path, block, array);
}
