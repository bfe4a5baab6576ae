#include "ingest/source/walk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/base/buf.h"
#include "engine/base/mem.h"

typedef struct entry {
    size_t name;       /* place in names, NUL-terminated; a folder's ends in '/' so that paths sort bytewise */
    unsigned char type;
} entry;

typedef struct level {
    int fd;
    cn_buf names;
    entry *entries;
    size_t n, room, at;
    size_t path;       /* length of the path up to this folder */
} level;

struct cn_walk {
    char *root;        /* resolved */
    int root_fd;
    level levels[CN_WALK_DEPTH];
    unsigned depth;
    cn_buf path;
};

static int by_name(const void *a, const void *b, void *names) {
    return strcmp((const char *)names + ((const entry *)a)->name, (const char *)names + ((const entry *)b)->name);
}

static unsigned char type_of(int fd, const struct dirent *d) {
    struct stat st;
    if (d->d_type != DT_UNKNOWN)
        return d->d_type;
    if (fstatat(fd, d->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return DT_UNKNOWN;
    return S_ISDIR(st.st_mode) ? DT_DIR : S_ISREG(st.st_mode) ? DT_REG : S_ISLNK(st.st_mode) ? DT_LNK : DT_UNKNOWN;
}

static cn_err add_entry(level *l, const struct dirent *d) {
    unsigned char type = type_of(l->fd, d);
    if (d->d_name[0] == '.' || (type != DT_DIR && type != DT_REG && type != DT_LNK))
        return CN_OK;
    if (!cn_grow(l->entries, l->n, l->room))
        return cn_fail_memory();
    l->entries[l->n++] = (entry){.name = l->names.n, .type = type};
    cn_buf_puts(&l->names, d->d_name);
    if (type == DT_DIR)
        cn_buf_putc(&l->names, '/');
    cn_buf_putc(&l->names, 0);
    return cn_buf_check(&l->names);
}

static cn_err list(level *l) {
    int fd = openat(l->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        int why = errno;
        if (fd >= 0)
            close(fd);
        return cn_fail_errno(why, "listing");
    }
    cn_err e = CN_OK;
    struct dirent *d = NULL;
    while (e == CN_OK && (errno = 0, d = readdir(dir)))
        e = add_entry(l, d);
    if (e == CN_OK && errno)
        e = cn_fail_errno(errno, "listing");
    closedir(dir);
    if (e == CN_OK && l->n)
        qsort_r(l->entries, l->n, sizeof *l->entries, by_name, l->names.p);
    return e;
}

static void leave(cn_walk *w) {
    level *l = &w->levels[--w->depth];
    close(l->fd);
    cn_buf_done(&l->names);
    cn_free(l->entries);
}

static cn_err enter(cn_walk *w, int fd) { /* takes fd */
    level *l = &w->levels[w->depth++];
    *l = (level){.fd = fd, .path = w->path.n};
    cn_buf_init(&l->names, (size_t)1 << 32);
    cn_err e = list(l);
    if (e == CN_OK)
        return CN_OK;
    leave(w);
    return cn_wrap(e, "%s/%.*s", w->root, (int)w->path.n, w->path.p ? w->path.p : "");
}

cn_err cn_walk_open(int fd, const char *root, cn_walk **ret) {
    cn_walk *w = cn_calloc(1, sizeof *w);
    char self[32];
    if (!w) {
        close(fd);
        return cn_fail_memory();
    }
    cn_buf_init(&w->path, 1 << 20);
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    w->root = realpath(self, NULL);
    w->root_fd = fd;
    int first = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    cn_err e = first < 0 || !w->root ? cn_fail_errno(errno, "%s", root) : enter(w, first);
    if (e != CN_OK) {
        cn_walk_close(w);
        return e;
    }
    *ret = w;
    return CN_OK;
}

void cn_walk_close(cn_walk *w) {
    if (!w)
        return;
    while (w->depth)
        leave(w);
    close(w->root_fd);
    free(w->root); /* realpath's */
    cn_buf_done(&w->path);
    cn_free(w);
}

/* Step by step, so that no part of it can be swapped for a link in between. */
int cn_open_beneath(int folder, const char *path) {
    char part[NAME_MAX + 1];
    int dir = folder;
    while (dir >= 0) {
        path += strspn(path, "/");
        size_t n = strcspn(path, "/"), more = strspn(path + n, "/");
        bool up = n == 2 && path[0] == '.' && path[1] == '.', last = path[n + more] == 0;
        if (up || n >= sizeof part)
            errno = up ? ELOOP : ENAMETOOLONG;
        snprintf(part, sizeof part, "%.*s", (int)n, n ? path : ".");
        int fd = up || n >= sizeof part ? -1 : openat(dir, n ? part : ".", O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | (more ? O_DIRECTORY : 0));
        int why = errno;
        if (dir != folder)
            close(dir);
        errno = why;
        dir = fd;
        if (last)
            break;
        path += n;
    }
    return dir;
}

/* A link: only to a file inside the folder. *ret_skip: it leads to a folder inside, which is met by itself. */
static cn_err open_link(cn_walk *w, const char *name, int *ret_fd, bool *ret_skip) {
    char whole[PATH_MAX + 64];
    snprintf(whole, sizeof whole, "%s/%s", w->root, w->path.p);
    char *real = realpath(whole, NULL);
    if (!real)
        return cn_fail(CN_INVALID, "%s is a link that leads nowhere or in a circle", name);
    size_t n = strlen(w->root);
    bool inside = strncmp(real, w->root, n) == 0 && (real[n] == '/' || n == 1);
    cn_err e = CN_OK;
    struct stat st;
    if (!inside && !(n <= strlen(real) && strcmp(real, w->root) == 0))
        e = cn_fail(CN_INVALID, "%s is a link that leads out of the folder; copy the file in, or name it by itself", name);
    else if (!inside || (stat(real, &st) == 0 && !S_ISREG(st.st_mode)))
        *ret_skip = true;
    else if ((*ret_fd = cn_open_beneath(w->root_fd, real + n)) < 0)
        e = cn_fail_errno(errno, "%s", name);
    free(real);
    return e;
}

static cn_err open_entry(cn_walk *w, level *l, const entry *e, const char *name, int *ret_fd, bool *ret_skip) {
    if (e->type == DT_LNK)
        return open_link(w, name, ret_fd, ret_skip);
    *ret_fd = openat(l->fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    return *ret_fd < 0 ? cn_fail_errno(errno, "%s", name) : CN_OK;
}

static cn_err enter_folder(cn_walk *w, level *l) {
    if (w->depth == CN_WALK_DEPTH)
        return cn_fail(CN_INVALID, "%s/%s is over %d folders deep", w->root, w->path.p, CN_WALK_DEPTH);
    int fd = openat(l->fd, w->path.p + l->path, O_RDONLY | O_NOFOLLOW | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return cn_fail_errno(errno, "%s/%s", w->root, w->path.p);
    w->path.n--; /* without its NUL */
    return enter(w, fd);
}

/* *ret_given: it is such that it cannot be listed, and that is what is given. One that was removed since is passed over. */
static cn_err give_folder(cn_walk *w, level *l, cn_walk_item *ret, bool *ret_given) {
    cn_err e = enter_folder(w, l);
    *ret_given = e == CN_DENIED || e == CN_INVALID;
    if (*ret_given)
        *ret = (cn_walk_item){.path = w->path.p, .name = w->path.p + l->path, .fd = -1, .dir = l->fd, .err = e, .folder = true};
    return *ret_given || e == CN_NOT_FOUND ? CN_OK : e;
}

/* False: nothing to give here (a folder link, a device behind a name, a file that went), go on. */
static bool give(cn_walk *w, level *l, const entry *e, cn_walk_item *ret) {
    bool skip = false;
    *ret = (cn_walk_item){.path = w->path.p, .name = w->path.p + l->path, .fd = -1, .dir = l->fd};
    ret->err = open_entry(w, l, e, ret->name, &ret->fd, &skip);
    skip = skip || (ret->err == CN_NOT_FOUND && e->type != DT_LNK);
    if (ret->err == CN_OK && !skip && (fstat(ret->fd, &ret->st) != 0 || !S_ISREG(ret->st.st_mode))) {
        close(ret->fd);
        skip = true;
    }
    return !skip;
}

cn_err cn_walk_next(cn_walk *w, cn_walk_item *ret) {
    while (w->depth) {
        level *l = &w->levels[w->depth - 1];
        if (l->at == l->n) {
            leave(w);
            continue;
        }
        const entry *e = &l->entries[l->at++];
        w->path.n = l->path;
        cn_buf_puts(&w->path, l->names.p + e->name);
        cn_buf_putc(&w->path, 0);
        CN_TRY(cn_buf_check(&w->path));
        bool given = false;
        if (e->type == DT_DIR)
            CN_TRY(give_folder(w, l, ret, &given));
        else
            given = give(w, l, e, ret);
        if (given)
            return CN_OK;
    }
    return CN_END;
}
