/* Counts as a map, for rows, notes and whoever shows them. */
#include "ingest/job/rows.h"

#define COUNTS(X) X(read) X(added) X(unchanged) X(changed) X(relabelled) X(rejected) X(deleted) X(documents) X(chunks) X(unlabelled) X(skipped)

void cn_counts_pack(const cn_counts *c, cn_buf *out) {
#define ONE(name) +1
    cn_pack_map(out, 0 COUNTS(ONE));
#undef ONE
#define PUT(name) cn_pack_cstr(out, #name), cn_pack_uint(out, c->name);
    COUNTS(PUT)
#undef PUT
}

cn_err cn_counts_unpack(const msgpack_object *map, cn_counts *ret) {
    cn_counts c = {0};
#define GET(name) CN_TRY(cn_get_uint(map, #name, 0, UINT64_MAX, &c.name));
    COUNTS(GET)
#undef GET
    *ret = c;
    return CN_OK;
}
