/* on_nfs.c -- loaded before a program, says of every path that it lies on NFS.
 *
 * Owns:    nothing.
 * Thread:  any.
 * Limits:  statfs() alone. */
#undef _FILE_OFFSET_BITS
#define _LARGEFILE64_SOURCE
#include <string.h>
#include <sys/statfs.h>

#define NFS_MAGIC 0x6969

int statfs(const char *path, struct statfs *ret) {
    (void)path;
    memset(ret, 0, sizeof *ret);
    ret->f_type = NFS_MAGIC;
    return 0;
}

int statfs64(const char *path, struct statfs64 *ret) {
    (void)path;
    memset(ret, 0, sizeof *ret);
    ret->f_type = NFS_MAGIC;
    return 0;
}
