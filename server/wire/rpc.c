#include "server/wire/rpc.h"

#include <stdio.h>

#include "engine/base/utf8.h"

/* --- where messages end --- */
void cn_frames_init(cn_frames *f, size_t max) {
    f->max = max;
    cn_pack_scan_start(&f->scan);
}

cn_err cn_frames_next(cn_frames *f, const void *p, size_t n, size_t *ret_n) {
    size_t whole;
    cn_err err = cn_pack_scan_more(&f->scan, p, n, &whole);
    if (f->scan.need > f->max && err != CN_INVALID)
        return cn_fail(CN_INVALID, "a message of %zu bytes or more; this end takes at most %zu", f->scan.need, f->max);
    CN_TRY(err);
    cn_pack_scan_start(&f->scan);
    *ret_n = whole;
    return CN_OK;
}

/* --- the envelope, read by hand: a few bytes of a message already checked --- */
static uint64_t big_endian(const uint8_t *p, size_t n) {
    uint64_t v = 0;
    for (size_t i = 0; i < n; i++)
        v = v << 8 | p[i];
    return v;
}

static bool take_array(cn_str *s, uint64_t *ret) {
    const uint8_t *p = (const uint8_t *)s->p;
    if (s->n == 0)
        return false;
    size_t len = p[0] == 0xdc ? 2 : p[0] == 0xdd ? 4 : 0;
    if (!len && (p[0] & 0xf0) != 0x90)
        return false;
    if (s->n < 1 + len)
        return false;
    *ret = len ? big_endian(p + 1, len) : p[0] & 15u;
    *s = (cn_str){s->p + 1 + len, s->n - 1 - len};
    return true;
}

/* Whole numbers from 0 on, in whichever width the other end chose. */
static bool take_uint(cn_str *s, uint64_t *ret) {
    const uint8_t *p = (const uint8_t *)s->p;
    if (s->n == 0)
        return false;
    size_t len = 0;
    if (p[0] >= 0xcc && p[0] <= 0xcf)
        len = (size_t)1 << (p[0] - 0xcc);
    else if (p[0] >= 0xd0 && p[0] <= 0xd3)
        len = (size_t)1 << (p[0] - 0xd0);
    else if (p[0] >= 0x80)
        return false;
    if (s->n < 1 + len)
        return false;
    if (p[0] >= 0xd0 && (p[1] & 0x80)) /* a signed form below zero */
        return false;
    *ret = len ? big_endian(p + 1, len) : p[0];
    *s = (cn_str){s->p + 1 + len, s->n - 1 - len};
    return true;
}

static bool take_str(cn_str *s, cn_str *ret) {
    const uint8_t *p = (const uint8_t *)s->p;
    if (s->n == 0)
        return false;
    size_t len = 0, body;
    if (p[0] == 0xd9 || p[0] == 0xc4)
        len = 1;
    else if (p[0] == 0xda || p[0] == 0xc5)
        len = 2;
    else if (p[0] == 0xdb || p[0] == 0xc6)
        len = 4;
    else if ((p[0] & 0xe0) != 0xa0)
        return false;
    if (s->n < 1 + len)
        return false;
    body = len ? (size_t)big_endian(p + 1, len) : p[0] & 31u;
    if (s->n - 1 - len < body)
        return false;
    *ret = (cn_str){s->p + 1 + len, body};
    *s = (cn_str){s->p + 1 + len + body, s->n - 1 - len - body};
    return true;
}

static cn_err not_rpc(const char *why) { return cn_fail(CN_INVALID, "not a message of MessagePack-RPC: %s", why); }

static cn_err take_call(cn_str rest, cn_message *m) {
    if (!take_str(&rest, &m->method))
        return not_rpc("the method must be a string");
    if (m->method.n > CN_METHOD_NAME_MAX)
        return not_rpc("the name of the method is too long");
    m->params = rest;
    uint64_t count;
    return take_array(&rest, &count) ? CN_OK : not_rpc("the parameters must be an array");
}

bool cn_request_begins(cn_str bytes, uint64_t *ret_msgid) {
    uint64_t count, kind, msgid;
    if (!take_array(&bytes, &count) || count != 4 || !take_uint(&bytes, &kind) || kind != CN_REQUEST || !take_uint(&bytes, &msgid))
        return false;
    *ret_msgid = msgid;
    return true;
}

static cn_err take_answer(cn_str rest, cn_message *m) {
    size_t n;
    CN_TRY(cn_pack_check(rest.p, rest.n, &n));
    m->error = (cn_str){rest.p, n};
    m->result = (cn_str){rest.p + n, rest.n - n};
    return CN_OK;
}

cn_err cn_message_parse(cn_str frame, cn_message *ret) {
    cn_message m = {.kind = CN_NOTIFICATION};
    uint64_t count, kind;
    *ret = m;
    if (!take_array(&frame, &count))
        return not_rpc("it is no array");
    if (count == 0 || !take_uint(&frame, &kind) || kind > CN_NOTIFICATION)
        return not_rpc("it starts with none of 0, 1, 2");
    if (kind == CN_NOTIFICATION) {
        if (count != 3)
            return not_rpc("a notification has three parts");
        CN_TRY(take_call(frame, &m));
        *ret = m;
        return CN_OK;
    }
    if (count < 2 || !take_uint(&frame, &m.msgid))
        return not_rpc("the msgid must be a whole number from 0 to 2^64-1");
    m.kind = (cn_message_kind)kind;
    *ret = m;
    if (count != 4)
        return not_rpc("requests and responses have four parts");
    CN_TRY(kind == CN_REQUEST ? take_call(frame, &m) : take_answer(frame, &m));
    *ret = m;
    return CN_OK;
}

cn_err cn_params_map(const msgpack_object *params, const msgpack_object **ret) {
    if (params->type != MSGPACK_OBJECT_ARRAY)
        return not_rpc("the parameters must be an array");
    if (params->via.array.size == 0) {
        *ret = NULL;
        return CN_OK;
    }
    if (params->via.array.size > 1 || params->via.array.ptr[0].type != MSGPACK_OBJECT_MAP)
        return cn_fail(CN_INVALID, "every method takes one map: its parameters are [{field: value, ...}]");
    *ret = &params->via.array.ptr[0];
    return CN_OK;
}

/* --- writing --- */
void cn_rpc_request(cn_buf *b, uint64_t msgid, cn_str method, cn_str packed_map) {
    cn_pack_array(b, 4);
    cn_pack_uint(b, CN_REQUEST);
    cn_pack_uint(b, msgid);
    cn_pack_str(b, method);
    cn_pack_array(b, packed_map.n ? 1 : 0);
    cn_buf_add(b, packed_map.p, packed_map.n);
}

void cn_rpc_notification(cn_buf *b, cn_str method, cn_str packed_params) {
    cn_pack_array(b, 3);
    cn_pack_uint(b, CN_NOTIFICATION);
    cn_pack_str(b, method);
    cn_buf_add(b, packed_params.p, packed_params.n);
}

void cn_rpc_result_open(cn_buf *b, uint64_t msgid) {
    cn_pack_array(b, 4);
    cn_pack_uint(b, CN_RESPONSE);
    cn_pack_uint(b, msgid);
    cn_pack_nil(b);
}

static bool is_callers(cn_err code) {
    switch (code) {
    case CN_NOT_FOUND:
    case CN_INVALID:
    case CN_UNAUTHENTICATED:
    case CN_DENIED:
    case CN_CONFLICT:
    case CN_REFUSED: return true;
    case CN_OK:
    case CN_OVERLOADED:
    case CN_DEADLINE:
    case CN_UNAVAILABLE:
    case CN_DAMAGED:
    case CN_INTERNAL:
    case CN_ERR_COUNT:
    case CN_END: break;
    }
    return false;
}

void cn_rpc_error_text(cn_err code, const char *detail, char text[CN_RPC_ERROR_TEXT]) {
    const char *what = detail && *detail ? detail : cn_err_text(code);
    if (!cn_err_retry(code))
        snprintf(text, CN_RPC_ERROR_TEXT, "%s: %s", cn_err_name(code), what);
    else
        snprintf(text, CN_RPC_ERROR_TEXT, "%s: %s retry_after_ms=%d", cn_err_name(code), what, code == CN_OVERLOADED ? 200 : 1000);
    cn_utf8_mend(text, strlen(text)); /* a name quoted from a request may be no UTF-8, which strict clients refuse */
}

void cn_rpc_error(cn_buf *b, uint64_t msgid, cn_err code, const char *detail) {
    char text[CN_RPC_ERROR_TEXT];
    cn_rpc_error_text(code, detail, text);
    cn_pack_array(b, 4);
    cn_pack_uint(b, CN_RESPONSE);
    cn_pack_uint(b, msgid);
    cn_pack_array(b, 2);
    cn_pack_uint(b, is_callers(code) ? 1 : 0);
    cn_pack_cstr(b, text);
    cn_pack_nil(b);
}

cn_err cn_rpc_error_read(cn_str packed, cn_str *ret_text) {
    uint64_t count, kind;
    cn_str text, rest = packed;
    if (!take_array(&rest, &count) || count < 2 || !take_uint(&rest, &kind) || !take_str(&rest, &text)) {
        rest = packed; /* another server's plain string is welcome too */
        text = CN_STR("the server sent an error of a form this client does not know");
        take_str(&rest, &text);
    }
    *ret_text = text;
    for (cn_err code = CN_OK + 1; code < CN_ERR_COUNT; code++) {
        cn_str name = cn_str_of(cn_err_name(code));
        if (text.n > name.n && memcmp(text.p, name.p, name.n) == 0 && text.p[name.n] == ':')
            return code;
    }
    return CN_INTERNAL;
}
