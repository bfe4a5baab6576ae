#include "engine/base/settings.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/mem.h"

typedef struct value {
    int64_t number;
    char *text;
    const char **list;
    size_t n_list;
} value;

struct cn_settings {
    const cn_setting *table;
    size_t n;
    value *values;
};

/* --- numbers with units --- */
typedef struct unit {
    const char *name;
    int64_t factor;
} unit;

static const unit durations[] = {{"", 1}, {"ms", 1}, {"s", 1000}, {"m", 60000}, {"min", 60000}, {"h", 3600000}, {"d", 86400000}, {NULL, 0}};
static const unit sizes[] = {{"", 1},         {"B", 1},           {"kB", 1000},        {"KiB", 1 << 10},       {"MB", 1000000}, {"MiB", 1 << 20},
                             {"GB", 1000000000}, {"GiB", 1 << 30}, {"TiB", (int64_t)1 << 40}, {NULL, 0}};
static const unit plain[] = {{"", 1}, {NULL, 0}};

static const char *wants(cn_setting_type type) {
    switch (type) {
    case CN_SET_BOOL: return "true or false";
    case CN_SET_INT: return "a whole number";
    case CN_SET_DURATION_MS: return "a duration such as 500ms, 30s, 5m or 2h";
    case CN_SET_BYTES: return "a size such as 65536, 64KiB, 16MiB or 2GiB";
    case CN_SET_TEXT:
    case CN_SET_LIST: return "text";
    }
    return "";
}

static bool read_number(const char *text, const unit *units, int64_t *ret) {
    char *end;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (end == text || errno || isspace((unsigned char)*text))
        return false;
    for (const unit *u = units; u->name; u++)
        if (strcmp(u->name, end) == 0)
            return !__builtin_mul_overflow((int64_t)v, u->factor, ret);
    return false;
}

static bool read_bool(const char *text, int64_t *ret) {
    static const char *const yes[] = {"true", "yes", "on", "1"}, *const no[] = {"false", "no", "off", "0"};
    for (size_t i = 0; i < 4; i++) {
        if (strcmp(text, yes[i]) == 0)
            return *ret = 1, true;
        if (strcmp(text, no[i]) == 0)
            return *ret = 0, true;
    }
    return false;
}

static bool read_value(cn_setting_type type, const char *text, int64_t *ret) {
    switch (type) {
    case CN_SET_BOOL: return read_bool(text, ret);
    case CN_SET_INT: return read_number(text, plain, ret);
    case CN_SET_DURATION_MS: return read_number(text, durations, ret);
    case CN_SET_BYTES: return read_number(text, sizes, ret);
    case CN_SET_TEXT:
    case CN_SET_LIST: break;
    }
    return false;
}

/* --- values --- */
static void free_text(value *v) {
    for (size_t i = 0; i < v->n_list; i++) {
        char *text;
        memcpy(&text, &v->list[i], sizeof text);
        cn_free(text);
    }
    cn_free(v->list);
    cn_free(v->text);
    *v = (value){0};
}

static cn_err set_text(value *v, const char *text) {
    char *copy = cn_strdup_n(text, strlen(text));
    if (!copy)
        return cn_fail_memory();
    cn_free(v->text);
    v->text = copy;
    return CN_OK;
}

static cn_err grow_list(value *v, const char *text) {
    if (!cn_resize(v->list, v->n_list + 1))
        return cn_fail_memory();
    if (!(v->list[v->n_list] = cn_strdup_n(text, strlen(text))))
        return cn_fail_memory();
    v->n_list++;
    return CN_OK;
}

static cn_err set_value(const cn_setting *row, value *v, const char *text, const char *where) {
    if (strlen(text) >= CN_SETTING_TEXT)
        return cn_fail(CN_INVALID, "%s: %s is over %d bytes long", where, row->name, CN_SETTING_TEXT - 1);
    if (row->type == CN_SET_TEXT)
        return set_text(v, text);
    if (row->type == CN_SET_LIST)
        return grow_list(v, text);
    int64_t number;
    if (!read_value(row->type, text, &number))
        return cn_fail(CN_INVALID, "%s: %s = \"%s\"; it must be %s", where, row->name, text, wants(row->type));
    if (row->type != CN_SET_BOOL && (number < row->min || number > row->max))
        return cn_fail(CN_INVALID, "%s: %s = %s; it must be from %lld to %lld%s", where, row->name, text, (long long)row->min,
                       (long long)row->max, row->type == CN_SET_BYTES ? " bytes" : row->type == CN_SET_DURATION_MS ? " ms" : "");
    v->number = number;
    return CN_OK;
}

/* Options and files may write - for _. */
static bool same_name(const char *a, const char *b) {
    for (; *a && *b; a++, b++)
        if (*a != *b && !(*a == '_' && *b == '-'))
            return false;
    return *a == *b;
}

static size_t place_of(const cn_settings *s, const char *name) {
    size_t i = 0;
    while (i < s->n && !same_name(s->table[i].name, name))
        i++;
    return i;
}

cn_err cn_settings_new(const cn_setting *table, size_t n, cn_settings **ret) {
    cn_settings *s = cn_calloc(1, sizeof *s);
    value *values = cn_calloc(n, sizeof *values);
    if (!s || !values) {
        cn_free(values);
        cn_free(s);
        return cn_fail_memory();
    }
    *s = (cn_settings){table, n, values};
    for (size_t i = 0; i < n; i++) {
        if (!*table[i].preset)
            continue;
        cn_err err = set_value(&table[i], &values[i], table[i].preset, "preset");
        if (err != CN_OK) {
            cn_settings_free(s);
            return err;
        }
    }
    *ret = s;
    return CN_OK;
}

void cn_settings_free(cn_settings *s) {
    if (!s)
        return;
    for (size_t i = 0; i < s->n; i++)
        free_text(&s->values[i]);
    cn_free(s->values);
    cn_free(s);
}

cn_err cn_settings_set(cn_settings *s, const char *name, const char *text, const char *where) {
    size_t i = place_of(s, name);
    if (i == s->n)
        return cn_fail(CN_NOT_FOUND, "%s: there is no setting \"%s\"", where, name);
    return set_value(&s->table[i], &s->values[i], text, where);
}

cn_err cn_settings_env(cn_settings *s, const char *prefix) {
    for (size_t i = 0; i < s->n; i++) {
        char name[128];
        int len = snprintf(name, sizeof name, "%s_%s", prefix, s->table[i].name);
        if (len < 0 || (size_t)len >= sizeof name)
            continue;
        for (char *p = name; *p; p++)
            *p = (char)toupper((unsigned char)*p);
        const char *text = getenv(name);
        if (text && *text)
            CN_TRY(set_value(&s->table[i], &s->values[i], text, name));
    }
    return CN_OK;
}

static const value *get(const cn_settings *s, const char *name) {
    size_t i = place_of(s, name);
    CN_ASSERT(i < s->n);
    return &s->values[i];
}

int64_t cn_settings_int(const cn_settings *s, const char *name) { return get(s, name)->number; }

const char *cn_settings_text(const cn_settings *s, const char *name) {
    const char *text = get(s, name)->text;
    return text ? text : "";
}

size_t cn_settings_list(const cn_settings *s, const char *name, const char *const **ret) {
    const value *v = get(s, name);
    *ret = v->list;
    return v->n_list;
}

void cn_settings_sample(const cn_setting *table, size_t n, cn_buf *out) {
    for (size_t i = 0; i < n; i++) {
        cn_buf_printf(out, "%s; %s\n", i ? "\n" : "", table[i].help);
        cn_buf_printf(out, ";%s = %s\n", table[i].name, table[i].preset);
    }
}
