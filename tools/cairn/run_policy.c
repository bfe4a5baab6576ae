/* run_policy.c -- changes of the policy: made, and then a word of warning for what is named and stands in no version. */
#include <errno.h>
#include <stdlib.h>

#include "engine/base/json.h"
#include "engine/base/mem.h"
#include "tools/cairn/local.h"

#define CHANGES_MAX ((size_t)64 << 20)
#define WARNED 10

/* ---------- what the change met ---------- */
static void warn_others(cn_buf *b, const msgpack_object *others) {
    uint32_t n = others && others->type == MSGPACK_OBJECT_ARRAY ? others->via.array.size : 0;
    cn_buf_puts(b, n ? "; that id is of " : "; it counts for what is ingested later");
    for (uint32_t i = 0; i < n; i++) {
        cn_buf_puts(b, i ? ", " : "--source ");
        cmd_put_text(b, cn_obj_str(&others->via.array.ptr[i]));
    }
}

static void warn_missing(const msgpack_object *m) {
    CN_AUTO_BUF cn_buf b;
    cn_str doc = {NULL, 0}, glob = {NULL, 0}, source = {NULL, 0}, all_of = {NULL, 0};
    cn_get_str(m, "doc", &doc);
    cn_get_str(m, "glob", &glob);
    cn_get_str(m, "source", &source);
    cn_get_str(m, "all_of", &all_of);
    cn_buf_init(&b, 65536);
    cn_buf_puts(&b, doc.p ? "\"" : glob.p ? "a document that fits \"" : "a document of source \"");
    cmd_put_text(&b, doc.p ? doc : glob.p ? glob : all_of);
    cn_buf_puts(&b, "\"");
    if (source.n) {
        cn_buf_puts(&b, " of source ");
        cmd_put_text(&b, source);
    }
    warn_others(&b, cn_get(m, "others"));
    if (doc.p && memchr(doc.p, '*', doc.n))
        cn_buf_puts(&b, "; for documents that fit a pattern there is --glob");
    fprintf(stderr, "cairn: warning: no version holds " CN_STR_FMT "\n", CN_STR_ARG(cn_buf_str(&b)));
}

static void warn(const msgpack_object *answer) {
    const msgpack_object *list = cn_get(answer, "missing");
    cn_str unread = {NULL, 0};
    bool more = false;
    uint32_t n = list && list->type == MSGPACK_OBJECT_ARRAY ? list->via.array.size : 0;
    cn_get_str(answer, "unread", &unread);
    cn_get_bool(answer, "more", &more);
    for (uint32_t i = 0; i < n && i < WARNED; i++)
        warn_missing(&list->via.array.ptr[i]);
    if (n > WARNED)
        fprintf(stderr, "cairn: warning: no version holds %s%u others either (-o json lists the first 100)\n", more ? "over " : "", n - WARNED);
    if (unread.n)
        fprintf(stderr, "cairn: warning: the change stands; not all of the versions could be looked at for what it meets: " CN_STR_FMT "\n", CN_STR_ARG(unread));
}

/* For people without what they are warned of. */
static cn_err brief(const msgpack_object *answer, cn_buf *ret) {
    static const char *const names[] = {"documents", "held", "epoch"};
    uint32_t n = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        n += cn_get(answer, names[i]) != NULL;
    cn_buf_init(ret, 4096);
    cn_pack_map(ret, n);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (cn_get(answer, names[i])) {
            cn_pack_cstr(ret, names[i]);
            cn_pack_object(ret, cn_get(answer, names[i]));
        }
    return cn_buf_check(ret);
}

static int print_change(const cmd *c, cn_str answer) {
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    CN_AUTO_BUF cn_buf b = {0};
    cn_err err = cn_unpack(&u, answer.p, answer.n);
    if (err == CN_OK)
        err = brief(&u.o, &b);
    if (err != CN_OK)
        return cmd_fail(err);
    int code = cmd_print(c, cmd_the_env.out == OUT_TABLE ? cn_buf_str(&b) : answer);
    warn(&u.o);
    return code;
}

int run_policy(const cmd *c, cmd_call *call) {
    CN_AUTO_BUF cn_buf out = {0};
    cn_err err = cmd_call_method(c->method, cn_buf_str(&call->params), &out);
    return err == CN_OK ? print_change(c, cn_buf_str(&out)) : cmd_fail(err);
}

/* ---------- policy apply ---------- */
static cn_err read_changes(FILE *f, const char *path, cn_buf *list, uint32_t *ret_n) {
    CN_CLEANUP(cn_free_p) char *line = NULL;
    size_t room = 0;
    ssize_t n;
    uint32_t count = 0;
    for (unsigned long number = 1; (n = getline(&line, &room, f)) >= 0; number++) {
        if (strspn(line, " \t\r\n") == (size_t)n)
            continue;
        cn_err err = cn_json_parse((cn_str){line, (size_t)n}, list);
        if (err != CN_OK)
            return cn_wrap(err, "%s:%lu", path, number);
        count++;
    }
    *ret_n = count;
    if (ferror(f))
        return cn_fail_errno(errno, "cannot read %s", path);
    return count ? CN_OK : cn_fail(CN_INVALID, "%s holds no change; each line is a map, as `cairn policy apply --help` shows", path);
}

static cn_err with_changes(const cmd_call *call, const cn_buf *list, uint32_t n, cn_buf *params) {
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    CN_TRY(cn_unpack(&u, call->params.p, call->params.n));
    cn_pack_map(params, u.o.via.map.size + 1);
    for (uint32_t i = 0; i < u.o.via.map.size; i++) {
        cn_pack_object(params, &u.o.via.map.ptr[i].key);
        cn_pack_object(params, &u.o.via.map.ptr[i].val);
    }
    cn_pack_cstr(params, "changes");
    cn_pack_array(params, n);
    cn_buf_add(params, list->p, list->n);
    return cn_buf_check(params);
}

int run_policy_apply(const cmd *c, cmd_call *call) {
    CN_AUTO_BUF cn_buf list = {0};
    CN_AUTO_BUF cn_buf params = {0};
    CN_AUTO_BUF cn_buf out = {0};
    const char *path = call->words[1];
    uint32_t n = 0;
    FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
    if (!f)
        return cmd_fail(cn_fail_errno(errno, "cannot open %s", path));
    cn_buf_init(&list, CHANGES_MAX);
    cn_buf_init(&params, CHANGES_MAX + CHANGES_MAX / 4);
    cn_err err = read_changes(f, path, &list, &n);
    if (f != stdin)
        fclose(f);
    if (err == CN_OK)
        err = with_changes(call, &list, n, &params);
    if (err == CN_OK)
        err = cmd_call_method(c->method, cn_buf_str(&params), &out);
    if (err == CN_INVALID && strncmp(cn_error_detail(), "change ", 7) == 0)
        cn_wrap(err, "%s", path);
    return err == CN_OK ? print_change(c, cn_buf_str(&out)) : cmd_fail(err);
}
