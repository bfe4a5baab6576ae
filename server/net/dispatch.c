/* What becomes of a message: answered here, run here, or handed to a pool. */
#include "engine/base/log.h"
#include "engine/base/os.h"
#include "server/net/inside.h"

/* --- for clients made for Neovim: they ask what there is before anything else --- */
static void pack_type(cn_buf *b, const char *name, uint64_t id, const char *prefix) {
    cn_pack_cstr(b, name);
    cn_pack_map(b, prefix ? 2 : 1);
    cn_pack_cstr(b, "id");
    cn_pack_uint(b, id);
    if (prefix) {
        cn_pack_cstr(b, "prefix");
        cn_pack_cstr(b, prefix);
    }
}

static void pack_api_info(cn_buf *b, uint64_t channel) {
    static const char *const version[] = {"major", "minor", "patch", "api_level", "api_compatible"};
    static const uint64_t numbers[] = {0, 1, 0, 1, 1};
    cn_pack_array(b, 2);
    cn_pack_uint(b, channel);
    cn_pack_map(b, 5);
    cn_pack_cstr(b, "version");
    cn_pack_map(b, 6);
    for (int i = 0; i < 5; i++) {
        cn_pack_cstr(b, version[i]);
        cn_pack_uint(b, numbers[i]);
    }
    cn_pack_cstr(b, "api_prerelease");
    cn_pack_bool(b, false);
    cn_pack_cstr(b, "functions");
    cn_pack_array(b, 0);
    cn_pack_cstr(b, "ui_events");
    cn_pack_array(b, 0);
    cn_pack_cstr(b, "error_types");
    cn_pack_map(b, 2);
    pack_type(b, "Exception", 0, NULL);
    pack_type(b, "Validation", 1, NULL);
    cn_pack_cstr(b, "types");
    cn_pack_map(b, 3);
    pack_type(b, "Buffer", 0, "nvim_buf_");
    pack_type(b, "Window", 1, "nvim_win_");
    pack_type(b, "Tabpage", 2, "nvim_tabpage_");
}

static bool is_api_info(cn_str m) { return cn_str_is(m, "nvim_get_api_info") || cn_str_is(m, "vim_get_api_info"); }
static bool is_hello(cn_str m) { return cn_str_is(m, "nvim_set_client_info"); }

/* --- auth: counts for the connection; a failed one leaves no credentials --- */
static cn_err take_identity(conn *c, const cn_message *m, identity *fresh) {
    kit *k = &c->l->kit;
    const msgpack_object *map;
    static const char *const fields[] = {"key", "tenant", NULL};
    cn_str key = {NULL, 0};
    if (m->params.n > INLINE_FRAME)
        return cn_fail(CN_INVALID, "an auth of %zu bytes; a key has fewer than 100", m->params.n);
    CN_TRY(cn_unpack(&k->unpacked, m->params.p, m->params.n));
    CN_TRY(cn_params_map(&k->unpacked.o, &map));
    CN_TRY(cn_only_fields(map, fields)); /* before the key counts: a call that fails leaves none */
    CN_TRY(cn_get_str(map, "key", &key));
    return key.p ? cn_service_auth(c->l->n->s, key, "rpc", &fresh->arena, &fresh->caller)
                 : cn_fail(CN_INVALID, "auth needs the field \"key\": a key of cairn");
}

/* True when the request is to be answered by the service as usual. */
static bool authenticate(conn *c, const cn_message *m) {
    identity *fresh = identity_new(), *old = c->who;
    if (!fresh) {
        cn_rpc_error(&c->out, m->msgid, cn_fail_memory(), cn_error_detail());
        return false;
    }
    cn_err err = take_identity(c, m, fresh);
    if (err == CN_OK)
        c->wrong_keys = 0;
    else {
        char room[CN_ERROR_TEXT];
        fresh->caller.kind = CN_CALLER_NOBODY;
        cn_rpc_error(&c->out, m->msgid, err, cn_tell_text(c->l->n->s, &fresh->caller, cn_error_detail(), room));
        cn_log(CN_LOG_WARN, "auth.failed", "conn=%llu %s", (unsigned long long)c->id, cn_error_detail());
        if (++c->wrong_keys >= AUTH_TRIES)
            conn_end(c, "too many wrong keys");
    }
    c->who = fresh;
    identity_unref(old);
    return err == CN_OK;
}

/* --- costs --- */
static uint32_t hash_bytes(uint32_t h, cn_str s) { return cn_hash_byte(cn_hash_bytes(h, s), 0xff); }

static uint32_t hash_number(uint32_t h, uint64_t v) { return hash_bytes(h, (cn_str){(const char *)&v, sizeof v}); }

/* Whole: of two filters that differ in one number one may cost a thousand times as much. How deep it goes the parser has checked. */
static uint32_t hash_object(uint32_t h, const msgpack_object *o) {
    h = cn_hash_byte(h, o ? (uint8_t)o->type : 0xff);
    if (!o || o->type == MSGPACK_OBJECT_NIL)
        return h;
    if (cn_is_str(o))
        return hash_bytes(h, cn_obj_str(o));
    if (o->type == MSGPACK_OBJECT_ARRAY) {
        h = hash_number(h, o->via.array.size);
        for (uint32_t i = 0; i < o->via.array.size; i++)
            h = hash_object(h, &o->via.array.ptr[i]);
        return h;
    }
    if (o->type == MSGPACK_OBJECT_MAP) {
        h = hash_number(h, o->via.map.size);
        for (uint32_t i = 0; i < o->via.map.size; i++)
            h = hash_object(hash_object(h, &o->via.map.ptr[i].key), &o->via.map.ptr[i].val);
        return h;
    }
    bool number = o->type == MSGPACK_OBJECT_POSITIVE_INTEGER || o->type == MSGPACK_OBJECT_NEGATIVE_INTEGER || o->type == MSGPACK_OBJECT_FLOAT32 || o->type == MSGPACK_OBJECT_FLOAT64;
    return number ? hash_number(h, o->via.u64) : cn_hash_byte(h, o->type == MSGPACK_OBJECT_BOOLEAN && o->via.boolean);
}

/* The tenant that a request is about: the key's own, or the one that it names; map NULL: not looked into. */
static cn_str tenant_of(const conn *c, const msgpack_object *map) {
    cn_str own = c->who->caller.kind == CN_CALLER_KEY ? c->who->caller.key.tenant : (cn_str){NULL, 0};
    return own.n || !map ? own : cn_obj_str(cn_get(map, "tenant"));
}

/* Who has said no key stands apart, so that strangers do not fill the lane of a tenant that answers them. */
static uint32_t lane_hash(const conn *c, cn_str tenant) {
    return hash_number(hash_bytes(CN_HASH_BEGIN, tenant), c->who->caller.kind == CN_CALLER_KEY);
}

/* Searches of one index for one principal by one filter cost about the same, unless they ask for much more, for certainty, or
 * of another version. Begun with what strangers do not know: so nobody can make up a search that is taken for another. */
static uint32_t cost_like(uint32_t h, const conn *c, cn_str method, const msgpack_object *map) {
    static const char *const fields[] = {"index", "mode", "fusion", "operators", "as", "labels", "filter", "version", "per_doc", "distinct", "expand", "section", "max_tokens", "also", "highlight"};
    uint64_t k = 0;
    double recall = 0;
    cn_get_uint(map, "k", 0, UINT32_MAX, &k); /* what is wrong is refused by the method */
    cn_get_f64(map, "recall", &recall);
    h = hash_number(h, c->l->n->cost_seed);
    h = hash_bytes(h, method);
    h = hash_bytes(h, cn_str_of(c->who->caller.key.id));
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        h = hash_object(h, cn_get(map, fields[i]));
    h = hash_number(h, k < 16 ? 0 : (uint64_t)(64 - __builtin_clzll(k)));
    h = hash_bytes(h, (cn_str){(const char *)&recall, sizeof recall});
    return h ? h : 1;
}

/* Cheap is what has been seen to be, since versions and permissions last changed: then views and sets are made. */
static cn_cost search_cost(net *n, uint32_t like, cn_str tenant) {
    uint64_t epoch;
    uint32_t then, us = cost_known(n, like, &then);
    bool cheap = us && us <= INLINE_US && cn_service_epoch(n->s, tenant, &epoch) == CN_OK && (uint32_t)epoch == then;
    return cheap ? CN_COST_CHEAP : CN_COST_DEAR;
}

static void run_here(conn *c, cn_str frame, uint64_t start_ns, uint32_t like) {
    net *n = c->l->n;
    size_t whole = c->out.cap;
    c->out.cap = c->out.n + atomic_load(&n->lim.max_response);
    if (c->out.cap > whole)
        c->out.cap = whole;
    size_t before = c->out.n;
    run_request(n, &c->l->kit, c->who, frame, start_ns, atomic_load(&n->lim.request_ms), like, &c->out);
    c->out.cap = whole;
    if (conn_charge(c) || c->out.n - before <= READ_STEP)
        return;
    cn_message m;
    c->out.n = before;
    if (cn_message_parse(frame, &m) == CN_OK)
        cn_rpc_error(&c->out, m.msgid, CN_OVERLOADED, "the server holds as many bytes of requests and answers as it may (max_buffered);");
}

/* A tenant of whom more requests wait than there are workers has more than its share: a loop is for the others then. */
static bool behind(const loop *l, unsigned lane) { return cn_pool_lane_waiting(l->n->queries, lane) > cn_pool_threads(l->n->queries); }

static void run_somewhere(conn *c, cn_str frame, const cn_message *m) {
    loop *l = c->l;
    net *n = l->n;
    uint64_t start = cn_mono_ns();
    const msgpack_object *map = NULL;
    uint32_t like = 0;
    bool small = frame.n <= INLINE_FRAME;
    if (small && (cn_unpack(&c->l->kit.unpacked, m->params.p, m->params.n) != CN_OK || cn_params_map(&c->l->kit.unpacked.o, &map) != CN_OK)) {
        cn_rpc_error(&c->out, m->msgid, CN_INVALID, cn_error_detail());
        return;
    }
    cn_str tenant = tenant_of(c, map);
    uint32_t hash = lane_hash(c, tenant), lane = hash % CN_POOL_LANES;
    cn_cost cost = cn_service_cost(m->method, map);
    if (cost == CN_COST_SEARCH && small) {
        like = cost_like(hash, c, m->method, map);
        cost = search_cost(n, like, tenant);
    }
    cn_pool *pool = cost == CN_COST_LONG || cost == CN_COST_GATE ? n->longs : cost == CN_COST_CHANGE ? n->changes : n->queries;
    uint64_t limit_ms = atomic_load(cost == CN_COST_GATE ? &n->lim.gate_ms : &n->lim.request_ms);
    bool here = cost == CN_COST_CHEAP && small && l->used_ns[lane] < TURN_US * 1000u;
    bool queued = (!here || behind(l, lane)) && job_submit(c, pool, lane, frame, m->msgid, start, limit_ms, like) == CN_OK;
    if (here && !queued) /* also where the queue is full: rather than refused */
        run_here(c, frame, start, like);
    else if (!queued)
        cn_rpc_error(&c->out, m->msgid, CN_OVERLOADED, "all threads are busy and the queue is full;");
    c->lane = lane;
    l->used_ns[lane] += cn_mono_ns() - start;
    l->used = true;
}

/* --- the way of a message --- */
static void answer_request(conn *c, cn_str frame, const cn_message *m) {
    if (is_api_info(m->method)) {
        cn_rpc_result_open(&c->out, m->msgid);
        pack_api_info(&c->out, c->id);
    } else if (is_hello(m->method)) {
        cn_rpc_result_open(&c->out, m->msgid);
        cn_pack_nil(&c->out);
    } else if (atomic_load(&c->l->n->draining)) {
        cn_rpc_error(&c->out, m->msgid, CN_UNAVAILABLE, "the server is stopping");
    } else if (cn_str_is(m->method, "auth")) {
        if (authenticate(c, m))
            run_here(c, frame, cn_mono_ns(), 0);
    } else {
        run_somewhere(c, frame, m);
    }
}

void dispatch(conn *c, cn_str frame) {
    cn_message m;
    cn_err err = cn_message_parse(frame, &m);
    conn_expect(c);
    if (err != CN_OK && m.kind == CN_REQUEST)
        cn_rpc_error(&c->out, m.msgid, err, cn_error_detail());
    else if (err != CN_OK)
        conn_refuse(c, (cn_str){NULL, 0}, err);
    else if (m.kind == CN_REQUEST)
        answer_request(c, frame, &m);
    /* Notifications are dropped: they could not be told what went wrong. Nothing was asked that a response would answer. */
}
