/* What libcairn promises, tried against a running cairnd: client_check ADDRESS KEY [reconnect]. Says what did not hold. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cairn.h"

static int failures;
#define CHECK(cond)                                                         \
    do {                                                                    \
        if (!(cond)) {                                                      \
            printf("line %d does not hold: %s\n", __LINE__, #cond);         \
            failures++;                                                     \
        }                                                                   \
    } while (0)

static const float vector[4] = {1, 2, 0, 1};

static void check_connecting(void) {
    cairn_client *c = NULL;
    CHECK(cairn_connect("http://x", NULL, &c) == CAIRN_INVALID);
    CHECK(cairn_connect("tcp://127.0.0.1", NULL, &c) == CAIRN_INVALID);
    CHECK(cairn_connect("unix:/no/such/socket", NULL, &c) == CAIRN_UNREACHABLE);
    CHECK(cairn_connect("tcp://127.0.0.1:1", NULL, &c) == CAIRN_UNREACHABLE);
    CHECK(strncmp(cairn_connect_error(), "UNREACHABLE: ", 13) == 0);
    CHECK(c == NULL);
}

/* How often these bytes stand in the heap. */
static int in_heap(const char *bytes) {
    char line[512];
    void *from, *to;
    int n = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    while (maps && fgets(line, sizeof line, maps))
        if (strstr(line, "[heap]") && sscanf(line, "%p-%p", &from, &to) == 2)
            for (; (from = memmem(from, (size_t)((char *)to - (char *)from), bytes, strlen(bytes))); from = (char *)from + 1)
                n++;
    if (maps)
        fclose(maps);
    return n;
}

static void check_calls(cairn_client *c, const char *key) {
    cairn_answer a = {0};
    CHECK(cairn_call(c, "query", NULL, 0, &a) == CAIRN_UNAUTHENTICATED);
    CHECK(cairn_auth(c, "cairn_wrong") == CAIRN_UNAUTHENTICATED);
    CHECK(cairn_auth(c, key) == CAIRN_OK);
    CHECK(in_heap(key) <= 1); /* the client's own, to say it again; no buffer of a message */
    CHECK(cairn_call(c, "health", NULL, 0, &a) == CAIRN_OK && a.size > 10);
    cairn_answer_free(&a);
    CHECK(cairn_call(c, "no.such", NULL, 0, &a) == CAIRN_NOT_FOUND);
    CHECK(strncmp(cairn_error(c), "NOT_FOUND: ", 11) == 0);
    CHECK(cairn_retry_after_ms(c) == 0);
    CHECK(cairn_call(c, "no retry_after_ms=7", NULL, 0, &a) == CAIRN_NOT_FOUND && strstr(cairn_error(c), "retry_after_ms=7"));
    CHECK(cairn_retry_after_ms(c) == 0); /* quoted, not said */
    CHECK(a.data == NULL);
}

static void check_query(cairn_client *c) {
    cairn_result r;
    cairn_query_options q = {.index = "docs", .vector = vector, .dim = 4, .k = 3};
    CHECK(cairn_query(c, &q, &r) == CAIRN_OK);
    CHECK(r.n == 3 && strcmp(r.hits[0].doc, "d2") == 0 && strcmp(r.hits[0].source, "default") == 0);
    CHECK(r.hits[0].score > 0.9f && r.hits[0].relevance > 0.9f && r.hits[0].to > r.hits[0].from);
    CHECK(strncmp(r.hits[0].text, "text number 2 ", 14) == 0 && strlen(r.hits[0].text) == r.hits[0].to - r.hits[0].from);
    CHECK(strcmp(r.evidence, "ok") == 0 && strlen(r.trace_id) == 32 && r.version == 1);
    cairn_result_free(&r);
    q.dim = 3;
    CHECK(cairn_query(c, &q, &r) == CAIRN_INVALID);
    q = (cairn_query_options){.index = "docs", .text = "number 4"}; /* by its words: the index has no embedder */
    CHECK(cairn_query(c, &q, &r) == CAIRN_OK);
    CHECK(r.n == 10 && strcmp(r.hits[0].doc, "d4") == 0);
    cairn_result_free(&r);
}

/* {"index": "docs", "vector": [1, 2, 0, 1], "k": 1} */
static const unsigned char packed[] = "\x83\xa5index\xa4" "docs\xa6vector\x94\x01\x02\x00\x01\xa1k\x01";

static void check_many(cairn_client *c) {
    enum { N = 300 };
    cairn_request r[N];
    for (int i = 0; i < N; i++)
        r[i] = (cairn_request){.method = i % 3 == 0 ? "query" : i % 3 == 1 ? "no.such" : "health", .params = i % 3 ? NULL : packed, .size = i % 3 ? 0 : sizeof packed - 1};
    CHECK(cairn_call_many(c, r, N) == CAIRN_OK);
    for (int i = 0; i < N; i++) {
        CHECK(r[i].code == (i % 3 == 1 ? CAIRN_NOT_FOUND : CAIRN_OK));
        CHECK(i % 3 != 1 || strstr(r[i].answer.data, "no.such"));
        cairn_answer_free(&r[i].answer);
    }
}

static int reconnect(const char *address, const char *key) {
    cairn_client *c;
    cairn_answer a;
    char line[16];
    if (cairn_connect(address, &(cairn_options){.reconnect = 5}, &c) != CAIRN_OK || cairn_auth(c, key) != CAIRN_OK)
        return 1;
    puts("first");
    fflush(stdout);
    if (!fgets(line, sizeof line, stdin))
        return 1;
    if (cairn_call(c, "query", packed, sizeof packed - 1, &a) != CAIRN_OK) {
        puts(cairn_error(c));
        return 1;
    }
    puts("second");
    cairn_answer_free(&a);
    cairn_close(c);
    return 0;
}

int main(int argc, char **argv) {
    cairn_client *c;
    if (argc == 4)
        return reconnect(argv[1], argv[2]);
    if (argc != 3 || cairn_connect(argv[1], NULL, &c) != CAIRN_OK) {
        puts(cairn_connect_error());
        return 1;
    }
    check_connecting();
    check_calls(c, argv[2]);
    check_query(c);
    check_many(c);
    cairn_close(c);
    cairn_close(NULL);
    return failures != 0;
}
