/* error.h -- one error type for the whole of cairn: a code, and a text of the calling thread.
 *
 * Owns:    one detail text per thread, overwritten by the next failure on that thread; one path of a damaged file.
 * Thread:  any; code and text never cross threads by themselves.
 * Limits:  a text is cut at CN_ERROR_TEXT bytes; reporting allocates nothing. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

/* name, text for a person, does trying again help?  The names are the wire's (DESIGN.md section 9). */
#define CN_ERRORS(X)                                               \
    X(NOT_FOUND, "not found", 0)                                   \
    X(INVALID, "invalid request or input", 0)                      \
    X(UNAUTHENTICATED, "no valid credentials", 0)                  \
    X(DENIED, "not permitted", 0)                                  \
    X(CONFLICT, "changed by someone else meanwhile", 0)            \
    X(REFUSED, "refused by a rule of this index", 0)               \
    X(OVERLOADED, "too busy or out of memory", 1)                  \
    X(DEADLINE, "ran out of time", 1)                              \
    X(UNAVAILABLE, "a needed part cannot be reached", 1)           \
    X(DAMAGED, "stored data is damaged", 0)                        \
    X(INTERNAL, "a defect of cairn", 0)

typedef enum cn_err {
    CN_OK = 0,
#define CN_ERROR_ENUM(name, text, retry) CN_##name,
    CN_ERRORS(CN_ERROR_ENUM)
#undef CN_ERROR_ENUM
    CN_ERR_COUNT,
    CN_END /* no error: an iterator has nothing more. Its own code, so that a file that is not there is never taken for the end */
} cn_err;

#define CN_ERROR_TEXT 1024
#define CN_ERROR_FILE 512 /* a longer path is cut at its front */

/* Records the detail text and returns `code`: `return cn_fail(CN_INVALID, "k is %u; it must be 1 to 10000", k);` */
cn_err cn_fail(cn_err code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Out of memory: CN_OVERLOADED. Where the heap refused, the text says how much was asked for, and what to do. */
cn_err cn_fail_memory(void);
/* What to do about memory, to end a text with: "; this process may have 400 MiB (ulimit -v): raise that". Valid until the
 * thread's next call. */
const char *cn_memory_hint(void);
/* A failed system call on `what`: errno decides the code (ENOSPC, EACCES, ENOENT, ...) and says what to do. */
cn_err cn_fail_errno(int errnum, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* CN_DAMAGED, of this file; the text begins with its path. */
cn_err cn_fail_file(const char *path, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The file of the last damage that this thread met since it was forgotten, whatever became of that error's text: "" none was.
 * Whoever keeps account of damage forgets before a piece of work, and asks after it. */
const char *cn_error_file(void);
void cn_error_note_file(const char *path);
void cn_error_forget_file(void);
/* Puts "prefix: " before the detail already there; returns `code`, which must be the code that is being passed up. */
cn_err cn_wrap(cn_err code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The detail of the last failure on this thread; "" before the first. Valid until the next failure. */
const char *cn_error_detail(void);
const char *cn_err_name(cn_err code);  /* "NOT_FOUND"; "OK" for CN_OK */
const char *cn_err_text(cn_err code);  /* "not found" */
bool cn_err_retry(cn_err code);

/* Leaves the function with the error when `expr` fails. */
#define CN_TRY(expr)                       \
    do {                                   \
        cn_err cn_try_err_ = (expr);       \
        if (cn_try_err_ != CN_OK)          \
            return cn_try_err_;            \
    } while (0)

/* Programmer errors: checked in release builds too. */
#define CN_ASSERT(cond) ((cond) ? (void)0 : cn_assert_failed(#cond, __FILE__, __LINE__))
_Noreturn void cn_assert_failed(const char *cond, const char *file, int line);
