/* The command's form of a filter, by recursive descent, written out as the map form.
 *
 * or   := and ("or" and)*
 * and  := term ("and" term)*
 * term := "not" term | "(" or ")" | "exists" field | field ["not"] "in" "(" [value ("," value)*] ")" | field op value
 * op   := = == != < <= > >=
 * Words are letters, digits, . _ / : @ + - and whatever is not ASCII; anything else stands in quotes ('...' or "...",
 * with \ before a quote or a \). An unquoted number, true and false are that; quoted, they are strings. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <strings.h>

#include "engine/base/caret.h"
#include "engine/base/utf8.h"
#include "index/search/filter.h"

enum token_kind { TOKEN_END, TOKEN_WORD, TOKEN_QUOTED, TOKEN_OP, TOKEN_OPEN, TOKEN_CLOSE, TOKEN_COMMA, TOKEN_BAD };

typedef struct token {
    enum token_kind kind;
    size_t at, end;
} token;

typedef struct parser {
    cn_str text;
    token now;
    cn_buf *out;
    unsigned calls; /* parse_term inside parse_term */
} parser;

#define MAX_CALLS 40 /* of parse_term inside itself: parentheses and not */

static cn_err fail_at(const parser *p, size_t at, const char *what) { return cn_fail_at("filter", p->text, at, what); }

static bool word_byte(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (uint8_t)c >= 0x80 ||
           (c && strchr("._/:@+-", c));
}

static token quoted(cn_str s, size_t at) {
    for (size_t i = at + 1; i < s.n; i++) {
        if (s.p[i] == '\\')
            i++;
        else if (s.p[i] == s.p[at])
            return (token){TOKEN_QUOTED, at, i + 1};
    }
    return (token){TOKEN_BAD, at, s.n};
}

static token next_token(cn_str s, size_t at) {
    while (at < s.n && (s.p[at] == ' ' || (s.p[at] >= '\t' && s.p[at] <= '\r')))
        at++;
    if (at == s.n)
        return (token){TOKEN_END, at, at};
    char c = s.p[at];
    size_t end = at + 1;
    if (c == '(' || c == ')' || c == ',')
        return (token){c == '(' ? TOKEN_OPEN : c == ')' ? TOKEN_CLOSE : TOKEN_COMMA, at, end};
    if (c == '"' || c == '\'')
        return quoted(s, at);
    if (strchr("=!<>", c) && c) {
        if (end < s.n && s.p[end] == '=')
            end++;
        return (token){c == '!' && end == at + 1 ? TOKEN_BAD : TOKEN_OP, at, end};
    }
    if (!word_byte(c))
        return (token){TOKEN_BAD, at, end};
    while (end < s.n && word_byte(s.p[end]))
        end++;
    return (token){TOKEN_WORD, at, end};
}

static void advance(parser *p) { p->now = next_token(p->text, p->now.end); }
static cn_str token_text(const parser *p, token t) { return (cn_str){p->text.p + t.at, t.end - t.at}; }

static bool is_word(const parser *p, const char *word) {
    cn_str s = token_text(p, p->now);
    return p->now.kind == TOKEN_WORD && s.n == strlen(word) && strncasecmp(s.p, word, s.n) == 0;
}

static cn_err expected(const parser *p, const char *what) {
    if (p->now.kind == TOKEN_BAD && (p->text.p[p->now.at] == '"' || p->text.p[p->now.at] == '\''))
        return fail_at(p, p->now.at, "this quote has no end");
    return fail_at(p, p->now.at, what);
}

static void put_quoted(parser *p, token t) {
    size_t n = 0;
    for (size_t i = t.at + 1; i + 1 < t.end; i++, n++)
        if (p->text.p[i] == '\\')
            i++;
    uint8_t head[5] = {0xdb, (uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n};
    cn_buf_add(p->out, head, sizeof head);
    for (size_t i = t.at + 1; i + 1 < t.end; i++) {
        if (p->text.p[i] == '\\')
            i++;
        cn_buf_putc(p->out, p->text.p[i]);
    }
}

static void put_text(parser *p, token t) {
    if (t.kind == TOKEN_QUOTED)
        put_quoted(p, t);
    else
        cn_pack_str(p->out, token_text(p, t));
}

/* -?digits[.digits][e[+-]digits], so that 2024-01-02, 1.2.3 and inf stay words. */
static bool looks_like_number(cn_str s, bool *whole) {
    size_t i = s.n && s.p[0] == '-', digits = 0;
    *whole = true;
    for (; i < s.n && s.p[i] >= '0' && s.p[i] <= '9'; i++)
        digits++;
    if (i < s.n && s.p[i] == '.')
        for (i++, *whole = false; i < s.n && s.p[i] >= '0' && s.p[i] <= '9'; i++)
            digits++;
    if (digits && i < s.n && (s.p[i] == 'e' || s.p[i] == 'E')) {
        *whole = false;
        i++;
        if (i < s.n && (s.p[i] == '+' || s.p[i] == '-'))
            i++;
        for (digits = 0; i < s.n && s.p[i] >= '0' && s.p[i] <= '9'; i++)
            digits++;
    }
    return digits && i == s.n;
}

static cn_err put_number(parser *p, cn_str s, bool whole) {
    char z[64];
    if (s.n >= sizeof z)
        return fail_at(p, p->now.at, "this number is too long");
    memcpy(z, s.p, s.n);
    z[s.n] = 0;
    errno = 0;
    unsigned long long u = strtoull(z[0] == '-' ? z + 1 : z, NULL, 10);
    if (whole && errno == 0 && z[0] != '-')
        cn_pack_uint(p->out, u);
    else if (whole && errno == 0 && u <= (unsigned long long)INT64_MAX + 1)
        cn_pack_int(p->out, (int64_t)(0 - u));
    else {
        double f = strtod(z, NULL);
        if (!isfinite(f))
            return fail_at(p, p->now.at, "this number is too large");
        cn_pack_f64(p->out, f);
    }
    return CN_OK;
}

static cn_err put_value(parser *p) {
    bool whole;
    cn_str s = token_text(p, p->now);
    if (p->now.kind != TOKEN_WORD && p->now.kind != TOKEN_QUOTED)
        return expected(p, "expected a value");
    if (is_word(p, "true") || is_word(p, "false"))
        cn_pack_bool(p->out, is_word(p, "true"));
    else if (p->now.kind == TOKEN_WORD && looks_like_number(s, &whole))
        CN_TRY(put_number(p, s, whole));
    else
        put_text(p, p->now);
    advance(p);
    return CN_OK;
}

static cn_err put_list(parser *p) {
    uint32_t n = 0;
    if (p->now.kind != TOKEN_OPEN)
        return expected(p, "expected ( and a list of values");
    advance(p);
    size_t at = cn_pack_array_open(p->out);
    while (p->now.kind != TOKEN_CLOSE) {
        if (n && p->now.kind != TOKEN_COMMA)
            return expected(p, "expected , or )");
        if (n)
            advance(p);
        CN_TRY(put_value(p));
        n++;
    }
    advance(p);
    cn_pack_array_close(p->out, at, n);
    return CN_OK;
}

static const char *compare_name(cn_str op) {
    static const char *const names[][2] = {{"=", "eq"}, {"==", "eq"}, {"!=", "ne"}, {"<", "lt"}, {"<=", "lte"}, {">", "gt"}, {">=", "gte"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (cn_str_is(op, names[i][0]))
            return names[i][1];
    return NULL;
}

static void put_field(parser *p, token field) {
    cn_pack_map(p->out, 2);
    cn_pack_cstr(p->out, "field");
    put_text(p, field);
}

static cn_err put_in(parser *p, token field, bool negated) {
    if (negated) {
        cn_pack_map(p->out, 1);
        cn_pack_cstr(p->out, "not");
    }
    put_field(p, field);
    cn_pack_cstr(p->out, "in");
    return put_list(p);
}

/* Each parse_ function tells how many maps and lists lie inside each other in what it wrote. */
static cn_err parse_comparison(parser *p, unsigned *ret_levels) {
    token field = p->now;
    if (field.kind != TOKEN_WORD && field.kind != TOKEN_QUOTED)
        return expected(p, "expected a field, not, exists or (");
    advance(p);
    bool negated = is_word(p, "not");
    if (negated)
        advance(p);
    if (is_word(p, "in")) {
        advance(p);
        *ret_levels = negated ? 3 : 2;
        return put_in(p, field, negated);
    }
    const char *name = p->now.kind == TOKEN_OP && !negated ? compare_name(token_text(p, p->now)) : NULL;
    if (!name)
        return expected(p, negated ? "expected in" : "expected = != < <= > >= in or not in");
    advance(p);
    put_field(p, field);
    cn_pack_cstr(p->out, name);
    *ret_levels = 1;
    return put_value(p);
}

static cn_err parse_exists(parser *p, unsigned *ret_levels) {
    if (p->now.kind != TOKEN_WORD && p->now.kind != TOKEN_QUOTED)
        return expected(p, "expected the name of a field");
    put_field(p, p->now);
    cn_pack_cstr(p->out, "exists");
    cn_pack_bool(p->out, true);
    advance(p);
    *ret_levels = 1;
    return CN_OK;
}

/* `exists` and `not` are fields where an operator follows them. */
static bool is_operator_next(const parser *p) {
    parser ahead = *p;
    advance(&ahead);
    return ahead.now.kind == TOKEN_OP || is_word(&ahead, "in");
}

static cn_err parse_or(parser *p, unsigned *ret_levels);
static cn_err parse_term(parser *p, unsigned *ret_levels);

static cn_err parse_group(parser *p, unsigned *ret_levels) {
    advance(p);
    CN_TRY(parse_or(p, ret_levels));
    if (p->now.kind != TOKEN_CLOSE)
        return expected(p, "expected ), and, or");
    advance(p);
    return CN_OK;
}

static cn_err parse_not(parser *p, unsigned *ret_levels) {
    size_t at = p->now.at;
    advance(p);
    cn_pack_map(p->out, 1);
    cn_pack_cstr(p->out, "not");
    CN_TRY(parse_term(p, ret_levels));
    return ++*ret_levels > CN_FILTER_LEVELS ? fail_at(p, at, "what starts here is nested too deep") : CN_OK;
}

static cn_err parse_term(parser *p, unsigned *ret_levels) {
    if (p->calls == MAX_CALLS)
        return fail_at(p, p->now.at, "nested too deep here");
    p->calls++;
    if (p->now.kind == TOKEN_OPEN)
        CN_TRY(parse_group(p, ret_levels));
    else if (is_word(p, "not") && !is_operator_next(p))
        CN_TRY(parse_not(p, ret_levels));
    else if (is_word(p, "exists") && !is_operator_next(p)) {
        advance(p);
        CN_TRY(parse_exists(p, ret_levels));
    } else
        CN_TRY(parse_comparison(p, ret_levels));
    p->calls--;
    return CN_OK;
}

/* Puts {word: [ in front of what was written since `at`; the count of the list comes at the end. Returns its place. */
static size_t wrap_since(cn_buf *out, size_t at, const char *word) {
    size_t before = out->n;
    cn_pack_map(out, 1);
    cn_pack_cstr(out, word);
    size_t list = cn_pack_array_open(out), n = out->n - before;
    char head[16];
    if (out->failed)
        return at;
    memcpy(head, out->p + before, n);
    memmove(out->p + at + n, out->p + at, before - at);
    memcpy(out->p + at, head, n);
    return at + (list - before);
}

static cn_err parse_chain(parser *p, const char *word, cn_err (*part)(parser *, unsigned *), unsigned *ret_levels) {
    size_t start = p->now.at, at = p->out->n;
    unsigned levels = 0;
    CN_TRY(part(p, &levels));
    if (is_word(p, word)) {
        size_t list = wrap_since(p->out, at, word);
        uint32_t n = 1;
        for (; is_word(p, word); n++) {
            unsigned more = 0;
            advance(p);
            CN_TRY(part(p, &more));
            levels = more > levels ? more : levels;
        }
        cn_pack_array_close(p->out, list, n);
        levels += 2;
    }
    *ret_levels = levels;
    return levels > CN_FILTER_LEVELS ? fail_at(p, start, "what starts here is nested too deep") : CN_OK;
}

static cn_err parse_and(parser *p, unsigned *ret_levels) { return parse_chain(p, "and", parse_term, ret_levels); }
static cn_err parse_or(parser *p, unsigned *ret_levels) { return parse_chain(p, "or", parse_and, ret_levels); }

static cn_err parse_all(parser *p) {
    unsigned levels;
    size_t bad = cn_utf8_valid_to(p->text);
    if (p->text.n > CN_FILTER_TEXT)
        return cn_fail(CN_INVALID, "filter: %zu bytes long; at most %d", p->text.n, CN_FILTER_TEXT);
    if (bad != p->text.n)
        return cn_fail(CN_INVALID, "filter: byte %zu is not UTF-8", bad);
    p->now = next_token(p->text, 0);
    CN_TRY(parse_or(p, &levels));
    return p->now.kind == TOKEN_END ? CN_OK : expected(p, "expected and, or, or the end");
}

cn_err cn_filter_parse(cn_str text, cn_buf *out) {
    size_t before = out->n;
    parser p = {.text = {text.p ? text.p : "", text.n}, .out = out};
    cn_err err = parse_all(&p);
    if (err == CN_OK)
        err = cn_buf_check(out);
    if (err != CN_OK && !out->failed)
        out->n = before;
    return err;
}
