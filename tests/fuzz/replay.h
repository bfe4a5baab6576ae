/* replay.h -- what a fuzz target gives to be run without a fuzzer (replay.c).
 *
 * Owns:    nothing.
 * Thread:  one.
 * Limits:  inputs of at most 64 KiB. */
#pragma once
#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);
size_t replay_seeds(void);                                   /* how many there are, at least one */
size_t replay_seed(size_t i, uint8_t *bytes, size_t room);   /* writes the i-th, returns its length */
