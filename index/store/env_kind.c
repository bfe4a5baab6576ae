/* What an environment of each kind is opened with. */
#include <stdlib.h>
#include <sys/stat.h>

#include "index/store/env_inside.h"

size_t cn_env_map_size(cn_env_kind kind, const struct stat *st) {
    const char *mib = getenv("CAIRN_MAPSIZE_MIB");
    unsigned long small = mib ? strtoul(mib, NULL, 10) : 0;
    if (kind == CN_ENV_SEALED)
        return (size_t)st->st_size;
    if (small > 0 && small < (1ul << 24))
        return (size_t)small << 20;
    switch (kind) {
    case CN_ENV_BUILD: return (size_t)CN_MAPSIZE_GIB << 30;
    case CN_ENV_TRACE: return (size_t)16 << 30;
    default: return (size_t)64 << 30;
    }
}

unsigned cn_env_flags(cn_env_kind kind) {
    unsigned f = MDB_NOSUBDIR | MDB_NOTLS;
    switch (kind) {
    case CN_ENV_TRACE: return f | MDB_NOSYNC;
    case CN_ENV_BUILD: return f | MDB_NOSYNC | MDB_NOLOCK; /* one writer, held off by the file's flock: see segment.h */
    case CN_ENV_SEALED: return f | MDB_RDONLY | MDB_NOLOCK;
    default: return f;
    }
}
