/* unpack.h -- .gz and .zst around whole inputs, unpacked by a process that is locked in as a parser's is.
 *
 * The process has no file: this side reads the packed bytes and hands them over when it asks, so that what was read of the
 * file is known here whatever the other side says. zlib unpacks .gz and holds its checksums against the bytes, libarchive
 * unpacks .zst. What came before a place where the file breaks off is given first.
 * Owns:    a cn_unpacker owns its process, which serves one input after the other; the file is the caller's.
 * Thread:  one at a time.
 * Limits:  512 MiB of memory, and CN_PARSE_SECONDS between two of its answers. */
#pragma once
#include "ingest/parse/parse.h"

typedef enum cn_packing { CN_PACK_GZ = 1, CN_PACK_ZST } cn_packing;
typedef struct cn_unpacker cn_unpacker;

cn_err cn_unpacker_new(cn_unpacker **ret);
void cn_unpacker_free(cn_unpacker *u); /* NULL is fine */
/* The next input; the process is started when there is none. fd is borrowed until the end of it or the next begin. */
cn_err cn_unpack_begin(cn_unpacker *u, int fd, cn_packing packing);
/* Up to n bytes; 0: the end. CN_INVALID: it is damaged, is cut off (*ret_cut), or is no packed file at all; the text says why,
 * for a name before it. Nothing can be read after an error. */
cn_err cn_unpack_read(cn_unpacker *u, char *p, size_t n, size_t *ret, bool *ret_cut);
uint64_t cn_unpack_taken(const cn_unpacker *u); /* bytes of the file handed over so far */
