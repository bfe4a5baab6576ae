/* worker.h -- what passes between cn_parse() or cn_unpack_read() and their worker processes.
 *
 *   request   cn_worker_request, then its bytes
 *   answer    cn_worker_answer, then text, title, front, blocks; or the error's text in place of the text
 *   unpack    which packing; then frames one way, and after each CN_UNPACK_WANT a count and so many packed bytes (0: the end)
 *             the other way, until a frame that says how it ended; then the next
 * Both run the same program on the same machine, so structs pass as they are; an answer is checked all the same, because
 * a parser that a document took over writes what it likes.
 * Owns:    nothing.
 * Thread:  any.
 * Limits:  those of parse.h. */
#pragma once
#include "ingest/parse/parse.h"

#define CN_WORKER_ARG "--cairn-parse-worker"
#define CN_UNPACK_ARG "--cairn-unpack-worker"
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

#define CN_UNPACK_STEP ((size_t)256 << 10) /* of one frame, and of packed bytes handed over at once */
#define CN_UNPACK_TEXT 200u
typedef enum cn_unpack_kind { CN_UNPACK_WANT = 1, CN_UNPACK_DATA, CN_UNPACK_END, CN_UNPACK_NONE, CN_UNPACK_CUT, CN_UNPACK_DAMAGED } cn_unpack_kind;
typedef struct cn_unpack_frame {
    uint32_t kind, n; /* n bytes follow: of data, or of what is damaged */
    uint64_t at;      /* bytes of the input used so far */
} cn_unpack_frame;

/* In a worker: all n bytes through its socket, false when the parent is gone; and so many more seconds of processor time. */
bool cn_worker_read(void *to, size_t n);
bool cn_worker_write(const void *from, size_t n);
void cn_worker_more_time(void);
void cn_unpack_there(void); /* unpacks one input after the other until the socket ends */

/* What a parser's process is told of this one's environment, ended by NULL; no secret that happens to stand there. Points
 * into the environment and `room`. */
char **cn_parse_environment(char *room[4]);
/* Gives up everything but computing and its one socket; 0, or -1 with errno where the kernel refused. */
int cn_confine(void);
/* Its parts, for a process that may do a little more: a landlock ruleset (-1: this kernel has none) to which folders may be added
 * before it begins to hold; and the calls that stay, beside signals to itself and its own limits. Any other fails with EPERM. */
int cn_landlock_begin(void);
int cn_landlock_end(int rules);
int cn_allow_calls(const int *allowed, size_t n);
/* Leaves this process only what pdftotext needs: 0, -1 with errno, or CN_PDF_OPEN where the kernel has no landlock, without which it
 * could read every file. */
#define CN_PDF_OPEN 4 /* also the exit status then */
int cn_pdf_confine(void);
/* Locks this process in less tightly and becomes pdftotext, from standard input to standard output. */
_Noreturn void cn_pdf_child(void);
/* What one document may take, in nanoseconds; CAIRN_PARSE_SECONDS shortens it. */
uint64_t cn_parse_limit_ns(void);
