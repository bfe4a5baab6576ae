/* embed_test.h -- the suites of the test of ingest/embed and ingest/chunk.
 *
 * Owns:    nothing.
 * Thread:  one.
 * Limits:  none. */
#pragma once
#include <CUnit/Basic.h>

#define ADD(suite, fn) CU_add_test(suite, #fn, fn)

void add_wordpiece_tests(void);
void add_safetensors_tests(void);
void add_embed_tests(void);
void add_model_tests(void);
void add_chunk_tests(void);
void add_http_tests(void);
void add_static_tests(void);
