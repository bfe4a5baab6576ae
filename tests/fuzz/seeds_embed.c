/* Inputs that make sense, for fuzz_embed to begin with. */
#include <stdio.h>
#include <string.h>

#include "engine/base/buf.h"
#include "ingest/embed/table.h"
#include "tests/fuzz/replay.h"

static const struct {
    uint8_t what, how;
    const char *text;
} seeds[] = {
    {1, 7, "Hello, a\xcc\x81 [CLS] b.b \xe6\xbc\xa2 aaaa\x01"},
    {1, 24, "[UNK]\n[CLS]\n[SEP]\nx\n##y\r\n xyxy [SEP]"},
    {2, 0, "#aaaaaaaaaaaa. bbbbb? cc (dd) 3.14 e.g. ff\n\n\xe6\xbc\xa2\xe3\x80\x82 gg hh ii jj kk ll mm nn oo pp"},
    {2, 0, "........\xa8\xa8\xa8\xa8\xa8\xa8" "f"}, /* a letter that does not end, where a word is cut */
    {2, 2, "a b c d e f g h i j k l m n o p q r s t u v w x y z"},
    {3, 0, "{\"hidden_size\": 384, \"num_hidden_layers\": 6, \"num_attention_heads\": 12, \"intermediate_size\": 1536, \"vocab_size\": 30522, "
           "\"max_position_embeddings\": 512, \"type_vocab_size\": 2, \"hidden_act\": \"gelu\", \"layer_norm_eps\": 1e-12}"},
    {3, 1, "[{\"path\": \"\", \"type\": \"a.Transformer\"}, {\"path\": \"1_Pooling\", \"type\": \"a.Pooling\"}, {\"path\": \"2\", \"type\": \"a.Normalize\"}]"},
    {3, 2, "{\"word_embedding_dimension\": 24, \"pooling_mode_cls_token\": true}"},
    {3, 3, "{\"max_seq_length\": 32, \"do_lower_case\": false}"},
    {3, 4, "{\"do_lower_case\": true, \"strip_accents\": null, \"tokenize_chinese_chars\": true}"},
    {3, 5, "{\"prompts\": {}, \"default_prompt_name\": null}"},
    {5, 1, "{\"data\": [{\"index\": 1, \"embedding\": [1, 2.5, -3e-1]}, {\"index\": 0, \"embedding\": [0, 0, 1]}], \"usage\": {\"total_tokens\": 9}}"},
    {5, 0, "{\"error\": {\"message\": \"no such key: key\"}}"},
    {5, 0, "{\"url\": \"https://a/v1\", \"model\": \"m\", \"dimensions\": 3, \"key_env\": \"K\", \"price_per_million\": 0.02}"},
};
enum { TEXTS = sizeof seeds / sizeof *seeds };

/* The weights of a model of 2 features, 3 inner ones, 4 words, 3 positions and one layer. */
static const struct {
    const char *name;
    unsigned rows, cols; /* rows 0: one dimension */
} shapes[] = {
    {"embeddings.word_embeddings.weight", 4, 2}, {"embeddings.position_embeddings.weight", 3, 2}, {"embeddings.token_type_embeddings.weight", 1, 2},
    {"embeddings.LayerNorm.weight", 0, 2}, {"embeddings.LayerNorm.bias", 0, 2},
    {"encoder.layer.0.attention.self.query.weight", 2, 2}, {"encoder.layer.0.attention.self.query.bias", 0, 2},
    {"encoder.layer.0.attention.self.key.weight", 2, 2}, {"encoder.layer.0.attention.self.key.bias", 0, 2},
    {"encoder.layer.0.attention.self.value.weight", 2, 2}, {"encoder.layer.0.attention.self.value.bias", 0, 2},
    {"encoder.layer.0.attention.output.dense.weight", 2, 2}, {"encoder.layer.0.attention.output.dense.bias", 0, 2},
    {"encoder.layer.0.attention.output.LayerNorm.weight", 0, 2}, {"encoder.layer.0.attention.output.LayerNorm.bias", 0, 2},
    {"encoder.layer.0.intermediate.dense.weight", 3, 2}, {"encoder.layer.0.intermediate.dense.bias", 0, 3},
    {"encoder.layer.0.output.dense.weight", 2, 3}, {"encoder.layer.0.output.dense.bias", 0, 2},
    {"encoder.layer.0.output.LayerNorm.weight", 0, 2}, {"encoder.layer.0.output.LayerNorm.bias", 0, 2},
};

static void put_weights(cn_buf *out) {
    CN_AUTO_BUF cn_buf head = {.cap = 65536};
    size_t at = 0;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        size_t floats = (shapes[i].rows ? shapes[i].rows : 1) * shapes[i].cols;
        cn_buf_printf(&head, "%c\"%s\":{\"dtype\":\"F32\",\"shape\":[", i ? ',' : '{', shapes[i].name);
        if (shapes[i].rows)
            cn_buf_printf(&head, "%u,", shapes[i].rows);
        cn_buf_printf(&head, "%u],\"data_offsets\":[%zu,%zu]}", shapes[i].cols, at, at + floats * 4);
        at += floats * 4;
    }
    cn_buf_putc(&head, '}');
    uint64_t n = head.n;
    cn_buf_add(out, &n, sizeof n);
    cn_buf_add(out, head.p, head.n);
    for (size_t i = 0; i < at / 4; i++) {
        float f = (float)(i % 7) - 3.0f;
        cn_buf_add(out, &f, sizeof f);
    }
}

/* A table of 4 words and 2 dimensions. */
static void put_table(cn_buf *out) {
    static const int16_t rows[8] = {1, 2, 3, -4, 0, 32767, -32768, 5};
    cn_token_table t = {.words = 4, .dim = 2, .pieces = {.lower = true}, .passages = 1, .rows = rows};
    uint8_t head[CN_TABLE_HEAD];
    cn_table_head(&t, head);
    cn_buf_add(out, head, sizeof head);
    cn_buf_add(out, rows, sizeof rows);
}

size_t replay_seeds(void) { return TEXTS + 3; }

size_t replay_seed(size_t i, uint8_t *bytes, size_t room) {
    CN_AUTO_BUF cn_buf out = {.cap = room};
    cn_buf_putc(&out, (char)(i < TEXTS ? seeds[i].what : i == TEXTS ? 4 : i == TEXTS + 1 ? 0 : 6));
    cn_buf_putc(&out, (char)(i < TEXTS ? seeds[i].how : 0));
    if (i < TEXTS)
        cn_buf_puts(&out, seeds[i].text);
    else if (i == TEXTS + 2)
        put_table(&out);
    else
        put_weights(&out);
    memcpy(bytes, out.p, out.n);
    return out.n;
}
