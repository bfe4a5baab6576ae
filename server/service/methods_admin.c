/* admin.*: tenants, indexes, keys, models. */
#include "index/catalog/answers.h"
#include "server/service/methods_inside.h"
#include "server/service/operate.h"
#include "server/service/reading.h"

#include <unistd.h>

#include "engine/base/mem.h"
#include "ingest/chunk/chunk.h"
#include "ingest/embed/store.h"

static const char *data_dir(cn_service *s) { return cn_data_dir(cn_service_data(s)); }

/* ---------- tenants (the operator's, or a host key's) ---------- */
static cn_err out_tenant(cn_buf *out, cn_str name) {
    cn_pack_map(out, 1);
    cn_out_str(out, "tenant", name);
    return CN_OK;
}

METHOD(tenant_add) {
    cn_actor who;
    CN_TRY(cn_arg_actor(c, p, &who));
    if (!tenant.n)
        return cn_fail(CN_INVALID, "field \"tenant\" is missing");
    CN_TRY(cn_tenant_create(cn_service_data(s), tenant, &who));
    return out_tenant(out, tenant);
}

METHOD(tenant_drop) {
    cn_actor who;
    CN_TRY(cn_arg_actor(c, p, &who));
    if (!tenant.n)
        return cn_fail(CN_INVALID, "field \"tenant\" is missing");
    CN_TRY(cn_key_drop_tenant(cn_service_data(s), tenant, &who));
    return out_tenant(out, tenant);
}

typedef struct list_sink {
    cn_buf *out;
    uint32_t n;
} list_sink;

static cn_err tenant_one(void *ctx, cn_str name, int64_t made_us) {
    list_sink *l = ctx;
    l->n++;
    cn_pack_map(l->out, 2);
    cn_out_str(l->out, "tenant", name);
    cn_out_time(l->out, "made", made_us);
    return CN_OK;
}

METHOD(tenant_list) {
    (void)c, (void)tenant, (void)p;
    list_sink l = {out, 0};
    cn_pack_map(out, 1);
    cn_pack_cstr(out, "tenants");
    size_t at = cn_pack_array_open(out);
    CN_TRY(cn_tenant_list(cn_service_data(s), tenant_one, &l));
    cn_pack_array_close(out, at, l.n);
    return CN_OK;
}

/* ---------- indexes ---------- */
/* more: pairs that the caller adds. */
static cn_err out_index(cn_tenant *t, cn_call *c, const cn_index_info *ix, uint32_t more, cn_buf *out) {
    cn_modes m;
    char kind[CN_KIND_TEXT];
    CN_TRY(cn_modes_get(t, ix->name, &c->arena, &m));
    cn_pack_map(out, 19 + more);
    cn_out_str(out, "index", ix->name);
    cn_out_str(out, "embedder", ix->set.embedder);
    cn_out_str(out, "precision", ix->set.precision);
    cn_out_str(out, "chunker", ix->set.chunker);
    cn_out_cstr(out, "metric", cn_metric_name(ix->set.metric));
    cn_out_str(out, "mode", ix->set.mode);
    cn_out_cstr(out, "fusion", cn_fusion_name(ix->set.rrf));
    cn_out_cstr(out, "kind", cn_index_kind(&ix->set, kind));
    cn_out_str(out, "analyser", ix->set.analyser.n ? ix->set.analyser : CN_STR(CN_ANALYSER_DEFAULT));
    cn_out_uint(out, "dim", ix->set.dim);
    cn_out_uint(out, "keep_versions", ix->set.keep_versions);
    cn_out_uint(out, "keep_days", ix->set.keep_days);
    cn_out_bool(out, "activate", ix->set.activate);
    cn_out_bool(out, "local_only", ix->set.local_only);
    cn_out_uint(out, "active", ix->active);
    cn_out_uint(out, "newest", ix->newest);
    cn_out_bool(out, "hold", ix->hold);
    cn_out_incident_mode(out, &m);
    cn_out_time(out, "made", ix->made_us);
    return CN_OK;
}

/* A rebuild that was activated changes what the next job goes on with, as a change of what answers does: what is told is the head's
 * recipe and settings, as soon as there is one. */
static cn_err take_recipe(cn_tenant *t, cn_arena *a, cn_index_info *ix) {
    cn_version head;
    cn_err err = ix->newest ? cn_version_head(t, ix->name, a, &head) : CN_NOT_FOUND;
    if (err == CN_NOT_FOUND)
        return CN_OK;
    CN_TRY(err);
    const cn_recipe *r = &head.recipe;
    CN_TRY(cn_answers_of(&head, &ix->set));
    ix->set.embedder = r->embedder;
    ix->set.precision = r->precision;
    ix->set.metric = r->metric;
    ix->set.dim = r->dim;
    ix->set.analyser = cn_analyser_words(r->analyser);
    return cn_chunker_words(r->chunker, a, &ix->set.chunker);
}

static cn_err show_index(cn_tenant *t, cn_call *c, cn_str name, uint32_t more, cn_buf *out) {
    cn_index_info ix;
    CN_TRY(cn_index_get(t, name, &c->arena, &ix));
    CN_TRY(take_recipe(t, &c->arena, &ix));
    return out_index(t, c, &ix, more, out);
}

static cn_err take_kind(const msgpack_object *p, cn_index_settings *set) {
    cn_str kind = {NULL, 0};
    CN_TRY(cn_get_str(p, "kind", &kind));
    return kind.p ? cn_index_kind_parse(kind, set) : CN_OK;
}

/* What may change at any time. */
static cn_err take_soft(const msgpack_object *p, cn_index_settings *set) {
    uint64_t versions = set->keep_versions, days = set->keep_days;
    cn_str fusion = {NULL, 0};
    CN_TRY(cn_get_str(p, "mode", &set->mode));
    CN_TRY(cn_get_str(p, "analyser", &set->analyser));
    CN_TRY(cn_get_str(p, "fusion", &fusion));
    CN_TRY(cn_fusion_parse(fusion, &set->rrf));
    CN_TRY(take_kind(p, set));
    CN_TRY(cn_get_uint(p, "keep_versions", 0, 1000000, &versions));
    CN_TRY(cn_get_uint(p, "keep_days", 0, 36500, &days));
    CN_TRY(cn_get_bool(p, "activate", &set->activate));
    CN_TRY(cn_get_bool(p, "local_only", &set->local_only));
    if (!cn_index_mode_known(set->mode))
        return cn_fail(CN_INVALID, "field \"mode\" must be dense, exact, lexical or hybrid, not \"" CN_STR_FMT "\"", CN_STR_ARG(set->mode));
    set->keep_versions = (uint32_t)versions;
    set->keep_days = (uint32_t)days;
    return CN_OK;
}

static cn_err take_metric(const msgpack_object *p, cn_metric *ret) {
    cn_str name = {NULL, 0};
    char text[16];
    CN_TRY(cn_get_str(p, "metric", &name));
    if (!name.p)
        return CN_OK;
    snprintf(text, sizeof text, CN_STR_FMT, CN_STR_ARG(name));
    return cn_metric_parse(text, ret);
}

/* The model decides precision, digest and dimension; without one, vectors come with the rows. */
static cn_err take_model(cn_service *s, const msgpack_object *p, cn_index_settings *set, uint32_t *ret_max_tokens, int *ret_held) {
    CN_TRY(cn_get_str(p, "embedder", &set->embedder));
    CN_TRY(cn_get_str(p, "precision", &set->precision));
    if (cn_str_is(set->embedder, "none")) {
        if (set->precision.n)
            return cn_fail(CN_INVALID, "an index without an embedder has no precision; leave it out, or name an embedder");
        *ret_max_tokens = 0;
        return CN_OK;
    }
    cn_embedder *e;
    CN_TRY(cn_model_hold(data_dir(s), set->embedder, false, ret_held));
    CN_TRY(cn_embedder_open(data_dir(s), set->embedder, set->precision, &e));
    cn_err err = set->local_only ? cn_embedder_local_only(e) : CN_OK;
    set->precision = cn_embedder_precision(e);
    set->embedder_digest = cn_embedder_digest(e);
    set->weights = cn_embedder_weights(e);
    set->dim = cn_embedder_dim(e);
    *ret_max_tokens = cn_embedder_text_tokens(e);
    cn_embedder_unref(e);
    return err;
}

static void let_go(const int *held) {
    if (*held >= 0)
        close(*held);
}

METHOD(index_create) {
    CN_AUTO_TENANT cn_tenant *t = NULL;
    CN_CLEANUP(let_go) int held = -1; /* its model, until the index is there */
    cn_index_settings set;
    cn_chunker chunker;
    cn_actor who;
    cn_str name;
    uint32_t max_tokens = 0;
    cn_index_settings_default(&set);
    CN_TRY(cn_arg_str(p, "index", &name));
    CN_TRY(cn_arg_actor(c, p, &who));
    CN_TRY(take_soft(p, &set));
    CN_TRY(take_metric(p, &set.metric));
    CN_TRY(take_model(s, p, &set, &max_tokens, &held));
    CN_TRY(cn_get_str(p, "chunker", &set.chunker));
    CN_TRY(cn_chunker_parse(set.chunker, max_tokens, &chunker));
    CN_TRY(cn_call_tenant(s, tenant, &t));
    CN_TRY(cn_index_create(t, name, &set, &who));
    return show_index(t, c, name, 0, out);
}

METHOD(index_show) {
    CN_AUTO_TENANT cn_tenant *t = NULL;
    cn_str name;
    CN_TRY(cn_arg_str(p, "index", &name));
    CN_TRY(cn_call_tenant(s, tenant, &t));
    return show_index(t, c, name, 0, out);
}

METHOD(index_list) {
    (void)p;
    CN_AUTO_TENANT cn_tenant *t = NULL;
    cn_index_info *ix;
    uint32_t n, shown = 0;
    CN_TRY(cn_call_tenant(s, tenant, &t));
    CN_TRY(cn_index_list(t, &c->arena, &ix, &n));
    cn_pack_map(out, 1);
    cn_pack_cstr(out, "indexes");
    size_t at = cn_pack_array_open(out);
    for (uint32_t i = 0; i < n; i++)
        if (cn_call_reaches(c, ix[i].name)) {
            CN_TRY(take_recipe(t, &c->arena, &ix[i]));
            CN_TRY(out_index(t, c, &ix[i], 0, out));
            shown++;
        }
    cn_pack_array_close(out, at, shown);
    return CN_OK;
}

static cn_err edit_soft(void *ctx, cn_index_settings *io) {
    const msgpack_object *const *p = ctx;
    return take_soft(*p, io);
}

typedef struct settled { /* a version that has the new settings */
    uint64_t number;       /* 0: none was sealed */
    bool activated;
    const char *why;       /* NULL: it is active, or that was not wanted */
} settled;

/* As a job would. Documents that do not answer yet are not made to by a change of settings. */
static cn_err activate_settled(cn_call *c, cn_tenant *t, cn_str index, const cn_actor *who, settled *io) {
    cn_version v;
    cn_index_info ix;
    CN_TRY(cn_version_get(t, index, io->number, &c->arena, &v));
    CN_TRY(cn_index_get(t, index, &c->arena, &ix));
    cn_err err = ix.active != v.base                              ? cn_fail(CN_REFUSED, "it has the documents of version %llu, the newest, and that is not active", (unsigned long long)v.base)
                 : !cn_access_has(c->caller, CN_SCOPE(activate)) ? cn_fail(CN_REFUSED, "this key lacks the scope activate")
                                                                  : cn_version_activate(t, index, io->number, v.base, true, who, NULL);
    io->activated = err == CN_OK;
    if (err != CN_REFUSED && err != CN_CONFLICT)
        return err == CN_OK ? err : cn_wrap(err, "version %llu has the new settings and is sealed, but to activate it failed", (unsigned long long)v.number);
    io->why = cn_arena_printf(&c->arena, "version %llu has the new settings and is not active: %s; `cairn activate %s/" CN_STR_FMT " %llu` makes it answer", (unsigned long long)v.number,
                              cn_error_detail(), cn_tenant_name(t), CN_STR_ARG(index), (unsigned long long)v.number);
    return io->why ? CN_OK : cn_fail_memory();
}

METHOD(index_set) {
    CN_AUTO_TENANT cn_tenant *t = NULL;
    cn_actor who;
    cn_str name;
    settled v = {0};
    bool only = false;
    CN_TRY(cn_arg_str(p, "index", &name));
    CN_TRY(cn_arg_actor(c, p, &who));
    CN_TRY(cn_get_bool(p, "seal_only", &only));
    CN_TRY(cn_call_tenant(s, tenant, &t));
    CN_TRY(cn_index_edit(t, name, edit_soft, &p, &who, &v.number));
    if (v.number && !only)
        CN_TRY(activate_settled(c, t, name, &who, &v));
    CN_TRY(show_index(t, c, name, 3, out));
    cn_pack_cstr(out, "version");
    if (v.number)
        cn_pack_uint(out, v.number);
    else
        cn_pack_nil(out);
    cn_out_bool(out, "activated", v.activated);
    cn_out_cstr(out, "why", v.why);
    return CN_OK;
}

METHOD(index_drop) {
    CN_AUTO_TENANT cn_tenant *t = NULL;
    cn_actor who;
    cn_str name;
    CN_TRY(cn_arg_str(p, "index", &name));
    CN_TRY(cn_arg_actor(c, p, &who));
    CN_TRY(cn_call_tenant(s, tenant, &t));
    CN_TRY(cn_index_drop(t, name, &who));
    cn_pack_map(out, 1);
    cn_out_str(out, "index", name);
    return CN_OK;
}

/* ---------- keys ---------- */
static cn_err join(cn_call *c, const cn_str *v, uint32_t n, cn_str *ret) {
    size_t bytes = 1;
    for (uint32_t i = 0; i < n; i++)
        bytes += v[i].n + 1;
    char *p = cn_arena_alloc(&c->arena, bytes);
    if (!p)
        return cn_fail_memory();
    size_t at = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (i)
            p[at++] = ',';
        memcpy(p + at, v[i].p, v[i].n);
        at += v[i].n;
    }
    *ret = (cn_str){p, at};
    return CN_OK;
}

static cn_err take_scopes(cn_call *c, const msgpack_object *p, unsigned *ret) {
    cn_str *v, commas;
    uint32_t n;
    CN_TRY(cn_arg_list(&c->arena, p, "scopes", &v, &n));
    if (n == 0)
        return cn_fail(CN_INVALID, "field \"scopes\" names no scope");
    CN_TRY(join(c, v, n, &commas));
    return cn_scopes_parse(commas, ret);
}

static cn_err take_expiry(const msgpack_object *p, int64_t *ret) {
    cn_str text = {NULL, 0};
    CN_TRY(cn_get_str(p, "expires", &text));
    if (text.n && cn_time_parse(text.p, text.n, ret) != 0)
        return cn_fail(CN_INVALID, "field \"expires\" must be a time like 2027-01-31T00:00:00Z, not \"" CN_STR_FMT "\"", CN_STR_ARG(text));
    return CN_OK;
}

static bool is_listed(cn_str list, cn_str word) {
    for (cn_str one; cn_str_next(&list, ',', &one);)
        if (cn_str_eq(one, word))
            return true;
    return false;
}

/* Patterns are compared as they are written: a maker limited to some gives these and no others. An admin without any gives members
 * what labels it likes. */
static cn_err may_give_principals(const cn_key_info *own, const cn_key_info *k) {
    cn_str left = k->principals;
    if (!(k->scopes & (CN_SCOPE(act_as) | CN_SCOPE(admin))) || !own->principals.n)
        return CN_OK;
    if (!left.n)
        return cn_fail(CN_DENIED, "this key acts as some principals only, so it cannot make one for all: name patterns of its own");
    for (cn_str one; cn_str_next(&left, ',', &one);)
        if (!is_listed(own->principals, one))
            return cn_fail(CN_DENIED, "this key cannot give the pattern " CN_STR_FMT ", which it does not hold", CN_STR_ARG(one));
    return CN_OK;
}

/* Whoever made itself a key without an end would outlive its own. */
static cn_err may_give_life(const cn_key_info *own, const cn_key_info *k) {
    char end[CN_TIME_TEXT];
    if (own->expires_us == CN_NO_TIME || (k->expires_us != CN_NO_TIME && k->expires_us <= own->expires_us))
        return CN_OK;
    cn_time_text(own->expires_us, end);
    return cn_fail(CN_DENIED, "this key expires at %s and cannot make one that lives longer: give `expires`, no later than that", end);
}

/* Nobody hands out more than they hold: a key's maker needs each scope, label and pattern of principals that it gives, and lives as long. */
static cn_err may_give(const cn_call *c, const cn_key_info *k) {
    const cn_caller *who = c->caller;
    if (who->kind == CN_CALLER_OPERATOR)
        return CN_OK;
    unsigned over = k->scopes & ~who->key.scopes;
    if (over) {
        char text[128];
        cn_scopes_text(over, text);
        return cn_fail(CN_DENIED, "this key cannot give the scope %s, which it does not hold", text);
    }
    CN_TRY(cn_access_may_name(who, k->labels));
    CN_TRY(may_give_life(&who->key, k));
    return may_give_principals(&who->key, k);
}

/* The host's own key reaches every tenant, so it is asked for by name, never made because a field was forgotten. */
static cn_err take_whose(cn_str tenant, const msgpack_object *p) {
    bool host = false;
    CN_TRY(cn_get_bool(p, "host", &host));
    if (host && tenant.n)
        return cn_fail(CN_INVALID, "a key is the host's or a tenant's: leave out `host`, or as the operator leave out `tenant`");
    return host || tenant.n ? CN_OK : cn_fail(CN_INVALID, "field \"tenant\" is missing; `host` makes a key of the host's own");
}

METHOD(key_add) {
    cn_key_info k = {.tenant = tenant, .expires_us = CN_NO_TIME};
    cn_str *patterns;
    uint32_t n;
    cn_actor who;
    char key[CN_KEY_TEXT];
    CN_TRY(take_whose(tenant, p));
    CN_TRY(take_scopes(c, p, &k.scopes));
    CN_TRY(cn_arg_labels(&c->arena, p, "labels", &k.labels));
    CN_TRY(cn_arg_list(&c->arena, p, "principals", &patterns, &n));
    CN_TRY(join(c, patterns, n, &k.principals));
    CN_TRY(cn_get_str(p, "index", &k.index));
    if ((cn_given(p, "principals") && !k.principals.n) || (cn_given(p, "index") && !k.index.n))
        return cn_fail(CN_INVALID, "an empty pattern would mean any: leave the field out for that, or write *");
    CN_TRY(take_expiry(p, &k.expires_us));
    CN_TRY(may_give(c, &k));
    CN_TRY(cn_arg_actor(c, p, &who));
    CN_TRY(cn_key_add(cn_service_data(s), &k, &who, key));
    cn_pack_map(out, 2);
    cn_out_cstr(out, "id", k.id);
    cn_out_cstr(out, "key", key);
    return CN_OK;
}

static cn_err key_one(void *ctx, const cn_key_info *k) {
    list_sink *l = ctx;
    l->n++;
    cn_pack_map(l->out, 9);
    cn_out_cstr(l->out, "id", k->id);
    cn_out_str(l->out, "tenant", k->tenant);
    cn_out_scopes(l->out, k->scopes);
    cn_out_labels(l->out, "labels", k->labels);
    cn_out_str(l->out, "principals", k->principals);
    cn_out_str(l->out, "index", k->index);
    cn_out_time(l->out, "expires", k->expires_us);
    cn_out_time(l->out, "made", k->made_us);
    cn_out_cstr(l->out, "state", k->revoked ? "revoked" : cn_key_expired(k) ? "expired" : "valid");
    return CN_OK;
}

METHOD(key_list) {
    (void)c, (void)p;
    list_sink l = {out, 0};
    cn_pack_map(out, 1);
    cn_pack_cstr(out, "keys");
    size_t at = cn_pack_array_open(out);
    CN_TRY(cn_key_list(cn_service_data(s), tenant, key_one, &l));
    cn_pack_array_close(out, at, l.n);
    return CN_OK;
}

METHOD(key_revoke) {
    cn_str id;
    cn_actor who;
    CN_TRY(cn_arg_str(p, "id", &id));
    CN_TRY(cn_arg_actor(c, p, &who));
    CN_TRY(cn_key_revoke(cn_service_data(s), tenant, id, &who));
    cn_pack_map(out, 1);
    cn_out_str(out, "id", id);
    return CN_OK;
}

/* ---------- models ---------- */
static cn_err model_one(void *ctx, cn_str name, cn_str kind, uint32_t dim, uint32_t max_tokens, const cn_digest *digest) {
    list_sink *l = ctx;
    l->n++;
    cn_pack_map(l->out, 5);
    cn_out_str(l->out, "model", name);
    cn_out_str(l->out, "kind", kind);
    cn_out_uint(l->out, "dim", dim);
    cn_out_uint(l->out, "max_tokens", max_tokens);
    cn_out_hex(l->out, "digest", digest->b, sizeof digest->b);
    return CN_OK;
}

METHOD(model_list) {
    (void)c, (void)tenant, (void)p;
    list_sink l = {out, 0};
    cn_pack_map(out, 1);
    cn_pack_cstr(out, "models");
    size_t at = cn_pack_array_open(out);
    CN_TRY(cn_model_list(data_dir(s), model_one, &l));
    cn_pack_array_close(out, at, l.n);
    return CN_OK;
}

#define SOFT {"mode", "str", false, "default mode of queries: dense, exact, lexical or hybrid"}, \
             {"fusion", "str", false, "how mode hybrid makes one list of two by default: scores or rrf; scores"}, \
             {"analyser", "str", false, "of its words: a language (english, german, ...) or none; english. Behind it title=N and headings=N: how often a word there counts, 0 to 20; 2 and 1"}, \
             {"kind", "str", false, "how vectors are found: flat (all are looked at by codes), cells (of segments from 32,768 rows up only some are; making one costs seconds), or faiss: and a factory string, faiss:HNSW32 (the same by FAISS, held in memory; a choice with limits)"}, \
             {"keep_versions", "uint", false, "gc keeps so many versions before the active one"}, \
             {"keep_days", "uint", false, "gc keeps what is younger than so many days"}, \
             {"activate", "bool", false, "jobs activate what they seal"}, \
             {"local_only", "bool", false, "its texts and questions go to no embedder elsewhere (http)"}
static const cn_param p_none[] = {END};
static const cn_param p_reason[] = {REASON, END};
static const cn_param p_index[] = {INDEX, END};
static const cn_param p_index_drop[] = {INDEX, REASON, END};
static const cn_param p_create[] = {INDEX, {"embedder", "str", false, "a model of DATA/models, or none (vectors come with the rows, or words are searched alone)"},
                                    {"precision", "str", false, "of the model's numbers: int8 (the default of models that have it) or fp32, a third as fast"}, {"chunker", "str", false, "structure, fixed or document, with tokens=N overlap=N"},
                                    {"metric", "str", false, "cosine, ip or l2"}, SOFT, REASON, END};
static const cn_param p_set[] = {INDEX, SOFT, {"seal_only", "bool", false, "do not activate the version that has another mode, fusion or analyser"}, REASON, END};
static const cn_param p_key[] = {{"scopes", "list of str", true, "query, ingest, activate, force, versions, policy, operate, audit, admin, act-as"},
                                 {"labels", "list of str", false, "what its queries may read"}, {"principals", "list of str", false, "patterns an act-as key may name"},
                                 {"index", "str", false, "glob of indexes it reaches"}, {"expires", "str", false, "RFC 3339"},
                                 {"host", "bool", false, "a key of the host's own, which reaches every tenant"}, REASON, END};
static const cn_param p_revoke[] = {{"id", "str", true, "the eight characters after cairn_"}, REASON, END};

const cn_method cn_methods_admin[] = {
    {"admin.tenant_add", CN_SCOPE(admin), CN_METHOD_HOST | CN_METHOD_CHANGES, "make a tenant", p_reason, tenant_add},
    {"admin.tenant_drop", CN_SCOPE(admin), CN_METHOD_HOST | CN_METHOD_DEAR | CN_METHOD_CHANGES, "remove a tenant and all it holds", p_reason, tenant_drop},
    {"admin.tenant_list", CN_SCOPE(admin), CN_METHOD_HOST, "all tenants", p_none, tenant_list},
    {"admin.index_create", CN_SCOPE(admin), CN_METHOD_DEAR | CN_METHOD_CHANGES, "make an index", p_create, index_create},
    {"admin.index_show", CN_SCOPE(query), 0, "an index's settings and pointer", p_index, index_show},
    {"admin.index_list", CN_SCOPE(query), CN_METHOD_PART, "the tenant's indexes", p_none, index_list},
    {"admin.index_set", CN_SCOPE(admin), CN_METHOD_DEAR | CN_METHOD_CHANGES, "change settings that need no rebuild; what changes answers makes a version", p_set, index_set},
    {"admin.index_drop", CN_SCOPE(admin), CN_METHOD_CHANGES, "remove an index with all its versions", p_index_drop, index_drop},
    {"admin.key_add", CN_SCOPE(admin), CN_METHOD_NO_TENANT | CN_METHOD_CHANGES, "make a key; it is shown once", p_key, key_add},
    {"admin.key_list", CN_SCOPE(admin), CN_METHOD_NO_TENANT, "a tenant's keys, or the host's own, without their secrets", p_none, key_list},
    {"admin.key_revoke", CN_SCOPE(admin), CN_METHOD_NO_TENANT | CN_METHOD_CHANGES, "a key is refused from the next request on", p_revoke, key_revoke},
    {"admin.model_list", CN_SCOPE(query), CN_METHOD_NO_TENANT | CN_METHOD_PART, "models at hand", p_none, model_list},
    {NULL, 0, 0, NULL, NULL, NULL},
};
