#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/mem.h"
#include "ingest/embed/model.h"
#include "ingest/embed/table.h"

#define PIECE ((size_t)64 << 20) /* of one read(): it takes less than 2 GiB */

typedef struct part_rule {
    const char *name; /* NULL: modules.json says where */
    uint64_t max;     /* 0: a folder of this kind has no such part */
    bool needed;
} part_rule;

static const part_rule bert_parts[CN_PART_COUNT] = {
    [CN_PART_CONFIG] = {"config.json", CN_MODEL_JSON_MAX, true},
    [CN_PART_VOCAB] = {"vocab.txt", CN_MODEL_VOCAB_MAX, true},
    [CN_PART_MODULES] = {"modules.json", CN_MODEL_JSON_MAX, true},
    [CN_PART_POOLING] = {NULL, CN_MODEL_JSON_MAX, true},
    [CN_PART_SBERT] = {"sentence_bert_config.json", CN_MODEL_JSON_MAX, false},
    [CN_PART_TOKENIZER] = {"tokenizer_config.json", CN_MODEL_JSON_MAX, false},
    [CN_PART_PROMPTS] = {"config_sentence_transformers.json", CN_MODEL_JSON_MAX, false},
    [CN_PART_WEIGHTS] = {"model.safetensors", CN_MODEL_WEIGHTS_MAX, true},
};
static const part_rule table_parts[CN_PART_COUNT] = {
    [CN_PART_VOCAB] = {"vocab.txt", CN_MODEL_VOCAB_MAX, true},
    [CN_PART_WEIGHTS] = {CN_TABLE_FILE, CN_TABLE_BYTES_MAX, true},
};

static cn_err read_all(int fd, const char *path, char *to, size_t n) {
    for (size_t at = 0; at < n;) {
        ssize_t got = read(fd, to + at, n - at < PIECE ? n - at : PIECE);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return cn_fail_errno(errno, "%s", path);
        if (got == 0)
            return cn_fail(CN_INVALID, "%s was cut short while it was read: %zu bytes of %zu", path, at, n);
        at += (size_t)got;
    }
    return CN_OK;
}

static cn_err read_fd(int fd, const char *path, uint64_t max, cn_str *ret) {
    struct stat st;
    if (fstat(fd, &st) != 0)
        return cn_fail_errno(errno, "%s", path);
    if (!S_ISREG(st.st_mode))
        return cn_fail(CN_INVALID, "%s is not a regular file", path);
    if (st.st_size == 0 || (uint64_t)st.st_size > max)
        return cn_fail(CN_INVALID, "%s has %lld bytes; it must have 1 to %llu", path, (long long)st.st_size, (unsigned long long)max);
    char *p = cn_alloc_aligned(64, (size_t)st.st_size);
    if (!p)
        return cn_fail_memory();
    cn_err err = read_all(fd, path, p, (size_t)st.st_size);
    if (err == CN_OK)
        *ret = (cn_str){p, (size_t)st.st_size};
    else
        cn_free(p);
    return err;
}

static cn_err read_part(const char *folder, const part_rule *rule, cn_model_part k, cn_model_dir *d) {
    char path[4096];
    if (snprintf(path, sizeof path, "%s/%s", folder, d->part[k].name) >= (int)sizeof path)
        return cn_fail(CN_INVALID, "the path of the model's folder is too long");
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT && !rule->needed) {
        d->part[k].name[0] = 0;
        return CN_OK;
    }
    if (fd < 0 && errno == ENOENT)
        return rule == &table_parts[k] ? cn_fail(CN_INVALID, "%s is missing", path)
                                       : cn_fail(CN_INVALID, "%s is missing; a model is a sentence-transformers folder with config.json, vocab.txt, modules.json, its "
                       "pooling folder and model.safetensors", path);
    if (fd < 0)
        return cn_fail_errno(errno, "%s", path);
    cn_err err = read_fd(fd, path, rule->max, &d->part[k].bytes);
    close(fd);
    return err;
}

static cn_err read_parts(const char *folder, const part_rule *parts, cn_model_dir *d) {
    for (cn_model_part k = 0; k < CN_PART_COUNT; k++) {
        bool normalise;
        char where[64];
        if (!parts[k].max)
            continue;
        if (parts[k].name) {
            snprintf(d->part[k].name, sizeof d->part[k].name, "%s", parts[k].name);
        } else {
            CN_TRY(cn_model_pooling_path(d->part[CN_PART_MODULES].bytes, where, &normalise));
            snprintf(d->part[k].name, sizeof d->part[k].name, "%s/config.json", where);
        }
        CN_TRY(read_part(folder, &parts[k], k, d));
    }
    return CN_OK;
}

static cn_err open_parts(const char *folder, const part_rule *parts, cn_model_dir *ret) {
    cn_model_dir d = {0};
    cn_err err = read_parts(folder, parts, &d);
    if (err == CN_OK)
        *ret = d;
    else
        cn_model_dir_done(&d);
    return err;
}

cn_err cn_model_dir_open(const char *folder, cn_model_dir *ret) { return open_parts(folder, bert_parts, ret); }
cn_err cn_model_dir_open_table(const char *folder, cn_model_dir *ret) { return open_parts(folder, table_parts, ret); }

void cn_model_dir_drop(cn_model_dir *d, cn_model_part k) {
    cn_free((void *)(uintptr_t)d->part[k].bytes.p);
    d->part[k].bytes = (cn_str){0};
}

void cn_model_dir_done(cn_model_dir *d) {
    for (cn_model_part k = 0; k < CN_PART_COUNT; k++)
        cn_model_dir_drop(d, k);
    *d = (cn_model_dir){0};
}

cn_digest cn_model_dir_digest(const cn_model_dir *d) {
    cn_sha256 s;
    cn_sha256_begin(&s);
    cn_sha256_field(&s, CN_STR("cairn model/1"));
    for (cn_model_part k = 0; k < CN_PART_COUNT; k++) {
        cn_sha256_field(&s, cn_str_of(d->part[k].name));
        cn_sha256_field(&s, d->part[k].bytes);
    }
    cn_digest digest = cn_sha256_get(&s);
    cn_sha256_end(&s);
    return digest;
}
