#include "ingest/job/digests.h"

static cn_digest finish(cn_sha256 *s) {
    cn_digest d = cn_sha256_get(s);
    cn_sha256_end(s);
    return d;
}

cn_digest cn_vector_digest(const cn_raw *raw) {
    return raw->vector ? cn_sha256_of(raw->vector, raw->dim * sizeof(float)) : (cn_digest){{0}};
}

cn_digest cn_content_digest(const cn_raw *raw, const cn_digest *vector) {
    cn_sha256 s;
    cn_sha256_begin(&s);
    cn_sha256_field(&s, CN_STR("cairn content 2"));
    cn_sha256_field(&s, cn_str_of(cn_format_name(raw->format)));
    cn_sha256_field(&s, raw->title);
    cn_sha256_field(&s, raw->uri);
    cn_sha256_field(&s, raw->bytes);
    cn_sha256_add(&s, vector, sizeof *vector);
    return finish(&s);
}

static void add_labels(cn_sha256 *s, cn_labels l) {
    cn_sha256_u64(s, l.n);
    for (uint32_t i = 0; i < l.n; i++)
        cn_sha256_field(s, l.v[i]);
}

cn_digest cn_row_digest(const cn_digest *content, const cn_triple *labels, cn_str meta) {
    cn_sha256 s;
    cn_sha256_begin(&s);
    cn_sha256_field(&s, CN_STR("cairn row 1"));
    cn_sha256_add(&s, content, sizeof *content);
    add_labels(&s, labels->allow);
    add_labels(&s, labels->deny);
    add_labels(&s, labels->require);
    cn_sha256_field(&s, meta);
    return finish(&s);
}

cn_digest cn_chain_digest(const cn_digest *before, cn_op op, const cn_key *key, const cn_digest *row) {
    cn_sha256 s;
    cn_sha256_begin(&s);
    cn_sha256_add(&s, before, sizeof *before);
    cn_sha256_u64(&s, (uint64_t)op);
    cn_sha256_add(&s, key, sizeof *key);
    cn_sha256_add(&s, row, sizeof *row);
    return finish(&s);
}
