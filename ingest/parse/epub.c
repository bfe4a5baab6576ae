/* EPUB (OCF and OPF): META-INF/container.xml names the package file, its manifest names the chapters, its spine their order.
 * The zip file is gone through once for each of the three, since parts may lie in it in any order; chapters are read as HTML
 * in the order met and put into the spine's order afterwards. Without a sound package file all HTML parts count, as they lie. */
#include <stdlib.h>

#include "engine/base/mem.h"
#include "ingest/parse/charset.h"
#include "ingest/parse/zip.h"

#define CHAPTERS_MAX CN_ZIP_PARTS_MAX

typedef struct item { /* of the manifest; texts lie in epub.names */
    size_t id, path;
    uint32_t place;   /* in the spine, from 1; 0: not in it */
} item;

typedef struct epub {
    cn_out *o;
    char package[1024], folder[1024]; /* path of the package file; the part up to its last slash */
    cn_buf names, title;
    item *items;
    uint32_t n, room, spine;
    bool in_title;
    cn_out *chapters[CHAPTERS_MAX];
    uint32_t n_chapters;
    uint32_t place[CHAPTERS_MAX];
} epub;

static bool is(const xmlChar *name, const char *z) { return strcmp((const char *)name, z) == 0; }

/* --- the container --- */
static void container_start(CN_SAX2_START) {
    epub *e = ctx;
    CN_SAX2_UNUSED;
    cn_str path = cn_xml_attr(atts, n, "full-path");
    if (!is(name, "rootfile") || e->package[0] || !path.n || path.n >= sizeof e->package)
        return;
    memcpy(e->package, path.p, path.n);
    const char *slash = strrchr(e->package, '/');
    if (slash)
        memcpy(e->folder, e->package, (size_t)(slash - e->package) + 1);
}

static bool want_container(void *ctx, const char *name) { return (void)ctx, strcmp(name, "META-INF/container.xml") == 0; }

static cn_err read_container(void *ctx, const char *name, cn_str bytes) {
    xmlSAXHandler sax = {.startElementNs = container_start};
    return cn_xml_read(bytes, name, &sax, ctx);
}

/* --- the package --- */
static int hex(char c) { return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1; }

/* A reference relative to the package file: %XX resolved, fragment cut off. */
static void add_path(epub *e, cn_str ref) {
    cn_buf_puts(&e->names, e->folder);
    for (size_t i = 0; i < ref.n && ref.p[i] != '#'; i++) {
        int hi = ref.p[i] == '%' && i + 2 < ref.n ? hex(ref.p[i + 1]) : -1, lo = hi >= 0 ? hex(ref.p[i + 2]) : -1;
        if (lo >= 0 && hi + lo > 0) {
            cn_buf_putc(&e->names, (char)(hi * 16 + lo));
            i += 2;
        } else {
            cn_buf_putc(&e->names, ref.p[i]);
        }
    }
    cn_buf_putc(&e->names, 0);
}

static void add_item(epub *e, cn_str id, cn_str ref) {
    if (e->n == CHAPTERS_MAX || !id.n || !ref.n)
        return;
    if (!cn_grow(e->items, e->n, e->room)) {
        e->names.failed = true;
        return;
    }
    item *it = &e->items[e->n++];
    *it = (item){.id = e->names.n};
    cn_buf_add(&e->names, id.p, id.n);
    cn_buf_putc(&e->names, 0);
    it->path = e->names.n;
    add_path(e, ref);
}

static void place_item(epub *e, cn_str id) {
    for (uint32_t i = 0; i < e->n && !e->names.failed; i++)
        if (!e->items[i].place && cn_str_is(id, e->names.p + e->items[i].id)) {
            e->items[i].place = ++e->spine;
            return;
        }
}

static void package_start(CN_SAX2_START) {
    epub *e = ctx;
    CN_SAX2_UNUSED;
    cn_str type = cn_xml_attr(atts, n, "media-type");
    if (is(name, "item") && memmem(type.p ? type.p : "", type.n, "html", 4))
        add_item(e, cn_xml_attr(atts, n, "id"), cn_xml_attr(atts, n, "href"));
    else if (is(name, "itemref"))
        place_item(e, cn_xml_attr(atts, n, "idref"));
    e->in_title = is(name, "title") && !e->title.n;
}

static void package_end(void *ctx, const xmlChar *name, const xmlChar *prefix, const xmlChar *uri) {
    epub *e = ctx;
    (void)name, (void)prefix, (void)uri;
    e->in_title = false;
}

static void package_text(void *ctx, const xmlChar *text, int n) {
    epub *e = ctx;
    if (e->in_title)
        cn_buf_add(&e->title, text, (size_t)n);
}

static bool want_package(void *ctx, const char *name) { return strcmp(((epub *)ctx)->package, name) == 0; }

static cn_err read_package(void *ctx, const char *name, cn_str bytes) {
    xmlSAXHandler sax = {.startElementNs = package_start, .endElementNs = package_end, .characters = package_text};
    return cn_xml_read(bytes, name, &sax, ctx);
}

/* --- the chapters --- */
static uint32_t place_of(const epub *e, const char *name) {
    for (uint32_t i = 0; i < e->n; i++)
        if (e->items[i].place && strcmp(e->names.p + e->items[i].path, name) == 0)
            return e->items[i].place;
    return 0;
}

static bool want_chapter(void *ctx, const char *name) {
    const epub *e = ctx;
    const char *dot = strrchr(name, '.');
    if (e->spine)
        return place_of(e, name) != 0;
    return dot && (strcmp(dot, ".xhtml") == 0 || strcmp(dot, ".html") == 0 || strcmp(dot, ".htm") == 0);
}

static cn_err read_chapter(void *ctx, const char *name, cn_str bytes) {
    epub *e = ctx;
    CN_AUTO_BUF cn_buf hold;
    cn_str utf8;
    cn_buf_init(&hold, CN_TEXT_MAX);
    if (cn_charset_utf8(bytes, CN_STR("UTF-8"), &hold, &utf8) != CN_OK)
        return cn_wrap(CN_INVALID, "its part %s", name);
    cn_out *part = cn_calloc(1, sizeof *part);
    if (!part)
        return cn_fail_memory();
    cn_out_init(part);
    uint32_t at = e->n_chapters++; /* no more than the zip file has parts */
    e->chapters[at] = part;
    e->place[at] = e->spine ? place_of(e, name) : at + 1;
    return cn_parse_html(utf8, part);
}

static void join(epub *e, const cn_out *part) {
    for (uint32_t i = 0; i < part->n; i++) {
        const cn_block *b = &part->blocks[i];
        cn_out_begin(e->o, (cn_block_kind)b->kind, b->level, true);
        cn_out_add(e->o, (cn_str){part->text.p + b->from, b->to - b->from});
    }
    cn_out_end(e->o);
    if (!e->o->title.n)
        cn_buf_add(&e->o->title, part->title.p, part->title.n);
}

static int by_place(const void *a, const void *b, void *ctx) {
    const epub *e = ctx;
    uint32_t x = e->place[*(const uint32_t *)a], y = e->place[*(const uint32_t *)b];
    return (x > y) - (x < y);
}

static cn_err join_all(epub *e) {
    uint32_t *order = cn_alloc((e->n_chapters + 1) * sizeof *order);
    if (!order)
        return cn_fail_memory();
    for (uint32_t i = 0; i < e->n_chapters; i++)
        order[i] = i;
    qsort_r(order, e->n_chapters, sizeof *order, by_place, e);
    for (uint32_t i = 0; i < e->n_chapters; i++)
        join(e, e->chapters[order[i]]);
    cn_free(order);
    return CN_OK;
}

/* A package that is broken costs the order only; a broken zip file is told of by its chapters. */
static cn_err read_parts(cn_str bytes, epub *e) {
    cn_err got = cn_zip_each(bytes, &(cn_zip_reader){want_container, read_container, e});
    if (got == CN_OK && e->package[0] && cn_zip_each(bytes, &(cn_zip_reader){want_package, read_package, e}) != CN_OK)
        e->spine = 0;
    CN_TRY(cn_buf_check(&e->names));
    cn_buf_add(&e->o->title, e->title.p, e->title.n);
    CN_TRY(cn_zip_each(bytes, &(cn_zip_reader){want_chapter, read_chapter, e}));
    return join_all(e);
}

cn_err cn_parse_epub(cn_str bytes, cn_out *o) {
    epub *e = cn_calloc(1, sizeof *e);
    if (!e)
        return cn_fail_memory();
    e->o = o;
    cn_buf_init(&e->names, 16 << 20);
    cn_buf_init(&e->title, 4096);
    cn_err err = read_parts(bytes, e);
    for (uint32_t i = 0; i < e->n_chapters; i++) {
        cn_out_done(e->chapters[i]);
        cn_free(e->chapters[i]);
    }
    cn_buf_done(&e->names);
    cn_buf_done(&e->title);
    cn_free(e->items);
    cn_free(e);
    return err;
}
