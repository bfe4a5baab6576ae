/* member_inside.h -- the directory of members as stored and as loaded; for index/policy's own files.
 *
 * control.mdb, database "members":
 *   principal -> u8 format (1), u32 CRC-32C of the rest (little-endian), labels by commas
 *   '='       -> sum.h, over all records above
 * A member that is missing would take away the groups that a denial or a requirement of a document speaks of. So the
 * directory is loaded whole, compared with its sum, and shared read-only until the tenant's epoch passes.
 * Owns:    a cn_members owns its arena, in which everything it points to lives; it is shared and counted.
 * Thread:  any.
 * Limits:  memory is proportional to the directory. */
#pragma once
#include "engine/base/buf.h"
#include "index/control/sum.h"
#include "index/policy/labels.h"
#include "index/store/data.h"

#define CN_MEMBERS_WHAT "directory of members"

typedef struct cn_member {
    cn_str principal, commas; /* commas: its labels, sorted, in NFC */
} cn_member;

typedef struct cn_members {
    _Atomic uint32_t refs;
    uint64_t epoch;
    cn_sum sum;
    cn_arena a;
    cn_member *v;             /* by principal */
    uint32_t n, room;
} cn_members;

cn_err cn_members_load(cn_tenant *t, cn_members **ret); /* the current ones; cached by epoch, so a warm call is a look-up */
void cn_members_unref(cn_members *m);
const cn_member *cn_members_find(const cn_members *m, cn_str principal); /* NULL: no member */

void cn_member_pack(cn_buf *out, cn_labels labels);
cn_err cn_member_unpack(cn_str principal, cn_str value, cn_str *ret_commas);
