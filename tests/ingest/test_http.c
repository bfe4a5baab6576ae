#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/mem.h"
#include "ingest/embed/breaker.h"
#include "ingest/embed/http.h"
#include "ingest/embed/http_answer.h"
#include "tests/ingest/embed_test.h"

/* --- answers --- */

static void refuse(const char *json, uint32_t n, const char *why) {
    float out[6];
    uint64_t tokens;
    CU_ASSERT_EQUAL(cn_http_answer(cn_str_of(json), n, 3, out, &tokens), CN_UNAVAILABLE);
    CU_ASSERT_PTR_NOT_NULL(strstr(cn_error_detail(), why));
    if (!strstr(cn_error_detail(), why))
        fprintf(stderr, "%s: %s\n", json, cn_error_detail());
}

static void answers_come_in_the_order_of_the_texts(void) {
    float out[6] = {0};
    uint64_t tokens = 0;
    const char *json = "{\"data\":[{\"index\":1,\"embedding\":[4,5.5,-6]},{\"index\":0,\"embedding\":[1,2,3e-1]}],\"usage\":{\"prompt_tokens\":5,\"total_tokens\":7}}";
    CU_ASSERT_EQUAL_FATAL(cn_http_answer(cn_str_of(json), 2, 3, out, &tokens), CN_OK);
    const float want[6] = {1, 2, 0.3f, 4, 5.5f, -6};
    CU_ASSERT_EQUAL(memcmp(out, want, sizeof want), 0);
    CU_ASSERT_EQUAL(tokens, 7);
    CU_ASSERT_EQUAL(cn_http_answer(CN_STR("{\"data\":[{\"index\":0,\"embedding\":[1,2,3]}],\"usage\":{\"prompt_tokens\":5}}"), 1, 3, out, &tokens), CN_OK);
    CU_ASSERT_EQUAL(tokens, 5);
    CU_ASSERT_EQUAL(cn_http_answer(CN_STR("{\"data\":[{\"index\":0,\"embedding\":[1,2,3]}],\"usage\":{\"total_tokens\":-5}}"), 1, 3, out, &tokens), CN_OK);
    CU_ASSERT_EQUAL(tokens, 0);
}

static void answers_that_cannot_be_used(void) {
    refuse("", 1, "no JSON");
    refuse("{\"data\":[{\"index\":0,\"embed", 1, "no JSON");
    refuse("{\"data\":[{\"index\":0,\"embedding\":[NaN,1,1]}]}", 1, "no JSON");
    refuse("[]", 1, "without a list");
    refuse("{\"data\":{}}", 1, "without a list");
    refuse("{\"data\":[]}", 1, "0 vectors to 1 texts");
    refuse("{\"data\":[{\"index\":0,\"embedding\":[1,2,3]},{\"index\":1,\"embedding\":[1,2,3]}]}", 1, "2 vectors to 1 texts");
    refuse("{\"data\":[{\"index\":0,\"embedding\":[1,2,3]},{\"index\":0,\"embedding\":[1,2,3]}]}", 2, "\"index\"");
    refuse("{\"data\":[{\"index\":0,\"embedding\":[1,2,3]},{\"index\":2,\"embedding\":[1,2,3]}]}", 2, "\"index\"");
    refuse("{\"data\":[{\"index\":-1,\"embedding\":[1,2,3]}]}", 1, "\"index\"");
    refuse("{\"data\":[{\"index\":0.0,\"embedding\":[1,2,3]}]}", 1, "\"index\"");
    refuse("{\"data\":[{\"embedding\":[1,2,3]}]}", 1, "\"index\"");
    refuse("{\"data\":[7]}", 1, "\"index\"");
    refuse("{\"data\":[{\"index\":0}]}", 1, "no list of numbers");
    refuse("{\"data\":[{\"index\":0,\"embedding\":\"AAAA\"}]}", 1, "no list of numbers");
    refuse("{\"data\":[{\"index\":0,\"embedding\":[1,2]}]}", 1, "have 2 dimensions");
    refuse("{\"data\":[{\"index\":0,\"embedding\":[1,2,3,4]}]}", 1, "have 4 dimensions");
    refuse("{\"data\":[{\"index\":0,\"embedding\":[1,null,3]}]}", 1, "number 1");
    refuse("{\"data\":[{\"index\":0,\"embedding\":[1,2,\"3\"]}]}", 1, "number 2");
    refuse("{\"data\":[{\"index\":0,\"embedding\":[1e39,2,3]}]}", 1, "no finite number");
    refuse("{\"data\":[{\"index\":0,\"embedding\":[0,0,0]}]}", 1, "all zero");
    refuse("{\"data\":[{\"index\":0,\"embedding\":[1e30,1e30,1e30]}]}", 1, "longer than");
}

static void dimensions_are_learnt(void) {
    uint32_t dim = 0;
    CU_ASSERT_EQUAL(cn_http_answer_dim(CN_STR("{\"data\":[{\"index\":0,\"embedding\":[1,2,3,4,5]}]}"), &dim), CN_OK);
    CU_ASSERT_EQUAL(dim, 5);
    CU_ASSERT_EQUAL(cn_http_answer_dim(CN_STR("{\"data\":[{\"index\":0,\"embedding\":[]}]}"), &dim), CN_UNAVAILABLE);
    CU_ASSERT_EQUAL(cn_http_answer_dim(CN_STR("{\"data\":[]}"), &dim), CN_UNAVAILABLE);
    CU_ASSERT_EQUAL(dim, 5);
}

static void errors_are_told_without_the_key(void) {
    char why[256];
    cn_http_answer_why(CN_STR("{\"error\":{\"message\":\"no key sk-1,\\u0007 sk-1 or\\nsk-1\"}}"), CN_STR("sk-1"), why);
    CU_ASSERT_STRING_EQUAL(why, "no key ****,  **** or ****");
    cn_http_answer_why(CN_STR("{\"error\":\"gone\"}"), CN_STR(""), why);
    CU_ASSERT_STRING_EQUAL(why, "gone");
    cn_http_answer_why(CN_STR("<html>"), CN_STR("sk-1"), why);
    CU_ASSERT_STRING_EQUAL(why, "");
    char json[1024]; /* a key across the place where the text is cut */
    snprintf(json, sizeof json, "{\"message\":\"%0252d%s\"}", 0, "sk-12345");
    cn_http_answer_why(cn_str_of(json), CN_STR("sk-12345"), why);
    CU_ASSERT_EQUAL(strlen(why), 255);
    CU_ASSERT_STRING_EQUAL(why + 252, "***");
}

/* --- what is sent --- */

static void requests_are_json(void) {
    cn_http_config c;
    CN_AUTO_BUF cn_buf b;
    cn_buf_init(&b, 4096);
    cn_http_config_default(&c);
    snprintf(c.model, sizeof c.model, "m \"1\"");
    const cn_str texts[2] = {CN_STR("a\n\"b\"\\"), CN_STR("\xff\xc3\xa9")};
    cn_http_body(&c, texts, 2, &b);
    cn_buf_putc(&b, 0);
    CU_ASSERT_STRING_EQUAL(b.p, "{\"model\":\"m \\\"1\\\"\",\"input\":[\"a\\n\\\"b\\\"\\\\\",\"\xef\xbf\xbd\xc3\xa9\"]}");
    cn_buf_reset(&b);
    c.send_dim = true;
    c.dim = 3;
    cn_http_body(&c, texts, 0, &b);
    cn_buf_putc(&b, 0);
    CU_ASSERT_STRING_EQUAL(b.p, "{\"model\":\"m \\\"1\\\"\",\"dimensions\":3,\"input\":[]}");
}

/* --- descriptions --- */

static cn_err read(const char *json, cn_http_config *ret) { return cn_http_config_read(cn_str_of(json), ret); }

static void descriptions_come_back_as_they_were(void) {
    cn_http_config a, b;
    cn_digest x, y;
    CN_AUTO_BUF cn_buf text;
    cn_buf_init(&text, CN_HTTP_FILE_MAX);
    CU_ASSERT_EQUAL_FATAL(read("{\"url\":\"https://h:1/v1/\",\"model\":\"m\",\"dimensions\":12,\"key_env\":\"K\",\"tries\":3,\"price_per_million\":0.13}", &a), CN_OK);
    CU_ASSERT_STRING_EQUAL(a.url, "https://h:1/v1/embeddings");
    CU_ASSERT_EQUAL(a.max_tokens, 512);
    cn_http_config_write(&a, &text);
    CU_ASSERT_EQUAL_FATAL(cn_http_config_read(cn_buf_str(&text), &b), CN_OK);
    CU_ASSERT_EQUAL(memcmp(&a, &b, sizeof a), 0);
    b.max_batch = 1, b.price = 0, b.tries = 9;
    x = cn_http_config_digest(&a), y = cn_http_config_digest(&b);
    CU_ASSERT(cn_digest_eq(&x, &y));
    b.dim = 13;
    y = cn_http_config_digest(&b);
    CU_ASSERT(!cn_digest_eq(&x, &y));
    b = a, b.model[0] = 'n';
    y = cn_http_config_digest(&b);
    CU_ASSERT(!cn_digest_eq(&x, &y));
}

static void descriptions_that_are_refused(void) {
    static const char *const bad[] = {
        "", "[]", "{}", "{\"url\":\"https://h\",\"model\":\"m\"}", "{\"url\":\"https://h\",\"dimensions\":3}", "{\"url\":\"https://h\",\"model\":\"m\",\"dimensions\":0}",
        "{\"url\":\"http://h\",\"model\":\"m\",\"dimensions\":3}", "{\"url\":\"http://127.h\",\"model\":\"m\",\"dimensions\":3}", "{\"url\":\"http://localhost.h\",\"model\":\"m\",\"dimensions\":3}",
        "{\"url\":\"https://u:p@h\",\"model\":\"m\",\"dimensions\":3}", "{\"url\":\"https://h\\nX\",\"model\":\"m\",\"dimensions\":3}", "{\"url\":\"https://h\",\"model\":\"m\",\"dimensions\":3,\"key\":\"x\"}",
        "{\"url\":\"https://h\",\"model\":\"m\",\"dimensions\":3,\"max_batch\":5000}", "{\"url\":\"https://h\",\"model\":\"m\",\"dimensions\":3,\"key_file\":\"a\"}",
        "{\"url\":\"https://h\",\"model\":\"m\",\"dimensions\":3,\"key_file\":\"/a\",\"key_env\":\"b\"}", "{\"url\":\"https://h\",\"model\":\"m\",\"dimensions\":3,\"price_per_million\":-1}"};
    cn_http_config c;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CU_ASSERT_EQUAL(read(bad[i], &c), CN_INVALID);
    CU_ASSERT_EQUAL(read("{\"url\":\"http://[::1]:80/v1\",\"model\":\"m\",\"dimensions\":3}", &c), CN_OK);
    CU_ASSERT_EQUAL(read("{\"url\":\"http://h/v1\",\"model\":\"m\",\"dimensions\":3,\"insecure\":true}", &c), CN_OK);
}

/* --- the breaker --- */

static bool enter(cn_breaker *b, uint64_t now, bool *probe) {
    uint64_t wait;
    bool go = cn_breaker_enter(b, now, probe, &wait);
    CU_ASSERT_EQUAL(go, wait == 0);
    return go;
}

static void fails(cn_breaker *b, uint64_t now) {
    bool probe;
    CU_ASSERT_TRUE(enter(b, now, &probe));
    cn_breaker_leave(b, now, probe, CN_BREAKER_FAILED);
}

static void a_breaker_opens_probes_and_closes(void) {
    cn_breaker b;
    bool probe, other;
    cn_breaker_init(&b, 3, 100);
    fails(&b, 1), fails(&b, 2);
    CU_ASSERT_TRUE(enter(&b, 3, &probe));
    cn_breaker_leave(&b, 3, probe, CN_BREAKER_WELL); /* not in a row */
    fails(&b, 4), fails(&b, 5);
    CU_ASSERT_TRUE(enter(&b, 5, &other)); /* under way when it opens */
    fails(&b, 6);
    CU_ASSERT_FALSE(enter(&b, 105, &probe));
    cn_breaker_leave(&b, 105, other, CN_BREAKER_FAILED); /* lengthens nothing */
    CU_ASSERT_TRUE(enter(&b, 106, &probe));
    CU_ASSERT_TRUE(probe);
    CU_ASSERT_FALSE(enter(&b, 107, &other)); /* one probe alone */
    cn_breaker_leave(&b, 110, true, CN_BREAKER_FAILED);
    CU_ASSERT_FALSE(enter(&b, 309, &probe)); /* twice as long */
    CU_ASSERT_TRUE(enter(&b, 310, &probe));
    cn_breaker_leave(&b, 311, probe, CN_BREAKER_NOTHING); /* given up: the next one may probe */
    CU_ASSERT_TRUE(enter(&b, 312, &probe));
    cn_breaker_leave(&b, 313, probe, CN_BREAKER_WELL);
    CU_ASSERT_TRUE(enter(&b, 313, &probe));
    CU_ASSERT_FALSE(probe);
    cn_breaker_leave(&b, 313, probe, CN_BREAKER_FAILED);
    fails(&b, 314), fails(&b, 315);
    CU_ASSERT_FALSE(enter(&b, 414, &probe)); /* the first length again */
    CU_ASSERT_TRUE(enter(&b, 415, &probe));
    cn_breaker_done(&b);
}

/* Half of a pause of our own, and a tenth beyond Retry-After, are by chance: within the range, and at both of its ends. */
static void pauses_are_kept_apart(void) {
    static const struct {
        uint32_t tries;
        uint64_t after, least, most;
    } v[] = {{1, 0, 250, 500}, {3, 0, 1000, 2000}, {40, 0, 16000, 32000}, {1, 1000, 1000, 1100}, {1, 3600000, 3600000, 3960000}, {2, 10, 500, 1000}};
    for (size_t i = 0; i < sizeof v / sizeof *v; i++) {
        uint64_t least = UINT64_MAX, most = 0;
        for (uint32_t chance = 0; chance < 400000; chance++) {
            uint64_t ms = cn_http_pause_ms(v[i].tries, v[i].after, chance);
            least = ms < least ? ms : least;
            most = ms > most ? ms : most;
        }
        CU_ASSERT(least == v[i].least && most == v[i].most);
        CU_ASSERT(cn_http_pause_ms(v[i].tries, v[i].after, UINT32_MAX) <= v[i].most);
    }
}

void add_http_tests(void) {
    CU_pSuite s = CU_add_suite("http", NULL, NULL);
    ADD(s, answers_come_in_the_order_of_the_texts);
    ADD(s, answers_that_cannot_be_used);
    ADD(s, dimensions_are_learnt);
    ADD(s, errors_are_told_without_the_key);
    ADD(s, requests_are_json);
    ADD(s, descriptions_come_back_as_they_were);
    ADD(s, descriptions_that_are_refused);
    ADD(s, a_breaker_opens_probes_and_closes);
    ADD(s, pauses_are_kept_apart);
}
