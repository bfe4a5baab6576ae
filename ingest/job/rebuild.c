/* A rebuild: every document of the head made anew, then what other jobs brought meanwhile, until nothing is missing.
 *
 * The first version is the long one; it is sealed wherever the head has gone to by then, and is not lost any more. Each round then
 * compares the version whose documents it holds with the head of now, makes what differs, and seals that on top. Rounds get as
 * short as what arrives in one; the last is made while nobody else seals, so it ends with the very documents of the head. Others
 * wait for that one, so it has few passages to make; if more came at the last moment, they get their turn and it is tried again.
 *
 * Where it is to activate and the index has a gate, the version is measured before the last round, and if that changed anything
 * once more, while others wait: results say nothing of another version (results handed in cannot be made, and are asked for). */
#include <inttypes.h>
#include <stdio.h>

#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "index/catalog/gate.h"
#include "index/catalog/turn.h"
#include "ingest/job/finish.h"

#define ROUNDS 64
#define SHORT_NS 1000000000ull /* of a round, so that others may wait for one more */
#define LAST_PASSAGES 500u     /* of the last round, about */
#define SLICE_PASSAGES 64u     /* of it, for each thread, between two looks at the clock */
#define LAST_NS 8000000000ull  /* that round ends without the turn, if it is not made by then */
#define MEASURE_NS 15000000000ull /* what takes longer is not measured while others wait: they do for half a minute (turn.h) */
#define TURN_NS 25000000000ull /* and it ends by then, whatever holds it up, the round before it included */
#define LIST_ARENA ((size_t)1 << 30)

typedef struct catching {
    cn_run *r;
    cn_version v;           /* the trial so far; its manifest lies in the run's arena */
    bool all;               /* nothing is known of how v was made: look at each of its documents */
    bool stopped;           /* v was begun before a stop: what was erased since may be in it */
    bool again;             /* v's list may not speak of another version: sealed once more, it does */
    cn_ledger old, made;    /* of v's base; of v, where that is asked for */
    cn_place *places;       /* in the ledger of now: to be made */
    uint64_t n_places, room, passages; /* passages: of these, as they are now, and one more for each */
    uint64_t turn_ns;       /* when the turn was taken that is held alone */
    uint64_t erased;        /* documents of now that nobody may use any more */
    char unmeasured[512];   /* why the gate's results could not be had; empty: they could, or were not wanted */
} catching;

/* ---------- what differs ---------- */
static const cn_ledger_part *same_part(const cn_ledger *l, const cn_ledger_part *p) {
    for (uint32_t i = 0; i < l->n; i++)
        if (memcmp(cn_seg_get_id(l->parts[i].seg), cn_seg_get_id(p->seg), sizeof(cn_seg_id)) == 0)
            return &l->parts[i];
    return NULL;
}

/* What was erased, restored and sent again is new, whatever it says: the old row stays erased, and so does what was made of it. */
static cn_err same_row(const catching *c, const cn_key *key, const cn_digest *leaf, bool *ret) {
    cn_place at;
    cn_key k;
    cn_digest before;
    bool erased;
    *ret = cn_ledger_find(&c->old, key, &at);
    if (!*ret)
        return CN_OK;
    CN_TRY(cn_seg_leaf(cn_ledger_seg(&c->old, at), at.doc, &k, &before));
    CN_TRY(cn_policy_doc_erased(c->r->policy, cn_ledger_seg(&c->old, at), at.doc, &erased));
    *ret = !erased && cn_digest_eq(&before, leaf);
    return CN_OK;
}

static uint64_t passages_at(const catching *c, cn_place at) {
    const uint32_t *first = cn_seg_doc_row(cn_ledger_seg(&c->r->ledger, at)) + at.doc;
    return 1 + first[1] - first[0];
}

static cn_err add_place(catching *c, cn_place at) {
    if (!cn_ledger_take(&c->r->ledger, at))
        return CN_OK;
    if (!cn_grow(c->places, c->n_places, c->room))
        return cn_fail_memory();
    c->places[c->n_places++] = at;
    c->passages += passages_at(c, at);
    return CN_OK;
}

static cn_err look_at(catching *c, cn_place at, const cn_ledger_part *before) {
    cn_key key;
    cn_digest leaf;
    cn_place there;
    bool same = before && cn_ledger_lives(before, at.doc);
    if (same && !c->all)
        return CN_OK;
    CN_TRY(cn_seg_leaf(cn_ledger_seg(&c->r->ledger, at), at.doc, &key, &leaf));
    if (!same)
        CN_TRY(same_row(c, &key, &leaf, &same));
    return same && (!c->all || cn_ledger_find(&c->made, &key, &there)) ? CN_OK : add_place(c, at);
}

/* Documents of now that v lacks, or has as they were. */
static cn_err find_new(catching *c) {
    const cn_ledger *now = &c->r->ledger;
    for (uint32_t i = 0; i < now->n; i++) {
        const cn_ledger_part *before = same_part(&c->old, &now->parts[i]);
        for (uint32_t doc = 0; doc < now->parts[i].docs; doc++) {
            if (cn_ledger_lives(&now->parts[i], doc))
                CN_TRY(look_at(c, (cn_place){i, doc}, before));
            cn_give_way_at(doc);
        }
    }
    return CN_OK;
}

/* Documents of v that now lacks. */
static cn_err find_gone(catching *c) {
    const cn_ledger *before = c->all ? &c->made : &c->old, *now = &c->r->ledger;
    for (uint32_t i = 0; i < before->n; i++) {
        const cn_ledger_part *p = &before->parts[i], *after = same_part(now, p);
        for (uint32_t doc = 0; doc < p->docs; doc++) {
            cn_key key;
            cn_digest leaf;
            cn_place at;
            if (!cn_ledger_lives(p, doc) || (after && cn_ledger_lives(after, doc)))
                continue;
            CN_TRY(cn_seg_leaf(p->seg, doc, &key, &leaf));
            if (!cn_ledger_find(now, &key, &at))
                CN_TRY(cn_remove_key(c->r, &key));
        }
    }
    return CN_OK;
}

static cn_err look_at_erased(void *ctx, const cn_erasure *e) {
    catching *c = ctx;
    const cn_policy *p = c->r->policy;
    cn_place now, there;
    bool erased = false, made_erased = false, is = cn_ledger_find(&c->r->ledger, &e->key, &now), made = cn_ledger_find(&c->made, &e->key, &there);
    if (is)
        CN_TRY(cn_policy_doc_erased(p, cn_ledger_seg(&c->r->ledger, now), now.doc, &erased));
    if (made)
        CN_TRY(cn_policy_doc_erased(p, cn_ledger_seg(&c->made, there), there.doc, &made_erased));
    c->erased += erased;
    if (erased)
        return made ? cn_remove_key(c->r, &e->key) : CN_OK;
    return is && made_erased ? add_place(c, now) : CN_OK; /* it was erased and restored while its row was made, and is not what now has */
}

/* Those that nothing could be made of, and that now has as they were. */
static cn_err keep_unfit(catching *c) {
    cn_run *r = c->r;
    uint64_t kept = 0;
    for (uint64_t i = 0; i < r->n_unfit; i++) {
        cn_place at;
        cn_key key;
        cn_digest leaf;
        bool stays, erased = false;
        if (!cn_ledger_find(&r->ledger, &r->unfit[i], &at))
            continue;
        CN_TRY(cn_seg_leaf(cn_ledger_seg(&r->ledger, at), at.doc, &key, &leaf));
        CN_TRY(cn_policy_doc_erased(r->policy, cn_ledger_seg(&r->ledger, at), at.doc, &erased));
        CN_TRY(same_row(c, &key, &leaf, &stays));
        if (stays && !erased)
            r->unfit[kept++] = key;
    }
    r->n_unfit = kept;
    return CN_OK;
}

static cn_err differences(catching *c, const cn_digest *policy_before) {
    cn_digest policy = cn_policy_digest(c->r->policy);
    c->n_places = c->passages = c->erased = c->r->n_removed = 0;
    if (c->all || c->stopped || !cn_digest_eq(&policy, policy_before))
        CN_TRY(cn_ledger_open(c->r->t, &c->v, &c->made));
    CN_TRY(find_new(c));
    CN_TRY(find_gone(c));
    CN_TRY(keep_unfit(c));
    return cn_policy_erasures(c->r->policy, look_at_erased, c);
}

/* ---------- one round ---------- */
/* Versions of this job that a later one of it has left behind. */
static void drop_passed(cn_run *r, uint64_t but) {
    CN_CLEANUP(cn_arena_done) cn_arena a;
    cn_version *v;
    uint32_t n;
    cn_arena_init(&a, 16384, LIST_ARENA);
    if (cn_version_list(r->t, r->o.index, &a, &v, &n) != CN_OK)
        return;
    for (uint32_t i = 0; i < n; i++)
        if (v[i].number != but && cn_str_is(v[i].job, r->row.id) && (v[i].marks & (CN_MARK_TRIAL | CN_MARK_DROPPED | CN_MARK_PINNED)) == CN_MARK_TRIAL)
            cn_version_drop(r->t, r->o.index, v[i].number, &r->who);
}

static cn_err seal(cn_run *r, uint64_t base, cn_version *ret) {
    CN_TRY(cn_run_ready(r));
    return cn_run_seal(r, base, r->head.number, &r->arena, ret);
}

static void forget(catching *c) {
    cn_ledger_close(&c->old);
    cn_ledger_close(&c->made);
}

static void give_back(int *io_turn) {
    cn_turn_end(*io_turn);
    *io_turn = -1;
}

static uint64_t end_of_slice(const catching *c, uint64_t at) {
    for (uint64_t n = 0; at < c->n_places && n < SLICE_PASSAGES * c->r->threads; at++)
        n += passages_at(c, c->places[at]);
    return at;
}

static cn_err make_places(catching *c, int *io_turn) {
    cn_run *r = c->r;
    for (uint64_t at = 0, end; at < c->n_places; at = end) {
        end = *io_turn < 0 ? c->n_places : end_of_slice(c, at);
        r->feed = (cn_feed){.next = cn_feed_places, .places = c->places + at, .n_places = end - at};
        CN_TRY(cn_run_line(r));
        if (end < c->n_places && cn_mono_ns() - c->turn_ns > LAST_NS)
            give_back(io_turn);
    }
    return CN_OK;
}

/* Each document of now is made, unfit, or erased. */
static cn_err make(catching *c, int *io_turn) {
    cn_run *r = c->r;
    cn_run_step(r, "catching up");
    CN_TRY(make_places(c, io_turn));
    uint64_t read = r->ledger.live - c->erased;
    r->counts = (cn_counts){.read = read, .changed = read - r->n_unfit, .rejected = r->n_unfit, .deleted = c->erased + r->n_unfit};
    return seal(r, c->v.number, &c->v);
}

static cn_err open_now(catching *c, const cn_version *now, cn_digest *ret_policy) {
    cn_run *r = c->r;
    cn_policy *before = r->policy;
    *ret_policy = cn_policy_digest(before);
    c->old = r->ledger;
    r->ledger = (cn_ledger){0};
    r->policy = NULL;
    cn_err err = cn_policy_load(r->t, &r->policy);
    cn_policy_unref(before);
    CN_TRY(err);
    r->head = *now;
    return cn_ledger_open(r->t, now, &r->ledger);
}

/* Many versions may be looked at for it, and in many rounds: only it is kept. */
static cn_err head_now(cn_run *r, cn_version *ret) {
    CN_CLEANUP(cn_arena_done) cn_arena a;
    cn_version head;
    cn_arena_init(&a, 16384, LIST_ARENA);
    CN_TRY(cn_version_head(r->t, r->o.index, &a, &head));
    CN_TRY(cn_version_get(r->t, r->o.index, head.number, &r->arena, ret));
    return ret->marks & CN_MARK_DROPPED ? cn_fail(CN_CONFLICT, "version %" PRIu64 " was dropped at this moment; go on with the rebuild (--resume)", head.number) : CN_OK;
}

/* *ret_moved: there was something to make. *io_turn: held alone, or -1; given back where that takes long. */
static cn_err catch_up(catching *c, int *io_turn, bool *ret_moved) {
    cn_run *r = c->r;
    cn_version now;
    cn_digest policy;
    *ret_moved = false;
    cn_err err = head_now(r, &now);
    if (err != CN_OK)
        return err == CN_NOT_FOUND ? CN_OK : err; /* nothing that it could lack */
    CN_TRY(open_now(c, &now, &policy));
    CN_TRY(differences(c, &policy));
    *ret_moved = c->again || c->n_places || r->n_removed || now.number != c->v.base;
    if (c->passages > LAST_PASSAGES)
        give_back(io_turn);
    if (*ret_moved)
        CN_TRY(make(c, io_turn));
    c->all = c->stopped = c->again = false;
    return CN_OK;
}

static cn_err round_of(catching *c, int *io_turn, bool *ret_moved) {
    cn_err err = catch_up(c, io_turn, ret_moved);
    forget(c);
    return err;
}

/* ---------- the first version ---------- */
/* A version above v's base that was there when v got its number: v's list of revocations may not speak of it. */
static cn_err got_between(cn_run *r, const cn_version *v, bool *ret) {
    CN_CLEANUP(cn_arena_done) cn_arena a;
    cn_version *all;
    uint32_t n;
    bool any = false;
    cn_arena_init(&a, 16384, LIST_ARENA);
    CN_TRY(cn_version_list(r->t, r->o.index, &a, &all, &n));
    for (uint64_t x = v->base + 1; x < v->number; x++)
        any = any || !(all[x - 1].marks & (CN_MARK_TRIAL | CN_MARK_DROPPED));
    *ret = any;
    return CN_OK;
}

static cn_err first(catching *c, bool resumed, bool *ret_none) {
    cn_run *r = c->r;
    if (resumed && r->row.has_file)
        CN_TRY(cn_run_take_up_rebuild(r, &r->of));
    CN_TRY(cn_run_open(r));
    if (!r->has_head)
        return cn_fail(CN_NOT_FOUND, "index " CN_STR_FMT " has no version to rebuild", CN_STR_ARG(r->o.index));
    if (resumed)
        CN_TRY(cn_run_pass_over(r));
    if (r->remake) {
        cn_feed_begin_rest(r);
        CN_TRY(cn_run_line(r));
    }
    *ret_none = r->dry || ((!r->w || !cn_segw_docs(r->w)) && !r->n_removed);
    if (*ret_none)
        return CN_OK;
    CN_TRY(seal(r, 0, &c->v));
    c->stopped = resumed;
    r->of_before = false;
    return got_between(r, &c->v, &c->again);
}

/* ---------- many rounds ---------- */
static cn_err rounds(catching *c) {
    bool moved = true;
    int none = -1;
    for (int i = 0; moved && i < ROUNDS; i++) {
        uint64_t from = cn_mono_ns();
        CN_TRY(round_of(c, &none, &moved));
        moved = moved && cn_mono_ns() - from > SHORT_NS;
    }
    return CN_OK;
}

/* ---------- going on from one ---------- */
static void leave_file(cn_run *r) {
    pthread_mutex_lock(&r->lock);
    r->row.has_file = false;
    pthread_mutex_unlock(&r->lock);
}

/* Once the job has a version, dropped or not, its file may be named by those made on that one, and is not to be written to. */
static cn_err newest_of_job(cn_run *r, cn_version *ret) {
    CN_CLEANUP(cn_arena_done) cn_arena a;
    cn_version *v;
    uint32_t n;
    cn_arena_init(&a, 16384, LIST_ARENA);
    CN_TRY(cn_version_list(r->t, r->o.index, &a, &v, &n));
    for (uint32_t i = n; i-- > 0;) {
        if (!cn_str_is(v[i].job, r->row.id))
            continue;
        leave_file(r);
        if (!(v[i].marks & CN_MARK_DROPPED))
            return cn_version_get(r->t, r->o.index, v[i].number, &r->arena, ret);
    }
    return CN_NOT_FOUND;
}

static cn_err trial_named(cn_run *r, cn_version *ret) {
    CN_TRY(cn_version_get(r->t, r->o.index, r->o.catch_up, &r->arena, ret));
    if ((ret->marks & (CN_MARK_TRIAL | CN_MARK_DROPPED)) == CN_MARK_TRIAL)
        return CN_OK;
    return cn_fail(CN_INVALID, "version %" PRIu64 " is no rebuild that waits to be activated, so there is nothing for it to catch up with", r->o.catch_up);
}

/* *ret_none: there is none to go on from, and none was named. */
static cn_err find_trial(cn_run *r, bool resumed, cn_version *ret, bool *ret_none) {
    cn_err err = resumed ? newest_of_job(r, ret) : CN_NOT_FOUND;
    *ret_none = err == CN_NOT_FOUND && !r->o.catch_up;
    if (*ret_none)
        return CN_OK;
    return err == CN_NOT_FOUND ? trial_named(r, ret) : err;
}

static cn_err go_on(catching *c) {
    cn_run *r = c->r;
    const cn_recipe *of = &c->v.recipe;
    r->recipe = (cn_recipe){.embedder = of->embedder, .precision = of->precision, .analyser = of->analyser};
    CN_TRY(cn_chunker_words(of->chunker, &r->arena, &r->recipe.chunker));
    r->of = c->v.base;
    c->all = true;
    CN_TRY(got_between(r, &c->v, &c->again));
    CN_TRY(cn_run_open(r));
    if (r->head.number != c->v.base) /* it was dropped: nothing tells what has changed since */
        cn_ledger_close(&r->ledger);
    return cn_rejects_cut(r->t, r->row.id, 0); /* what is missing is tried again */
}

/* ---------- the gate ---------- */
static cn_err is_unmet(const catching *c, bool *ret) {
    CN_CLEANUP(cn_arena_done) cn_arena a;
    cn_gate g;
    cn_gate_results got;
    cn_arena_init(&a, 4096, LIST_ARENA);
    CN_TRY(cn_gate_get(c->r->t, c->r->o.index, &a, &g));
    CN_TRY(cn_gate_results_of(c->r->t, c->r->o.index, c->v.number, &a, &got));
    *ret = !cn_gate_met(&g, &got);
    return CN_OK;
}

/* Where that fails the version is not activated, and it is said why. until_ns: 0: however long it takes. */
static cn_err measure(catching *c, uint64_t until_ns) {
    cn_run *r = c->r;
    cn_run_step(r, "measuring");
    cn_err err = r->measure(r->measure_ctx, c->v.number, until_ns, &r->halt);
    if (err == CN_DEADLINE && until_ns)
        cn_fail(err, "it was not done within %llu s, for which other jobs may be held up", TURN_NS / 1000000000u);
    if (err != CN_OK)
        snprintf(c->unmeasured, sizeof c->unmeasured, "%s", cn_error_detail());
    return cn_run_may_go_on(r);
}

/* Whoever waits for the last round is held up by no version that the gate would refuse, nor for longer than it waits. */
static cn_err measure_ahead(catching *c, bool *ret_once_more) {
    bool unmet = false;
    *ret_once_more = false;
    if (c->r->o.activate && c->r->measure)
        CN_TRY(is_unmet(c, &unmet));
    if (!unmet)
        return CN_OK;
    uint64_t from = cn_mono_ns();
    CN_TRY(measure(c, 0));
    CN_TRY(is_unmet(c, &unmet));
    *ret_once_more = !unmet && cn_mono_ns() - from < MEASURE_NS;
    return rounds(c);
}

static cn_err measure_last(catching *c) {
    bool unmet;
    CN_TRY(is_unmet(c, &unmet));
    return unmet ? measure(c, c->turn_ns + TURN_NS) : CN_OK;
}

/* ---------- the end ---------- */
/* The head's very documents, in a turn of one's own. */
static cn_err last_round(catching *c, int *ret_turn) {
    bool moved;
    for (int i = 0; i < ROUNDS; i++) {
        int fd;
        CN_TRY(cn_turn_take(c->r->t, c->r->index.id, true, &fd));
        c->turn_ns = cn_mono_ns();
        cn_err err = round_of(c, &fd, &moved);
        if (err != CN_OK)
            cn_turn_end(fd);
        CN_TRY(err);
        if (fd >= 0) {
            *ret_turn = fd;
            return CN_OK;
        }
    }
    return cn_fail(CN_OVERLOADED, "jobs bring more at a time than is made in %llu s, or than %u passages; go on with the rebuild when there is less (--resume)", LAST_NS / 1000000000u,
                   LAST_PASSAGES);
}

static void tell_unmeasured(const catching *c, cn_job_result *ret) {
    const cn_run *r = c->r;
    ret->state = CN_JOB_HELD;
    snprintf(ret->why, sizeof ret->why, "version %" PRIu64 " is not active, since it could not be measured for the gate: %.256s; mend that, and `cairn rebuild %s/" CN_STR_FMT " --catch-up %" PRIu64 " --activate` goes on",
             c->v.number, c->unmeasured, cn_tenant_name(r->t), CN_STR_ARG(r->o.index), c->v.number);
}

static cn_err end(catching *c, bool measures, cn_job_result *ret) {
    c->r->counts = ret->counts = c->v.counts;
    ret->state = CN_JOB_DONE;
    cn_run_tell_version(&c->v, ret);
    if (measures)
        CN_TRY(measure_last(c));
    if (!c->unmeasured[0])
        return cn_run_maybe_flip(c->r, &c->v, ret);
    tell_unmeasured(c, ret);
    return CN_OK;
}

static cn_err to_the_end(catching *c, cn_job_result *ret) {
    bool measures;
    int turn;
    CN_TRY(rounds(c));
    CN_TRY(measure_ahead(c, &measures));
    CN_TRY(last_round(c, &turn));
    cn_err err = end(c, measures, ret);
    cn_turn_end(turn);
    if (err == CN_OK)
        drop_passed(c->r, c->v.number);
    return err;
}

static cn_err nothing_made(cn_run *r, cn_job_result *ret) {
    ret->counts = r->counts;
    if (!r->dry)
        return cn_run_unchanged(r, ret);
    CN_TRY(cn_run_may_go_on(r));
    ret->state = CN_JOB_DONE;
    ret->counts.documents = r->head.counts.documents - r->counts.deleted;
    return CN_OK;
}

static void after_the_flip(catching *c, cn_job_result *ret) {
    ret->state = CN_JOB_DONE;
    ret->counts = c->v.counts;
    ret->activated = true;
    cn_run_tell_version(&c->v, ret);
    drop_passed(c->r, c->v.number);
}

static cn_err rebuild(catching *c, bool resumed, cn_job_result *ret) {
    cn_run *r = c->r;
    bool anew, none = false;
    r->recipe = (cn_recipe){.embedder = r->o.embedder, .precision = r->o.precision, .chunker = r->o.chunker, .analyser = r->o.analyser};
    cn_run_step(r, "reading");
    CN_TRY(find_trial(r, resumed, &c->v, &anew));
    if (!anew && !(c->v.marks & CN_MARK_TRIAL)) {
        after_the_flip(c, ret);
        return CN_OK;
    }
    CN_TRY(anew ? first(c, resumed, &none) : go_on(c));
    return none ? nothing_made(r, ret) : to_the_end(c, ret);
}

cn_err cn_run_rebuild(cn_run *r, bool resumed, cn_job_result *ret) {
    catching c = {.r = r};
    cn_err err = rebuild(&c, resumed, ret);
    forget(&c);
    cn_free(c.places);
    if (err != CN_OK && r->cancelled && !r->left)
        drop_passed(r, 0);
    return err;
}
