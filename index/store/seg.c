#include <sys/stat.h>

#include "engine/base/mem.h"
#include "index/store/dir.h"
#include "index/store/seg_inside.h"
#include "index/store/stripes.h"

#define BUCKETS 4096

/* Open segments, each once: keyed by its environment, which the other registry keeps once a file. */
static pthread_mutex_t registry = PTHREAD_MUTEX_INITIALIZER;
static cn_stripes stripes = CN_STRIPES_INIT; /* by environment */
static cn_seg *segs[BUCKETS]; /* those that are open */

static cn_seg **bucket_of(const cn_env *env) {
    uint32_t h = cn_hash_bytes(CN_HASH_BEGIN, (cn_str){(const char *)&env, sizeof env});
    return &segs[(h ^ h >> 16) % BUCKETS];
}

static cn_err damaged(const cn_seg *s, const char *what) { return cn_fail_file(s->blocks.path, ": %s", what); }

static void free_seg(cn_seg *s) {
    while (s->made) {
        cn_seg_made *m = s->made;
        s->made = m->next;
        m->done(m);
    }
    cn_free(s->labels);
    cn_free(s->classes);
    cn_free(s->sources);
    cn_free(s->vecs);
    cn_rows_done(&s->rows);
    cn_blocks_done(&s->blocks);
    cn_txn_abort(s->env, s->txn);
    cn_env_close(s->env);
    pthread_mutex_destroy(&s->lock);
    pthread_mutex_destroy(&s->making);
    cn_free(s);
}

/* ---------- arrays ---------- */

static cn_err load_array(cn_seg *s, enum cn_seg_array a, uint64_t n, uint32_t below) {
    cn_str p;
    uint32_t found, max = 0;
    uint32_t at = cn_blocks_first(&s->blocks, 'a', a, &found);
    if (found == 0)
        return damaged(s, "an array is missing");
    CN_TRY(cn_blocks_get(&s->blocks, at, &p));
    if (p.n != n * sizeof(uint32_t))
        return damaged(s, "an array has a wrong length");
    const uint32_t *v = (const uint32_t *)(const void *)p.p;
    for (uint64_t i = 0; i < n; i++)
        max = v[i] > max ? v[i] : max;
    if (n && max >= below)
        return damaged(s, "an array names what does not exist");
    s->arrays[a] = v;
    return CN_OK;
}

static cn_err check_doc_row(const cn_seg *s) {
    const uint32_t *v = s->arrays[CN_ARRAY_DOC_ROW];
    uint32_t docs = s->rows.head.docs, wrong = v[0] != 0 || v[docs] != s->rows.head.rows;
    for (uint32_t d = 0; d < docs; d++)
        wrong |= v[d] > v[d + 1];
    return wrong ? damaged(s, "the rows of its documents do not follow each other") : CN_OK;
}

static cn_err load_arrays(cn_seg *s) {
    const cn_seg_head *h = &s->rows.head;
    CN_TRY(load_array(s, CN_ARRAY_ROW_DOC, h->rows, h->docs));
    CN_TRY(load_array(s, CN_ARRAY_DOC_ROW, h->docs + 1ull, h->rows + 1));
    CN_TRY(load_array(s, CN_ARRAY_DOC_CLASS, h->docs, h->classes));
    CN_TRY(load_array(s, CN_ARRAY_ROW_RANK, h->rows, h->rows));
    CN_TRY(load_array(s, CN_ARRAY_BY_KEY, h->docs, h->docs));
    return check_doc_row(s);
}

static cn_err load_vecs(cn_seg *s) {
    s->n_vecs = cn_blocks_for(s->rows.head.dim ? s->rows.head.rows : 0, s->rows.head.block_rows);
    s->vecs = cn_alloc((s->n_vecs + 1ull) * sizeof *s->vecs);
    if (!s->vecs)
        return cn_fail_memory();
    for (uint32_t i = 0; i < s->n_vecs; i++) /* 64-byte aligned: cn_blocks_load() has looked */
        s->vecs[i] = (const float *)(const void *)cn_block_raw(&s->blocks, s->rows.vec0 + i).p;
    return CN_OK;
}

/* ---------- classes ---------- */

typedef cn_err class_fn(cn_seg *s, uint32_t number, cn_str bytes, uint64_t *labels);

/* Goes through all classes twice: once to count labels, once to fill them in. */
static cn_err each_class(cn_seg *s, class_fn *fn, uint64_t *labels) {
    uint32_t number = 0;
    for (uint32_t b = 0; b < s->rows.head.class_blocks; b++) {
        cn_class_iter it = {0};
        cn_str block, bytes;
        CN_TRY(cn_classes_begin(&it, &s->rows, b, &block));
        if (it.first != number)
            return damaged(s, "a block of classes is out of place");
        while (cn_class_next(&it, block, &bytes)) {
            if (number >= s->rows.head.classes)
                return damaged(s, "it has more classes than its header says");
            CN_TRY(fn(s, number++, bytes, labels));
        }
        if (it.left)
            return damaged(s, "a block of classes is cut short");
    }
    return number == s->rows.head.classes ? CN_OK : damaged(s, "classes are missing");
}

static cn_err count_labels(cn_seg *s, uint32_t number, cn_str bytes, uint64_t *labels) {
    uint32_t n[3];
    (void)s, (void)number;
    memcpy(n, bytes.p, sizeof n);
    *labels += (uint64_t)n[0] + n[1] + n[2];
    return CN_OK;
}

static cn_err fill_labels(cn_seg *s, uint32_t number, cn_str bytes, uint64_t *labels) {
    uint32_t n[3], len;
    cn_labels l[3];
    const char *p = bytes.p + sizeof n;
    memcpy(n, bytes.p, sizeof n);
    for (int i = 0; i < 3; i++) {
        l[i] = (cn_labels){s->labels + *labels, n[i]};
        for (uint32_t j = 0; j < n[i]; j++) {
            memcpy(&len, p, sizeof len);
            s->labels[(*labels)++] = (cn_str){p + sizeof len, len};
            p += sizeof len + len;
        }
    }
    s->classes[number] = (cn_triple){l[0], l[1], l[2]};
    return CN_OK;
}

static cn_err load_classes(cn_seg *s) {
    uint64_t labels = 0;
    CN_TRY(each_class(s, count_labels, &labels));
    s->classes = cn_alloc((s->rows.head.classes + 1ull) * sizeof *s->classes);
    s->labels = cn_alloc((labels + 1) * sizeof *s->labels);
    if (!s->classes || !s->labels)
        return cn_fail_memory();
    labels = 0;
    return each_class(s, fill_labels, &labels);
}

static cn_err load_class_rows(cn_seg *s) {
    uint32_t n, classes = s->rows.head.classes;
    uint32_t at = cn_blocks_first(&s->blocks, 'r', 0, &n);
    if (n != 1)
        return damaged(s, "the rows of its classes are missing");
    CN_TRY(cn_blocks_get(&s->blocks, at, &s->class_rows));
    const uint64_t *offset = (const uint64_t *)(const void *)s->class_rows.p;
    uint64_t head = (classes + 1ull) * sizeof *offset;
    if (s->class_rows.n < head || offset[0] != 0 || offset[classes] != s->class_rows.n - head)
        return damaged(s, "the rows of its classes are cut short");
    for (uint32_t c = 0; c < classes; c++)
        if (offset[c] > offset[c + 1])
            return damaged(s, "the rows of its classes are out of order");
    return CN_OK;
}

/* ---------- open and close ---------- */

static cn_err load(cn_seg *s) {
    MDB_dbi dbi;
    const char *path = cn_env_path(s->env);
    CN_TRY(cn_txn_read(s->env, &s->txn));
    CN_TRY(cn_mdb(mdb_dbi_open(s->txn, NULL, 0, &dbi), "reading %s", path));
    CN_TRY(cn_blocks_load(&s->blocks, path, &s->id, s->txn, dbi));
    CN_TRY(cn_rows_load(&s->rows, &s->blocks));
    if (s->rows.head.state != CN_SEG_SEALED)
        return damaged(s, "it was never finished");
    s->sources = cn_calloc(s->rows.head.sources + 1ull, sizeof *s->sources);
    if (!s->sources)
        return cn_fail_memory();
    CN_TRY(cn_rows_sources(&s->rows, s->sources));
    CN_TRY(load_arrays(s));
    CN_TRY(load_vecs(s));
    CN_TRY(load_classes(s));
    CN_TRY(load_class_rows(s));
    return cn_blocks_verify(&s->blocks, s->rows.ids0, cn_blocks_for(s->rows.head.docs, CN_IDS_BLOCK));
}

static cn_err check_digest(const cn_seg *s, const cn_digest *expect) {
    if (!expect || cn_digest_eq(&s->blocks.digest, expect))
        return CN_OK;
    return damaged(s, "it is not the file that the version names: its digest differs");
}

static cn_err open_new(cn_env *env, const cn_seg_id *id, const cn_digest *expect, cn_seg **ret) {
    cn_seg *s = cn_calloc(1, sizeof *s);
    if (!s)
        return cn_fail_memory();
    s->env = cn_env_ref(env);
    s->id = *id;
    s->refs = 1;
    pthread_mutex_init(&s->lock, NULL);
    pthread_mutex_init(&s->making, NULL);
    cn_err e = load(s);
    if (e == CN_OK)
        e = check_digest(s, expect);
    if (e != CN_OK) {
        free_seg(s);
        return e;
    }
    pthread_mutex_lock(&registry);
    s->next = *bucket_of(env);
    *bucket_of(env) = s;
    pthread_mutex_unlock(&registry);
    *ret = s;
    return CN_OK;
}

/* Under the file's stripe. */
static cn_err open_one(cn_env *env, const cn_seg_id *id, const cn_digest *expect, cn_seg **ret) {
    pthread_mutex_lock(&registry);
    cn_seg *s = *bucket_of(env);
    while (s && s->env != env)
        s = s->next;
    if (s)
        s->refs++;
    pthread_mutex_unlock(&registry);
    if (!s)
        return open_new(env, id, expect, ret);
    cn_err e = check_digest(s, expect);
    if (e == CN_OK)
        *ret = s;
    else
        cn_seg_close(s);
    return e;
}

cn_err cn_seg_open(cn_tenant *t, const cn_seg_id *id, const cn_digest *expect, cn_seg **ret) {
    char path[CN_PATH_MAX];
    cn_env *env;
    CN_TRY(cn_seg_path(t, id, NULL, path, sizeof path));
    cn_err e = cn_env_open(path, CN_ENV_SEALED, false, &env);
    if (e == CN_NOT_FOUND && expect) /* a version names it */
        return cn_fail_file(path, " is gone; bring it back from a backup, or activate another version");
    CN_TRY(e);
    pthread_mutex_t *stripe = cn_stripe(&stripes, &env, sizeof env);
    pthread_mutex_lock(stripe);
    e = open_one(env, id, expect, ret);
    pthread_mutex_unlock(stripe);
    cn_env_close(env); /* the segment has a reference of its own */
    return e;
}

cn_seg *cn_seg_ref(cn_seg *s) {
    pthread_mutex_lock(&registry);
    s->refs++;
    pthread_mutex_unlock(&registry);
    return s;
}

void cn_seg_close(cn_seg *s) {
    if (!s)
        return;
    pthread_mutex_lock(&registry);
    bool last = --s->refs == 0;
    if (last) {
        cn_seg **at = bucket_of(s->env);
        while (*at != s)
            at = &(*at)->next;
        *at = s->next;
    }
    pthread_mutex_unlock(&registry);
    if (last)
        free_seg(s);
}
