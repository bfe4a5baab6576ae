/* permission_bench: what permissions cost a question, a flip, and a long policy.
 *
 * Usage: permission_bench sets DOCUMENTS FOLDER     as many documents as classes; sets of new and of known principals
 *        permission_bench flips CHANGES FOLDER      a version that narrows so many documents, flipped to and back from
 *        permission_bench denials DENIALS FOLDER    two tenants alike, one with so many denials
 * FOLDER: where the temporary data directory is made. Each document has one passage of DIM numbers and may be read by its own
 * user and by one of ten groups. Prints one JSON object. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "benchmarks/search/tenant.h"
#include "engine/base/mem.h"
#include "engine/base/os.h"

#define DIM 32
#define GROUPS 10
#define K 10
#define ROUNDS 101

static cn_searcher *searcher;
static cn_hit hits[K];

static void fill_vector(uint32_t i, float v[DIM]) {
    uint64_t x = i * 0x9e3779b97f4a7c15u + 1;
    for (int d = 0; d < DIM; d++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        v[d] = (float)(x >> 40) / (float)(1 << 23) - 1.0f;
    }
}

/* Documents [0, n); with `narrow` the group's label is gone. */
static void add_docs(cn_segw *w, uint32_t n, bool narrow) {
    for (uint32_t i = 0; i < n; i++) {
        float v[DIM];
        char id[16], user[24], group[24];
        const cn_str allow[2] = {{group, (size_t)snprintf(group, sizeof group, "group:%u", i % GROUPS)}, {user, (size_t)snprintf(user, sizeof user, "user:%u", i)}};
        cn_chunk c = {.vector = v};
        cn_doc d = {.source = CN_STR("default"), .id = {id, (size_t)snprintf(id, sizeof id, "%u", i)}, .modified = CN_NO_TIME, .chunks = &c, .n_chunks = 1,
                    .labels = {{allow + narrow, 2u - narrow}, {0}, {0}}};
        fill_vector(i, v);
        bench_must(cn_segw_add(w, &d), "row");
    }
}

static uint64_t seal(cn_tenant *t, uint32_t n, bool narrow) {
    cn_segw *w;
    bench_must(cn_segw_new(t, DIM, &w), "segment");
    add_docs(w, n, narrow);
    return bench_seal(t, w, CN_IP, DIM, narrow ? 0 : n, narrow ? n : 0);
}

static void make(cn_tenant *t, uint32_t n) {
    bench_index(t, CN_IP);
    bench_must(cn_version_activate(t, BENCH_INDEX, seal(t, n, false), CN_ANY_VERSION, false, &bench_who, NULL), "activate");
}

/* One question of user:N in group:3; the whole and its permitted set, in microseconds. */
static double ask(cn_tenant *t, uint32_t user, double *ret_permit_us) {
    char name[24];
    float v[DIM];
    cn_view *view;
    uint32_t n;
    cn_search_stats stats;
    const cn_str labels[3] = {CN_STR("group:3"), CN_PUBLIC, {name, (size_t)snprintf(name, sizeof name, "user:%u", user)}};
    cn_query q = {.who = {{labels, 3}, {labels, 3}}, .vector = v, .k = K, .mode = CN_MODE_DENSE, .min_score = -INFINITY};
    fill_vector(user * 7919, v);
    uint64_t from = cn_mono_ns();
    bench_must(cn_view_open(t, BENCH_INDEX, 0, &view), "view");
    bench_must(cn_search(view, &q, searcher, hits, &n, &stats), "search");
    cn_view_unref(view);
    if (ret_permit_us)
        *ret_permit_us = (double)stats.permit_ns / 1000;
    return (double)(cn_mono_ns() - from) / 1000;
}

static void sets(uint32_t docs) {
    double fresh[ROUNDS], known[ROUNDS], whole[ROUNDS];
    cn_tenant *t = bench_tenant("sets");
    make(t, docs);
    ask(t, UINT32_MAX, NULL);
    for (uint32_t i = 0; i < ROUNDS; i++) {
        ask(t, i, &fresh[i]);
        whole[i] = ask(t, i, &known[i]);
    }
    printf("{\"documents\": %u, \"classes\": %u, \"new_principal_us\": %.1f, \"known_principal_us\": %.2f, \"known_question_us\": %.1f}\n", docs, docs,
           bench_median(fresh, ROUNDS), bench_median(known, ROUNDS), bench_median(whole, ROUNDS));
}

/* A transaction of one small record in an environment as durable as control.mdb: what the disk's sync costs. */
static double commit_us(MDB_env *env, MDB_dbi dbi, uint32_t i) {
    MDB_txn *txn;
    MDB_val k = {sizeof i, &i}, v = {sizeof i, &i};
    uint64_t from = cn_mono_ns();
    bench_must(cn_mdb(mdb_txn_begin(env, NULL, 0, &txn), "begin"), "commit");
    bench_must(cn_mdb(mdb_put(txn, dbi, &k, &v, 0), "put"), "commit");
    bench_must(cn_mdb(mdb_txn_commit(txn), "commit"), "commit");
    return (double)(cn_mono_ns() - from) / 1000;
}

static MDB_env *open_plain(MDB_dbi *dbi) {
    char path[600];
    MDB_env *env;
    MDB_txn *txn;
    snprintf(path, sizeof path, "%s/plain.mdb", bench_folder());
    bench_must(cn_mdb(mdb_env_create(&env), "env"), path);
    bench_must(cn_mdb(mdb_env_open(env, path, MDB_NOSUBDIR, 0600), "open"), path);
    bench_must(cn_mdb(mdb_txn_begin(env, NULL, 0, &txn), "begin"), path);
    bench_must(cn_mdb(mdb_dbi_open(txn, NULL, 0, dbi), "dbi"), path);
    bench_must(cn_mdb(mdb_txn_commit(txn), "commit"), path);
    return env;
}

static double flip_us(cn_tenant *t, uint64_t number) {
    cn_actor who = bench_who;
    who.reason = CN_STR("measured");
    uint64_t from = cn_mono_ns();
    bench_must(cn_version_activate(t, BENCH_INDEX, number, CN_ANY_VERSION, false, &who, NULL), "flip");
    return (double)(cn_mono_ns() - from) / 1000;
}

static void flips(uint32_t changes) {
    double flip[ROUNDS], plain[ROUNDS], after[ROUNDS], more[ROUNDS];
    MDB_dbi dbi;
    cn_tenant *t = bench_tenant("flips");
    make(t, changes);
    uint64_t second = seal(t, changes, true);
    MDB_env *env = open_plain(&dbi);
    ask(t, 1, NULL);
    double first = flip_us(t, second);
    double first_after = ask(t, 1, NULL);
    for (uint32_t i = 0; i < ROUNDS; i++) {
        plain[i] = commit_us(env, dbi, i);
        flip[i] = flip_us(t, i % 2 ? second : second - 1);
        after[i] = ask(t, 1, NULL);
        more[i] = flip[i] - plain[i];
    }
    mdb_env_close(env);
    printf("{\"changes\": %u, \"first_flip_us\": %.1f, \"first_question_after_us\": %.1f, \"flip_us\": %.1f, \"plain_commit_us\": %.1f, \"flip_besides_sync_us\": %.1f, "
           "\"question_after_flip_us\": %.1f}\n",
           changes, first, first_after, bench_median(flip, ROUNDS), bench_median(plain, ROUNDS), bench_median(more, ROUNDS), bench_median(after, ROUNDS));
}

/* Denies user:any on documents [0, n), a thousand in a call; the longest call in microseconds. */
static double deny(cn_tenant *t, uint32_t n) {
    static cn_policy_change c[1000];
    static char ids[1000][16];
    static const cn_str label = {"user:any", 8};
    double longest = 0;
    for (uint32_t done = 0, now; done < n; done += now) {
        now = n - done < 1000 ? n - done : 1000;
        for (uint32_t i = 0; i < now; i++)
            c[i] = (cn_policy_change){CN_POLICY_DENY, CN_STR("default"), {ids[i], (size_t)snprintf(ids[i], 16, "%u", done + i)}, {&label, 1}};
        uint64_t epoch, from = cn_mono_ns();
        bench_must(cn_policy_apply(t, c, now, &bench_who, &epoch), "deny");
        double us = (double)(cn_mono_ns() - from) / 1000;
        longest = us > longest ? us : longest;
    }
    return longest;
}

/* One more, on a document that has one; in microseconds. */
static double deny_one(cn_tenant *t, uint32_t doc) {
    static const cn_str label = {"user:other", 10};
    char id[16];
    uint64_t epoch, from = cn_mono_ns();
    cn_policy_change c = {CN_POLICY_DENY, CN_STR("default"), {id, (size_t)snprintf(id, sizeof id, "%u", doc)}, {&label, 1}};
    bench_must(cn_policy_apply(t, &c, 1, &bench_who, &epoch), "deny");
    return (double)(cn_mono_ns() - from) / 1000;
}

static void denials(uint32_t n) {
    static double with[20 * ROUNDS], without[20 * ROUNDS], ratio[20 * ROUNDS];
    cn_tenant *a = bench_tenant("denied"), *b = bench_tenant("plain");
    make(a, n);
    make(b, n);
    double call = deny(a, n), first = ask(a, 1, NULL);
    ask(b, 1, NULL);
    for (uint32_t i = 0; i < 20 * ROUNDS; i++) {
        with[i] = ask(a, 1, NULL);
        without[i] = ask(b, 1, NULL);
        ratio[i] = with[i] / without[i];
    }
    static double again[ROUNDS], next[ROUNDS];
    for (uint32_t i = 0; i < ROUNDS; i++) {
        again[i] = deny_one(a, i * 7);
        next[i] = ask(a, 1, NULL);
    }
    printf("{\"denials\": %u, \"documents\": %u, \"longest_call_of_1000_us\": %.1f, \"first_question_us\": %.1f, \"warm_question_us\": %.1f, \"without_denials_us\": %.1f, "
           "\"times\": %.3f, \"one_more_denial_us\": %.1f, \"question_after_one_more_us\": %.1f}\n",
           n, n, call, first, bench_median(with, 20 * ROUNDS), bench_median(without, 20 * ROUNDS), bench_median(ratio, 20 * ROUNDS), bench_median(again, ROUNDS), bench_median(next, ROUNDS));
}

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        void (*fn)(uint32_t);
    } parts[] = {{"sets", sets}, {"flips", flips}, {"denials", denials}};
    uint32_t n = argc == 4 ? (uint32_t)strtoul(argv[2], NULL, 10) : 0;
    for (size_t i = 0; n && i < sizeof parts / sizeof *parts; i++)
        if (strcmp(argv[1], parts[i].name) == 0) {
            bench_data(argv[3]);
            bench_must(cn_searcher_new(&searcher), "searcher");
            parts[i].fn(n);
            cn_searcher_free(searcher);
            bench_data_done();
            return 0;
        }
    fprintf(stderr, "usage: permission_bench sets|flips|denials N FOLDER\n");
    return 2;
}
