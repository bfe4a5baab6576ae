/* fuzz_config.c -- any bytes as a configuration file, as JSON, as a file for `policy apply`, as judgements and questions of TREC and
 * BEIR.
 *
 * Owns:    a file in memory, under its name in /proc; a service on a directory of its own.
 * Thread:  one.
 * Limits:  those of replay.h. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "server/net/config.h"
#include "tests/fuzz/replay.h"
#include "tests/server/fixture.h"
#include "tools/cairn/judged.h"

static fixture f;
static int file = -1;
static char path[64];

static void clean_up(void) { fixture_done(&f); }

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc, (void)argv;
    fixture_init(&f);
    file = memfd_create("config", 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    atexit(clean_up);
    return file >= 0 ? 0 : 1;
}

static bool put_file(cn_str s) { return ftruncate(file, 0) == 0 && pwrite(file, s.p, s.n, 0) == (ssize_t)s.n; }

static void config(cn_str s) {
    static char name[] = "cairnd", option[] = "--config", data[] = "--data=/nowhere", listen[] = "--listen=unix:/nowhere";
    char *argv[] = {name, option, path, data, listen, NULL};
    cn_config c = {0};
    if (!put_file(s))
        return;
    if (cn_config_load(5, argv, &c) == CN_OK) {
        CN_ASSERT(c.loops >= 1 && c.queue >= 1 && c.max_frame >= 1024 && c.max_connections >= 1 && c.unix_mode <= 0777);
        cn_config_done(&c);
    } else {
        CN_ASSERT(cn_error_detail()[0]);
    }
}

/* What was read is written, and reads the same again. */
static void json(cn_str s) {
    CN_AUTO_BUF cn_buf once = {.cap = 1 << 22}, text = {.cap = 1 << 22}, twice = {.cap = 1 << 22};
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    if (cn_json_parse(s, &once) != CN_OK || cn_unpack(&u, once.p, once.n) != CN_OK)
        return;
    cn_json_write(&text, &u.o, 0);
    if (text.failed)
        return;
    CN_ASSERT(cn_json_parse(cn_buf_str(&text), &twice) == CN_OK);
    CN_ASSERT(cn_str_eq(cn_buf_str(&once), cn_buf_str(&twice)));
}

static void apply(cn_str s) {
    CN_AUTO_BUF cn_buf list = {.cap = 1 << 22};
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    uint32_t n = 0;
    while (s.n && n < 16) {
        const char *end = memchr(s.p, '\n', s.n);
        size_t line = end ? (size_t)(end - s.p) : s.n;
        if (cn_json_parse((cn_str){s.p, line}, &list) != CN_OK)
            return;
        n++;
        s = (cn_str){s.p + line + (end != NULL), s.n - line - (end != NULL)};
    }
    cn_buf_reset(&f.packed);
    cn_buf_reset(&f.answer);
    cn_pack_map(&f.packed, 2);
    cn_pack_cstr(&f.packed, "tenant");
    cn_pack_cstr(&f.packed, "acme");
    cn_pack_cstr(&f.packed, "changes");
    cn_pack_array(&f.packed, n);
    cn_buf_add(&f.packed, list.p, list.n);
    if (f.packed.failed || cn_unpack(&u, f.packed.p, f.packed.n) != CN_OK)
        return;
    f.call.caller = &f.operator;
    cn_err err = cn_service_call(f.s, &f.call, CN_STR("policy.apply"), &u.o, &f.answer);
    CN_ASSERT(err == CN_OK || err == CN_INVALID || err == CN_REFUSED || err == CN_NOT_FOUND);
    cn_call_reset(&f.call);
}

/* ---------- judgements ---------- */
static void grades(cn_str s) {
    cn_judgements *j;
    if (!put_file(s))
        return;
    if (judged_grades(path, &j) != CN_OK) {
        CN_ASSERT(cn_error_detail()[0]);
        return;
    }
    CN_ASSERT(cn_judge_queries(j) > 0);
    cn_judge_free(j);
}

static cn_err inside(void *ctx, cn_str id, cn_str text, unsigned long line) {
    const cn_str *all = ctx;
    CN_ASSERT(id.n + text.n <= all->n && line > 0);
    return CN_OK;
}

static void questions(cn_str s) {
    if (put_file(s) && judged_questions(path, inside, &s) != CN_OK)
        CN_ASSERT(cn_error_detail()[0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    if (n < 1)
        return 0;
    cn_str s = {(const char *)bytes + 1, n - 1};
    switch (bytes[0] % 8) {
    case 0: config(s); break;
    case 1: json(s); break;
    case 2: apply(s); break;
    case 3: grades(s); break;
    default: questions(s);
    }
    return 0;
}
