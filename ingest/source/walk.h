/* walk.h -- the files below a folder, in the bytewise order of their paths. A folder that cannot be listed is told among them.
 *
 * Hidden names and special files are passed over; a link is followed only to a file inside the folder, never to a folder
 * (what lies inside is met under its own name), so there are no loops. Files are opened step by step from the folder's
 * descriptor without following links, so a path cannot be swapped in between.
 * Owns:    its open folders, until cn_walk_close().
 * Thread:  one at a time.
 * Limits:  CN_WALK_DEPTH folders deep. */
#pragma once
#include <sys/stat.h>

#include "engine/base/error.h"
#include "engine/base/str.h"

#define CN_WALK_DEPTH 100

typedef struct cn_walk cn_walk;
typedef struct cn_walk_item {
    const char *path;  /* relative to the folder, with '/'; valid until the next call */
    const char *name;  /* its last part */
    int fd;            /* open for reading, the caller's; -1 with why set */
    int dir;           /* descriptor of the folder it lies in; borrowed */
    struct stat st;
    cn_err err;        /* not CN_OK: this one cannot be read; cn_error_detail() says why */
    bool folder;       /* with err: none of what lies below it is known */
} cn_walk_item;

/* fd: the folder, taken over, also on failure; root: its name, for messages. */
cn_err cn_walk_open(int fd, const char *root, cn_walk **ret);
/* Opens for reading what lies below a folder, following no link and waiting for no one (O_NONBLOCK); -1 with errno. A path
 * that goes up (..) is ELOOP too. */
int cn_open_beneath(int folder, const char *path);
void cn_walk_close(cn_walk *w); /* NULL is fine */
/* CN_END at the end; another error: no memory, no descriptor, a disk that fails. What went since its folder was listed is passed over. */
cn_err cn_walk_next(cn_walk *w, cn_walk_item *ret);
