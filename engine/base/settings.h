/* settings.h -- one table describes every setting: name, type, default, bounds, help. Options, environment variables,
 * the configuration file, --help and the man page are all printed or parsed from it.
 *
 * Owns:    cn_settings owns the values; the table is the program's constant.
 * Thread:  one at a time.
 * Limits:  CN_SETTING_TEXT bytes a value. */
#pragma once
#include <stdint.h>

#include "engine/base/buf.h"

#define CN_SETTING_TEXT 4096
typedef enum cn_setting_type { CN_SET_BOOL, CN_SET_INT, CN_SET_DURATION_MS, CN_SET_BYTES, CN_SET_TEXT, CN_SET_LIST } cn_setting_type;

typedef struct cn_setting {
    const char *name;      /* "max_frame_bytes": option --max-frame-bytes, variable CAIRN_MAX_FRAME_BYTES */
    cn_setting_type type;
    const char *preset;    /* as a user would write it; "" for none */
    int64_t min, max;      /* numbers only */
    const char *help;
} cn_setting;

typedef struct cn_settings cn_settings;
cn_err cn_settings_new(const cn_setting *table, size_t n, cn_settings **ret);
void cn_settings_free(cn_settings *s);
/* `where` goes into the error: "cairnd.conf:12", "--listen". A list setting grows by each call. CN_NOT_FOUND for an unknown name. */
cn_err cn_settings_set(cn_settings *s, const char *name, const char *value, const char *where);
cn_err cn_settings_env(cn_settings *s, const char *prefix); /* takes PREFIX_NAME from the environment */
int64_t cn_settings_int(const cn_settings *s, const char *name);       /* also bool (0, 1), bytes, milliseconds */
const char *cn_settings_text(const cn_settings *s, const char *name);  /* "" when unset */
size_t cn_settings_list(const cn_settings *s, const char *name, const char *const **ret);
void cn_settings_sample(const cn_setting *table, size_t n, cn_buf *out); /* a commented configuration file */
