#include "server/net/log_sink.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/json.h"
#include "engine/base/os.h"

#define LINE_CAP (CN_LOG_LINE * 8)
#define EVENTS 64

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static bool as_json, for_journal;
static const char *const level_names[] = {"debug", "info", "warn", "error"};

/* --- repeats --- */
static struct repeat {
    char event[40];
    int64_t second;
    unsigned n;
} repeats[EVENTS];

/* How many lines of this event went untold in the second before; *ret_quiet: this one does too. */
static unsigned count_repeat(const char *event, int64_t second, bool *ret_quiet) {
    unsigned h = 5381, untold = 0;
    for (const char *p = event; *p; p++)
        h = h * 33 + (unsigned char)*p;
    struct repeat *r = &repeats[h % EVENTS];
    if (r->second != second || strncmp(r->event, event, sizeof r->event - 1) != 0) {
        untold = r->n > CN_LOG_REPEATS && strncmp(r->event, event, sizeof r->event - 1) == 0 ? r->n - CN_LOG_REPEATS : 0;
        *r = (struct repeat){.second = second};
        snprintf(r->event, sizeof r->event, "%s", event);
    }
    *ret_quiet = ++r->n > CN_LOG_REPEATS;
    return untold;
}

/* --- key=value words --- */
static bool is_key(const char *p, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!((p[i] >= 'a' && p[i] <= 'z') || p[i] == '_' || (i && p[i] >= '0' && p[i] <= '9')))
            return false;
    return n > 0;
}

/* The next word that is key=value; what lies before it is copied to msg. A value in double quotes runs to the next one. */
static bool next_pair(const char **at, cn_buf *msg, cn_str *key, cn_str *value) {
    const char *p = *at;
    while (*p) {
        const char *end = p + strcspn(p, " "), *eq = memchr(p, '=', (size_t)(end - p));
        if (eq && is_key(p, (size_t)(eq - p))) {
            *key = (cn_str){p, (size_t)(eq - p)};
            const char *close = eq[1] == '"' ? strchr(eq + 2, '"') : NULL;
            *value = close ? (cn_str){eq + 2, (size_t)(close - eq - 2)} : (cn_str){eq + 1, (size_t)(end - eq - 1)};
            end = close ? close + 1 : end;
            *at = end + strspn(end, " ");
            return true;
        }
        if (msg->n)
            cn_buf_putc(msg, ' ');
        cn_buf_add(msg, p, (size_t)(end - p));
        p = end + strspn(end, " ");
    }
    *at = p;
    return false;
}

static void write_json(cn_buf *line, const char *time, cn_log_level level, const char *event, const char *text, unsigned untold) {
    char room[CN_LOG_LINE];
    cn_buf msg = {.p = room, .room = sizeof room, .cap = sizeof room}; /* never grows past its room */
    cn_str key, value;
    cn_buf_printf(line, "{\"ts\": \"%s\", \"level\": \"%s\", \"event\": ", time, level_names[level]);
    cn_json_write_str(line, cn_str_of(event));
    while (next_pair(&text, &msg, &key, &value)) {
        cn_buf_puts(line, ", ");
        cn_json_write_str(line, key);
        cn_buf_puts(line, ": ");
        cn_json_write_str(line, value);
    }
    if (msg.n) {
        cn_buf_puts(line, ", \"msg\": ");
        cn_json_write_str(line, cn_buf_str(&msg));
    }
    if (untold)
        cn_buf_printf(line, ", \"untold\": %u", untold);
    cn_buf_puts(line, "}\n");
}

static void write_logfmt(cn_buf *line, const char *time, cn_log_level level, const char *event, const char *text, unsigned untold) {
    cn_buf_printf(line, "ts=%s level=%s event=%s ", time, level_names[level], event);
    for (const unsigned char *p = (const unsigned char *)text; *p; p++) /* no control characters on a terminal */
        cn_buf_putc(line, *p < 0x20 || *p == 0x7f ? ' ' : (char)*p);
    if (untold)
        cn_buf_printf(line, " untold=%u", untold);
    cn_buf_putc(line, '\n');
}

static void sink(void *ctx, cn_log_level level, const char *event, const char *text) {
    (void)ctx;
    char room[LINE_CAP], time[CN_TIME_TEXT];
    cn_buf line = {.p = room, .room = sizeof room, .cap = sizeof room};
    int64_t now = cn_wall_us();
    bool quiet;
    cn_time_text(now, time);
    pthread_mutex_lock(&lock);
    unsigned untold = count_repeat(event, now / 1000000, &quiet);
    if (!quiet) {
        if (for_journal)
            cn_buf_printf(&line, "<%d>", level == CN_LOG_ERROR ? 3 : level == CN_LOG_WARN ? 4 : level == CN_LOG_INFO ? 6 : 7);
        (as_json ? write_json : write_logfmt)(&line, time, level, event, text, untold);
        ssize_t wrote = line.failed ? 0 : write(STDERR_FILENO, line.p, line.n);
        (void)wrote; /* a log that cannot be written is no reason to stop */
    }
    pthread_mutex_unlock(&lock);
}

void cn_log_sink_set(const char *format, const char *level) {
    cn_log_level least = CN_LOG_INFO;
    for (int i = 0; i < 4; i++)
        if (strcmp(level, level_names[i]) == 0)
            least = (cn_log_level)i;
    as_json = strcmp(format, "json") == 0 || (strcmp(format, "auto") == 0 && !isatty(STDERR_FILENO));
    for_journal = getenv("JOURNAL_STREAM") != NULL && !isatty(STDERR_FILENO);
    cn_log_set(sink, NULL, least);
}
