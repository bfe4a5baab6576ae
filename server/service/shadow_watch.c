/* What counts of a version say: when its questions need more effort, and when no longer. */
#include "server/service/shadow_inside.h"

bool cn_watch_is(const cn_watch *w, const cn_tenant *t, uint64_t index_id, uint64_t version) {
    return w->version == version && w->index_id == index_id && memcmp(w->uid, cn_tenant_uid(t), sizeof w->uid) == 0;
}

bool cn_watch_raised(const cn_watch *w) {
    bool is = false;
    for (uint32_t i = 0; i < CN_AIMS; i++)
        is |= w->effort.aim[i] > i;
    return is;
}

static cn_steered steer_to(cn_watch *w, enum cn_steer did, uint32_t aim, uint32_t to, const cn_tally *by) {
    cn_steered s = {did, aim, to, cn_tally_interval(by), cn_tally_interval(&w->judged[aim].as_asked).mean, by->n};
    w->effort.aim[aim] = (uint8_t)to;
    w->judged[aim] = (cn_judged){.by_cells = 0};
    return s;
}

static bool is_look(uint64_t n) { return n >= CN_SHADOW_FIRST && (n & (n - 1)) == 0; }

/* Where no cells are read, there is only one way to find more. */
static cn_steered judge(cn_watch *w, uint32_t aim) {
    cn_judged *j = &w->judged[aim];
    uint32_t now = w->effort.aim[aim];
    double target = cn_recall_aims[aim];
    if (!is_look(j->used.n))
        return (cn_steered){.did = CN_STEER_NOT};
    if (now < CN_AIMS - 1 && cn_tally_interval(&j->used).high < target)
        return steer_to(w, CN_STEER_RAISED, aim, j->by_cells ? now + 1 : CN_AIMS - 1, &j->used);
    if (now > aim && j->as_asked.n >= CN_SHADOW_BACK && cn_tally_interval(&j->as_asked).mean >= target)
        return steer_to(w, CN_STEER_BACK, aim, aim, &j->as_asked);
    if (j->used.n >= CN_SHADOW_LAST)
        *j = (cn_judged){.by_cells = 0};
    return (cn_steered){.did = CN_STEER_NOT};
}

cn_steered cn_watch_add(cn_watch *w, enum cn_recall_plan plan, enum cn_selectivity selects, uint32_t aim, const cn_again_told *told) {
    cn_tally_add(&w->counts.v[plan][selects][aim], told->share, told->wanted);
    cn_tally_add(&w->judged[aim].used, told->share, told->wanted);
    cn_tally_add(&w->judged[aim].as_asked, told->as_asked, told->wanted);
    w->judged[aim].by_cells += plan == CN_PLAN_CELLS || plan == CN_PLAN_FAISS;
    w->changed = true;
    return judge(w, aim);
}
