/* edited.h -- a good file of a data directory, and what a fuzzer makes of it.
 *
 * An edit is five bytes: three of place, and what is put there, by the fourth as it is, added, or with the rest of its page as zeros.
 * Owns:    its bytes, to the end of the program.
 * Thread:  one.
 * Limits:  16 MiB of a file are reached. */
#pragma once
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/digest.h"
#include "engine/base/str.h"
#include "index/store/segment_format.h"

#define EDIT 5
#define PAGE 4096

typedef struct file {
    char path[4096];
    uint8_t *bytes, *good;
    size_t n;
} file;

static inline void file_take(file *f, const char *path) {
    FILE *in = fopen(path, "rb");
    CN_ASSERT(in);
    snprintf(f->path, sizeof f->path, "%s", path);
    fseek(in, 0, SEEK_END);
    f->n = (size_t)ftell(in);
    rewind(in);
    f->bytes = malloc(f->n);
    f->good = malloc(f->n);
    CN_ASSERT(f->bytes && f->good && fread(f->good, 1, f->n, in) == f->n);
    fclose(in);
}

static inline void file_put(const file *f, const uint8_t *bytes) {
    int fd = open(f->path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    CN_ASSERT(fd >= 0 && pwrite(fd, bytes, f->n, 0) == (ssize_t)f->n && ftruncate(fd, (off_t)f->n) == 0);
    close(fd);
}

static inline void file_edit(file *f, cn_str s) {
    memcpy(f->bytes, f->good, f->n);
    for (; s.n >= EDIT; s = (cn_str){s.p + EDIT, s.n - EDIT}) {
        const uint8_t *e = (const uint8_t *)s.p;
        size_t at = ((size_t)e[0] << 16 | (size_t)e[1] << 8 | e[2]) % f->n;
        if (e[3] % 4 == 3)
            memset(f->bytes + at, 0, PAGE - at % PAGE < f->n - at ? PAGE - at % PAGE : f->n - at);
        else
            f->bytes[at] = (uint8_t)(e[3] % 4 == 2 ? f->bytes[at] + e[4] : e[4]);
    }
}

/* The checksum of each block made right. */
static inline void file_mend(file *f) {
    for (size_t at = 16; at + CN_BLOCK_HEAD <= f->n; at += PAGE) {
        cn_block_head h;
        memcpy(&h, f->bytes + at, sizeof h);
        if (h.magic != CN_BLOCK_MAGIC || h.bytes > f->n - at - CN_BLOCK_HEAD)
            continue;
        h.crc = 0;
        h.crc = cn_crc32c(cn_crc32c(0, &h, sizeof h), f->bytes + at + CN_BLOCK_HEAD, h.bytes);
        memcpy(f->bytes + at, &h, sizeof h);
    }
}
