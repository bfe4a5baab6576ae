#include "index/catalog/compact.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "index/catalog/compact_inside.h"
#include "index/catalog/leftover.h"
#include "index/catalog/sweep.h"
#include "index/control/audit.h"
#include "index/store/dir.h"

#define TRIES 3          /* copies, when documents are erased and restored meanwhile */
#define WAIT_US 200000
#define WAIT_MORE_US ((int64_t)10 * 1000000)
#define GIVEN_WAY_US 20000

typedef struct job {
    cn_tenant *t;
    cn_str index;
    const cn_compact_opts *o;
    const cn_actor *who;
    cn_arena *a;
    cn_policy *policy;
    cn_survey s;
    cn_candidate *c;
    uint32_t *group, n_groups;
    cn_rewrite *made;
    cn_compact_result got;
} job;

/* CN_CONFLICT: somebody has it. */
static cn_err lock_file(cn_tenant *t, const char *name, int *ret_fd) {
    char path[CN_PATH_MAX];
    CN_TRY(cn_path(path, sizeof path, "%s/%s", cn_tenant_dir(t), name));
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return cn_fail_errno(errno, "opening %s", path);
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
        *ret_fd = fd;
        return CN_OK;
    }
    int why = errno;
    close(fd);
    return why == EWOULDBLOCK ? cn_fail(CN_CONFLICT, "another compaction of this tenant is under way; wait for it") : cn_fail_errno(why, "locking %s", path);
}

/* ---------- giving way ---------- */
/* Whoever compacts by tiers has merge.lock too, empty; who waits for it writes there. */
typedef struct merging {
    const cn_compact_opts *asked;
    int fd;
} merging;

static bool goes_on(void *ctx, uint64_t bytes) {
    const merging *m = ctx;
    struct stat st;
    return (fstat(m->fd, &st) < 0 || st.st_size == 0) && m->asked->pace(m->asked->pace_ctx, bytes);
}

/* False: nobody compacts by tiers. */
static bool ask_for_way(cn_tenant *t) {
    char path[CN_PATH_MAX];
    if (cn_path(path, sizeof path, "%s/merge.lock", cn_tenant_dir(t)) != CN_OK)
        return false;
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    bool works = fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK;
    bool asked = works && pwrite(fd, "", 1, 0) == 1;
    if (fd >= 0)
        close(fd);
    return asked;
}

static cn_err lock(cn_tenant *t, int *ret_fd) {
    for (uint64_t until_ns = cn_mono_ns() + CN_COMPACT_WAIT_S * (uint64_t)1000000000;;) {
        cn_err e = lock_file(t, "compact.lock", ret_fd);
        if (e != CN_CONFLICT || cn_mono_ns() > until_ns || !ask_for_way(t))
            return e;
        usleep(GIVEN_WAY_US);
    }
}

/* ---------- the plan ---------- */
typedef struct keys {
    const roaring_bitmap_t *kept;
    uint64_t *v;
    uint32_t n;
} keys;

static cn_err add_key(void *ctx, const cn_key *key, const cn_digest *leaf, uint32_t doc) {
    keys *k = ctx;
    (void)leaf;
    if (roaring_bitmap_contains(k->kept, doc))
        k->v[k->n++] = cn_be64((const char *)key->b);
    return CN_OK;
}

static cn_err keys_of(void *ctx, uint32_t i, uint64_t **ret, uint32_t *ret_n) {
    const job *j = ctx;
    const cn_surveyed *x = &j->s.segs[i];
    keys k = {x->kept, cn_alloc((roaring_bitmap_get_cardinality(x->kept) + 1) * sizeof *k.v), 0};
    if (!k.v)
        return cn_fail_memory();
    cn_err e = cn_seg_bucket(x->seg, 0, 0, add_key, &k); /* in the order of keys */
    if (e != CN_OK) {
        cn_free(k.v);
        return e;
    }
    *ret = k.v;
    *ret_n = k.n;
    return CN_OK;
}

static uint32_t kept_rows(const cn_surveyed *x) {
    const uint32_t *first = cn_seg_doc_row(x->seg);
    uint32_t rows = 0;
    roaring_uint32_iterator_t it;
    for (roaring_init_iterator(x->kept, &it); it.has_value; roaring_advance_uint32_iterator(&it))
        rows += roaring_bitmap_contains(x->erased, it.current_value) ? 0 : first[it.current_value + 1] - first[it.current_value];
    return rows;
}

static cn_candidate candidate(const cn_surveyed *x, bool tiers) {
    uint32_t docs = cn_seg_docs(x->seg), kept = (uint32_t)roaring_bitmap_get_cardinality(x->kept), rows = kept_rows(x), all = cn_seg_rows(x->seg);
    double share = all ? (double)rows / all : docs ? (double)kept / docs : 1;
    bool erased = !roaring_bitmap_is_empty(x->erased);
    return (cn_candidate){.bytes = (uint64_t)((double)x->bytes * share), .class_bytes = cn_seg_class_bytes(x->seg), .docs = kept, .rows = rows,
                          .sources = cn_seg_sources(x->seg), .space = x->space, .must = tiers ? 2 * kept < docs : kept < docs || erased, .stays = tiers && erased};
}

static cn_err plan(job *j) {
    CN_TRY(cn_policy_load(j->t, &j->policy));
    CN_TRY(cn_survey_open(j->t, j->index, j->policy, j->a, &j->s));
    j->c = cn_arena_zalloc(j->a, j->s.n + 1u, sizeof *j->c);
    j->group = cn_arena_zalloc(j->a, j->s.n + 1u, sizeof *j->group);
    if (!j->c || !j->group)
        return cn_fail_memory();
    for (uint32_t i = 0; i < j->s.n; i++)
        j->c[i] = candidate(&j->s.segs[i], j->o->tiers);
    if (!j->o->erased)
        return cn_compact_pick(j->c, j->s.n, j->o->tiers, keys_of, j, j->group, &j->n_groups);
    for (uint32_t i = 0; i < j->s.n; i++)
        j->group[i] = roaring_bitmap_is_empty(j->s.segs[i].erased) ? CN_STAYS : j->n_groups++;
    return CN_OK;
}

static void count(job *j) {
    cn_compact_result *r = &j->got;
    *r = (cn_compact_result){.segments_before = j->s.n, .segments_after = j->n_groups, .made = j->n_groups, .erased = j->o->tiers ? 0 : j->s.erased};
    for (uint32_t i = 0; i < j->s.n; i++) {
        bool stays = j->group[i] == CN_STAYS;
        r->dropped += stays ? 0 : cn_seg_docs(j->s.segs[i].seg) - roaring_bitmap_get_cardinality(j->s.segs[i].kept);
        r->bytes_before += j->s.segs[i].bytes;
        r->bytes_after += stays ? j->s.segs[i].bytes : j->c[i].bytes;
        r->segments_after += stays;
        r->rewritten += !stays;
    }
}

/* ---------- doing it ---------- */
static cn_err make_one(job *j, uint32_t group) {
    cn_surveyed **from = cn_arena_zalloc(j->a, j->s.n + 1u, sizeof *from);
    uint32_t n = 0;
    if (!from)
        return cn_fail_memory();
    for (uint32_t i = 0; i < j->s.n; i++)
        if (j->group[i] == group)
            from[n++] = &j->s.segs[i];
    return cn_rewrite_make(&j->s, from, n, j->o, &j->made[group]);
}

static cn_err make_all(job *j) {
    j->made = cn_arena_zalloc(j->a, j->n_groups + 1u, sizeof *j->made);
    if (!j->made)
        return cn_fail_memory();
    for (uint32_t g = 0; g < j->n_groups; g++)
        CN_TRY(make_one(j, g));
    for (uint32_t i = 0; i < j->s.n; i++) /* now exactly */
        j->got.bytes_after -= j->group[i] == CN_STAYS ? 0 : j->c[i].bytes;
    for (uint32_t g = 0; g < j->n_groups; g++)
        j->got.bytes_after += cn_files_bytes(j->t, &j->made[g].part.id);
    return CN_OK;
}

static cn_err pack_detail(const job *j, cn_buf *b) {
    const cn_compact_result *r = &j->got;
    cn_pack_cstr(b, "files_before"), cn_pack_uint(b, r->segments_before);
    cn_pack_cstr(b, "files_after"), cn_pack_uint(b, r->segments_after);
    cn_pack_cstr(b, "bytes_before"), cn_pack_uint(b, r->bytes_before);
    cn_pack_cstr(b, "bytes_after"), cn_pack_uint(b, r->bytes_after);
    cn_pack_cstr(b, "dropped"), cn_pack_uint(b, r->dropped);
    cn_pack_cstr(b, "erased"), cn_pack_uint(b, r->erased);
    cn_pack_cstr(b, "documents"), cn_pack_array(b, j->o->tiers ? 0 : j->s.n_told);
    cn_buf_add(b, j->s.told.p, j->o->tiers ? 0 : j->s.told.n);
    return cn_buf_check(b);
}
#define DETAIL_FIELDS 7

static cn_err put_in_place(job *j, bool *ret_again) {
    CN_AUTO_BUF cn_buf detail;
    cn_buf_init(&detail, 65536);
    CN_TRY(pack_detail(j, &detail));
    cn_switch w = {.s = &j->s, .made = j->made, .n = j->n_groups, .who = j->who, .index = j->index, .detail = cn_buf_str(&detail),
                   .detail_fields = DETAIL_FIELDS};
    cn_err e = cn_switch_all(&w);
    j->got.versions = w.versions;
    *ret_again = w.stale && w.versions == 0;
    for (uint32_t g = 0; g < j->n_groups; g++)
        cn_rewrite_done(&j->made[g], j->t, e != CN_OK && !w.unsure && w.versions == 0);
    return e;
}

static cn_err raise_epoch(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    (void)c;
    return cn_epoch_raise(ctx, txn, NULL);
}

/* Views that were made before do without them: after a new epoch they are made anew. */
static cn_err add_kinds(job *j) {
    bool any = false, made;
    for (uint32_t i = 0; i < j->s.n; i++)
        if (j->group[i] == CN_STAYS) {
            CN_TRY(cn_compact_kind(&j->s, &j->s.segs[i], j->o, &made));
            any |= made;
        }
    return any ? cn_catalog_write(j->t, raise_epoch, j->t) : CN_OK;
}

static cn_err do_it(job *j, bool *ret_again) {
    if (j->o->dry)
        return CN_OK;
    CN_TRY(j->o->erased || j->o->tiers ? CN_OK : add_kinds(j));
    if (j->n_groups == 0)
        return CN_OK;
    cn_err e = make_all(j);
    if (e == CN_OK)
        return put_in_place(j, ret_again);
    for (uint32_t g = 0; j->made && g < j->n_groups; g++)
        cn_rewrite_done(&j->made[g], j->t, true);
    return e;
}

static cn_err try_once(job *j, bool *ret_again) {
    CN_CATALOG_ARENA(a);
    j->a = &a;
    j->n_groups = 0;
    *ret_again = false;
    cn_err e = plan(j);
    if (e == CN_OK) {
        count(j);
        e = do_it(j, ret_again);
    }
    cn_survey_close(&j->s);
    cn_policy_unref(j->policy);
    j->policy = NULL;
    j->made = NULL;
    return e;
}

/* ---------- old files ---------- */
static cn_err remove_old(job *j) {
    cn_gc_result gone = {0};
    cn_pending p;
    for (uint64_t until_ns = 0;;) {
        cn_err e = cn_catalog_sweep(j->t, j->who, &gone);
        if (e != CN_OVERLOADED) /* by others' changes: then they stay pending */
            CN_TRY(e);
        CN_TRY(cn_catalog_pending(j->t, &p));
        if (!until_ns) {
            int64_t left = p.due_us - cn_wall_us();
            until_ns = cn_mono_ns() + (uint64_t)((left > 0 ? left : 0) + WAIT_MORE_US) * 1000;
        }
        if (p.files == 0 || !j->o->wait || cn_mono_ns() > until_ns)
            break;
        usleep(WAIT_US);
    }
    j->got.files = gone.files;
    j->got.pending = p.files;
    j->got.due_us = p.due_us;
    return CN_OK;
}

static cn_err let_go_leftovers(job *j) {
    cn_policy *p;
    CN_TRY(cn_policy_load(j->t, &p));
    cn_err e = cn_leftovers_let_go(j->t, j->index, p, j->who);
    cn_policy_unref(p);
    return e;
}

/* The old files go whatever a leftover's failure was. */
static cn_err let_go_all(job *j) {
    char why[CN_ERROR_TEXT];
    cn_err e = let_go_leftovers(j);
    snprintf(why, sizeof why, "%s", cn_error_detail());
    CN_TRY(remove_old(j));
    return e == CN_OK ? CN_OK : cn_fail(e, "%s", why);
}

static cn_err all_of_it(job *j) {
    bool again = true;
    cn_err e = j->o->dry ? CN_OK : cn_modes_let_write(j->t, j->index);
    CN_TRY(e);
    for (int i = 0; j->index.n && i < TRIES && again; i++)
        e = try_once(j, &again);
    CN_TRY(e);
    return j->o->dry || j->o->tiers ? CN_OK : let_go_all(j);
}

static cn_err by_tiers(cn_tenant *t, cn_str index, const cn_compact_opts *o, const cn_actor *who, cn_compact_result *ret) {
    merging m = {o, -1};
    cn_compact_opts giving_way = *o;
    job j = {.t = t, .index = index, .o = &giving_way, .who = who};
    int fd = -1;
    giving_way.pace = goes_on;
    giving_way.pace_ctx = &m;
    CN_ASSERT(o->pace);
    CN_TRY(lock_file(t, "merge.lock", &m.fd));
    cn_err e = ftruncate(m.fd, 0) < 0 ? cn_fail_errno(errno, "the merge.lock of %s", cn_tenant_dir(t)) : lock_file(t, "compact.lock", &fd);
    if (e == CN_OK)
        e = all_of_it(&j);
    if (fd >= 0)
        close(fd);
    close(m.fd);
    *ret = j.got;
    return e;
}

cn_err cn_version_compact(cn_tenant *t, cn_str index, const cn_compact_opts *o, const cn_actor *who, cn_compact_result *ret) {
    job j = {.t = t, .index = index, .o = o, .who = who};
    int fd = -1;
    if (o->tiers)
        return by_tiers(t, index, o, who, ret);
    cn_err e = who->reason.n > CN_REASON_MAX ? cn_fail(CN_INVALID, "the reason has %zu bytes; at most %d are kept", who->reason.n, CN_REASON_MAX) : lock(t, &fd);
    if (e == CN_OK)
        e = all_of_it(&j);
    if (fd >= 0)
        close(fd);
    if (e != CN_OK)
        return o->dry ? e : cn_refused(t, e, who, "version.compact", index);
    *ret = j.got;
    return CN_OK;
}
