#include "tests/index/world.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "index/catalog/check.h"
#include "index/catalog/compact.h"
#include "index/policy/principal.h"

#define LIT(z) {(z), sizeof(z) - 1}
static const cn_actor who = {LIT("tester"), LIT("command"), LIT("")}, why = {LIT("tester"), LIT("command"), LIT("a reason")};
static const char *const sources[W_SOURCES] = {"s0", "s1", "s2"};

void w_wrong(w_world *w, const char *fmt, ...) {
    va_list ap;
    if (w->wrong++ >= 10)
        return;
    printf("\n  ");
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
}

const char *w_source(uint32_t doc) { return sources[doc % W_SOURCES]; }
void w_id(uint32_t doc, char id[32]) { snprintf(id, 32, doc < W_ROOT ? "doc-%u" : "a/doc-%u", doc); }

uint32_t w_number(cn_str id) {
    char text[32];
    snprintf(text, sizeof text, CN_STR_FMT, CN_STR_ARG(id));
    const char *dash = strrchr(text, '-');
    return dash ? (uint32_t)strtoul(dash + 1, NULL, 10) % W_DOCS : 0;
}

static bool glob_fits(int glob, uint32_t doc) { /* what each of w_globs means, doc by doc */
    bool in_root = doc < W_ROOT;
    uint32_t first = doc;
    while (first >= 10)
        first /= 10;
    switch (glob) {
    case 0: return in_root && first == 1;
    case 1: return !in_root;
    case 2: return in_root;
    case 3: return !in_root && doc / 10 == 4;
    default: return true;
    }
}

cn_labels w_labels(cn_arena *a, uint32_t bits) {
    cn_str *v = cn_arena_zalloc(a, O_LABELS, sizeof *v);
    uint32_t n = 0;
    for (int i = 0; i < O_LABELS; i++)
        if (bits >> i & 1)
            v[n++] = cn_str_of(o_label_name[i]);
    return (cn_labels){v, n};
}

uint32_t w_labels_random(w_world *w) {
    uint32_t bits = 0;
    for (uint32_t n = o_below(&w->r, 5); n > 0; n--)
        bits |= 1u << o_below(&w->r, O_LABELS);
    return bits;
}

/* As the member of a random name, by the real directory, which must give what the model's does. */
static uint32_t as_member(w_world *w) {
    uint32_t label = o_below(&w->r, O_LABELS), holds = w_member_holds(w, label);
    cn_labels got, want = w_labels(&w->a, holds);
    cn_err e = cn_principal_expand(w->t, cn_str_of(o_label_name[label]), &w->a, &got);
    bool same = e == CN_OK && got.n == want.n;
    for (uint32_t i = 0; same && i < got.n; i++)
        same = cn_str_eq(got.v[i], want.v[i]);
    if (!same)
        w_wrong(w, "member %s: %u labels, the model says %u: %s", o_label_name[label], e == CN_OK ? got.n : 0, want.n, cn_error_detail());
    w->as_members++;
    return holds;
}

w_who w_who_random(w_world *w) {
    uint32_t holds = o_chance(&w->r, 25) ? as_member(w) : w_labels_random(w);
    if (W_LARGE) /* who may read little is answered without cells */
        holds |= w_labels_random(w);
    return (w_who){holds, o_chance(&w->r, 30) ? holds & w_labels_random(w) : holds};
}

cn_principal w_principal(cn_arena *a, w_who p) { return (cn_principal){w_labels(a, p.holds), w_labels(a, p.asks)}; }

/* ---------- the rules ---------- */
static bool good(const w_version *v) { return !(v->marks & (CN_MARK_SUSPECT | CN_MARK_QUARANTINED | CN_MARK_DROPPED)); }

static uint32_t head_of(const w_index *ix) {
    uint32_t n = ix->n;
    while (n && !good(&ix->v[n]))
        n--;
    return n;
}

const w_row *w_whole(const w_row *row) { return row && !row->stub ? row : NULL; }

static bool narrows(const w_row *was, const w_row *is) {
    return was && is && ((was->d.allow & ~is->d.allow) || (is->d.deny & ~was->d.deny) || (is->d.require & ~was->d.require));
}

static bool dead(const w_world *w, uint32_t doc, const w_row *row) {
    uint32_t source = doc % W_SOURCES;
    if (w->hidden[doc] || w->erased[doc] || row->stamp < w->dead_before[doc] || w->source_hides[source])
        return true;
    for (int g = 0; g < W_GLOBS; g++)
        if ((w->glob_hides[g][source] || w->glob_hides[g][W_SOURCES]) && glob_fits(g, doc))
            return true;
    return false;
}

bool w_permits(const w_world *w, const w_index *ix, uint32_t version, uint32_t doc, w_who p) {
    const w_row *row = ix->v[version].row[doc];
    if (!row || dead(w, doc, row))
        return false;
    uint32_t allow = row->d.allow, deny = row->d.deny, require = row->d.require;
    for (uint32_t n = version + 1; n <= ix->n; n++) {
        const w_row *later = ix->v[n].in_force ? ix->v[n].row[doc] : NULL;
        if (later && (later->stamp >= w->dead_before[doc] || ix->v[n].lists[doc])) { /* what was erased when it was sealed says nothing of labels */
            allow &= later->d.allow;
            deny |= later->d.deny;
            require |= later->d.require;
        }
    }
    allow |= w->granted[doc];
    deny |= w->denied[doc];
    return (allow & p.asks) && !(deny & p.holds) && !(require & ~p.asks);
}

/* ---------- opening ---------- */
/* Every refused attempt leaves exactly one record in the chain. */
static void check_audited(w_world *w, const char *what, bool refused) {
    uint64_t n;
    cn_digest head;
    if (cn_audit_verify(w->t, &n, &head) != CN_OK)
        w_wrong(w, "%s", cn_error_detail());
    if (refused && n != w->records + 1)
        w_wrong(w, "%s: refused, and %llu records were added", what, (unsigned long long)(n - w->records));
    w->records = n;
}

void w_check(w_world *w, const char *what, cn_err got, cn_err want) {
    check_audited(w, what, want != CN_OK);
    if (got != want)
        w_wrong(w, "%s: %s, the model says %s: %s", what, cn_err_name(got), cn_err_name(want), cn_error_detail());
    w->refused += want != CN_OK;
}

static bool open_again(w_world *w) {
    return cn_data_open(w->dir, &w->data) == CN_OK && cn_tenant_open(w->data, CN_STR("acme"), &w->t) == CN_OK;
}

void w_reopen(w_world *w) {
    cn_tenant_unref(w->t);
    cn_data_close(w->data);
    if (!open_again(w)) {
        printf("\n  %s\n", cn_error_detail());
        abort();
    }
}

static bool make_index(w_world *w, uint32_t i) {
    cn_index_settings s;
    w_index *ix = &w->ix[i];
    cn_index_settings_default(&s);
    snprintf(ix->name, sizeof ix->name, "ix%u", i);
    ix->metric = s.metric = (cn_metric)((w->r.s + i) % 3);
    s.cells = true;
    s.keep_versions = W_KEEP;
    s.keep_days = 0;
    return cn_index_create(w->t, cn_str_of(ix->name), &s, &who) == CN_OK;
}

bool w_open(w_world *w, uint64_t seed) {
    memset(w, 0, sizeof *w);
    w->r.s = seed;
    cn_arena_init(&w->a, 1 << 20, (size_t)1 << 30);
    snprintf(w->dir, sizeof w->dir, "%s/cairn-world-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    bool ok = mkdtemp(w->dir) && rmdir(w->dir) == 0 && cn_data_init(w->dir) == CN_OK && cn_data_open(w->dir, &w->data) == CN_OK &&
              cn_tenant_create(w->data, CN_STR("acme"), &who) == CN_OK && cn_tenant_open(w->data, CN_STR("acme"), &w->t) == CN_OK &&
              cn_searcher_new(&w->searcher) == CN_OK;
    for (uint32_t i = 0; ok && i < W_INDEXES; i++)
        ok = make_index(w, i);
    if (!ok)
        printf("\n  %s\n", cn_error_detail());
    return ok;
}

void w_close(w_world *w) {
    char rm[96];
    cn_searcher_free(w->searcher);
    cn_tenant_unref(w->t);
    cn_data_close(w->data);
    while (w->rows) {
        w_row *r = w->rows;
        w->rows = r->next;
        free(r);
    }
    cn_arena_done(&w->a);
    snprintf(rm, sizeof rm, "rm -rf %s", w->dir);
    if (system(rm) != 0)
        printf("\n  %s is left behind\n", w->dir);
}

/* ---------- a job ---------- */
static w_row *row_random(w_world *w, uint32_t doc, const w_row *old) {
    w_row *r = calloc(1, sizeof *r);
    r->next = w->rows;
    w->rows = r;
    snprintf(r->d.source, sizeof r->d.source, "%s", w_source(doc));
    w_id(doc, r->d.id);
    o_doc_random(&w->r, W_DIM, &r->d);
    if (old && o_chance(&w->r, 50)) { /* other labels only, or nothing new */
        o_doc fresh = r->d;
        r->d = old->d;
        if (o_chance(&w->r, 70))
            r->d.allow = fresh.allow, r->d.deny = fresh.deny, r->d.require = fresh.require;
    }
    return r;
}

static void write_row(w_world *w, cn_segw *seg, const w_row *r) {
    CN_AUTO_BUF cn_buf meta;
    cn_chunk c[O_CHUNKS_MAX] = {{0}};
    char text[W_TEXT];
    uint32_t bytes = w_text(&r->d, text, c);
    cn_buf_init(&meta, 4096);
    o_doc_meta(&r->d, &meta);
    for (uint32_t i = 0; i < r->d.chunks; i++)
        c[i].vector = r->d.vec[i];
    cn_doc d = {.source = cn_str_of(r->d.source), .id = cn_str_of(r->d.id), .modified = o_doc_modified(&r->d), .meta = cn_buf_str(&meta),
                .text = {text, bytes}, .chunks = c, .n_chunks = r->d.chunks,
                .labels = {w_labels(&w->a, r->d.allow), w_labels(&w->a, r->d.deny), w_labels(&w->a, r->d.require)}};
    d.content = cn_sha256_of(r->d.vec, sizeof r->d.vec);
    d.row = cn_sha256_of(&r->d, sizeof r->d);
    if (cn_segw_add(seg, &d) != CN_OK)
        w_wrong(w, "adding %s: %s", r->d.id, cn_error_detail());
}

static void job_done(w_world *w, w_index *ix, const w_version *next, uint64_t number, bool differs) {
    uint32_t want = differs ? ix->n + 1 : head_of(ix);
    if (number != want)
        w_wrong(w, "sealed as %llu, the model says %u", (unsigned long long)number, want);
    if (!differs)
        return;
    w_version *v = &ix->v[ix->n + 1];
    *v = *next;
    for (uint32_t m = 1; m <= ix->n; m++)
        for (uint32_t d = 0; !(ix->v[m].marks & CN_MARK_DROPPED) && d < W_DOCS; d++)
            v->lists[d] |= narrows(w_whole(ix->v[m].row[d]), w_whole(v->row[d]));
    ix->n++;
    w->sealed++;
}

/* What lists in force over the head take from a row of it; NULL: nothing. */
static w_row *narrowed(w_world *w, const w_index *ix, uint32_t head, uint32_t doc) {
    const w_row *row = ix->v[head].row[doc];
    o_doc left = row->d;
    for (uint32_t n = head + 1; n <= ix->n; n++) {
        const w_row *later = ix->v[n].in_force ? ix->v[n].row[doc] : NULL;
        if (later) {
            left.allow &= later->d.allow;
            left.deny |= later->d.deny;
            left.require |= later->d.require;
        }
    }
    if (left.allow == row->d.allow && left.deny == row->d.deny && left.require == row->d.require)
        return NULL;
    w_row *r = calloc(1, sizeof *r);
    *r = (w_row){.next = w->rows, .d = left, .stamp = ++w->stamp};
    w->rows = r;
    return r;
}

static void job(w_world *w, w_index *ix) {
    uint32_t head = head_of(ix);
    w_version next = {0};
    cn_key gone[4];
    cn_recipe recipe = {.embedder = CN_STR("none"), .precision = CN_STR(""), .parser = CN_STR("p/1"), .normaliser = CN_STR("n/1"),
                        .chunker = CN_STR("document"), .analyser = CN_STR("english"), .metric = ix->metric, .dim = W_DIM};
    cn_seal s = {.index = cn_str_of(ix->name), .base = head, .recipe = &recipe, .removed = gone, .job = CN_STR("j")};
    cn_segw *seg = NULL;
    bool differs = head == 0;
    uint64_t number = 0;
    cn_digest root;
    if (ix->n == W_VERSIONS)
        return;
    memcpy(next.row, ix->v[head].row, sizeof next.row);
    for (uint32_t i = 0, n = head ? 1 + o_below(&w->r, W_NEXT) : W_FIRST / 2 + o_below(&w->r, W_FIRST / 2); i < n; i++) {
        uint32_t doc = o_below(&w->r, W_DOCS);
        const w_row *old = next.row[doc];
        if (w->erased[doc] || (old && old != ix->v[head].row[doc])) /* rejected; written by this job already */
            continue;
        if (old && s.n_removed < 4 && o_chance(&w->r, 20)) {
            gone[s.n_removed++] = cn_key_of(cn_str_of(w_source(doc)), cn_str_of(old->d.id));
            next.row[doc] = NULL;
            s.counts.deleted++;
            differs = true;
            continue;
        }
        if (!old && ix->v[head].row[doc]) /* deleted by this job already */
            continue;
        w_row *r = row_random(w, doc, old);
        r->stamp = ++w->stamp;
        next.row[doc] = r;
        s.counts.added += !old;
        differs |= !old || memcmp(&old->d, &r->d, sizeof r->d) != 0 || old->stamp < w->dead_before[doc] || narrowed(w, ix, head, doc);
        if (!seg && cn_segw_new(w->t, W_DIM, &seg) != CN_OK)
            abort();
        write_row(w, seg, r);
    }
    if (!seg && s.n_removed == 0)
        return;
    for (uint32_t doc = 0; head && doc < W_DOCS; doc++) { /* what nobody touched comes over as it may be read */
        const w_row *row = ix->v[head].row[doc];
        w_row *r = row && next.row[doc] == row && !w->erased[doc] && row->stamp >= w->dead_before[doc] ? narrowed(w, ix, head, doc) : NULL;
        differs |= r != NULL;
        next.row[doc] = r ? r : next.row[doc];
    }
    w_check(w, "seal", cn_version_seal(w->t, &s, seg, &who, &number, &root), CN_OK);
    job_done(w, ix, &next, number, differs);
}

/* ---------- flips ---------- */
static uint32_t place(const w_index *ix, uint32_t version) {
    uint32_t at = 0;
    while (at < ix->n_way && ix->way[at] != version)
        at++;
    return at;
}

/* A version activated for the first time goes to the right end; one that was gone back to stands right of the next lower number on
 * the way that was gone, and among others that came there so by number. */
static void line_up(w_index *ix, uint32_t to, bool back) {
    w_version *v = &ix->v[to];
    uint32_t at = ix->n_way;
    v->before = ix->active;
    v->gone_back_to = back;
    while (back && v->before > to)
        v->before = ix->v[v->before].before;
    if (back)
        for (at = v->before ? place(ix, v->before) + 1 : 0; at < ix->n_way && ix->v[ix->way[at]].gone_back_to && ix->way[at] < to;)
            at++;
    memmove(&ix->way[at + 1], &ix->way[at], (ix->n_way++ - at) * sizeof *ix->way);
    ix->way[at] = to;
}

static void point(w_index *ix, uint32_t to, bool back) {
    w_version *v = &ix->v[to];
    if (!(v->marks & CN_MARK_EVER_ACTIVE)) {
        v->in_force = true;
        line_up(ix, to, back);
    }
    v->marks = (v->marks | CN_MARK_EVER_ACTIVE) & ~(unsigned)CN_MARK_SUSPECT;
    ix->active = to;
}

static cn_err may_point(const w_version *v, bool reason) {
    return v->marks & CN_MARK_DROPPED                       ? CN_NOT_FOUND
           : v->marks & CN_MARK_QUARANTINED                 ? CN_REFUSED
           : (v->marks & CN_MARK_SUSPECT) && !reason        ? CN_REFUSED
                                                            : CN_OK;
}

static void activate(w_world *w, w_index *ix) {
    uint32_t to = o_chance(&w->r, 50) ? ix->n : o_below(&w->r, ix->n + 2);
    uint64_t expect = o_chance(&w->r, 60) ? CN_ANY_VERSION : o_chance(&w->r, 80) ? ix->active : o_below(&w->r, ix->n + 2);
    bool reason = o_chance(&w->r, 50), by_job = o_chance(&w->r, 30);
    cn_err want = CN_OK;
    if (expect != CN_ANY_VERSION && expect != ix->active)
        want = CN_CONFLICT;
    else if (to == 0 || to > ix->n || (ix->v[to].marks & CN_MARK_DROPPED))
        want = CN_NOT_FOUND;
    else
        want = by_job && ix->hold ? CN_REFUSED : may_point(&ix->v[to], reason);
    w_check(w, "activate", cn_version_activate(w->t, cn_str_of(ix->name), to, expect, by_job, reason ? &why : &who, NULL), want);
    if (want == CN_OK)
        point(ix, to, false);
}

static void rollback(w_world *w, w_index *ix) {
    uint32_t to = o_chance(&w->r, 60) ? 0 : 1 + o_below(&w->r, ix->n + 1), asked = to;
    bool reason = o_chance(&w->r, 50);
    uint64_t from = 0, got = 0;
    cn_err want = ix->active ? CN_OK : CN_REFUSED;
    const w_version *now = &ix->v[ix->active];
    if (want == CN_OK && to == 0) {
        to = now->before;
        while (to && !good(&ix->v[to]))
            to = ix->v[to].before;
        want = to ? CN_OK : CN_REFUSED;
    } else if (want == CN_OK) {
        const w_version *v = to <= ix->n ? &ix->v[to] : NULL;
        if (!v || (v->marks & CN_MARK_DROPPED))
            want = CN_NOT_FOUND;
        else if (to == ix->active || !(v->marks & CN_MARK_EVER_ACTIVE ? place(ix, to) < place(ix, ix->active) : to < ix->active))
            want = CN_REFUSED;
        else
            want = may_point(v, reason);
    }
    w_check(w, "rollback", cn_version_rollback(w->t, cn_str_of(ix->name), asked, reason ? &why : &who, &from, &got), want);
    if (want != CN_OK)
        return;
    if (from != ix->active || got != to)
        w_wrong(w, "rolled back from %llu to %llu, the model says %u to %u", (unsigned long long)from, (unsigned long long)got, ix->active, to);
    ix->v[ix->active].marks |= CN_MARK_SUSPECT;
    ix->hold = true;
    point(ix, to, true);
    if (place(ix, (uint32_t)got) >= place(ix, (uint32_t)from))
        w_wrong(w, "a rollback went forward, from %llu to %llu", (unsigned long long)from, (unsigned long long)got);
}

static void mark(w_world *w, w_index *ix) {
    static const unsigned marks[2] = {CN_MARK_PINNED, CN_MARK_QUARANTINED};
    uint32_t to = 1 + o_below(&w->r, ix->n + 1);
    unsigned bit = marks[o_below(&w->r, 2)];
    bool set = o_chance(&w->r, 40);
    cn_err want = CN_OK;
    if (to > ix->n || (ix->v[to].marks & CN_MARK_DROPPED))
        want = CN_NOT_FOUND;
    else if (set && bit == CN_MARK_QUARANTINED && to == ix->active)
        want = CN_REFUSED;
    w_check(w, "mark", cn_version_mark(w->t, cn_str_of(ix->name), to, set ? bit : 0, set ? 0 : bit, &who), want);
    if (want == CN_OK)
        ix->v[to].marks = set ? ix->v[to].marks | bit : ix->v[to].marks & ~bit;
}

static void drop(w_world *w, w_index *ix) {
    uint32_t to = 1 + o_below(&w->r, ix->n + 1);
    cn_err want = CN_OK;
    if (to > ix->n || (ix->v[to].marks & CN_MARK_DROPPED))
        want = CN_NOT_FOUND;
    else if (to == ix->active || (ix->v[to].marks & CN_MARK_PINNED))
        want = CN_REFUSED;
    w_check(w, "drop", cn_version_drop(w->t, cn_str_of(ix->name), to, &who), want);
    if (want == CN_OK)
        ix->v[to].marks |= CN_MARK_DROPPED;
}

static void release(w_world *w, w_index *ix) {
    w_check(w, "release", cn_version_release(w->t, cn_str_of(ix->name), &who), ix->hold ? CN_OK : CN_REFUSED);
    ix->hold = false;
}

static void reinstate(w_world *w, w_index *ix) {
    uint32_t n = 1 + o_below(&w->r, ix->n + 1);
    uint64_t epoch;
    bool older = false, there, some = false;
    for (uint32_t m = 1; m < n && m <= ix->n; m++)
        older |= !(ix->v[m].marks & CN_MARK_DROPPED);
    for (uint32_t d = 0; n <= ix->n && d < W_DOCS; d++)
        some |= ix->v[n].lists[d];
    there = n <= ix->n && ix->v[n].in_force && some && older; /* a list that concerns no version left has ended */
    cn_err got = cn_policy_reinstate(w->t, cn_str_of(ix->name), n, &why, &epoch);
    if (there || got != CN_OK)
        w_check(w, "reinstate", got, there ? CN_OK : CN_NOT_FOUND);
    else
        check_audited(w, "reinstate", false); /* entries of what was erased may still have been there */
    if (n <= ix->n)
        ix->v[n].in_force = false;
}

/* What is good lies before the active version by fewer good ones than are kept, what is not good goes, but for what a hold leaves to
 * be looked at; no version is young here. */
static bool gc_takes(const w_index *ix, uint32_t number, uint32_t head, uint32_t back) {
    const w_version *v = &ix->v[number];
    uint32_t between = 0;
    if ((v->marks & (CN_MARK_DROPPED | CN_MARK_PINNED)) || number == ix->active || number == head || number == back)
        return false;
    if (!good(v))
        return number > ix->active ? !ix->hold : !(ix->hold && (v->marks & CN_MARK_SUSPECT));
    for (uint32_t i = number + 1; i < ix->active; i++)
        between += good(&ix->v[i]);
    return number < ix->active && between >= W_KEEP;
}

static void gc(w_world *w, w_index *ix) {
    cn_version *v;
    uint32_t n;
    cn_gc_result plan, did;
    uint32_t back = ix->active ? ix->v[ix->active].before : 0, head = head_of(ix);
    bool takes[W_VERSIONS + 1];
    while (back && !good(&ix->v[back]))
        back = ix->v[back].before;
    for (uint32_t i = 1; i <= ix->n; i++)
        takes[i] = gc_takes(ix, i, head, back);
    cn_arena_reset(&w->a);
    w_check(w, "gc", cn_version_gc(w->t, cn_str_of(ix->name), true, &who, &plan), CN_OK);
    w_check(w, "gc", cn_version_gc(w->t, cn_str_of(ix->name), false, &who, &did), CN_OK);
    w_check(w, "list", cn_version_list(w->t, cn_str_of(ix->name), &w->a, &v, &n), CN_OK);
    uint32_t gone = 0;
    for (uint32_t i = 1; i <= n && n == ix->n; i++) {
        bool drops = (v[i - 1].marks & CN_MARK_DROPPED) && !(ix->v[i].marks & CN_MARK_DROPPED);
        gone += drops;
        if (drops != takes[i])
            w_wrong(w, "gc %s version %u of %u, active %u", drops ? "dropped" : "kept", i, ix->n, ix->active);
        if (drops)
            ix->v[i].marks |= CN_MARK_DROPPED;
    }
    if (n != ix->n || gone != did.versions || plan.versions != did.versions)
        w_wrong(w, "gc: %u versions of %u gone, it says %u and planned %u", gone, n, did.versions, plan.versions);
}

/* ---------- compaction ---------- */
static bool row_erased(const w_world *w, uint32_t doc, const w_row *row) { return w->erased[doc] || row->stamp < w->dead_before[doc]; }

/* What the rules say of it; the number of documents of which only a stub is left now. */
static uint32_t compact_model(w_world *w, w_index *ix) {
    bool gone[W_DOCS] = {0};
    uint32_t n = 0;
    for (uint32_t i = 1; i <= ix->n; i++)
        for (uint32_t d = 0; !(ix->v[i].marks & CN_MARK_DROPPED) && d < W_DOCS; d++) {
            w_row *r = (w_row *)(uintptr_t)ix->v[i].row[d];
            if (r && !r->stub && row_erased(w, d, r))
                r->stub = gone[d] = true;
            ix->v[i].lists[d] &= !w->erased[d]; /* then it may have been taken out */
        }
    for (uint32_t d = 0; d < W_DOCS; d++)
        n += gone[d];
    return n;
}

static void check_versions(w_world *w, const w_index *ix, const cn_version *before, uint32_t n_before) {
    cn_version *v;
    uint32_t n;
    w_check(w, "list", cn_version_list(w->t, cn_str_of(ix->name), &w->a, &v, &n), CN_OK);
    for (uint32_t i = 0; i < n && n == n_before; i++) {
        if (!cn_digest_eq(&v[i].root, &before[i].root) || v[i].marks != before[i].marks || memcmp(&v[i].counts, &before[i].counts, sizeof v[i].counts) != 0)
            w_wrong(w, "compaction changed version %u", i + 1);
        if (!(v[i].marks & CN_MARK_DROPPED) && cn_version_check(w->t, &v[i]) != CN_OK)
            w_wrong(w, "after a compaction: version %u: %s", i + 1, cn_error_detail());
    }
}

static void compact(w_world *w, w_index *ix) {
    cn_version *before;
    uint32_t n;
    cn_compact_result plan, did = {0}, again;
    w_check(w, "list", cn_version_list(w->t, cn_str_of(ix->name), &w->a, &before, &n), CN_OK);
    w_check(w, "compact", cn_version_compact(w->t, cn_str_of(ix->name), &(cn_compact_opts){.dry = true}, &who, &plan), CN_OK);
    w_check(w, "compact", cn_version_compact(w->t, cn_str_of(ix->name), &(cn_compact_opts){0}, &who, &did), CN_OK);
    uint32_t stubs = compact_model(w, ix);
    w_check(w, "compact", cn_version_compact(w->t, cn_str_of(ix->name), &(cn_compact_opts){.dry = true}, &who, &again), CN_OK);
    if (did.erased < stubs || plan.erased != did.erased || plan.rewritten != did.rewritten || plan.segments_after != did.segments_after)
        w_wrong(w, "compact: %llu documents erased and %u files replaced, %llu and %u planned; the model says %u documents", (unsigned long long)did.erased,
                did.rewritten, (unsigned long long)plan.erased, plan.rewritten, stubs);
    if (again.rewritten || again.erased || again.dropped || again.segments_before != did.segments_after)
        w_wrong(w, "compact: again %u files of %u (%u left before), %llu documents erased", again.rewritten, again.segments_before, did.segments_after,
                (unsigned long long)again.erased);
    check_versions(w, ix, before, n);
    w->compacted += did.rewritten;
    w->stubs += stubs;
}

/* ---------- any of them ---------- */
static void policy_one(w_world *w, w_index *ix) {
    (void)ix;
    w_change_policy(w, 1);
}

static void policy_many(w_world *w, w_index *ix) {
    (void)ix;
    w_change_policy(w, 2 + o_below(&w->r, 5));
}

static void members(w_world *w, w_index *ix) {
    (void)ix;
    w_change_members(w);
}

static void restart(w_world *w, w_index *ix) {
    (void)ix;
    w_reopen(w);
}

const w_step w_steps[] = {{"job", 30, job}, {"activate", 18, activate}, {"rollback", 8, rollback}, {"mark", 5, mark}, {"drop", 2, drop},
                          {"release", 4, release}, {"reinstate", 3, reinstate}, {"gc", 2, gc}, {"compact", 3, compact}, {"restart", 1, restart},
                          {"policy", 19, policy_one}, {"policies", 8, policy_many}, {"members", 4, members}};
const unsigned w_n_steps = sizeof w_steps / sizeof *w_steps;
_Static_assert(sizeof w_steps / sizeof *w_steps <= W_STEPS_MAX, "room for counts");

void w_change(w_world *w) {
    w_index *ix = &w->ix[o_below(&w->r, W_INDEXES)];
    uint32_t all = 0, i = 0;
    for (unsigned k = 0; k < w_n_steps; k++)
        all += w_steps[k].weight;
    cn_arena_reset(&w->a);
    for (uint32_t x = ix->n == 0 ? 0 : o_below(&w->r, all); x >= w_steps[i].weight; i++)
        x -= w_steps[i].weight;
    w->done[i]++;
    w_steps[i].run(w, ix);
}
