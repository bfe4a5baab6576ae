#include "tests/index/damage_ask.h"

#include <CUnit/CUnit.h>
#include <math.h>
#include <stdio.h>

#include "engine/base/os.h"
#include "engine/cells/cells.h"
#include "index/catalog/frozen.h"
#include "index/catalog/recall.h"
#include "index/policy/key.h"
#include "index/policy/principal.h"
#include "index/trace/trace.h"
#include "ingest/job/rows.h"

#define MANY 4096 /* rows of a second index: as many as have codes, so that there are cells over them */
#define FOUND 8

unsigned long a_by_cells;

/* ---------- what there is ---------- */
static const s_row one[] = {{"a", "first", "public", "", ""}, {"b", "second", "group:x", "", ""}, {"c", "third", "public,group:y", "user:u", "user:v"},
                            {"d", "fourth", "public", "", ""}};
static const s_row two[] = {{"c", "third", "group:y", "user:u", "user:v"}, {"e", "fifth", "public", "", ""}};

/* A version of the same segments by another analyser, which has postings of its own. */
static bool set_analyser(cn_str index) {
    cn_index_info ix;
    if (cn_index_get(s_tenant, index, &s_arena, &ix) != CN_OK)
        return false;
    ix.set.analyser = CN_STR("none");
    return cn_index_set(s_tenant, index, &ix.set, &s_who) == CN_OK && cn_index_get(s_tenant, index, &s_arena, &ix) == CN_OK && ix.newest == 2;
}

static bool make_many(void) {
    static char ids[MANY][16], texts[MANY][32];
    static s_row rows[MANY];
    cn_index_settings set;
    cn_index_settings_default(&set);
    set.chunker = CN_STR("document");
    set.metric = CN_IP;
    set.cells = true;
    cn_cells_set_from(MANY);
    for (uint32_t i = 0; i < MANY; i++) {
        snprintf(ids[i], sizeof ids[i], "m%u", i);
        snprintf(texts[i], sizeof texts[i], "number %u of many", i % 97);
        rows[i] = (s_row){ids[i], texts[i], i % 3 ? "public" : "group:x", "", ""};
    }
    return cn_index_create(s_tenant, CN_STR("m"), &set, &s_who) == CN_OK && s_seal("m", rows, MANY, NULL) == 1 && s_activate("m", 1) == CN_OK &&
           set_analyser(CN_STR("m"));
}

static bool make_frozen(void) {
    static const char set[] = "\x82\xa1k\x05\xa7queries\x91\x83\xa2id\xa1q\xa4text\xa1x\xa9must_find\x91\xa1""a";
    cn_unpacked u = {0};
    cn_frozen_set frozen;
    cn_digest digest;
    bool ok = cn_unpack(&u, set, sizeof set - 1) == CN_OK && cn_frozen_set_read(&u.o, &s_arena, &frozen) == CN_OK;
    frozen.name = CN_STR("core");
    ok = ok && cn_frozen_set_put(s_tenant, CN_STR("p"), &frozen, &s_who, &digest) == CN_OK;
    cn_unpacked_done(&u);
    return ok;
}

#define RECORDS 3
static int64_t kept_from_us;
static bool make_trace(void) {
    const cn_trace_limits plenty = {(uint64_t)64 << 20, CN_TRACE_KEEP_US};
    bool ok = true;
    for (uint8_t i = 0; i < RECORDS; i++) {
        cn_trace_entry e = {cn_wall_us() + i, {{1, i}}, CN_STR("\x81\xa3""doc\xa1""a")};
        ok = ok && cn_trace_put(s_tenant, &e, 1, &plenty) == CN_OK;
    }
    cn_trace_state st;
    ok = ok && cn_trace_look(s_tenant, &st) == CN_OK;
    kept_from_us = st.from_us;
    return ok;
}

static bool make_documents(void) {
    s_index("p");
    return s_seal("p", one, 4, NULL) == 1 && s_activate("p", 1) == CN_OK && s_seal("p", two, 2, "d") == 2 && s_activate("p", 2) == CN_OK &&
           s_policy(CN_POLICY_ALLOW, "b", "group:z", &s_who) == CN_OK && s_policy(CN_POLICY_DENY, "e", "user:w", &s_who) == CN_OK &&
           s_policy(CN_POLICY_ERASE, "a", "", &s_who) == CN_OK && s_policy(CN_POLICY_RESTORE, "a", "", &s_why) == CN_OK &&
           s_policy(CN_POLICY_HIDE_GLOB, "zz*", "", &s_who) == CN_OK && cn_member_set(s_tenant, CN_STR("user:ana"), s_labels("group:hr"), &s_who) == CN_OK &&
           cn_member_set(s_tenant, CN_STR("group:hr"), s_labels("group:staff"), &s_who) == CN_OK;
}

/* Beside documents: what a responder looks at, and what others may do. */
static char live_id[9], revoked_id[9];
static cn_digest live_secret, revoked_secret;
static bool make_key(char id[9], cn_digest *secret) {
    char text[CN_KEY_TEXT];
    cn_key_info k = {.tenant = CN_STR("acme"), .scopes = CN_SCOPE(query) | CN_SCOPE(versions), .labels = s_labels("public,group:x"), .index = CN_STR("p*"), .expires_us = CN_NO_TIME};
    return cn_key_add(s_data, &k, &s_who, text) == CN_OK && cn_key_split(cn_str_of(text), id, secret) == CN_OK;
}

static bool make_keys(void) {
    return make_key(live_id, &live_secret) && make_key(revoked_id, &revoked_secret) && cn_key_revoke(s_data, CN_STR("acme"), cn_str_of(revoked_id), &s_why) == CN_OK;
}

#define G CN_STR("g")
/* Version 2 serves after a rollback from 3, which is suspect; 1 is pinned, 4 quarantined; 5 has results that meet the gate. */
static bool make_versions(void) {
    static const cn_str asked[] = {{"recall@10>=0.95", 15}, {"losses<3", 8}};
    static const cn_gate_result shown[] = {{.name = {"recall@10", 9}, .value = .97}, {.name = {"losses", 6}, .value = 2}};
    bool ok = true;
    uint64_t from, to;
    s_index("g");
    for (uint32_t i = 0; ok && i < 5; i++) {
        const char ids[][2] = {"a", "b", "c", "d", "e"};
        const s_row row = {ids[i], "words", "public", "", ""};
        ok = s_seal("g", &row, 1, NULL) == i + 1 && (i > 2 || s_activate("g", i + 1) == CN_OK);
        if (i == 2)
            ok = ok && cn_version_rollback(s_tenant, G, 0, &s_why, &from, &to) == CN_OK && to == 2;
    }
    return ok && cn_version_mark(s_tenant, G, 1, CN_MARK_PINNED, 0, &s_who) == CN_OK && cn_version_mark(s_tenant, G, 4, CN_MARK_QUARANTINED, 0, &s_who) == CN_OK &&
           cn_gate_require(s_tenant, G, asked, 2, &s_why) == CN_OK && cn_gate_submit(s_tenant, G, 5, shown, 2, &s_who) == CN_OK;
}

static char job[CN_JOB_ID_TEXT];
static bool make_job(void) {
    cn_job_row r;
    bool has_old;
    cn_seg_id old;
    cn_reject no = {.seq = 7, .doc = CN_STR("z"), .where = CN_STR("line 8"), .why = CN_STR("it has no text")};
    cn_job_row_init(&r);
    cn_job_new_id(r.id);
    memcpy(job, r.id, sizeof job);
    r.index = G, r.source = CN_STR("default"), r.kind = CN_STR("ingest"), r.who = s_who.who, r.via = CN_STR("rpc"), r.opts = CN_STR("\x80");
    bool ok = cn_jobs_claim(s_tenant, &r, &has_old, &old) == CN_OK && cn_rejects_add(s_tenant, r.id, &no, 1) == CN_OK;
    r.state = CN_JOB_DONE, r.version = 5, r.counts = (cn_counts){.read = 2, .added = 1, .rejected = 1}, r.share = 1;
    ok = ok && cn_jobs_end(s_tenant, &r) == CN_OK;
    cn_job_row_done(&r);
    return ok;
}

static uint64_t m_id;
static bool make_recall(void) {
    cn_index_info ix;
    cn_recall_counts c = {.dropped = 3};
    cn_recall_effort effort = cn_recall_usual();
    effort.aim[1] = 2;
    cn_tally_add(&c.v[CN_PLAN_CELLS][CN_SELECTS_ALL][1], .875, 8);
    if (cn_index_get(s_tenant, CN_STR("m"), &s_arena, &ix) != CN_OK)
        return false;
    m_id = ix.id;
    return cn_recall_add(s_tenant, m_id, 1, &c, &effort) == CN_OK;
}

/* Last: they let nothing else be made. */
static bool make_modes(void) {
    return cn_mode_set(s_tenant, G, CN_STR("refuse"), CN_STR("come back at noon"), &s_why) == CN_OK &&
           cn_mode_set(s_tenant, CN_STR(""), CN_STR("drain"), CN_STR(""), &s_why) == CN_OK &&
           cn_host_mode_set(s_data, CN_STR("freeze"), CN_STR(""), &s_why) == CN_OK;
}

bool a_set_up(void) {
    static bool (*const make[])(void) = {make_documents, make_many, make_frozen, make_trace, make_keys, make_versions, make_job, make_recall, make_modes};
    bool ok = s_open();
    for (size_t i = 0; ok && i < sizeof make / sizeof *make; i++)
        if (!(ok = make[i]()))
            printf("\n  making number %zu: %s\n", i, cn_error_detail());
    return ok;
}

/* ---------- questions ---------- */
static uint32_t mix(uint32_t sum, const void *p, size_t n) { return cn_crc32c(sum, p, n); }

static int number_of(uint32_t sum) { return (int)(sum >> 1); }

static int finds(const char *index, uint64_t version, const cn_query *q) {
    cn_view *v;
    cn_hit hits[10];
    uint32_t n = 0, sum = 0;
    cn_doc d;
    cn_searcher *s;
    if (cn_view_open(s_tenant, cn_str_of(index), version, &v) != CN_OK)
        return REFUSED;
    CU_ASSERT_EQUAL_FATAL(cn_searcher_new(&s), CN_OK);
    cn_search_stats st = {0};
    cn_err e = cn_search(v, q, s, hits, &n, &st);
    a_by_cells += st.by_cells;
    for (uint32_t i = 0; e == CN_OK && i < n; i++) {
        e = cn_seg_doc_brief(hits[i].seg, hits[i].doc, &d);
        sum = e == CN_OK ? mix(mix(sum, d.id.p, d.id.n), &hits[i].score, sizeof hits[i].score) : sum;
    }
    cn_searcher_free(s);
    cn_view_unref(v);
    return e == CN_OK ? number_of(mix(sum, &n, sizeof n)) : REFUSED;
}

/* By words, by vectors and both; of the second index by cells, by codes, and by all that is derived of its rows. */
static void find_all(int answers[FOUND]) {
    static const float v[SMALL_DIM] = {1, 100, 1, 1};
    static const struct {
        const char *index, *labels, *text;
        uint64_t version;
        cn_mode mode;
        double recall;
        bool operators;
    } q[FOUND] = {{"p", "public,group:y", "third fifth", 0, CN_MODE_LEXICAL, 1, false}, {"p", "public,group:y,group:x", "fifth", 0, CN_MODE_HYBRID, 1, false},
                  {"m", "public", NULL, 0, CN_MODE_DENSE, .95, false}, {"m", "public,group:x", NULL, 0, CN_MODE_DENSE, 1, false},
                  {"m", "group:x", "\"number 7\" man*", 0, CN_MODE_LEXICAL, 1, true}, {"m", "public", "number 11", 0, CN_MODE_HYBRID, 1, false},
                  {"m", "public", "of 7", 1, CN_MODE_LEXICAL, 1, false}, {"m", "public", "of 7", 2, CN_MODE_LEXICAL, 1, false}};
    for (int i = 0; i < FOUND; i++) {
        const cn_query query = {.who = cn_principal_of(s_labels(q[i].labels)), .vector = q[i].mode == CN_MODE_LEXICAL ? NULL : v, .text = cn_str_of(q[i].text ? q[i].text : ""),
                                .k = 10, .mode = q[i].mode, .recall = q[i].recall, .operators = q[i].operators, .min_score = -INFINITY};
        answers[i] = finds(q[i].index, q[i].version, &query);
    }
}

static int expands(void) {
    cn_labels l;
    uint32_t sum = 0;
    if (cn_principal_expand(s_tenant, CN_STR("user:ana"), &s_arena, &l) != CN_OK)
        return REFUSED;
    for (uint32_t i = 0; i < l.n; i++)
        sum = mix(sum, l.v[i].p, l.v[i].n);
    return number_of(sum);
}

static int asks_frozen(void) {
    cn_frozen_set *v;
    uint32_t n;
    if (cn_frozen_sets(s_tenant, CN_STR("p"), &s_arena, &v, &n) != CN_OK)
        return REFUSED;
    return n == 1 && v[0].n == 1 && cn_str_is(v[0].v[0].text, "x") && cn_str_is(v[0].v[0].find[0].id, "a");
}

typedef struct traced {
    uint32_t records, lost;
} traced;

static cn_err see(void *ctx, const cn_trace_key *key, const msgpack_object *map, bool *stop) {
    traced *t = ctx;
    (void)stop;
    bool whole = map && !cn_trace_is_gap(key) && cn_str_is(cn_obj_str(cn_get(map, "doc")), "a");
    *(whole ? &t->records : &t->lost) += 1;
    return CN_OK;
}

/* Records may be lost, if that is told: by a gap, a damaged record, a file set aside, or a store that begins later. */
static int tells_of_requests(void) {
    traced t = {0};
    cn_trace_scan scan = {.from_us = 0};
    cn_trace_state st;
    if (cn_trace_each(s_tenant, &scan, see, &t) != CN_OK || cn_trace_look(s_tenant, &st) != CN_OK || st.aside || st.from_us != kept_from_us || t.lost)
        return REFUSED;
    return t.records == RECORDS;
}

static uint32_t mix_str(uint32_t sum, cn_str s) { return mix(mix(sum, &s.n, sizeof s.n), s.p, s.n); }
static int told(cn_err e, uint32_t sum) { return e == CN_OK ? number_of(sum) : e == CN_NOT_FOUND ? ABSENT : REFUSED; }
static uint32_t mix_labels(uint32_t sum, cn_labels l) {
    for (uint32_t i = 0; i < l.n; i++)
        sum = mix_str(sum, l.v[i]);
    return mix(sum, &l.n, sizeof l.n);
}

/* ---------- keys ---------- */
static uint32_t mix_key(uint32_t sum, const cn_key_info *k) {
    sum = mix(mix_str(mix(sum, k->id, sizeof k->id), k->tenant), &k->scopes, sizeof k->scopes);
    sum = mix_str(mix_str(mix_labels(sum, k->labels), k->principals), k->index);
    return mix(mix(sum, &k->expires_us, sizeof k->expires_us), &k->revoked, sizeof k->revoked);
}

/* A key that opens nothing is no leak; one that opens other things than it did, or does again, is. */
static int opens(const char id[9], const cn_digest *secret) {
    cn_key_info k = {.scopes = 0};
    cn_err e = cn_key_check_secret(s_data, id, secret, &s_arena, &k);
    return e == CN_OK ? number_of(mix_key(0, &k)) : REFUSED;
}

static int live_opens(void) { return opens(live_id, &live_secret); }
static int revoked_opens(void) { return opens(revoked_id, &revoked_secret); }

typedef struct listed {
    uint32_t v[2], n; /* of each, by a sum */
} listed;

static cn_err add_key(void *ctx, const cn_key_info *k) {
    listed *l = ctx;
    l->v[l->n++ % 2] = mix_key(0, k);
    return CN_OK;
}

/* One that cannot be read opens nothing, and is left out and logged, so that the others can be revoked. */
static int lists_keys(void) {
    static listed all;
    listed l = {.n = 0};
    cn_err e = cn_key_list(s_data, CN_STR("acme"), add_key, &l);
    if (!all.n)
        all = l;
    if (e == CN_OK && (l.n == 0 || (l.n == 1 && (l.v[0] == all.v[0] || l.v[0] == all.v[1]))))
        return REFUSED;
    return told(e, mix(0, &l, sizeof l));
}

static cn_err add_tenant(void *ctx, cn_str name, int64_t made_us) {
    uint32_t *sum = ctx;
    *sum = mix(mix_str(*sum, name), &made_us, sizeof made_us);
    return CN_OK;
}

static int lists_tenants(void) {
    uint32_t sum = 0;
    cn_err e = cn_tenant_list(s_data, add_tenant, &sum);
    return told(e, sum);
}

/* ---------- modes, versions, gate ---------- */
static uint32_t mix_mode(uint32_t sum, const cn_mode_info *m) { return mix_str(mix_str(mix(mix(sum, &m->kind, sizeof m->kind), &m->at_us, sizeof m->at_us), m->text), m->reason); }

static int modes(cn_str index) {
    cn_modes m;
    cn_err e = cn_modes_get(s_tenant, index, &s_arena, &m);
    return told(e, e == CN_OK ? mix_mode(mix_mode(mix_mode(0, &m.host), &m.tenant), &m.index) : 0);
}
static int modes_of_refusing(void) { return modes(G); }
static int modes_of_another(void) { return modes(CN_STR("p")); }

static uint32_t mix_index(uint32_t sum, const cn_index_info *x) {
    sum = mix_str(mix(mix(sum, &x->id, sizeof x->id), &x->active, sizeof x->active), x->name);
    sum = mix(mix(mix(sum, &x->newest, sizeof x->newest), &x->hold, sizeof x->hold), &x->flipped_us, sizeof x->flipped_us);
    return mix_str(mix_str(mix(sum, &x->set.keep_versions, sizeof x->set.keep_versions), x->set.chunker), x->set.analyser);
}

static int lists_indexes(void) {
    cn_index_info *v;
    uint32_t n = 0, sum = 0;
    cn_err e = cn_index_list(s_tenant, &s_arena, &v, &n);
    for (uint32_t i = 0; e == CN_OK && i < n; i++)
        sum = mix_index(sum, &v[i]);
    return told(e, mix(sum, &n, sizeof n));
}

static uint32_t mix_version(uint32_t sum, const cn_version *v) {
    sum = mix(mix(mix(sum, &v->number, sizeof v->number), &v->root, sizeof v->root), &v->counts, sizeof v->counts);
    sum = mix(mix(mix(sum, &v->base, sizeof v->base), &v->marks, sizeof v->marks), &v->before_active, sizeof v->before_active);
    return mix(mix(mix_str(sum, v->made_by), &v->made_us, sizeof v->made_us), &v->first_active_us, sizeof v->first_active_us);
}

static int lists_versions(void) {
    cn_version *v;
    uint32_t n = 0, sum = 0;
    cn_err e = cn_version_list(s_tenant, G, &s_arena, &v, &n);
    for (uint32_t i = 0; e == CN_OK && i < n; i++)
        sum = mix_version(sum, &v[i]);
    return told(e, mix(sum, &n, sizeof n));
}

static int newest_version(void) {
    cn_version v = {.number = 0};
    cn_err e = cn_version_get(s_tenant, G, 5, &s_arena, &v);
    return told(e, e == CN_OK ? mix_version(0, &v) : 0);
}

static int head(void) {
    cn_version v = {.number = 0};
    cn_err e = cn_version_head(s_tenant, G, &s_arena, &v);
    return told(e, e == CN_OK ? mix_version(0, &v) : 0);
}

/* What it asks, what the newest version showed, and whether that is enough. */
static int gate(void) {
    cn_gate g = {.n = 0};
    cn_gate_results r = {.n = 0};
    uint32_t sum = 0;
    cn_err e = cn_gate_get(s_tenant, G, &s_arena, &g);
    for (uint32_t i = 0; e == CN_OK && i < g.n; i++)
        sum = mix_str(sum, g.v[i].text);
    e = e == CN_OK ? cn_gate_results_of(s_tenant, G, 5, &s_arena, &r) : e;
    for (uint32_t i = 0; e == CN_OK && i < r.n; i++)
        sum = mix(mix(mix_str(sum, r.v[i].name), &r.v[i].value, sizeof r.v[i].value), &r.v[i].against, sizeof r.v[i].against);
    return told(e, e == CN_OK ? mix(mix(sum, &g.n, sizeof g.n), &(bool){cn_gate_met(&g, &r)}, sizeof(bool)) : 0);
}

static int epoch(void) {
    uint64_t now = 0;
    cn_err e = cn_epoch(s_tenant, &now);
    return told(e, mix(0, &now, sizeof now));
}

/* ---------- jobs and recall ---------- */
static int shown(cn_err e, cn_buf *b) { return told(e, e == CN_OK ? mix(0, b->p, b->n) : 0); }

static int shows_job(void) {
    CN_AUTO_BUF cn_buf b;
    cn_buf_init(&b, 65536);
    return shown(cn_job_show(s_tenant, cn_str_of(job), true, NULL, &b), &b);
}

static int lists_jobs(void) {
    CN_AUTO_BUF cn_buf b;
    cn_buf_init(&b, 65536);
    return shown(cn_job_list(s_tenant, NULL, NULL, NULL, &b), &b);
}

static cn_err add_hour(void *ctx, const cn_recall_hour *h) {
    uint32_t *sum = ctx;
    *sum = mix(mix(mix(*sum, &h->version, sizeof h->version), &h->at_us, sizeof h->at_us), &h->effort, sizeof h->effort);
    *sum = mix(mix(*sum, h->counts.v, sizeof h->counts.v), &h->counts.dropped, sizeof h->counts.dropped);
    return CN_OK;
}

static int recall(void) {
    uint32_t sum = 0;
    cn_err e = cn_recall_each(s_tenant, m_id, 0, add_hour, &sum);
    return told(e, sum);
}

/* ---------- all of them ---------- */
static int (*const others[])(void) = {expands, asks_frozen, tells_of_requests, live_opens, revoked_opens, lists_keys, lists_tenants, modes_of_refusing, modes_of_another,
                                      lists_indexes, lists_versions, newest_version, head, gate, epoch, shows_job, lists_jobs, recall};
#define OTHERS (int)(sizeof others / sizeof *others)
_Static_assert(SEEN + FOUND + sizeof others / sizeof *others == QUESTIONS, "an answer for each");

void a_ask_all(int answers[QUESTIONS]) {
    static const struct {
        uint64_t version;
        const char *labels, *id;
    } q[SEEN] = {{1, "public", "a"}, {2, "public", "a"}, {1, "group:x", "b"}, {0, "group:z", "b"}, {0, "public", "b"}, {1, "public,user:v", "c"},
                 {1, "group:y,user:v", "c"}, {2, "group:y", "c"}, {2, "group:y,user:u,user:v", "c"}, {1, "public", "d"}, {0, "public", "d"},
                 {0, "public", "e"}, {0, "public,user:w", "e"}, {1, "public", "e"}};
    cn_arena_reset(&s_arena);
    for (int i = 0; i < SEEN; i++)
        answers[i] = s_sees("p", q[i].version, q[i].labels, q[i].id);
    find_all(answers + SEEN);
    for (int i = 0; i < OTHERS; i++)
        answers[SEEN + FOUND + i] = others[i]();
}
