#include "tools/cairn/judged.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/json.h"
#include "engine/base/mem.h"
#include "engine/base/pack.h"

#define LINE_PARTS 4

cn_err judged_lines(const char *path, judged_line_fn *fn, void *ctx) {
    CN_CLEANUP(cn_free_p) char *line = NULL;
    size_t room = 0;
    ssize_t n;
    cn_err err = CN_OK;
    FILE *f = fopen(path, "re");
    if (!f)
        return cn_fail_errno(errno, "cannot open %s", path);
    for (unsigned long number = 1; err == CN_OK && (n = getline(&line, &room, f)) >= 0; number++) {
        while (n && (line[n - 1] == '\n' || line[n - 1] == '\r'))
            n--;
        line[n] = 0;
        err = fn(ctx, (cn_str){line, (size_t)n}, number);
        if (err != CN_OK)
            err = cn_wrap(err, "%s:%lu", path, number);
    }
    if (err == CN_OK && ferror(f))
        err = cn_fail_errno(errno, "cannot read %s", path);
    fclose(f);
    return err;
}

/* ---------- judgements ---------- */
/* At tabs where there are any (ids may have spaces then), else at white space. */
static int split(cn_str line, cn_str *parts) {
    const char *between = memchr(line.p, '\t', line.n) ? "\t" : " ";
    int n = 0;
    for (const char *p = line.p + strspn(line.p, between); *p && n <= LINE_PARTS; p += strspn(p, between)) {
        size_t len = strcspn(p, between);
        if (n < LINE_PARTS)
            parts[n] = (cn_str){p, len};
        n++;
        p += len;
    }
    return n;
}

static cn_err take_grade(void *ctx, cn_str line, unsigned long line_number) {
    cn_str p[LINE_PARTS];
    char number[16], *end;
    int n = split(line, p);
    if (n == 0 || (line_number == 1 && n == 3 && cn_str_is(p[0], "query-id")))
        return CN_OK;
    if (n != 3 && n != 4)
        return cn_fail(CN_INVALID, "a line has %d parts; TREC's have 4 (query 0 document grade), BEIR's 3 (query document grade)", n);
    snprintf(number, sizeof number, CN_STR_FMT, CN_STR_ARG(p[n - 1]));
    long grade = strtol(number, &end, 10);
    if (end == number || *end || labs(grade) > 1000000)
        return cn_fail(CN_INVALID, "\"" CN_STR_FMT "\" is no grade", CN_STR_ARG(p[n - 1]));
    return cn_judge_add(ctx, p[0], p[n - 2], (int)grade);
}

cn_err judged_grades(const char *path, cn_judgements **ret) {
    cn_judgements *j;
    CN_TRY(cn_judge_new(JUDGED_FILE_MAX, &j));
    cn_err err = judged_lines(path, take_grade, j);
    if (err == CN_OK)
        err = cn_judge_ready(j);
    if (err == CN_OK && cn_judge_queries(j) == 0)
        err = cn_fail(CN_INVALID, "%s has no judgements", path);
    if (err == CN_OK)
        *ret = j;
    else
        cn_judge_free(j);
    return err;
}

/* ---------- questions ---------- */
typedef struct asking {
    judged_question_fn *fn;
    void *ctx;
} asking;

static cn_err take_question(void *ctx, cn_str line, unsigned long number) {
    asking *a = ctx;
    CN_AUTO_BUF cn_buf packed = {.cap = JUDGED_LINE_MAX};
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    const char *tab = memchr(line.p, '\t', line.n);
    if (line.n == 0)
        return CN_OK;
    if (line.p[0] != '{')
        return tab ? a->fn(a->ctx, (cn_str){line.p, (size_t)(tab - line.p)}, (cn_str){tab + 1, line.n - (size_t)(tab + 1 - line.p)}, number)
                   : cn_fail(CN_INVALID, "neither a JSON map nor an id, a tab and a text");
    CN_TRY(cn_json_parse(line, &packed));
    CN_TRY(cn_unpack(&u, packed.p, packed.n));
    cn_str id = cn_obj_str(cn_get(&u.o, "_id")), text = cn_obj_str(cn_get(&u.o, "text"));
    return id.n && text.n ? a->fn(a->ctx, id, text, number) : cn_fail(CN_INVALID, "a map without \"_id\" or \"text\"");
}

cn_err judged_questions(const char *path, judged_question_fn *fn, void *ctx) {
    asking a = {fn, ctx};
    return judged_lines(path, take_question, &a);
}

cn_err judged_paths(cn_arena *a, const char *beir, const char *split_name, const char *queries, const char *qrels, const char **ret_queries, const char **ret_qrels) {
    if (!beir && !(queries && qrels))
        return cn_fail(CN_INVALID, "which questions? --beir FOLDER, or --queries FILE and --qrels FILE");
    *ret_queries = queries ? queries : cn_arena_printf(a, "%s/queries.jsonl", beir);
    *ret_qrels = qrels ? qrels : cn_arena_printf(a, "%s/qrels/%s.tsv", beir, split_name ? split_name : "test");
    return *ret_queries && *ret_qrels ? CN_OK : cn_fail_memory();
}
