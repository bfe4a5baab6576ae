/* damage.h -- the files that were found damaged, kept until they are found well: what a request met, or a scrub, is told to
 * whoever asks later, by whichever process.
 *
 * cairn.mdb, database "damaged": key = tenant, a byte 0, file; value = record (fields.h): {index, version, at}. A file is named
 * within its tenant's directory ("control.mdb", "<id>.mdb"); without a tenant, within the data directory ("cairn.mdb",
 * "models/NAME").
 * Owns:    nothing; lists live in the arena given.
 * Thread:  any; what is put and dropped takes the host's writer.
 * Limits:  CN_DAMAGED_MAX files are listed. */
#pragma once
#include "engine/base/arena.h"
#include "index/store/data.h"

#define CN_DAMAGED_MAX 64
#define CN_DAMAGED_FILE 128

typedef struct cn_damaged {
    char tenant[CN_NAME_MAX + 1], index[CN_NAME_MAX + 1], file[CN_DAMAGED_FILE]; /* index empty: of all of the tenant, or not known */
    uint64_t version; /* one that names the file; 0: none does, or it is not known */
    int64_t at_us;    /* when that was found first */
} cn_damaged;

/* Whose the file is that this thread met last (cn_error_file()); where it noted none, the catalog of `tenant` (empty: of the
 * host). index may be empty. */
cn_damaged cn_damaged_of(const cn_data *d, cn_str tenant, cn_str index);
bool cn_damaged_same(const cn_damaged *a, const cn_damaged *b); /* one file */

/* One that is there already keeps its time. */
cn_err cn_damaged_put(cn_data *d, const cn_damaged *x);
cn_err cn_damaged_drop(cn_data *d, const cn_damaged *x);
cn_err cn_damaged_list(cn_data *d, cn_arena *a, cn_damaged **ret, uint32_t *ret_n);
