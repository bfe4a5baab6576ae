#pragma once
void add_normal_tests(void);
void add_parse_tests(void);
void add_source_tests(void);
void add_table_tests(void);
void add_unpack_tests(void);
