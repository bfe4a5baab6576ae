/* Asks a running cairnd one question:
 *
 *     CAIRN_SERVER=tcp://127.0.0.1:7700 CAIRN_KEY=cairn_... ./example docs "how do I reset my password" */
#include <stdio.h>
#include <stdlib.h>

#include "cairn.h"

static int fail(const char *what, const char *why) {
    fprintf(stderr, "%s: %s\n", what, why);
    return 1;
}

static void print_hits(const cairn_result *r) {
    printf("version %llu, evidence %s, trace %s\n", (unsigned long long)r->version, r->evidence, r->trace_id);
    for (size_t i = 0; i < r->n; i++)
        printf("%zu. %.3f %s bytes %llu to %llu\n   %.120s\n", i + 1, (double)r->hits[i].relevance, r->hits[i].doc,
               (unsigned long long)r->hits[i].from, (unsigned long long)r->hits[i].to, r->hits[i].text);
}

static int ask(cairn_client *c, const char *index, const char *text) {
    const char *key = getenv("CAIRN_KEY");
    cairn_query_options q = {.index = index, .text = text, .k = 5, .as = getenv("CAIRN_AS")};
    cairn_result r;
    if (key && cairn_auth(c, key) != CAIRN_OK)
        return fail("auth", cairn_error(c));
    if (cairn_query(c, &q, &r) != CAIRN_OK)
        return fail("query", cairn_error(c));
    print_hits(&r);
    cairn_result_free(&r);
    return 0;
}

int main(int argc, char **argv) {
    const char *address = getenv("CAIRN_SERVER");
    cairn_client *c;
    if (argc != 3)
        return fail("usage", "example INDEX TEXT");
    if (cairn_connect(address ? address : "tcp://127.0.0.1:7700", NULL, &c) != CAIRN_OK)
        return fail("connect", cairn_connect_error());
    int status = ask(c, argv[1], argv[2]);
    cairn_close(c);
    return status;
}
