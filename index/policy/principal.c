/* Members: the tenant's directory of who holds which labels, and its expansion to the label set of a query. */
#include "index/policy/principal.h"

#include "engine/base/mem.h"
#include "index/catalog/records.h"
#include "index/policy/member_inside.h"

#define NEST_MAX 16
#define ARENA_BLOCK 8192
#define ARENA_CAP ((size_t)16 << 20)
#define DETAIL_CAP 65536

static void end_arena(cn_arena *a) { cn_arena_done(a); }
#define AUTO_ARENA __attribute__((cleanup(end_arena)))

/* The next label of a list by commas; false at its end. */
static bool next_label(cn_str *commas, cn_str *ret) {
    if (commas->n == 0)
        return false;
    const char *end = memchr(commas->p, ',', commas->n);
    size_t n = end ? (size_t)(end - commas->p) : commas->n;
    *ret = (cn_str){commas->p, n};
    size_t step = end ? n + 1 : n;
    *commas = (cn_str){commas->p + step, commas->n - step};
    return true;
}

/* --- changing --- */
static cn_err check_member(cn_str principal, cn_labels labels) {
    if (cn_str_eq(principal, CN_PUBLIC))
        return cn_fail(CN_INVALID, "public is everyone; a member is named like user:ana or group:hr");
    CN_TRY(cn_label_check(principal));
    if (labels.n > CN_LABELS_MAX)
        return cn_fail(CN_INVALID, "%u labels; a member has at most %d", labels.n, CN_LABELS_MAX);
    for (uint32_t i = 0; i < labels.n; i++)
        CN_TRY(cn_label_check(labels.v[i]));
    return CN_OK;
}

static void pack_labels(cn_buf *out, const char *name, cn_labels labels) {
    cn_pack_cstr(out, name);
    cn_pack_array(out, labels.n);
    for (uint32_t i = 0; i < labels.n; i++)
        cn_pack_str(out, labels.v[i]);
}

static cn_err audit_change(cn_tenant *t, MDB_txn *txn, const cn_actor *who, const char *action, cn_str principal, cn_labels before, cn_labels after) {
    CN_AUTO_BUF cn_buf detail = {.cap = 4 * DETAIL_CAP};
    cn_pack_map(&detail, 2);
    pack_labels(&detail, "before", before);
    pack_labels(&detail, "after", after);
    if (detail.n > DETAIL_CAP) { /* the chain keeps 64 KiB: then the counts */
        cn_buf_reset(&detail);
        cn_pack_map(&detail, 2);
        cn_pack_cstr(&detail, "before");
        cn_pack_uint(&detail, before.n);
        cn_pack_cstr(&detail, "after");
        cn_pack_uint(&detail, after.n);
    }
    CN_TRY(cn_buf_check(&detail));
    return cn_audit_add(t, txn, who, action, principal, "done", cn_buf_str(&detail));
}

static cn_err read_member(MDB_txn *txn, MDB_dbi dbi, cn_str principal, cn_arena *a, cn_labels *ret) {
    cn_str value, commas;
    cn_err err = cn_db_get(txn, dbi, principal, &value);
    if (err == CN_NOT_FOUND) {
        *ret = (cn_labels){0};
        return CN_OK;
    }
    CN_TRY(err);
    CN_TRY(cn_member_unpack(principal, value, &commas));
    if (commas.n)
        return cn_labels_parse(a, commas, ret);
    *ret = (cn_labels){0};
    return CN_OK;
}

typedef enum change_kind { MEMBER_SET, MEMBER_ADD, MEMBER_REMOVE } change_kind;
static const char *const action_name[] = {[MEMBER_SET] = "member.set", [MEMBER_ADD] = "member.add", [MEMBER_REMOVE] = "member.remove"};

typedef struct change {
    cn_tenant *t;
    change_kind kind;
    cn_str principal;
    cn_labels labels;
    const cn_actor *who;
} change;

/* No labels: removes it. */
static cn_err put_member(MDB_txn *txn, MDB_dbi dbi, cn_str principal, cn_labels labels, cn_sum *io) {
    CN_AUTO_BUF cn_buf value = {.cap = CN_LABELS_MAX * (CN_LABEL_MAX + 1) + CN_RECORD_HEAD};
    if (labels.n)
        cn_member_pack(&value, labels);
    CN_TRY(cn_buf_check(&value));
    return cn_sum_replace(txn, dbi, principal, cn_buf_str(&value), io);
}

static cn_err change_in(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    const change *x = ctx;
    AUTO_ARENA cn_arena a;
    cn_arena_init(&a, ARENA_BLOCK, ARENA_CAP);
    cn_sum sum;
    cn_labels before, labels = x->labels;
    CN_TRY(cn_sum_get(txn, c->members, CN_MEMBERS_WHAT, &sum));
    CN_TRY(read_member(txn, c->members, x->principal, &a, &before));
    if (x->kind == MEMBER_REMOVE && before.n == 0)
        return cn_fail(CN_NOT_FOUND, "there is no member \"" CN_STR_FMT "\"; `cairn member list` names those there are", CN_STR_ARG(x->principal));
    if (x->kind == MEMBER_ADD)
        CN_TRY(cn_labels_union(&a, before, labels, &labels));
    if (labels.n > CN_LABELS_MAX)
        return cn_fail(CN_INVALID, "%u labels; a member has at most %d", labels.n, CN_LABELS_MAX);
    CN_TRY(put_member(txn, c->members, x->principal, labels, &sum));
    CN_TRY(cn_sum_put(txn, c->members, &sum));
    CN_TRY(audit_change(x->t, txn, x->who, action_name[x->kind], x->principal, before, labels));
    return cn_epoch_raise(x->t, txn, NULL);
}

static cn_err change_member(cn_tenant *t, change_kind kind, cn_str principal, cn_labels labels, const cn_actor *who) {
    AUTO_ARENA cn_arena a;
    cn_arena_init(&a, ARENA_BLOCK, ARENA_CAP);
    change x = {.t = t, .kind = kind, .principal = principal, .labels = labels, .who = who};
    cn_err err = check_member(principal, labels);
    if (err == CN_OK && kind == MEMBER_ADD && labels.n == 0)
        err = cn_fail(CN_INVALID, "name at least one label to add to \"" CN_STR_FMT "\"", CN_STR_ARG(principal));
    if (err == CN_OK)
        err = cn_label_make(&a, principal, &x.principal);
    if (err == CN_OK)
        err = cn_catalog_write(t, change_in, &x);
    return cn_refused(t, err, who, action_name[kind], x.principal);
}

cn_err cn_member_set(cn_tenant *t, cn_str principal, cn_labels labels, const cn_actor *who) {
    return change_member(t, MEMBER_SET, principal, labels, who);
}

cn_err cn_member_add(cn_tenant *t, cn_str principal, cn_labels labels, const cn_actor *who) {
    return change_member(t, MEMBER_ADD, principal, labels, who);
}

cn_err cn_member_remove(cn_tenant *t, cn_str principal, const cn_actor *who) {
    return change_member(t, MEMBER_REMOVE, principal, (cn_labels){0}, who);
}

/* --- the whole directory at once --- */
static cn_str trim(cn_str s) {
    while (s.n && (*s.p == ' ' || *s.p == '\t'))
        s = (cn_str){s.p + 1, s.n - 1};
    while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t' || s.p[s.n - 1] == '\r'))
        s.n--;
    return s;
}

static cn_err put_new_member(MDB_txn *txn, MDB_dbi dbi, cn_str principal, cn_labels labels, cn_sum *io) {
    cn_str there;
    cn_err err = cn_db_get(txn, dbi, principal, &there);
    if (err == CN_OK)
        return cn_fail(CN_INVALID, "\"" CN_STR_FMT "\" stands there twice", CN_STR_ARG(principal));
    if (err != CN_NOT_FOUND)
        return err;
    return put_member(txn, dbi, principal, labels, io);
}

static cn_err sync_line(MDB_txn *txn, MDB_dbi dbi, cn_str line, cn_arena *a, cn_sum *io) {
    size_t end = 0;
    while (end < line.n && line.p[end] != ' ' && line.p[end] != '\t')
        end++;
    cn_str principal = {line.p, end}, commas = trim((cn_str){line.p + end, line.n - end});
    if (commas.n == 0)
        return cn_fail(CN_INVALID, "a line is a member, a space, and its labels by commas: user:ana group:hr,group:staff");
    cn_labels labels;
    CN_TRY(cn_labels_parse(a, commas, &labels));
    CN_TRY(check_member(principal, labels));
    CN_TRY(cn_label_make(a, principal, &principal));
    return put_new_member(txn, dbi, principal, labels, io);
}

static cn_err sync_lines(MDB_txn *txn, MDB_dbi dbi, cn_str text, cn_sum *io, uint32_t *ret) {
    AUTO_ARENA cn_arena a;
    cn_arena_init(&a, ARENA_BLOCK, ARENA_CAP);
    uint32_t members = 0, number = 0;
    while (text.n) {
        const char *nl = memchr(text.p, '\n', text.n);
        size_t n = nl ? (size_t)(nl - text.p) : text.n, step = nl ? n + 1 : n;
        cn_str line = trim((cn_str){text.p, n});
        text = (cn_str){text.p + step, text.n - step};
        number++;
        if (line.n == 0 || *line.p == '#')
            continue;
        cn_err err = sync_line(txn, dbi, line, &a, io);
        if (err != CN_OK)
            return cn_wrap(err, "line %u", number);
        members++;
        cn_arena_reset(&a);
    }
    *ret = members;
    return CN_OK;
}

typedef struct sync_work {
    cn_tenant *t;
    cn_str text;
    const cn_actor *who;
    uint32_t members;
} sync_work;

static cn_err sync_in(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    sync_work *w = ctx;
    cn_sum sum;
    CN_TRY(cn_sum_get(txn, c->members, CN_MEMBERS_WHAT, &sum));
    sum = (cn_sum){0};
    CN_TRY(cn_mdb(mdb_drop(txn, c->members, 0), "emptying the directory of members"));
    CN_TRY(sync_lines(txn, c->members, w->text, &sum, &w->members));
    if (w->members == 0)
        return cn_fail(CN_REFUSED, "the text names no member, so everyone would lose their groups; `cairn member remove` takes out single ones");
    CN_TRY(cn_sum_put(txn, c->members, &sum));
    CN_AUTO_BUF cn_buf detail = {.cap = 1024};
    cn_digest digest = cn_sha256_of(w->text.p, w->text.n);
    cn_pack_map(&detail, 2);
    cn_pack_cstr(&detail, "members");
    cn_pack_uint(&detail, w->members);
    cn_pack_cstr(&detail, "digest");
    cn_pack_bin(&detail, digest.b, sizeof digest.b);
    CN_TRY(cn_buf_check(&detail));
    CN_TRY(cn_audit_add(w->t, txn, w->who, "member.sync", CN_STR(""), "done", cn_buf_str(&detail)));
    return cn_epoch_raise(w->t, txn, NULL);
}

cn_err cn_member_sync(cn_tenant *t, cn_str text, const cn_actor *who, uint32_t *ret_members) {
    sync_work w = {.t = t, .text = text, .who = who};
    CN_TRY(cn_refused(t, cn_catalog_write(t, sync_in, &w), who, "member.sync", CN_STR("")));
    *ret_members = w.members;
    return CN_OK;
}

/* --- expansion: breadth first, each label once, so that groups that hold each other end too --- */
typedef struct expansion {
    cn_arena *arena;
    cn_str found[CN_LABELS_MAX], through[CN_LABELS_MAX];
    uint32_t n;
} expansion;

static bool known(const expansion *x, cn_str label) {
    for (uint32_t i = 0; i < x->n; i++)
        if (cn_str_eq(x->found[i], label))
            return true;
    return false;
}

static cn_err add_label(expansion *x, cn_str label, cn_str through) {
    if (known(x, label))
        return CN_OK;
    if (x->n == CN_LABELS_MAX)
        return cn_fail(CN_REFUSED, "a principal with over %d labels", CN_LABELS_MAX);
    cn_str copy = cn_arena_str(x->arena, label);
    if (!copy.p)
        return cn_fail_memory();
    x->through[x->n] = through;
    x->found[x->n++] = copy;
    return CN_OK;
}

static cn_err add_labels_of(expansion *x, const cn_members *m, cn_str principal) {
    const cn_member *found = cn_members_find(m, principal);
    cn_str commas = found ? found->commas : (cn_str){0}, label;
    while (next_label(&commas, &label))
        CN_TRY(add_label(x, label, principal));
    return CN_OK;
}

static cn_err expand_in(expansion *x, const cn_members *m) {
    uint32_t from = 0;
    for (int depth = 0; from < x->n; depth++) {
        if (depth > NEST_MAX)
            return cn_fail(CN_REFUSED, "the groups of \"" CN_STR_FMT "\" nest more than %d deep", CN_STR_ARG(x->found[0]), NEST_MAX);
        uint32_t to = x->n;
        for (; from < to; from++)
            CN_TRY(add_labels_of(x, m, x->found[from]));
    }
    return add_label(x, CN_PUBLIC, CN_STR(""));
}

static cn_err expand(cn_tenant *t, cn_str principal, cn_arena *a, expansion **ret) {
    cn_members *m;
    CN_TRY(cn_label_make(a, principal, &principal));
    expansion *x = cn_arena_alloc(a, sizeof *x);
    if (!x)
        return cn_fail_memory();
    x->arena = a;
    x->n = 0;
    CN_TRY(add_label(x, principal, CN_STR("")));
    CN_TRY(cn_members_load(t, &m));
    cn_err err = expand_in(x, m);
    cn_members_unref(m);
    CN_TRY(err);
    *ret = x;
    return CN_OK;
}

cn_err cn_principal_expand(cn_tenant *t, cn_str principal, cn_arena *a, cn_labels *ret) {
    expansion *x;
    CN_TRY(expand(t, principal, a, &x));
    return cn_labels_make(a, x->found, x->n, ret);
}

cn_err cn_principal_trail(cn_tenant *t, cn_str principal, cn_arena *a, cn_held **ret, uint32_t *ret_n) {
    expansion *x;
    CN_TRY(expand(t, principal, a, &x));
    cn_held *v = cn_arena_alloc(a, (x->n + 1u) * sizeof *v);
    if (!v)
        return cn_fail_memory();
    for (uint32_t i = 0; i < x->n; i++)
        v[i] = (cn_held){x->found[i], x->through[i]};
    *ret = v;
    *ret_n = x->n;
    return CN_OK;
}
