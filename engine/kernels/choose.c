#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "engine/kernels/kernels.h"

static const char *const names[] = {"scalar", "avx2", "avx512"};
static _Atomic(const cn_kernels *) chosen;

size_t cn_kernels_usable(const cn_kernels *ret[CN_KERNELS_MAX]) {
    size_t n = 0;
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni"))
        ret[n++] = &cn_kernels_avx512;
    if (__builtin_cpu_supports("avx2"))
        ret[n++] = &cn_kernels_avx2;
#endif
    ret[n++] = &cn_kernels_scalar;
    return n;
}

static bool known(const char *isa) {
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i], isa) == 0)
            return true;
    return false;
}

cn_err cn_kernels_choose(const char *isa) {
    const cn_kernels *usable[CN_KERNELS_MAX];
    size_t n = cn_kernels_usable(usable);
    if (isa && *isa && !known(isa))
        return cn_fail(CN_INVALID, "unknown instruction set \"%.32s\"; it must be scalar, avx2 or avx512 (CAIRN_ISA)", isa);
    for (size_t i = 0; i < n; i++)
        if (!isa || !*isa || strcmp(usable[i]->name, isa) == 0) {
            atomic_store(&chosen, usable[i]);
            return CN_OK;
        }
    return cn_fail(CN_REFUSED, "this processor cannot run %s; the best it can is %s (CAIRN_ISA)", isa, usable[0]->name);
}

cn_err cn_kernels_init(void) { return cn_kernels_choose(getenv("CAIRN_ISA")); }

const cn_kernels *cn_kernels_now(void) {
    const cn_kernels *k = atomic_load_explicit(&chosen, memory_order_acquire);
    if (k)
        return k;
    if (cn_kernels_init() != CN_OK && cn_kernels_choose(NULL) != CN_OK)
        return &cn_kernels_scalar;
    return atomic_load(&chosen);
}
