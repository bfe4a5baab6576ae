/* The writer's part: rows into the file in the order they were read, counted, and noted for a resume.
 *
 * The note in the file (little-endian), committed together with the rows it speaks of:
 *   0   4  format: 7; 6: without the last field, as builds before this one wrote it; 0: nothing to go on from
 *   4   4  1: the whole input is in it, which deletes nothing; else 0
 *   8   8  version the job builds on; 0: none
 *  16   8  rows read so far
 *  24  32  chain over them (digests.h)
 *  56  96  counts: read, added, unchanged, changed, relabelled, rejected, deleted, unlabelled, listed, parsed over, skipped, unnamed
 * 152  32  digest of the policy by which the rows were made
 * 184  32  digest of the recipe: a model or chunker of the same name may be another by the time of a resume
 * 216   8  id of the index: so may an index
 * 224   8  the newest version there was when that head was read, trials apart: one that was set aside then is none it builds on */
#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "engine/base/utf8.h"
#include "ingest/job/digests.h"
#include "ingest/job/run.h"

#define NOTE_FORMAT 7
#define NOTE_BEFORE 6
#define BYTES_BEFORE 224
#define KEEP_NS 2000000000ull
#define VERSIONS_ARENA ((size_t)1 << 30)
#define ID_LISTED 512 /* bytes of a rejected document's id */

typedef struct note {
    uint32_t format, whole;
    uint64_t base, rows;
    cn_digest chain;
    uint64_t read, added, unchanged, changed, relabelled, rejected, deleted, unlabelled, listed, parsed_over, skipped, unnamed;
    cn_digest policy, recipe;
    uint64_t index, newest;
} note;
_Static_assert(sizeof(note) == 232, "the layout of the note is fixed");

static note note_of(const cn_run *r) {
    const cn_counts *c = &r->counts;
    return (note){.format = NOTE_FORMAT, .index = r->index.id, .newest = r->index.newest, .base = r->has_head ? r->head.number : 0, .rows = r->seq, .chain = r->chain, .read = c->read, .added = c->added,
                  .unchanged = c->unchanged, .changed = c->changed, .relabelled = c->relabelled, .rejected = c->rejected, .deleted = c->deleted,
                  .unlabelled = c->unlabelled, .listed = r->listed, .parsed_over = r->parsed_over, .skipped = c->skipped, .unnamed = r->unnamed,
                  .policy = cn_policy_digest(r->policy), .recipe = r->recipe_digest};
}

/* Rows made again were not read from the input: a resume has no place in it to go on from. */
static cn_err leave_note(cn_run *r) {
    note n = note_of(r);
    n.format = r->own ? 0 : NOTE_FORMAT;
    return cn_segw_note(r->w, (cn_str){(const char *)&n, sizeof n});
}

/* What is deleted stands in no row, and of rows of the head that it made anew another head may have others: such a job reads its input
 * again. */
cn_err cn_run_note_whole(cn_run *r, cn_str *ret) {
    note n = note_of(r);
    n.whole = 1;
    *ret = (cn_str){NULL, 0};
    if (r->n_removed || r->remake)
        return CN_OK;
    *ret = cn_arena_str(&r->arena, (cn_str){(const char *)&n, sizeof n});
    return ret->p ? CN_OK : cn_fail_memory();
}

static cn_err came_back(void *ctx, const cn_erasure *e) { return cn_segw_has(ctx, &e->key) ? CN_CONFLICT : CN_OK; }

/* Under another policy than this one, a row of a document that was restored may have been made of one that is erased. */
static bool made_of_erased(cn_run *r, const note *n) {
    cn_digest now = cn_policy_digest(r->policy);
    return !cn_digest_eq(&now, &n->policy) && cn_policy_restored_since(r->policy, NULL, came_back, r->w) != CN_OK;
}

/* All zero where the file has none that we know. */
static cn_err load_note(cn_run *r, note *ret) {
    CN_AUTO_BUF cn_buf b;
    cn_buf_init(&b, 1 << 20);
    CN_TRY(cn_segw_get_note(r->w, &b));
    *ret = (note){0};
    if (b.n == sizeof *ret || b.n == BYTES_BEFORE)
        memcpy(ret, b.p, b.n);
    if (ret->format != (b.n == sizeof *ret ? NOTE_FORMAT : NOTE_BEFORE))
        *ret = (note){0};
    return CN_OK;
}

static bool fits(const cn_run *r, const note *n) {
    return n->format && n->index == r->index.id && n->base == (r->has_head ? r->head.number : 0) && cn_digest_eq(&n->recipe, &r->recipe_digest);
}

static bool usable(cn_run *r, const note *n) { return fits(r, n) && !made_of_erased(r, n); }

cn_err cn_run_built_on(const cn_run *r, uint64_t base, uint64_t newest, bool *ret) {
    CN_CLEANUP(cn_arena_done) cn_arena a;
    cn_version *v;
    uint32_t n;
    cn_arena_init(&a, 16384, VERSIONS_ARENA);
    CN_TRY(cn_version_list(r->t, r->o.index, &a, &v, &n));
    uint64_t at = r->has_head ? r->head.number : 0;
    while (at > base && at > newest && at <= n)
        at = v[at - 1].base;
    *ret = at == base;
    return CN_OK;
}

static cn_err is_whole(cn_run *r, const note *n, bool *ret) {
    *ret = n->format && n->whole && n->index == r->index.id && !made_of_erased(r, n);
    return *ret ? cn_run_built_on(r, n->base, n->newest, ret) : CN_OK;
}

static cn_err read_note(cn_run *r, bool *ret_usable) {
    note n;
    CN_TRY(load_note(r, &n));
    CN_TRY(is_whole(r, &n, &r->whole));
    *ret_usable = r->whole || usable(r, &n);
    if (!*ret_usable)
        return CN_OK;
    r->skip_to = n.rows;
    r->skip_chain = n.chain;
    r->counts = (cn_counts){.read = n.read, .added = n.added, .unchanged = n.unchanged, .changed = n.changed, .relabelled = n.relabelled,
                            .rejected = n.rejected, .deleted = n.deleted, .unlabelled = n.unlabelled, .skipped = n.skipped};
    r->listed = n.listed;
    r->parsed_over = n.parsed_over;
    r->unnamed = n.unnamed;
    return CN_OK;
}

/* The rows stay where they are until they are made again; nothing is read any more. */
static void close_whole(cn_run *r) {
    cn_segw_leave(r->w);
    r->w = NULL;
    r->fed = r->seq = r->skip_to; /* no row of those to come was done */
}

cn_err cn_run_start_anew(cn_run *r) {
    if (r->w)
        cn_segw_abort(r->w);
    r->w = NULL;
    r->skip_to = r->seq = r->fed = r->listed = r->parsed_over = r->unnamed = r->n_removed = 0;
    r->chain = r->skip_chain = (cn_digest){{0}};
    r->stale = r->found_any = false;
    r->counts = (cn_counts){0};
    r->now.docs_before = 0;
    r->row.has_file = false;
    cn_ledger_forget(&r->ledger);
    return cn_rejects_cut(r->t, r->row.id, 0);
}

/* Done before the stop: no part of this run's rate. */
static void show_before(cn_run *r) {
    pthread_mutex_lock(&r->lock);
    r->now.counts = r->counts;
    r->now.docs_before = r->counts.read;
    pthread_mutex_unlock(&r->lock);
}

cn_err cn_run_take_up(cn_run *r) {
    bool usable = false;
    if (!r->row.has_file)
        return cn_run_start_anew(r);
    cn_err err = cn_segw_open_again(r->t, &r->row.file, &r->w);
    if (err == CN_NOT_FOUND || err == CN_DAMAGED) /* swept, or never committed */
        return cn_run_start_anew(r);
    CN_TRY(err);
    CN_TRY(read_note(r, &usable));
    if (!usable)
        return cn_run_start_anew(r);
    show_before(r);
    if (r->whole)
        close_whole(r);
    return cn_rejects_cut(r->t, r->row.id, r->skip_to);
}

cn_err cn_run_take_up_rebuild(cn_run *r, uint64_t *ret_of) {
    note n;
    cn_err err = cn_segw_open_again(r->t, &r->row.file, &r->w);
    if (err == CN_NOT_FOUND || err == CN_DAMAGED)
        return CN_OK;
    CN_TRY(err);
    CN_TRY(load_note(r, &n));
    *ret_of = n.base;
    return CN_OK;
}

static cn_err pass_over(cn_run *r, uint64_t *ret) {
    cn_key key;
    cn_digest leaf;
    for (cn_place at = {0}; cn_ledger_next_rest(&r->ledger, &at); at.doc++) {
        CN_TRY(cn_seg_leaf(cn_ledger_seg(&r->ledger, at), at.doc, &key, &leaf));
        if (cn_segw_has(r->w, &key))
            *ret += cn_ledger_take(&r->ledger, at);
    }
    return CN_OK;
}

/* By their keys: compaction may have put the head's documents into another order. What was rejected is tried again. */
cn_err cn_run_pass_over(cn_run *r) {
    note n;
    uint64_t done = 0;
    if (!r->w)
        return cn_run_start_anew(r);
    CN_TRY(load_note(r, &n));
    if (!fits(r, &n))
        return cn_run_start_anew(r);
    r->of_before = made_of_erased(r, &n);
    CN_TRY(pass_over(r, &done));
    r->counts = (cn_counts){.read = done, .changed = done};
    r->fed = done;
    show_before(r);
    return cn_rejects_cut(r->t, r->row.id, 0);
}

/* The file is named in the job's row before anything is in it, so that a resume finds it. */
static cn_err open_file(cn_run *r) {
    CN_TRY(cn_segw_new(r->t, r->recipe.dim, &r->w));
    pthread_mutex_lock(&r->lock);
    r->row.has_file = true;
    r->row.file = cn_segw_id(r->w);
    pthread_mutex_unlock(&r->lock);
    return cn_run_save(r);
}

cn_err cn_remove_key(void *run, const cn_key *key) {
    cn_run *r = run;
    if (!cn_grow(r->removed, r->n_removed, r->room_removed))
        return cn_fail_memory();
    r->removed[r->n_removed++] = *key;
    return CN_OK;
}

/* ---------- rejected ---------- */
/* The name of a file, and what a program says of it, may be any bytes; what is listed is text of at most so many. */
static cn_err text_of(cn_arena *a, cn_str s, size_t most, cn_str *ret) {
    size_t n = s.n < most + 4 ? s.n : most + 4; /* the character that lies over the end stays whole until it is cut */
    char *p = cn_arena_alloc(a, n + 1);
    if (!p)
        return cn_fail_memory();
    if (n)
        memcpy(p, s.p, n);
    cn_utf8_mend(p, n);
    *ret = (cn_str){p, cn_utf8_cut((cn_str){p, n}, most)};
    return CN_OK;
}

static cn_err reject_of(cn_arena *a, const cn_item *it, uint64_t seq, cn_reject *ret) {
    cn_reject x = {.seq = seq, .skipped = it->fate == CN_FATE_SKIPPED};
    CN_TRY(text_of(a, it->raw.id, ID_LISTED, &x.doc));
    CN_TRY(text_of(a, it->raw.where, it->raw.where.n, &x.where));
    CN_TRY(text_of(a, it->why, CN_REASON_MAX, &x.why));
    *ret = x;
    return CN_OK;
}

/* Skipped files take at most half of the list. */
static bool listable(const cn_run *r, const cn_item *it) {
    bool skipped = it->fate == CN_FATE_SKIPPED;
    return (skipped || it->fate == CN_FATE_REJECTED) && !it->skip && r->listed < (skipped ? CN_JOB_REJECTS_MAX / 2 : CN_JOB_REJECTS_MAX);
}

/* Those found by now are listed before the rows after them are written, so that a note never counts one that is not. */
static cn_err list_rejects(cn_run *r, cn_batch *b, const bool *late) {
    cn_reject v[CN_BATCH_ITEMS];
    const cn_item *items = b->items;
    uint64_t first = late ? r->seq - b->n : r->seq;
    uint32_t n = 0;
    for (uint32_t i = 0; i < b->n && !r->dry; i++)
        if (listable(r, &items[i]) && (!late || late[i])) {
            CN_TRY(reject_of(&b->arena, &items[i], first + i, &v[n++]));
            r->listed++;
        }
    return n ? cn_rejects_add(r->t, r->row.id, v, n) : CN_OK;
}

static cn_err twice(cn_batch *b, cn_item *it) {
    return cn_item_reject(&b->arena, it, "its id came before in this job; an id may come once");
}

/* ---------- one row ---------- */
static void count(cn_run *r, const cn_item *it) {
    cn_counts *c = &r->counts;
    switch (it->fate) {
    case CN_FATE_DELETED: c->deleted++; r->parsed_over++; return;
    case CN_FATE_SKIPPED: c->skipped++; return;
    case CN_FATE_ADDED: c->added++; break;
    case CN_FATE_UNCHANGED: c->unchanged++; break;
    case CN_FATE_CHANGED: c->changed++; break;
    case CN_FATE_RELABELLED: c->relabelled++; break;
    case CN_FATE_REJECTED: c->rejected++, r->unnamed += !it->found && (it->raw.id.n == 0 || it->raw.many); break;
    }
    c->read++;
    if (it->how == CN_HOW_PARSE && it->found)
        r->parsed_over++;
    if (it->fate != CN_FATE_REJECTED && it->raw.op != CN_OP_DELETE && !it->rest && it->raw.labels.allow.n == 0)
        c->unlabelled++;
}

/* A rebuild does without a document that nothing can be made of. */
static cn_err leave_out(cn_run *r, const cn_item *it) {
    if (!cn_grow(r->unfit, r->n_unfit, r->room_unfit))
        return cn_fail_memory();
    r->unfit[r->n_unfit++] = it->key;
    r->counts.deleted++;
    return cn_remove_key(r, &it->key);
}

/* A row that the job had done before it was stopped: only the bits are set again. */
static cn_err write_skipped(cn_run *r, cn_item *it) {
    if (!it->found || it->rest)
        return it->fate == CN_FATE_DELETED && it->rest ? cn_remove_key(r, &it->key) : CN_OK;
    bool done = it->fate != CN_FATE_REJECTED && (it->how == CN_HOW_KEEP || cn_segw_has(r->w, &it->key));
    if (!done)
        cn_ledger_see(&r->ledger, it->at);
    else if (cn_ledger_take(&r->ledger, it->at) && it->fate == CN_FATE_DELETED)
        return cn_remove_key(r, &it->key);
    return CN_OK;
}

/* Has the file the row already, or would it? */
static bool written(const cn_run *r, const cn_key *key) { return r->dry ? cn_keyset_has(&r->dry_keys, key) : r->w && cn_segw_has(r->w, key); }

/* The rest of the head comes once each, and is not read for ids that come twice. */
static cn_err add_dry(cn_run *r, cn_batch *b, cn_item *it) {
    if (written(r, &it->key))
        return twice(b, it);
    r->est_chunks += it->est_chunks;
    r->est_tokens += it->est_tokens;
    return it->rest ? CN_OK : cn_keyset_add(&r->dry_keys, &it->key);
}

static cn_err add_row(cn_run *r, cn_batch *b, cn_item *it) {
    if (r->dry)
        return add_dry(r, b, it);
    if (!r->w)
        CN_TRY(open_file(r));
    if (written(r, &it->key))
        return twice(b, it);
    cn_counts before = r->counts;
    uint64_t parsed_over = r->parsed_over;
    count(r, it); /* the note that goes with the row counts it */
    CN_TRY(leave_note(r));
    cn_err err = cn_segw_add_leaf(r->w, &it->doc, &it->leaf);
    r->counts = before;
    r->parsed_over = parsed_over;
    return err == CN_INVALID ? cn_item_reject(&b->arena, it, cn_error_detail()) : err;
}

static cn_err write_row(cn_run *r, cn_batch *b, cn_item *it) {
    if (it->found && it->fate == CN_FATE_REJECTED)
        cn_ledger_see(&r->ledger, it->at);
    else if (it->found && !it->rest && !cn_ledger_take(&r->ledger, it->at)) /* the rest comes once each, and its feed reads the bits */
        CN_TRY(twice(b, it));
    else if (it->fate == CN_FATE_UNCHANGED && it->raw.op == CN_OP_DELETE && written(r, &it->key)) /* new in this job */
        CN_TRY(twice(b, it));
    if (it->fate == CN_FATE_DELETED)
        CN_TRY(cn_remove_key(r, &it->key));
    if (it->fate != CN_FATE_REJECTED && it->fate != CN_FATE_SKIPPED && it->how != CN_HOW_KEEP)
        CN_TRY(add_row(r, b, it));
    count(r, it);
    return it->rest && it->fate == CN_FATE_REJECTED ? leave_out(r, it) : CN_OK;
}

static cn_err at_skip_end(cn_run *r) {
    if (cn_digest_eq(&r->chain, &r->skip_chain))
        return CN_OK;
    r->stale = true;
    return cn_fail(CN_CONFLICT, "the input is not what it was when the job stopped");
}

static void show(cn_run *r) {
    pthread_mutex_lock(&r->lock);
    r->now.counts = r->row.counts = r->counts;
    pthread_mutex_unlock(&r->lock);
}

/* A row that was refused is not noted as written. What was embedded is kept every few seconds, for a resume. */
static cn_err keep(cn_run *r) {
    uint64_t now = cn_mono_ns();
    CN_TRY(leave_note(r));
    if (now - r->kept_ns < KEEP_NS)
        return CN_OK;
    r->kept_ns = now;
    return cn_segw_commit(r->w);
}

cn_err cn_run_write(void *run, cn_batch *b) {
    cn_run *r = run;
    cn_item *items = b->items;
    bool late[CN_BATCH_ITEMS] = {false}, any_late = false;
    uint64_t from = cn_thread_cpu_ns();
    CN_TRY(list_rejects(r, b, NULL));
    for (uint32_t i = 0; i < b->n; i++) {
        cn_item *it = &items[i];
        bool rejected = it->fate == CN_FATE_REJECTED;
        r->chain = cn_chain_digest(&r->chain, it->raw.op, &it->key, &it->said);
        r->seq++;
        r->found_any |= !it->rest && it->raw.op != CN_OP_DELETE;
        CN_TRY(it->skip ? write_skipped(r, it) : write_row(r, b, it));
        any_late |= late[i] = !rejected && it->fate == CN_FATE_REJECTED;
        if (r->seq == r->skip_to)
            CN_TRY(at_skip_end(r));
        cn_give_way_at(i);
    }
    if (any_late)
        CN_TRY(list_rejects(r, b, late));
    cn_spend(r, CN_COST_WRITE, from);
    show(r);
    return r->w && r->seq > r->skip_to ? keep(r) : CN_OK;
}
