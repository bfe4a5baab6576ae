#include "ingest/source/input.h"

#include <archive.h>
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "engine/base/mem.h"

#define STEP ((size_t)1 << 20)
#define BOMB_BYTES ((size_t)16 << 20)
#define BOMB_RATIO 100

struct cn_input {
    int fd;
    const char *name;
    gzFile gz;             /* NULL: not .gz */
    struct archive *ar;    /* NULL: not .zst */
    char *buf;
    size_t from, to, room; /* buf[from..to) is not taken yet; one byte of room is kept for a NUL */
    uint64_t line, read;
    bool end;
};

static bool ends_in(cn_str name, const char *end) {
    size_t n = strlen(end);
    return name.n > n && memcmp(name.p + name.n - n, end, n) == 0;
}

bool cn_input_packed(cn_str name) { return ends_in(name, ".gz") || ends_in(name, ".zst"); }

/* ---------- .gz: by zlib, since libarchive does not look at the checksum ---------- */
static cn_err no_packing(const cn_input *in) { return cn_fail(CN_INVALID, "%s is named like a packed file but is none; rename it", in->name); }

static cn_err open_gz(cn_input *in) {
    int fd = dup(in->fd); /* gzclose() closes its own */
    in->gz = fd >= 0 ? gzdopen(fd, "rb") : NULL;
    if (!in->gz) {
        if (fd >= 0)
            close(fd);
        return cn_fail_memory();
    }
    gzbuffer(in->gz, 1 << 18);
    return gzdirect(in->gz) ? no_packing(in) : CN_OK;
}

/* A file that ends inside a member gives what it has first, and tells at its end. */
static ssize_t read_gz(cn_input *in, char *p, size_t n) {
    int got = gzread(in->gz, p, (unsigned)n), code = Z_OK;
    if (got < (int)n)
        gzerror(in->gz, &code);
    return got < 0 || (got == 0 && code != Z_OK && code != Z_STREAM_END) ? -1 : got;
}

static const char *why_gz(gzFile gz) {
    int code;
    const char *text = gzerror(gz, &code);
    return code == Z_BUF_ERROR ? "it ends too early" : strstr(text, "data check") ? "its checksum does not hold" : "it is damaged";
}

/* ---------- .zst: by libarchive ---------- */
static const char *why_ar(struct archive *ar) {
    const char *text = archive_error_string(ar);
    return text ? text : "it ends too early, or is damaged";
}

static cn_err open_ar(cn_input *in) {
    struct archive_entry *entry;
    in->ar = archive_read_new();
    if (!in->ar)
        return cn_fail_memory();
    if (archive_read_support_filter_zstd(in->ar) != ARCHIVE_OK || archive_read_support_format_raw(in->ar) != ARCHIVE_OK ||
        archive_read_support_format_empty(in->ar) != ARCHIVE_OK)
        return cn_fail(CN_UNAVAILABLE, "this libarchive cannot unpack .zst");
    if (archive_read_open_fd(in->ar, in->fd, 1 << 18) != ARCHIVE_OK)
        return cn_fail(CN_INVALID, "%s cannot be unpacked: %s", in->name, why_ar(in->ar));
    int got = archive_read_next_header(in->ar, &entry);
    if (got == ARCHIVE_EOF)
        in->end = true;
    else if (got != ARCHIVE_OK)
        return cn_fail(CN_INVALID, "%s cannot be unpacked: %s", in->name, why_ar(in->ar));
    else if (archive_filter_count(in->ar) < 2) /* the file itself alone: no packing was found */
        return no_packing(in);
    return CN_OK;
}

static cn_err open_packed(cn_input *in) {
    struct stat st;
    if (fstat(in->fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size == 0)
        return no_packing(in);
    return ends_in(cn_str_of(in->name), ".zst") ? open_ar(in) : open_gz(in);
}

cn_err cn_input_open(int fd, const char *name, bool packed, cn_input **ret) {
    cn_input *in = cn_calloc(1, sizeof *in);
    if (!in) {
        close(fd);
        return cn_fail_memory();
    }
    *in = (cn_input){.fd = fd, .name = name};
    cn_err e = packed ? open_packed(in) : CN_OK;
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
    if (in->ar)
        archive_read_free(in->ar);
    if (in->gz)
        gzclose(in->gz);
    close(in->fd);
    cn_free(in->buf);
    cn_free(in);
}

uint64_t cn_input_line_number(const cn_input *in) { return in->line; }
uint64_t cn_input_read(const cn_input *in) {
    z_off_t at = in->gz ? gzoffset(in->gz) : 0;
    return in->ar ? (uint64_t)archive_filter_bytes(in->ar, -1) : in->gz ? (uint64_t)(at > 0 ? at : 0) : in->read;
}

/* Reads up to n bytes; 0 bytes is the end. */
static cn_err read_some(cn_input *in, char *p, size_t n, size_t *ret) {
    ssize_t got = 0;
    if (!in->end) {
        do
            got = in->ar ? (ssize_t)archive_read_data(in->ar, p, n) : in->gz ? read_gz(in, p, n) : read(in->fd, p, n);
        while (got < 0 && !in->ar && !in->gz && errno == EINTR);
    }
    if (got < 0 && (in->ar || in->gz))
        return cn_fail(CN_INVALID, "%s cannot be unpacked past byte %llu: %s", in->name, (unsigned long long)cn_input_read(in),
                       in->gz ? why_gz(in->gz) : why_ar(in->ar));
    if (got < 0)
        return cn_fail_errno(errno, "reading %s", in->name);
    in->end = in->end || got == 0;
    in->read += (uint64_t)got;
    *ret = (size_t)got;
    return CN_OK;
}

/* A document or a line that takes this much, from so few bytes, was made to fill memory: rows that are alike pack as well,
 * but each of them is small. */
static cn_err no_bomb(const cn_input *in) {
    size_t window = in->to - in->from;
    bool bomb = (in->ar || in->gz) && window > BOMB_BYTES && window / BOMB_RATIO > cn_input_read(in);
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
    return CN_OK;
}

cn_err cn_input_take(cn_input *in, size_t n, const char **ret) {
    CN_TRY(fill(in, n, n));
    size_t have = in->to - in->from;
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
        return cn_fail(CN_OVERLOADED, "%s has %zu bytes, more than this job has memory for", in->name, size);
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
    bool plain = !in->ar && !in->gz && fstat(in->fd, &st) == 0 && S_ISREG(st.st_mode);
    if (plain && (uint64_t)st.st_size > max)
        return cn_fail(CN_INVALID, "%s has %lld bytes, over the limit of %zu; split it", in->name, (long long)st.st_size, max);
    if (plain && st.st_size > 0) /* files of /proc tell no size */
        return all_of_file(in, (size_t)st.st_size, a, ret);
    while (!in->end && in->to - in->from <= max) {
        size_t have = in->to - in->from;
        CN_TRY(fill(in, have + 1, have + (have < STEP / 4 ? STEP / 4 : have / 2)));
    }
    size_t n = in->to - in->from;
    if (n > max)
        return cn_fail(CN_INVALID, "%s has more than %zu bytes; split it", in->name, max);
    *ret = cn_arena_str(a, (cn_str){in->buf + in->from, n});
    in->from = in->to;
    return ret->p ? CN_OK : cn_fail(CN_OVERLOADED, "%s has %zu bytes, more than this job has memory for", in->name, n);
}
