/* record.h -- what a request record holds, made in the call's own buffer: who asked, and which passages they were given. Never
 * a text, a title or a query's vector. For server/service only.
 *
 * {method, who, via, as, index, version, root, epoch, mode, k, filter, evidence, degraded[], error, labels[], held[],
 *  us{queue, permit, embed, search, fetch, total}, hits[[source, doc, chunk, score, digest, from, to]], [cut]}
 * labels: those asked with; held: all that were verified, when they are more. Of a longer list than CN_RECORD_LABELS only the
 * number and the digest. cut: so many hits did not fit into the record.
 * Owns:    nothing.
 * Thread:  one at a time, with the call.
 * Limits:  CN_TRACE_MAP bytes a record. */
#pragma once
#include "index/trace/trace.h"
#include "server/service/reading.h"

#define CN_RECORD_LABELS 64
#define CN_NO_CHUNK UINT32_MAX

/* What made an answer less than what was asked for; the words of `degraded`.
 *   text_cut              the model, or lexical search, reads less than the text given
 *   no_postings           hybrid was asked for, and words cannot be looked up: dense
 *   no_embedder           hybrid was asked for, and the index embeds no text: lexical
 *   no_text               hybrid was asked for with a vector alone: dense
 *   embedder_unavailable  the text could not be embedded: lexical
 *   exact_only            the index is in mode exact, and another was asked for
 *   lexical_only          the index is in mode lexical, and another was asked for
 *   index_unavailable     of several indexes one could not be asked
 *   prefix_cut            a prefix of the text begins more words than are looked up: those of the fewest passages are left out */
#define CN_DEGRADED_WORDS(X) X(text_cut) X(no_postings) X(no_embedder) X(no_text) X(embedder_unavailable) X(exact_only) X(lexical_only) X(index_unavailable) \
    X(prefix_cut)
enum cn_degraded {
#define CN_DEGRADED_BIT(word) CN_DEGRADED_AT_##word,
    CN_DEGRADED_WORDS(CN_DEGRADED_BIT)
#undef CN_DEGRADED_BIT
    CN_DEGRADED_N
};
#define CN_DEGRADED(word) (1u << CN_DEGRADED_AT_##word)
void cn_out_degraded(cn_buf *out, uint32_t bits); /* the pair */

typedef struct cn_record {
    size_t map_at, hits_at;
    uint32_t hits;
} cn_record;

typedef struct cn_record_facts {
    const char *method;
    cn_str tenant, index;         /* as asked */
    const msgpack_object *as;     /* NULL: nobody named */
    const cn_reading *reading;    /* view NULL: it was not opened */
    const char *trace_id;         /* hexadecimal; "": one is made */
    cn_str mode;
    uint32_t k;
    const cn_filter *filter;
    const char *evidence;         /* NULL: it is no query */
    uint32_t degraded;            /* CN_DEGRADED_... */
    uint64_t permit_ns, embed_ns, search_ns, fetch_ns;
} cn_record_facts;

typedef struct cn_record_hit {
    cn_str source, doc;
    uint32_t chunk;               /* CN_NO_CHUNK: a range of the document */
    float score;
    cn_digest digest;
    uint64_t from, to;
} cn_record_hit;

void cn_record_begin(cn_call *c, cn_record *r);
void cn_record_add(cn_call *c, cn_record *r, const cn_record_hit *hit);
/* Hands it on. err: what the method returns; when it failed, nothing was given to anyone. The error's text stays as it is. */
void cn_record_end(cn_service *s, cn_call *c, cn_record *r, const cn_record_facts *f, cn_err err);
