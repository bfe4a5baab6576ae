/* Changes of the policy, to the model and for real. */
#include <string.h>

#include "index/policy/principal.h"
#include "tests/index/world.h"

static const cn_actor why = {{"tester", 6}, {"command", 7}, {"a reason", 8}};
const char *const w_globs[W_GLOBS] = {"doc-1*", "a/**", "*", "a/doc-4?", "**"};

typedef struct planned {
    cn_policy_op op;
    uint32_t doc, labels, glob, source;
} planned;

static cn_policy_change change_of(w_world *w, const planned *p) {
    cn_policy_change c = {.op = p->op, .labels = w_labels(&w->a, p->labels)};
    char *id = cn_arena_alloc(&w->a, 32);
    w_id(p->doc, id);
    c.source = cn_str_of(w_source(p->doc));
    c.id = cn_str_of(id);
    if (p->op == CN_POLICY_HIDE_GLOB || p->op == CN_POLICY_UNHIDE_GLOB) {
        c.source = cn_str_of(p->source == W_SOURCES ? "" : w_source(p->source));
        c.id = cn_str_of(w_globs[p->glob]);
    }
    if (p->op == CN_POLICY_HIDE_SOURCE || p->op == CN_POLICY_UNHIDE_SOURCE) {
        c.source = cn_str_of(w_source(p->source));
        c.id = CN_STR("");
    }
    return c;
}

static void apply(w_world *w, const planned *p) {
    uint32_t doc = p->doc;
    switch (p->op) {
    case CN_POLICY_ALLOW: w->granted[doc] |= p->labels; break;
    case CN_POLICY_DENY: w->denied[doc] |= p->labels; break;
    case CN_POLICY_CLEAR:
        w->granted[doc] &= p->labels ? ~p->labels : 0;
        w->denied[doc] &= p->labels ? ~p->labels : 0;
        break;
    case CN_POLICY_HIDE: w->hidden[doc] = true; break;
    case CN_POLICY_UNHIDE: w->hidden[doc] = false; break;
    case CN_POLICY_ERASE: w->erased[doc] = true; break;
    case CN_POLICY_RESTORE:
        w->erased[doc] = false;
        w->dead_before[doc] = w->stamp + 1;
        break;
    case CN_POLICY_HIDE_GLOB: w->glob_hides[p->glob][p->source] = true; break;
    case CN_POLICY_UNHIDE_GLOB: w->glob_hides[p->glob][p->source] = false; break;
    case CN_POLICY_HIDE_SOURCE: w->source_hides[p->source % W_SOURCES] = true; break;
    case CN_POLICY_UNHIDE_SOURCE: w->source_hides[p->source % W_SOURCES] = false; break;
    }
}

/* Hiding by pattern takes much away, so it is taken back soon. */
static cn_policy_op op_random(w_world *w) {
    static const cn_policy_op ops[] = {CN_POLICY_ALLOW, CN_POLICY_ALLOW, CN_POLICY_DENY, CN_POLICY_CLEAR, CN_POLICY_CLEAR, CN_POLICY_HIDE, CN_POLICY_UNHIDE,
                                       CN_POLICY_UNHIDE, CN_POLICY_ERASE, CN_POLICY_RESTORE, CN_POLICY_HIDE_GLOB, CN_POLICY_UNHIDE_GLOB, CN_POLICY_UNHIDE_GLOB,
                                       CN_POLICY_HIDE_SOURCE, CN_POLICY_UNHIDE_SOURCE, CN_POLICY_UNHIDE_SOURCE};
    return ops[o_below(&w->r, sizeof ops / sizeof *ops)];
}

static uint32_t some_erased(w_world *w) {
    uint32_t from = o_below(&w->r, W_DOCS);
    for (uint32_t i = 0; i < W_DOCS; i++)
        if (w->erased[(from + i) % W_DOCS])
            return (from + i) % W_DOCS;
    return from;
}

/* A pattern that hides now, if there is one: so that not all is hidden in the end. */
static void some_pattern(const w_world *w, planned *p) {
    for (uint32_t i = 0; i < W_GLOBS * (W_SOURCES + 1); i++)
        if (w->glob_hides[i / (W_SOURCES + 1)][i % (W_SOURCES + 1)]) {
            p->op = CN_POLICY_UNHIDE_GLOB;
            p->glob = i / (W_SOURCES + 1);
            p->source = i % (W_SOURCES + 1);
            return;
        }
    for (uint32_t i = 0; i < W_SOURCES; i++)
        if (w->source_hides[i]) {
            p->op = CN_POLICY_UNHIDE_SOURCE;
            p->source = i;
            return;
        }
}

bool w_change_policy(w_world *w, uint32_t n) {
    planned p[8];
    cn_policy_change c[8];
    bool erased[W_DOCS], fine = true;
    uint64_t epoch = w->epoch;
    memcpy(erased, w->erased, sizeof erased);
    cn_arena_reset(&w->a);
    for (uint32_t i = 0; i < n; i++) {
        p[i] = (planned){op_random(w), o_below(&w->r, W_DOCS), w_labels_random(w), o_below(&w->r, W_GLOBS), o_below(&w->r, W_SOURCES + 1)};
        if (p[i].op == CN_POLICY_RESTORE && o_chance(&w->r, 70))
            p[i].doc = some_erased(w);
        if (p[i].op >= CN_POLICY_HIDE_GLOB && o_chance(&w->r, 75))
            some_pattern(w, &p[i]);
        if (p[i].op == CN_POLICY_ERASE)
            erased[p[i].doc] = true;
        if (p[i].op == CN_POLICY_RESTORE) {
            fine &= erased[p[i].doc];
            erased[p[i].doc] = false;
        }
        c[i] = change_of(w, &p[i]);
    }
    w_check(w, "policy", cn_policy_apply(w->t, c, n, &why, &epoch), fine ? CN_OK : CN_REFUSED);
    for (uint32_t i = 0; fine && i < n; i++)
        apply(w, &p[i]);
    if (fine && epoch <= w->epoch)
        w_wrong(w, "the epoch did not grow");
    w->epoch = epoch;
    return fine;
}

/* ---------- members ---------- */
uint32_t w_member_holds(const w_world *w, uint32_t label) {
    uint32_t holds = 1u << label | W_PUBLIC, before = 0;
    while (holds != before) {
        before = holds;
        for (uint32_t i = 0; i < O_LABELS; i++)
            if (before >> i & 1)
                holds |= w->member[i];
    }
    return holds;
}

void w_change_members(w_world *w) {
    uint32_t m = o_below(&w->r, O_LABELS), labels = w_labels_random(w), kind = o_below(&w->r, 3);
    if (1u << m == W_PUBLIC) /* is everyone, and no member */
        return;
    if (kind == 1 && !labels)
        labels = W_PUBLIC;
    cn_str name = cn_str_of(o_label_name[m]);
    cn_arena_reset(&w->a);
    cn_labels given = w_labels(&w->a, labels);
    cn_err got = kind == 0 ? cn_member_remove(w->t, name, &why) : kind == 1 ? cn_member_add(w->t, name, given, &why) : cn_member_set(w->t, name, given, &why);
    cn_err want = kind == 0 && !w->member[m] ? CN_NOT_FOUND : CN_OK;
    w_check(w, "members", got, want);
    w->member[m] = kind == 0 ? 0 : kind == 1 ? w->member[m] | labels : labels;
}
