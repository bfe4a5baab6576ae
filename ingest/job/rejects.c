/* Rejected documents of jobs: kept with their reasons, and shown. */
#include <errno.h>

#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "index/store/fields.h"
#include "ingest/job/folders.h"
#include "ingest/job/tables.h"

#define REJECT_FORMAT 1
#define REJECT_BYTES ((size_t)64 << 10)
#define KEY_MAX (CN_JOB_ID_TEXT + 8)

static cn_str reject_key(const char *job, uint64_t seq, char key[KEY_MAX]) {
    size_t n = strlen(job);
    memcpy(key, job, n + 1);
    for (int i = 0; i < 8; i++)
        key[n + 1 + (size_t)i] = (char)(seq >> (8 * (7 - i)));
    return (cn_str){key, n + 9};
}

cn_err cn_rejects_add(cn_tenant *t, const char *job, const cn_reject *v, uint32_t n) {
    CN_CLEANUP(cn_tables_abort) cn_tables w = {0};
    CN_AUTO_BUF cn_buf b;
    char key[KEY_MAX];
    cn_buf_init(&b, REJECT_BYTES);
    CN_TRY(cn_tables_write(t, &w));
    for (uint32_t i = 0; i < n; i++) {
        cn_buf_reset(&b);
        size_t at = cn_record_open(&b, REJECT_FORMAT);
        cn_str of = reject_key(job, v[i].seq, key);
        cn_pack_map(&b, 5);
        cn_pack_cstr(&b, "doc"), cn_pack_str(&b, v[i].doc);
        cn_pack_cstr(&b, "where"), cn_pack_str(&b, v[i].where);
        cn_pack_cstr(&b, "why"), cn_pack_str(&b, v[i].why);
        cn_pack_cstr(&b, "skipped"), cn_pack_bool(&b, v[i].skipped);
        cn_pack_cstr(&b, "of"), cn_pack_bin(&b, of.p, of.n);
        cn_record_close(&b, at);
        CN_TRY(cn_buf_check(&b));
        CN_TRY(cn_db_put(w.txn, w.rejects, of, cn_buf_str(&b)));
    }
    return cn_tables_commit(&w);
}

/* Walks the entries of a job from `from` on; del: removes them. */
static cn_err walk(cn_tables *w, const char *job, uint64_t from, bool del, uint64_t *ret_n) {
    char first[KEY_MAX];
    cn_str k = reject_key(job, from, first);
    MDB_val key = {k.n, first}, value;
    MDB_cursor *c;
    uint64_t n = 0;
    CN_TRY(cn_mdb(cn_cursor_open(w->txn, w->rejects, &c), "job_rejects"));
    int rc = cn_cursor_get(c, &key, &value, MDB_SET_RANGE);
    while (rc == 0 && key.mv_size == k.n && memcmp(key.mv_data, job, k.n - 8) == 0) {
        n++;
        if (del)
            rc = mdb_cursor_del(c, 0);
        if (rc == 0)
            rc = cn_cursor_get(c, &key, &value, del ? MDB_GET_CURRENT : MDB_NEXT);
        if (del && rc == EINVAL) /* the last entry was removed */
            rc = MDB_NOTFOUND;
    }
    mdb_cursor_close(c);
    if (rc != 0 && rc != MDB_NOTFOUND)
        return cn_mdb(rc, "job_rejects");
    *ret_n = n;
    return CN_OK;
}

cn_err cn_rejects_cut(cn_tenant *t, const char *job, uint64_t from_seq) {
    CN_CLEANUP(cn_tables_abort) cn_tables w = {0};
    uint64_t n;
    CN_TRY(cn_tables_write(t, &w));
    CN_TRY(walk(&w, job, from_seq, true, &n));
    return cn_tables_commit(&w);
}

cn_err cn_rejects_count(cn_tenant *t, const char *job, uint64_t *ret) {
    CN_CLEANUP(cn_tables_abort) cn_tables w = {0};
    CN_TRY(cn_tables_read(t, &w));
    return walk(&w, job, 0, false, ret);
}

typedef struct lister {
    const cn_folders *hidden;
    cn_buf *out;
    uint32_t n;
} lister;

static void pack_why(const lister *l, cn_str why) {
    char text[CN_REASON_MAX];
    size_t n = why.n < sizeof text ? why.n : sizeof text;
    if (n)
        memcpy(text, why.p, n);
    cn_pack_str(l->out, (cn_str){text, cn_folders_cut(l->hidden, text, n)});
}

static cn_err list_one(void *ctx, cn_str key, cn_str value, bool *stop) {
    lister *l = ctx;
    (void)stop;
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    CN_TRY(cn_fields_in_place(key, value, CN_FIELD_OF));
    CN_TRY(cn_record_read(&u, value, REJECT_FORMAT, "a rejected document's entry"));
    if (u.o.type != MSGPACK_OBJECT_MAP)
        return cn_fail(CN_DAMAGED, "a rejected document's entry is no map");
    cn_pack_map(l->out, u.o.via.map.size - (cn_get(&u.o, "of") != NULL));
    for (uint32_t i = 0; i < u.o.via.map.size; i++) {
        const msgpack_object_kv *kv = &u.o.via.map.ptr[i];
        if (cn_str_is(cn_obj_str(&kv->key), "of"))
            continue;
        cn_pack_object(l->out, &kv->key);
        if (cn_str_is(cn_obj_str(&kv->key), "why"))
            pack_why(l, cn_obj_str(&kv->val));
        else
            cn_pack_object(l->out, &kv->val);
    }
    l->n++;
    return CN_OK;
}

static cn_err check_here(MDB_cursor *c, MDB_val key, MDB_cursor_op op) {
    MDB_val value;
    int rc = cn_cursor_get(c, &key, &value, op);
    if (rc == MDB_NOTFOUND)
        return CN_OK;
    CN_TRY(cn_mdb(rc, "job_rejects"));
    return cn_fields_in_place((cn_str){key.mv_data, key.mv_size}, (cn_str){value.mv_data, value.mv_size}, CN_FIELD_OF);
}

/* An entry whose key was damaged, and is still in order, lies right before or behind the others of its job. */
static cn_err check_beside(const cn_tables *w, const char *job) {
    CN_CLEANUP(cn_cursor_close) MDB_cursor *c = NULL;
    char first[KEY_MAX], last[KEY_MAX];
    cn_str from = reject_key(job, 0, first), to = reject_key(job, UINT64_MAX, last);
    MDB_val key = {from.n, first}, value;
    CN_TRY(cn_mdb(cn_cursor_open(w->txn, w->rejects, &c), "job_rejects"));
    int rc = cn_cursor_get(c, &key, &value, MDB_SET_RANGE);
    CN_TRY(check_here(c, key, rc == 0 ? MDB_PREV : MDB_LAST));
    return check_here(c, (MDB_val){to.n, last}, MDB_SET_RANGE);
}

cn_err cn_rejects_list(cn_tenant *t, const char *job, const cn_folders *hidden, cn_buf *out) {
    CN_CLEANUP(cn_tables_abort) cn_tables w = {0};
    lister l = {.hidden = hidden, .out = out};
    CN_TRY(cn_tables_read(t, &w));
    CN_TRY(check_beside(&w, job));
    size_t at = cn_pack_array_open(out);
    CN_TRY(cn_db_each(w.txn, w.rejects, (cn_str){job, strlen(job) + 1}, list_one, &l));
    cn_pack_array_close(out, at, l.n);
    return CN_OK;
}
