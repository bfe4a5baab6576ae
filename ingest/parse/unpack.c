/* This side of unpacking: packed bytes out, what they hold back. What the process says is not trusted. */
#include "ingest/parse/unpack.h"

#include <errno.h>
#include <unistd.h>

#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "ingest/parse/child.h"
#include "ingest/parse/worker.h"

struct cn_unpacker {
    cn_child child;
    bool under_way;   /* an input has begun and its last frame has not come */
    int fd;
    size_t left;      /* bytes of the frame being read */
    uint64_t taken, limit_ns;
    char packed[CN_UNPACK_STEP];
};

cn_err cn_unpacker_new(cn_unpacker **ret) {
    cn_unpacker *u = cn_calloc(1, sizeof *u);
    if (!u)
        return cn_fail_memory();
    u->limit_ns = cn_parse_limit_ns();
    *ret = u;
    return CN_OK;
}

void cn_unpacker_free(cn_unpacker *u) {
    if (u && u->child.pid)
        cn_child_end(&u->child);
    cn_free(u);
}

uint64_t cn_unpack_taken(const cn_unpacker *u) { return u->taken; }

static uint64_t until(const cn_unpacker *u) { return cn_mono_ns() + u->limit_ns; }

/* The process cannot go on with this input: CN_INVALID, or what no input is to blame for. */
static cn_err give_up(cn_unpacker *u, cn_err e) {
    u->under_way = false;
    e = cn_child_explain(e, cn_child_bury(&u->child, e), "unpacker", "unpacking", u->limit_ns);
    return e == CN_DEADLINE ? CN_INVALID : e;
}

cn_err cn_unpack_begin(cn_unpacker *u, int fd, cn_packing packing) {
    uint32_t what = packing;
    if (u->child.pid && (u->under_way || cn_child_lost(&u->child))) /* the rest of the one before is not wanted */
        cn_child_end(&u->child);
    if (!u->child.pid)
        CN_TRY(cn_child_start(CN_UNPACK_ARG, &u->child));
    u->fd = fd;
    u->left = u->taken = 0;
    u->under_way = true;
    cn_err e = cn_child_send(&u->child, &what, sizeof what, until(u));
    return e == CN_OK ? CN_OK : give_up(u, e);
}

static cn_err feed(cn_unpacker *u) {
    ssize_t got;
    do
        got = read(u->fd, u->packed, sizeof u->packed);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return cn_fail_errno(errno, "reading it");
    uint32_t n = (uint32_t)got;
    u->taken += n;
    cn_err e = cn_child_send(&u->child, &n, sizeof n, until(u));
    if (e == CN_OK)
        e = cn_child_send(&u->child, u->packed, n, until(u));
    return e == CN_OK ? CN_OK : give_up(u, e);
}

static cn_err damaged(cn_unpacker *u, const cn_unpack_frame *f) {
    char why[CN_UNPACK_TEXT + 1] = "";
    cn_err e = f->n <= CN_UNPACK_TEXT ? cn_child_take(&u->child, why, f->n, until(u)) : CN_UNAVAILABLE;
    if (e != CN_OK)
        return give_up(u, e);
    for (char *p = why; *p; p++)
        *p = *p < ' ' || *p > '~' ? '?' : *p;
    u->under_way = false;
    return cn_fail(CN_INVALID, "cannot be unpacked past byte %llu: %s", (unsigned long long)(f->at < u->taken ? f->at : u->taken), why);
}

/* What a frame says; data is left to be read, and after the end there is none. */
static cn_err take_frame(cn_unpacker *u, bool *ret_cut) {
    cn_unpack_frame f;
    cn_err e = cn_child_take(&u->child, &f, sizeof f, until(u));
    if (e != CN_OK)
        return give_up(u, e);
    switch (f.kind) {
    case CN_UNPACK_WANT:
        return feed(u);
    case CN_UNPACK_DATA:
        u->left = f.n;
        return f.n >= 1 && f.n <= CN_UNPACK_STEP ? CN_OK : give_up(u, CN_UNAVAILABLE);
    case CN_UNPACK_END:
        u->under_way = false;
        return CN_OK;
    case CN_UNPACK_NONE:
        u->under_way = false;
        return cn_fail(CN_INVALID, "is named like a packed file but is none; rename it");
    case CN_UNPACK_CUT:
        u->under_way = false;
        *ret_cut = true;
        return cn_fail(CN_INVALID, "cannot be unpacked past byte %llu: it is cut off there, it ends too early", (unsigned long long)u->taken);
    case CN_UNPACK_DAMAGED:
        return damaged(u, &f);
    default:
        return give_up(u, CN_UNAVAILABLE);
    }
}

cn_err cn_unpack_read(cn_unpacker *u, char *p, size_t n, size_t *ret, bool *ret_cut) {
    while (u->left == 0 && u->under_way)
        CN_TRY(take_frame(u, ret_cut));
    n = n < u->left ? n : u->left;
    cn_err e = n ? cn_child_take(&u->child, p, n, until(u)) : CN_OK;
    if (e != CN_OK) {
        u->left = 0;
        return give_up(u, e);
    }
    u->left -= n;
    *ret = n;
    return CN_OK;
}
