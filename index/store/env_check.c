/* The tree of an LMDB file, walked by pread with every number checked before it is followed, so that LMDB, which trusts
 * what it maps, later meets nothing it would crash on. Layout of LMDB 0.9 (little-endian, 64 bits):
 *
 *   page     0 u64 number | 10 u16 flags | 12 u16 lower, 14 u16 upper, or u32 pages of an overflow run | 16 u16 slots[]
 *   meta     page 0 and 1: 16 u32 magic | 20 u32 version | 40 tree of free pages | 88 main tree | 136 u64 last page | 144 u64 txn
 *   tree     0 u32 pad (page size, in the first) | 4 u16 flags | 6 u16 depth | 8 branch, 16 leaf, 24 overflow pages | 32 entries | 40 root
 *   node     0 u16 lo, 2 u16 hi | 4 u16 flags | 6 u16 key bytes | 8 key, then data: inline, or the page of an overflow run
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/mem.h"
#include "index/store/env_inside.h"

#define PAGE_HEAD 16u
#define NODE_HEAD 8u
#define TREE_BYTES 48u
#define META_TRIES 16
#define META_BYTES 152u
#define KEY_MAX 511u
#define DEPTH_MAX 24
#define NO_PAGE UINT64_MAX
enum { BRANCH = 1, LEAF = 2, OVERFLOW = 4, META = 8 };
enum { BIG = 1, SUBTREE = 2 };
#define META_FLAGS (MDB_NOSUBDIR | MDB_INTEGERKEY) /* all that the files written here ever have */
#define TRIES 16

typedef struct tree {
    uint16_t flags, depth;
    uint64_t entries, root;
} tree;

typedef struct meta {
    uint32_t psize;
    uint64_t last, txn;
    tree trees[2]; /* free pages, main */
} meta;

typedef struct check {
    const char *path;
    int fd;
    uint64_t size, pages; /* bytes of the file; pages in use by the meta */
    uint32_t psize;
    uint64_t *seen;       /* a bit a page: none is reached twice */
    uint8_t *stack;       /* one page for each level */
    bool free_tree;
    uint64_t blank;       /* free pages that transactions before this one gave back are overwritten with zeros */
    uint8_t key[KEY_MAX]; /* the last key met, to prove the order */
    uint32_t key_n;
    bool any_key, after_branch;
    uint64_t entries;
} check;

static uint16_t u16(const uint8_t *p) { return (uint16_t)(p[0] | p[1] << 8); }
static uint32_t u32(const uint8_t *p) { return u16(p) | (uint32_t)u16(p + 2) << 16; }
static uint64_t u64(const uint8_t *p) { return u32(p) | (uint64_t)u32(p + 4) << 32; }

static cn_err damaged(const check *c, const char *what, uint64_t page) {
    return cn_fail_file(c->path, ": %s (page %llu)", what, (unsigned long long)page);
}

static cn_err read_at(const check *c, uint64_t at, void *p, size_t n) {
    ssize_t got = pread(c->fd, p, n, (off_t)at);
    if (got < 0)
        return cn_fail_errno(errno, "reading %s", c->path);
    if ((size_t)got != n)
        return cn_fail_file(c->path, ": cut short: it ends at byte %llu", (unsigned long long)(at + (uint64_t)got));
    return CN_OK;
}

/* ---------- meta pages ---------- */

static tree tree_of(const uint8_t *p) {
    return (tree){.flags = u16(p + 4), .depth = u16(p + 6), .entries = u64(p + 32), .root = u64(p + 40)};
}

static cn_err read_meta(const check *c, uint64_t at, uint64_t number, meta *ret) {
    uint8_t p[META_BYTES];
    CN_TRY(read_at(c, at, p, sizeof p));
    if (u64(p) != number || u16(p + 10) != META)
        return damaged(c, "no LMDB file: its head is not a meta page", number);
    if (u32(p + 16) != 0xBEEFC0DEu || u32(p + 20) != 1)
        return damaged(c, "no LMDB file of a known format", number);
    meta m = {.psize = u32(p + 40), .last = u64(p + 136), .txn = u64(p + 144), .trees = {tree_of(p + 40), tree_of(p + 88)}};
    if (m.psize < 4096 || m.psize > 32768 || (m.psize & (m.psize - 1)))
        return damaged(c, "its page size is wrong", number);
    if (m.trees[0].flags != META_FLAGS || m.trees[1].flags != 0)
        return damaged(c, "its flags are wrong", number);
    if (m.last < 1 || m.last > (uint64_t)1 << 40)
        return damaged(c, "its last page is wrong", number);
    *ret = m;
    return CN_OK;
}

/* The newer of the two, as LMDB picks it, and the other. */
static cn_err read_metas(const check *c, meta *ret, meta *ret_other) {
    meta a, b;
    CN_TRY(read_meta(c, 0, 0, &a));
    CN_TRY(read_meta(c, a.psize, 1, &b));
    if (b.psize != a.psize)
        return damaged(c, "its two meta pages differ in page size", 1);
    *ret = a.txn < b.txn ? b : a;
    *ret_other = a.txn < b.txn ? a : b;
    /* Transaction N is written to page N mod 2, so they are of two transactions in a row. A changed number would bring an
     * older state back, which LMDB could not know: no checksum covers it. */
    bool fresh = a.txn == 0 && b.txn == 0, in_a_row = a.txn % 2 == 0 && b.txn % 2 == 1 && (a.txn + 1 == b.txn || b.txn + 1 == a.txn);
    return fresh || in_a_row ? CN_OK : damaged(c, "its two meta pages are not of transactions in a row", 1);
}

/* Others may commit between the two reads: what does not fit is read again. */
static cn_err newest_meta(const check *c, meta *ret, meta *ret_other) {
    cn_err e = CN_DAMAGED;
    for (int tries = 0; e == CN_DAMAGED && tries < META_TRIES; tries++)
        e = read_metas(c, ret, ret_other);
    return e;
}

/* ---------- pages ---------- */

static cn_err mark(check *c, uint64_t page, uint64_t n) {
    if (page < 2 || n == 0 || page >= c->pages || n > c->pages - page)
        return damaged(c, "a page number beyond the file's last", page);
    for (uint64_t i = page; i < page + n; i++) {
        if (c->seen[i / 64] >> (i % 64) & 1)
            return damaged(c, "a page used twice", i);
        c->seen[i / 64] |= (uint64_t)1 << (i % 64);
    }
    return CN_OK;
}

static cn_err check_overflow(check *c, uint64_t page, uint64_t bytes) {
    uint8_t head[PAGE_HEAD];
    uint64_t n = (PAGE_HEAD - 1 + bytes) / c->psize + 1;
    CN_TRY(mark(c, page, n));
    if ((page + n) * c->psize > c->size)
        return damaged(c, "cut short inside a large value", page);
    CN_TRY(read_at(c, page * c->psize, head, sizeof head));
    if (u64(head) != page || u16(head + 10) != OVERFLOW || u32(head + 12) != n)
        return damaged(c, "the head of a large value is wrong", page);
    return CN_OK;
}

static cn_err blank(const check *c, uint64_t page) {
    static const char zeros[32768];
    ssize_t got = pwrite(c->fd, zeros, c->psize, (off_t)(page * c->psize));
    return got == (ssize_t)c->psize ? CN_OK : cn_fail_errno(got < 0 ? errno : ENOSPC, "writing %s", c->path);
}

/* A record of free pages: a count, then numbers, largest first. LMDB would write over what they name. */
static cn_err check_free(check *c, uint64_t page, const uint8_t *p, uint64_t n) {
    uint64_t count = n >= 8 ? u64(p) : UINT64_MAX;
    if (count > (n - 8) / 8 || n < 8)
        return damaged(c, "a list of free pages is wrong", page);
    for (uint64_t i = 0, before = NO_PAGE; i < count; i++) {
        uint64_t free_page = u64(p + 8 + 8 * i);
        if (free_page >= before)
            return damaged(c, "a list of free pages is out of order", page);
        CN_TRY(mark(c, free_page, 1));
        CN_TRY(u64(c->key) < c->blank ? blank(c, free_page) : CN_OK);
        before = free_page;
    }
    return CN_OK;
}

static cn_err check_free_big(check *c, uint64_t page, uint64_t bytes) {
    CN_AUTO_FREE uint8_t *p = cn_alloc(bytes);
    if (!p)
        return cn_fail_memory();
    CN_TRY(read_at(c, page * c->psize + PAGE_HEAD, p, bytes));
    return check_free(c, page, p, bytes);
}

static int order_of(const check *c, const uint8_t *key, uint32_t n) {
    if (c->free_tree)
        return u64(c->key) < u64(key) ? -1 : u64(c->key) > u64(key);
    return cn_str_cmp((cn_str){(const char *)c->key, c->key_n}, (cn_str){(const char *)key, n});
}

/* A branch's key stands between what is left of it and what it leads to, which may begin with that very key: by another one a
 * search goes into the wrong page, and finds nothing. */
static cn_err check_key(check *c, uint64_t page, const uint8_t *key, uint32_t n, bool branch) {
    if (c->free_tree && n != 8)
        return damaged(c, "a key of a wrong length", page);
    if (c->any_key && order_of(c, key, n) >= (c->after_branch && !branch))
        return damaged(c, "keys out of order", page);
    memcpy(c->key, key, n);
    c->key_n = n;
    c->any_key = true;
    c->after_branch = branch;
    c->entries += !branch;
    return CN_OK;
}

static cn_err check_subtree(check *c, uint64_t page, const uint8_t *p, uint64_t n);

static cn_err check_leaf_node(check *c, uint64_t page, const uint8_t *node, uint32_t room, bool main_tree) {
    uint32_t flags = u16(node + 4), key_n = u16(node + 6), n = u32(node);
    uint32_t inside = flags & BIG ? 8 : n;
    if (key_n == 0 || key_n > KEY_MAX || key_n > room || inside > room - key_n)
        return damaged(c, "a pair that reaches over its page's end", page);
    CN_TRY(check_key(c, page, node + NODE_HEAD, key_n, false));
    const uint8_t *data = node + NODE_HEAD + key_n;
    if (flags == BIG) {
        CN_TRY(check_overflow(c, u64(data), n));
        return c->free_tree ? check_free_big(c, u64(data), n) : CN_OK;
    }
    if (flags == SUBTREE && main_tree)
        return check_subtree(c, page, data, n);
    if (flags != 0)
        return damaged(c, "a pair of an unknown kind", page);
    return c->free_tree ? check_free(c, page, data, n) : CN_OK;
}

/* Reads a page and checks its head; the slots are checked one by one as they are followed. */
static cn_err read_page(check *c, uint64_t page, unsigned want, uint8_t *p, uint32_t *ret_n) {
    CN_TRY(mark(c, page, 1));
    CN_TRY(read_at(c, page * c->psize, p, c->psize));
    uint32_t lower = u16(p + 12), upper = u16(p + 14);
    if (u64(p) != page || u16(p + 10) != want)
        return damaged(c, "a page that is not what its parent says", page);
    if (lower < PAGE_HEAD + 2 || lower > upper || upper > c->psize || lower % 2)
        return damaged(c, "a page with wrong bounds", page);
    *ret_n = (lower - PAGE_HEAD) / 2;
    return CN_OK;
}

static cn_err node_at(const check *c, uint64_t page, const uint8_t *p, uint32_t slot, const uint8_t **ret, uint32_t *ret_room) {
    uint32_t at = u16(p + PAGE_HEAD + 2 * slot);
    if (at < u16(p + 14) || at % 2 || at + NODE_HEAD > c->psize)
        return damaged(c, "a pair outside its page", page);
    *ret = p + at;
    *ret_room = c->psize - at - NODE_HEAD;
    return CN_OK;
}

static cn_err walk(check *c, uint64_t page, unsigned depth, unsigned level, bool main_tree) {
    uint8_t *p = c->stack + (size_t)level * c->psize;
    const uint8_t *node = NULL;
    uint32_t n = 0, room = 0;
    bool leaf = level + 1 == depth;
    CN_TRY(read_page(c, page, leaf ? LEAF : BRANCH, p, &n));
    if (!leaf && n < 2)
        return damaged(c, "a branch with a single child", page);
    for (uint32_t i = 0; i < n; i++) {
        CN_TRY(node_at(c, page, p, i, &node, &room));
        if (leaf) {
            CN_TRY(check_leaf_node(c, page, node, room, main_tree));
            continue;
        }
        if (u16(node + 6) > room || u16(node + 6) > KEY_MAX)
            return damaged(c, "a branch key that reaches over its page's end", page);
        if (i > 0) /* the first one's is not looked at */
            CN_TRY(check_key(c, page, node + NODE_HEAD, u16(node + 6), true));
        CN_TRY(walk(c, u32(node) | (uint64_t)u16(node + 4) << 32, depth, level + 1, main_tree));
    }
    return CN_OK;
}

static cn_err check_tree(check *c, const tree *t, unsigned level, bool main_tree) {
    if (t->root == NO_PAGE)
        return t->depth == 0 && t->entries == 0 ? CN_OK : damaged(c, "an empty tree that claims entries", 0);
    if (t->depth == 0 || t->depth > DEPTH_MAX)
        return damaged(c, "a tree of impossible depth", t->root);
    c->any_key = c->after_branch = false;
    c->entries = 0;
    CN_TRY(walk(c, t->root, level + t->depth, level, main_tree));
    return c->entries == t->entries ? CN_OK : damaged(c, "a tree whose count of entries is wrong", t->root);
}

/* A named database inside the main tree: the walk of the outer one goes on afterwards where it was. */
static cn_err check_subtree(check *c, uint64_t page, const uint8_t *p, uint64_t n) {
    if (n != TREE_BYTES)
        return damaged(c, "a record of a database is wrong", page);
    tree t = tree_of(p);
    if (t.flags != 0)
        return damaged(c, "a database of an unknown kind", page);
    check outer = *c;
    CN_TRY(check_tree(c, &t, DEPTH_MAX, false));
    *c = outer;
    return CN_OK;
}

/* ---------- the whole ---------- */

static cn_err walk_meta(check *c, const meta *m, bool whole) {
    c->psize = m->psize;
    c->pages = m->last + 1;
    if (whole && c->size < c->pages * c->psize)
        return cn_fail_file(c->path, ": cut short: %llu bytes of %llu", (unsigned long long)c->size, (unsigned long long)(c->pages * c->psize));
    if (m->last / 64 > c->size / 512) /* far more pages than bytes could back: do not allocate for them */
        return damaged(c, "its last page lies far beyond its end", m->last);
    CN_AUTO_FREE uint64_t *seen = cn_calloc(c->pages / 64 + 1, sizeof *seen);
    CN_AUTO_FREE uint8_t *stack = cn_alloc((size_t)2 * DEPTH_MAX * c->psize);
    if (!seen || !stack)
        return cn_fail_memory();
    c->seen = seen;
    c->stack = stack;
    c->free_tree = false;
    CN_TRY(check_tree(c, &m->trees[1], 0, true));
    c->free_tree = true;
    return check_tree(c, &m->trees[0], 0, false);
}

/* Pages that transaction N gave back stand in its tree of free pages under N, and each but the first gives some back: what it
 * writes anew was somewhere before. So a meta that names another transaction than the last of its tree has lost its own
 * number, and the one that LMDB would take is a state gone by. */
static cn_err check_number(check *c, const meta *m) {
    const uint8_t *node = NULL;
    uint32_t n = 0, room = 0;
    CN_AUTO_FREE uint8_t *p = cn_alloc(m->psize);
    if (!p)
        return cn_fail_memory();
    c->psize = m->psize;
    for (uint64_t page = m->trees[0].root, level = m->trees[0].depth; level > 0 && level <= DEPTH_MAX; level--) {
        CN_TRY(read_at(c, page * m->psize, p, m->psize));
        n = (uint32_t)(u16(p + 12) - PAGE_HEAD) / 2;
        if (u64(p) != page || u16(p + 12) < PAGE_HEAD + 2 || u16(p + 12) > m->psize)
            return damaged(c, "the tree of free pages is wrong", page);
        CN_TRY(node_at(c, page, p, n - 1, &node, &room));
        page = u32(node) | (uint64_t)u16(node + 4) << 32;
        if (level == 1 && (u16(node + 6) != 8 || room < 8 || u64(node + NODE_HEAD) != m->txn))
            return damaged(c, "a meta page names another transaction than its own", m->txn % 2);
    }
    return CN_OK;
}

/* A walk can meet pages that a writer of another process uses anew. That takes three commits (LMDB frees a page in one
 * and gives it out again two later at the earliest), so a failure counts only while the meta has not moved on. */
static cn_err check_fd(check *c, bool whole) {
    for (int i = 0; i < TRIES; i++) {
        struct stat st;
        meta before = {0}, after = {0}, other = {0};
        if (fstat(c->fd, &st) < 0)
            return cn_fail_errno(errno, "reading %s", c->path);
        c->size = (uint64_t)st.st_size;
        CN_TRY(newest_meta(c, &before, &other));
        cn_err e = walk_meta(c, &before, whole);
        if (e == CN_OK && (e = check_number(c, &before)) == CN_OK)
            e = check_number(c, &other);
        if (e != CN_DAMAGED)
            return e;
        CN_TRY(newest_meta(c, &after, &other));
        if (after.txn != before.txn)
            continue;
        CN_TRY(walk_meta(c, &before, whole)); /* once more, for its text */
        CN_TRY(check_number(c, &before));
        return check_number(c, &other);
    }
    return cn_fail(CN_OVERLOADED, "%s is written to so fast that it could not be checked; try again", c->path);
}

cn_err cn_env_check_file(const char *path, bool whole) {
    check c = {.path = path, .fd = open(path, O_RDONLY | O_CLOEXEC)};
    if (c.fd < 0)
        return cn_fail_errno(errno, "opening %s", path);
    cn_err e = check_fd(&c, whole);
    close(c.fd);
    return e;
}

/* What the last transaction gave back stays: the other meta page leads to it, and an open looks there. */
static cn_err blank_fd(check *c) {
    struct stat st;
    meta m, other;
    if (fstat(c->fd, &st) < 0)
        return cn_fail_errno(errno, "reading %s", c->path);
    c->size = (uint64_t)st.st_size;
    CN_TRY(newest_meta(c, &m, &other));
    c->blank = m.txn;
    CN_TRY(walk_meta(c, &m, false));
    for (uint64_t page = c->pages; page * c->psize < c->size; page++) /* its length stays: whoever has it open takes a shorter one for damaged */
        CN_TRY(blank(c, page));
    return CN_OK;
}

cn_err cn_env_blank(const char *path) {
    check c = {.path = path, .fd = open(path, O_RDWR | O_CLOEXEC)};
    if (c.fd < 0)
        return cn_fail_errno(errno, "opening %s", path);
    cn_err e = blank_fd(&c);
    close(c.fd);
    return e;
}
