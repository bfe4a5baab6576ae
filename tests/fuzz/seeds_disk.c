/* Inputs that make sense, for fuzz_disk to begin with. */
#include <string.h>

#include "tests/fuzz/replay.h"

/* For each kind: the first byte and SPREAD places, so that edits and records lie all over. */
enum { KINDS = 8, DERIVED = 4, SPREAD = 40 };

size_t replay_seeds(void) { return KINDS * SPREAD; }

size_t replay_seed(size_t i, uint8_t *bytes, size_t room) {
    uint8_t kind = (uint8_t)(i % KINDS), n = (uint8_t)(i / KINDS);
    const uint8_t edit[] = {kind, n / 4, (uint8_t)(n * 67), (uint8_t)(n * 29), n % 3, (uint8_t)(n * 7)}, record[] = {kind, 0, n, 0, (uint8_t)(n * 5), (uint8_t)(n * 3)};
    (void)room;
    memcpy(bytes, kind < DERIVED ? edit : record, sizeof edit);
    return sizeof edit;
}
