/* question.h -- one query: its fields, its run, its answer. For server/service only.
 *
 * Owns:    strings, vector and filter live in the call's arena or in the request.
 * Thread:  one at a time, with the call.
 * Limits:  k 1 to CN_K_MAX, CN_QUESTION_BYTES of text, CN_TAGS_MAX tags. */
#pragma once
#include "server/service/record.h"

#define CN_K_DEFAULT 10
#define CN_TAGS_MAX 32

/* Relevance, 0 to 1: a first calibration, to be fitted to judged queries. Cosine and inner product: the score, no less
 * than 0 and no more than 1. L2: 1 / (1 + distance). Lexical: the score's share of what no row can reach (a row of average
 * length that holds each word once has .4). Hybrid: the greater one of its halves. */
#define CN_EVIDENCE_OK 0.45f
#define CN_EVIDENCE_WEAK 0.30f
float cn_relevance(cn_metric metric, float score); /* of a score by vectors */

typedef struct cn_question {
    cn_question_text text;      /* .text.p NULL: a raw vector */
    float *vector;              /* dim floats; of a text once embedded */
    uint32_t dim;
    uint32_t k, per_doc;
    float min_relevance;
    double recall;              /* the least that is wanted; 0: as the mode gives it */
    cn_str mode;                /* as asked for; empty: the index's default. Once it is open: the name of `how` */
    cn_mode how;                /* once it is open */
    const cn_filter *filter;
    bool explain, strict;       /* strict: on_degraded: error */
    uint32_t degraded;          /* CN_DEGRADED_... */
    uint64_t deadline_ns, embed_ns, fetch_ns;
    cn_search_stats stats;      /* of its search */
    const char *evidence;       /* NULL: not answered */
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
#define CN_DENSE_RECALL .999 /* what mode dense reaches; more than that is asked for exactly */
bool cn_question_same_model(const cn_question *p, const cn_question *q);
cn_err cn_question_embed(cn_service *s, cn_call *c, cn_question **q, uint32_t n); /* texts, all of one model */
bool cn_question_needs_vector(const cn_question *q); /* once it is open: has its text to be embedded? */
/* The embedder failed with `err`: lexical instead, CN_OK; or err, where that cannot be or is not wanted. */
cn_err cn_question_instead(cn_question *q, cn_err err);
void cn_question_set(cn_question *q, cn_mode how); /* another mode from now on */
/* Its hits in the call's `hits`, before min_relevance cuts them. */
cn_err cn_question_search(cn_call *c, cn_question *q, uint32_t *ret_n);
float cn_question_relevance(const cn_question *q, const cn_hit *hit); /* once it was searched */
/* Searches and appends the answer. */
cn_err cn_question_answer(cn_call *c, cn_question *q, cn_buf *out);
/* Its request record, once it was answered or has failed. own, also: the request's fields, of which little may have been read. */
void cn_question_record(cn_service *s, cn_call *c, cn_str tenant, const msgpack_object *own, const msgpack_object *defaults, cn_question *q, cn_err err);

void cn_out_passage(cn_buf *out, const cn_chunk *chunk); /* bytes, page, headings: three pairs */
void cn_out_meta(cn_buf *out, cn_str meta);
