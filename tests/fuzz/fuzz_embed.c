/* fuzz_embed.c -- libFuzzer target: safetensors headers, WordPiece and the chunkers on any bytes.
 *
 * Build with clang and -Dfuzz=true. The first byte chooses what the rest is given to.
 * Owns:    nothing.
 * Thread:  one.
 * Limits:  what libFuzzer gives. */
#include <stdlib.h>

#include "ingest/chunk/chunk.h"
#include "ingest/embed/model.h"
#include "ingest/embed/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

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

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    if (n < 2)
        return 0;
    cn_str s = {(const char *)p + 2, n - 2};
    if (p[0] % 3 == 0)
        tensors(s);
    else if (p[0] % 3 == 1)
        pieces(s, p[1]);
    else
        chunks(s, p[1]);
    return 0;
}
