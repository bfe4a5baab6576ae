/* store.h -- DATA/models/<name>/: the kept copy of a model's folder and what was seen when it was added.
 *
 * A model of kind http has no such copy but its description, http.json (http_config.h), which may be edited but for what its
 * digest covers. One of kind static has vocab.txt and its table (table.h), which was made here.
 * `manifest` is one record of engine/base/pack.h, format 1:
 *   | u8 format | u32 CRC-32C | map: kind, dim, max_tokens, digest (bin 32), sizes (of each cn_model_part, 0: not there; of http all 0) |
 * Owns:    nothing.
 * Thread:  any; several processes may add at the same time.
 * Limits:  those of model.h. */
#pragma once
#include "ingest/embed/model.h"

#define CN_MANIFEST_FORMAT 1

typedef struct cn_manifest {
    char kind[16];
    uint32_t dim, max_tokens;
    cn_digest digest;
    uint64_t sizes[CN_PART_COUNT];
} cn_manifest;

/* CN_NOT_FOUND: no such model; CN_DAMAGED: its folder is not what was added. */
cn_err cn_model_manifest(const char *data_dir, cn_str name, cn_manifest *ret);
/* An http embedder's description; CN_DAMAGED when it is not of the service that was added. */
cn_err cn_model_open_http(const char *data_dir, cn_str name, struct cn_http_config *ret);
/* What tells one state of a file of its folder from another; all 0: it cannot be looked at. */
#define CN_MANIFEST_FILE "manifest"
typedef struct cn_file_mark {
    uint64_t device, inode, bytes;
    int64_t written_ns;
} cn_file_mark;
cn_file_mark cn_model_mark(const char *data_dir, cn_str name, const char *file);
/* Until *ret_fd is closed nobody removes the model (alone: nobody works with it either). CN_CONFLICT: somebody does; CN_NOT_FOUND. */
cn_err cn_model_hold(const char *data_dir, cn_str name, bool alone, int *ret_fd);
cn_err cn_model_discard(const char *data_dir, cn_str name); /* held alone: takes its folder away */
/* Keeps a static embedder: the table under the vocabulary that its rows are of. Under the name of another model: CN_CONFLICT. */
struct cn_token_table;
cn_err cn_model_add_table(const char *data_dir, cn_str name, const struct cn_token_table *t, cn_str vocab);
/* Reads a kept model's files (of kind bert or static) and compares them with the manifest. */
cn_err cn_model_open(const char *data_dir, cn_str name, cn_manifest *ret_manifest, cn_model_dir *ret);
