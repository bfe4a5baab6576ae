/* What LMDB and the system answer, as errors that say what to do; and the last such code of each thread. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "index/store/env_inside.h"

static cn_err code_of(int rc) {
    switch (rc) {
    case MDB_NOTFOUND: return CN_NOT_FOUND;
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_INVALID:
    case MDB_VERSION_MISMATCH:
    case MDB_INCOMPATIBLE: return CN_DAMAGED;
    case MDB_MAP_FULL:
    case MDB_MAP_RESIZED:
    case MDB_PANIC: return CN_UNAVAILABLE;
    case MDB_READERS_FULL:
    case MDB_TXN_FULL: return CN_OVERLOADED;
    case MDB_BAD_VALSIZE:
    case MDB_KEYEXIST: return CN_INVALID;
    default: return CN_INTERNAL;
    }
}

static const char *hint_of(int rc) {
    switch (rc) {
    case MDB_CORRUPTED: return "; it was damaged or cut short: restore it from a backup, then start this program anew";
    case MDB_MAP_FULL: return "; it has grown to the size set for its map (CAIRN_MAPSIZE_MIB, or mapsize_gib of the build)";
    case MDB_MAP_RESIZED: return "; another process gave it a larger map: use the same CAIRN_MAPSIZE_MIB everywhere";
    case MDB_PANIC: return "; an earlier write failed: start this program anew";
    case MDB_READERS_FULL: return "; too many readers at once: end some programs that use this data directory";
    default: return "";
    }
}

static _Thread_local int last;
int cn_mdb_last(void) { return last; }
void cn_mdb_forget(void) { last = 0; }

cn_err cn_mdb(int rc, const char *fmt, ...) {
    if (rc == MDB_SUCCESS)
        return CN_OK;
    last = rc;
    char what[CN_ERROR_TEXT / 2];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    if (rc == EIO) /* what LMDB makes of a write cut short: a full disk, most often */
        return cn_fail(CN_UNAVAILABLE, "%s: the disk did not take all bytes; is it full? Free some space and try again", what);
    if (rc == ENOMEM)
        return cn_fail(CN_OVERLOADED, "%s: out of memory%s", what, cn_memory_hint());
    if (rc > 0)
        return cn_fail_errno(rc, "%s", what);
    return cn_fail(code_of(rc), "%s: %s%s", what, mdb_strerror(rc), hint_of(rc));
}

cn_err cn_env_no_file(int errnum, const char *doing, const char *path) {
    cn_err err = cn_fail_errno(errnum, "%s %s", doing, path);
    return err == CN_INVALID ? CN_DAMAGED : err;
}
