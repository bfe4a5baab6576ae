/* fuzz_disk.c -- what lies on disk with its checksums right: files derived from a segment, and every record of cairn.mdb, control.mdb,
 * work.mdb and trace.mdb.
 *
 * The first byte chooses (enum below). A derived file is a good one with edits as in fuzz_index.c. Of a database two bytes choose the
 * record, of all there are, and then come edits of its value: three bytes each, two of place and what is put there. Whatever is
 * taken must then work: be read, validated, asked.
 * Owns:    a tenant in a directory of its own, removed at the end.
 * Thread:  one.
 * Limits:  those of replay.h. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/cells/cells.h"
#include "engine/postings/postings.h"
#include "index/catalog/check.h"
#include "index/catalog/frozen.h"
#include "index/catalog/gate.h"
#include "index/catalog/sweep.h"
#include "index/policy/key.h"
#include "index/policy/principal.h"
#include "index/trace/trace.h"
#include "ingest/job/opts.h"
#include "ingest/job/rows.h"
#include "tests/fuzz/replay.h"
#include "tests/fuzz/edited.h"
#include "tests/index/small.h"

enum { POSTINGS, FLAT, CELLS, FAISS, HOST, CONTROL, WORK, TRACE, KINDS };
#define DERIVED 4
#define MANY 4096 /* rows: as many as have codes, so that there are cells over them */
#define K 8
static const char *const derived_kinds[DERIVED] = {CN_POSTINGS_KIND, CN_FLAT_KIND, CN_CELLS_KIND, CN_FAISS_KIND};
static int n_derived = DERIVED; /* one less in a build without FAISS */
#define FACTORY CN_STR("IVF16,SQ8")

/* A record: a database's name and a key. */
typedef struct place {
    char database[32];
    uint8_t key[600];
    size_t n;
} place;

typedef struct base {
    cn_env_kind kind;
    file f;
    place *v;
    uint32_t n, room;
} base;

static file derived[DERIVED];
static base bases[KINDS - DERIVED] = {{.kind = CN_ENV_CONTROL}, {.kind = CN_ENV_CONTROL}, {.kind = CN_ENV_WORK}, {.kind = CN_ENV_TRACE}};
static cn_seg *seg;
static cn_vecs vecs;
static cn_space space;
static cn_flat *flat;
static cn_arena arena, kept;
static cn_scratch *scratch;
static cn_cells_scratch *cells_scratch;
static cn_lookup_scratch *lookup;
static char job[CN_JOB_ID_TEXT];

/* ---------- derived files ---------- */
static void check_hits(const cn_scored *hits, uint32_t n) {
    for (uint32_t i = 0; i < n; i++)
        CN_ASSERT(n <= K && hits[i].row < MANY);
}

static cn_scan scan(void) {
    static const float q[SMALL_DIM] = {1, 2, 30, .5f};
    static uint64_t all[MANY / 64];
    memset(all, 0xff, sizeof all);
    return (cn_scan){.query = q, .k = K, .permitted = all, .n_permitted = MANY};
}

static void use_postings(cn_derived *d) {
    const cn_scan s = scan();
    const cn_wanted wanted[2] = {{.term = CN_STR("number"), .weight = 1}, {.term = CN_STR("7"), .weight = 2}};
    const cn_lookup q = {.terms = wanted, .n = 2, .k1 = 1.5f, .b = .75f, .mean = 3, .k = K, .floor = -INFINITY, .permitted = {s.permitted, MANY}};
    cn_postings *p;
    cn_scored hits[K];
    uint32_t n = 0;
    if (cn_postings_open(MANY, cn_derived_get, d, &p) != CN_OK)
        return;
    cn_postings_tokens(p, q.permitted);
    if (cn_postings_search(p, &q, lookup, hits, &n) == CN_OK)
        check_hits(hits, n);
    cn_postings_validate(p);
    cn_postings_close(p);
}

static void use_flat(cn_derived *d) {
    const cn_scan s = scan();
    cn_flat *f;
    cn_scored hits[K];
    uint32_t n = 0;
    if (cn_flat_open(&vecs, &space, cn_derived_get, d, &f) != CN_OK)
        return;
    if (cn_flat_staged(f, &s, scratch, hits, &n) == CN_OK)
        check_hits(hits, n);
    if (cn_flat_exact(f, &s, scratch, hits, &n) == CN_OK)
        check_hits(hits, n);
    cn_flat_close(f);
}

static void use_cells(cn_derived *d) {
    const cn_scan s = scan();
    cn_cells *c;
    cn_cells_told told;
    cn_scored hits[K];
    uint32_t n = 0;
    if (cn_cells_open(flat, cn_derived_get, d, &c) != CN_OK)
        return;
    if (cn_cells_search(c, &s, .95, scratch, cells_scratch, hits, &n, &told) == CN_OK)
        check_hits(hits, n);
    cn_cells_validate(c);
    cn_cells_close(c);
}

static void use_faiss(cn_derived *d) {
    const cn_scan s = scan();
    cn_faiss *x;
    cn_cells_told told;
    cn_scored hits[K];
    uint32_t n = 0;
    if (cn_faiss_open(flat, FACTORY, cn_derived_get, d, &x) != CN_OK)
        return;
    if (cn_faiss_search(x, &s, .95, scratch, hits, &n, &told) == CN_OK)
        check_hits(hits, n);
    cn_faiss_close(x);
}

static void use_derived(int kind, cn_str s) {
    static void (*const use[DERIVED])(cn_derived *d) = {use_postings, use_flat, use_cells, use_faiss};
    cn_derived *d;
    file *f = &derived[kind];
    file_edit(f, s);
    file_mend(f);
    file_put(f, f->bytes);
    if (cn_derived_open(seg, derived_kinds[kind], &d) == CN_OK) {
        use[kind](d);
        cn_derived_close(d);
    } else {
        CN_ASSERT(cn_error_detail()[0]);
    }
    file_put(f, f->good);
}

/* ---------- records ---------- */
static void close_tenant(void) {
    if (s_tenant)
        cn_tenant_unref(s_tenant);
    if (s_data)
        cn_data_close(s_data);
    s_tenant = NULL;
    s_data = NULL;
}

typedef struct noting {
    base *b;
    const char *database;
} noting;

static cn_err note(void *ctx, cn_str key, cn_str value, bool *stop) {
    noting *x = ctx;
    (void)value, (void)stop;
    CN_ASSERT(cn_grow(x->b->v, x->b->n, x->b->room) && key.n <= sizeof x->b->v->key);
    place *p = &x->b->v[x->b->n++];
    snprintf(p->database, sizeof p->database, "%s", x->database);
    memcpy(p->key, key.p, key.n);
    p->n = key.n;
    return CN_OK;
}

static cn_err note_database(void *ctx, cn_str key, cn_str value, bool *stop) {
    base *b = ctx;
    (void)value, (void)stop;
    return note(&(noting){b, ""}, key, value, stop);
}

/* Names of databases first, then the records of each in their place. */
static void note_all(base *b) {
    cn_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;
    CN_ASSERT(cn_env_open(b->f.path, b->kind, false, &env) == CN_OK && cn_txn_read(env, &txn) == CN_OK);
    CN_ASSERT(mdb_dbi_open(txn, NULL, 0, &dbi) == 0 && cn_db_each(txn, dbi, (cn_str){0}, note_database, b) == CN_OK);
    cn_txn_abort(env, txn);
    uint32_t names = b->n;
    for (uint32_t i = 0; i < names; i++) {
        char name[32];
        snprintf(name, sizeof name, "%.*s", (int)b->v[i].n, (const char *)b->v[i].key);
        CN_ASSERT(cn_env_dbi(env, name, false, &dbi) == CN_OK && cn_txn_read(env, &txn) == CN_OK);
        CN_ASSERT(cn_db_each(txn, dbi, (cn_str){0}, note, &(noting){b, name}) == CN_OK);
        cn_txn_abort(env, txn);
    }
    cn_env_close(env);
    b->n -= names;
    memmove(b->v, b->v + names, b->n * sizeof *b->v);
    CN_ASSERT(b->n > 0);
}

/* The value with edits; where it was a record it is one again. */
static void change(cn_str value, cn_str edits, cn_buf *out) {
    bool record = cn_record_holds(value);
    size_t at = record ? cn_record_open(out, (uint8_t)value.p[0]) : 0, from = out->n;
    cn_buf_add(out, value.p + from, value.n - from);
    for (; edits.n >= 3 && out->n > from; edits = (cn_str){edits.p + 3, edits.n - 3})
        out->p[from + ((size_t)(uint8_t)edits.p[0] << 8 | (uint8_t)edits.p[1]) % (out->n - from)] = edits.p[2];
    if (record)
        cn_record_close(out, at);
    CN_ASSERT(!out->failed);
}

static void edit_record(base *b, cn_str s) {
    CN_AUTO_BUF cn_buf now = {.cap = 1 << 22};
    const place *p = &b->v[((size_t)(uint8_t)s.p[0] << 8 | (uint8_t)s.p[1]) % b->n];
    cn_str key = {(const char *)p->key, p->n}, value;
    cn_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;
    CN_ASSERT(cn_env_open(b->f.path, b->kind, false, &env) == CN_OK && cn_env_dbi(env, p->database, false, &dbi) == CN_OK);
    CN_ASSERT(cn_txn_write(env, &txn) == CN_OK && cn_db_get(txn, dbi, key, &value) == CN_OK);
    change(value, (cn_str){s.p + 2, s.n - 2}, &now);
    CN_ASSERT(cn_db_put(txn, dbi, key, cn_buf_str(&now)) == CN_OK && cn_txn_commit(env, txn) == CN_OK);
    cn_env_close(env);
}

static void told(void *ctx, cn_str what, cn_err err) { (void)ctx, (void)what, (void)err; }
static cn_err each_key(void *ctx, const cn_key_info *k) { return (void)ctx, CN_ASSERT(strlen(k->id) < sizeof k->id), CN_OK; }
static cn_err each_member(void *ctx, cn_str principal, cn_labels l) { return (void)ctx, (void)principal, (void)l, CN_OK; }
static cn_err each_trace(void *ctx, const cn_trace_key *key, const msgpack_object *map, bool *stop) { return (void)ctx, (void)key, (void)map, (void)stop, CN_OK; }

static void ask_host(void) {
    char id[9];
    cn_digest secret;
    cn_key_info info;
    cn_key_list(s_data, CN_STR("acme"), each_key, NULL);
    CN_ASSERT(cn_key_split(CN_STR("cairn_aaaaaaaa_bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"), id, &secret) == CN_OK);
    CN_ASSERT(cn_key_check_secret(s_data, id, &secret, &arena, &info) != CN_OK);
}

static void ask_catalog(void) {
    cn_index_info *ix;
    cn_version *v;
    cn_labels l;
    cn_gate g;
    cn_gate_results r;
    cn_frozen_set *sets;
    cn_modes m;
    cn_pending pending;
    cn_digest head;
    uint64_t records;
    uint32_t n;
    int64_t due;
    cn_index_list(s_tenant, &arena, &ix, &n);
    cn_version_list(s_tenant, CN_STR("p"), &arena, &v, &n);
    cn_gate_get(s_tenant, CN_STR("p"), &arena, &g);
    cn_gate_results_of(s_tenant, CN_STR("p"), 1, &arena, &r);
    cn_frozen_sets(s_tenant, CN_STR("p"), &arena, &sets, &n);
    cn_modes_get(s_tenant, CN_STR("p"), &arena, &m);
    cn_principal_expand(s_tenant, CN_STR("user:ana"), &arena, &l);
    cn_member_list(s_tenant, each_member, NULL);
    cn_catalog_pending(s_tenant, &pending);
    cn_erasing_look(s_tenant, CN_STR("p"), &n, &due);
    cn_audit_verify(s_tenant, &records, &head);
    cn_tenant_check(s_tenant, told, NULL);
    for (uint64_t version = 0; version < 3; version++)
        s_sees("p", version, "public,group:x,group:y,user:v", "c");
    s_activate("p", 1);
    s_policy(CN_POLICY_DENY, "b", "user:w", &s_who);
    cn_version_gc(s_tenant, CN_STR("p"), true, &s_who, &(cn_gc_result){0});
}

static void ask_jobs(void) {
    CN_AUTO_BUF cn_buf out = {.cap = 1 << 22};
    cn_job_row row;
    cn_job_opts o = {0};
    cn_job_list(s_tenant, NULL, NULL, NULL, &out);
    cn_job_show(s_tenant, cn_str_of(job), true, NULL, &out);
    cn_job_labels labels;
    cn_job_labels_of(s_tenant, cn_str_of(job), CN_STR("a"), &arena, &labels);
    cn_job_row_init(&row);
    if (cn_jobs_get(s_tenant, cn_str_of(job), &row) == CN_OK)
        cn_opts_unpack(row.opts, &arena, &o);
    cn_job_row_done(&row);
    cn_job_cancel(s_tenant, cn_str_of(job), &s_who);
}

static void ask_trace(void) {
    cn_trace_scan sc = {.from_us = 0};
    cn_trace_state st;
    const cn_trace_limits few = {4096, CN_TRACE_KEEP_US};
    bool more;
    cn_trace_look(s_tenant, &st);
    cn_trace_each(s_tenant, &sc, each_trace, NULL);
    cn_trace_get(s_tenant, &(cn_trace_id){{1}}, each_trace, NULL);
    cn_trace_prune(s_tenant, &few, &more);
}

static void use_record(base *b, cn_str s) {
    if (s.n < 2)
        return;
    close_tenant();
    edit_record(b, s);
    if (cn_data_open(s_dir, &s_data) == CN_OK) {
        ask_host();
        if (cn_tenant_open(s_data, CN_STR("acme"), &s_tenant) == CN_OK) {
            ask_jobs();
            ask_catalog();
            ask_trace();
        }
    }
    close_tenant();
    for (size_t i = 0; i < sizeof bases / sizeof *bases; i++)
        file_put(&bases[i].f, bases[i].f.good);
    CN_ASSERT(s_open_again());
}

/* ---------- the tenant ---------- */
static void clean_up(void) {
    cn_seg_close(seg);
    s_close();
}

static void make_many(void) {
    static char ids[MANY][16], texts[MANY][32];
    static s_row rows[MANY];
    char path[4096];
    cn_version v;
    bool made, coded;
    for (uint32_t i = 0; i < MANY; i++) {
        snprintf(ids[i], sizeof ids[i], "m%u", i);
        snprintf(texts[i], sizeof texts[i], "number %u of many", i % 97);
        rows[i] = (s_row){ids[i], texts[i], "public", "", ""};
    }
    s_index("many");
    CN_ASSERT(s_seal("many", rows, MANY, NULL) == 1 && s_activate("many", 1) == CN_OK);
    cn_index_info ix;
    CN_ASSERT(cn_index_get(s_tenant, CN_STR("many"), &kept, &ix) == CN_OK && cn_version_get(s_tenant, CN_STR("many"), 1, &kept, &v) == CN_OK);
    CN_ASSERT(cn_version_space(s_tenant, ix.id, &v.recipe, &kept, &space) == CN_OK);
    CN_ASSERT(cn_seg_open(s_tenant, &v.parts[0].id, NULL, &seg) == CN_OK && cn_seg_vecs(seg, &vecs) == CN_OK);
    cn_cells_set_from(MANY);
    CN_ASSERT(cn_seg_build_cells(seg, &space, 1, &made) == CN_OK && cn_seg_flat(seg, &space, &flat, &coded) == CN_OK && coded);
    CN_ASSERT(cn_seg_build_faiss(seg, &space, FACTORY, 1, &made) == CN_OK);
    n_derived -= !made;
    for (int i = 0; i < n_derived; i++) {
        CN_ASSERT(cn_seg_path(s_tenant, &v.parts[0].id, derived_kinds[i], path, sizeof path) == CN_OK);
        file_take(&derived[i], path);
    }
}

static void make_records(void) {
    static const s_row rows[] = {{"a", "first", "public", "", ""}, {"b", "second", "group:x", "user:u", ""}, {"c", "third", "public,group:y", "", "user:v"}};
    static const s_row later[] = {{"c", "third", "group:y", "", "user:v"}};
    static const char set[] = "\x82\xa1k\x05\xa7queries\x91\x84\xa2id\xa1q\xa4text\xa1x\xa9must_find\x91\xa1""a\xa8relevant\x81\xa1""b\x02";
    cn_labels staff = s_labels("group:staff");
    cn_unpacked u = {0};
    cn_frozen_set frozen = {.name = CN_STR("core")};
    cn_digest digest;
    cn_key_info key = {.tenant = CN_STR("acme"), .scopes = CN_SCOPE(query), .labels = staff, .expires_us = CN_NO_TIME};
    char text[CN_KEY_TEXT];
    s_index("p");
    CN_ASSERT(s_seal("p", rows, 3, NULL) == 1 && s_activate("p", 1) == CN_OK && s_seal("p", later, 1, "a") == 2 && s_activate("p", 2) == CN_OK);
    CN_ASSERT(s_policy(CN_POLICY_DENY, "a", "user:w", &s_who) == CN_OK && s_policy(CN_POLICY_HIDE_GLOB, "zz*", "", &s_who) == CN_OK);
    CN_ASSERT(s_policy(CN_POLICY_ERASE, "e", "", &s_who) == CN_OK && s_policy(CN_POLICY_RESTORE, "e", "", &s_why) == CN_OK);
    CN_ASSERT(cn_member_set(s_tenant, CN_STR("user:ana"), staff, &s_who) == CN_OK && cn_key_add(s_data, &key, &s_who, text) == CN_OK);
    CN_ASSERT(cn_mode_set(s_tenant, CN_STR("many"), CN_STR("refuse"), CN_STR("not now"), &s_who) == CN_OK);
    CN_ASSERT(cn_gate_require(s_tenant, CN_STR("p"), &(cn_str){"a>=0.5", 6}, 1, &s_who) == CN_OK);
    CN_ASSERT(cn_gate_submit(s_tenant, CN_STR("p"), 1, &(cn_gate_result){.name = CN_STR("a"), .value = 1}, 1, &s_who) == CN_OK);
    CN_ASSERT(cn_unpack(&u, set, sizeof set - 1) == CN_OK && cn_frozen_set_read(&u.o, &s_arena, &frozen) == CN_OK);
    frozen.name = CN_STR("core");
    CN_ASSERT(cn_frozen_set_put(s_tenant, CN_STR("p"), &frozen, &s_who, &digest) == CN_OK);
    cn_unpacked_done(&u);
}

static void make_job(void) {
    CN_AUTO_BUF cn_buf opts = {.cap = 1 << 16};
    const char *paths[] = {"/srv/docs"};
    cn_job_opts o = {.index = CN_STR("p"), .from = {.paths = paths, .n_paths = 1, .source = CN_STR("default"), .labels = s_labels("public")}};
    const cn_reject r = {.seq = 3, .doc = CN_STR("x"), .where = CN_STR("x.pdf"), .why = CN_STR("it is scanned")};
    cn_job_row row;
    bool old;
    cn_seg_id file_of;
    cn_job_row_init(&row);
    CN_ASSERT(cn_opts_pack(&o, &opts) == CN_OK);
    row.index = CN_STR("p");
    row.source = CN_STR("default");
    row.kind = CN_STR("ingest");
    row.who = s_who.who;
    row.via = s_who.via;
    row.opts = cn_buf_str(&opts);
    cn_job_new_id(row.id);
    CN_ASSERT(cn_jobs_claim(s_tenant, &row, &old, &file_of) == CN_OK && cn_rejects_add(s_tenant, row.id, &r, 1) == CN_OK);
    memcpy(job, row.id, sizeof job);
    cn_job_row_done(&row);
}

static void make_trace(void) {
    static const char map[] = "\x83\xa6method\xa5query\xa4hits\x91\x81\xa3""doc\xa1""a\xa7version\x01";
    const cn_trace_limits plenty = {(uint64_t)64 << 20, CN_TRACE_KEEP_US};
    for (uint8_t i = 0; i < 3; i++) {
        cn_trace_entry e = {1700000000000000 + i, {{1, i}}, {map, sizeof map - 1}};
        CN_ASSERT(cn_trace_put(s_tenant, &e, 1, &plenty) == CN_OK);
    }
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    static const char *const names[] = {"cairn.mdb", "tenants/acme/control.mdb", "tenants/acme/work.mdb", "tenants/acme/trace.mdb"};
    char path[4096];
    (void)argc, (void)argv;
    cn_arena_init(&arena, 1 << 20, (size_t)1 << 28);
    cn_arena_init(&kept, 1 << 16, (size_t)1 << 28);
    CN_ASSERT(s_open() && cn_scratch_new(&scratch) == CN_OK && cn_cells_scratch_new(&cells_scratch) == CN_OK && cn_lookup_scratch_new(&lookup) == CN_OK);
    make_many();
    make_records();
    make_job();
    make_trace();
    close_tenant();
    for (size_t i = 0; i < sizeof bases / sizeof *bases; i++) {
        snprintf(path, sizeof path, "%s/%s", s_dir, names[i]);
        file_take(&bases[i].f, path);
        note_all(&bases[i]);
    }
    CN_ASSERT(s_open_again());
    atexit(clean_up);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    if (n < 1)
        return 0;
    cn_str s = {(const char *)bytes + 1, n - 1};
    int kind = bytes[0] % KINDS;
    if (kind < n_derived)
        use_derived(kind, s);
    else if (kind >= DERIVED)
        use_record(&bases[kind - DERIVED], s);
    cn_arena_reset(&arena);
    return 0;
}
