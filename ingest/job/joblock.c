#include "ingest/job/joblock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define TRIES 50 /* of 10 ms: whoever asks whether a lock is held has it for a moment */

static cn_err path_of(cn_tenant *t, const char *job, char path[PATH_MAX]) {
    int n = snprintf(path, PATH_MAX, "%s/jobs/%s.lock", cn_tenant_dir(t), job);
    return n > 0 && n < PATH_MAX ? CN_OK : cn_fail(CN_INVALID, "the path of the data directory is too long");
}

static cn_err make_folder(cn_tenant *t) {
    char path[PATH_MAX];
    int n = snprintf(path, sizeof path, "%s/jobs", cn_tenant_dir(t));
    if (n <= 0 || n >= PATH_MAX)
        return cn_fail(CN_INVALID, "the path of the data directory is too long");
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return cn_fail_errno(errno, "%s", path);
    return CN_OK;
}

static void nap(void) { nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL); }

cn_err cn_joblock_take(cn_tenant *t, const char *job, int *ret_fd) {
    char path[PATH_MAX];
    CN_TRY(make_folder(t));
    CN_TRY(path_of(t, job, path));
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return cn_fail_errno(errno, "%s", path);
    for (int i = 0; flock(fd, LOCK_EX | LOCK_NB) != 0; i++) {
        if ((errno == EWOULDBLOCK || errno == EINTR) && i < TRIES) {
            nap();
            continue;
        }
        int err = errno;
        close(fd);
        return err == EWOULDBLOCK ? cn_fail(CN_CONFLICT, "job %s is running", job) : cn_fail_errno(err, "%s", path);
    }
    *ret_fd = fd;
    return CN_OK;
}

cn_err cn_joblock_look(cn_tenant *t, const char *job, bool *ret_held) {
    char path[PATH_MAX];
    CN_TRY(path_of(t, job, path));
    *ret_held = false;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? CN_OK : cn_fail_errno(errno, "%s", path);
    int err = flock(fd, LOCK_SH | LOCK_NB) == 0 ? 0 : errno;
    close(fd);
    *ret_held = err == EWOULDBLOCK;
    return err == 0 || *ret_held ? CN_OK : cn_fail_errno(err, "%s", path);
}

bool cn_joblock_held(cn_tenant *t, const char *job) {
    bool held;
    return cn_joblock_look(t, job, &held) != CN_OK || held;
}

void cn_joblock_drop(int fd) {
    if (fd >= 0)
        close(fd);
}

void cn_joblock_remove(cn_tenant *t, const char *job) {
    char path[PATH_MAX];
    if (path_of(t, job, path) == CN_OK)
        unlink(path);
}
