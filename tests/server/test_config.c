/* cairnd's configuration file damaged: each bit, each cut, zeros and what else a torn write leaves. It is refused with the line
 * that is damaged, or all that the other lines say stays as it was. */
#include <CUnit/Basic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/base/mem.h"
#include "server/net/config.h"

static const char intact[] = "; limits of this host\n"
                             "[cairnd]\n"
                             "data = /srv/cairn\n"
                             "listen = unix:/run/cairn.sock\n"
                             "listen = tcp://127.0.0.1:7700\n"
                             "insecure = false\n"
                             "unix_mode = 0600\n"
                             "anonymous = acme\n"
                             "import_root = acme=/srv/docs\n"
                             "\n"
                             "queue = 77\n"
                             "max-frame = 300KiB ; before auth less\n"
                             "request_timeout=59s\n"
                             "trace_keep = 31d\n"
                             "log_level = warn\n";
#define N (sizeof intact - 1)
#define LINES 16 /* and one after the last */

static char path[64];
static cn_config want;
static unsigned long refused, taken;

static void write_file(const char *bytes, size_t n) {
    FILE *f = fopen(path, "wb");
    CN_ASSERT(f && fwrite(bytes, 1, n, f) == n && fclose(f) == 0);
}

static cn_err load(cn_config *ret) {
    char *args[] = {(char *)(uintptr_t)"cairnd", (char *)(uintptr_t)"--config", path, NULL};
    return cn_config_load(3, args, ret);
}

static int line_of(size_t at) {
    int line = 1;
    for (size_t i = 0; i < at; i++)
        line += intact[i] == '\n';
    return line;
}

/* ---------- what the whole lines say ---------- */
static size_t not_among(const char *const *a, size_t n, const char *const *b, size_t m) {
    size_t missing = 0;
    for (size_t i = 0; i < n; i++) {
        size_t at = 0;
        while (at < m && strcmp(a[i], b[at]) != 0)
            at++;
        missing += at == m;
    }
    return missing;
}

/* Of a damaged line the list may have another item, or none. */
static bool same_list(const cn_config *got, const char *name, size_t damaged) {
    const char *const *a, *const *b;
    size_t n = cn_settings_list(want.settings, name, &a), m = cn_settings_list(got->settings, name, &b);
    return m <= n && not_among(a, n, b, m) <= damaged && not_among(b, m, a, n) <= damaged;
}

static bool is_as_it_was(const cn_config *got, const char *name, size_t damaged) {
    if (strcmp(name, "listen") == 0 || strcmp(name, "anonymous") == 0 || strcmp(name, "import_root") == 0)
        return same_list(got, name, damaged);
    if (damaged)
        return true;
    if (strcmp(name, "data") == 0 || strcmp(name, "unix_mode") == 0 || strcmp(name, "log_level") == 0)
        return strcmp(cn_settings_text(want.settings, name), cn_settings_text(got->settings, name)) == 0;
    return cn_settings_int(want.settings, name) == cn_settings_int(got->settings, name);
}

static const struct {
    const char *name;
    int first, last; /* its lines; 0: it has none */
} settings[] = {{"data", 3, 3}, {"listen", 4, 5}, {"insecure", 6, 6}, {"unix_mode", 7, 7}, {"anonymous", 8, 8}, {"import_root", 9, 9}, {"queue", 11, 11}, {"max_frame", 12, 12},
                {"request_timeout", 13, 13}, {"trace_keep", 14, 14}, {"log_level", 15, 15}, {"workers", 0, 0}, {"max_response", 0, 0}, {"idle_timeout", 0, 0}};

static void told(const char *how, size_t at, const char *what) {
    printf("\n  %s at %zu, line %d: %s", how, at, line_of(at), what);
    CU_FAIL("a damaged configuration");
}

static void compare(const cn_config *got, const char *how, size_t at, int first, int last) {
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        int from = settings[i].first > first ? settings[i].first : first, to = settings[i].last < last ? settings[i].last : last;
        if (!is_as_it_was(got, settings[i].name, from <= to ? (size_t)(to - from + 1) : 0))
            told(how, at, settings[i].name);
    }
}

/* By its file and one of the damaged lines (of a section, by the first setting in it), or for want of what stood there. */
static bool names_place(int first, int last) {
    char place[96];
    const char *text = cn_error_detail();
    last += strstr(text, "there is no section") != NULL;
    for (int line = first; line <= last; line++) {
        snprintf(place, sizeof place, "%s:%d:", path, line);
        if (strstr(text, place))
            return true;
    }
    return strstr(text, "no data directory") || strstr(text, "nowhere to listen") || strncmp(text, "unix_mode = \"", 13) == 0 || strncmp(text, "import_root = \"", 15) == 0 ||
           strncmp(text, "log_level = \"", 13) == 0;
}

/* Lines first to last are damaged. */
static void try_file(const char *how, size_t at, const char *bytes, size_t n, int first, int last, bool must) {
    cn_config got;
    write_file(bytes, n);
    if (load(&got) != CN_OK) {
        refused++;
        if (!names_place(first, last))
            told(how, at, cn_error_detail());
        return;
    }
    taken++;
    if (must)
        told(how, at, "taken");
    compare(&got, how, at, first, last);
    cn_config_done(&got);
}

/* ---------- ways ---------- */
static void every_bit(void) {
    char bytes[N];
    for (size_t at = 0; at < N; at++)
        for (int bit = 0; bit < 8; bit++) {
            memcpy(bytes, intact, N);
            bytes[at] = (char)(bytes[at] ^ 1 << bit);
            bool end = intact[at] == '\n' || bytes[at] == '\n'; /* one line more, or one less */
            try_file("a bit", 8 * at + (size_t)bit, bytes, N, line_of(at), line_of(at) + end, bytes[at] == 0);
        }
    CU_ASSERT(refused > 0 && taken > 0);
}

static void every_cut(void) {
    for (size_t at = 0; at < N; at++)
        try_file("cut", at, intact, at, line_of(at), LINES, false);
}

/* What a file system leaves of a file whose blocks were never written. */
static void zeros(void) {
    char bytes[N + 1];
    for (size_t n = 1; n <= N; n *= 4)
        for (size_t at = 0; at + n <= N; at++) {
            memcpy(bytes, intact, N);
            memset(bytes + at, 0, n);
            try_file("zeros", at, bytes, N, line_of(at), LINES, true);
        }
    memset(bytes, 0, N);
    try_file("all zeros", 0, bytes, N, 1, LINES, true);
    memcpy(bytes, intact, N);
    bytes[N] = 0;
    try_file("a zero at the end", N, bytes, N + 1, line_of(N), LINES, true);
}

static void a_line_gone(void) {
    char bytes[N];
    for (size_t at = 0, end; at < N; at = end) {
        end = at + strcspn(intact + at, "\n") + 1;
        memcpy(bytes, intact, at);
        memcpy(bytes + at, intact + end, N - end);
        try_file("a line gone", at, bytes, N - (end - at), line_of(at), line_of(at), false);
    }
}

int main(void) {
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    snprintf(path, sizeof path, "/tmp/cairn-test-conf-XXXXXX");
    int fd = mkstemp(path);
    CN_ASSERT(fd >= 0 && close(fd) == 0);
    write_file(intact, N);
    CN_ASSERT(load(&want) == CN_OK);
    CU_pSuite s = CU_add_suite("configuration damage", NULL, NULL);
    CU_add_test(s, "every bit", every_bit);
    CU_add_test(s, "every cut", every_cut);
    CU_add_test(s, "zeros", zeros);
    CU_add_test(s, "a line gone", a_line_gone);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    int bad = CU_get_number_of_failures() > 0 || CU_get_number_of_tests_run() == 0;
    printf("\n  %lu refused, %lu taken\n", refused, taken);
    CU_cleanup_registry();
    cn_config_done(&want);
    unlink(path);
    return bad;
}
