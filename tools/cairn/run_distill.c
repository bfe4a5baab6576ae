/* run_distill.c -- model distill: a static model out of another one. */
#include <math.h>

#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "ingest/distill/distill.h"
#include "tools/cairn/local.h"

#define THREADS_MAX 256
#define PATHS_MAX 1024

typedef struct asked {
    cn_unpacked params;
    char *paths[PATHS_MAX];
    cn_distill_opts o;
} asked;

static void asked_done(asked *a) {
    for (uint32_t i = 0; i < a->o.n_texts; i++)
        cn_free(a->paths[i]);
    cn_unpacked_done(&a->params);
}

static cn_err take_paths(asked *a) {
    const msgpack_object *v = cn_get(&a->params.o, "texts");
    uint32_t n = v && v->type == MSGPACK_OBJECT_ARRAY ? v->via.array.size : 0;
    if (n > PATHS_MAX)
        return cn_fail(CN_INVALID, "--texts is given %u times; at most %d, or a folder that holds them", n, PATHS_MAX);
    for (; a->o.n_texts < n; a->o.n_texts++) {
        cn_str path = cn_obj_str(&v->via.array.ptr[a->o.n_texts]);
        if (!(a->paths[a->o.n_texts] = cn_strdup_n(path.p, path.n)))
            return cn_fail_memory();
    }
    return CN_OK;
}

static cn_err take(const cmd *c, const cmd_call *call, asked *a) {
    const char *from = cmd_value(c, call, "--from");
    uint32_t threads;
    if (!from)
        return cn_fail(CN_INVALID, "--from is missing: which model is it made from? `cairn model list` shows those there are");
    CN_TRY(cn_unpack(&a->params, call->params.p, call->params.n));
    CN_TRY(take_paths(a));
    CN_TRY(cn_get_str(&a->params.o, "tenant", &a->o.tenant));
    CN_TRY(cn_get_str(&a->params.o, "index", &a->o.index));
    CN_TRY(cmd_number(c, call, "--dim", 0, CN_DISTILL_DIM_MIN, 4096, &a->o.dim));
    CN_TRY(cmd_number(c, call, "--passages", CN_DISTILL_PASSAGES, 1, CN_DISTILL_PASSAGES_MAX, &a->o.passages));
    CN_TRY(cmd_number(c, call, "--threads", cn_cpus(), 1, THREADS_MAX, &threads));
    a->o.name = cn_str_of(call->words[0]);
    a->o.from = cn_str_of(from);
    a->o.texts = (const char *const *)a->paths;
    a->o.threads = threads;
    a->o.progress = cmd_progress_step;
    return CN_OK;
}

/* JSON knows no NAN: what could not be measured is left out. */
static int report(const cmd *c, const cmd_call *call, const cn_distill_report *r) {
    CN_AUTO_BUF cn_buf out;
    cn_buf_init(&out, 4096);
    cn_pack_map(&out, isnan(r->likeness) ? 8 : 9);
    cn_pack_cstr(&out, "model"), cn_pack_cstr(&out, call->words[0]);
    cn_pack_cstr(&out, "dim"), cn_pack_uint(&out, r->dim);
    cn_pack_cstr(&out, "documents"), cn_pack_uint(&out, r->documents);
    cn_pack_cstr(&out, "rejected"), cn_pack_uint(&out, r->rejected);
    cn_pack_cstr(&out, "passages_found"), cn_pack_uint(&out, r->offered);
    cn_pack_cstr(&out, "passages"), cn_pack_uint(&out, r->passages);
    cn_pack_cstr(&out, "words"), cn_pack_uint(&out, r->words);
    cn_pack_cstr(&out, "words_in_passages"), cn_pack_uint(&out, r->fitted);
    if (!isnan(r->likeness))
        cn_pack_cstr(&out, "likeness"), cn_pack_f64(&out, r->likeness);
    if (!r->passages && !cmd_the_env.quiet)
        fprintf(stderr, "made from the vocabulary alone; with --texts or --index it is better\n");
    return cmd_print(c, cn_buf_str(&out));
}

int run_model_distill(const cmd *c, cmd_call *call) {
    asked a = {.o = {.data_dir = cmd_data_dir()}};
    cn_distill_report r;
    if (!a.o.data_dir)
        return cmd_fail(CN_INVALID);
    cn_err err = take(c, call, &a);
    int code = err == CN_OK ? 0 : cmd_usage(err);
    if (err == CN_OK) {
        err = cn_distill(&a.o, &r);
        cmd_progress_end();
        code = err == CN_OK ? report(c, call, &r) : cmd_fail(err);
    }
    asked_done(&a);
    return code;
}
