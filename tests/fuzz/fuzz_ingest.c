/* fuzz_ingest.c -- any bytes as rows, tables, vectors, documents, front matter, metadata, packed files.
 *
 * The first byte chooses what the rest is given to. Whatever it is, the answer is an error with a text, or sound: texts in
 * UTF-8, blocks in order and inside the text, vectors of a possible dimension.
 * With clang: CC=clang meson setup build-fuzz -Dfuzz=true -Db_sanitize=address,undefined -Db_lundef=false \
 *               -Dc_args=-fsanitize=fuzzer-no-link;  build-fuzz/tests/fuzz/fuzz_ingest -max_len=65536
 * Owns:    a file in memory, under its name in /proc; a process that unpacks.
 * Thread:  one.
 * Limits:  those of replay.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/base/buf.h"
#include "engine/base/utf8.h"
#include "ingest/parse/charset.h"
#include "ingest/parse/normal.h"
#include "ingest/parse/unpack.h"
#include "ingest/source/front.h"
#include "ingest/source/source.h"
#include "tests/fuzz/replay.h"

static cn_arena arena;
static cn_unpacker *unpacker;
static int file = -1;
static char path[64];

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    cn_parse_worker_main(*argc, *argv);
    cn_arena_init(&arena, 1 << 20, (size_t)1 << 30);
    file = memfd_create("input", 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    return file >= 0 && cn_unpacker_new(&unpacker) == CN_OK ? 0 : 1;
}

/* --- sources --- */
static void check_raw(const cn_raw *r) {
    if (r->err != CN_OK) {
        CN_ASSERT(r->why.n > 0);
        return;
    }
    CN_ASSERT(r->id.n > 0 && r->id.n <= CN_DOC_ID_MAX && cn_utf8_ok(r->title) && cn_utf8_ok(r->uri) && r->meta.n <= CN_META_MAX);
    CN_ASSERT(!r->vector || (r->dim >= 1 && r->dim <= CN_DIM_MAX));
    CN_ASSERT(r->op != CN_OP_PUT || r->bytes.n || r->vector);
    for (uint32_t i = 0; i < r->labels.allow.n; i++)
        CN_ASSERT(r->labels.allow.v[i].n <= CN_LABEL_MAX);
}

static bool put_file(cn_str s) { return ftruncate(file, 0) == 0 && pwrite(file, s.p, s.n, 0) == (ssize_t)s.n && lseek(file, 0, SEEK_SET) == 0; }

#define UNPACKED_MAX ((size_t)64 << 20) /* more is input.h's to refuse */

static void packed(cn_str s, cn_packing packing) {
    static char bytes[1 << 16];
    size_t n = 1, all = 0;
    bool cut = false;
    cn_err err = put_file(s) ? cn_unpack_begin(unpacker, file, packing) : CN_END;
    for (; err == CN_OK && n && all < UNPACKED_MAX; all += n)
        err = cn_unpack_read(unpacker, bytes, sizeof bytes, &n, &cut);
    CN_ASSERT(err == CN_OK || err == CN_END || (err == CN_INVALID && cn_error_detail()[0]));
    CN_ASSERT(cn_unpack_taken(unpacker) <= s.n);
}

static void rows(cn_str s, cn_format format) {
    const char *paths[1] = {path};
    const cn_source_opts o = {.paths = paths, .n_paths = 1, .format = format, .trust = CN_TRUST_FRONT_MATTER, .source = CN_STR("default")};
    cn_source *src;
    cn_raw raw;
    if (!put_file(s) || cn_source_open(&o, &src) != CN_OK)
        return;
    for (unsigned n = 0; n < 70000 && cn_source_next(src, &arena, &raw) == CN_OK; n++)
        check_raw(&raw);
    cn_source_close(src);
}

/* --- documents --- */
static void document(cn_str s, cn_format format) {
    cn_parsed d;
    if (cn_parse_here(format, s, &arena, &d) != CN_OK) {
        CN_ASSERT(cn_error_detail()[0]);
        return;
    }
    uint64_t at = 0;
    CN_ASSERT(d.n_blocks > 0 && cn_utf8_ok(d.text) && cn_utf8_ok(d.title) && cn_utf8_ok(d.front) && !memchr(d.text.p, 0, d.text.n));
    CN_ASSERT(format == CN_FMT_MD || d.front.n == 0);
    for (uint32_t i = 0; i < d.n_blocks; i++) {
        const cn_block *b = &d.blocks[i];
        CN_ASSERT(b->from >= at && b->from < b->to && b->to <= d.text.n && b->level <= 6);
        CN_ASSERT(((uint8_t)d.text.p[b->from] & 0xc0) != 0x80);
        at = b->to;
    }
}

static void charset(cn_str s) {
    CN_AUTO_BUF cn_buf hold, once, twice;
    cn_str utf8;
    cn_buf_init(&hold, 1 << 24);
    cn_buf_init(&once, 1 << 24);
    cn_buf_init(&twice, 1 << 24);
    if (cn_charset_utf8(s, cn_charset_of_html(s), &hold, &utf8) != CN_OK)
        return;
    CN_ASSERT(cn_utf8_ok(utf8));
    cn_normal_add(&once, utf8);
    cn_normal_add(&twice, cn_buf_str(&once));
    CN_ASSERT(cn_str_eq(cn_buf_str(&once), cn_buf_str(&twice))); /* the form is one */
    CN_ASSERT(!cn_normal_is(utf8) || cn_str_eq(cn_buf_str(&once), utf8));
}

static void front(cn_str s) {
    static cn_row_reader r;
    cn_fields f;
    cn_row row = {.modified = CN_NO_TIME};
    CN_ASSERT(cn_fields_parse(CN_STR(""), &f) == CN_OK);
    cn_row_reader_init(&r, &f);
    if (cn_front_read(&r, s, &arena, &row) == CN_OK)
        CN_ASSERT(row.meta.n <= CN_META_MAX && cn_utf8_ok(row.title));
    cn_row_reader_done(&r);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    static const cn_format formats[] = {CN_FMT_JSONL, CN_FMT_CSV, CN_FMT_NPY, CN_FMT_FVECS, CN_FMT_FBIN, CN_FMT_MD};
    static const cn_format kinds[] = {CN_FMT_HTML, CN_FMT_MD, CN_FMT_TEXT, CN_FMT_DOCX, CN_FMT_ODT, CN_FMT_EPUB};
    if (n < 1)
        return 0;
    cn_str s = {(const char *)bytes + 1, n - 1};
    unsigned which = bytes[0] % 16;
    if (which < 6)
        rows(s, formats[which]);
    else if (which < 12)
        document(s, kinds[which - 6]);
    else if (which == 12)
        charset(s);
    else if (which == 13)
        front(s);
    else
        packed(s, which == 14 ? CN_PACK_GZ : CN_PACK_ZST);
    cn_arena_reset(&arena);
    return 0;
}
