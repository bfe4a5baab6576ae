/* mapguard.h -- a mapped file that someone cuts short is an error for its reader, and no SIGBUS that ends the process.
 *
 * Where a page of a watched map has lost its file, the handler puts a page of zeros there and raises the map's flag; the
 * read goes on and gives zeros. Whoever has used what it read looks at the flag, and takes nothing from it when it is up.
 * sigsetjmp around each read was the other choice: it cannot be had for scans that run on many threads.
 * Owns:    the process's handlers of SIGBUS and SIGSEGV, from the first watch on; a SIGBUS elsewhere ends the process with CN_EXIT_LOST, after a word of why.
 * Thread:  any.
 * Limits:  bytes behind the new end within its last page read as zeros without a SIGBUS; checksums find those. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

typedef struct cn_map_guard cn_map_guard;

/* NULL without memory: the map is not watched then. */
cn_map_guard *cn_map_watch(const void *p, size_t n);
cn_map_guard *cn_map_watch_written(const void *p, size_t n); /* the same of a map that is written to: what is lost can be still, to no avail */
/* While this thread opens a map of which it does not know yet where it lies, a page lost anywhere unwatched raises *torn, and
 * the map must not be used. NULL: no longer. */
void cn_map_expect(_Atomic bool *torn);
/* While this thread lets go of a mutex that lies in a map of this path's lock file: bytes of it that were cut off are pointers
 * to nowhere for the C library, and the SIGSEGV that comes of them ends the process with a word and CN_EXIT_LOST too. NULL: no
 * longer. */
void cn_map_letting_go(const char *path);
void cn_map_unwatch(cn_map_guard *g); /* before the map goes; NULL is fine */
void cn_map_tear(const void *p);      /* raises the flag of every map that p lies in */
bool cn_map_torn(const cn_map_guard *g);
bool cn_map_torn_any(void);           /* any map of this process, ever: false nearly always, and cheap */
