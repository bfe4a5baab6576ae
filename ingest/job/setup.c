/* What a job needs before its first row: the index, its head, the recipe, the model, the policy. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ingest/embed/store.h"
#include "ingest/job/run.h"

/* Trials do not count as set aside: one that is activated later has the documents of the head that it is of. */
static cn_err pass_trials(cn_run *r) {
    cn_version v;
    for (; r->index.newest > (r->has_head ? r->head.number : 0); r->index.newest--) {
        CN_TRY(cn_version_get(r->t, r->o.index, r->index.newest, &r->arena, &v));
        if (!(v.marks & CN_MARK_TRIAL))
            return CN_OK;
    }
    return CN_OK;
}

static cn_err open_head(cn_run *r) {
    uint64_t was = r->index.id;
    CN_TRY(cn_index_get(r->t, r->o.index, &r->arena, &r->index));
    if (was && r->index.id != was)
        return cn_fail(CN_CONFLICT, "index \"" CN_STR_FMT "\" was dropped and made anew while this ran; run it again", CN_STR_ARG(r->o.index));
    cn_err err = r->of ? cn_version_get(r->t, r->o.index, r->of, &r->arena, &r->head) : CN_NOT_FOUND;
    if (err == CN_NOT_FOUND || (err == CN_OK && r->head.marks & CN_MARK_DROPPED))
        err = cn_version_head(r->t, r->o.index, &r->arena, &r->head);
    r->has_head = err == CN_OK;
    if (err != CN_OK && err != CN_NOT_FOUND)
        return err;
    CN_TRY(pass_trials(r));
    CN_TRY(cn_policy_load(r->t, &r->policy));
    return cn_ledger_open(r->t, r->has_head ? &r->head : NULL, &r->ledger);
}

/* The head's recipe goes on; the index's settings count for the first version. A rebuild has set what it wants before. */
static cn_err choose(cn_run *r, cn_str *chunker) {
    cn_recipe *w = &r->recipe;
    const cn_recipe *head = r->has_head ? &r->head.recipe : NULL;
    const cn_index_settings *set = &r->index.set;
    if (!w->embedder.n) {
        w->embedder = head ? head->embedder : set->embedder;
        if (!w->precision.n)
            w->precision = head ? head->precision : set->precision;
    }
    w->metric = head ? head->metric : set->metric;
    if (chunker->n)
        return CN_OK;
    *chunker = set->chunker;
    return head ? cn_chunker_words(head->chunker, &r->arena, chunker) : CN_OK;
}

static cn_err open_embedder(cn_run *r) {
    cn_recipe *w = &r->recipe;
    if (!w->embedder.n || cn_str_is(w->embedder, "none")) {
        if (r->o.precision.n)
            return cn_fail(CN_INVALID, "precision \"" CN_STR_FMT "\" is of a model, and this index has none; name one (--embedder)", CN_STR_ARG(r->o.precision));
        w->embedder = CN_STR("none");
        w->precision = CN_STR("");
        bool same = r->has_head && cn_str_is(r->head.recipe.embedder, "none");
        w->dim = same && r->head.recipe.dim ? r->head.recipe.dim : r->has_head && !same ? 0 : r->index.set.dim;
        r->dim_known = w->dim != 0;
        return CN_OK;
    }
    const char *dir = cn_data_dir(cn_tenant_data(r->t));
    CN_TRY(cn_model_hold(dir, w->embedder, false, &r->model_fd));
    CN_TRY(cn_embedder_open(dir, w->embedder, w->precision, &r->embedder));
    if (r->index.set.local_only)
        CN_TRY(cn_embedder_local_only(r->embedder));
    w->precision = cn_embedder_precision(r->embedder);
    w->embedder_digest = cn_embedder_digest(r->embedder);
    w->weights = cn_embedder_weights(r->embedder);
    w->dim = cn_embedder_dim(r->embedder);
    r->dim_known = true;
    return CN_OK;
}

bool cn_run_other_rows(const cn_recipe *a, const cn_recipe *b) {
    return !cn_str_eq(a->embedder, b->embedder) || !cn_digest_eq(&a->embedder_digest, &b->embedder_digest) || !cn_str_eq(a->precision, b->precision) ||
           !cn_str_eq(a->chunker, b->chunker) || a->metric != b->metric; /* another analyser needs other postings, not other rows */
}

static cn_digest recipe_of(const cn_run *r) {
    cn_sha256 s;
    cn_sha256_begin(&s);
    cn_sha256_add(&s, &r->index.id, sizeof r->index.id);
    cn_sha256_add(&s, r->recipe.embedder_digest.b, 32);
    cn_sha256_field(&s, r->recipe.precision);
    cn_sha256_field(&s, cn_str_of(r->chunker_text));
    cn_digest d = cn_sha256_get(&s);
    cn_sha256_end(&s);
    return d;
}

/* Of an analyser of an earlier build the index's setting says what is meant. */
static cn_err open_analyser(cn_run *r, cn_str asked) {
    if (asked.n || !r->has_head || cn_analyser_parse(r->head.recipe.analyser, &r->analyser) != CN_OK)
        CN_TRY(cn_analyser_parse(asked.n ? asked : r->index.set.analyser, &r->analyser));
    r->recipe.analyser = cn_str_of(r->analyser.name);
    return CN_OK;
}

cn_err cn_run_open(cn_run *r) {
    cn_str chunker = r->recipe.chunker, analyser = r->recipe.analyser;
    CN_TRY(open_head(r));
    CN_TRY(choose(r, &chunker));
    CN_TRY(open_embedder(r));
    uint32_t most = r->embedder ? cn_embedder_text_tokens(r->embedder) : 0;
    CN_TRY(cn_chunker_parse(chunker, most, &r->chunker));
    cn_chunker_text(&r->chunker, r->chunker_text);
    r->recipe.chunker = cn_str_of(r->chunker_text);
    r->recipe_digest = recipe_of(r);
    r->recipe.parser = cn_str_of(cn_parser_version());
    r->recipe.normaliser = cn_str_of(cn_normaliser_version());
    CN_TRY(open_analyser(r, analyser));
    bool other_words = r->rebuild && r->has_head && !cn_str_eq(r->recipe.analyser, r->head.recipe.analyser); /* older versions keep their rows, and so their postings */
    r->remake = other_words || (r->has_head && cn_run_other_rows(&r->recipe, &r->head.recipe));
    r->o.from.dim = r->embedder ? 0 : r->recipe.dim;
    r->o.from.metric = r->recipe.metric;
    return CN_OK;
}

void cn_run_close(cn_run *r) {
    cn_embedder_unref(r->embedder);
    r->embedder = NULL;
    if (r->model_fd >= 0)
        close(r->model_fd);
    r->model_fd = -1;
    if (r->policy)
        cn_policy_unref(r->policy);
    r->policy = NULL;
    cn_ledger_close(&r->ledger);
    r->recipe = (cn_recipe){0};
    r->remake = r->has_head = r->dim_known = false;
}

/* "a" and "b" make "a | b", unless one of the parts of a is b already. */
static cn_err joined(cn_run *r, cn_str old, cn_str now, cn_str *ret) {
    for (cn_str left = old; left.n;) {
        const char *bar = memmem(left.p, left.n, " | ", 3);
        cn_str part = {left.p, bar ? (size_t)(bar - left.p) : left.n};
        if (cn_str_eq(part, now)) {
            *ret = old;
            return CN_OK;
        }
        left = bar ? (cn_str){bar + 3, left.n - part.n - 3} : (cn_str){NULL, 0};
    }
    char *text = cn_arena_printf(&r->arena, CN_STR_FMT " | " CN_STR_FMT, CN_STR_ARG(old), CN_STR_ARG(now));
    *ret = cn_str_of(text);
    return text ? CN_OK : cn_fail_memory();
}

/* A version whose rows were made by more than one parser names each: the recipe says what is true of its rows. */
cn_err cn_run_recipe_end(cn_run *r) {
    cn_recipe *w = &r->recipe;
    if (r->rebuild) { /* its rows were parsed by whatever the head's were */
        w->parser = r->head.recipe.parser;
        w->normaliser = r->head.recipe.normaliser;
    } else if (r->has_head && r->parsed_over < r->ledger.live) {
        CN_TRY(joined(r, r->head.recipe.parser, w->parser, &w->parser));
        CN_TRY(joined(r, r->head.recipe.normaliser, w->normaliser, &w->normaliser));
    }
    if (r->has_head && !r->embedder && !w->dim)
        w->dim = cn_str_is(r->head.recipe.embedder, "none") ? r->head.recipe.dim : 0;
    return CN_OK;
}
