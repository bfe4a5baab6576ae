#include "index/store/dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

cn_err cn_path(char *path, size_t size, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(path, size, fmt, ap);
    va_end(ap);
    return n >= 0 && (size_t)n < size ? CN_OK : cn_fail(CN_INVALID, "a path is longer than %zu bytes", size - 1);
}

cn_err cn_dir_make(const char *path) {
    if (mkdir(path, 0700) == 0 || errno == EEXIST)
        return CN_OK;
    return cn_fail_errno(errno, "making the directory %s", path);
}

cn_err cn_dir_sync(const char *path) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return cn_fail_errno(errno, "opening %s", path);
    int rc = fsync(fd) < 0 ? errno : 0;
    close(fd);
    return rc ? cn_fail_errno(rc, "syncing %s", path) : CN_OK;
}

static const struct {
    uint32_t magic; /* linux/magic.h, and the file systems' own sources for those that are not there */
    const char *name;
} network[] = {
    {0x6969, "NFS"},         {0xFF534D42, "CIFS"},   {0xFE534D42, "SMB2"}, {0x517B, "SMB"},       {0x01021997, "9P"},
    {0x00C36400, "Ceph"},    {0x0BD00BD0, "Lustre"}, {0x5346414F, "AFS"},  {0x73757245, "Coda"},  {0x564C, "NCP"},
    {0x47504653, "GPFS"},    {0x7461636F, "OCFS2"},  {0x01161970, "GFS2"}, {0x19830326, "BeeGFS"},
};

cn_err cn_dir_check_local(const char *path) {
    struct statfs fs;
    if (statfs(path, &fs) < 0)
        return cn_fail_errno(errno, "%s", path);
    for (size_t i = 0; i < sizeof network / sizeof *network; i++)
        if ((uint32_t)fs.f_type == network[i].magic)
            return cn_fail(CN_REFUSED, "%s is on a network file system (%s), where locks and maps cannot be relied on; use a local disk", path, network[i].name);
    return CN_OK;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at) {
    (void)st, (void)kind, (void)at;
    return remove(path) < 0 && errno != ENOENT ? errno : 0;
}

cn_err cn_dir_remove(const char *path) {
    int rc = nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
    if (rc == 0 || (rc < 0 && errno == ENOENT))
        return CN_OK;
    return cn_fail_errno(rc > 0 ? rc : errno, "removing %s", path);
}

cn_err cn_dir_each(const char *path, cn_err (*fn)(void *ctx, const char *name), void *ctx) {
    DIR *dir = opendir(path);
    if (!dir)
        return cn_fail_errno(errno, "reading the directory %s", path);
    cn_err e = CN_OK;
    for (struct dirent *d; e == CN_OK && (errno = 0, d = readdir(dir)) != NULL;)
        if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0)
            e = fn(ctx, d->d_name);
    if (e == CN_OK && errno)
        e = cn_fail_errno(errno, "reading the directory %s", path);
    closedir(dir);
    return e;
}
