/* Files of segments being written: new, taken up again, sealed, thrown away. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/os.h"
#include "index/store/dir.h"
#include "index/store/segw_inside.h"

cn_err cn_seg_path(const cn_tenant *t, const cn_seg_id *id, const char *kind, char *path, size_t n) {
    char hex[2 * CN_SEG_ID + 1];
    cn_hex(id->b, sizeof id->b, hex);
    return cn_path(path, n, "%s/segments/%s%s%s.mdb", cn_tenant_dir(t), hex, kind ? "." : "", kind ? kind : "");
}

cn_err cn_lock_file(const char *path, bool create, int *ret_fd) {
    struct stat here, there;
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | (create ? O_CREAT | O_EXCL : 0), 0600);
    if (fd < 0)
        return cn_fail_errno(errno, "opening %s", path);
    cn_err e = CN_OK;
    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        e = errno == EWOULDBLOCK ? cn_fail(CN_CONFLICT, "%s is being written by another job", path) : cn_fail_errno(errno, "locking %s", path);
    else if (fstat(fd, &here) < 0 || stat(path, &there) < 0 || here.st_ino != there.st_ino)
        e = cn_fail(CN_NOT_FOUND, "%s was removed meanwhile", path); /* swept between open and lock */
    if (e != CN_OK) {
        close(fd);
        return e;
    }
    *ret_fd = fd;
    return CN_OK;
}

#define HOLD_TRIES 1000
#define HOLD_US 10000

cn_err cn_seg_try_hold(const cn_tenant *t, const cn_seg_id *id, int *ret_fd) {
    char path[CN_PATH_MAX];
    CN_TRY(cn_seg_path(t, id, NULL, path, sizeof path));
    return cn_lock_file(path, false, ret_fd);
}

static cn_err wait_for(const cn_tenant *t, const cn_seg_id *id, int *ret_fd) {
    cn_err e = cn_seg_try_hold(t, id, ret_fd);
    for (int i = 0; e == CN_CONFLICT && i < HOLD_TRIES; i++) {
        usleep(HOLD_US);
        e = cn_seg_try_hold(t, id, ret_fd);
    }
    return e;
}

/* ---------- closing ---------- */

static void free_writer(cn_segw *w, bool unlink_file) {
    cn_behind_free(w->disk);
    if (unlink_file && w->path)
        unlink(w->path);
    cn_env_close(w->env);
    if (w->lock_fd >= 0)
        close(w->lock_fd);
    cn_buf *bufs[] = {&w->docs, &w->offsets, &w->text, &w->classes, &w->sources, &w->class_bytes, &w->key_of_class, &w->record, &w->note};
    for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++)
        cn_buf_done(bufs[i]);
    for (uint32_t i = 0; w->source_names && i < w->head.sources; i++)
        cn_free((void *)(uintptr_t)w->source_names[i].p);
    cn_free(w->source_names);
    cn_table_done(&w->keys);
    cn_table_done(&w->class_table);
    cn_free(w->class_at);
    cn_free(w->ids);
    cn_free(w->vecs);
    cn_free(w->path);
    cn_free(w);
}

void cn_segw_abort(cn_segw *w) {
    if (w)
        free_writer(w, true);
}

void cn_segw_leave(cn_segw *w) {
    if (!w)
        return;
    cn_segw_commit(w); /* what fails here is what a kill would have lost */
    free_writer(w, false);
}

void cn_segw_abandon(const cn_tenant *t, const cn_seg_id *id) {
    char path[CN_PATH_MAX];
    const struct timespec long_ago[2] = {{0}, {0}};
    if (cn_seg_path(t, id, NULL, path, sizeof path) == CN_OK)
        utimensat(AT_FDCWD, path, long_ago, AT_SYMLINK_NOFOLLOW); /* where it fails the sweep comes later */
}

/* ---------- new ---------- */

cn_err cn_segw_alloc(cn_segw *w) {
    cn_buf_init(&w->docs, (size_t)CN_RECORD_MAX + CN_SMALL_BLOCK);
    cn_buf_init(&w->offsets, 4u * CN_SEGMENT_ROWS_MAX);
    cn_buf_init(&w->text, CN_SMALL_BLOCK);
    cn_buf_init(&w->classes, CN_CLASS_BYTES_MAX);
    cn_buf_init(&w->class_bytes, CN_CLASS_BYTES_MAX);
    cn_buf_init(&w->key_of_class, 3u * CN_LABELS_MAX * (CN_LABEL_MAX + 4) + 64);
    cn_buf_init(&w->record, CN_RECORD_MAX);
    cn_buf_init(&w->note, 1 << 20);
    cn_buf_init(&w->sources, CN_SOURCES_MAX * (CN_NAME_MAX + 4));
    w->ids = cn_alloc(CN_IDS_BLOCK * sizeof *w->ids);
    w->vecs = w->head.dim ? cn_alloc_aligned(64, (size_t)w->head.block_rows * w->head.dim * sizeof(float)) : NULL;
    return w->ids && (w->vecs || !w->head.dim) ? CN_OK : cn_fail_memory();
}

/* held: a number that holds the file already; -1: none. */
static cn_err new_writer(cn_tenant *t, const cn_seg_id *id, bool create, int held, cn_segw **ret) {
    char path[CN_PATH_MAX];
    CN_TRY(cn_tenant_still(t));
    CN_TRY(cn_seg_path(t, id, NULL, path, sizeof path));
    cn_segw *w = cn_calloc(1, sizeof *w);
    if (!w)
        return cn_fail_memory();
    w->id = *id;
    w->lock_fd = -1;
    w->path = cn_strdup_n(path, strlen(path));
    cn_err e = !w->path ? cn_fail_memory() : held < 0 ? cn_lock_file(path, create, &w->lock_fd) : CN_OK;
    if (e == CN_OK)
        e = cn_env_open(path, CN_ENV_BUILD, create, &w->env);
    if (e == CN_OK)
        e = cn_behind_new(w->env, id, &w->disk);
    if (e != CN_OK) {
        free_writer(w, create && w->lock_fd >= 0);
        return e;
    }
    *ret = w;
    return CN_OK;
}

static cn_err start(cn_segw *w, uint32_t dim) {
    w->head = (cn_seg_head){.format = CN_SEG_FORMAT, .state = CN_SEG_OPEN, .dim = dim, .block_rows = cn_seg_block_rows(dim), .made_us = cn_wall_us()};
    CN_TRY(cn_segw_alloc(w));
    w->changed = true;
    return cn_segw_commit(w); /* from here on it can be taken up again */
}

cn_err cn_segw_new(cn_tenant *t, uint32_t dim, cn_segw **ret) {
    cn_seg_id id;
    cn_segw *w = NULL;
    if (dim > CN_DIM_MAX)
        return cn_fail(CN_INVALID, "vectors of %u dimensions; at most %d", dim, CN_DIM_MAX);
    cn_random(&id, sizeof id);
    CN_TRY(new_writer(t, &id, true, -1, &w));
    cn_err e = start(w, dim);
    if (e != CN_OK) {
        free_writer(w, true);
        return e;
    }
    *ret = w;
    return CN_OK;
}

/* ---------- taken up again ---------- */

static cn_err damaged(const cn_segw *w, const char *what) { return cn_fail_file(w->path, ": %s", what); }

static cn_err take_classes(cn_segw *w, const cn_rows *r) {
    uint32_t want = r->head.classes;
    w->head.classes = 0;
    for (uint32_t b = 0; b < r->head.class_blocks; b++) {
        cn_str p = {NULL, 0};
        cn_class_iter it = {0};
        CN_TRY(cn_classes_begin(&it, r, b, &p));
        for (cn_str bytes; cn_class_next(&it, p, &bytes);) {
            uint32_t number = w->head.classes, got;
            CN_TRY(cn_segw_class_add(w, bytes, &got));
            if (got != number)
                return damaged(w, "a class comes twice");
        }
        if (it.left)
            return damaged(w, "a block of classes is cut short");
    }
    cn_buf_reset(&w->classes); /* they are in closed blocks already */
    w->classes_first = w->head.classes;
    return w->head.classes == want ? CN_OK : damaged(w, "classes are missing");
}

static cn_err take_keys(cn_segw *w, const cn_rows *r) {
    const cn_id_rec *rec = NULL;
    for (uint32_t doc = 0; doc < r->head.docs; doc++) {
        CN_TRY(cn_rows_id(r, doc, &rec));
        CN_TRY(cn_table_add(&w->keys, cn_digest_hash(&rec->key), doc));
        if (doc / CN_IDS_BLOCK == r->head.docs / CN_IDS_BLOCK)
            w->ids[doc % CN_IDS_BLOCK] = *rec;
    }
    return CN_OK;
}

static cn_err take_sources(cn_segw *w, const cn_rows *r) {
    CN_AUTO_FREE cn_str *names = cn_calloc(r->head.sources + 1ull, sizeof *names);
    uint32_t got;
    if (!names)
        return cn_fail_memory();
    CN_TRY(cn_rows_sources(r, names));
    w->head.sources = 0;
    for (uint32_t i = 0; i < r->head.sources; i++)
        CN_TRY(cn_segw_source_add(w, names[i], &got));
    return w->head.sources == r->head.sources ? CN_OK : damaged(w, "a source comes twice");
}

static cn_err take_note(cn_segw *w, cn_blocks *b) {
    uint32_t n;
    cn_str p;
    uint32_t at = cn_blocks_first(b, 'n', 0, &n);
    if (n == 0)
        return CN_OK;
    CN_TRY(cn_blocks_get(b, at, &p));
    cn_buf_add(&w->note, p.p, p.n);
    return cn_buf_check(&w->note);
}

static cn_err take_vecs(cn_segw *w, const cn_rows *r) {
    uint32_t open = r->head.dim ? r->head.rows % r->head.block_rows : 0;
    if (open)
        memcpy(w->vecs, cn_block_raw(r->blocks, r->vec0 + r->head.rows / r->head.block_rows).p, (size_t)open * r->head.dim * sizeof(float));
    return CN_OK;
}

static cn_err take_all(cn_segw *w, cn_blocks *b, cn_rows *r) {
    CN_TRY(cn_blocks_verify(b, 0, b->n)); /* the machine may have died, not only the job */
    CN_TRY(cn_rows_load(r, b));
    w->head = r->head;
    w->head.state = CN_SEG_OPEN;
    w->docs_first = r->head.docs;
    CN_TRY(cn_segw_alloc(w));
    CN_TRY(take_sources(w, r));
    CN_TRY(take_classes(w, r));
    CN_TRY(take_keys(w, r));
    CN_TRY(take_vecs(w, r));
    return take_note(w, b);
}

/* How many blocks of a kind the header counts; what lies beyond was written for documents that were not finished. */
static uint32_t counted(const cn_seg_head *h, uint32_t kind) {
    switch (kind) {
    case 'd': return h->doc_blocks;
    case 't': return h->text_blocks;
    case 'c': return h->class_blocks;
    case 'i': return cn_blocks_for(h->docs, CN_IDS_BLOCK);
    case 'v': return cn_blocks_for(h->dim ? h->rows : 0, h->block_rows);
    case 'h':
    case 'n': return 1;
    default: return 0; /* arrays, class rows, parts: of a sealing that did not come to its end, or was not named */
    }
}

static cn_err drop_uncounted(cn_segw *w) {
    cn_blocks b;
    cn_seg_head head;
    MDB_txn *txn;
    MDB_dbi dbi;
    CN_TRY(cn_segw_lend(w, &b));
    cn_err e = cn_behind_txn(w->disk, &txn, &dbi);
    if (e == CN_OK)
        e = cn_rows_head(&b, &head);
    for (uint32_t i = 0; e == CN_OK && i < b.n; i++)
        if (b.v[i].head->b >= counted(&head, b.v[i].head->kind)) {
            char key[256];
            cn_str k = {key, b.v[i].key.n};
            memcpy(key, b.v[i].key.p, b.v[i].key.n < sizeof key ? b.v[i].key.n : sizeof key);
            e = k.n <= sizeof key ? cn_db_del(txn, dbi, k) : damaged(w, "a key is too long");
        }
    cn_blocks_done(&b);
    CN_TRY(e);
    return cn_behind_commit(w->disk);
}

static cn_err resume(cn_segw *w) {
    cn_blocks b;
    cn_rows r = {0};
    CN_TRY(drop_uncounted(w));
    CN_TRY(cn_segw_lend(w, &b));
    cn_err e = take_all(w, &b, &r);
    cn_rows_done(&r);
    cn_blocks_done(&b);
    w->changed = true; /* its header may say that it is sealed, which it is not with the first step that adds to it */
    CN_TRY(e);
    CN_TRY(cn_segw_commit(w)); /* so that what was dropped is not of the last commit, */
    w->changed = true;
    CN_TRY(cn_segw_commit(w)); /* nor are the open blocks that were longer before */
    return cn_env_blank(w->path);
}

cn_err cn_segw_open_again(cn_tenant *t, const cn_seg_id *id, cn_segw **ret) {
    cn_segw *w = NULL;
    int fd;
    CN_TRY(wait_for(t, id, &fd)); /* of somebody who only looks into it there is nothing left then */
    cn_err e = new_writer(t, id, false, fd, &w);
    if (e != CN_OK) {
        close(fd);
        return e;
    }
    w->lock_fd = fd;
    e = resume(w);
    if (e != CN_OK) {
        free_writer(w, false);
        return e;
    }
    *ret = w;
    return CN_OK;
}

/* ---------- left by whoever built it ---------- */

static cn_err each_key(cn_blocks *b, const cn_seg_head *h, cn_segw_key_fn *fn, void *ctx) {
    uint32_t n, first = cn_blocks_first(b, 'i', 0, &n);
    cn_str p = {NULL, 0};
    for (uint32_t doc = 0; doc < h->docs; doc++) {
        uint32_t block = doc / CN_IDS_BLOCK, at = doc % CN_IDS_BLOCK;
        if (at == 0 && block < n)
            CN_TRY(cn_blocks_get(b, first + block, &p));
        if (block >= n || (at + 1) * sizeof(cn_id_rec) > p.n)
            return cn_fail_file(b->path, ": keys are missing");
        CN_TRY(fn(ctx, &((const cn_id_rec *)(const void *)p.p)[at].key));
    }
    return CN_OK;
}

static cn_err look(cn_segw *w, cn_segw_key_fn *fn, void *ctx, cn_seg_head *ret) {
    cn_blocks b;
    CN_TRY(cn_segw_lend(w, &b));
    cn_err e = cn_rows_head(&b, ret);
    if (e == CN_OK)
        e = each_key(&b, ret, fn, ctx);
    cn_blocks_done(&b);
    return e;
}

cn_err cn_segw_look(cn_tenant *t, const cn_seg_id *id, int held, cn_segw_key_fn *fn, void *ctx, cn_segw_left *ret) {
    cn_segw *w = NULL;
    cn_seg_head head;
    CN_TRY(new_writer(t, id, false, held, &w));
    cn_err e = look(w, fn, ctx, &head);
    free_writer(w, false);
    if (e == CN_OK)
        *ret = (cn_segw_left){head.made_us, head.state != CN_SEG_SEALED};
    return e;
}

static cn_err no_key(void *ctx, const cn_key *key) {
    (void)ctx, (void)key;
    return CN_OK;
}

cn_err cn_segw_clean(cn_tenant *t, const cn_seg_id *id, int held) {
    cn_segw *w = NULL;
    cn_seg_head head;
    CN_TRY(new_writer(t, id, false, held, &w));
    cn_err e = look(w, no_key, NULL, &head);
    if (e == CN_OK && head.state == CN_SEG_SEALED)
        e = cn_fail(CN_CONFLICT, "%s was sealed meanwhile", w->path);
    if (e == CN_OK && (e = resume(w)) == CN_OK && (e = cn_env_sync(w->env)) == CN_OK) { /* the time says that it is clean: only after that is on the disk */
        w->head.made_us = cn_wall_us();
        w->changed = true;
        e = cn_segw_commit(w);
    }
    free_writer(w, false);
    return e;
}

/* ---------- sealing ---------- */

static cn_err digest_of(cn_segw *w, cn_digest *ret) {
    cn_blocks b;
    CN_TRY(cn_segw_lend(w, &b));
    *ret = b.digest;
    cn_blocks_done(&b);
    return CN_OK;
}

/* What a failed sync did not write may be gone from the cache too, though reading it again shows it: nothing of it is kept. */
static cn_err sync_file(cn_segw *w) {
    cn_err e = cn_env_sync(w->env);
    if (e != CN_OK)
        unlink(w->path);
    return e;
}

static cn_err seal(cn_segw *w, cn_digest *ret) {
    char dir[CN_PATH_MAX];
    CN_TRY(cn_segw_commit(w));
    CN_TRY(cn_segw_finish(w));
    w->head.state = CN_SEG_SEALED;
    CN_TRY(cn_segw_flush_all(w));
    CN_TRY(cn_behind_commit(w->disk));
    CN_TRY(digest_of(w, ret));
    CN_TRY(cn_env_fill(w->env));
    CN_TRY(sync_file(w));
    CN_TRY(cn_path(dir, sizeof dir, "%.*s", (int)(strrchr(w->path, '/') - w->path), w->path));
    return cn_dir_sync(dir);
}

cn_err cn_segw_seal_held(cn_segw *w, cn_digest *ret_digest, int *ret_held) {
    cn_digest digest;
    cn_err e = seal(w, &digest);
    *ret_held = e == CN_OK ? w->lock_fd : -1;
    if (e == CN_OK)
        w->lock_fd = -1;
    free_writer(w, false); /* also after a failure: a resume may mend what a full disk cut short */
    if (e == CN_OK)
        *ret_digest = digest;
    return e;
}

cn_err cn_segw_seal(cn_segw *w, cn_digest *ret_digest) {
    int held;
    cn_err e = cn_segw_seal_held(w, ret_digest, &held);
    if (held >= 0)
        close(held);
    return e;
}
