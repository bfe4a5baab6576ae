/* normal.h -- the one form of all text in cairn.
 *
 * NFC (UAX #15); lines end in LF (from CRLF, CR, NEL, U+2028, U+2029, VT, FF); TAB and LF are the only control characters
 * left; U+00A0 becomes an ordinary space, so that words part where they are seen to part; soft hyphens (U+00AD) and byte
 * order marks (U+FEFF) are dropped, so that a word is found however it was broken. Everything else stays as it was.
 * Owns:    nothing.
 * Thread:  any.
 * Limits:  those of the buffer written to. */
#pragma once
#include "engine/base/buf.h"

bool cn_normal_is(cn_str s);                 /* already in this form; quick, may say false for text that is */
void cn_normal_add(cn_buf *out, cn_str s);   /* s: valid UTF-8 */
/* The same on one line: white space runs become one space, none at the ends. For titles. */
void cn_normal_line(cn_buf *out, cn_str s);
