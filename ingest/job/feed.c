/* Rows into batches: from a source, from memory, or from the head's own documents. */
#include "engine/base/os.h"
#include "ingest/job/run.h"

#define CHUNK_BYTES ((size_t)1024)

cn_err cn_feed_source(cn_run *r, cn_arena *a, cn_item *ret) { return cn_source_next(r->feed.source, a, &ret->raw); }

cn_err cn_feed_memory(cn_run *r, cn_arena *a, cn_item *ret) {
    (void)a;
    if (r->feed.next_doc == r->feed.n_docs)
        return CN_END;
    ret->raw = r->feed.docs[r->feed.next_doc++];
    return CN_OK;
}

/* Documents of the head that the job has not touched. Bits move only before this feed begins. */
cn_err cn_feed_rest(cn_run *r, cn_arena *a, cn_item *ret) {
    (void)a;
    if (!cn_ledger_next_rest(&r->ledger, &r->feed.place))
        return CN_END;
    ret->at = r->feed.place;
    ret->found = ret->rest = true;
    r->feed.place.doc++;
    return CN_OK;
}

/* Documents of the head that came, or changed, while a rebuild was made. */
cn_err cn_feed_places(cn_run *r, cn_arena *a, cn_item *ret) {
    (void)a;
    if (r->feed.n_places == 0)
        return CN_END;
    ret->at = *r->feed.places++;
    r->feed.n_places--;
    ret->found = ret->rest = true;
    return CN_OK;
}

/* The first document says whether an index without a model holds vectors, and of which dimension. */
static void know_dim(cn_run *r, const cn_item *it) {
    if (r->dim_known || it->rest || it->own || it->raw.err != CN_OK || it->raw.op != CN_OP_PUT)
        return;
    r->recipe.dim = it->raw.vector ? it->raw.dim : 0;
    r->dim_known = true;
}

/* Its text is not read yet. */
static size_t by_chunks(cn_seg *seg, uint32_t doc) {
    const uint32_t *first = cn_seg_doc_row(seg) + doc;
    return CHUNK_BYTES * (1 + (size_t)(first[1] - first[0]));
}

void cn_feed_begin_rest(cn_run *r) {
    uint64_t docs = 0, all = 0, taken = 0;
    for (uint32_t i = 0; i < r->ledger.n; i++)
        for (uint32_t doc = 0; doc < r->ledger.parts[i].docs; doc++) {
            size_t n = cn_ledger_lives(&r->ledger.parts[i], doc) ? by_chunks(r->ledger.parts[i].seg, doc) : 0;
            bool done = n && cn_ledger_taken(&r->ledger.parts[i], doc);
            all += n;
            taken += done ? n : 0;
            docs += n && !done;
        }
    pthread_mutex_lock(&r->lock);
    uint64_t before = r->rebuild ? taken : r->now.bytes_all; /* what an ingest took is in the bytes of its source */
    r->feed = (cn_feed){.next = cn_feed_rest, .bytes_done = before, .bytes_all = before + all - taken};
    r->now.docs_all = r->counts.read + docs;
    pthread_mutex_unlock(&r->lock);
}

static size_t payload(const cn_run *r, const cn_item *it) {
    if (it->rest)
        return by_chunks(cn_ledger_seg(&r->ledger, it->at), it->at.doc);
    if (it->own)
        return by_chunks(r->own, it->at.doc);
    return it->raw.bytes.n + it->raw.meta.n + (it->raw.vector ? it->raw.dim * sizeof(float) : 0) + 64;
}

static void show_progress(cn_run *r) {
    pthread_mutex_lock(&r->lock);
    r->fed_now = r->fed;
    if (r->feed.source)
        cn_source_progress(r->feed.source, &r->now.bytes_done, &r->now.bytes_all, &r->now.docs_all);
    else if (r->feed.bytes_all)
        r->now.bytes_done = r->feed.bytes_done, r->now.bytes_all = r->feed.bytes_all;
    pthread_mutex_unlock(&r->lock);
}

cn_err cn_run_fill(void *run, cn_batch *b) {
    cn_run *r = run;
    cn_item *items = cn_arena_zalloc(&b->arena, CN_BATCH_ITEMS, sizeof *items);
    uint64_t from = cn_thread_cpu_ns();
    size_t bytes = 0, most = r->embedder ? CN_BATCH_EMBED : CN_BATCH_BYTES;
    if (!items)
        return cn_fail_memory();
    while (b->n < CN_BATCH_ITEMS && bytes < most && !cn_line_stopping(r->line)) {
        cn_item *it = &items[b->n];
        cn_err err = r->feed.next(r, &b->arena, it);
        if (err == CN_END)
            break;
        CN_TRY(err);
        know_dim(r, it);
        it->skip = r->fed++ < r->skip_to;
        size_t n = payload(r, it);
        bytes += n;
        r->feed.bytes_done += n;
        cn_give_way_at(b->n++);
    }
    b->items = items;
    cn_spend(r, CN_COST_READ, from);
    show_progress(r);
    return CN_OK;
}
