/* A job's progress and its result as maps. */
#include "server/service/job_out.h"

#include "server/service/args.h"

static void out_known(cn_buf *b, const char *key, double v) {
    cn_pack_cstr(b, key);
    v < 0 ? cn_pack_nil(b) : cn_pack_f64(b, v);
}

void cn_out_job_progress(cn_buf *b, cn_str job, const cn_job_progress *n) {
    cn_pack_map(b, 13);
    cn_out_str(b, "job", job);
    cn_out_cstr(b, "state", cn_job_state_name(n->state));
    cn_out_cstr(b, "step", n->step);
    cn_out_counts(b, "counts", &n->counts);
    cn_out_uint(b, "chunks_embedded", n->chunks_embedded);
    cn_out_uint(b, "tokens", n->tokens);
    cn_out_uint(b, "bytes_done", n->bytes_done);
    cn_out_uint(b, "bytes_all", n->bytes_all);
    cn_out_uint(b, "docs_all", n->docs_all);
    cn_out_uint(b, "docs_before", n->docs_before);
    cn_out_uint(b, "elapsed_ms", n->elapsed_ms);
    out_known(b, "share", n->share);
    out_known(b, "seconds_left", n->seconds_left);
}

/* CPU time by step, in milliseconds. */
static void out_cost(cn_buf *out, const cn_job_cost *c) {
    const struct {
        const char *name;
        uint64_t ns;
    } v[] = {{"read", c->read}, {"match", c->match}, {"parse", c->parse}, {"chunk", c->chunk}, {"embed", c->embed}, {"write", c->write}, {"seal", c->seal}};
    cn_pack_cstr(out, "cpu_ms");
    cn_pack_map(out, sizeof v / sizeof *v);
    for (size_t i = 0; i < sizeof v / sizeof *v; i++)
        cn_out_uint(out, v[i].name, v[i].ns / 1000000);
}

static double price_of(const cn_job_result *r, uint64_t tokens) { return r->price * (double)tokens / 1e6; }

void cn_out_job_result(cn_buf *out, const cn_job_result *r, bool dry) {
    bool paid = r->price > 0;
    cn_pack_map(out, 10u + (r->version ? 2u : 0u) + paid + dry);
    cn_out_cstr(out, "job", r->job);
    cn_out_cstr(out, "state", cn_job_state_name(r->state));
    cn_out_counts(out, "counts", &r->counts);
    cn_out_bool(out, "activated", r->activated);
    cn_out_cstr(out, "why", r->why);
    cn_out_uint(out, "elapsed_ms", r->elapsed_ms);
    cn_out_uint(out, "chunks_embedded", r->chunks_embedded);
    cn_out_uint(out, "tokens", r->tokens);
    out_cost(out, &r->cost);
    cn_out_uint(out, "rejected", r->counts.rejected);
    if (paid) {
        cn_pack_cstr(out, "price");
        cn_pack_f64(out, price_of(r, r->tokens));
    }
    if (r->version) {
        cn_out_uint(out, "version", r->version);
        cn_out_hex(out, "root", r->root.b, sizeof r->root.b);
    }
    if (dry) {
        cn_pack_cstr(out, "estimate");
        cn_pack_map(out, 3u + paid);
        cn_out_uint(out, "chunks", r->est_chunks);
        cn_out_uint(out, "tokens", r->est_tokens);
        if (paid) {
            cn_pack_cstr(out, "price");
            cn_pack_f64(out, price_of(r, r->est_tokens));
        }
        cn_out_uint(out, "ms", r->est_ms);
    }
}
