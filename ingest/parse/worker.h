/* worker.h -- what passes between cn_parse() and its worker processes.
 *
 *   request   cn_worker_request, then its bytes
 *   answer    cn_worker_answer, then text, title, front, blocks; or the error's text in place of the text
 * Both run the same program on the same machine, so structs pass as they are; an answer is checked all the same, because
 * a parser that a document took over writes what it likes.
 * Owns:    nothing.
 * Thread:  any.
 * Limits:  those of parse.h. */
#pragma once
#include "ingest/parse/parse.h"

#define CN_WORKER_ARG "--cairn-parse-worker"
#define CN_PDF_ARG "--cairn-parse-pdf"
#define CN_WORKER_FD 3
#define CN_WORKER_BYTES ((uint64_t)512 << 20) /* memory of a worker */

typedef struct cn_worker_request {
    uint64_t n;
    uint32_t format, unused;
} cn_worker_request;
typedef struct cn_worker_answer {
    uint64_t text, title, front;
    uint32_t err, n_blocks;
} cn_worker_answer;

/* What a parser's process is told of this one's environment, ended by NULL; no secret that happens to stand there. Points
 * into the environment and `room`. */
char **cn_parse_environment(char *room[4]);
/* Gives up everything but computing and its one socket; 0, or -1 with errno where the kernel refused. */
int cn_confine(void);
/* Locks this process in less tightly and becomes pdftotext, from standard input to standard output. */
_Noreturn void cn_pdf_child(void);
/* What one document may take, in nanoseconds; CAIRN_PARSE_SECONDS shortens it. */
uint64_t cn_parse_limit_ns(void);
