/* carry.h -- what a version takes over from its base as it may be read, not as it was written.
 *
 * A rollback leaves a version whose revocations are in force over the base (DESIGN.md section 7). The next version is made
 * from that base and is newer than the list, so its unchanged rows would show again what was revoked. So a row that a list in
 * force narrows in the base is written anew with what is left, and with no digest of what its source said: when the source
 * says the same row again that grants it again, and until then it stays narrowed.
 * Owns:    nothing.
 * Thread:  one at a time.
 * Limits:  memory for one document at a time. */
#pragma once
#include "index/catalog/version.h"

/* Adds such rows of the head to *io_w (NULL: made when there is one; the caller's), except those that are there or removed.
 * *ret_n: how many; *ret_head: the head they are of (0: there is none). */
cn_err cn_carry_narrowed(cn_tenant *t, const cn_seal *o, cn_segw **io_w, uint32_t *ret_n, uint64_t *ret_head);
