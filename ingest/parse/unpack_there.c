/* The worker's side of unpacking: asks for packed bytes, gives what they hold, says how it ended. Without any file. */
#include <archive.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "ingest/parse/unpack.h"
#include "ingest/parse/worker.h"

typedef struct packed {
    size_t from, to;   /* bytes[from..to) are not used yet */
    bool end;          /* there are no more */
    uint64_t taken;
    char bytes[CN_UNPACK_STEP + 2]; /* with the one that was left */
} packed;

static packed in;
static char out[CN_UNPACK_STEP];

/* Where the parent is gone there is nothing left to do. */
static void need(bool ok) {
    if (!ok)
        _exit(0);
}

static void say(cn_unpack_kind kind, const void *p, size_t n) {
    cn_unpack_frame f = {.kind = kind, .n = (uint32_t)n, .at = in.taken - (in.to - in.from)};
    need(cn_worker_write(&f, sizeof f) && cn_worker_write(p, n));
    cn_worker_more_time();
}

/* More bytes behind those that are left (one at most); false: there are none. */
static bool ask(void) {
    uint32_t n;
    if (in.end)
        return false;
    in.bytes[0] = in.bytes[in.from];
    in.to -= in.from;
    in.from = 0;
    say(CN_UNPACK_WANT, NULL, 0);
    need(cn_worker_read(&n, sizeof n) && n <= CN_UNPACK_STEP && cn_worker_read(in.bytes + in.to, n));
    in.to += n;
    in.taken += n;
    in.end = n == 0;
    return n > 0;
}

static void say_damaged(const char *why) {
    size_t n = strlen(why);
    say(CN_UNPACK_DAMAGED, why, n < CN_UNPACK_TEXT ? n : CN_UNPACK_TEXT);
}

/* --- .gz, by zlib: libarchive does not look at the checksum --- */
static const char *why_gz(const z_stream *z, int rc) {
    if (rc == Z_MEM_ERROR)
        return "it needs more memory than an unpacker may have (512 MiB)";
    return z->msg && (strstr(z->msg, "data check") || strstr(z->msg, "length check")) ? "its checksum does not hold" : "it is damaged";
}

/* One member to its end; false: that was said to be otherwise. */
static bool member(z_stream *z) {
    int rc = Z_OK;
    for (bool full = false; rc != Z_STREAM_END;) {
        if (!full && in.from == in.to && !ask()) {
            say(CN_UNPACK_CUT, NULL, 0);
            return false;
        }
        z->next_in = (Bytef *)in.bytes + in.from;
        z->avail_in = (uInt)(in.to - in.from);
        z->next_out = (Bytef *)out;
        z->avail_out = sizeof out;
        rc = inflate(z, Z_NO_FLUSH);
        in.from = in.to - z->avail_in;
        if (z->avail_out < sizeof out)
            say(CN_UNPACK_DATA, out, sizeof out - z->avail_out);
        full = z->avail_out == 0;
        if (rc != Z_OK && rc != Z_STREAM_END && rc != Z_BUF_ERROR) {
            say_damaged(why_gz(z, rc));
            return false;
        }
    }
    return true;
}

static bool at_member(void) {
    while (in.to - in.from < 2 && ask())
        ;
    return in.to - in.from >= 2 && memcmp(in.bytes + in.from, "\x1f\x8b", 2) == 0;
}

/* One member after the other; what follows the last one and is none is passed over, as gzip does. */
static void gz(void) {
    z_stream z = {0};
    if (inflateInit2(&z, 15 + 16) != Z_OK)
        _exit(1);
    bool some = at_member(), sound = some;
    while (sound && at_member()) {
        sound = member(&z);
        inflateReset(&z);
    }
    inflateEnd(&z);
    if (sound || !some)
        say(some ? CN_UNPACK_END : CN_UNPACK_NONE, NULL, 0);
}

/* --- .zst, by libarchive --- */
static la_ssize_t give(struct archive *ar, void *ctx, const void **ret) {
    (void)ar, (void)ctx;
    bool first = in.from < in.to; /* asked for before libarchive began */
    if (!first)
        ask();
    size_t n = in.to - in.from;
    *ret = in.bytes + in.from;
    in.from = in.to;
    return (la_ssize_t)n;
}

static void say_ar(struct archive *ar) {
    const char *why = archive_error_string(ar);
    if (in.end)
        say(CN_UNPACK_CUT, NULL, 0);
    else
        say_damaged(why ? why : "it is damaged");
}

static void zst_data(struct archive *ar) {
    la_ssize_t n;
    while ((n = archive_read_data(ar, out, sizeof out)) > 0)
        say(CN_UNPACK_DATA, out, (size_t)n);
    if (n < 0)
        say_ar(ar);
    else
        say(CN_UNPACK_END, NULL, 0);
}

static void zst(void) {
    struct archive_entry *entry;
    struct archive *ar = ask() ? archive_read_new() : NULL;
    if (!ar || archive_read_support_filter_zstd(ar) != ARCHIVE_OK || archive_read_support_format_raw(ar) != ARCHIVE_OK ||
        archive_read_support_format_empty(ar) != ARCHIVE_OK) {
        if (in.end)
            say(CN_UNPACK_NONE, NULL, 0);
        else
            say_damaged("this libarchive cannot unpack .zst");
        archive_read_free(ar);
        return;
    }
    int got = archive_read_open(ar, NULL, NULL, give, NULL) == ARCHIVE_OK ? archive_read_next_header(ar, &entry) : ARCHIVE_FATAL;
    if (got == ARCHIVE_EOF)
        say(CN_UNPACK_END, NULL, 0);
    else if (got != ARCHIVE_OK)
        say_ar(ar);
    else if (archive_filter_count(ar) < 2) /* the file itself alone: no packing was found */
        say(CN_UNPACK_NONE, NULL, 0);
    else
        zst_data(ar);
    archive_read_free(ar);
}

void cn_unpack_there(void) {
    uint32_t what;
    while (cn_worker_read(&what, sizeof what)) {
        in.from = in.to = 0;
        in.taken = 0;
        in.end = false;
        if (what == CN_PACK_GZ)
            gz();
        else
            zst();
    }
}
