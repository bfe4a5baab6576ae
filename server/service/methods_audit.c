/* audit.*: who did what. */
#include "index/control/audit.h"
#include "server/service/methods_inside.h"

static bool record_is_seen(void *ctx, cn_str index) { return cn_call_reaches(ctx, index); }

METHOD(audit_list) {
    bool limited = cn_call_limited(c);
    CN_AUTO_TENANT cn_tenant *t = NULL;
    uint64_t before = 0, limit = 100;
    CN_TRY(cn_get_uint(p, "before", 1, INT64_MAX, &before));
    CN_TRY(cn_get_uint(p, "limit", 1, CN_ARG_LIST_MAX, &limit));
    CN_TRY(cn_call_tenant(s, tenant, &t));
    cn_pack_map(out, 1);
    cn_pack_cstr(out, "records");
    return cn_audit_list(t, before, (uint32_t)limit, limited ? record_is_seen : NULL, c, out);
}

METHOD(audit_verify) {
    (void)c, (void)p;
    CN_AUTO_TENANT cn_tenant *t = NULL;
    uint64_t n;
    cn_digest head;
    CN_TRY(cn_call_tenant(s, tenant, &t));
    CN_TRY(cn_audit_verify(t, &n, &head));
    cn_pack_map(out, 2);
    cn_out_uint(out, "records", n);
    cn_out_hex(out, "head", head.b, sizeof head.b);
    return CN_OK;
}

static const cn_param p_none[] = {END};
static const cn_param p_audit[] = {{"before", "uint", false, "records older than this number"}, {"limit", "uint", false, "at most so many (100)"}, END};

const cn_method cn_methods_audit[] = {
    {"audit.list", CN_SCOPE(audit), CN_METHOD_PART, "who did what, newest first", p_audit, audit_list},
    {"audit.verify", CN_SCOPE(audit), CN_METHOD_DEAR, "prove that no record was changed or removed", p_none, audit_verify},
    {NULL, 0, 0, NULL, NULL, NULL},
};
