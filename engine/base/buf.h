/* buf.h -- a growing run of bytes with a cap.
 *
 * Owns:    its bytes, freed by cn_buf_done().
 * Thread:  one at a time.
 * Limits:  `cap` bytes; an append past it, or without memory, sets `failed`, adds nothing, and every later append is
 *          ignored too, so that a long run of appends needs one check at its end: cn_buf_check(). */
#pragma once
#include <stdbool.h>
#include <string.h>

#include "engine/base/error.h"
#include "engine/base/str.h"

typedef struct cn_buf {
    char *p;
    size_t n, room, cap;
    bool failed;
    bool refused; /* there was no memory; else it failed by its limit */
} cn_buf;

void cn_buf_init(cn_buf *b, size_t cap);
void cn_buf_done(cn_buf *b);
void cn_buf_reset(cn_buf *b); /* keeps the memory */
void cn_buf_puts(cn_buf *b, const char *z);
void cn_buf_putc(cn_buf *b, char c);
void cn_buf_printf(cn_buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
cn_err cn_buf_check(const cn_buf *b);   /* CN_OK, or CN_OVERLOADED with a text */
bool cn_buf_grow(cn_buf *b, size_t n);  /* room for n bytes more; false: failed */

/* Inline, for an answer is some hundred small appends. Room for n bytes, to be written by the caller; NULL when failed. */
static inline void *cn_buf_take(cn_buf *b, size_t n) {
    bool fits = b->p && !b->failed && n <= b->room - b->n && b->n + n <= b->cap;
    if (!fits && !cn_buf_grow(b, n ? n : 1))
        return NULL;
    b->n += n;
    return b->p + b->n - n;
}
static inline void cn_buf_add(cn_buf *b, const void *p, size_t n) {
    void *to = n ? cn_buf_take(b, n) : NULL;
    if (to)
        memcpy(to, p, n);
}
static inline cn_str cn_buf_str(const cn_buf *b) { return (cn_str){b->p, b->n}; }
#define CN_AUTO_BUF __attribute__((cleanup(cn_buf_done)))
