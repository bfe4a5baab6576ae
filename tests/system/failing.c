/* failing.c -- preloaded before the C library: the n-th of some calls on files below FAILING_UNDER, or of starts of a thread, fails, as told in the file FAILING_CONTROL,
 * which the test maps too and may change while the program runs.
 *
 * The file: struct control below. A call of kind k is counted when bit k of `kinds` is set; then the one of its kind numbered `at`
 * fails (0: none does), and with `on` those after it too. With an `err` of 0 the program is killed there instead, and with one below
 * 0 it stops there, to go on when it is told to. */
#undef _FILE_OFFSET_BITS
#define _LARGEFILE64_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { WRITE, PWRITE, WRITEV, FSYNC, FDATASYNC, MMAP, FTRUNCATE, OPEN, RENAME, UNLINK, READ, PREAD, FALLOCATE, MKDIR, FLUSH, TIMES, STATFS, FLOCK, RMDIR, OPENDIR, READDIR, THREAD, KINDS };
struct control {
    _Atomic uint64_t kinds, at, on;
    _Atomic int64_t err;
    _Atomic uint64_t count[KINDS];
};

static struct control *control;
static const char *under;

/* The next one of this name: the C library's. */
#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) \
        *(void **)&real = dlsym(RTLD_NEXT, #name)

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("FAILING_CONTROL");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    void *p = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    under = getenv("FAILING_UNDER");
    control = p == MAP_FAILED || !under ? NULL : p;
}

static bool is_below(const char *path) { return strncmp(path, under, strlen(under)) == 0; }

static bool fd_is_below(int fd) {
    char name[40], path[4096];
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(name, path, sizeof path - 1);
    path[n < 0 ? 0 : n] = 0;
    return is_below(path);
}

/* Must this call fail? errno is then set. */
static bool fails(int kind, int fd, const char *path) {
    if (!control || !(control->kinds >> kind & 1) || !(path ? is_below(path) : fd_is_below(fd)))
        return false;
    uint64_t n = ++control->count[kind], at = control->at;
    if (!at || (control->on ? n < at : n != at))
        return false;
    if (!control->err)
        kill(getpid(), SIGKILL);
    if (control->err < 0)
        return raise(SIGSTOP) != 0;
    errno = (int)control->err;
    return true;
}

#define ON_FD(ret, name, kind, fd, params, args) \
    ret name params; \
    ret name params { \
        REAL(name); \
        return fails(kind, fd, NULL) ? -1 : real args; \
    }
ON_FD(ssize_t, write, WRITE, fd, (int fd, const void *p, size_t n), (fd, p, n))
ON_FD(ssize_t, pwrite, PWRITE, fd, (int fd, const void *p, size_t n, off_t at), (fd, p, n, at))
ON_FD(ssize_t, writev, WRITEV, fd, (int fd, const struct iovec *v, int n), (fd, v, n))
ON_FD(int, fsync, FSYNC, fd, (int fd), (fd))
ON_FD(int, fdatasync, FDATASYNC, fd, (int fd), (fd))
ON_FD(int, ftruncate, FTRUNCATE, fd, (int fd, off_t n), (fd, n))
ON_FD(ssize_t, read, READ, fd, (int fd, void *p, size_t n), (fd, p, n))
ON_FD(ssize_t, pread, PREAD, fd, (int fd, void *p, size_t n, off_t at), (fd, p, n, at))
/* The same under the names that a build with large files has. */
ON_FD(ssize_t, pwrite64, PWRITE, fd, (int fd, const void *p, size_t n, off64_t at), (fd, p, n, at))
ON_FD(int, ftruncate64, FTRUNCATE, fd, (int fd, off64_t n), (fd, n))
ON_FD(ssize_t, pread64, PREAD, fd, (int fd, void *p, size_t n, off64_t at), (fd, p, n, at))

ON_FD(int, fallocate, FALLOCATE, fd, (int fd, int mode, off_t at, off_t n), (fd, mode, at, n))
ON_FD(int, fallocate64, FALLOCATE, fd, (int fd, int mode, off64_t at, off64_t n), (fd, mode, at, n))
ON_FD(int, sync_file_range, FLUSH, fd, (int fd, off64_t at, off64_t n, unsigned flags), (fd, at, n, flags))
ON_FD(int, futimens, TIMES, fd, (int fd, const struct timespec times[2]), (fd, times))
ON_FD(int, flock, FLOCK, fd, (int fd, int how), (fd, how))

void *mmap(void *where, size_t n, int prot, int flags, int fd, off_t at) {
    REAL(mmap);
    return fd >= 0 && fails(MMAP, fd, NULL) ? MAP_FAILED : real(where, n, prot, flags, fd, at);
}

void *mmap64(void *where, size_t n, int prot, int flags, int fd, off64_t at) {
    REAL(mmap64);
    return fd >= 0 && fails(MMAP, fd, NULL) ? MAP_FAILED : real(where, n, prot, flags, fd, at);
}

#define ON_OPEN(name) \
    int name(const char *path, int flags, ...) { \
        REAL(name); \
        va_list ap; \
        va_start(ap, flags); \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(ap, mode_t) : 0; \
        va_end(ap); \
        return fails(OPEN, 0, path) ? -1 : real(path, flags, mode); \
    }
ON_OPEN(open)
ON_OPEN(open64)

#define ON_OPENAT(name) \
    int name(int folder, const char *path, int flags, ...) { \
        REAL(name); \
        va_list ap; \
        va_start(ap, flags); \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(ap, mode_t) : 0; \
        va_end(ap); \
        return fails(OPEN, folder, path[0] == '/' ? path : NULL) ? -1 : real(folder, path, flags, mode); \
    }
ON_OPENAT(openat)
ON_OPENAT(openat64)

/* With the checks of what is passed, as a build with _FORTIFY_SOURCE calls it. */
int __open64_2(const char *path, int flags);
int __open64_2(const char *path, int flags) {
    REAL(__open64_2);
    return fails(OPEN, 0, path) ? -1 : real(path, flags);
}

int __openat64_2(int folder, const char *path, int flags);
int __openat64_2(int folder, const char *path, int flags) {
    REAL(__openat64_2);
    return fails(OPEN, folder, path[0] == '/' ? path : NULL) ? -1 : real(folder, path, flags);
}

#define ON_PATH(ret, bad, name, kind, path, params, args) \
    ret name params; \
    ret name params { \
        REAL(name); \
        return fails(kind, 0, path) ? bad : real args; \
    }
ON_PATH(int, -1, mkdir, MKDIR, path, (const char *path, mode_t mode), (path, mode))
ON_PATH(int, -1, rename, RENAME, to, (const char *from, const char *to), (from, to))
ON_PATH(int, -1, unlink, UNLINK, path, (const char *path), (path))
ON_PATH(int, -1, rmdir, RMDIR, path, (const char *path), (path))
ON_PATH(int, -1, remove, RMDIR, path, (const char *path), (path))
ON_PATH(int, -1, statfs, STATFS, path, (const char *path, struct statfs *ret), (path, ret))
ON_PATH(int, -1, statfs64, STATFS, path, (const char *path, struct statfs64 *ret), (path, ret))
ON_PATH(int, -1, statvfs, STATFS, path, (const char *path, struct statvfs *ret), (path, ret))
ON_PATH(int, -1, statvfs64, STATFS, path, (const char *path, struct statvfs64 *ret), (path, ret))
ON_PATH(DIR *, NULL, opendir, OPENDIR, path, (const char *path), (path))

DIR *fdopendir(int fd) {
    REAL(fdopendir);
    return fails(OPENDIR, fd, NULL) ? NULL : real(fd);
}

struct dirent *readdir(DIR *dir) {
    REAL(readdir);
    return fails(READDIR, dirfd(dir), NULL) ? NULL : real(dir);
}

struct dirent64 *readdir64(DIR *dir) {
    REAL(readdir64);
    return fails(READDIR, dirfd(dir), NULL) ? NULL : real(dir);
}

/* What stdio reads and writes it reads and writes inside of the C library: so that it fails too, these do it, on a stream of that. */
static ssize_t stream_read(void *f, char *p, size_t n) { return read(fileno(f), p, n); }
static int stream_close(void *f) { return fclose(f); }

static ssize_t stream_write(void *f, const char *p, size_t n) {
    ssize_t wrote = write(fileno(f), p, n);
    return wrote < 0 ? 0 : wrote;
}

static int stream_seek(void *f, off64_t *at, int from) {
    off64_t n = lseek64(fileno(f), *at, from);
    *at = n;
    return n < 0 ? -1 : 0;
}

static FILE *stream(FILE *f, const char *mode) {
    const cookie_io_functions_t how = {stream_read, stream_write, stream_seek, stream_close};
    return f ? fopencookie(f, mode, how) : NULL;
}

#define ON_FOPEN(name) \
    FILE *name(const char *path, const char *mode) { \
        REAL(name); \
        if (!control || !is_below(path)) \
            return real(path, mode); \
        return fails(OPEN, 0, path) ? NULL : stream(real(path, mode), mode); \
    }
ON_FOPEN(fopen)
ON_FOPEN(fopen64)

int pthread_create(pthread_t *ret, const pthread_attr_t *how, void *(*run)(void *), void *arg) {
    REAL(pthread_create);
    return fails(THREAD, 0, under) ? (int)control->err : real(ret, how, run, arg);
}
