/* embed_probe.c -- lets the Python drivers beside it use the embedder.
 *
 *   embed_probe add FOLDER NAME MODEL_FOLDER      into the data directory FOLDER
 *   embed_probe ids FOLDER NAME                   texts in; for each: u32 count, then {id, from, to} as u32
 *   embed_probe vectors FOLDER NAME [BATCH [THREADS [PRECISION]]]   texts in; for each: its floats
 * Texts come on standard input, each as a u32 length and its bytes. All numbers little-endian.
 * Owns:    its process.
 * Thread:  one, and those of cn_embed().
 * Limits:  what fits memory. */
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/mem.h"
#include "ingest/embed/embed.h"

typedef struct texts {
    cn_str *v;
    uint32_t n, room;
} texts;

static void fail(const char *what) {
    fprintf(stderr, "%s: %s\n", what, cn_error_detail());
    exit(1);
}

static texts read_texts(void) {
    texts t = {0};
    uint32_t n;
    while (fread(&n, sizeof n, 1, stdin) == 1) {
        char *p = cn_alloc(n + 1);
        if (t.n == t.room) {
            t.room = t.room ? t.room * 2 : 1024;
            t.v = cn_realloc(t.v, t.room * sizeof *t.v);
        }
        if (!p || !t.v || fread(p, 1, n, stdin) != n)
            fail("reading texts");
        t.v[t.n++] = (cn_str){p, n};
    }
    return t;
}

static void ids(cn_embedder *e, const texts *t) {
    cn_arena a;
    cn_arena_init(&a, 1 << 20, (size_t)4 << 30);
    for (uint32_t i = 0; i < t->n; i++) {
        cn_token *v = NULL;
        uint32_t n = 0;
        if (cn_tokenize(e, t->v[i], &a, &v, &n) != CN_OK)
            fail("cn_tokenize");
        fwrite(&n, sizeof n, 1, stdout);
        fwrite(v, sizeof *v, n, stdout);
        cn_arena_reset(&a);
    }
    cn_arena_done(&a);
}

static void vectors(cn_embedder *e, const texts *t, uint32_t batch, unsigned threads) {
    uint32_t dim = cn_embedder_dim(e), cut = 0;
    float *out = cn_alloc((size_t)batch * dim * sizeof *out);
    for (uint32_t i = 0; i < t->n; i += batch) {
        uint32_t n = t->n - i < batch ? t->n - i : batch;
        if (cn_embed(e, t->v + i, n, threads, out, &cut) != CN_OK)
            fail("cn_embed");
        fwrite(out, sizeof *out * dim, n, stdout);
    }
    cn_free(out);
}

int main(int argc, char **argv) {
    if (argc == 5 && strcmp(argv[1], "add") == 0) {
        if (cn_model_add(argv[2], cn_str_of(argv[3]), argv[4]) != CN_OK)
            fail("cn_model_add");
        return 0;
    }
    cn_embedder *e = NULL;
    if (argc < 4 || cn_embedder_open(argv[2], cn_str_of(argv[3]), cn_str_of(argc > 6 ? argv[6] : "fp32"), &e) != CN_OK)
        fail("cn_embedder_open");
    texts t = read_texts();
    if (strcmp(argv[1], "ids") == 0)
        ids(e, &t);
    else
        vectors(e, &t, argc > 4 ? (uint32_t)atoi(argv[4]) : 32, argc > 5 ? (unsigned)atoi(argv[5]) : 1);
    for (uint32_t i = 0; i < t.n; i++)
        cn_free((void *)(uintptr_t)t.v[i].p);
    cn_free(t.v);
    cn_embedder_unref(e);
    return 0;
}
