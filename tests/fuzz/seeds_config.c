/* Inputs that make sense, for fuzz_config to begin with. */
#include <string.h>

#include "tests/fuzz/replay.h"

static const char *const seeds[] = {
    "0# comment\n[cairnd]\nlisten = tcp://127.0.0.1:7700\nlisten = unix:/run/cairn.sock\nmax_frame = 16MiB\nidle_timeout = 5m\nunix_mode = 0600\nlog_level = warn\n",
    "0workers = 4\nqueue=10 ; behind\nanonymous = acme\nimport_root = acme=/srv/docs\ninsecure = true\nlog_format = json\n",
    "1{\"a\": [1, -2.5e3, true, null, \"h\\u00e9 \\ud83d\\ude00\"], \"b\": {\"c\": 18446744073709551615}}",
    "2{\"op\": \"deny\", \"docs\": [\"a.html\", \"b\"], \"labels\": [\"group:hr\"]}\n{\"op\": \"hide\", \"glob\": \"x/**\", \"source\": \"s\"}\n",
    "2{\"op\": \"restore\", \"docs\": [\"a\"]}\n{\"op\": \"clear\", \"docs\": [\"b\"]}\n{\"op\": \"unhide\", \"all_of\": \"s\"}\n",
};

size_t replay_seeds(void) { return sizeof seeds / sizeof *seeds; }

size_t replay_seed(size_t i, uint8_t *bytes, size_t room) {
    size_t n = strlen(seeds[i]);
    n = n < room ? n : room;
    memcpy(bytes, seeds[i], n); /* the digits '0', '1' and '2' leave 0, 1 and 2, divided by 3 */
    return n;
}
