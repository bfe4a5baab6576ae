/* vector.h -- a vector as a request or a record brings it.
 *
 * Owns:    nothing; the numbers live in the arena given.
 * Thread:  any.
 * Limits:  CN_DIM_MAX numbers; whether they are finite is for the version's metric to say (cn_vec_check). */
#pragma once
#include "engine/base/arena.h"
#include "engine/base/pack.h"

/* bin of float32 little-endian, or a list of numbers; 1 to CN_DIM_MAX of them. CN_INVALID. */
cn_err cn_vector_read(cn_arena *a, const msgpack_object *o, const float **ret, uint32_t *ret_dim);
