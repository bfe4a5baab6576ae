/* embed.h -- texts to vectors: the face every embedder stands behind, and the models kept in DATA/models.
 *
 * Kinds: bert, in single precision (fp32) or with its dense layers in 8-bit integers (int8: about three times as fast;
 * bert_int8.h); static, a table of rows that `cairn model distill` made from a bert (static.h); http, a service elsewhere (http.h), for which texts leave this process. `none` is no embedder at all.
 * The files of a model are read once, when it is opened, and what was read is what its digest is of: whoever cuts, changes or
 * removes them afterwards changes no vector of this process (`cairn doctor` finds it, and so does the next one that opens it).
 * Mapped files would have cost less memory and given other vectors without a word.
 * Owns:    cn_embedder is shared and counted; it owns its weights.
 * Thread:  any may call embed; it uses the threads given at the call.
 * Limits:  CN_EMBED_BATCH texts a call; a text over the model's limit keeps its first ids and [SEP]. */
#pragma once
#include "engine/base/arena.h"
#include "index/types.h"

#define CN_EMBED_BATCH 4096

typedef struct cn_embedder cn_embedder;

/* --- models: DATA/models/<name>/ --- */
/* Checks a sentence-transformers folder (config.json, vocab.txt, model.safetensors, modules.json) and copies it in.
 * The same model under its name again is fine; another one is CN_CONFLICT. */
cn_err cn_model_add(const char *data_dir, cn_str name, const char *folder);
/* A service that speaks OpenAI's /v1/embeddings, by its description (http_config.h). Where its dimensions are not said (0)
 * it is asked once. Added again under the same name with the same url, model and dimensions, the rest is replaced. */
struct cn_http_config;
cn_err cn_model_add_http(const char *data_dir, cn_str name, const struct cn_http_config *c);
/* Reads every byte again: CN_DAMAGED when it is not what was added. Opening a model does so too. */
cn_err cn_model_verify(const char *data_dir, cn_str name);
/* A model whose manifest holds no model has the kind "damaged" and zeros, one that cannot be read for now "unreadable". */
cn_err cn_model_list(const char *data_dir, cn_err (*fn)(void *ctx, cn_str name, cn_str kind, uint32_t dim, uint32_t max_tokens, const cn_digest *digest), void *ctx);

/* One per process and (name, precision); a second open returns the same, counted, and waits while another thread reads it. precision: "fp32" or "int8"; "": int8 for bert, fp32
 * for the other kinds, which have no other. */
cn_err cn_embedder_open(const char *data_dir, cn_str name, cn_str precision, cn_embedder **ret);
cn_embedder *cn_embedder_ref(cn_embedder *e);
void cn_embedder_unref(cn_embedder *e);
static inline void cn_embedder_unref_p(cn_embedder **e) { cn_embedder_unref(*e); }
/* false: its folder, or a remote one's description, was replaced since; an open gives the new one. Told by the manifest's inode, size
 * and time: a copy that keeps all three is not seen. */
bool cn_embedder_is_current(const cn_embedder *e);
cn_str cn_embedder_name(const cn_embedder *e);
cn_str cn_embedder_precision(const cn_embedder *e);
cn_digest cn_embedder_digest(const cn_embedder *e); /* weights, tokenizer, pooling, precision, kind of arithmetic */
cn_digest cn_embedder_weights(const cn_embedder *e); /* of kind bert its files alone; zero: its digest says all */
uint32_t cn_embedder_dim(const cn_embedder *e);
bool cn_embedder_is_remote(const cn_embedder *e);   /* texts go over the network to it */
/* CN_REFUSED when it is remote: of an index that is set to local_only. */
cn_err cn_embedder_local_only(const cn_embedder *e);
double cn_embedder_price(const cn_embedder *e);     /* of a million tokens; 0: none, or not known */
uint32_t cn_embedder_max_tokens(const cn_embedder *e);  /* with [CLS] and [SEP] */
uint32_t cn_embedder_text_tokens(const cn_embedder *e); /* of a text, without them */

/* out: n x dim floats. The bytes of a text's vector depend on nothing but the text (of a remote one: on what it answers). *ret_cut counts texts over the limit; may be NULL. */
cn_err cn_embed(cn_embedder *e, const cn_str *texts, uint32_t n, unsigned threads, float *out, uint32_t *ret_cut);
typedef struct cn_embed_cost {
    uint32_t cut;             /* texts over the limit */
    uint64_t tokens, cpu_ns;  /* with [CLS] and [SEP], or as a remote one counts them; of all threads of the call */
    uint64_t wait_ns;         /* for a remote one */
} cn_embed_cost;
/* How long a remote one is waited for; others pay no heed to it. NULL: as a job does, without a stop. */
typedef struct cn_embed_wait {
    bool hurry;               /* a question: two tries at most, in a short time, none while it is taken for down */
    uint64_t until_ns;        /* cn_mono_ns(); 0: as its own settings say */
    bool (*stop)(void *ctx);  /* true ends the call with CN_END; NULL: never */
    void *stop_ctx;
} cn_embed_wait;
cn_err cn_embed_told(cn_embedder *e, const cn_str *texts, uint32_t n, unsigned threads, const cn_embed_wait *w, float *out, cn_embed_cost *ret);

/* The vectors of pieces of the vocabulary, `first` and the n - 1 after it, each alone between [CLS] and [SEP]; out: n x dim
 * floats. Of kind bert alone. */
cn_err cn_embed_pieces(cn_embedder *e, uint32_t first, uint32_t n, unsigned threads, float *out);
/* CN_INVALID unless it is of kind bert: what a static one can be made from. *ret_vocab, *ret_opts: its vocab.txt and how it
 * cuts words. */
struct cn_wordpiece_opts;
cn_err cn_embedder_vocab(const cn_embedder *e, cn_str *ret_vocab, struct cn_wordpiece_opts *ret_opts);

/* --- tokens: what chunkers count with --- */
typedef struct cn_token {
    uint32_t id;
    uint32_t from, to; /* bytes of the text */
} cn_token;
/* Tokens of the text without [CLS] and [SEP]; e NULL: words (runs of letters and digits, and single other signs); e remote:
 * a guess on the safe side, words cut every few bytes. */
cn_err cn_tokenize(cn_embedder *e, cn_str text, cn_arena *a, cn_token **ret, uint32_t *ret_n);
/* How many there are. e NULL or remote: that guess, which is rather too high. */
cn_err cn_count_tokens(cn_embedder *e, cn_str text, uint32_t *ret);
