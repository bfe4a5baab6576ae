/* asking.h -- one query over one index or several: its questions, what of their hits is given, with what stands around it.
 *
 * Owns:    its questions own what they read from, until cn_asking_done(); passages are the call's, until its next query.
 * Thread:  one at a time, with the call.
 * Limits:  CN_ALSO_MAX indexes besides the first; CN_SHAPED_K hits where several are asked, hits are widened or tokens counted. */
#pragma once
#include "server/service/question.h"

#define CN_ALSO_MAX 15
#define CN_SHAPED_K 1000
#define CN_EXPAND_MAX 100
#define CN_NO_PASSAGE UINT32_MAX

typedef struct cn_passage { /* a hit, and what is given with it */
    cn_question *q;
    cn_hit hit;
    float relevance;
    cn_doc doc;               /* borrowed from the segment */
    cn_chunk chunk;
    cn_digest digest;         /* of the passage's own text, and, once it is written, of what is given */
    cn_digest given;
    cn_span span;             /* what is given: the passage, or more */
    uint32_t tokens;          /* of that, where they are counted */
    uint32_t in;              /* the hit in whose text it stands: itself, or one before it */
    uint32_t next;            /* the next passage in the same text; CN_NO_PASSAGE: none */
} cn_passage;

typedef struct cn_asking {
    cn_question first, *also; /* of `index`, and of each of `also` */
    uint32_t n;               /* of both together */
    bool by_rank;             /* how lists of several indexes are merged; else by relevance */
    uint32_t expand;          /* passages on each side that are given too; with section: no further than the section */
    bool section;
    uint32_t max_tokens;      /* of all text given; 0: any number */
    cn_passage *v;            /* what was found, in the answer's order */
    uint32_t n_found;
    float best;               /* the greatest relevance of what was found, */
    bool found;               /* if anything was, before tokens cut it */
    uint32_t tokens, left_out; /* given; hits for which they did not suffice */
    cn_str counted_by;        /* the model whose tokens they are, or "estimate" */
} cn_asking;

static inline cn_question *cn_asking_at(cn_asking *a, uint32_t i) { return i ? &a->also[i - 1] : &a->first; }
static inline bool cn_asking_widens(const cn_asking *a) { return a->expand || a->section; }

/* Fields of `own` win over those of `defaults`, as cn_question_read(). */
cn_err cn_asking_read(cn_call *c, cn_str tenant, const msgpack_object *own, const msgpack_object *defaults, cn_asking *ret);
/* Opens all. One of `also` that cannot be read from for now is left out of the answer, which says so; not with on_degraded: error. */
cn_err cn_asking_open(cn_service *s, cn_call *c, cn_asking *a);
/* Once it is open: their texts to vectors. */
cn_err cn_asking_embed(cn_service *s, cn_call *c, cn_asking *a);
/* Of those that were embedded with others: what of a failure stands for all. */
cn_err cn_asking_embedded(cn_call *c, cn_asking *a);
/* Searches, and appends the answer. */
cn_err cn_asking_answer(cn_service *s, cn_call *c, cn_asking *a, cn_buf *out);
/* A request record for each index, once it was answered or has failed; what was drawn of those answered is searched again. */
void cn_asking_record(cn_service *s, cn_call *c, cn_str tenant, const msgpack_object *own, const msgpack_object *defaults, cn_asking *a, cn_err err);
void cn_asking_done(cn_asking *a);

/* passages.c: a->v, once all is open and embedded. */
cn_err cn_asking_find(cn_service *s, cn_call *c, cn_asking *a);
/* A question of `also` failed with err: CN_OK when the answer can do without it. */
cn_err cn_asking_without(cn_call *c, cn_asking *a, cn_question *q, cn_err err);
