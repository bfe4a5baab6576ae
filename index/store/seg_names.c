/* A segment's documents in the order of their names, from the ranks of its rows; made when they are first listed. */
#include <stdlib.h>

#include "engine/base/mem.h"
#include "index/store/seg_inside.h"

typedef struct names {
    cn_seg_made made;
    uint32_t named;
    uint32_t docs[];
} names;

#define NO_DOC UINT32_MAX

static void free_names(cn_seg_made *m) { cn_free(m); }

static const names *find(const cn_seg *s) {
    for (const cn_seg_made *m = s->made; m; m = m->next)
        if (m->done == free_names)
            return (const names *)m;
    return NULL;
}

/* at: room for one document a row. */
static cn_err fill(const cn_seg *s, uint32_t *at, names *ret) {
    const uint32_t *row = cn_seg_doc_row(s), *rank = cn_seg_row_rank(s), rows = cn_seg_rows(s), docs = cn_seg_docs(s);
    uint32_t rest = docs;
    for (uint32_t i = 0; i < rows; i++)
        at[i] = NO_DOC;
    for (uint32_t doc = 0; doc < docs; doc++) {
        if (row[doc] == row[doc + 1])
            ret->docs[--rest] = doc;
        else if (rank[row[doc]] < rows)
            at[rank[row[doc]]] = doc;
    }
    for (uint32_t i = 0; i < rows && ret->named < rest; i++)
        if (at[i] != NO_DOC)
            ret->docs[ret->named++] = at[i];
    return ret->named == rest ? CN_OK : cn_fail_file(cn_env_path(s->env), ": two rows have the same rank");
}

static cn_err make(const cn_seg *s, names **ret) {
    CN_AUTO_FREE uint32_t *at = cn_alloc((cn_seg_rows(s) + 1ull) * sizeof *at);
    names *n = cn_alloc(sizeof *n + cn_seg_docs(s) * sizeof *n->docs);
    cn_err e = CN_OK;
    if (at && n) {
        n->made = (cn_seg_made){.done = free_names};
        n->named = 0;
        e = fill(s, at, n);
    }
    if (!at || !n || e != CN_OK) {
        cn_free(n);
        return e == CN_OK ? cn_fail_memory() : e;
    }
    *ret = n;
    return CN_OK;
}

cn_err cn_seg_by_name(cn_seg *s, const uint32_t **ret, uint32_t *ret_named) {
    names *fresh = NULL;
    pthread_mutex_lock(&s->lock);
    const names *n = find(s);
    cn_err e = n ? CN_OK : make(s, &fresh);
    if (fresh)
        cn_seg_keep(s, &fresh->made);
    pthread_mutex_unlock(&s->lock);
    CN_TRY(e);
    n = n ? n : fresh;
    *ret = n->docs;
    *ret_named = n->named;
    return CN_OK;
}
