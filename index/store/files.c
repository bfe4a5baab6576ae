/* The files of one segment: its rows and what is derived from them. */
#include <sys/stat.h>
#include <unistd.h>

#include "index/store/dir.h"
#include "index/store/segment.h"

const char *const cn_seg_kinds[CN_SEG_KINDS] = {NULL, CN_FLAT_KIND, CN_CELLS_KIND, CN_FAISS_KIND, CN_POSTINGS_KIND, CN_POSTINGS_KIND_2};

uint32_t cn_seg_files(const cn_tenant *t, const cn_seg_id *id, uint64_t *io_bytes) {
    char path[CN_PATH_MAX];
    struct stat st;
    uint32_t n = 0;
    for (size_t i = 0; i < CN_SEG_KINDS; i++)
        if (cn_seg_path(t, id, cn_seg_kinds[i], path, sizeof path) == CN_OK && stat(path, &st) == 0) {
            *io_bytes += (uint64_t)st.st_size;
            n++;
        }
    return n;
}

/* Files being built are looked for first: one of them may get its name at any time, and then is found by that. */
static bool is_built(const cn_tenant *t, const cn_seg_id *id) {
    char path[CN_PATH_MAX], tmp[CN_PATH_MAX];
    struct stat st;
    for (size_t i = 0; i < CN_SEG_KINDS; i++)
        if (cn_seg_path(t, id, cn_seg_kinds[i], path, sizeof path) != CN_OK || cn_path(tmp, sizeof tmp, "%s.tmp", path) != CN_OK || stat(tmp, &st) == 0)
            return true;
    return false;
}

bool cn_seg_is_gone(const cn_tenant *t, const cn_seg_id *id) {
    uint64_t bytes = 0;
    return !is_built(t, id) && cn_seg_files(t, id, &bytes) == 0;
}

void cn_seg_files_unlink(const cn_tenant *t, const cn_seg_id *id) {
    char path[CN_PATH_MAX];
    for (size_t i = 0; i < CN_SEG_KINDS; i++)
        if (cn_seg_path(t, id, cn_seg_kinds[i], path, sizeof path) == CN_OK)
            unlink(path);
}
