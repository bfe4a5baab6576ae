/* parse_test.h -- the suites of the tests of parsers and sources, each in the file of its name.
 *
 * Owns:    nothing; each suite makes and removes the files that it reads.
 * Thread:  one.
 * Limits:  for tests only. */
#pragma once
void add_normal_tests(void);
void add_parse_tests(void);
void add_source_tests(void);
void add_table_tests(void);
void add_unpack_tests(void);
