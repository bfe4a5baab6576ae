/* DOCX and ODT: zip files of XML. Headings come from styles (DOCX) or outline levels (ODT). */
#include <strings.h>

#include "ingest/parse/zip.h"

typedef struct office {
    cn_out *o;
    bool text, row, cells;   /* inside a run's text (DOCX); in a row of a table; it has had a cell */
    uint32_t items, skip;
} office;

static bool is(const xmlChar *name, const char *z) { return strcmp((const char *)name, z) == 0; }

static void start_paragraph(office *f, cn_block_kind kind, unsigned level) {
    if (f->row)
        cn_out_add(f->o, CN_STR(" "));
    else
        cn_out_begin(f->o, kind, level, false);
}

static void start_row(office *f) {
    cn_out_begin(f->o, CN_BLOCK_ROW, 0, false);
    f->row = true;
    f->cells = false;
}

static void start_cell(office *f) {
    if (f->row && f->cells)
        cn_out_tab(f->o);
    f->cells = true;
}

static void end_row(office *f) {
    f->row = false;
    cn_out_end(f->o);
}

/* "Heading1", "heading 2", "Title": the level, or 0. */
static unsigned heading_level(cn_str style) {
    if (cn_str_is(style, "Title"))
        return 1;
    if (style.n < 8 || strncasecmp(style.p, "heading", 7) != 0)
        return 0;
    char c = style.p[style.n - 1];
    return c >= '1' && c <= '6' ? (unsigned)(c - '0') : 0;
}

static void docx_start(CN_SAX2_START) {
    office *f = ctx;
    CN_SAX2_UNUSED;
    if (is(name, "p"))
        start_paragraph(f, CN_BLOCK_PARA, 0);
    else if (is(name, "pStyle") && f->o->open && !f->row) {
        unsigned level = heading_level(cn_xml_attr(atts, n, "val"));
        if (level) {
            f->o->kind = CN_BLOCK_HEADING;
            f->o->level = (uint8_t)level;
        }
    } else if (is(name, "numPr") && f->o->open && f->o->kind == CN_BLOCK_PARA)
        f->o->kind = CN_BLOCK_ITEM;
    else if (is(name, "t"))
        f->text = true;
    else if (is(name, "tab") || is(name, "br") || is(name, "cr"))
        cn_out_add(f->o, CN_STR(" "));
    else if (is(name, "tr"))
        start_row(f);
    else if (is(name, "tc"))
        start_cell(f);
}

static void docx_end(void *ctx, const xmlChar *name, const xmlChar *prefix, const xmlChar *uri) {
    office *f = ctx;
    (void)prefix;
    (void)uri;
    if (is(name, "t"))
        f->text = false;
    else if (is(name, "p") && !f->row)
        cn_out_end(f->o);
    else if (is(name, "tr"))
        end_row(f);
}

static void docx_text(void *ctx, const xmlChar *text, int n) {
    office *f = ctx;
    if (f->text)
        cn_out_add(f->o, (cn_str){(const char *)text, (size_t)n});
}

static void odt_start(CN_SAX2_START) {
    office *f = ctx;
    CN_SAX2_UNUSED;
    if (f->skip || is(name, "tracked-changes") || is(name, "annotation") || is(name, "note-citation")) {
        f->skip++;
        return;
    }
    cn_str level = cn_xml_attr(atts, n, "outline-level");
    if (is(name, "h"))
        start_paragraph(f, CN_BLOCK_HEADING, level.n == 1 && level.p[0] >= '1' && level.p[0] <= '6' ? (unsigned)(level.p[0] - '0') : 6);
    else if (is(name, "p"))
        start_paragraph(f, f->items ? CN_BLOCK_ITEM : CN_BLOCK_PARA, 0);
    else if (is(name, "list-item"))
        f->items++;
    else if (is(name, "s") || is(name, "tab") || is(name, "line-break"))
        cn_out_add(f->o, CN_STR(" "));
    else if (is(name, "table-row"))
        start_row(f);
    else if (is(name, "table-cell"))
        start_cell(f);
}

static void odt_end(void *ctx, const xmlChar *name, const xmlChar *prefix, const xmlChar *uri) {
    office *f = ctx;
    (void)prefix;
    (void)uri;
    if (f->skip) {
        f->skip--;
        return;
    }
    if ((is(name, "p") || is(name, "h")) && !f->row)
        cn_out_end(f->o);
    else if (is(name, "list-item"))
        f->items -= f->items > 0;
    else if (is(name, "table-row"))
        end_row(f);
}

static void odt_text(void *ctx, const xmlChar *text, int n) {
    office *f = ctx;
    if (!f->skip && f->o->open)
        cn_out_add(f->o, (cn_str){(const char *)text, (size_t)n});
}

/* --- the parts --- */
static bool want_docx(void *ctx, const char *name) { return (void)ctx, strcmp(name, "word/document.xml") == 0; }
static bool want_odt(void *ctx, const char *name) { return (void)ctx, strcmp(name, "content.xml") == 0; }
static cn_err docx_part(void *ctx, const char *name, cn_str bytes) {
    xmlSAXHandler sax = {.startElementNs = docx_start, .endElementNs = docx_end, .characters = docx_text, .ignorableWhitespace = docx_text};
    office f = {.o = ctx};
    return cn_xml_read(bytes, name, &sax, &f);
}

static cn_err odt_part(void *ctx, const char *name, cn_str bytes) {
    xmlSAXHandler sax = {.startElementNs = odt_start, .endElementNs = odt_end, .characters = odt_text, .ignorableWhitespace = odt_text};
    office f = {.o = ctx};
    return cn_xml_read(bytes, name, &sax, &f);
}

cn_err cn_parse_docx(cn_str bytes, cn_out *o) { return cn_zip_each(bytes, &(cn_zip_reader){want_docx, docx_part, o}); }
cn_err cn_parse_odt(cn_str bytes, cn_out *o) { return cn_zip_each(bytes, &(cn_zip_reader){want_odt, odt_part, o}); }
