/* charset.h -- a document's bytes to valid UTF-8, or the reason why they are no text.
 *
 * Byte order mark -> NUL bytes (UTF-16 without a mark, or a binary file) -> UTF-8 validity -> the charset that the
 * document names -> uchardet's guess -> windows-1252, of which every byte is some character.
 * Owns:    nothing; what is converted lies in the caller's buffer.
 * Thread:  any.
 * Limits:  those of the buffer. */
#pragma once
#include "engine/base/buf.h"

/* named: the charset that the document claims, or an empty string. *ret aliases `bytes` where nothing had to be converted,
 * else `hold`. CN_INVALID names the byte that shows a binary file, or that breaks a text which is UTF-8 otherwise. */
cn_err cn_charset_utf8(cn_str bytes, cn_str named, cn_buf *hold, cn_str *ret);
/* The charset that an HTML page names in its first 4 KiB, or an empty string. */
cn_str cn_charset_of_html(cn_str bytes);
/* Opens every converter that may be needed, while files can still be opened: a worker does it before it locks itself in. */
void cn_charset_prepare(void);
