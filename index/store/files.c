/* The files of one segment: its rows and what is derived from them. */
#include <sys/stat.h>
#include <unistd.h>

#include "index/store/dir.h"
#include "index/store/segment.h"

const char *const cn_seg_kinds[CN_SEG_KINDS] = {NULL, CN_FLAT_KIND, CN_POSTINGS_KIND};

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

void cn_seg_files_unlink(const cn_tenant *t, const cn_seg_id *id) {
    char path[CN_PATH_MAX];
    for (size_t i = 0; i < CN_SEG_KINDS; i++)
        if (cn_seg_path(t, id, cn_seg_kinds[i], path, sizeof path) == CN_OK)
            unlink(path);
}
