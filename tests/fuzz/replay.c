/* Runs a fuzz target without a fuzzer: over the files named; or over its seeds, mutated in a fixed order, as a test.
 * --seeds FOLDER writes the seeds as files instead. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/replay.h"

#ifndef ROUNDS
#define ROUNDS 20000
#endif
#define INPUT_MAX 65536

static uint8_t input[INPUT_MAX];
static uint64_t state = 88172645463325252u;

static uint64_t next(void) { /* xorshift64 (Marsaglia 2003) */
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}

static size_t mutate(size_t n) {
    for (uint64_t changes = next() % 4; changes; changes--) {
        size_t at = next() % (n + 1);
        switch (next() % 4) {
        case 0: /* another byte */
            if (at < n)
                input[at] = (uint8_t)next();
            break;
        case 1: /* one more */
            if (n < INPUT_MAX) {
                memmove(input + at + 1, input + at, n - at);
                input[at] = (uint8_t)next();
                n++;
            }
            break;
        case 2: /* some fewer */
            if (at < n) {
                size_t gone = 1 + next() % (n - at);
                memmove(input + at, input + at + gone, n - at - gone);
                n -= gone;
            }
            break;
        default: /* a head that promises much */
            if (at + 5 <= n)
                memcpy(input + at, (uint8_t[]){(uint8_t)(0xc4 + next() % 0x1c), 0xff, 0xff, 0xff, 0xff}, 5);
        }
    }
    return n;
}

static int run_file(const char *path) {
    FILE *f = fopen(path, "rb");
    if (!f)
        return perror(path), 1;
    size_t n = fread(input, 1, sizeof input, f);
    fclose(f);
    LLVMFuzzerTestOneInput(input, n);
    return 0;
}

/* The seeds as files, for a fuzzer to begin with. */
static int write_seeds(const char *folder) {
    char path[4096];
    for (size_t i = 0; i < replay_seeds(); i++) {
        size_t n = replay_seed(i, input, INPUT_MAX);
        snprintf(path, sizeof path, "%s/seed%zu", folder, i);
        FILE *f = fopen(path, "wb");
        if (!f || fwrite(input, 1, n, f) != n || fclose(f) != 0)
            return perror(path), 1;
    }
    return 0;
}

int main(int argc, char **argv) {
    int failed = 0;
    if (argc == 3 && strcmp(argv[1], "--seeds") == 0)
        return write_seeds(argv[2]);
    LLVMFuzzerInitialize(&argc, &argv);
    for (int i = 1; i < argc; i++)
        failed |= run_file(argv[i]);
    for (int i = 0; argc == 1 && i < ROUNDS; i++) {
        size_t n = replay_seed((size_t)i % replay_seeds(), input, INPUT_MAX);
        LLVMFuzzerTestOneInput(input, mutate(n));
    }
    printf("%d inputs, none stopped it\n", argc == 1 ? ROUNDS : argc - 1);
    return failed;
}
