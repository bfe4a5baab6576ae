/* progress.c -- one line on a terminal's standard error, written over at each step; it ends at 100%. */
#include <stdarg.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "engine/base/os.h"
#include "tools/cairn/local.h"

#define BAR 14
#define LINE_MAX_BYTES 256
static bool shown;

bool cmd_progress_wanted(void) {
    const char *term = getenv("TERM");
    return !cmd_the_env.quiet && isatty(STDERR_FILENO) && !(term && strcmp(term, "dumb") == 0);
}

static size_t columns(void) {
    struct winsize w;
    size_t n = ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col ? w.ws_col : 80;
    return n < LINE_MAX_BYTES ? n : LINE_MAX_BYTES;
}

static uint64_t number(const msgpack_object *map, const char *key) {
    uint64_t v = 0;
    cn_get_uint(map, key, 0, UINT64_MAX, &v);
    return v;
}

typedef struct line {
    char text[LINE_MAX_BYTES];
    size_t n, room; /* the last column stays free, or a terminal would wrap */
} line;

/* A part that has no room is left out, and so is every later one. */
__attribute__((format(printf, 2, 3))) static void add(line *l, const char *fmt, ...) {
    char part[LINE_MAX_BYTES];
    va_list ap;
    va_start(ap, fmt);
    size_t n = (size_t)vsnprintf(part, sizeof part, fmt, ap);
    va_end(ap);
    if (l->n + n > l->room || n >= sizeof part) {
        l->room = l->n;
        return;
    }
    memcpy(l->text + l->n, part, n);
    l->n += n;
}

static void add_bar(line *l, double part) {
    char bar[BAR + 1];
    int full = (int)(part * BAR);
    for (int i = 0; i < BAR; i++)
        bar[i] = i < full ? '=' : i == full ? '>' : ' ';
    bar[BAR] = 0;
    if (l->room > 60)
        add(l, " [%s]", bar);
}

/* Below 0: not known. */
static double known(const msgpack_object *map, const char *key) {
    double v = -1;
    const msgpack_object *o = cn_get(map, key);
    return o && o->type != MSGPACK_OBJECT_NIL && cn_get_f64(map, key, &v) == CN_OK ? v : -1;
}

static void draw(cn_str step, double part, const msgpack_object *job) {
    uint64_t docs = number(cn_get(job, "counts"), "read"), all = number(job, "docs_all"), before = number(job, "docs_before");
    uint64_t here = docs > before ? docs - before : 0; /* in this time; a resumed job had the others already */
    double seconds = (double)number(job, "elapsed_ms") / 1000;
    line l = {.room = columns() - 1};
    add(&l, "%-9.*s", (int)step.n, step.p ? step.p : "");
    add_bar(&l, part);
    add(&l, " %3d%%", (int)(part * 100));
    add(&l, " %llu", (unsigned long long)docs);
    if (all > docs && part < 1)
        add(&l, " of %llu", (unsigned long long)all);
    add(&l, " documents");
    add(&l, ", %llu chunks", (unsigned long long)number(job, "chunks_embedded"));
    if (seconds > 0.5)
        add(&l, ", %.0f/s", (double)here / seconds);
    double left = known(job, "seconds_left");
    if (left >= 0 && part < 1 && (seconds > 1 || cmd_is_remote()))
        add(&l, ", %.0f s left", left);
    fprintf(stderr, "\r\033[K%.*s", (int)l.n, l.text);
    fflush(stderr);
}

void cmd_progress(void *ctx, cn_str packed_map) {
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    if (cn_unpack(&u, packed_map.p, packed_map.n) != CN_OK)
        return;
    if (cn_get(&u.o, "done")) { /* no job: so much of one step */
        cmd_progress_step(ctx, "measuring", number(&u.o, "done"), number(&u.o, "all"));
        return;
    }
    cmd_interrupt_job(cn_obj_str(cn_get(&u.o, "job")));
    if (!cmd_progress_wanted() || !cn_str_is(cn_obj_str(cn_get(&u.o, "state")), "running"))
        return; /* the end is drawn from the result */
    double part = known(&u.o, "share");
    draw(cn_obj_str(cn_get(&u.o, "step")), part < 0 ? 0 : part, &u.o);
    shown = true;
}

/* Time left is that of the step: what later ones take is not known. */
void cmd_progress_step(void *ctx, const char *step, uint64_t done, uint64_t all) {
    static const char *now;
    static uint64_t since;
    (void)ctx;
    if (!cmd_progress_wanted())
        return;
    if (step != now)
        now = step, since = cn_mono_ns();
    double part = all && done <= all ? (double)done / (double)all : 0, seconds = (double)(cn_mono_ns() - since) / 1e9;
    line l = {.room = columns() - 1};
    add(&l, "%-10s", step);
    if (all) {
        add_bar(&l, part);
        add(&l, " %3d%%", (int)(part * 100));
        add(&l, " %llu of %llu", (unsigned long long)done, (unsigned long long)all);
    } else {
        add(&l, " %llu", (unsigned long long)done); /* how many there are is not known */
    }
    if (part > 0.02 && seconds > 1)
        add(&l, ", %.0f s left", seconds / part - seconds);
    fprintf(stderr, "\r\033[K%.*s", (int)l.n, l.text);
    fflush(stderr);
    shown = true;
}

void cmd_progress_done(cn_str result) {
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    if (!cmd_progress_wanted() || cn_unpack(&u, result.p, result.n) != CN_OK)
        return;
    draw(cn_obj_str(cn_get(&u.o, "state")), 1, &u.o);
    fputc('\n', stderr);
    shown = false;
}

void cmd_progress_end(void) {
    if (shown)
        fputs("\r\033[K", stderr);
    shown = false;
}
