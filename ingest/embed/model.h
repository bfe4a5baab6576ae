/* model.h -- a model's folder: its files, and what the JSON of a sentence-transformers folder says.
 *
 * The same code reads a folder that a user brings and one kept in DATA/models; nothing in it is trusted.
 * Owns:    cn_model_dir its bytes: a copy in memory, which nobody else can change or cut short.
 * Thread:  reading: any.
 * Limits:  CN_MODEL_... below. */
#pragma once
#include "engine/base/digest.h"
#include "ingest/embed/wordpiece.h"

#define CN_MODEL_JSON_MAX (1u << 20)
#define CN_MODEL_VOCAB_MAX (64u << 20)
#define CN_MODEL_WEIGHTS_MAX ((uint64_t)16 << 30)
#define CN_MODEL_LAYERS_MAX 96
#define CN_MODEL_HIDDEN_MAX 4096
#define CN_MODEL_TOKENS_MAX 4096
#define CN_TABLE_FILE "table" /* table.h */

typedef enum cn_model_part {
    CN_PART_CONFIG, CN_PART_VOCAB, CN_PART_MODULES, CN_PART_POOLING, CN_PART_SBERT, CN_PART_TOKENIZER, CN_PART_PROMPTS, CN_PART_WEIGHTS, CN_PART_COUNT
} cn_model_part;

typedef struct cn_model_dir {
    struct {
        char name[128];  /* relative to the folder; "" when it is not there */
        cn_str bytes;
    } part[CN_PART_COUNT];
} cn_model_dir;

/* CN_INVALID names the file that is missing or too large. The second is of a static embedder: its vocabulary, and its table
 * in the place of weights. */
cn_err cn_model_dir_open(const char *folder, cn_model_dir *ret);
cn_err cn_model_dir_open_table(const char *folder, cn_model_dir *ret);
void cn_model_dir_done(cn_model_dir *d);
void cn_model_dir_drop(cn_model_dir *d, cn_model_part k); /* its bytes alone */
/* SHA-256 over each file's name and content, in the order of cn_model_part. */
cn_digest cn_model_dir_digest(const cn_model_dir *d);

typedef struct cn_bert_config {
    uint32_t hidden, layers, heads, inner;
    uint32_t words, positions, types; /* rows of the three tables of embeddings */
    uint32_t max_tokens;              /* with [CLS] and [SEP] */
    float eps;                        /* of layer normalisation */
    bool cls;                         /* pooling: the first token, not the mean */
    bool normalise;
    cn_wordpiece_opts pieces;
} cn_bert_config;

/* CN_INVALID names the file, the key and what may stand there. */
cn_err cn_model_config(const cn_model_dir *d, cn_bert_config *ret);
/* The folder of the Pooling module, as modules.json says; checked to be a plain name. */
cn_err cn_model_pooling_path(cn_str modules, char ret[64], bool *ret_normalise);
