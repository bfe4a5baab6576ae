/* question.h -- one query: its fields, its run, its answer. For server/service only.
 *
 * Owns:    strings, vector and filter live in the call's arena or in the request.
 * Thread:  one at a time, with the call.
 * Limits:  k 1 to CN_K_MAX, CN_QUESTION_BYTES of text, CN_TAGS_MAX tags. */
#pragma once
#include "server/service/record.h"
#include "server/service/relevance.h"
#include "server/service/shadow.h"

#define CN_K_DEFAULT 10
#define CN_TAGS_MAX 32

typedef struct cn_question {
    cn_question_text text;      /* .text.p NULL: a raw vector */
    float *vector;              /* dim floats; of a text once embedded */
    uint32_t dim;
    uint32_t k, per_doc;
    bool distinct;
    float min_relevance;
    double recall;              /* the least that is wanted; 0: as the index's kind gives it */
    double aims_at;             /* that, or more where the version was found to need it (shadow.h); once it is open */
    cn_again *again;            /* of those that are drawn to be searched again, once it was; NULL: not */
    cn_str mode;                /* as asked for; empty: the index's default. Once it is open: the name of `how` */
    cn_mode how;                /* once it is open */
    cn_str fusion;              /* as asked for; empty: the index's default */
    bool rrf;                   /* that, once it is open */
    const cn_filter *filter;
    bool operators;             /* its text has phrases and prefixes */
    bool highlight;
    bool explain, strict;       /* strict: on_degraded: error */
    uint32_t degraded;          /* CN_DEGRADED_... */
    uint64_t deadline_ns, embed_ns, fetch_ns;
    cn_search_stats stats;      /* of its search */
    cn_scale scale;             /* of its model's cosines */
    const char *evidence;       /* NULL: not answered */
    cn_err failed;              /* of one among several: its own error, noted with its text */
    const char *why;
    cn_record record;
    char trace_id[33];
    cn_reading_opts from;
    cn_reading reading;
} cn_question;

/* Fields of `own` win over those of `defaults` (NULL: none); text and vector are only taken from `own`. */
cn_err cn_question_read(cn_call *c, cn_str tenant, const msgpack_object *own, const msgpack_object *defaults, cn_question *ret);
/* Opens what it reads from and checks text or vector against it. */
cn_err cn_question_open(cn_service *s, cn_call *c, cn_question *q);
/* Once it is open: is it searched without leaving anything out? */
bool cn_question_is_exact(const cn_question *q);
#define CN_CELLS_RECALL .95   /* what an index of kind cells reaches where a question does not say */
#define CN_DENSE_RECALL .999 /* what mode dense reaches; more than that is asked for exactly */
/* The texts of those questions that need it and have not failed, those of one model together. Where the embedder fails each is
 * lexical from then on, or has failed with that error. */
cn_err cn_questions_embed(cn_service *s, cn_call *c, cn_question **q, uint32_t n);
cn_err cn_question_embed(cn_service *s, cn_call *c, cn_question *q); /* one; its error as it is */
bool cn_question_needs_vector(const cn_question *q); /* once it is open: has its text to be embedded? */
cn_err cn_question_note(cn_call *c, cn_question *q, cn_err err); /* it failed so, with the text of the last error */
void cn_question_set(cn_question *q, cn_mode how); /* another mode from now on */
/* Its hits in the call's `hits`, before min_relevance cuts them. */
cn_err cn_question_search(cn_call *c, cn_question *q, uint32_t *ret_n);
/* Of a live question, right after that: should it be searched again, what that takes. */
void cn_question_draw(cn_service *s, const cn_call *c, cn_question *q, uint32_t n);
cn_grounds cn_question_grounds(const cn_question *q, const cn_hit *hit);
float cn_question_relevance(const cn_question *q, const cn_hit *hit); /* once it was searched */
/* Its request record, once it was answered or has failed. own, also: the request's fields, of which little may have been read. */
void cn_question_record(cn_service *s, cn_call *c, cn_str tenant, const msgpack_object *own, const msgpack_object *defaults, cn_question *q, cn_err err);

void cn_out_passage(cn_buf *out, const cn_chunk *chunk); /* bytes, page, headings: three pairs */
void cn_out_meta(cn_buf *out, cn_str meta);
