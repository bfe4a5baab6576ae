#include "engine/base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/mem.h"

void cn_buf_init(cn_buf *b, size_t cap) { *b = (cn_buf){.cap = cap}; }

void cn_buf_done(cn_buf *b) {
    cn_free(b->p);
    *b = (cn_buf){.cap = b->cap};
}

void cn_buf_reset(cn_buf *b) {
    b->n = 0;
    b->failed = b->refused = false;
}

static bool make_room(cn_buf *b, size_t n) {
    if (b->failed || n > b->cap || b->n > b->cap - n)
        return false;
    if (b->room - b->n >= n)
        return true;
    size_t room = b->room ? b->room * 2 : 256;
    if (room < b->n + n)
        room = b->n + n;
    if (room > b->cap)
        room = b->cap;
    char *p = cn_realloc(b->p, room);
    b->refused = !p;
    if (!p)
        return false;
    b->p = p;
    b->room = room;
    return true;
}

bool cn_buf_grow(cn_buf *b, size_t n) {
    b->failed = !make_room(b, n);
    return !b->failed;
}

void cn_buf_puts(cn_buf *b, const char *z) { cn_buf_add(b, z, strlen(z)); }
void cn_buf_putc(cn_buf *b, char c) { cn_buf_add(b, &c, 1); }

void cn_buf_printf(cn_buf *b, const char *fmt, ...) {
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n >= 0 && make_room(b, (size_t)n + 1)) {
        vsnprintf(b->p + b->n, (size_t)n + 1, fmt, again);
        b->n += (size_t)n;
    } else {
        b->failed = true;
    }
    va_end(again);
}

cn_err cn_buf_check(const cn_buf *b) {
    if (b->refused)
        return cn_fail_memory();
    return b->failed ? cn_fail(CN_OVERLOADED, "a buffer would pass its limit of %zu bytes", b->cap) : CN_OK;
}
