/* tenant.h -- tenants in a temporary data directory, for the measurements of index/search.
 *
 * Owns:    the directory and everything open in it, until bench_data_done(); one at a time.
 * Thread:  one.
 * Limits:  an error ends the program. */
#pragma once
#include "index/search/search.h"

#define BENCH_INDEX CN_STR("bench")
extern const cn_actor bench_who;

void bench_must(cn_err e, const char *what); /* prints the error and exits */
void bench_data(const char *parent); /* parent: an existing folder */
const char *bench_folder(void);
cn_tenant *bench_tenant(const char *name);
void bench_data_done(void);
void bench_index(cn_tenant *t, cn_metric metric);
/* Seals what w holds on the head; added: documents that the index did not have, changed: others. Returns the number. */
uint64_t bench_seal(cn_tenant *t, cn_segw *w, cn_metric metric, uint32_t dim, uint64_t added, uint64_t changed);
double bench_median(double *v, uint32_t n); /* sorts v */
