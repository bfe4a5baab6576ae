/* log.h -- where programs send what they did. Libraries return errors; only programs (cairn, cairnd) set a sink.
 *
 * Owns:    nothing; the sink is the program's.
 * Thread:  any may log; the sink must lock. Set it before threads start.
 * Limits:  a line is cut at CN_LOG_LINE bytes. Never vectors, keys or document text. */
#pragma once
typedef enum cn_log_level { CN_LOG_DEBUG, CN_LOG_INFO, CN_LOG_WARN, CN_LOG_ERROR } cn_log_level;
#define CN_LOG_LINE 2048

typedef void cn_log_sink(void *ctx, cn_log_level level, const char *event, const char *text);
void cn_log_set(cn_log_sink *sink, void *ctx, cn_log_level least);
/* event: a short constant word to search for, "flip.done"; the text: "tenant=acme index=docs to=3". */
void cn_log(cn_log_level level, const char *event, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
