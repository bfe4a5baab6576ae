/* LMDB's lock file, in which its readers and the newest transaction's number stand. Every process that has an environment open
 * must have the same one: by another, or by one whose bytes are gone, LMDB would take an old state for the newest, give out
 * pages that someone reads, and write over commits. Whoever removes it, puts another in its place or cuts it short is found
 * out before each transaction, and the environment is opened anew, with the lock file that is there then: so all processes
 * meet at the same one again. What is lost between that look and LMDB's own reads is not believed either: a transaction is
 * ended unused where the map was torn or its number is one that was passed already (env_txn.c), and no meta page is written
 * over that is not older (env_meta.c).
 *
 * One case is left: bytes lost while a write transaction stands in them as the holder of a mutex, of which the C library keeps
 * a list in the thread. There the program ends, with a word of why. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/log.h"
#include "index/store/env_inside.h"

#define LOCK_BYTES ((CN_READERS * 64 / 4096 + 2) * 4096) /* a reader's slot has 64 bytes; behind a head of less than a page */
#define MUTEX_BYTES 4096 /* in which that head, with the mutexes, lies */

static cn_err path_of(const char *env_path, char path[CN_LOCK_PATH]) {
    if (snprintf(path, CN_LOCK_PATH, "%s-lock", env_path) >= CN_LOCK_PATH)
        return cn_fail(CN_INVALID, "the path %s is too long", env_path);
    return CN_OK;
}

/* LMDB maps its lock file and writes there: on a full disk a hole in it would be a SIGBUS. So a new one gets its blocks at
 * once, or is an error. One that is there keeps its size, by which the processes that have it open go. */
cn_err cn_lock_reserve(const char *env_path) {
    char path[CN_LOCK_PATH];
    struct stat st;
    CN_TRY(path_of(env_path, path));
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return cn_env_no_file(errno, "opening", path);
    int rc = fstat(fd, &st) == 0 && st.st_size == 0 && fallocate(fd, 0, 0, LOCK_BYTES) < 0 ? errno : 0;
    close(fd); /* the registry lets no one of this process have it open: no lock of LMDB's is dropped */
    return rc == 0 || rc == EOPNOTSUPP || rc == ENOSYS ? CN_OK : cn_fail_errno(rc, "making %s", path);
}

/* LMDB does not say where it mapped it; the kernel does. NULL: not found, and nothing is watched. */
static cn_map_guard *watch(const char *path, ino_t ino) {
    char line[CN_LOCK_PATH + 128];
    const char *name = strrchr(path, '/') ? strrchr(path, '/') : path;
    cn_map_guard *guard = NULL;
    FILE *f = fopen("/proc/self/maps", "re");
    while (f && !guard && fgets(line, sizeof line, f)) {
        uintptr_t from, to;
        unsigned long long inode;
        line[strcspn(line, "\n")] = 0;
        size_t n = strlen(line), k = strlen(name);
        if (n > k && strcmp(line + n - k, name) == 0 && sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %*s %*s %*s %llu", &from, &to, &inode) == 3 && inode == ino)
            guard = cn_map_watch_written((const void *)from, to - from);
    }
    if (f)
        fclose(f);
    return guard;
}

void cn_lock_note(cn_env *e) {
    char path[CN_LOCK_PATH];
    struct stat st;
    if (path_of(e->path, path) != CN_OK || stat(path, &st) < 0)
        return; /* gone already: found lost at the first look */
    e->lock = (cn_lock_file){st.st_dev, st.st_ino, (uint64_t)st.st_size, watch(path, st.st_ino)};
}

/* Closing, LMDB writes to its lock file's map once more. */
void cn_lock_close(cn_env *e) {
    _Atomic bool ignored = false;
    cn_map_unwatch(e->lock.guard);
    e->lock = (cn_lock_file){0};
    cn_map_expect(&ignored);
    mdb_env_close(e->mdb);
    cn_map_expect(NULL);
    e->mdb = NULL;
}

static bool is_file(const char *path, dev_t dev, ino_t ino) {
    struct stat st;
    return stat(path, &st) == 0 && st.st_dev == dev && st.st_ino == ino;
}

static bool still_there(const cn_env *e) { return is_file(e->path, e->dev, e->ino); }

static bool is_hosts(const cn_env *e) {
    static const char name[] = "/cairn.mdb";
    size_t n = strlen(e->path);
    return n >= sizeof name - 1 && strcmp(e->path + n - (sizeof name - 1), name) == 0;
}

bool cn_lock_finds_another(const cn_env *e) { return !still_there(e) && access(e->path, F_OK) == 0; }

/* Where a tenant of that name was made anew, the lock file is another too: then what is open is only gone. The host's is never made
 * anew: another in its place, as by a whole directory put back, was brought there. */
bool cn_lock_keeps_another(const cn_env *e) {
    char path[CN_LOCK_PATH];
    if (!cn_lock_finds_another(e))
        return false;
    return is_hosts(e) || (path_of(e->path, path) == CN_OK && is_file(path, e->lock.dev, e->lock.ino));
}

cn_lock_is cn_lock_look(const cn_env *e) {
    char path[CN_LOCK_PATH];
    struct stat st;
    if (!cn_env_shared(e) || path_of(e->path, path) != CN_OK)
        return CN_LOCK_SOUND;
    bool there = stat(path, &st) == 0, same = there && st.st_dev == e->lock.dev && st.st_ino == e->lock.ino;
    if (cn_map_torn(e->lock.guard) || (same && (uint64_t)st.st_size < e->lock.bytes))
        return CN_LOCK_CUT;
    return same || !still_there(e) ? CN_LOCK_SOUND : CN_LOCK_GONE; /* of an environment that is removed both go */
}

void cn_lock_tell(const cn_env *e, cn_lock_is is) {
    cn_log(CN_LOG_WARN, "lock.lost", "file=\"%s-lock\" was %s while this program had it open; it is opened anew. Lock files may only be removed while no program uses the directory", e->path,
           is == CN_LOCK_CUT ? "cut short" : "removed or replaced");
}

static void end(const cn_env *e) {
    static const char text[] = "was cut short while this program wrote under it; the program ends here: start it anew. What was committed is there, and nothing has to come from a backup";
    cn_log(CN_LOG_ERROR, "lock.lost", "file=\"%s-lock\" %s", e->path, text);
    fprintf(stderr, "cairn: %s-lock %s\n", e->path, text);
    _exit(CN_EXIT_LOST);
}

void cn_lock_after_writing(const cn_env *e) {
    char path[CN_LOCK_PATH];
    struct stat st;
    if (path_of(e->path, path) == CN_OK && stat(path, &st) == 0 && st.st_dev == e->lock.dev && st.st_ino == e->lock.ino && st.st_size < MUTEX_BYTES)
        end(e);
}
