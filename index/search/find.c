#include "index/search/find.h"

#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "index/catalog/live.h"

#define SLICE ((size_t)1 << 20) /* bytes between two looks at the clock */

typedef struct finding {
    cn_find *io;
    const cn_version *v;
    uint32_t n;
    cn_living *live;     /* of each version; n 0 where it cannot be read */
    uint64_t *versions;
    cn_found_fn *fn;
    cn_unread_fn *unread;
    void *ctx;
    cn_arena a;
    uint32_t found;
    bool behind;         /* the place to take up behind was passed */
} finding;

static bool late(const cn_find *io) { return io->deadline_ns && cn_mono_ns() > io->deadline_ns; }

/* The versions that hold this document of this segment. */
static uint32_t holders(finding *f, const cn_seg *seg, uint32_t doc) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < f->n; i++)
        for (uint32_t p = 0; p < f->live[i].n; p++)
            if (f->live[i].segs[p] == seg && !roaring_bitmap_contains(f->live[i].dead[p], doc))
                f->versions[n++] = f->v[i].number;
    return n;
}

/* false: the time was up inside of the text, which is then looked at again. */
static bool look(const finding *f, cn_str text, cn_found *ret) {
    size_t at, end;
    for (size_t from = 0; from < text.n && ret->matches < CN_FOUND_COUNT;) {
        size_t to = text.n - from > SLICE ? from + SLICE : text.n;
        while (to < text.n && ((unsigned char)text.p[to] & 0xc0) == 0x80)
            to++;
        if (!cn_needle_find(f->io->needle, text, from, to, &at, &end)) {
            from = to;
            if (from < text.n && late(f->io))
                return false;
            continue;
        }
        if (ret->n_places < CN_FOUND_PLACES) {
            ret->places[ret->n_places][0] = at;
            ret->places[ret->n_places++][1] = end;
        }
        ret->matches++;
        from = end > at ? end : at + 1;
    }
    return true;
}

/* *ret_asked false: it is of another source. */
static cn_err read_text(finding *f, cn_found *x, cn_str *ret, bool *ret_asked) {
    cn_doc d;
    CN_TRY(cn_seg_doc_brief(x->seg, x->doc, &d));
    x->source = d.source;
    x->id = d.id;
    *ret_asked = !f->io->source.n || cn_str_eq(d.source, f->io->source);
    if (!*ret_asked)
        return CN_OK;
    cn_arena_reset(&f->a);
    CN_TRY(cn_seg_doc(x->seg, x->doc, &d));
    *ret = d.text;
    return CN_OK;
}

static cn_err look_into(finding *f, cn_found *x, bool *ret_done) {
    cn_str text = {NULL, 0};
    bool asked;
    *ret_done = true;
    CN_TRY(read_text(f, x, &text, &asked));
    if (!asked)
        return CN_OK;
    *ret_done = look(f, text, x);
    CN_TRY(cn_seg_sound(x->seg));
    if (!*ret_done)
        return f->io->docs ? CN_OK : cn_fail(CN_DEADLINE, "the time was up within the first document, of %zu MiB; give more", text.n >> 20);
    f->io->docs++;
    f->io->bytes += text.n;
    return CN_OK;
}

static cn_err look_at(finding *f, cn_seg *seg, uint32_t doc, bool *ret_done) {
    cn_found x = {.seg = seg, .doc = doc, .versions = f->versions, .n_versions = holders(f, seg, doc)};
    *ret_done = true;
    if (x.n_versions == 0)
        return CN_OK;
    cn_err e = look_into(f, &x, ret_done);
    if (e != CN_DAMAGED) {
        CN_TRY(e);
        if (!*ret_done || !x.matches)
            return CN_OK;
    }
    *ret_done = true;
    f->found++;
    return e == CN_DAMAGED ? f->unread(f->ctx, f->versions[x.n_versions - 1], &x) : f->fn(f->ctx, &x);
}

static cn_err look_through(finding *f, cn_seg *seg) {
    cn_find *io = f->io;
    uint32_t doc = 0;
    if (!f->behind) {
        if (memcmp(cn_seg_get_id(seg), &io->segment, sizeof io->segment) != 0)
            return CN_OK;
        doc = io->doc + 1;
        f->behind = true;
    }
    for (; doc < cn_seg_docs(seg); doc++) {
        bool done;
        if (f->found >= io->limit || (io->docs && late(io))) {
            io->more = true;
            return CN_OK;
        }
        CN_TRY(look_at(f, seg, doc, &done));
        if (!done) {
            io->more = true;
            return CN_OK;
        }
        io->segment = *cn_seg_get_id(seg);
        io->doc = doc;
    }
    return CN_OK;
}

static bool seen_before(const finding *f, uint32_t version, uint32_t part) {
    for (uint32_t i = 0; i <= version; i++)
        for (uint32_t p = 0; p < (i == version ? part : f->live[i].n); p++)
            if (f->live[i].segs[p] == f->live[version].segs[part])
                return true;
    return false;
}

static cn_err look_all(finding *f) {
    for (uint32_t i = 0; i < f->n; i++)
        for (uint32_t p = 0; p < f->live[i].n && !f->io->more; p++)
            if (!seen_before(f, i, p))
                CN_TRY(look_through(f, f->live[i].segs[p]));
    return f->behind ? CN_OK : cn_fail(CN_NOT_FOUND, "the place to go on from is gone: the versions have changed since; begin again");
}

static cn_err open_all(cn_tenant *t, finding *f) {
    for (uint32_t i = 0; i < f->n; i++) {
        cn_err e = cn_live_open(t, &f->v[i], &f->live[i]);
        if (e == CN_DAMAGED || e == CN_NOT_FOUND)
            e = f->unread(f->ctx, f->v[i].number, NULL);
        CN_TRY(e);
    }
    return CN_OK;
}

cn_err cn_find_text(cn_tenant *t, const cn_version *v, uint32_t n, cn_find *io, cn_found_fn *fn, cn_unread_fn *unread, void *ctx) {
    finding f = {.io = io, .v = v, .n = n, .fn = fn, .unread = unread, .ctx = ctx, .behind = !io->after};
    io->more = false;
    io->docs = io->bytes = 0;
    cn_arena_init(&f.a, 65536, (size_t)1 << 30);
    f.live = cn_calloc(n + 1u, sizeof *f.live);
    f.versions = cn_calloc(n + 1u, sizeof *f.versions);
    cn_err e = f.live && f.versions ? open_all(t, &f) : cn_fail_memory();
    if (e == CN_OK)
        e = look_all(&f);
    for (uint32_t i = 0; f.live && i < n; i++)
        cn_live_close(&f.live[i]);
    cn_free(f.live);
    cn_free(f.versions);
    cn_arena_done(&f.a);
    return e;
}
