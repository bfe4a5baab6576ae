/* policy_show.c -- what the policy says of a document, for a person. */
#include "index/policy/policy_inside.h"

static void pack_hidden_by(cn_buf *b, const cn_policy *p, cn_str source, cn_str id) {
    cn_pack_cstr(b, "hidden_by");
    size_t at = cn_pack_array_open(b);
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->n_patterns; i++) {
        const cn_pattern *x = &p->patterns[i];
        if (!cn_pattern_fits(x, source, id))
            continue;
        cn_pack_str(b, x->glob.p ? x->glob : x->source);
        n++;
    }
    cn_pack_array_close(b, at, n);
}

void cn_policy_show(const cn_policy *p, cn_str source, cn_str id, cn_buf *out) {
    cn_key key = cn_key_of(source, id);
    const cn_policy_doc *d = cn_policy_find(p, &key), none = {.source = source, .id = id};
    d = d ? d : &none;
    cn_pack_map(out, 7);
    cn_pack_cstr(out, "source");
    cn_pack_str(out, source);
    cn_pack_cstr(out, "doc");
    cn_pack_str(out, id);
    cn_labels_pack_field(out, "granted", d->granted);
    cn_labels_pack_field(out, "denied", d->denied);
    cn_pack_cstr(out, "hidden");
    cn_pack_bool(out, d->hidden || cn_policy_pattern_hides(p, source, id));
    pack_hidden_by(out, p, source, id);
    cn_pack_cstr(out, "erased");
    cn_pack_bool(out, d->erased);
}
