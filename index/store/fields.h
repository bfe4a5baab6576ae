/* fields.h -- records of an environment: one list of fields packs a record and reads it.
 *
 * Record (pack.h), format 1, of one MessagePack map. Every field must be there and no other, but for its key ("of"): a record that
 * says less or more than its list is damaged, and no field has a value of its own accord. But a list may end with fields of CN_F_MAYBE, which is
 * how records grow: such a field is written only where its value is not zero (false, empty), and one that is missing reads as
 * zero. So what an earlier program wrote is read, and an earlier program reads what says nothing new and refuses the rest.
 * Owns:    nothing; strings read live in the arena given, or without one (NULL) in the value.
 * Thread:  any; put inside the caller's write transaction.
 * Limits:  64 MiB a record. */
#pragma once
#include "engine/base/arena.h"
#include "index/store/env.h"

enum cn_field_kind { CN_F_U64, CN_F_U32, CN_F_I64, CN_F_BOOL, CN_F_STR, CN_F_BIN, CN_F_FIXED, CN_F_MAYBE = 8 /* with one of these: CN_F_BOOL | CN_F_MAYBE */ };
typedef struct cn_field {
    const char *name;
    unsigned kind; /* enum cn_field_kind */
    void *at;     /* uint64_t, uint32_t, int64_t, bool, cn_str, cn_str, n bytes */
    size_t n;
} cn_field;
/* n fields, those that may be missing last. */
cn_err cn_fields_put(MDB_txn *txn, MDB_dbi dbi, cn_str key, const cn_field *f, unsigned n);
/* The same, with what it is found by (CN_FIELD_OF), which no checksum covers otherwise. */
cn_err cn_fields_put_of(MDB_txn *txn, MDB_dbi dbi, cn_str key, const cn_field *f, unsigned n);
/* DAMAGED: this record, of fields or of another map, says in this field (CN_FIELD_OF, or one of its own) that it is found by
 * another key. One that says nothing, or cannot be read, is left to its reader. */
#define CN_FIELD_OF "of"
cn_err cn_fields_in_place(cn_str key, cn_str value, const char *field);
/* DAMAGED, with `what` and the field, unless value holds these fields; what f points to may then be changed in part. */
cn_err cn_fields_read(cn_str value, const char *what, cn_arena *a, const cn_field *f, unsigned n);
