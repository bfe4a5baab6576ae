/* Inputs that make sense, for fuzz_config to begin with. */
#include <string.h>

#include "tests/fuzz/replay.h"

static const char *const seeds[] = {
    "0# comment\n[cairnd]\nlisten = tcp://127.0.0.1:7700\nlisten = unix:/run/cairn.sock\nmax_frame = 16MiB\nidle_timeout = 5m\nunix_mode = 0600\nlog_level = warn\n",
    "0workers = 4\nqueue=10 ; behind\nanonymous = acme\nimport_root = acme=/srv/docs\ninsecure = true\nlog_format = json\n",
    "1{\"a\": [1, -2.5e3, true, null, \"h\\u00e9 \\ud83d\\ude00\"], \"b\": {\"c\": 18446744073709551615}}",
    "2{\"op\": \"deny\", \"docs\": [\"a.html\", \"b\"], \"labels\": [\"group:hr\"]}\n{\"op\": \"hide\", \"glob\": \"x/**\", \"source\": \"s\"}\n",
    "3q1 0 doc-1 2\nq1 0 doc-2 0\nq2\t0\tdoc 3\t-1\n",
    "3query-id\tcorpus-id\tscore\nq1\td1\t1\nq2\td2\t0\r\n",
    "4{\"_id\": \"q1\", \"text\": \"how are packages named?\", \"metadata\": {}}\n{\"_id\": \"q2\", \"text\": \"h\\u00e9\"}\n",
    "4q1\thow are packages named?\n\nq2\twhat else\r\n",
    "2{\"op\": \"restore\", \"docs\": [\"a\"]}\n{\"op\": \"clear\", \"docs\": [\"b\"]}\n{\"op\": \"unhide\", \"all_of\": \"s\"}\n",
};

size_t replay_seeds(void) { return sizeof seeds / sizeof *seeds; }

size_t replay_seed(size_t i, uint8_t *bytes, size_t room) {
    size_t n = strlen(seeds[i]);
    n = n < room ? n : room;
    memcpy(bytes, seeds[i], n); /* the digits '0' to '7' leave 0 to 7, divided by 8 */
    return n;
}
