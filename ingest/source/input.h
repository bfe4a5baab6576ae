/* input.h -- a file's or a pipe's bytes, unpacked on the way (.gz, .zst), whole or line by line.
 *
 * Unpacking is done by a process that is locked in (parse/unpack.h). A packed file that is cut off or damaged gives all that
 * came before that place, and there the error; half a line is not given.
 * Owns:    its descriptor, its window and its unpacker, until cn_input_close().
 * Thread:  one at a time.
 * Limits:  CN_LINE_MAX bytes a line. What is packed: 16 MiB of a document or a line at over 100 times the bytes read so far,
 *          and 1 GiB of all of it at over 1,000 times, are an error. */
#pragma once
#include "engine/base/arena.h"
#include "engine/base/error.h"
#include "ingest/parse/unpack.h"

#define CN_LINE_MAX ((size_t)256 << 20)

typedef struct cn_input cn_input;

/* Takes over fd, also on failure. name: for messages and by its ending, must outlive the input; idle: where an unpacker waits
 * between inputs (pointing to NULL at first, then the caller's to free), NULL: nothing is unpacked. */
cn_err cn_input_open(int fd, const char *name, cn_unpacker **idle, cn_input **ret);
void cn_input_close(cn_input *in); /* NULL is fine */
bool cn_input_packed(cn_str name); /* by its ending */
/* The first bytes, up to n, without taking them; fewer only at the end. Valid until the next call. */
cn_err cn_input_peek(cn_input *in, size_t n, cn_str *ret);
/* The next line without its LF (and CR), and a NUL after it; writable until the next call. CN_END at the end.
 * *ret_long: the line is over CN_LINE_MAX; it was passed over, and *ret holds none of it. */
cn_err cn_input_line(cn_input *in, char **ret, size_t *ret_n, bool *ret_long);
/* Exactly n bytes, valid until the next call; CN_END at the end, CN_INVALID when the file ends inside them. */
cn_err cn_input_take(cn_input *in, size_t n, const char **ret);
/* All that is left, in the arena. CN_INVALID over max bytes. */
cn_err cn_input_all(cn_input *in, size_t max, cn_arena *a, cn_str *ret);
uint64_t cn_input_line_number(const cn_input *in); /* of the line last given, from 1 */
bool cn_input_cut(const cn_input *in); /* it is packed, and was cut off: that is why it ended in an error */
uint64_t cn_input_read(const cn_input *in);        /* bytes of the file read so far, as they lie there */
