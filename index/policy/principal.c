/* Members: the tenant's directory of who holds which labels, and its expansion to the label set of a query. */
#include "index/policy/principal.h"

#include <stdlib.h>

#include "engine/base/mem.h"
#include "index/control/records.h"
#include "index/policy/member_inside.h"

#define NEST_MAX 16
#define ARENA_BLOCK 8192
#define ARENA_CAP ((size_t)16 << 20)
#define DETAIL_CAP 65536
#define SYNC_CAP ((size_t)4 << 30)

static void end_arena(cn_arena *a) { cn_arena_done(a); }
#define AUTO_ARENA __attribute__((cleanup(end_arena)))

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

static cn_err audit_change(cn_tenant *t, MDB_txn *txn, const cn_actor *who, const char *action, cn_str principal, cn_labels before, cn_labels after) {
    CN_AUTO_BUF cn_buf detail = {.cap = 4 * DETAIL_CAP};
    cn_pack_map(&detail, 2);
    cn_labels_pack_field(&detail, "before", before);
    cn_labels_pack_field(&detail, "after", after);
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
    return cn_labels_eq(before, labels) ? cn_epoch_raise(x->t, txn, NULL) : cn_epoch_raise_widened(x->t, txn, NULL); /* a label less widens too, where it was a denied one */
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
        err = cn_catalog_insist(t, change_in, &x);
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
typedef struct sync_entry { /* value n 0: the member goes */
    cn_str principal, value;
    uint32_t line;
} sync_entry;

typedef struct sync_work {
    cn_tenant *t;
    cn_str text;
    const cn_actor *who;
    cn_arena a;
    cn_sum sum;
    sync_entry *v;       /* what the text says, by principal */
    uint32_t members, at; /* at: of v, while the directory is compared with it */
    sync_entry *changes;
    uint32_t n_changes, room;
} sync_work;

static cn_err sync_line(cn_str line, cn_arena *a, sync_work *w, sync_entry *ret) {
    CN_AUTO_BUF cn_buf value = {.cap = CN_LABELS_MAX * (CN_LABEL_MAX + 1) + CN_RECORD_HEAD};
    size_t end = 0;
    while (end < line.n && line.p[end] != ' ' && line.p[end] != '\t')
        end++;
    cn_str principal = {line.p, end}, commas = cn_str_trim((cn_str){line.p + end, line.n - end});
    if (commas.n == 0)
        return cn_fail(CN_INVALID, "a line is a member, a space, and its labels by commas: user:ana group:hr,group:staff");
    cn_labels labels;
    CN_TRY(cn_labels_parse(a, commas, &labels));
    CN_TRY(check_member(principal, labels));
    CN_TRY(cn_label_make(&w->a, principal, &ret->principal));
    cn_member_pack(&value, labels);
    CN_TRY(cn_buf_check(&value));
    ret->value = cn_arena_str(&w->a, cn_buf_str(&value));
    return ret->value.p ? CN_OK : cn_fail_memory();
}

static uint32_t count_lines(cn_str text) {
    uint32_t n = 1;
    for (size_t i = 0; i < text.n; i++)
        n += text.p[i] == '\n';
    return n;
}

static cn_err sync_lines(sync_work *w) {
    AUTO_ARENA cn_arena a;
    cn_arena_init(&a, ARENA_BLOCK, ARENA_CAP);
    cn_str text = w->text;
    uint32_t number = 1;
    for (cn_str line; cn_str_next(&text, '\n', &line); number++) {
        line = cn_str_trim(line);
        if (line.n == 0 || *line.p == '#')
            continue;
        sync_entry *x = &w->v[w->members];
        x->line = number;
        cn_err err = sync_line(line, &a, w, x);
        if (err != CN_OK)
            return cn_wrap(err, "line %u", number);
        cn_sum_add(&w->sum, x->principal, x->value);
        w->members++;
        cn_arena_reset(&a);
    }
    return CN_OK;
}

static int by_principal(const void *a, const void *b) { return cn_str_cmp(((const sync_entry *)a)->principal, ((const sync_entry *)b)->principal); }

/* The text as records, in the order of the directory. */
static cn_err read_text(sync_work *w) {
    w->v = cn_arena_zalloc(&w->a, count_lines(w->text), sizeof *w->v);
    if (!w->v)
        return cn_fail_memory();
    CN_TRY(sync_lines(w));
    if (w->members == 0)
        return cn_fail(CN_REFUSED, "the text names no member, so everyone would lose their groups; `cairn member remove` takes out single ones");
    qsort(w->v, w->members, sizeof *w->v, by_principal);
    for (uint32_t i = 1; i < w->members; i++)
        if (cn_str_eq(w->v[i - 1].principal, w->v[i].principal))
            return cn_fail(CN_INVALID, "line %u: \"" CN_STR_FMT "\" stands there twice", w->v[i - 1].line > w->v[i].line ? w->v[i - 1].line : w->v[i].line,
                           CN_STR_ARG(w->v[i].principal));
    return CN_OK;
}

static cn_err add_change(sync_work *w, sync_entry x) {
    if (!cn_grow(w->changes, w->n_changes, w->room))
        return cn_fail_memory();
    w->changes[w->n_changes++] = x;
    return CN_OK;
}

/* A member as it is: those of the text that come before it are new, and if none is its own it goes. */
static cn_err compare_one(void *ctx, cn_str key, cn_str value, bool *stop) {
    (void)stop;
    sync_work *w = ctx;
    int c = -1;
    if (cn_sum_is(key))
        return CN_OK;
    while (w->at < w->members && (c = cn_str_cmp(w->v[w->at].principal, key)) < 0)
        CN_TRY(add_change(w, w->v[w->at++]));
    if (w->at < w->members && c == 0) {
        const sync_entry *x = &w->v[w->at++];
        return cn_str_eq(x->value, value) ? CN_OK : add_change(w, *x);
    }
    sync_entry gone = {.principal = cn_arena_str(&w->a, key)};
    return gone.principal.p ? add_change(w, gone) : cn_fail_memory();
}

/* The sum that is there does not matter: what is put is the whole, and mends a directory that is damaged. */
static cn_err plan_sync(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    sync_work *w = ctx;
    w->at = w->n_changes = 0;
    CN_TRY(cn_db_each(txn, c->members, (cn_str){"", 0}, compare_one, w));
    while (w->at < w->members)
        CN_TRY(add_change(w, w->v[w->at++]));
    return CN_OK;
}

static cn_err audit_sync(const sync_work *w, MDB_txn *txn) {
    CN_AUTO_BUF cn_buf detail = {.cap = 1024};
    cn_digest digest = cn_sha256_of(w->text.p, w->text.n);
    cn_pack_map(&detail, 2);
    cn_pack_cstr(&detail, "members");
    cn_pack_uint(&detail, w->members);
    cn_pack_cstr(&detail, "digest");
    cn_pack_bin(&detail, digest.b, sizeof digest.b);
    CN_TRY(cn_buf_check(&detail));
    return cn_audit_add(w->t, txn, w->who, "member.sync", CN_STR(""), "done", cn_buf_str(&detail));
}

static cn_err apply_sync(void *ctx, const cn_catalog *c, MDB_txn *txn) {
    const sync_work *w = ctx;
    for (uint32_t i = 0; i < w->n_changes; i++) {
        const sync_entry *x = &w->changes[i];
        CN_TRY(x->value.n ? cn_db_put(txn, c->members, x->principal, x->value) : cn_db_del(txn, c->members, x->principal));
    }
    CN_TRY(cn_sum_put(txn, c->members, &w->sum));
    CN_TRY(audit_sync(w, txn));
    return w->n_changes ? cn_epoch_raise_widened(w->t, txn, NULL) : cn_epoch_raise(w->t, txn, NULL);
}

cn_err cn_member_sync(cn_tenant *t, cn_str text, const cn_actor *who, uint32_t *ret_members) {
    sync_work w = {.t = t, .text = text, .who = who};
    cn_arena_init(&w.a, 1 << 16, SYNC_CAP);
    cn_err err = read_text(&w);
    if (err == CN_OK)
        err = cn_catalog_change(t, plan_sync, apply_sync, &w);
    cn_free(w.changes);
    cn_arena_done(&w.a);
    CN_TRY(cn_refused(t, err, who, "member.sync", CN_STR("")));
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
    while (cn_str_next(&commas, ',', &label))
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
