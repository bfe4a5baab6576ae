#include "ingest/source/input.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/mem.h"

#define STEP ((size_t)1 << 20)
#define BOMB_BYTES ((size_t)16 << 20)
#define BOMB_RATIO 100
#define INPUT_BOMB_BYTES ((uint64_t)1 << 30)
#define INPUT_BOMB_RATIO 1000

struct cn_input {
    int fd;
    const char *name;
    cn_unpacker *unpacker, **idle; /* NULL: not packed; idle: where it waits for the next input */
    char *buf;
    size_t from, to, room; /* buf[from..to) is not taken yet; one byte of room is kept for a NUL */
    uint64_t line, read;   /* read: bytes that came, unpacked */
    bool end, cut;
    cn_err failed;         /* past the window; why says how */
    char why[CN_ERROR_TEXT];
};

static bool ends_in(cn_str name, const char *end) {
    size_t n = strlen(end);
    return name.n > n && memcmp(name.p + name.n - n, end, n) == 0;
}

bool cn_input_packed(cn_str name) { return ends_in(name, ".gz") || ends_in(name, ".zst"); }

static cn_err open_packed(cn_input *in, cn_unpacker **idle) {
    in->idle = idle;
    in->unpacker = *idle;
    *idle = NULL;
    if (!in->unpacker)
        CN_TRY(cn_unpacker_new(&in->unpacker));
    return cn_unpack_begin(in->unpacker, in->fd, ends_in(cn_str_of(in->name), ".zst") ? CN_PACK_ZST : CN_PACK_GZ);
}

cn_err cn_input_open(int fd, const char *name, cn_unpacker **idle, cn_input **ret) {
    cn_input *in = cn_calloc(1, sizeof *in);
    if (!in) {
        close(fd);
        return cn_fail_memory();
    }
    in->fd = fd;
    in->name = name;
    cn_err e = idle && cn_input_packed(cn_str_of(name)) ? open_packed(in, idle) : CN_OK;
    if (e != CN_OK) {
        cn_input_close(in);
        return e;
    }
    *ret = in;
    return CN_OK;
}

void cn_input_close(cn_input *in) {
    if (!in)
        return;
    if (in->unpacker && !*in->idle)
        *in->idle = in->unpacker;
    else
        cn_unpacker_free(in->unpacker);
    close(in->fd);
    cn_free(in->buf);
    cn_free(in);
}

uint64_t cn_input_line_number(const cn_input *in) { return in->line; }
uint64_t cn_input_read(const cn_input *in) { return in->unpacker ? cn_unpack_taken(in->unpacker) : in->read; }
bool cn_input_cut(const cn_input *in) { return in->cut; }

/* What is wrong with a packed file is told where what came before it ends: until then it only ends there. */
static cn_err told_at_end(cn_input *in, cn_err e) {
    if (e != CN_INVALID)
        return cn_wrap(e, "%s", in->name);
    in->end = true;
    in->failed = e;
    snprintf(in->why, sizeof in->why, "%s", cn_error_detail());
    return CN_OK;
}

static cn_err its_failure(const cn_input *in) { return in->failed == CN_OK ? CN_OK : cn_fail(in->failed, "%s %s", in->name, in->why); }

/* Rows that are alike pack well too; all of an input that is this much from so few bytes holds nothing to be read. */
static cn_err unpack_some(cn_input *in, char *p, size_t n, size_t *ret) {
    size_t got = 0;
    cn_err e = cn_unpack_read(in->unpacker, p, n, &got, &in->cut);
    if (e == CN_OK && in->read + got > INPUT_BOMB_BYTES && (in->read + got) / INPUT_BOMB_RATIO > cn_input_read(in)) {
        got = 0;
        e = cn_fail(CN_INVALID, "unpacks to over %d times its size; unpack it first if that is right", INPUT_BOMB_RATIO);
    }
    *ret = got;
    return e == CN_OK ? CN_OK : told_at_end(in, e);
}

/* Reads up to n bytes; 0 bytes is the end. */
static cn_err read_some(cn_input *in, char *p, size_t n, size_t *ret) {
    size_t have = 0;
    if (!in->end && in->unpacker) {
        CN_TRY(unpack_some(in, p, n, &have));
    } else if (!in->end) {
        ssize_t got;
        do
            got = read(in->fd, p, n);
        while (got < 0 && errno == EINTR);
        if (got < 0)
            return cn_fail_errno(errno, "reading %s", in->name);
        have = (size_t)got;
    }
    in->end = in->end || have == 0;
    in->read += have;
    *ret = have;
    return CN_OK;
}

/* A document or a line that takes this much, from so few bytes, was made to fill memory: rows that are alike pack as well,
 * but each of them is small. */
static cn_err no_bomb(const cn_input *in) {
    size_t window = in->to - in->from;
    bool bomb = in->unpacker && window > BOMB_BYTES && window / BOMB_RATIO > cn_input_read(in);
    return bomb ? cn_fail(CN_INVALID, "%s unpacks to over %d times its size in one document or line; unpack it first if that is right", in->name, BOMB_RATIO) : CN_OK;
}

/* Makes the window hold at least `want` bytes where the file has them, with room for `most`; never gives back what is not
 * taken. A pipe that brings a little at a time is waited for no longer than for `want`. */
static cn_err fill(cn_input *in, size_t want, size_t most) {
    if (in->from && (in->from == in->to || in->room - in->from - 1 < most)) {
        memmove(in->buf, in->buf + in->from, in->to - in->from);
        in->to -= in->from;
        in->from = 0;
    }
    if (in->room < in->from + most + 1) {
        size_t room = most + STEP > 2 * in->room ? most + STEP : 2 * in->room;
        char *p = cn_realloc(in->buf, room + 1);
        if (!p)
            return cn_fail_memory();
        in->buf = p;
        in->room = room;
    }
    while (in->to - in->from < want && !in->end) {
        size_t got, n = in->room - 1 - in->to;
        CN_TRY(read_some(in, in->buf + in->to, n < STEP ? n : STEP, &got));
        in->to += got;
        CN_TRY(no_bomb(in));
    }
    return CN_OK;
}

cn_err cn_input_peek(cn_input *in, size_t n, cn_str *ret) {
    CN_TRY(fill(in, n, n));
    size_t have = in->to - in->from;
    *ret = (cn_str){in->buf + in->from, have < n ? have : n};
    return have ? CN_OK : its_failure(in);
}

cn_err cn_input_take(cn_input *in, size_t n, const char **ret) {
    CN_TRY(fill(in, n, n));
    size_t have = in->to - in->from;
    if (have < n)
        CN_TRY(its_failure(in));
    if (have == 0 && n)
        return CN_END;
    if (have < n)
        return cn_fail(CN_INVALID, "%s ends too early: %zu bytes are missing", in->name, n - have);
    *ret = in->buf + in->from;
    in->from += n;
    return CN_OK;
}

/* Passes over the rest of a line that is too long. */
static cn_err skip_line(cn_input *in) {
    for (;;) {
        char *nl = memchr(in->buf + in->from, '\n', in->to - in->from);
        in->from = nl ? (size_t)(nl - in->buf) + 1 : in->to;
        if (nl || (in->end && in->from == in->to))
            return CN_OK;
        CN_TRY(fill(in, 1, 1));
    }
}

cn_err cn_input_line(cn_input *in, char **ret, size_t *ret_n, bool *ret_long) {
    size_t seen = 0;
    char *nl = NULL;
    *ret_long = false;
    for (;;) {
        size_t have = in->to - in->from;
        nl = have > seen ? memchr(in->buf + in->from + seen, '\n', have - seen) : NULL;
        if (nl || in->end)
            break;
        seen = have;
        if (have > CN_LINE_MAX) {
            *ret_long = true;
            *ret_n = 0;
            in->line++;
            return skip_line(in);
        }
        CN_TRY(fill(in, have + 1, have + (have < STEP / 4 ? STEP / 4 : have / 2)));
    }
    if (!nl)
        CN_TRY(its_failure(in)); /* half a line is none */
    if (!nl && in->from == in->to)
        return CN_END;
    char *p = in->buf + in->from, *end = nl ? nl : in->buf + in->to;
    in->from = (size_t)(end - in->buf) + (nl ? 1 : 0);
    in->line++;
    if (end > p && end[-1] == '\r')
        end--;
    *end = 0;
    *ret = p;
    *ret_n = (size_t)(end - p);
    return CN_OK;
}

/* A plain file goes straight into the arena, so that it lies in memory once. A file that grows meanwhile is cut at its size. */
static cn_err all_of_file(cn_input *in, size_t size, cn_arena *a, cn_str *ret) {
    size_t n = in->to - in->from, left = size > in->read ? size - (size_t)in->read : 0, got = 1;
    char *p = cn_arena_alloc(a, n + left + 1);
    if (!p)
        return cn_fail(CN_OVERLOADED, "%s has %zu bytes, more than a job has memory for; split it", in->name, size);
    if (n)
        memcpy(p, in->buf + in->from, n);
    for (; left && got; n += got, left -= got)
        CN_TRY(read_some(in, p + n, left, &got));
    p[n] = 0;
    in->from = in->to;
    *ret = (cn_str){p, n};
    return CN_OK;
}

cn_err cn_input_all(cn_input *in, size_t max, cn_arena *a, cn_str *ret) {
    struct stat st;
    bool plain = !in->unpacker && fstat(in->fd, &st) == 0 && S_ISREG(st.st_mode);
    if (plain && (uint64_t)st.st_size > max)
        return cn_fail(CN_INVALID, "%s has %lld bytes, over the limit of %zu; split it", in->name, (long long)st.st_size, max);
    if (plain && st.st_size > 0) /* files of /proc tell no size */
        return all_of_file(in, (size_t)st.st_size, a, ret);
    while (!in->end && in->to - in->from <= max) {
        size_t have = in->to - in->from;
        CN_TRY(fill(in, have + 1, have + (have < STEP / 4 ? STEP / 4 : have / 2)));
    }
    CN_TRY(its_failure(in));
    size_t n = in->to - in->from;
    if (n > max)
        return cn_fail(CN_INVALID, "%s has more than %zu bytes; split it", in->name, max);
    *ret = cn_arena_str(a, (cn_str){in->buf + in->from, n});
    in->from = in->to;
    return ret->p ? CN_OK : cn_fail(CN_OVERLOADED, "%s has %zu bytes, more than a job has memory for; split it", in->name, n);
}
