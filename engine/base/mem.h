/* mem.h -- the heap, behind a seam that tests can count and fail.
 *
 * Owns:    nothing; what is returned is the caller's, freed by cn_free().
 * Thread:  any.
 * Limits:  CN_ALLOC_MAX bytes a piece; past it, or when memory is out, NULL. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CN_ALLOC_MAX ((size_t)1 << 40)

void *cn_alloc(size_t n);                    /* not cleared; never NULL for n == 0 unless memory is out */
void *cn_calloc(size_t count, size_t size);  /* cleared; checks the product */
void *cn_realloc(void *p, size_t n);         /* like realloc: p stays valid on failure */
void *cn_alloc_aligned(size_t align, size_t n);
char *cn_strdup_n(const char *p, size_t n);  /* copies n bytes and ends them with NUL */

/* Arrays that grow. `v` is a pointer to items, `room` a variable of 32 or 64 bits that says for how many there is memory.
 * cn_grow: item number n will have a place (n < room), by doubling from CN_GROW_FIRST on; cn_resize: memory for n items and
 * no more, to whom keeps count himself. False: it would be over CN_ALLOC_MAX or over what `room` can count, or memory is out;
 * then nothing has changed. */
#define CN_GROW_FIRST 16
#define cn_grow(v, n, room) cn_grow_array(&(v), sizeof *(v), (n), &(room), sizeof(room))
#define cn_resize(v, n) cn_resize_array(&(v), sizeof *(v), (n))
bool cn_grow_array(void *array, size_t item, uint64_t n, void *room, size_t room_bytes);
bool cn_resize_array(void *array, size_t item, uint64_t n);
/* For those who grow arrays of other memory (arena.h) by the same rule: the count behind `room`, and the next one that has a
 * place n (0: there is none). */
uint64_t cn_grow_read(const void *room, size_t room_bytes);
void cn_grow_write(void *room, size_t room_bytes, uint64_t value);
uint64_t cn_grow_double(uint64_t room, uint64_t n, size_t room_bytes);
void cn_free(void *p);                       /* NULL is fine */

/* Bytes of the piece that this thread asked for last, if that was refused; told once, 0 else. */
size_t cn_alloc_refused(void);

/* Tests: how many pieces were asked for since start; and the n-th from now fails (0: none does). What libraries allocate is
 * outside: CRoaring asks malloc, has no hook to be given another (its versions from 0.6 on have one), and most of its functions
 * could not say that memory is out; LMDB, msgpack-c and OpenSSL ask malloc too. */
uint64_t cn_alloc_count(void);
void cn_alloc_fail_at(uint64_t nth);

/* `CN_CLEANUP(cn_free_p) char *text = ...;` frees at the end of the scope. */
#define CN_CLEANUP(fn) __attribute__((cleanup(fn)))
static inline void cn_free_p(void *pp) { cn_free(*(void **)pp); }
#define CN_AUTO_FREE CN_CLEANUP(cn_free_p)
