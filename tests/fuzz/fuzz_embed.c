/* Fuzz target: what a model's folder holds (weights, vocabulary, settings), and texts for WordPiece and the chunkers. The
 * first byte chooses what the rest is given to, the second one how. Whatever is taken must then work. */
#include <stdlib.h>

#include "ingest/chunk/chunk.h"
#include "ingest/embed/bert.h"
#include "ingest/embed/http_answer.h"
#include "ingest/embed/safetensors.h"
#include "ingest/embed/static.h"
#include "tests/fuzz/replay.h"

/* A header is worth more tries than its eight bytes of length: they are put before it. */
static void tensors(cn_str s) {
    size_t head = s.n / 2;
    char *file = malloc(8 + s.n);
    cn_safetensors st;
    uint64_t v = head;
    memcpy(file, &v, 8);
    memcpy(file + 8, s.p, s.n);
    if (cn_safetensors_parse((cn_str){file, 8 + s.n}, &st) == CN_OK) {
        for (uint32_t i = 0; i < st.n; i++) {
            float f;
            if (st.v[i].type != CN_ST_OTHER && st.v[i].to > st.v[i].from)
                cn_safetensors_read(&st, &st.v[i], 0, 1, &f);
        }
        cn_safetensors_done(&st);
    }
    if (cn_safetensors_parse(s, &st) == CN_OK)
        cn_safetensors_done(&st);
    free(file);
}

static void pieces(cn_str s, uint8_t how) {
    static const char vocab[] = "[UNK]\n[CLS]\n[SEP]\na\n##a\nb\n##\n.\n\xe6\xbc\xa2\n#\n[\n";
    cn_wordpiece_opts o = {how & 1, how & 2, how & 4};
    cn_wordpiece *w;
    cn_tokens t = {.max = how & 8 ? 5 : UINT32_MAX};
    size_t cut = s.n / 3;
    if (cn_wordpiece_new(how & 16 ? (cn_str){s.p, cut} : CN_STR(vocab), &o, &w) != CN_OK)
        return;
    CN_ASSERT(cn_wordpiece_run(w, s, &t) == CN_OK);
    for (uint32_t i = 0; i < t.n; i++)
        CN_ASSERT(t.v[i].from < t.v[i].to && t.v[i].to <= s.n && t.v[i].id < cn_wordpiece_size(w));
    cn_tokens_done(&t);
    cn_wordpiece_free(w);
}

static void chunks(cn_str s, uint8_t how) {
    static const char *const which[] = {"structure tokens=8 overlap=4", "structure", "fixed tokens=9 overlap=1", "document"};
    cn_chunker c;
    cn_chunk *v;
    uint32_t n;
    cn_block blocks[16];
    cn_parsed d = {.text = s, .blocks = blocks};
    cn_arena a;
    for (size_t at = 0; d.n_blocks < 16 && at < s.n; d.n_blocks++) {
        size_t len = (uint8_t)s.p[at] % 64;
        len = len < s.n - at ? len : s.n - at;
        blocks[d.n_blocks] = (cn_block){.from = at, .to = at + len, .kind = (uint8_t)(len % 6), .level = (uint8_t)(len % 7)};
        at += len + 1;
    }
    cn_arena_init(&a, 4096, 1 << 26);
    CN_ASSERT(cn_chunker_parse(cn_str_of(which[how & 3]), 0, &c) == CN_OK);
    CN_ASSERT(cn_chunk_document(&c, NULL, &d, &a, &v, &n) == CN_OK);
    for (uint32_t i = 0; i < n; i++)
        CN_ASSERT(v[i].from < v[i].to && v[i].to <= s.n && (i == 0 || v[i].from > v[i - 1].from));
    cn_arena_done(&a);
}

/* A model of 2 features in one layer (seeds_embed.c): what is taken gives a vector. */
static void weights(cn_str s) {
    cn_bert_config c = {.hidden = 2, .layers = 1, .heads = 1, .inner = 3, .words = 4, .positions = 3, .types = 1, .max_tokens = 3, .eps = 1e-12f, .normalise = true};
    cn_bert *b = NULL;
    cn_bert_work *w = NULL;
    if (cn_bert_new(&c, s, false, true, &b) != CN_OK)
        return;
    CN_ASSERT(cn_bert_work_new(b, &w) == CN_OK);
    float v[2];
    cn_bert_run(b, w, (const uint32_t[]){2, 0, 3}, 3, v);
    cn_bert_work_free(w);
    cn_bert_free(b);
}

/* One of the folder's JSON files is the input, the others are in order. */
static void settings(cn_str s, uint8_t how) {
    static const cn_model_part parts[] = {CN_PART_CONFIG, CN_PART_MODULES, CN_PART_POOLING, CN_PART_SBERT, CN_PART_TOKENIZER, CN_PART_PROMPTS};
    static const char *const good[] = {
        "{\"hidden_size\": 24, \"num_hidden_layers\": 2, \"num_attention_heads\": 3, \"intermediate_size\": 40, \"vocab_size\": 80, "
        "\"max_position_embeddings\": 40, \"type_vocab_size\": 2, \"model_type\": \"bert\"}",
        "[{\"path\": \"\", \"type\": \"x.Transformer\"}, {\"path\": \"1_Pooling\", \"type\": \"x.Pooling\"}]",
        "{\"pooling_mode_mean_tokens\": true}", "{\"max_seq_length\": 32}", "{}", "{}"};
    enum { N = sizeof parts / sizeof *parts };
    cn_model_dir d = {0};
    cn_bert_config c;
    for (unsigned i = 0; i < N; i++) {
        memcpy(d.part[parts[i]].name, "x.json", 7);
        d.part[parts[i]].bytes = i == how % N ? s : cn_str_of(good[i]);
    }
    if (cn_model_config(&d, &c) != CN_OK)
        return;
    CN_ASSERT(c.hidden >= 1 && c.hidden <= CN_MODEL_HIDDEN_MAX && c.heads >= 1 && c.hidden % c.heads == 0 && c.layers >= 1 && c.layers <= CN_MODEL_LAYERS_MAX);
    CN_ASSERT(c.max_tokens >= 3 && c.max_tokens <= c.positions && c.max_tokens <= CN_MODEL_TOKENS_MAX && c.eps > 0);
}

/* What a service elsewhere answers, to as many texts as `how` says; and a description of one. */
static void answer(cn_str s, uint8_t how) {
    float out[4 * 3];
    uint32_t n = 1 + how % 4, dim;
    uint64_t tokens;
    char why[256];
    cn_http_config c;
    if (cn_http_answer(s, n, 3, out, &tokens) == CN_OK)
        for (uint32_t i = 0; i < n; i++)
            CN_ASSERT(cn_vec_check(out + i * 3, 3, CN_COSINE) == CN_OK);
    if (cn_http_answer_dim(s, &dim) == CN_OK)
        CN_ASSERT(dim >= 1 && dim <= CN_MODEL_HIDDEN_MAX);
    cn_http_answer_why(s, CN_STR("key"), why);
    CN_ASSERT(strlen(why) < sizeof why && !strstr(why, "key"));
    if (cn_http_config_read(s, &c) == CN_OK)
        CN_ASSERT(c.dim >= 1 && c.max_batch >= 1 && c.max_batch <= CN_HTTP_BATCH_MAX && c.tries >= 1);
}

/* A static embedder's file as it is, and with its checksum put right, so that what lies behind is met. What is taken gives a
 * vector of length 1 for every text of its words. */
static void table(cn_str s) {
    char *file = aligned_alloc(64, (s.n + 64) / 64 * 64);
    cn_token_table t;
    memcpy(file, s.p, s.n);
    for (int fixed = 0; fixed < 2; fixed++) {
        if (fixed && s.n >= 16) {
            uint32_t crc = cn_crc32c(0, file + 16, s.n - 16);
            memcpy(file + 12, &crc, sizeof crc);
        }
        if (cn_table_validate((cn_str){file, s.n}, &t) != CN_OK || t.words < 3)
            continue;
        int32_t *sums = malloc(cn_static_room(t.dim) * sizeof *sums);
        float *v = malloc(t.dim * sizeof *v);
        cn_token text[3] = {{.id = 0}, {.id = t.words - 1}, {.id = t.words / 2}};
        bool any = false;
        for (uint32_t i = 0; i < t.dim; i++)
            any = any || t.rows[t.dim + i];
        if (any) {
            double length = 0;
            cn_static_run(&t, 1, text, 3, sums, v);
            for (uint32_t i = 0; i < t.dim; i++)
                length += (double)v[i] * (double)v[i];
            CN_ASSERT(length > 0.999 && length < 1.001);
        }
        free(sums);
        free(v);
    }
    free(file);
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc, (void)argv;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    if (n < 2)
        return 0;
    cn_str s = {(const char *)p + 2, n - 2};
    switch (p[0] % 7) {
    case 0: tensors(s); break;
    case 1: pieces(s, p[1]); break;
    case 2: chunks(s, p[1]); break;
    case 3: settings(s, p[1]); break;
    case 4: weights(s); break;
    case 6: table(s); break;
    default: answer(s, p[1]);
    }
    return 0;
}
