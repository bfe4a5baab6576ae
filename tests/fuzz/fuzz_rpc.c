/* What a stranger may send: bytes in any pieces -> frames -> messages -> the methods themselves, by nobody, by a key that reads,
 * and by one that may do everything in its tenant.
 *
 * With clang: CC=clang meson setup build-fuzz -Dfuzz=true -Db_sanitize=address,undefined -Db_lundef=false \
 *               -Dc_args=-fsanitize=fuzzer-no-link;  build-fuzz/tests/fuzz/fuzz_rpc
 * With any compiler: fuzz_rpc_replay FILE..., or without files: its seeds, each mutated in a fixed order. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "server/wire/rpc.h"
#include "tests/server/fixture.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static fixture f;
static cn_arena keys;
static cn_caller key, all;
static unsigned calls; /* since the tenant was made */
#define CALLS_MAX 500 /* then it is made anew: what the last key did to it would be all that is met */

static void clean_up(void) {
    cn_arena_done(&keys);
    fixture_done(&f);
}

static void make(void) {
    char text[CN_KEY_TEXT];
    fixture_init(&f);
    cn_arena_init(&keys, 4096, 1 << 20);
    make_key(&f, "{\"tenant\":\"acme\",\"scopes\":[\"query\",\"versions\",\"audit\",\"act-as\"]}", &keys, &key, text);
    make_key(&f, "{\"tenant\":\"acme\",\"scopes\":[\"query\",\"ingest\",\"activate\",\"force\",\"versions\",\"policy\",\"operate\",\"audit\",\"admin\"],"
                 "\"labels\":[\"public\",\"group:hr\"]}", &keys, &all, text);
    ask(&f, &f.operator, "admin.index_create", "{\"tenant\":\"acme\",\"index\":\"docs2\",\"embedder\":\"none\"}");
    ask(&f, &f.operator, "documents.put", "{\"tenant\":\"acme\",\"index\":\"docs2\",\"activate\":true,\"documents\":["
                                         "{\"id\":\"e0\",\"text\":\"the public two\",\"labels\":[\"public\"],\"vector\":[0,1,0,0]}]}");
    ask(&f, &f.operator, "policy.erase", "{\"tenant\":\"acme\",\"docs\":[\"gone\"]}");
    calls = 0;
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc, (void)argv;
    make();
    atexit(clean_up);
    return 0;
}

static void call(cn_caller *who, const cn_message *m) {
    static cn_unpacked u;
    static cn_buf out = {.cap = 1 << 20};
    const msgpack_object *map;
    cn_err err = cn_unpack(&u, m->params.p, m->params.n);
    if (err == CN_OK)
        err = cn_params_map(&u.o, &map);
    cn_buf_reset(&out);
    cn_rpc_result_open(&out, m->msgid);
    size_t before = out.n;
    f.call.caller = who;
    if (err == CN_OK)
        err = cn_service_call(f.s, &f.call, m->method, map, &out);
    cn_call_reset(&f.call);
    if (err != CN_OK) {
        CN_ASSERT(out.n == before && !out.failed);
        cn_buf_reset(&out);
        cn_rpc_error(&out, m->msgid, err, cn_error_detail());
    }
    size_t whole; /* whatever was asked, the answer is one whole message */
    CN_ASSERT(cn_pack_check(out.p, out.n, &whole) == CN_OK && whole == out.n);
}

/* For the old files of a compaction to go, which takes a minute. */
static bool waits(const cn_message *m) { return cn_str_is(m->method, "versions.compact") && memmem(m->params.p, m->params.n, "wait", 4); }

/* A job goes on after the answer: what it holds is no leak while it runs, and what the next input meets should not be by chance. */
static void let_jobs_end(const cn_message *m) {
    bool may_start = m->method.n > 7 && memcmp(m->method.p, "ingest.", 7) == 0;
    while (may_start && strstr(ask(&f, &f.operator, "ingest.list", "{\"tenant\":\"acme\"}"), "\"running\""))
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

static void message(cn_str frame) {
    cn_message m;
    cn_str text;
    if (cn_message_parse(frame, &m) != CN_OK)
        return;
    if (m.kind == CN_RESPONSE)
        cn_rpc_error_read(m.error, &text);
    if (m.kind != CN_REQUEST)
        return;
    call(&f.nobody, &m);
    call(&key, &m);
    if (waits(&m))
        return;
    call(&all, &m);
    let_jobs_end(&m);
    if (++calls == CALLS_MAX) {
        clean_up();
        make();
    }
}

/* The first byte says in which steps the rest arrives. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    if (n < 1)
        return 0;
    size_t step = 1 + bytes[0], start = 0;
    const char *p = (const char *)bytes + 1;
    cn_frames frames;
    cn_frames_init(&frames, 1 << 16);
    n--;
    for (size_t have = step < n ? step : n;; have = n - have < step ? n : have + step) {
        size_t len;
        cn_err err;
        while ((err = cn_frames_next(&frames, p + start, have - start, &len)) == CN_OK) {
            CN_ASSERT(len > 0 && len <= have - start);
            message((cn_str){p + start, len});
            start += len;
        }
        if (err == CN_INVALID || have == n)
            return 0;
    }
}
