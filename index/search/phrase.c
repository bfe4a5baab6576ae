/* phrase.c -- do a question's phrases stand in a row? Postings say which rows hold all words of the phrases; of those that would be
 * among the best the text itself is read. Positions in the postings would make each index larger and longer to build, for
 * questions without quotes too. */
#include "engine/base/os.h"
#include "index/search/searcher.h"

#define LOOK 64u /* rows between two looks at the clock */

static bool all_found(const cn_asked *a, const cn_following *f) { return f->found == a->ends; }

/* The title, and each of the headings by itself: of these the first is mostly the title again. */
static cn_err follow_fields(const cn_phrase_look *l, cn_str title, cn_str headings, cn_following *f) {
    const cn_asked *a = &l->lexical->asked;
    if (l->analyser->title && !all_found(a, f))
        CN_TRY(cn_follow_text(a, f, title));
    for (cn_str line; l->analyser->headings && !all_found(a, f) && cn_str_next(&headings, '\n', &line);)
        if (!cn_str_eq(line, title))
            CN_TRY(cn_follow_text(a, f, line));
    return CN_OK;
}

static cn_err follow_row(const cn_phrase_look *l, uint32_t row, cn_following *f) {
    const cn_asked *a = &l->lexical->asked;
    cn_chunk c;
    cn_doc d;
    uint32_t doc, chunk;
    CN_TRY(cn_seg_row(l->seg, row, &c, &doc, &chunk));
    CN_TRY(cn_seg_doc(l->seg, doc, &d));
    if (c.from > c.to || c.to > d.text.n)
        return cn_fail(CN_DAMAGED, "a passage of \"" CN_STR_FMT "\" lies outside of its text", CN_STR_ARG(d.id));
    CN_TRY(cn_follow_text(a, f, (cn_str){d.text.p + c.from, c.to - c.from}));
    return follow_fields(l, d.title, c.headings, f);
}

cn_err cn_phrases_stand(void *ctx, uint32_t row, bool *ret) {
    cn_phrase_look *l = ctx;
    cn_following f = {0};
    bool late = l->lexical->looked_at++ % LOOK == 0 && l->q->deadline_ns && cn_mono_ns() > l->q->deadline_ns;
    l->failed = late ? cn_fail(CN_DEADLINE, "the time was over before the texts were read for the question's phrases") : follow_row(l, row, &f);
    *ret = all_found(&l->lexical->asked, &f);
    return l->failed;
}
