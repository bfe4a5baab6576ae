/* dir.h -- directories as the store needs them: private, on a local disk, removed whole.
 *
 * Owns:    nothing.
 * Thread:  any.
 * Limits:  paths of CN_PATH_MAX bytes. */
#pragma once
#include "engine/base/error.h"

#define CN_PATH_MAX 4096

/* snprintf into a path; CN_INVALID when it does not fit. */
cn_err cn_path(char *path, size_t size, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
cn_err cn_dir_make(const char *path);            /* 0700; fine when it is there */
cn_err cn_dir_sync(const char *path);            /* names made or removed in it survive a crash */
/* CN_REFUSED on a network file system, where locks and maps do not hold what LMDB needs. */
cn_err cn_dir_check_local(const char *path);
cn_err cn_dir_remove(const char *path);          /* with all below it; links are removed, not followed; fine when it is gone */
/* Calls fn for each name but "." and "..", in no order, until it fails. */
cn_err cn_dir_each(const char *path, cn_err (*fn)(void *ctx, const char *name), void *ctx);
