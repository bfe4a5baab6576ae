#include "ingest/source/vectors.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/flat/flat.h"

static uint32_t u32(const char *p) {
    uint32_t v;
    memcpy(&v, p, 4);
    return v;
}

static cn_err check_dim(uint64_t dim) {
    if (dim < 1 || dim > CN_DIM_MAX)
        return cn_fail(CN_INVALID, "its vectors have %llu numbers; 1 to %d are possible", (unsigned long long)dim, CN_DIM_MAX);
    return CN_OK;
}

/* The value behind 'key': in the header's Python literal, which NumPy writes in one fixed way. */
static const char *after(const char *head, const char *key) {
    const char *p = strstr(head, key);
    if (!p)
        return NULL;
    p += strlen(key);
    while (*p == ' ' || *p == ':')
        p++;
    return p;
}

/* "'<f4'": byte order, f, bytes. */
static cn_err npy_numbers(const char *descr, cn_vector_file *v) {
    bool order = descr[0] == '\'' && (descr[1] == '<' || descr[1] == '>');
    if (!order || descr[2] != 'f' || !strchr("248", descr[3]) || descr[4] != '\'')
        return cn_fail(CN_INVALID, "its numbers are %.8s; save them as float32: a.astype('<f4')", descr);
    v->swapped = descr[1] == '>';
    v->width = (uint32_t)(descr[3] - '0');
    return CN_OK;
}

/* "(2, 3)" */
static cn_err npy_shape(const char *shape, uint64_t *ret_n, uint64_t *ret_dim) {
    char n[20], dim[20]; /* of digits alone: each fits a u64 */
    int end = 0, shown = (int)strcspn(shape, ")") + 1;
    if (sscanf(shape, "(%19[0-9], %19[0-9]%n", n, dim, &end) != 2 || shape[end] != ')')
        return cn_fail(CN_INVALID, "its shape is %.*s; it should have two dimensions, rows and numbers", shown < 60 ? shown : 60, shape);
    *ret_n = strtoull(n, NULL, 10);
    *ret_dim = strtoull(dim, NULL, 10);
    return CN_OK;
}

static cn_err npy_header(const char *head, cn_vector_file *v) {
    const char *descr = after(head, "'descr'"), *order = after(head, "'fortran_order'"), *shape = after(head, "'shape'");
    uint64_t n, dim;
    if (!descr || !order || !shape)
        return cn_fail(CN_INVALID, "its .npy header lacks descr, fortran_order or shape");
    CN_TRY(npy_numbers(descr, v));
    if (strncmp(order, "False", 5) != 0)
        return cn_fail(CN_INVALID, "it is in Fortran order; save numpy.ascontiguousarray(a)");
    CN_TRY(npy_shape(shape, &n, &dim));
    v->n = n;
    CN_TRY(check_dim(dim));
    v->dim = (uint32_t)dim;
    return CN_OK;
}

static cn_err npy(cn_vector_file *v) {
    const char *p;
    char head[65536];
    cn_err e = cn_input_take(v->in, 10, &p);
    if (e == CN_END || (e == CN_OK && memcmp(p, "\x93NUMPY", 6) != 0))
        return cn_fail(CN_INVALID, "it is not a .npy file");
    CN_TRY(e);
    unsigned major = (unsigned char)p[6];
    size_t n = (size_t)(unsigned char)p[8] | (size_t)(unsigned char)p[9] << 8;
    if (major < 1 || major > 3)
        return cn_fail(CN_INVALID, "its .npy format is %u; 1 to 3 are known", major);
    if (major > 1) {
        CN_TRY(cn_input_take(v->in, 2, &p));
        n |= (size_t)(unsigned char)p[0] << 16 | (size_t)(unsigned char)p[1] << 24;
    }
    if (n >= sizeof head)
        return cn_fail(CN_INVALID, "its .npy header has %zu bytes; at most %zu are possible", n, sizeof head - 1);
    CN_TRY(cn_input_take(v->in, n, &p));
    memcpy(head, p, n);
    head[n] = 0;
    return npy_header(head, v);
}

cn_err cn_vectors_begin(cn_input *in, cn_format format, cn_vector_file *ret) {
    cn_vector_file v = {.in = in, .format = format, .width = 4};
    const char *p;
    cn_err e = CN_OK;
    if (format == CN_FMT_NPY)
        e = npy(&v);
    if (format == CN_FMT_FBIN && (e = cn_input_take(in, 8, &p)) == CN_OK) {
        v.n = u32(p);
        v.dim = u32(p + 4);
        e = check_dim(v.dim);
    }
    if (e == CN_END)
        return cn_fail(CN_INVALID, "it is empty");
    CN_TRY(e);
    *ret = v;
    return CN_OK;
}

static cn_err fvecs_dim(cn_vector_file *v) {
    const char *p;
    CN_TRY(cn_input_take(v->in, 4, &p));
    uint32_t dim = u32(p);
    CN_TRY(check_dim(dim));
    if (v->dim && dim != v->dim)
        return cn_fail(CN_INVALID, "row %llu has %u numbers, the rows before it %u", (unsigned long long)v->row, dim, v->dim);
    v->dim = dim;
    return CN_OK;
}

static cn_err at_end(cn_vector_file *v) {
    cn_str more;
    CN_TRY(cn_input_peek(v->in, 1, &more));
    return more.n ? cn_fail(CN_INVALID, "bytes follow its last row") : CN_END;
}

/* IEEE 754 binary16: every one of them is a float. */
static float from_half(uint16_t h) {
    uint32_t exp = h >> 10 & 31, frac = h & 1023u, bits;
    float f = (float)frac * 0x1p-24f; /* subnormal, or zero */
    if (exp) {
        bits = (exp == 31 ? 255u : exp + 112) << 23 | frac << 13;
        memcpy(&f, &bits, 4);
    }
    return h >> 15 ? -f : f;
}

static float number(const char *p, uint32_t width, bool swapped) {
    uint64_t bits = 0;
    uint32_t half;
    double d;
    float f;
    for (uint32_t i = 0; i < width; i++)
        bits |= (uint64_t)(uint8_t)p[swapped ? width - 1 - i : i] << (8 * i);
    if (width == 2)
        return from_half((uint16_t)bits);
    half = (uint32_t)bits;
    memcpy(&f, &half, 4);
    memcpy(&d, &bits, 8);
    return width == 4 ? f : (float)d;
}

cn_err cn_vectors_next(cn_vector_file *v, cn_arena *a, const float **ret, uint32_t *ret_dim) {
    const char *p;
    if (v->format == CN_FMT_FVECS)
        CN_TRY(fvecs_dim(v));
    else if (v->row == v->n)
        return at_end(v);
    cn_err e = cn_input_take(v->in, v->dim * v->width, &p);
    if (e == CN_END)
        return cn_fail(CN_INVALID, "it ends after %llu rows", (unsigned long long)v->row);
    CN_TRY(e);
    float *x = cn_arena_alloc(a, v->dim * sizeof *x);
    if (!x)
        return cn_fail_memory();
    if (v->width == 4 && !v->swapped)
        memcpy(x, p, v->dim * sizeof *x);
    else
        for (uint32_t i = 0; i < v->dim; i++)
            x[i] = number(p + (size_t)i * v->width, v->width, v->swapped);
    v->row++;
    *ret = x;
    *ret_dim = v->dim;
    return CN_OK;
}
