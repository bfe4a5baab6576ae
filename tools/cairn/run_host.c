/* run_host.c -- init and scrub: the data directory; and the findings that scrub and doctor print. */
#include <stdarg.h>

#include "index/catalog/check.h"
#include "index/catalog/scrub.h"
#include "index/store/damage.h"
#include "ingest/embed/embed.h"
#include "tools/cairn/local.h"

int run_init(const cmd *c, cmd_call *call) {
    (void)call;
    const char *dir = cmd_data_dir();
    cn_err err = dir ? cn_data_init(dir) : CN_INVALID;
    if (err != CN_OK)
        return cmd_fail(err);
    if (cmd_the_env.out != OUT_TABLE)
        return cmd_print_one(c, "data", dir);
    printf("%s is ready; next: cairn --data %s tenant add NAME\n", dir, dir);
    return 0;
}

/* ---------- findings ---------- */
void cmd_findings_init(cmd_findings *f) {
    *f = (cmd_findings){0};
    cn_buf_init(&f->list, (size_t)64 << 20);
}

void cmd_finding(cmd_findings *f, cmd_grade grade, const char *what, const char *fmt, ...) {
    static const char *const names[] = {"ok", "note", "BAD"};
    char text[CN_ERROR_TEXT + 256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    f->n++;
    f->bad += grade == CMD_BAD;
    if (cmd_the_env.out == OUT_TABLE) {
        printf("%-4s %-20s %s\n", names[grade], what, text);
        return;
    }
    cn_pack_map(&f->list, 3);
    cn_pack_cstr(&f->list, "grade");
    cn_pack_cstr(&f->list, names[grade]);
    cn_pack_cstr(&f->list, "what");
    cn_pack_cstr(&f->list, what);
    cn_pack_cstr(&f->list, "detail");
    cn_pack_cstr(&f->list, text);
}

int cmd_findings_end(const cmd *c, cmd_findings *f) {
    CN_AUTO_BUF cn_buf out;
    int code = f->bad ? EXIT_FAILED : 0;
    cn_buf_init(&out, (size_t)65 << 20);
    if (cmd_the_env.out != OUT_TABLE) {
        cn_pack_map(&out, 2);
        cn_pack_cstr(&out, "bad");
        cn_pack_uint(&out, f->bad);
        cn_pack_cstr(&out, "findings");
        cn_pack_array(&out, f->n);
        cn_buf_add(&out, f->list.p, f->list.n);
        int printed = cn_buf_check(&out) == CN_OK ? cmd_print(c, cn_buf_str(&out)) : cmd_fail(CN_OVERLOADED);
        code = printed ? printed : code;
    }
    cn_buf_done(&f->list);
    return code;
}

/* ---------- scrub ---------- */
typedef struct scrub {
    cmd_findings f;
    cn_data *data;
    const char *tenant;
    cn_damaged *known; /* what was noted as damaged before */
    uint32_t n_known;
} scrub;

static void scrubbed(void *ctx, cn_str what, cn_err err) {
    scrub *s = ctx;
    char text[192];
    snprintf(text, sizeof text, "%s/" CN_STR_FMT, s->tenant, CN_STR_ARG(what));
    cmd_finding(&s->f, err == CN_OK ? CMD_OK : CMD_BAD, text, "%s", err == CN_OK ? "read and verified" : cn_error_detail());
}

/* A file that was noted as damaged is damaged no more, or it is a finding of its own. */
static void found_well(scrub *s, const cn_damaged *x, cn_err err) {
    char what[sizeof x->tenant + sizeof x->file + 1];
    snprintf(what, sizeof what, "%s%s%s", x->tenant, *x->tenant ? "/" : "", x->file);
    if (err == CN_OK)
        err = cn_damaged_drop(s->data, x);
    cmd_finding(&s->f, err == CN_OK ? CMD_OK : CMD_BAD, what, "%s", err == CN_OK ? "was noted as damaged, and is not" : cn_error_detail());
}

static cn_err scrub_tenant(void *ctx, cn_str name, int64_t made_us) {
    (void)made_us;
    scrub *s = ctx;
    cn_tenant *t;
    char text[96];
    uint32_t bad = s->f.bad;
    snprintf(text, sizeof text, CN_STR_FMT, CN_STR_ARG(name));
    cn_err err = cn_tenant_open(s->data, name, &t);
    if (err == CN_OK) {
        s->tenant = cn_tenant_name(t);
        err = cn_tenant_check(t, scrubbed, s);
        for (uint32_t i = 0; err == CN_OK && s->f.bad == bad && i < s->n_known; i++)
            if (cn_str_is(name, s->known[i].tenant))
                found_well(s, &s->known[i], cn_scrub_named(t, s->known[i].file));
        cn_tenant_unref(t);
    }
    if (err != CN_OK)
        cmd_finding(&s->f, CMD_BAD, text, "%s", cn_error_detail());
    return CN_OK;
}

/* Of a tenant that was dropped meanwhile nothing is left. */
static void forget_dropped(scrub *s, const cn_damaged *x) {
    cn_tenant *t;
    cn_err err = cn_tenant_open(s->data, cn_str_of(x->tenant), &t);
    if (err == CN_OK)
        cn_tenant_unref(t);
    else if (err == CN_NOT_FOUND && cn_damaged_drop(s->data, x) != CN_OK)
        cmd_finding(&s->f, CMD_BAD, x->tenant, "%s", cn_error_detail());
}

/* Of no tenant: models, and cairn.mdb, which has been read by now. */
static void scrub_host(scrub *s) {
    static const char models[] = "models/";
    for (uint32_t i = 0; i < s->n_known; i++) {
        const cn_damaged *x = &s->known[i];
        bool is_model = strncmp(x->file, models, strlen(models)) == 0;
        if (*x->tenant)
            forget_dropped(s, x);
        else
            found_well(s, x, is_model ? cn_model_verify(cn_data_dir(s->data), cn_str_of(x->file + strlen(models))) : CN_OK);
    }
}

static cn_err scrub_all(scrub *s, cn_arena *a) {
    CN_TRY(cn_damaged_list(s->data, a, &s->known, &s->n_known));
    CN_TRY(cn_tenant_list(s->data, scrub_tenant, s));
    scrub_host(s);
    return CN_OK;
}

int run_scrub(const cmd *c, cmd_call *call) {
    (void)call;
    scrub s = {.data = NULL};
    const char *dir = cmd_data_dir();
    cn_err err = dir ? cn_data_open(dir, &s.data) : CN_INVALID;
    if (err != CN_OK)
        return cmd_fail(err);
    cmd_findings_init(&s.f);
    cn_arena a;
    cn_arena_init(&a, 16384, (size_t)1 << 20);
    err = scrub_all(&s, &a);
    cn_arena_done(&a);
    cn_data_close(s.data);
    if (err != CN_OK)
        cmd_finding(&s.f, CMD_BAD, "tenants", "%s", cn_error_detail());
    return cmd_findings_end(c, &s.f);
}
