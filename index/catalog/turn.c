#include "index/catalog/turn.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "index/store/dir.h"

#define TRIES 15000 /* of 2 ms */

cn_err cn_turn_take(cn_tenant *t, uint64_t index_id, bool alone, int *ret_fd) {
    char path[CN_PATH_MAX];
    CN_TRY(cn_path(path, sizeof path, "%s/seal-%llu.lock", cn_tenant_dir(t), (unsigned long long)index_id));
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return cn_fail_errno(errno, "opening %s", path);
    for (int i = 0; flock(fd, (alone ? LOCK_EX : LOCK_SH) | LOCK_NB) != 0; i++) {
        int err = errno;
        if ((err == EWOULDBLOCK || err == EINTR) && i < TRIES) {
            nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
            continue;
        }
        close(fd);
        return err == EWOULDBLOCK ? cn_fail(CN_OVERLOADED, "a rebuild that ends, or another job, holds %s; try again", path) : cn_fail_errno(err, "locking %s", path);
    }
    *ret_fd = fd;
    return CN_OK;
}

void cn_turn_end(int fd) {
    if (fd >= 0)
        close(fd);
}
