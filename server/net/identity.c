/* Who a connection speaks for. */
#include "engine/base/mem.h"
#include "server/net/inside.h"

identity *identity_new(void) {
    identity *i = cn_calloc(1, sizeof *i);
    if (!i)
        return NULL;
    atomic_init(&i->refs, 1);
    i->caller = (cn_caller){.kind = CN_CALLER_NOBODY, .who = "nobody", .via = "rpc"};
    cn_arena_init(&i->arena, 1024, 1 << 20);
    return i;
}

identity *identity_ref(identity *i) {
    atomic_fetch_add_explicit(&i->refs, 1, memory_order_relaxed);
    return i;
}

void identity_unref(identity *i) {
    if (!i || atomic_fetch_sub_explicit(&i->refs, 1, memory_order_acq_rel) != 1)
        return;
    cn_arena_done(&i->arena);
    cn_free(i);
}
