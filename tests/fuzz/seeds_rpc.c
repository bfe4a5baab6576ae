/* Requests that make sense, for fuzz_rpc to begin with. */
#include <string.h>

#include "engine/base/json.h"
#include "server/wire/rpc.h"
#include "tests/fuzz/replay.h"

static const char *const seeds[][2] = {
    {"health", "{}"},
    {"query", "{\"tenant\":\"acme\",\"index\":\"docs\",\"vector\":[1,0,0,0],\"k\":3}"},
    {"query", "{\"index\":\"docs\",\"vector\":[1,0.5,0,0],\"as\":\"user:ana\",\"filter\":{\"and\":[{\"field\":\"lang\",\"eq\":\"en\"},{\"not\":{\"field\":\"n\",\"in\":[1,2]}}]}}"},
    {"query", "{\"index\":\"docs\",\"vector\":\"0123456789abcdef\",\"as\":\"group:hr\",\"labels\":[\"public\"],\"mode\":\"exact\",\"explain\":true,\"per_doc\":1}"},
    {"query_batch", "{\"index\":\"docs\",\"as\":\"user:ana\",\"queries\":[{\"vector\":[1,0,0,0]},{\"text\":\"x\"},{\"vector\":[0,0,1,0],\"k\":1}]}"},
    {"query", "{\"index\":\"docs\",\"vector\":[1,0,0,1],\"k\":3,\"distinct\":true,\"expand\":2,\"section\":true,\"max_tokens\":20,\"also\":[\"docs2\"],\"merge\":\"rank\"}"},
    {"query", "{\"index\":\"docs\",\"text\":\"the \\\"public one\\\" st*\",\"mode\":\"lexical\",\"operators\":true,\"highlight\":true,\"explain\":true}"},
    {"fetch", "{\"index\":\"docs\",\"doc\":\"d5\",\"bytes\":[3,12],\"as\":\"user:ana\"}"},
    {"documents.list", "{\"tenant\":\"acme\",\"index\":\"docs\",\"limit\":1,\"after\":\"default/d0\"}"},
    {"documents.get", "{\"tenant\":\"acme\",\"index\":\"docs\",\"doc\":\"d0\"}"},
    {"versions.list", "{\"index\":\"docs\"}"},
    {"versions.diff", "{\"index\":\"docs\",\"from\":1,\"to\":1}"},
    {"audit.list", "{\"limit\":2}"},
    {"admin.index_list", "{}"},
    {"api.describe", "{}"},
    {"auth", "{\"key\":\"cairn_aaaaaaaa_bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\"}"},
};

size_t replay_seeds(void) { return sizeof seeds / sizeof *seeds; }

size_t replay_seed(size_t i, uint8_t *bytes, size_t room) {
    CN_AUTO_BUF cn_buf map = {.cap = 4096}, out = {.cap = room};
    CN_ASSERT(cn_json_parse(cn_str_of(seeds[i][1]), &map) == CN_OK);
    cn_buf_putc(&out, (char)(i * 37)); /* the steps it arrives in */
    cn_rpc_request(&out, i, cn_str_of(seeds[i][0]), cn_buf_str(&map));
    CN_ASSERT(!out.failed);
    memcpy(bytes, out.p, out.n);
    return out.n;
}
