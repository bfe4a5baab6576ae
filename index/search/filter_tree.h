/* filter_tree.h -- the inside of a filter; only filter*.c include it.
 *
 * Owns:    nothing: nodes, names and values lie in the arena of the filter.
 * Thread:  immutable once made.
 * Limits:  those of filter.h. */
#pragma once
#include "index/search/filter.h"

/* name on the wire; what an argument must be: a value, a list of values, a truth, filters, one filter */
#define CN_FILTER_OPS(X)                                                                                       \
    X(EQ, "eq", VALUE) X(NE, "ne", VALUE) X(GT, "gt", VALUE) X(GTE, "gte", VALUE) X(LT, "lt", VALUE)            \
    X(LTE, "lte", VALUE) X(IN, "in", VALUES) X(EXISTS, "exists", TRUTH) X(AND, "and", FILTERS)                  \
    X(OR, "or", FILTERS) X(NOT, "not", FILTER)

enum filter_op {
#define CN_FILTER_OP(name, text, takes) OP_##name,
    CN_FILTER_OPS(CN_FILTER_OP)
#undef CN_FILTER_OP
    OP_COUNT
};

enum value_kind { VALUE_STR, VALUE_INT, VALUE_UINT, VALUE_FLOAT, VALUE_BOOL };

typedef struct value {
    enum value_kind kind;
    bool is_time;        /* of a string: it reads as one */
    union {
        cn_str str;
        int64_t i;       /* VALUE_INT: negative; VALUE_BOOL: 0, 1 */
        uint64_t u;
        double f;
    } as;
    int64_t time_us;
} value;

struct cn_filter {
    enum filter_op op;
    cn_str field;               /* comparisons and exists */
    const value *values;        /* comparisons: 1; in: n; exists: 1 (true or false) */
    uint32_t n;                 /* of values, or of children */
    uint32_t texts, numbers;    /* in: so many values at first are texts, then numbers, each in their order; then the rest */
    const cn_filter *const *children;
    cn_digest digest;           /* of the root only */
};

int cn_filter_order_numbers(const value *a, const value *b); /* -1, 0, 1; neither is a NaN */
value cn_filter_str_value(cn_str s); /* finds out whether it is a time */
