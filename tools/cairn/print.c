/* print.c -- a result map for people (tables, key and value), for scripts (TSV), or as it is (JSON). */
#include <stdlib.h>
#include <unistd.h>

#include "engine/base/json.h"
#include "engine/base/mem.h"
#include "engine/base/utf8.h"
#include "tools/cairn/local.h"

#define PRINT_MAX ((size_t)1 << 30)
#define COLUMNS_MAX 16
#define CELL_WIDTH 44

/* ---------- one value as text ---------- */
static void cell_object(cn_buf *b, const msgpack_object *o);

static void cell_list(cn_buf *b, const msgpack_object *o) {
    for (uint32_t i = 0; i < o->via.array.size; i++) {
        if (i)
            cn_buf_putc(b, ',');
        cell_object(b, &o->via.array.ptr[i]);
    }
}

static void cell_map(cn_buf *b, const msgpack_object *o) {
    bool first = true;
    for (uint32_t i = 0; i < o->via.map.size; i++) {
        const msgpack_object_kv *kv = &o->via.map.ptr[i];
        if (kv->val.type == MSGPACK_OBJECT_ARRAY && kv->val.via.array.size == 0)
            continue;
        cn_buf_puts(b, first ? "" : " ");
        first = false;
        cell_object(b, &kv->key);
        cn_buf_putc(b, '=');
        cell_object(b, &kv->val);
    }
}

/* Characters that would let a document's id play with the terminal become spaces. */
void cmd_put_text(cn_buf *b, cn_str s) {
    size_t valid = cn_utf8_valid_to(s);
    for (size_t i = 0; i < s.n; i++) {
        if (i == valid) { /* names of files may be any bytes */
            cn_buf_puts(b, "\xef\xbf\xbd");
            valid = i + 1 + cn_utf8_valid_to((cn_str){s.p + i + 1, s.n - i - 1});
            continue;
        }
        size_t n = cn_utf8_plays(s.p + i, s.n - i);
        cn_buf_putc(b, n ? ' ' : s.p[i]);
        i += n ? n - 1 : 0;
    }
}

static void cell_object(cn_buf *b, const msgpack_object *o) {
    switch (o->type) {
    case MSGPACK_OBJECT_NIL: break;
    case MSGPACK_OBJECT_ARRAY: cell_list(b, o); break;
    case MSGPACK_OBJECT_MAP: cell_map(b, o); break;
    case MSGPACK_OBJECT_STR: cmd_put_text(b, cn_obj_str(o)); break;
    case MSGPACK_OBJECT_BOOLEAN: cn_buf_puts(b, o->via.boolean ? "yes" : "no"); break;
    case MSGPACK_OBJECT_POSITIVE_INTEGER: cn_buf_printf(b, "%llu", (unsigned long long)o->via.u64); break;
    case MSGPACK_OBJECT_NEGATIVE_INTEGER: cn_buf_printf(b, "%lld", (long long)o->via.i64); break;
    case MSGPACK_OBJECT_FLOAT32:
    case MSGPACK_OBJECT_FLOAT64: cn_buf_printf(b, "%.4f", o->via.f64); break;
    case MSGPACK_OBJECT_BIN:
    case MSGPACK_OBJECT_EXT: cn_buf_puts(b, "(bytes)"); break;
    }
}

static int shown_width(cn_str s) { /* characters, counted by their first bytes */
    int n = 0;
    for (size_t i = 0; i < s.n; i++)
        n += ((unsigned char)s.p[i] & 0xc0) != 0x80;
    return n;
}

/* ---------- tables ---------- */
typedef struct view {
    char list[32];
    char names[COLUMNS_MAX][32];
    int n;
} view;

static void parse_view(const char *text, view *v) { /* "versions: version state marks" */
    size_t n = strcspn(text, ":");
    snprintf(v->list, sizeof v->list, "%.*s", (int)n, text);
    v->n = 0;
    for (const char *p = text + n + 1; *p && v->n < COLUMNS_MAX;) {
        p += strspn(p, " ");
        n = strcspn(p, " ");
        snprintf(v->names[v->n++], sizeof v->names[0], "%.*s", (int)n, p);
        p += n;
    }
}

/* Digests are shown by their first 12 digits, times to the second; JSON and TSV have them whole. */
static void table_cell(cn_buf *b, const char *name, const msgpack_object *o) {
    cn_buf_reset(b);
    if (!o)
        return;
    cell_object(b, o);
    bool digest = strcmp(name, "root") == 0 || strcmp(name, "digest") == 0 || strcmp(name, "content") == 0;
    if (digest && b->n > 12)
        b->n = 12;
    if (b->n == 27 && b->p[10] == 'T' && b->p[26] == 'Z') {
        memcpy(b->p + 19, "Z", 1);
        b->n = 20;
    }
}

static void print_row(const view *v, const msgpack_object *row, const int *width, cn_buf *cell) {
    for (int i = 0; i < v->n; i++) {
        table_cell(cell, v->names[i], cn_get(row, v->names[i]));
        int pad = width[i] - shown_width(cn_buf_str(cell));
        printf("%s" CN_STR_FMT "%*s", i ? "  " : "", CN_STR_ARG(cn_buf_str(cell)), i + 1 < v->n && pad > 0 ? pad : 0, "");
    }
    putchar('\n');
}

static void print_table(const view *v, const msgpack_object *list, cn_buf *cell) {
    int width[COLUMNS_MAX];
    for (int i = 0; i < v->n; i++) {
        width[i] = (int)strlen(v->names[i]);
        for (uint32_t r = 0; r < list->via.array.size; r++) {
            table_cell(cell, v->names[i], cn_get(&list->via.array.ptr[r], v->names[i]));
            int w = shown_width(cn_buf_str(cell));
            if (w > width[i])
                width[i] = w > CELL_WIDTH ? CELL_WIDTH : w;
        }
    }
    for (int i = 0; i < v->n; i++)
        printf("%s%-*s", i ? "  " : "", i + 1 < v->n ? width[i] : 0, v->names[i]);
    putchar('\n');
    for (uint32_t r = 0; r < list->via.array.size; r++)
        print_row(v, &list->via.array.ptr[r], width, cell);
}

static void print_tsv(const view *v, const msgpack_object *list, cn_buf *cell) {
    for (int i = 0; i < v->n; i++)
        printf("%s%s", i ? "\t" : "", v->names[i]);
    putchar('\n');
    for (uint32_t r = 0; r < list->via.array.size; r++)
        for (int i = 0; i < v->n; i++) {
            const msgpack_object *o = cn_get(&list->via.array.ptr[r], v->names[i]);
            cn_buf_reset(cell);
            if (o)
                cell_object(cell, o);
            printf(CN_STR_FMT "%c", CN_STR_ARG(cn_buf_str(cell)), i + 1 < v->n ? '\t' : '\n');
        }
}

/* ---------- key and value ---------- */
static void print_pairs(const msgpack_object *map, const char *skip, bool tsv, cn_buf *cell) {
    for (uint32_t i = 0; i < map->via.map.size; i++) {
        const msgpack_object_kv *kv = &map->via.map.ptr[i];
        cn_str key = cn_obj_str(&kv->key);
        if (skip && cn_str_is(key, skip))
            continue;
        cn_buf_reset(cell);
        cell_object(cell, &kv->val);
        if (tsv)
            printf(CN_STR_FMT "\t" CN_STR_FMT "\n", CN_STR_ARG(key), CN_STR_ARG(cn_buf_str(cell)));
        else if (cell->n)
            printf("%-12.*s " CN_STR_FMT "\n", (int)key.n, key.p, CN_STR_ARG(cn_buf_str(cell)));
    }
}

/* ---------- hits ---------- */
static bool color(void) {
    const char *term = getenv("TERM"), *plain = getenv("NO_COLOR");
    return isatty(STDOUT_FILENO) && !(plain && *plain) && !(term && strcmp(term, "dumb") == 0);
}

#define SNIPPET 300
#define BEFORE 60   /* bytes in front of the first highlight, where that stands further down */
#define MARK '\001' /* a highlight begins; control characters of the text itself are spaces by then */
#define END '\002'

/* The text fit for a terminal, with its highlights marked. */
static void marked_text(cn_buf *b, cn_str text, const msgpack_object *ranges) {
    size_t at = 0;
    for (uint32_t i = 0; ranges && ranges->type == MSGPACK_OBJECT_ARRAY && i < ranges->via.array.size; i++) {
        const msgpack_object *r = &ranges->via.array.ptr[i];
        bool two = r->type == MSGPACK_OBJECT_ARRAY && r->via.array.size == 2;
        uint64_t from = two ? r->via.array.ptr[0].via.u64 : 0, to = two ? r->via.array.ptr[1].via.u64 : 0;
        if (from < at || to < from || to > text.n)
            continue;
        cmd_put_text(b, (cn_str){text.p + at, from - at});
        cn_buf_putc(b, MARK);
        cmd_put_text(b, (cn_str){text.p + from, to - from});
        cn_buf_putc(b, END);
        at = to;
    }
    cmd_put_text(b, (cn_str){text.p + at, text.n - at});
}

static bool is_blank(char c) { return (unsigned char)c <= ' ' && c != MARK && c != END; }

static int print_word(cn_str word) { /* its width */
    int marks = 0;
    for (size_t i = 0; i < word.n; i++) {
        bool mark = word.p[i] == MARK || word.p[i] == END;
        marks += mark;
        if (!mark)
            putchar(word.p[i]);
        else if (color())
            fputs(word.p[i] == MARK ? "\033[1m" : "\033[0m", stdout);
    }
    return shown_width(word) - marks;
}

/* Where the words to show begin. */
static size_t snippet_from(cn_str text) {
    const char *mark = memchr(text.p, MARK, text.n);
    size_t at = mark ? (size_t)(mark - text.p) : 0;
    if (at + BEFORE <= SNIPPET)
        return 0;
    for (at -= BEFORE; !is_blank(text.p[at]) && text.p[at] != MARK;)
        at++;
    return at;
}

static void print_snippet(cn_str text) { /* its first words, white space folded, wrapped at 96 */
    size_t i = snippet_from(text), shown = 0;
    int col = i ? 3 : 0;
    fputs(i ? "   ..." : "   ", stdout);
    while (i < text.n && shown < SNIPPET) {
        while (i < text.n && is_blank(text.p[i]))
            i++;
        size_t from = i;
        while (i < text.n && !is_blank(text.p[i]))
            i++;
        cn_str word = {text.p + from, i - from};
        if (col && col + shown_width(word) > 96) {
            fputs("\n   ", stdout);
            col = 0;
        }
        if (col)
            putchar(' ');
        col += print_word(word) + (col > 0);
        shown += word.n + 1;
    }
    printf("%s%s\n", color() ? "\033[0m" : "", i < text.n ? " ..." : "");
}

static void print_hit(const msgpack_object *h, uint32_t number, cn_buf *cell) {
    double score = 0, relevance = 0;
    cn_str text = {NULL, 0};
    const msgpack_object *headings = cn_get(h, "headings"), *page = cn_get(h, "page"), *bytes = cn_get(h, "bytes");
    cn_get_f64(h, "score", &score);
    cn_get_f64(h, "relevance", &relevance);
    cn_get_str(h, "text", &text);
    cn_buf_reset(cell);
    if (cn_get(h, "index")) { /* several were asked */
        cmd_put_text(cell, cn_obj_str(cn_get(h, "index")));
        cn_buf_puts(cell, ": ");
    }
    cmd_put_text(cell, cn_obj_str(cn_get(h, "doc")));
    printf("%s%u. " CN_STR_FMT "%s  score %.4f  relevance %.2f", color() ? "\033[1m" : "", number, CN_STR_ARG(cn_buf_str(cell)), color() ? "\033[0m" : "", score, relevance);
    if (page && page->type == MSGPACK_OBJECT_POSITIVE_INTEGER)
        printf("  page %llu", (unsigned long long)page->via.u64);
    if (bytes && bytes->type == MSGPACK_OBJECT_ARRAY && bytes->via.array.size == 2)
        printf("  bytes %llu-%llu", (unsigned long long)bytes->via.array.ptr[0].via.u64, (unsigned long long)bytes->via.array.ptr[1].via.u64);
    putchar('\n');
    if (headings && headings->type == MSGPACK_OBJECT_ARRAY && headings->via.array.size) {
        fputs("   ", stdout);
        for (uint32_t i = 0; i < headings->via.array.size; i++) {
            cn_buf_reset(cell);
            cmd_put_text(cell, cn_obj_str(&headings->via.array.ptr[i]));
            printf("%s" CN_STR_FMT, i ? " > " : "", CN_STR_ARG(cn_buf_str(cell)));
        }
        putchar('\n');
    }
    cn_buf_reset(cell);
    marked_text(cell, text, cn_get(h, "highlights"));
    if (cell->n)
        print_snippet(cn_buf_str(cell));
}

static void print_made_by(const msgpack_object *made, cn_buf *cell) {
    cn_str root = cn_obj_str(cn_get(made, "root"));
    cn_buf_reset(cell);
    if (cn_get(made, "version"))
        cell_object(cell, cn_get(made, "version"));
    printf("version " CN_STR_FMT ", root %.12s, embedder " CN_STR_FMT ", mode " CN_STR_FMT "\n", CN_STR_ARG(cn_buf_str(cell)),
           root.n >= 12 ? root.p : "", CN_STR_ARG(cn_obj_str(cn_get(made, "embedder"))), CN_STR_ARG(cn_obj_str(cn_get(made, "mode"))));
    const msgpack_object *degraded = cn_get(made, "degraded");
    if (degraded && degraded->type == MSGPACK_OBJECT_ARRAY && degraded->via.array.size) {
        cn_buf_reset(cell);
        cell_object(cell, degraded);
        printf("degraded: " CN_STR_FMT "\n", CN_STR_ARG(cn_buf_str(cell)));
    }
}

static void print_others(const msgpack_object *list, cn_buf *cell) {
    for (uint32_t i = 0; list && list->type == MSGPACK_OBJECT_ARRAY && i < list->via.array.size; i++) {
        const msgpack_object *made = &list->via.array.ptr[i];
        cn_buf_reset(cell);
        cmd_put_text(cell, cn_obj_str(cn_get(made, "index")));
        printf("also " CN_STR_FMT ": ", CN_STR_ARG(cn_buf_str(cell)));
        if (!cn_get(made, "error")) {
            print_made_by(made, cell);
            continue;
        }
        cn_buf_reset(cell);
        cmd_put_text(cell, cn_obj_str(cn_get(made, "error")));
        printf(CN_STR_FMT "\n", CN_STR_ARG(cn_buf_str(cell)));
    }
}

static void print_hits(const msgpack_object *result, cn_buf *cell) {
    const msgpack_object *hits = cn_get(result, "hits"), *made = cn_get(result, "made_by"), *plan = cn_get(result, "plan"), *tokens = cn_get(result, "tokens");
    uint32_t n = hits && hits->type == MSGPACK_OBJECT_ARRAY ? hits->via.array.size : 0;
    for (uint32_t i = 0; i < n; i++)
        print_hit(&hits->via.array.ptr[i], i + 1, cell);
    if (n == 0 && tokens)
        puts("no passages within so many tokens that this caller may read");
    else if (n == 0)
        puts(cn_str_is(cn_obj_str(cn_get(made, "mode")), "lexical") ? "no passages with these words that this caller may read" : "no passages that this caller may read");
    printf("evidence: " CN_STR_FMT "; ", CN_STR_ARG(cn_obj_str(cn_get(result, "evidence"))));
    print_made_by(made, cell);
    print_others(cn_get(result, "also_made_by"), cell);
    cn_buf_reset(cell);
    if (tokens) {
        cell_object(cell, tokens);
        printf("tokens: " CN_STR_FMT "\n", CN_STR_ARG(cn_buf_str(cell)));
        cn_buf_reset(cell);
    }
    if (plan) {
        cell_object(cell, plan);
        printf("plan: " CN_STR_FMT "\n", CN_STR_ARG(cn_buf_str(cell)));
    }
}

static void print_hits_tsv(const msgpack_object *result, cn_buf *cell) {
    view v;
    parse_view(cn_get(result, "also_made_by") ? "hits: index doc source chunk score relevance page bytes headings text"
                                              : "hits: doc source chunk score relevance page bytes headings text", &v);
    const msgpack_object *hits = cn_get(result, "hits");
    if (hits && hits->type == MSGPACK_OBJECT_ARRAY)
        print_tsv(&v, hits, cell);
}

/* ---------- one result ---------- */
static int print_json(const msgpack_object *o) {
    CN_AUTO_BUF cn_buf b;
    cn_buf_init(&b, PRINT_MAX);
    cn_json_write(&b, o, isatty(STDOUT_FILENO) ? 2 : 0);
    cn_buf_putc(&b, '\n');
    fwrite(b.p, 1, b.n, stdout);
    return 0;
}

/* TSV has no column for what is said of the list as a whole; that it lacks something must be seen all the same. */
static void tell_incomplete(const msgpack_object *map, const char *list, cn_buf *cell) {
    const msgpack_object *complete = cn_get(map, "complete");
    if (!complete || complete->type != MSGPACK_OBJECT_BOOLEAN || complete->via.boolean)
        return;
    fputs("cairn: warning: the list is not complete:", stderr);
    for (uint32_t i = 0; i < map->via.map.size; i++) {
        const msgpack_object_kv *kv = &map->via.map.ptr[i];
        cn_buf_reset(cell);
        cell_object(cell, &kv->val);
        if (cell->n && &kv->val != complete && !cn_str_is(cn_obj_str(&kv->key), list))
            fprintf(stderr, " " CN_STR_FMT "=" CN_STR_FMT, CN_STR_ARG(cn_obj_str(&kv->key)), CN_STR_ARG(cn_buf_str(cell)));
    }
    fputs("\n", stderr);
}

static void print_view(const cmd *c, const msgpack_object *o, cn_buf *cell) {
    view v;
    parse_view(c->view, &v);
    const msgpack_object *list = cn_get(o, v.list);
    bool tsv = cmd_the_env.out == OUT_TSV;
    if (!list || list->type != MSGPACK_OBJECT_ARRAY) {
        print_pairs(o, NULL, tsv, cell);
    } else if (tsv) {
        print_tsv(&v, list, cell);
        tell_incomplete(o, v.list, cell);
    } else {
        print_pairs(o, v.list, false, cell);
        if (list->via.array.size)
            print_table(&v, list, cell);
        else if (o->via.map.size == 1)
            puts("none");
    }
}

int cmd_print_one(const cmd *c, const char *key, const char *value) {
    CN_AUTO_BUF cn_buf out;
    cn_buf_init(&out, 8192);
    cn_pack_map(&out, 1);
    cn_pack_cstr(&out, key);
    cn_pack_cstr(&out, value);
    return cmd_print(c, cn_buf_str(&out));
}

int cmd_print(const cmd *c, cn_str result) {
    CN_AUTO_UNPACKED cn_unpacked u = {0};
    CN_AUTO_BUF cn_buf cell;
    cn_buf_init(&cell, PRINT_MAX);
    cn_err err = cn_unpack(&u, result.p, result.n);
    if (err != CN_OK)
        return cmd_fail(err);
    if (cmd_the_env.out == OUT_JSON)
        return print_json(&u.o);
    bool tsv = cmd_the_env.out == OUT_TSV;
    if (cn_get(&u.o, "hits"))
        (tsv ? print_hits_tsv : print_hits)(&u.o, &cell);
    else if (c->view)
        print_view(c, &u.o, &cell);
    else
        print_pairs(&u.o, NULL, tsv, &cell);
    fflush(stdout);
    return ferror(stdout) ? EXIT_FAILED : 0;
}
