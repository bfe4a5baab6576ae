/* degrade DIR TENANT INDEX: the cells of the active version, made anew so that a third of them promise nothing and are never read:
 * an index whose recall is far below what its head claims, and that no check refuses. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/cells/inside.h"
#include "index/search/view_inside.h"
#include "index/store/seg_inside.h"

typedef struct making {
    cn_view *view;
    cn_view_part *part;
    cn_put_array *put;
    void *ctx;
} making;

static cn_err spoil(void *ctx, uint32_t array, uint32_t block, const void *bytes, size_t n) {
    const making *m = ctx;
    if (array != CN_CELLS_ARRAY_CELLS)
        return m->put(m->ctx, array, block, bytes, n);
    cn_cell *cells = malloc(n);
    if (!cells)
        return cn_fail_memory();
    memcpy(cells, bytes, n);
    for (size_t i = 0; i < n / sizeof *cells; i += 3)
        cells[i].add = -1e9f;
    cn_err err = m->put(m->ctx, array, block, cells, n);
    free(cells);
    return err;
}

static cn_err build(void *ctx, cn_put_array *put, void *put_ctx) {
    making *m = ctx;
    cn_digest digest = cn_seg_space_digest(&m->view->space, CN_CELLS_FORMAT);
    m->put = put;
    m->ctx = put_ctx;
    CN_TRY(put(put_ctx, CN_SPACE_ARRAY, 0, &digest, sizeof digest));
    return cn_cells_build(m->part->flat, 2, spoil, m);
}

static cn_err degrade(cn_view *v, unsigned *ret_n) {
    for (uint32_t i = 0; i < v->n_parts; i++)
        if (v->parts[i].cells) {
            CN_TRY(cn_derived_build(v->parts[i].seg, CN_CELLS_KIND, build, &(making){.view = v, .part = &v->parts[i]}));
            ++*ret_n;
        }
    return CN_OK;
}

int main(int argc, char **argv) {
    cn_data *d;
    cn_tenant *t;
    cn_view *v;
    unsigned n = 0;
    if (argc != 4)
        return 2;
    cn_err err = cn_data_open(argv[1], &d);
    if (err == CN_OK && (err = cn_tenant_open(d, cn_str_of(argv[2]), &t)) == CN_OK) {
        if ((err = cn_view_open(t, cn_str_of(argv[3]), 0, &v)) == CN_OK) {
            err = degrade(v, &n);
            cn_view_unref(v);
        }
        cn_views_flush(t);
        cn_tenant_unref(t);
    }
    if (err != CN_OK || !n)
        fprintf(stderr, "degrade: %u files; %s\n", n, cn_error_detail());
    else
        cn_data_close(d);
    return err != CN_OK || !n;
}
