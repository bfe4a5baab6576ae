/* What a job was told about the labels of one document. */
#include "engine/base/mem.h"
#include "index/policy/glob.h"
#include "index/policy/labels.h"
#include "ingest/job/opts.h"
#include "ingest/job/rows.h"

/* GLOB=LABEL,LABEL: as describe.c of the sources splits it. */
static cn_err try_rule(cn_str text, cn_str id, cn_arena *a, cn_job_labels *ret) {
    const char *eq = text.n ? memrchr(text.p, '=', text.n) : NULL;
    if (!eq || !cn_glob_match((cn_str){text.p, (size_t)(eq - text.p)}, id))
        return CN_OK;
    CN_TRY(cn_labels_parse(a, (cn_str){eq + 1, text.n - (size_t)(eq + 1 - text.p)}, &ret->rule_gives));
    ret->rule = text;
    return CN_OK;
}

static cn_err read_row(const cn_job_row *r, cn_str id, cn_arena *a, cn_job_labels *ret) {
    cn_job_opts o;
    cn_job_labels l = {.kind = cn_arena_str(a, r->kind), .who = cn_arena_str(a, r->who), .started_us = r->started_us};
    if (!l.kind.p || !l.who.p)
        return cn_fail_memory();
    cn_job_opts_default(&o);
    if (cn_str_is(r->kind, "ingest") && r->opts.n) {
        CN_TRY(cn_opts_unpack(r->opts, a, &o));
        l.labels = o.from.labels;
        l.trust = o.from.trust;
        l.rows = cn_str_of(o.from.rows);
        for (uint32_t i = 0; i < o.from.n_label_rules && !l.rule.n; i++)
            CN_TRY(try_rule(o.from.label_rules[i], id, a, &l));
    }
    *ret = l;
    return CN_OK;
}

cn_err cn_job_labels_of(cn_tenant *t, cn_str job, cn_str id, cn_arena *a, cn_job_labels *ret) {
    CN_CLEANUP(cn_job_row_done) cn_job_row r;
    cn_job_row_init(&r);
    CN_TRY(cn_jobs_get(t, job, &r));
    return read_row(&r, id, a, ret);
}
