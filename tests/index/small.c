#include "tests/index/small.h"

#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <unistd.h>

#include "index/catalog/check.h"
#include "index/catalog/sweep.h"
#include "index/store/bitmap.h"

#define LIT(z) {(z), sizeof(z) - 1}
char s_dir[64];
cn_data *s_data;
cn_tenant *s_tenant;
cn_arena s_arena;
const cn_actor s_who = {LIT("tester"), LIT("command"), LIT("")}, s_why = {LIT("tester"), LIT("command"), LIT("it was asked for")};
static const cn_recipe recipe = {.embedder = LIT("none"), .precision = LIT(""), .parser = LIT("p/1"), .normaliser = LIT("n/1"),
                                 .chunker = LIT("document"), .analyser = LIT("words/2 language=english"), .metric = CN_IP, .dim = SMALL_DIM};

static bool told(cn_err e, const char *what) {
    if (e != CN_OK)
        printf("\n  %s: %s: %s\n", what, cn_err_name(e), cn_error_detail());
    return e == CN_OK;
}

bool s_open_again(void) {
    return told(cn_data_open(s_dir, &s_data), "opening") && told(cn_tenant_open(s_data, CN_STR("acme"), &s_tenant), "opening");
}

bool s_open(void) {
    cn_arena_init(&s_arena, 1 << 20, (size_t)1 << 30);
    snprintf(s_dir, sizeof s_dir, "%s/cairn-small-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    return mkdtemp(s_dir) && rmdir(s_dir) == 0 && told(cn_data_init(s_dir), "init") && told(cn_data_open(s_dir, &s_data), "opening") &&
           told(cn_tenant_create(s_data, CN_STR("acme"), &s_who), "tenant") && told(cn_tenant_open(s_data, CN_STR("acme"), &s_tenant), "tenant");
}

void s_close(void) {
    char rm[96];
    if (s_tenant)
        cn_tenant_unref(s_tenant);
    cn_data_close(s_data);
    s_tenant = NULL;
    s_data = NULL;
    cn_arena_done(&s_arena);
    snprintf(rm, sizeof rm, "rm -rf %s", s_dir);
    if (system(rm) != 0)
        printf("\n  %s is left behind\n", s_dir);
}

void s_index(const char *index) {
    cn_index_settings s;
    cn_index_settings_default(&s);
    s.chunker = CN_STR("document");
    s.metric = CN_IP;
    told(cn_index_create(s_tenant, cn_str_of(index), &s, &s_who), "index");
}

cn_labels s_labels(const char *commas) {
    cn_labels l = {0};
    told(cn_labels_parse(&s_arena, cn_str_of(commas ? commas : ""), &l), commas);
    return l;
}

static bool put(cn_segw *w, const s_row *r, uint32_t i) {
    float x[SMALL_DIM] = {1, (float)i, (float)strlen(r->text), 0.5f};
    cn_chunk c = {.from = 0, .to = strlen(r->text), .vector = x};
    cn_doc d = {.source = CN_STR("default"), .id = cn_str_of(r->id), .modified = CN_NO_TIME, .text = cn_str_of(r->text), .chunks = &c, .n_chunks = 1};
    d.content = d.row = cn_sha256_of(r->text, strlen(r->text));
    d.labels = (cn_triple){s_labels(r->allow), s_labels(r->deny), s_labels(r->require)};
    return told(cn_segw_add(w, &d), r->id);
}

static bool listed(cn_str list, uint32_t doc) {
    roaring_bitmap_t *b;
    if (!told(cn_bitmap_read(list, "a list", &b), "list"))
        return false;
    bool is = roaring_bitmap_contains(b, doc);
    roaring_bitmap_free(b);
    return is;
}

static bool in_head(const cn_version *head, const char *id) {
    cn_key key = cn_key_of(CN_STR("default"), cn_str_of(id));
    cn_seg *s, *own;
    bool found = false;
    if (cn_seg_open(s_tenant, &head->own, &head->own_digest, &own) != CN_OK)
        return false;
    for (uint32_t i = 0; i < head->n_parts && !found; i++) {
        uint32_t doc;
        cn_str dead;
        if (cn_seg_open(s_tenant, &head->parts[i].id, &head->parts[i].digest, &s) != CN_OK)
            continue;
        if (cn_seg_find(s, &key, &doc) && cn_version_tombs(own, &head->parts[i].id, &dead) == CN_OK) {
            found = !listed(dead, doc) || (cn_seg_stubs(s) && cn_version_stubs(own, &head->parts[i].id, &dead) == CN_OK && listed(dead, doc)); /* to a job a stub is there */
        }
        cn_seg_close(s);
    }
    cn_seg_close(own);
    return found;
}

uint64_t s_seal(const char *index, const s_row *rows, uint32_t n, const char *removed) {
    cn_version head;
    cn_segw *w = NULL;
    cn_key gone = cn_key_of(CN_STR("default"), cn_str_of(removed ? removed : "x"));
    uint64_t number = 0;
    cn_digest root;
    cn_seal s = {.index = cn_str_of(index), .recipe = &recipe, .job = CN_STR("j"), .removed = &gone, .n_removed = removed != NULL,
                 .counts = {.deleted = removed != NULL}};
    bool any = cn_version_head(s_tenant, s.index, &s_arena, &head) == CN_OK;
    s.base = any ? head.number : 0;
    if (n && !told(cn_segw_new(s_tenant, SMALL_DIM, &w), "segment"))
        return 0;
    for (uint32_t i = 0; i < n; i++) {
        s.counts.added += !any || !in_head(&head, rows[i].id);
        put(w, &rows[i], i);
    }
    return told(cn_version_seal(s_tenant, &s, w, &s_who, &number, &root), "seal") ? number : 0;
}

cn_err s_activate(const char *index, uint64_t number) {
    return cn_version_activate(s_tenant, cn_str_of(index), number, CN_ANY_VERSION, false, &s_why, NULL);
}

static int found(cn_view *v, const cn_principal *who, const char *id) {
    static const float q[SMALL_DIM] = {1, 1, 1, 1};
    cn_searcher *s;
    cn_hit hits[1000];
    uint32_t n = 0;
    int ret = 0;
    cn_query query = {.who = *who, .vector = q, .k = 1000, .mode = CN_MODE_EXACT, .min_score = -INFINITY};
    if (cn_searcher_new(&s) != CN_OK)
        return -2;
    if (cn_search(v, &query, s, hits, &n, NULL) != CN_OK)
        ret = -2;
    for (uint32_t i = 0; i < n; i++) {
        cn_doc d;
        if (cn_seg_doc_brief(hits[i].seg, hits[i].doc, &d) == CN_OK && cn_str_is(d.id, id))
            ret = 1;
    }
    cn_searcher_free(s);
    return ret;
}

int s_sees(const char *index, uint64_t number, const char *labels, const char *id) {
    cn_view *v;
    cn_seg *seg;
    uint32_t doc;
    cn_principal who = cn_principal_of(s_labels(labels));
    if (cn_view_open(s_tenant, cn_str_of(index), number, &v) != CN_OK)
        return -2;
    int by_search = found(v, &who, id);
    cn_err e = cn_view_doc(v, CN_STR("default"), cn_str_of(id), &who, &seg, &doc);
    cn_view_unref(v);
    return by_search == (e == CN_OK) ? by_search : by_search == -2 ? -2 : -1;
}

cn_err s_policy(cn_policy_op op, const char *id, const char *labels, const cn_actor *who) {
    cn_policy_change c = {op, CN_STR("default"), cn_str_of(id), s_labels(labels)};
    uint64_t epoch;
    return cn_policy_apply(s_tenant, &c, 1, who, &epoch);
}

uint64_t s_epoch(void) {
    uint64_t epoch = 0;
    told(cn_epoch(s_tenant, &epoch), "epoch");
    return epoch;
}

void s_segment_path(const cn_seg_id *id, char path[4096]) { told(cn_seg_path(s_tenant, id, NULL, path, 4096), "path"); }

/* ---------- the minute's grace, over at once ---------- */
static cn_err note(void *ctx, cn_str key, cn_str value, bool *stop) {
    s_aged *a = ctx;
    (void)value;
    memcpy(a->id[a->n].b, key.p, CN_SEG_ID);
    *stop = ++a->n == 4096;
    return CN_OK;
}

static cn_err age(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    s_aged *a = ctx;
    int64_t at = 1;
    const cn_field f[] = {{"at", CN_F_I64, &at, 0}};
    CN_TRY(cn_db_each(txn, c->retired, (cn_str){0}, note, a));
    for (uint32_t i = 0; i < a->n; i++) {
        CN_TRY(cn_fields_put(txn, c->retired, (cn_str){(const char *)a->id[i].b, CN_SEG_ID}, f, 1));
        cn_segw_abandon(s_tenant, &a->id[i]); /* as if it had been written long ago */
    }
    return CN_OK;
}

bool s_sweep_aged(s_aged *ret, uint32_t *ret_files) {
    cn_gc_result r = {0};
    ret->n = 0;
    bool aged = told(cn_catalog_write(s_tenant, age, ret), "ageing"), swept = told(cn_catalog_sweep(s_tenant, &s_who, &r), "sweeping");
    *ret_files = r.files;
    return aged && swept;
}

uint32_t s_sweep(void) {
    static s_aged a;
    uint32_t files;
    s_sweep_aged(&a, &files);
    return files;
}

/* ---------- raw bytes ---------- */
static struct {
    const void *p;
    size_t n;
    unsigned found;
} needle;

static int look_into(const char *path, const struct stat *st, int kind, struct FTW *at) {
    (void)at;
    if (kind != FTW_F || st->st_size == 0)
        return 0;
    int fd = open(path, O_RDONLY);
    char *p = malloc((size_t)st->st_size);
    ssize_t n = fd >= 0 && p ? read(fd, p, (size_t)st->st_size) : -1;
    needle.found += n > 0 && memmem(p, (size_t)n, needle.p, needle.n) != NULL;
    free(p);
    close(fd);
    return 0;
}

unsigned s_files_with(const void *p, size_t n) {
    needle.p = p;
    needle.n = n;
    needle.found = 0;
    return nftw(s_dir, look_into, 16, FTW_PHYS) == 0 ? needle.found : UINT_MAX;
}

static void count_unsound(void *ctx, cn_str what, cn_err err) {
    *(unsigned *)ctx += err != CN_OK;
    if (err != CN_OK)
        printf("\n  " CN_STR_FMT ": %s", CN_STR_ARG(what), cn_error_detail());
}

bool s_is_sound(void) {
    unsigned bad = 0;
    return told(cn_tenant_check(s_tenant, count_unsound, &bad), "checking") && bad == 0;
}
