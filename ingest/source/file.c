/* One file: what it is, and its bytes; files of rows are left open for stream.c. */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "ingest/source/inside.h"

static cn_str without_packing(cn_str name) {
    if (!cn_input_packed(name))
        return name;
    while (name.p[name.n - 1] != '.')
        name.n--;
    return (cn_str){name.p, name.n - 1};
}

cn_err cn_file_whole(cn_source *s, const cn_walk_item *f, cn_input *in, cn_format format, cn_arena *a, cn_raw *raw) {
    raw->format = format;
    if (S_ISREG(f->st.st_mode))
        raw->modified = f->st.st_mtim.tv_sec * 1000000 + f->st.st_mtim.tv_nsec / 1000;
    cn_err e = cn_input_all(in, CN_PARSE_BYTES_MAX, a, &raw->bytes);
    s->done += cn_input_read(in);
    CN_TRY(e);
    if (raw->bytes.n == 0)
        return cn_fail(CN_INVALID, "empty: 0 bytes");
    return cn_file_describe(s, f, a, raw);
}

/* In a folder, what is no document is passed over and counted; a file that was named by itself should have been one. */
static cn_err not_a_document(const cn_source *s, cn_raw *raw) {
    raw->skipped = s->in_folder;
    return cn_fail(CN_INVALID, s->in_folder ? "not a document that cairn reads (by its name and its first bytes)"
                                            : "not a document that cairn reads (by its name and its first bytes); say what it is with --format");
}

static cn_err rows_of(cn_source *s, cn_input *in, cn_format format, cn_arena *a, cn_raw *raw) {
    cn_err e = cn_stream_start(s, in, format);
    s->more = e == CN_OK;
    if (s->more)
        return CN_OK;
    bool alone = cn_stream_stands_alone(s);
    cn_stream_stop(s);
    raw->many = true;
    return alone ? e : cn_raw_settle(e, a, raw);
}

cn_err cn_file_take(cn_source *s, const cn_walk_item *f, cn_arena *a, cn_raw *raw) {
    cn_input *in;
    cn_str head, id = raw->id;
    snprintf(s->name, sizeof s->name, "%.*s", (int)id.n, id.p);
    raw->many = f->folder || cn_format_is_rows(s->o.format == CN_FMT_AUTO ? cn_format_guess(without_packing(id), (cn_str){"", 0}) : s->o.format);
    if (f->err != CN_OK)
        return cn_raw_reject(f->err, a, raw);
    cn_err e = cn_row_check_id(id);
    if (e == CN_OK)
        e = cn_input_open(f->fd, s->name, &s->unpacker, &in);
    else
        close(f->fd);
    if (e != CN_OK)
        return cn_raw_settle(e, a, raw);
    cn_format format = s->o.format;
    if ((e = cn_input_peek(in, 4096, &head)) == CN_OVERLOADED) {
        cn_input_close(in);
        return e;
    }
    if (e == CN_OK && format == CN_FMT_AUTO)
        format = cn_format_guess(without_packing(id), head);
    if (e == CN_OK && cn_format_is_rows(format))
        return rows_of(s, in, format, a, raw);
    if (e == CN_OK)
        e = format == CN_FMT_AUTO ? not_a_document(s, raw) : cn_file_whole(s, f, in, format, a, raw);
    cn_input_close(in);
    return e == CN_OK ? CN_OK : cn_raw_reject(e, a, raw);
}

bool cn_file_is_sidecar(const cn_walk_item *f) {
    char name[512];
    size_t n = strlen(f->name), end = strlen(".meta.json");
    if (n <= end || n >= sizeof name || strcmp(f->name + n - end, ".meta.json") != 0)
        return false;
    memcpy(name, f->name, n - end);
    name[n - end] = 0;
    return faccessat(f->dir, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}
