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
    {"query", "{\"index\":\"docs\",\"text\":\"public\",\"mode\":\"lexical\",\"also\":[\"docs2\"],\"as\":\"user:ana\",\"section\":true,\"min_relevance\":0.1,\"tags\":{\"a\":\"b\"}}"},
    {"stats", "{}"},
    {"incident.which_versions", "{\"index\":\"docs\",\"doc\":\"d0\",\"source\":\"default\",\"reason\":\"x\"}"},
    {"incident.why_not", "{\"index\":\"docs\",\"doc\":\"d3\",\"vector\":[1,0,0,0],\"principal\":\"user:ana\",\"filter\":{\"field\":\"lang\",\"exists\":true},\"k\":1}"},
    {"incident.explain_access", "{\"index\":\"docs\",\"doc\":\"d1\",\"labels\":[\"public\",\"group:hr\"],\"version\":1}"},
    {"incident.find", "{\"index\":\"docs\",\"text\":\"THE public\",\"ignore_case\":true,\"all_versions\":true,\"limit\":2,\"deadline_ms\":50}"},
    {"trace.get", "{\"trace_id\":\"0af7651916cd43dd8448eb211c80319c\"}"},
    {"trace.exposed", "{\"doc\":\"d0\",\"since\":\"12h\",\"limit\":2}"},
    {"gate.set", "{\"index\":\"docs\",\"requirements\":[\"recall@10>=0.95\",\"core/missed<=0\"],\"reason\":\"x\"}"},
    {"gate.submit", "{\"index\":\"docs\",\"version\":1,\"results\":{\"recall@10\":0.96,\"p95_ms\":11}}"},
    {"gate.forget", "{\"index\":\"docs\",\"version\":1,\"names\":[\"p95_ms\"]}"},
    {"gate.freeze", "{\"index\":\"docs\",\"set\":\"core\",\"k\":5,\"labels\":[\"public\"],\"queries\":[{\"id\":\"a\",\"vector\":[1,0,0,0],\"relevant\":{\"d0\":2},\"must_find\":[{\"doc\":\"d0\",\"source\":\"default\"}],\"must_not_see\":[\"d4\"]},{\"id\":\"b\",\"text\":\"x\",\"as\":\"user:ana\"}]}"},
    {"gate.run", "{\"index\":\"docs\",\"version\":1,\"sets\":[\"core\"]}"},
    {"gate.show", "{\"index\":\"docs\",\"version\":1}"},
    {"gate.sets", "{\"index\":\"docs\"}"},
    {"gate.unfreeze", "{\"index\":\"docs\",\"set\":\"core\"}"},
    {"policy.deny", "{\"docs\":[\"d0\",\"x\"],\"labels\":[\"group:x\"],\"reason\":\"x\"}"},
    {"policy.hide", "{\"glob\":\"x/**\",\"source\":\"default\"}"},
    {"policy.erase", "{\"docs\":[\"x\"]}"},
    {"policy.restore", "{\"docs\":[\"gone\"],\"reason\":\"x\"}"},
    {"policy.apply", "{\"changes\":[{\"op\":\"allow\",\"docs\":[\"d4\"],\"labels\":[\"user:ana\"]},{\"op\":\"unhide\",\"all_of\":\"s\"},{\"op\":\"clear\",\"docs\":[\"d0\"]}]}"},
    {"policy.reinstate", "{\"index\":\"docs\",\"version\":1,\"reason\":\"x\"}"},
    {"policy.show", "{\"docs\":[\"d0\",\"gone\"]}"},
    {"members.set", "{\"member\":\"user:bo\",\"labels\":[\"group:hr\"]}"},
    {"members.sync", "{\"text\":\"user:ana group:hr\\ngroup:hr group:staff,group:all\\n\"}"},
    {"members.remove", "{\"member\":\"user:ana\"}"},
    {"modes.set", "{\"index\":\"docs2\",\"mode\":\"refuse\",\"text\":\"not now\"}"},
    {"modes.show", "{}"},
    {"modes.set_host", "{\"mode\":\"exact\"}"},
    {"versions.activate", "{\"index\":\"docs\",\"version\":1,\"expect\":1,\"force\":true,\"reason\":\"x\"}"},
    {"versions.rollback", "{\"index\":\"docs\",\"reason\":\"x\"}"},
    {"versions.quarantine", "{\"index\":\"docs\",\"version\":1}"},
    {"versions.gc", "{\"index\":\"docs\",\"dry_run\":true}"},
    {"versions.compact", "{\"index\":\"docs\"}"},
    {"documents.put", "{\"index\":\"docs\",\"activate\":true,\"documents\":[{\"id\":\"n\",\"text\":\"new\",\"title\":\"T\",\"labels\":[\"public\"],\"deny\":[\"user:ana\"],\"require\":[\"group:hr\"],\"meta\":{\"n\":1,\"l\":[\"a\"]},\"modified\":\"2026-01-01T00:00:00Z\",\"vector\":[1,2,3,4]}]}"},
    {"documents.delete", "{\"index\":\"docs2\",\"docs\":[\"e0\"],\"activate\":true}"},
    {"ingest.start", "{\"index\":\"docs\",\"paths\":[\"x.jsonl\"],\"format\":\"jsonl\",\"label_rules\":[\"a/**=group:x\"],\"map\":\"id=key\",\"dry_run\":true}"},
    {"ingest.rebuild", "{\"index\":\"docs2\",\"chunker\":\"fixed tokens=64\",\"wait\":true}"},
    {"ingest.show", "{\"job\":\"20261130T000000-0000000000000000\",\"rejected\":true}"},
    {"admin.index_create", "{\"index\":\"n\",\"embedder\":\"none\",\"chunker\":\"structure tokens=20 overlap=4\",\"metric\":\"l2\",\"analyser\":\"german title=3\",\"kind\":\"cells\"}"},
    {"admin.index_set", "{\"index\":\"docs2\",\"mode\":\"exact\",\"keep_versions\":1,\"keep_days\":0}"},
    {"admin.index_drop", "{\"index\":\"docs2\"}"},
    {"admin.key_add", "{\"scopes\":[\"query\",\"act-as\"],\"principals\":[\"user:*\"],\"index\":\"d*\",\"expires\":\"2030-01-01T00:00:00Z\"}"},
    {"admin.key_revoke", "{\"id\":\"aaaaaaaa\"}"},
    {"admin.tenant_drop", "{\"tenant\":\"other\"}"},
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
