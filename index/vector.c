#include "index/vector.h"

#include "index/types.h"

static cn_err vector_of_bytes(cn_arena *a, cn_str bytes, float **ret, uint32_t *ret_dim) {
    if (bytes.n % sizeof(float) || bytes.n == 0 || bytes.n / sizeof(float) > CN_DIM_MAX)
        return cn_fail(CN_INVALID, "a vector of %zu bytes is not 1 to %d numbers of float32", bytes.n, CN_DIM_MAX);
    float *v = cn_arena_alloc(a, bytes.n);
    if (!v)
        return cn_fail_memory();
    memcpy(v, bytes.p, bytes.n);
    *ret = v;
    *ret_dim = (uint32_t)(bytes.n / sizeof(float));
    return CN_OK;
}

static cn_err vector_of_list(cn_arena *a, const msgpack_object *o, float **ret, uint32_t *ret_dim) {
    uint32_t n = o->via.array.size;
    if (n == 0 || n > CN_DIM_MAX)
        return cn_fail(CN_INVALID, "a vector has 1 to %d numbers, not %u", CN_DIM_MAX, n);
    float *v = cn_arena_alloc(a, n * sizeof *v);
    if (!v)
        return cn_fail_memory();
    for (uint32_t i = 0; i < n; i++) {
        const msgpack_object *x = &o->via.array.ptr[i];
        if (x->type == MSGPACK_OBJECT_FLOAT64 || x->type == MSGPACK_OBJECT_FLOAT32)
            v[i] = (float)x->via.f64;
        else if (x->type == MSGPACK_OBJECT_POSITIVE_INTEGER)
            v[i] = (float)x->via.u64;
        else if (x->type == MSGPACK_OBJECT_NEGATIVE_INTEGER)
            v[i] = (float)x->via.i64;
        else
            return cn_fail(CN_INVALID, "component %u of the vector is no number", i);
    }
    *ret = v;
    *ret_dim = n;
    return CN_OK;
}

cn_err cn_vector_read(cn_arena *a, const msgpack_object *o, const float **ret, uint32_t *ret_dim) {
    float *v;
    if (o->type == MSGPACK_OBJECT_ARRAY)
        CN_TRY(vector_of_list(a, o, &v, ret_dim));
    else if (cn_is_str(o))
        CN_TRY(vector_of_bytes(a, cn_obj_str(o), &v, ret_dim));
    else
        return cn_fail(CN_INVALID, "a vector is bin (float32, little-endian) or a list of numbers");
    *ret = v;
    return CN_OK;
}
