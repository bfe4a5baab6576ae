#include <stdio.h>
#include <strings.h>
#include <utf8proc.h>

#include "ingest/parse/parse.h"

static const struct {
    const char *name, *mime, *ends; /* ends: of file names, each with a blank after it */
} table[CN_FMT_COUNT] = {
    [CN_FMT_AUTO] = {"auto", "application/octet-stream", ""},
    [CN_FMT_TEXT] = {"text", "text/plain", "txt text log rst adoc org tex yaml yml toml ini conf cfg c h cc cpp hpp cs go rs py rb pl pm "
                                           "sh java kt scala swift lua sql php r jl hs ml erl ex el vim srt vtt eml diff patch "},
    [CN_FMT_MD] = {"md", "text/markdown", "md markdown mdown mkd mkdn "},
    [CN_FMT_HTML] = {"html", "text/html", "html htm xhtml "},
    [CN_FMT_PDF] = {"pdf", "application/pdf", "pdf "},
    [CN_FMT_DOCX] = {"docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document", "docx docm "},
    [CN_FMT_ODT] = {"odt", "application/vnd.oasis.opendocument.text", "odt "},
    [CN_FMT_EPUB] = {"epub", "application/epub+zip", "epub "},
    [CN_FMT_JSONL] = {"jsonl", "application/jsonl", "jsonl ndjson "},
    [CN_FMT_CSV] = {"csv", "text/csv", "csv tsv "},
    [CN_FMT_BEIR] = {"beir", "application/jsonl", ""},
    [CN_FMT_NPY] = {"npy", "application/x-npy", "npy "},
    [CN_FMT_FVECS] = {"fvecs", "application/x-fvecs", "fvecs "},
    [CN_FMT_FBIN] = {"fbin", "application/x-fbin", "fbin "},
};
/* Names that are never documents, though some hold text: what a page is dressed with, and machines' own files. */
static const char others[] = "css js mjs map svg json xml png jpg jpeg gif webp ico bmp tif tiff woff woff2 ttf otf eot mp3 mp4 webm "
                             "ogg wav avi mov zip tar gz xz bz2 7z rar so o a exe dll class jar pyc wasm doc xls ppt xlsx pptx ods odp "
                             "db sqlite mdb parquet arrow bin safetensors inv ";

const char *cn_format_name(cn_format f) { return table[f < CN_FMT_COUNT ? f : CN_FMT_AUTO].name; }
const char *cn_format_mime(cn_format f) { return table[f < CN_FMT_COUNT ? f : CN_FMT_AUTO].mime; }

cn_err cn_format_parse(cn_str name, cn_format *ret) {
    for (unsigned f = 0; f < CN_FMT_COUNT; f++)
        if (cn_str_is(name, table[f].name)) {
            *ret = (cn_format)f;
            return CN_OK;
        }
    return cn_fail(CN_INVALID, "unknown format \"" CN_STR_FMT "\"; it is one of auto text md html pdf docx odt epub jsonl csv beir npy fvecs fbin",
                   CN_STR_ARG(name));
}

static cn_str extension(cn_str name) {
    for (size_t i = name.n; i > 0; i--) {
        if (name.p[i - 1] == '/')
            break;
        if (name.p[i - 1] == '.')
            return (cn_str){name.p + i, name.n - i};
    }
    return (cn_str){NULL, 0};
}

static bool listed(const char *list, cn_str ext) {
    if (ext.n == 0)
        return false;
    for (const char *p = list; *p; p = strchr(p, ' ') + 1)
        if (strncasecmp(p, ext.p, ext.n) == 0 && p[ext.n] == ' ')
            return true;
    return false;
}

static bool holds(cn_str head, const char *what) { return memmem(head.p, head.n, what, strlen(what)) != NULL; }

static cn_format of_zip(cn_str head) {
    if (holds(head, "application/vnd.oasis.opendocument.text"))
        return CN_FMT_ODT;
    if (holds(head, "application/epub+zip"))
        return CN_FMT_EPUB;
    return holds(head, "word/") ? CN_FMT_DOCX : CN_FMT_AUTO;
}

static bool starts(cn_str s, const char *what) { return s.n >= strlen(what) && strncasecmp(s.p, what, strlen(what)) == 0; }

static cn_format of_content(cn_str head) {
    if (starts(head, "%PDF-"))
        return CN_FMT_PDF;
    if (starts(head, "PK\003\004"))
        return of_zip(head);
    if (starts(head, "\x93NUMPY"))
        return CN_FMT_NPY;
    cn_str s = head;
    if (starts(s, "\xef\xbb\xbf"))
        s = (cn_str){s.p + 3, s.n - 3};
    while (s.n && (s.p[0] == ' ' || (s.p[0] >= '\t' && s.p[0] <= '\r')))
        s = (cn_str){s.p + 1, s.n - 1};
    if (starts(s, "<!doctype html") || starts(s, "<html") || (starts(s, "<?xml") && holds(s, "<html")))
        return CN_FMT_HTML;
    bool wide = starts(head, "\xff\xfe") || starts(head, "\xfe\xff");
    return !wide && head.n && memchr(head.p, 0, head.n) ? CN_FMT_AUTO : CN_FMT_TEXT;
}

cn_format cn_format_guess(cn_str name, cn_str head) {
    cn_str ext = extension(name);
    for (unsigned f = 1; f < CN_FMT_COUNT; f++)
        if (listed(table[f].ends, ext))
            return (cn_format)f;
    return listed(others, ext) ? CN_FMT_AUTO : of_content(head);
}

const char *cn_parser_version(void) { return "text/1 md/1 html/3 pdf/1 docx/1 odt/1 epub/2"; }

const char *cn_normaliser_version(void) {
    static char text[64];
    if (!text[0])
        snprintf(text, sizeof text, "nfc/1 unicode=%s", utf8proc_unicode_version());
    return text;
}
