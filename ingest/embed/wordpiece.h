/* wordpiece.h -- texts to the piece ids of BERT's vocabulary, exactly as Hugging Face's fast BertTokenizer gives them.
 *
 * Steps: special tokens written in the text; cleaning, spaces round ideographs, decomposition, accents off, lower case;
 * words at white space and signs; then the longest known piece from the left (Wu et al. 2016, "Google's Neural Machine
 * Translation System").
 * Owns:    cn_wordpiece its vocabulary.
 * Thread:  any; it never changes after cn_wordpiece_new().
 * Limits:  CN_VOCAB_MAX pieces; a word of over 100 characters is one [UNK]; texts under 4 GiB. */
#pragma once
#include "ingest/embed/embed.h"

#define CN_VOCAB_MAX (1u << 22)

typedef struct cn_wordpiece cn_wordpiece;
typedef struct cn_wordpiece_opts {
    bool lower, strip_accents, cjk;
} cn_wordpiece_opts;

/* vocab: one piece a line. CN_INVALID when [UNK], [CLS] or [SEP] is missing. */
cn_err cn_wordpiece_new(cn_str vocab, const cn_wordpiece_opts *o, cn_wordpiece **ret);
void cn_wordpiece_free(cn_wordpiece *w);
uint32_t cn_wordpiece_size(const cn_wordpiece *w); /* ids are under it */
uint32_t cn_wordpiece_cls(const cn_wordpiece *w);
uint32_t cn_wordpiece_sep(const cn_wordpiece *w);

/* A list that grows up to `max` tokens; then `full` is set and the rest of the text is left. */
typedef struct cn_tokens {
    cn_token *v;
    uint32_t n, room, max;
    bool full;
} cn_tokens;
void cn_tokens_done(cn_tokens *t);
cn_err cn_tokens_add(cn_tokens *t, uint32_t id, uint32_t from, uint32_t to);

/* Appends the tokens of text, without [CLS] and [SEP]. Bytes that are no UTF-8 count as U+FFFD, which is dropped. */
cn_err cn_wordpiece_run(const cn_wordpiece *w, cn_str text, cn_tokens *out);
