/* One document in this process: charset, then the format's own parser. */
#include "ingest/parse/charset.h"
#include "ingest/parse/out.h"

static cn_err structured(cn_format f, cn_str bytes, cn_arena *a, cn_parsed *ret) {
    CN_AUTO_OUT cn_out o;
    cn_out_init(&o);
    cn_err e = CN_OK;
    switch ((int)f) {
    case CN_FMT_MD: e = cn_parse_md(bytes, &o); break;
    case CN_FMT_HTML: e = cn_parse_html(bytes, &o); break;
    case CN_FMT_DOCX: e = cn_parse_docx(bytes, &o); break;
    case CN_FMT_ODT: e = cn_parse_odt(bytes, &o); break;
    case CN_FMT_EPUB: e = cn_parse_epub(bytes, &o); break;
    default: e = cn_fail(CN_INVALID, "%s is not a format of documents", cn_format_name(f)); break;
    }
    CN_TRY(e);
    return cn_out_finish(&o, a, ret);
}

static cn_err textual(cn_format f, cn_str bytes, cn_arena *a, cn_parsed *ret) {
    CN_AUTO_BUF cn_buf hold;
    cn_buf_init(&hold, CN_TEXT_MAX);
    cn_str utf8, named = f == CN_FMT_HTML ? cn_charset_of_html(bytes) : CN_STR("");
    CN_TRY(cn_charset_utf8(bytes, named, &hold, &utf8));
    if (f == CN_FMT_TEXT)
        return cn_parse_text(utf8, false, a, ret);
    return structured(f, utf8, a, ret);
}

cn_err cn_parse_here(cn_format f, cn_str bytes, cn_arena *a, cn_parsed *ret) {
    if (bytes.n == 0)
        return cn_fail(CN_INVALID, "empty: 0 bytes");
    if (bytes.n > CN_PARSE_BYTES_MAX)
        return cn_fail(CN_INVALID, "%zu bytes are over the limit of %llu; split it", bytes.n, (unsigned long long)CN_PARSE_BYTES_MAX);
    cn_parsed made;
    if (f == CN_FMT_PDF)
        CN_TRY(cn_parse_pdf(bytes, a, &made));
    else if (f == CN_FMT_TEXT || f == CN_FMT_MD || f == CN_FMT_HTML)
        CN_TRY(textual(f, bytes, a, &made));
    else
        CN_TRY(structured(f, bytes, a, &made));
    if (made.n_blocks == 0)
        return cn_fail(CN_INVALID, f == CN_FMT_PDF ? "no text in it; it looks scanned: run OCR on it first" : "no text in it");
    *ret = made;
    return CN_OK;
}
