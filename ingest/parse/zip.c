#include "ingest/parse/zip.h"

#include <archive.h>
#include <archive_entry.h>

static cn_err broken(struct archive *ar) {
    const char *why = archive_error_string(ar);
    return cn_fail(CN_INVALID, "a damaged or cut off zip file: %s", why ? why : "unknown reason");
}

static cn_err read_part(struct archive *ar, size_t *left, cn_buf *out) {
    char piece[65536];
    for (;;) {
        la_ssize_t n = archive_read_data(ar, piece, sizeof piece);
        if (n < 0)
            return broken(ar);
        if (n == 0)
            return CN_OK;
        if ((size_t)n > *left)
            return cn_fail(CN_INVALID, "a zip bomb: it unpacks to over 100 times its size");
        *left -= (size_t)n;
        cn_buf_add(out, piece, (size_t)n);
        if (out->failed)
            return cn_fail(CN_INVALID, "a part of it is over %zu bytes", CN_ZIP_PART_MAX);
    }
}

static cn_err each(struct archive *ar, size_t left, const cn_zip_reader *r, cn_buf *part) {
    struct archive_entry *entry;
    int got;
    for (unsigned n = 0; (got = archive_read_next_header(ar, &entry)) == ARCHIVE_OK || got == ARCHIVE_WARN; n++) {
        const char *name = archive_entry_pathname(entry);
        if (n == CN_ZIP_PARTS_MAX)
            return cn_fail(CN_INVALID, "it has over %d parts", CN_ZIP_PARTS_MAX);
        if (!name || !r->want(r->ctx, name))
            continue;
        cn_buf_reset(part);
        CN_TRY(read_part(ar, &left, part));
        CN_TRY(r->part(r->ctx, name, cn_buf_str(part)));
    }
    return got == ARCHIVE_EOF ? CN_OK : broken(ar);
}

cn_err cn_zip_each(cn_str bytes, const cn_zip_reader *r) {
    struct archive *ar = archive_read_new();
    CN_AUTO_BUF cn_buf part;
    cn_buf_init(&part, CN_ZIP_PART_MAX);
    if (!ar)
        return cn_fail_memory();
    archive_read_support_format_zip_seekable(ar);
    cn_err e = archive_read_open_memory(ar, bytes.p, bytes.n) == ARCHIVE_OK ? CN_OK : broken(ar);
    if (e == CN_OK)
        e = each(ar, bytes.n * 100 + (1 << 20), r, &part);
    archive_read_free(ar);
    return e;
}


cn_err cn_xml_read(cn_str bytes, const char *what, xmlSAXHandler *sax, void *ctx) {
    sax->initialized = XML_SAX2_MAGIC;
    xmlParserCtxtPtr c = xmlCreatePushParserCtxt(sax, ctx, NULL, 0, NULL);
    if (!c)
        return cn_fail_memory();
    xmlCtxtUseOptions(c, XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
    while (bytes.n && c->wellFormed) {
        size_t n = bytes.n < 1 << 20 ? bytes.n : 1 << 20;
        xmlParseChunk(c, bytes.p, (int)n, 0);
        bytes = (cn_str){bytes.p + n, bytes.n - n};
    }
    xmlParseChunk(c, NULL, 0, 1);
    bool ok = c->wellFormed;
    int line = c->input ? c->input->line : 0;
    if (c->myDoc)
        xmlFreeDoc(c->myDoc);
    xmlFreeParserCtxt(c);
    return ok ? CN_OK : cn_fail(CN_INVALID, "its part %s is no well-formed XML (line %d)", what, line);
}

cn_str cn_xml_attr(const xmlChar **atts, int n, const char *name) {
    for (int i = 0; i < n; i++, atts += 5)
        if (strcmp((const char *)atts[0], name) == 0)
            return (cn_str){(const char *)atts[3], (size_t)(atts[4] - atts[3])};
    return (cn_str){NULL, 0};
}
