/* progress.c -- one line on a terminal's standard error, written over at each step. */
#include <unistd.h>

#include "tools/cairn/local.h"

#define BAR 24
static bool shown;

static uint64_t number(const msgpack_object *map, const char *key) {
    uint64_t v = 0;
    cn_get_uint(map, key, 0, UINT64_MAX, &v);
    return v;
}

static void bar(double part) {
    int full = (int)(part * BAR);
    fputs(" [", stderr);
    for (int i = 0; i < BAR; i++)
        fputc(i < full ? '=' : i == full ? '>' : ' ', stderr);
    fprintf(stderr, "] %3d%%", (int)(part * 100));
}

void cmd_progress(void *ctx, cn_str packed_map) {
    (void)ctx;
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    if (cn_unpack(&u, packed_map.p, packed_map.n) != CN_OK)
        return;
    const msgpack_object *counts = cn_get(&u.o, "counts");
    uint64_t docs = number(counts, "read"), all = number(&u.o, "docs_all"), done = number(&u.o, "bytes_done"), bytes = number(&u.o, "bytes_all");
    double seconds = (double)number(&u.o, "elapsed_ms") / 1000, part = all ? (double)docs / (double)all : bytes ? (double)done / (double)bytes : 0;
    cn_str step = cn_obj_str(cn_get(&u.o, "step"));
    part = part > 1 ? 1 : part;
    fprintf(stderr, "\r\033[K%-10.*s", (int)step.n, step.p ? step.p : "");
    if (part > 0)
        bar(part);
    fprintf(stderr, " %llu documents, %llu chunks", (unsigned long long)docs, (unsigned long long)number(&u.o, "chunks_embedded"));
    if (seconds > 0.5)
        fprintf(stderr, ", %.0f/s", (double)docs / seconds);
    if (part > 0.02 && seconds > 1)
        fprintf(stderr, ", %.0f s left", seconds / part - seconds);
    fflush(stderr);
    shown = true;
}

void cmd_progress_end(void) {
    if (shown)
        fputs("\r\033[K", stderr);
    shown = false;
}
