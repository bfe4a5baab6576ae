/* bitmap.h -- lists of numbers as they lie in a file: CRoaring's portable format, checked to the last container.
 *
 * The library checks sizes, and trusts what is inside: an array out of order or runs that overlap are read, written and
 * allocated beyond their bounds later. So every list that comes from a file comes through here.
 * Owns:    what is returned is the caller's, freed by roaring_bitmap_free().
 * Thread:  any.
 * Limits:  one pass over the bytes. */
#pragma once
#include <roaring/roaring.h>

#include "index/types.h"

/* CN_DAMAGED, "<what> cannot be read", unless the bytes are one bitmap and nothing else. */
cn_err cn_bitmap_read(cn_str bytes, const char *what, roaring_bitmap_t **ret);
