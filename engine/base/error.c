#include "engine/base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "engine/base/mem.h"

static _Thread_local char detail[CN_ERROR_TEXT], damaged[CN_ERROR_FILE];

static const struct {
    const char *name, *text;
    bool retry;
} table[CN_ERR_COUNT] = {
    [CN_OK] = {"OK", "done", false},
#define CN_ERROR_ROW(name_, text_, retry_) [CN_##name_] = {#name_, text_, retry_},
    CN_ERRORS(CN_ERROR_ROW)
#undef CN_ERROR_ROW
};

cn_err cn_fail(cn_err code, const char *fmt, ...) {
    char text[CN_ERROR_TEXT];  /* the arguments may point into `detail` */
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    memcpy(detail, text, sizeof detail);
    return code;
}

cn_err cn_fail_file(const char *path, const char *fmt, ...) {
    char text[CN_ERROR_TEXT];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    cn_error_note_file(path);
    return cn_fail(CN_DAMAGED, "%s%s", path, text);
}

const char *cn_error_file(void) { return damaged; }
void cn_error_forget_file(void) { damaged[0] = 0; }

void cn_error_note_file(const char *path) {
    size_t n = strlen(path), room = sizeof damaged;
    memmove(damaged, n < room ? path : path + n - room + 1, n < room ? n + 1 : room);
}

cn_err cn_fail_memory(void) {
    size_t n = cn_alloc_refused();
    if (n == 0) /* a limit of its own was reached, or a library was refused */
        return cn_fail(CN_OVERLOADED, "out of memory");
    return cn_fail(CN_OVERLOADED, "out of memory: %zu bytes more were asked for%s", n, cn_memory_hint());
}

const char *cn_memory_hint(void) {
    static _Thread_local char text[96];
    struct rlimit r;
    if (getrlimit(RLIMIT_AS, &r) != 0 || r.rlim_cur == RLIM_INFINITY)
        return "; free some memory of this machine";
    snprintf(text, sizeof text, "; this process may have %llu MiB (ulimit -v): raise that", (unsigned long long)(r.rlim_cur >> 20));
    return text;
}

static cn_err code_of_errno(int errnum) {
    switch (errnum) {
    case ENOENT: return CN_NOT_FOUND;
    case EACCES:
    case EPERM:
    case EROFS: return CN_DENIED;
    case ENOMEM:
    case EMFILE:
    case ENFILE: return CN_OVERLOADED;
    case ENOTDIR:
    case EISDIR:
    case ENAMETOOLONG:
    case ELOOP: return CN_INVALID;
    default: return CN_UNAVAILABLE;
    }
}

static const char *hint_of_errno(int errnum) {
    switch (errnum) {
    case ENOSPC: return "; free some space and try again";
    case EDQUOT: return "; the quota of this account is used up";
    case EACCES: return "; check its owner and mode";
    case ENOENT: return "; check its path";
    case EROFS: return "; it is mounted read-only: use another place";
    case ENOMEM: return cn_memory_hint();
    case EMFILE: return "; raise the limit of open files (ulimit -n)";
    default: return "";
    }
}

cn_err cn_fail_errno(int errnum, const char *fmt, ...) {
    char what[CN_ERROR_TEXT / 2];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    char buf[128];
    const char *text = strerror_r(errnum, buf, sizeof buf);
    return cn_fail(code_of_errno(errnum), "%s: %s%s", what, text, hint_of_errno(errnum));
}

cn_err cn_wrap(cn_err code, const char *fmt, ...) {
    char prefix[CN_ERROR_TEXT / 2];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(prefix, sizeof prefix, fmt, ap);
    va_end(ap);
    return cn_fail(code, "%s: %s", prefix, detail);
}

const char *cn_error_detail(void) { return detail; }

static cn_err clamp(cn_err code) { return code < CN_ERR_COUNT ? code : CN_INTERNAL; }
const char *cn_err_name(cn_err code) { return table[clamp(code)].name; }
const char *cn_err_text(cn_err code) { return table[clamp(code)].text; }
bool cn_err_retry(cn_err code) { return table[clamp(code)].retry; }

_Noreturn void cn_assert_failed(const char *cond, const char *file, int line) {
    fprintf(stderr, "cairn: defect at %s:%d: %s does not hold\n", file, line, cond);
    abort();
}
