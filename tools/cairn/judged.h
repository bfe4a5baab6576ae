/* judged.h -- files of judged questions, as TREC, BEIR and ir_datasets write them: what `eval` and `gate freeze` read.
 *
 * Owns:    the judgements are the caller's; lines are borrowed.
 * Thread:  any.
 * Limits:  JUDGED_FILE_MAX bytes of judgements; a line of questions JUDGED_LINE_MAX bytes. */
#pragma once
#include "index/search/judge.h"

#define JUDGED_FILE_MAX ((size_t)1 << 30)
#define JUDGED_LINE_MAX ((size_t)256 << 20)

/* A file of TREC ("query 0 document grade") or BEIR ("query-id corpus-id score", tabs, with that first line). */
cn_err judged_grades(const char *path, cn_judgements **ret);
/* A question a line: a JSON map of _id and text (BEIR), or an id, a tab and the text. */
typedef cn_err judged_question_fn(void *ctx, cn_str id, cn_str text, unsigned long line);
cn_err judged_questions(const char *path, judged_question_fn *fn, void *ctx);
/* A line after the other, without its end; an error is given the file's name and the line's number. */
typedef cn_err judged_line_fn(void *ctx, cn_str line, unsigned long number);
cn_err judged_lines(const char *path, judged_line_fn *fn, void *ctx);
/* The two files of a BEIR folder, or those named beside it; strings of the arena. INVALID: neither is given. */
cn_err judged_paths(cn_arena *a, const char *beir, const char *split, const char *queries, const char *qrels, const char **ret_queries, const char **ret_qrels);
