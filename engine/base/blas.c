#include "engine/base/blas.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static cn_blas blas;
static char why[256];

static const char *best_core(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        return "SkylakeX";
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return "Haswell";
#endif
    return NULL; /* OpenBLAS's own choice */
}

/* A function's address from dlsym, which gives an object's. */
static void find(void *lib, const char *name, void (**ret)(void)) {
    void *p = dlsym(lib, name);
    memcpy(ret, &p, sizeof p);
}

static void open_library(void) {
    const char *core = best_core();
    void (*sgemm)(void), (*sgemm_f)(void), (*ssyev)(void), (*threads)(void), (*corename)(void), (*config)(void);
    if (core)
        setenv("OPENBLAS_CORETYPE", core, 0);
    setenv("OPENBLAS_NUM_THREADS", "1", 0); /* else it starts threads that nobody uses */
    void *lib = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
    if (!lib) {
        const char *text = dlerror();
        snprintf(why, sizeof why, "%s", text ? text : "libopenblas.so.0 cannot be loaded");
        return;
    }
    find(lib, "cblas_sgemm", &sgemm);
    find(lib, "sgemm_", &sgemm_f);
    find(lib, "ssyev_", &ssyev);
    find(lib, "openblas_set_num_threads", &threads);
    find(lib, "openblas_get_corename", &corename);
    find(lib, "openblas_get_config", &config);
    if (!sgemm || !sgemm_f || !threads || !corename || !config) {
        snprintf(why, sizeof why, "libopenblas.so.0 is not OpenBLAS");
        return;
    }
    ((__typeof__(openblas_set_num_threads) *)threads)(1);
    blas.core = ((__typeof__(openblas_get_corename) *)corename)();
    blas.config = ((__typeof__(openblas_get_config) *)config)();
    blas.ssyev = (__typeof__(blas.ssyev))ssyev;
    blas.sgemm_f = (__typeof__(blas.sgemm_f))sgemm_f;
    blas.sgemm = (__typeof__(cblas_sgemm) *)sgemm;
}

cn_err cn_blas_get(const cn_blas **ret) {
    pthread_once(&once, open_library);
    if (!blas.sgemm)
        return cn_fail(CN_UNAVAILABLE, "OpenBLAS is needed: %s; install libopenblas0-pthread", why);
    *ret = &blas;
    return CN_OK;
}
