#include "tests/server/fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "index/trace/trace.h"

static const cn_actor who = {{"tester", 6}, {"command", 7}, {"", 0}};

const char *ask(fixture *f, cn_caller *caller, const char *method, const char *json) {
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    cn_buf_reset(&f->packed);
    cn_buf_reset(&f->answer);
    cn_buf_reset(&f->text);
    CN_ASSERT(cn_json_parse(cn_str_of(json), &f->packed) == CN_OK);
    CN_ASSERT(cn_unpack(&u, f->packed.p, f->packed.n) == CN_OK);
    f->call.caller = caller;
    cn_buf_puts(&f->answer, "x"); /* what stands before the answer stays */
    cn_err err = cn_service_call(f->s, &f->call, cn_str_of(method), &u.o, &f->answer);
    cn_call_reset(&f->call);
    CN_ASSERT(f->call.caller == caller);
    if (err != CN_OK) {
        CN_ASSERT(f->answer.n == 1 && !f->answer.failed);
        cn_buf_printf(&f->text, "%s: %s", cn_err_name(err), cn_error_detail());
    } else {
        CN_AUTO_UNPACKED cn_unpacked a = {0};
        CN_ASSERT(cn_unpack(&a, f->answer.p + 1, f->answer.n - 1) == CN_OK);
        cn_json_write(&f->text, &a.o, 0);
    }
    cn_buf_putc(&f->text, 0);
    return f->text.p;
}

void make_key(fixture *f, const char *json, cn_arena *a, cn_caller *ret, char key[CN_KEY_TEXT]) {
    const char *answer = ask(f, &f->operator, "admin.key_add", json), *at = strstr(answer, "\"key\": \"");
    if (!at)
        printf("key_add: %s\n", answer);
    CN_ASSERT(at);
    memcpy(key, at + 8, 58);
    key[58] = 0;
    CN_ASSERT(cn_service_auth(f->s, cn_str_of(key), "rpc", a, ret) == CN_OK);
}

static void must(fixture *f, const char *method, const char *json) {
    const char *answer = ask(f, &f->operator, method, json);
    if (*answer != '{')
        printf("%s: %s\n", method, answer);
    CN_ASSERT(*answer == '{');
}

void fixture_init(fixture *f) {
    *f = (fixture){.operator = {.kind = CN_CALLER_OPERATOR, .who = "uid:0(root)", .via = "command"}, .nobody = {.who = "nobody", .via = "rpc"}};
    cn_data *d;
    snprintf(f->dir, sizeof f->dir, "%s/cairn-test-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    CN_ASSERT(mkdtemp(f->dir) && rmdir(f->dir) == 0);
    CN_ASSERT(cn_data_init(f->dir) == CN_OK && cn_data_open(f->dir, &d) == CN_OK);
    CN_ASSERT(cn_tenant_create(d, CN_STR("acme"), &who) == CN_OK && cn_tenant_create(d, CN_STR("other"), &who) == CN_OK);
    cn_data_close(d);
    const char *anonymous[] = {"acme"};
    CN_ASSERT(cn_service_open(&(cn_service_opts){.data_dir = f->dir, .anonymous = anonymous, .n_anonymous = 1, .embed_threads = 1,
                                                .trace = CN_TRACE_ON, .trace_bytes = CN_TRACE_BYTES, .trace_keep_us = CN_TRACE_KEEP_US}, &f->s) == CN_OK);
    CN_ASSERT(cn_call_init(&f->call) == CN_OK);
    cn_buf_init(&f->packed, 1 << 20);
    cn_buf_init(&f->answer, 1 << 20);
    cn_buf_init(&f->text, 4 << 20);
    must(f, "admin.index_create", "{\"tenant\":\"acme\",\"index\":\"docs\",\"embedder\":\"none\"}");
    must(f, "admin.index_create", "{\"tenant\":\"acme\",\"index\":\"secret\",\"embedder\":\"none\"}");
    must(f, "admin.index_create", "{\"tenant\":\"other\",\"index\":\"docs\",\"embedder\":\"none\"}");
    must(f, "documents.put",
         "{\"tenant\":\"acme\",\"index\":\"docs\",\"activate\":true,\"documents\":["
         "{\"id\":\"d0\",\"text\":\"the public one\",\"labels\":[\"public\"],\"vector\":[1,0,0,0],\"meta\":{\"lang\":\"en\"}},"
         "{\"id\":\"d1\",\"text\":\"for hr\",\"labels\":[\"group:hr\"],\"vector\":[0.9,0.1,0,0],\"title\":\"HR\",\"meta\":{\"lang\":\"de\"}},"
         "{\"id\":\"d2\",\"text\":\"for ana\",\"labels\":[\"user:ana\"],\"vector\":[0.8,0.2,0,0]},"
         "{\"id\":\"d3\",\"text\":\"for staff, not for ana\",\"labels\":[\"group:staff\"],\"deny\":[\"user:ana\"],\"vector\":[0.7,0.3,0,0]},"
         "{\"id\":\"d4\",\"text\":\"for nobody\",\"vector\":[0.6,0.4,0,0]},"
         "{\"id\":\"d5\",\"text\":\"public too \xc3\xa9\xc3\xa9\",\"labels\":[\"public\"],\"vector\":[0,0,1,0]}]}");
    must(f, "documents.put",
         "{\"tenant\":\"acme\",\"index\":\"secret\",\"activate\":true,\"documents\":[{\"id\":\"s0\",\"text\":\"s\",\"labels\":[\"public\"],\"vector\":[1,0]}]}");
    must(f, "members.set", "{\"tenant\":\"acme\",\"member\":\"user:ana\",\"labels\":[\"group:hr\"]}");
    must(f, "members.set", "{\"tenant\":\"acme\",\"member\":\"group:hr\",\"labels\":[\"group:staff\"]}");
}

void fixture_done(fixture *f) {
    char command[128];
    cn_call_done(&f->call);
    cn_service_close(f->s);
    cn_buf_done(&f->packed);
    cn_buf_done(&f->answer);
    cn_buf_done(&f->text);
    snprintf(command, sizeof command, "rm -rf '%s'", f->dir);
    CN_ASSERT(system(command) == 0);
}

unsigned times_in(const char *text, const char *part) {
    unsigned n = 0;
    for (const char *p = text; (p = strstr(p, part)); p += strlen(part))
        n++;
    return n;
}
