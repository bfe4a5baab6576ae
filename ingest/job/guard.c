#include "ingest/job/guard.h"

#include <inttypes.h>
#include <stdio.h>

static uint64_t share(const cn_guard *g) {
    uint64_t limit = g->before / 100 * CN_GUARD_SHARE + g->before % 100 * CN_GUARD_SHARE / 100;
    return limit < CN_GUARD_DOCS ? CN_GUARD_DOCS : limit;
}

static bool over(const cn_guard *g, uint64_t count, uint64_t max, uint64_t otherwise, uint64_t first, const char *what, const char *option, char *why, size_t n) {
    uint64_t limit = max == CN_GUARD_DEFAULT ? otherwise : max;
    if (count <= limit)
        return false;
    char versions[64];
    if (first < g->last)
        snprintf(versions, sizeof versions, "versions %" PRIu64 " to %" PRIu64, first, g->last);
    else
        snprintf(versions, sizeof versions, "version %" PRIu64, g->last);
    snprintf(why, n, "%" PRIu64 " of %" PRIu64 " documents %s; the limit is %" PRIu64 ". Version %" PRIu64 " is sealed but not active. "
             "If this is right, activate it by hand, or run the job with --%s %" PRIu64 " or more. "
             "If not, `cairn drop` %s: until then later jobs build on it.",
             count, g->before, what, limit, g->last, option, count, versions);
    return true;
}

bool cn_guard_trips(const cn_guard *g, char *why, size_t n) {
    return over(g, g->deleted, g->max_deleted, g->found_nothing ? 0 : share(g), g->first, "would be deleted", "max-deleted", why, n) ||
           over(g, g->relabelled, g->max_relabelled, share(g), g->first, "would be relabelled", "max-relabelled", why, n) ||
           over(g, g->rejected, g->max_rejected, share(g), g->last, "were rejected", "max-rejected", why, n);
}
