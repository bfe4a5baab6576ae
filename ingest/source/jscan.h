/* jscan.h -- one JSON value in a buffer that may be overwritten, read field by field, strictly (RFC 8259).
 *
 * Strings are unescaped where they stand, so nothing is allocated. A NUL must follow the last byte.
 * Owns:    nothing; strings point into the buffer.
 * Thread:  one at a time.
 * Limits:  CN_JSCAN_DEPTH levels. Errors name the byte of the line, from 1. */
#pragma once
#include "engine/base/error.h"
#include "engine/base/str.h"

#define CN_JSCAN_DEPTH 64

typedef struct cn_jscan {
    char *p;
    const char *start, *end;
    bool first;          /* the next member or element is its container's first */
} cn_jscan;

typedef enum cn_jkind { CN_J_STRING, CN_J_NUMBER, CN_J_TRUE, CN_J_FALSE, CN_J_NULL, CN_J_ARRAY, CN_J_OBJECT, CN_J_WRONG } cn_jkind;

cn_err cn_jscan_begin(cn_jscan *j, char *p, size_t n); /* CN_INVALID: not UTF-8 */
cn_jkind cn_jscan_kind(cn_jscan *j);                   /* of the next value; takes nothing but white space */
cn_err cn_jscan_end(cn_jscan *j);                      /* nothing but white space is left */
cn_err cn_jscan_open(cn_jscan *j, char c);             /* '{' or '[' */
/* The next key, or element: CN_OK; CN_END at the container's end, which is taken. */
cn_err cn_jscan_key(cn_jscan *j, cn_str *ret);
cn_err cn_jscan_element(cn_jscan *j);
cn_err cn_jscan_string(cn_jscan *j, cn_str *ret);
cn_err cn_jscan_number(cn_jscan *j, cn_str *ret);      /* its characters, checked */
cn_err cn_jscan_word(cn_jscan *j);                     /* true, false, null */
cn_err cn_jscan_skip(cn_jscan *j);                     /* any value, checked */
/* An array of numbers as floats (each the double nearest to what is written, rounded to float): at most max. A number past
 * float's range becomes an infinity. CN_INVALID when it holds anything else or more. */
cn_err cn_jscan_floats(cn_jscan *j, float *out, unsigned max, unsigned *ret_n);
double cn_jscan_double(cn_str number);                 /* the double nearest to it; whatever the locale */
cn_err cn_jscan_fail(const cn_jscan *j, const char *what);
