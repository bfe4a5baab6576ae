/* log_sink.h -- cairnd's log, on standard error: logfmt on a terminal, else one JSON object a line (RFC 3339 times, journald
 * levels when its stream is there).
 *
 * The text of an event is read as key=value words, and each becomes a field; what is none is the message.
 * Owns:    nothing.
 * Thread:  any may log.
 * Limits:  CN_LOG_REPEATS lines of one event a second; then their number is told once. */
#pragma once
#include "engine/base/log.h"

#define CN_LOG_REPEATS 20

/* format: "auto", "logfmt" or "json"; level: "debug" ... Again on SIGHUP. */
void cn_log_sink_set(const char *format, const char *level);
