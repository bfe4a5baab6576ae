/* json.h -- JSON text to and from MessagePack, so that one tree serves the wire, the disk and people.
 *
 * Parsing is jansson's (refuses bad UTF-8, deep nesting, keeps 64-bit integers); writing is ours.
 * Owns:    nothing.
 * Thread:  any.
 * Limits:  CN_PACK_DEPTH levels. */
#pragma once
#include "engine/base/pack.h"

/* One JSON value, appended to `out` as MessagePack. CN_INVALID with line and column. */
cn_err cn_json_parse(cn_str text, cn_buf *out);
/* bin of 32 bytes and other bin: hexadecimal (float vectors too long to read are still whole); NaN and infinity: null.
 * indent 0: one line. */
void cn_json_write(cn_buf *out, const msgpack_object *o, int indent);
void cn_json_write_str(cn_buf *out, cn_str s); /* with its quotes; bytes that are no UTF-8 become U+FFFD */
