#include "index/catalog/turn.h"

#include <errno.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/os.h"
#include "index/store/dir.h"

#define PATIENCE_NS 30000000000ull
#define LOOK_NS 2000000

enum { GATE, INSIDE }; /* bytes of the file that are locked */

static cn_err lock_byte(int fd, const char *path, off_t at, short kind, uint64_t until_ns) {
    struct flock l = {.l_type = kind, .l_whence = SEEK_SET, .l_start = at, .l_len = 1};
    while (fcntl(fd, F_OFD_SETLK, &l) != 0) {
        int err = errno;
        if (err != EAGAIN && err != EACCES && err != EINTR)
            return cn_fail_errno(err, "locking %s", path);
        if (cn_mono_ns() >= until_ns)
            return cn_fail(CN_OVERLOADED, "a rebuild that ends, or another job, holds %s; try again", path);
        nanosleep(&(struct timespec){.tv_nsec = LOOK_NS}, NULL);
    }
    return CN_OK;
}

/* Who wants it alone holds the gate while it waits for those inside: else, where small writes come all the time, somebody always is. */
static cn_err enter(int fd, const char *path, bool alone) {
    uint64_t until = cn_mono_ns() + PATIENCE_NS;
    short kind = alone ? F_WRLCK : F_RDLCK;
    CN_TRY(lock_byte(fd, path, GATE, kind, until));
    CN_TRY(lock_byte(fd, path, INSIDE, kind, until));
    return lock_byte(fd, path, GATE, F_UNLCK, until);
}

static cn_err path_of(const cn_tenant *t, uint64_t index_id, char path[CN_PATH_MAX]) {
    return cn_path(path, CN_PATH_MAX, "%s/seal-%llu.lock", cn_tenant_dir(t), (unsigned long long)index_id);
}

cn_err cn_turn_take(cn_tenant *t, uint64_t index_id, bool alone, int *ret_fd) {
    char path[CN_PATH_MAX];
    CN_TRY(path_of(t, index_id, path));
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return cn_fail_errno(errno, "opening %s", path);
    cn_err err = enter(fd, path, alone);
    if (err != CN_OK) {
        close(fd);
        return err;
    }
    *ret_fd = fd;
    return CN_OK;
}

void cn_turn_end(int fd) {
    if (fd >= 0)
        close(fd);
}

void cn_turn_forget(const cn_tenant *t, uint64_t index_id) {
    char path[CN_PATH_MAX];
    if (path_of(t, index_id, path) == CN_OK)
        unlink(path);
}
