#include "index/catalog/answers.h"

#include "engine/base/pack.h"
#include "index/text/analyser.h"

static bool same_analyser(cn_str a, cn_str b) {
    cn_analyser x, y;
    if (cn_str_eq(a, b))
        return true;
    return cn_analyser_parse(a, &x) == CN_OK && cn_analyser_parse(b, &y) == CN_OK && strcmp(x.name, y.name) == 0;
}

bool cn_answers_same(const cn_index_settings *a, const cn_index_settings *b) {
    return cn_str_eq(a->mode, b->mode) && a->rrf == b->rrf && same_analyser(a->analyser, b->analyser);
}

cn_err cn_answers_of(const cn_version *v, cn_index_settings *io) {
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    cn_str mode = {NULL, 0}, fusion = CN_STR("scores");
    cn_err err = cn_unpack(&u, v->answer_settings.p, v->answer_settings.n);
    bool rrf;
    if (err != CN_OK && err != CN_INVALID) /* no memory */
        return err;
    if (err == CN_OK)
        err = cn_get_str(&u.o, "mode", &mode);
    if (err == CN_OK)
        err = cn_get_str(&u.o, "fusion", &fusion);
    if (err != CN_OK || !cn_index_mode_known(mode) || cn_fusion_parse(fusion, &rrf) != CN_OK)
        return cn_fail(CN_DAMAGED, "the answer settings of version %llu cannot be read", (unsigned long long)v->number);
    io->mode = mode;
    io->rrf = rrf;
    cn_str words = cn_analyser_words(v->recipe.analyser);
    if (words.n < 6 || memcmp(words.p, "words/", 6) != 0) /* of one of an earlier build the index's says what is meant */
        io->analyser = words;
    return CN_OK;
}

cn_err cn_answers_next(const cn_version *of, cn_index_edit_fn *edit, void *ctx, cn_index_settings *io) {
    if (of)
        CN_TRY(cn_answers_of(of, io));
    return edit ? edit(ctx, io) : CN_OK;
}

static cn_err keep(cn_arena *a, cn_str s, cn_str *ret) {
    *ret = cn_arena_str(a, s);
    return ret->p ? CN_OK : cn_fail_memory();
}

cn_err cn_answers_put(const cn_index_settings *s, cn_arena *a, cn_version *io) {
    CN_AUTO_BUF cn_buf b;
    cn_analyser analyser;
    cn_buf_init(&b, 4096);
    cn_pack_map(&b, 1u + s->rrf);
    cn_pack_cstr(&b, "mode");
    cn_pack_str(&b, s->mode);
    if (s->rrf) /* the default is not said, as in versions of earlier builds */
        cn_pack_cstr(&b, "fusion"), cn_pack_cstr(&b, cn_fusion_name(true));
    CN_TRY(cn_buf_check(&b));
    CN_TRY(cn_analyser_parse(s->analyser, &analyser));
    CN_TRY(keep(a, cn_buf_str(&b), &io->answer_settings));
    return keep(a, cn_str_of(analyser.name), &io->recipe.analyser);
}
