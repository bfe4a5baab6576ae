#include "index/trace/run.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/digest.h"
#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "index/store/dir.h"

#define NAME 16
#define CUT "cut"

struct cn_trace_run {
    int fd;
    char path[CN_PATH_MAX];
};

static cn_err path_of(const cn_data *d, const char *name, char path[CN_PATH_MAX]) { return cn_path(path, CN_PATH_MAX, "%s/recording/%s", cn_data_dir(d), name); }

/* ---------- those that were cut ---------- */
typedef struct looking {
    cn_data *d;
    bool note, found;
} looking;

/* One that ended well in between has unlinked it, and then let go. */
static bool is_cut(int fd) {
    struct stat st;
    return flock(fd, LOCK_SH | LOCK_NB) == 0 && fstat(fd, &st) == 0 && st.st_nlink > 0;
}

/* The time goes into the file before its name does, so that no time is read that is too early. */
static cn_err note(const looking *l, const char *path, int fd) {
    char cut[CN_PATH_MAX];
    int64_t now = cn_wall_us();
    const struct timespec at = {.tv_sec = (time_t)(now / 1000000), .tv_nsec = (long)(now % 1000000) * 1000};
    CN_TRY(path_of(l->d, CUT, cut));
    if (futimens(fd, (const struct timespec[2]){at, at}) != 0 || (rename(path, cut) != 0 && errno != ENOENT))
        return cn_fail_errno(errno, "%s", path);
    return CN_OK;
}

static cn_err look_at(void *ctx, const char *name) {
    looking *l = ctx;
    char path[CN_PATH_MAX];
    if (strlen(name) != NAME)
        return CN_OK;
    CN_TRY(path_of(l->d, name, path));
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return errno == ENOENT ? CN_OK : cn_fail_errno(errno, "%s", path);
    bool cut = is_cut(fd);
    l->found |= cut;
    cn_err e = cut && l->note ? note(l, path, fd) : CN_OK;
    close(fd);
    return e;
}

cn_err cn_trace_run_cut(cn_data *d, int64_t *ret_us) {
    looking l = {.d = d};
    char path[CN_PATH_MAX];
    struct stat st;
    CN_TRY(path_of(d, "", path));
    if (access(path, F_OK) != 0 && errno == ENOENT) {
        *ret_us = CN_NO_TIME;
        return CN_OK;
    }
    CN_TRY(cn_dir_each(path, look_at, &l));
    CN_TRY(path_of(d, CUT, path));
    bool noted = stat(path, &st) == 0;
    *ret_us = l.found ? cn_wall_us() : noted ? (int64_t)st.st_mtim.tv_sec * 1000000 + st.st_mtim.tv_nsec / 1000 : CN_NO_TIME;
    return CN_OK;
}

/* ---------- one's own ---------- */
/* Under another name until it is locked: else it would be taken for one that was cut. */
static cn_err make(cn_data *d, cn_trace_run *r) {
    uint8_t random[NAME / 2];
    char name[NAME + 1], made[NAME + 2], path[CN_PATH_MAX];
    cn_random(random, sizeof random);
    cn_hex(random, sizeof random, name);
    snprintf(made, sizeof made, ".%s", name);
    CN_TRY(path_of(d, made, path));
    CN_TRY(path_of(d, name, r->path));
    r->fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (r->fd < 0 || flock(r->fd, LOCK_EX | LOCK_NB) != 0 || rename(path, r->path) != 0)
        return cn_fail_errno(errno, "%s", path);
    CN_TRY(path_of(d, "", path));
    return cn_dir_sync(path);
}

cn_err cn_trace_run_begin(cn_data *d, cn_trace_run **ret) {
    char path[CN_PATH_MAX];
    CN_TRY(path_of(d, "", path));
    CN_TRY(cn_dir_make(path));
    CN_TRY(cn_dir_each(path, look_at, &(looking){.d = d, .note = true}));
    cn_trace_run *r = cn_calloc(1, sizeof *r);
    if (!r)
        return cn_fail_memory();
    r->fd = -1;
    cn_err e = make(d, r);
    if (e != CN_OK) {
        if (r->fd >= 0)
            close(r->fd);
        cn_free(r);
        return e;
    }
    *ret = r;
    return CN_OK;
}

void cn_trace_run_end(cn_trace_run *r, bool whole) {
    if (!r)
        return;
    if (whole)
        unlink(r->path);
    close(r->fd);
    cn_free(r);
}
