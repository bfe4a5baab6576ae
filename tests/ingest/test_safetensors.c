#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "ingest/embed/safetensors.h"
#include "tests/ingest/embed_test.h"

/* A file of this header and so many bytes of data. The bytes lie at the end of a heap block, so that a checker sees a
 * read past them. */
static cn_err parse(const char *header, size_t data, cn_safetensors *ret, char **ret_file) {
    uint64_t head = strlen(header);
    char *file = malloc(8 + head + data);
    memcpy(file, &head, 8);
    memcpy(file + 8, header, head);
    memset(file + 8 + head, 1, data);
    *ret_file = file;
    return cn_safetensors_parse((cn_str){file, 8 + head + data}, ret);
}

static void refuse(const char *header, size_t data, const char *why) {
    cn_safetensors s;
    char *file;
    CU_ASSERT_EQUAL(parse(header, data, &s, &file), CN_INVALID);
    CU_ASSERT_PTR_NOT_NULL(strstr(cn_error_detail(), why));
    free(file);
}

static void headers_are_read(void) {
    cn_safetensors s;
    char *file;
    CU_ASSERT_EQUAL_FATAL(parse("{\"b\":{\"dtype\":\"F16\",\"shape\":[2,1],\"data_offsets\":[4,8]},\"__metadata__\":{\"x\":\"y\"},"
                                "\"a\":{\"dtype\":\"I32\",\"shape\":[],\"data_offsets\":[0,4]}}  ", 8, &s, &file), CN_OK);
    CU_ASSERT_EQUAL(s.n, 2);
    const cn_tensor *t = cn_safetensors_find(&s, CN_STR("b"));
    CU_ASSERT_PTR_NOT_NULL_FATAL(t);
    CU_ASSERT_EQUAL(t->type, CN_ST_F16);
    CU_ASSERT_EQUAL(t->from, 4);
    CU_ASSERT_PTR_NULL(cn_safetensors_find(&s, CN_STR("c")));
    cn_safetensors_done(&s);
    free(file);
}

static void half_precision_is_widened(void) {
    static const struct {
        uint16_t half;
        float value;
    } pairs[] = {{0x0000, 0}, {0x3c00, 1}, {0xc000, -2}, {0x7bff, 65504}, {0x0001, 0x1p-24f}, {0x8400, -0x1p-14f}, {0x3555, 0.33325195f}};
    cn_safetensors s;
    char *file;
    CU_ASSERT_EQUAL_FATAL(parse("{\"a\":{\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[0,2]},\"b\":{\"dtype\":\"BF16\",\"shape\":[1],\"data_offsets\":[2,4]}}", 4, &s, &file), CN_OK);
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        float f;
        memcpy((char *)(uintptr_t)s.data, &pairs[i].half, 2);
        cn_safetensors_read(&s, cn_safetensors_find(&s, CN_STR("a")), 0, 1, &f);
        CU_ASSERT_EQUAL(f, pairs[i].value);
    }
    memcpy((char *)(uintptr_t)s.data, "\x00\x7c\xc0\x3f", 4);
    float f;
    cn_safetensors_read(&s, cn_safetensors_find(&s, CN_STR("a")), 0, 1, &f);
    CU_ASSERT_TRUE(isinf(f));
    cn_safetensors_read(&s, cn_safetensors_find(&s, CN_STR("b")), 0, 1, &f);
    CU_ASSERT_EQUAL(f, 1.5f);
    cn_safetensors_done(&s);
    free(file);
}

static void damaged_files_are_refused(void) {
    cn_safetensors s;
    CU_ASSERT_EQUAL(cn_safetensors_parse((cn_str){"", 0}, &s), CN_INVALID);
    CU_ASSERT_EQUAL(cn_safetensors_parse(CN_STR("\xff\xff\xff\xff\xff\xff\xff\xff{}"), &s), CN_INVALID);
    CU_ASSERT_EQUAL(cn_safetensors_parse(CN_STR("\x03\0\0\0\0\0\0\0{}"), &s), CN_INVALID);
    CU_ASSERT_EQUAL(cn_safetensors_parse((cn_str){"<html>\n<head>\n", 14}, &s), CN_INVALID);
    refuse("[]", 0, "JSON object");
    refuse("{\"a\":", 0, "JSON");
    refuse("{\"a\":1}", 0, "dtype");
    refuse("{\"a\":{\"dtype\":\"F99\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "dtype");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", 4, "dimension");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[1.5],\"data_offsets\":[0,4]}}", 4, "dimension");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}", 4, "shape");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", 4, "data_offsets");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", 4, "outside");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 4, "outside");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4, "agree");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904,4],\"data_offsets\":[0,0]}}", 0, "agree"); /* 2^66 bytes */
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8, "gap");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "overlap");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 8, "end at byte 4 of 8");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "JSON");
}

void add_safetensors_tests(void) {
    CU_pSuite s = CU_add_suite("safetensors", NULL, NULL);
    ADD(s, headers_are_read);
    ADD(s, half_precision_is_widened);
    ADD(s, damaged_files_are_refused);
}
