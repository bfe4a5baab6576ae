/* Seeds of fuzz_embed: a header of safetensors, a text for the tokenizer, blocks for the chunkers. */
#include <string.h>

#include "tests/fuzz/replay.h"

static const char *const seeds[] = {
    "\x03x{\"a\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]},\"__metadata__\":{\"format\":\"pt\"}}                                                 ",
    "\x03x{\"a\":{\"dtype\":\"F16\",\"shape\":[18446744073709551615],\"data_offsets\":[0,18446744073709551615]}}                                       ",
    "\x01\x03" "ab \xe6\xbc\xa2\xe5\xad\x97 a.b#c \xcc\x81 [UNK] aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "\x01\x1f[UNK]\n[CLS]\n[SEP]\na\n##a\nb, and then some words that are not in it",
    "\x02\x01\x10One sentence.   \x20 Another one, longer. And a third!\x05words",
    "\x02\x02\x3fno end in sight and no full stop either just words and words and words of text that goes on",
};

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc, (void)argv;
    return 0;
}

size_t replay_seeds(void) { return sizeof seeds / sizeof *seeds; }

size_t replay_seed(size_t i, uint8_t *bytes, size_t room) {
    size_t n = strlen(seeds[i]);
    n = n < room ? n : room;
    memcpy(bytes, seeds[i], n);
    return n;
}
