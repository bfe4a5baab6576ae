#include "engine/base/log.h"

#include <stdarg.h>
#include <stdio.h>

static cn_log_sink *sink;
static void *sink_ctx;
static cn_log_level least_level;

void cn_log_set(cn_log_sink *s, void *ctx, cn_log_level least) {
    sink = s;
    sink_ctx = ctx;
    least_level = least;
}

void cn_log(cn_log_level level, const char *event, const char *fmt, ...) {
    if (!sink || level < least_level)
        return;
    char text[CN_LOG_LINE];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    sink(sink_ctx, level, event, text);
}
