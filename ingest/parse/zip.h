/* zip.h -- the parts of a zip file (DOCX, ODT, EPUB), guarded against bombs, and XML read by events.
 *
 * Owns:    nothing; a part's bytes live in the caller's buffer.
 * Thread:  any.
 * Limits:  10,000 parts, CN_ZIP_PART_MAX bytes a part, 100 times the file's size (and 1 MiB) in all. */
#pragma once
#include <libxml/parser.h>

#include "ingest/parse/out.h"

#define CN_ZIP_PARTS_MAX 10000
#define CN_ZIP_PART_MAX ((size_t)128 << 20)

/* Calls fn for each part whose name it wants (want returns true); stops at an error. */
typedef struct cn_zip_reader {
    bool (*want)(void *ctx, const char *name);
    cn_err (*part)(void *ctx, const char *name, cn_str bytes);
    void *ctx;
} cn_zip_reader;
cn_err cn_zip_each(cn_str bytes, const cn_zip_reader *r);
/* What SAX2 hands to the start of an element; most of it is not needed here. */
#define CN_SAX2_START void *ctx, const xmlChar *name, const xmlChar *prefix, const xmlChar *uri, int n_ns, const xmlChar **ns, int n, int n_default, const xmlChar **atts
#define CN_SAX2_UNUSED (void)prefix, (void)uri, (void)n_ns, (void)ns, (void)n_default
/* One XML file through SAX2 events; no network, no entities but the five of XML. CN_INVALID where it is not well-formed. */
cn_err cn_xml_read(cn_str bytes, const char *what, xmlSAXHandler *sax, void *ctx);
/* The value of an attribute by its local name in SAX2's array; NULL p: none. */
cn_str cn_xml_attr(const xmlChar **atts, int n, const char *name);
