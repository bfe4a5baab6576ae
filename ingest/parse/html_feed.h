/* html_feed.h -- HTML as browsers read it, put so that libxml2 reads the same: given on in pieces, each whole in UTF-8.
 *
 *   ends of pages            left out: libxml2 reads nothing behind </html>
 *   &copy 2024, &AMP;        as numbers: the standard's 106 legacy references need no semicolon, and libxml2 wants one
 *   <textarea>, <title>      RCDATA: what looks like a tag in them is text
 *   <noscript>               its inside is left out
 *   <script>, <style>, comments, attributes: as they are; nothing in them is taken for any of the above
 * A name that ends in a semicolon and is none of the 106 is libxml2's to know. An element that is never closed is given on
 * as it is.
 * Owns:    nothing.
 * Thread:  any.
 * Limits:  one pass; a piece has at most 4 MiB. */
#pragma once
#include "engine/base/error.h"
#include "engine/base/str.h"

typedef void cn_html_sink(void *ctx, cn_str piece);
cn_err cn_html_feed(cn_str utf8, cn_html_sink *sink, void *ctx);
