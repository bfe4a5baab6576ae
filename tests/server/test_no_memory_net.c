/* Each allocation between a connection's beginning and its answer fails once: a whole answer, a whole error, or the connection's
 * end; never half a message, and never silence. A connection made next is served. */
#include <CUnit/Basic.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "engine/base/mem.h"
#include "server/net/server.h"
#include "server/wire/rpc.h"
#include "tests/server/fixture.h"

#define PLACES 80 /* of allocations: more than there are on the way of one request */
#define PATIENCE_S 20
#define BIG 70000 /* an answer that long takes the job's buffer with it: the next one's is new */

typedef enum outcome { RESULT, ERROR, ENDED, SILENT } outcome;

static fixture f;
static cn_config config;
static char path[100], long_name[601], in[1 << 20]; /* in: no memory of the heap's, of which a piece is to fail elsewhere */
static unsigned seen[SILENT + 1];

static void *serve(void *arg) {
    (void)arg;
    CN_ASSERT(cn_server_run(&config, f.s, NULL, NULL) == CN_OK);
    return NULL;
}

static int dial(void) {
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    struct timeval patience = {.tv_sec = PATIENCE_S};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(to.sun_path, sizeof to.sun_path, "%s", path);
    CN_ASSERT(fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) == 0);
    for (int i = 0; connect(fd, (const struct sockaddr *)&to, sizeof to) != 0; i++) {
        CN_ASSERT(i < 1000);
        usleep(10000);
    }
    return fd;
}

/* Made before anything fails. */
static void pack(cn_buf *b, uint64_t msgid, const char *method, const char *json) {
    CN_AUTO_BUF cn_buf map = {.cap = 1 << 20};
    cn_buf_reset(b);
    CN_ASSERT(cn_json_parse(cn_str_of(json), &map) == CN_OK);
    cn_rpc_request(b, msgid, cn_str_of(method), cn_buf_str(&map));
    CN_ASSERT(!b->failed);
}

static bool send_all(int fd, const cn_buf *b) { return send(fd, b->p, b->n, MSG_NOSIGNAL) == (ssize_t)b->n; }

/* The one answer to msgid, and nothing behind it. */
static outcome answer(int fd, uint64_t msgid) {
    size_t have = 0, n;
    cn_frames frames;
    cn_message m;
    cn_frames_init(&frames, sizeof in);
    for (;;) {
        ssize_t got = recv(fd, in + have, sizeof in - have, 0);
        if (got == 0 || (got < 0 && errno == ECONNRESET)) /* it was reset where the server had not read all */
            return have ? SILENT : ENDED; /* half a message */
        if (got < 0)
            return SILENT;
        have += (size_t)got;
        cn_err err = cn_frames_next(&frames, in, have, &n);
        if (err == CN_UNAVAILABLE)
            continue;
        if (err != CN_OK || n != have || cn_message_parse((cn_str){in, n}, &m) != CN_OK || m.kind != CN_RESPONSE || m.msgid != msgid)
            return SILENT;
        return m.error.n == 1 ? RESULT : ERROR;
    }
}

static outcome asked(int fd, const cn_buf *request, uint64_t msgid) { return send_all(fd, request) ? answer(fd, msgid) : ENDED; }

/* On a connection of its own, as it is without a failure. */
static void must(const cn_buf *request, uint64_t msgid, outcome wanted) {
    int fd = dial();
    CU_ASSERT_EQUAL(asked(fd, request, msgid), wanted);
    close(fd);
}

static void each_place(const char *method, const char *json, outcome sound) {
    CN_AUTO_BUF cn_buf request = {.cap = 1 << 20}, again = {.cap = 1 << 20}, big = {.cap = 1 << 20};
    pack(&request, 1, method, json);
    pack(&again, 2, method, json);
    pack(&big, 3, "fetch", "{\"tenant\":\"acme\",\"index\":\"big\",\"doc\":\"b\"}");
    for (uint64_t n = 1; n <= PLACES; n++) {
        must(&big, 3, RESULT);
        cn_alloc_fail_at(n);
        int fd = dial();
        outcome got = asked(fd, &request, 1);
        cn_alloc_fail_at(0);
        seen[got]++;
        if (got == SILENT)
            printf("\n  allocation %llu: half a message, or none", (unsigned long long)n);
        CU_ASSERT_NOT_EQUAL(got, SILENT);
        if (got != ENDED)
            CU_ASSERT_EQUAL(asked(fd, &again, 2), sound); /* the stream is where it should be */
        close(fd);
        must(&again, 2, sound);
    }
}

static void test_a_question(void) { each_place("query", "{\"tenant\":\"acme\",\"index\":\"docs\",\"vector\":[1,0,0,0]}", RESULT); }

/* Its text is longer than what an answer's buffer begins with. */
static void test_a_long_error(void) {
    char json[sizeof long_name + 128];
    memset(long_name, 'x', sizeof long_name - 1);
    snprintf(json, sizeof json, "{\"tenant\":\"acme\",\"index\":\"docs\",\"%s\":1}", long_name);
    each_place("versions.list", json, ERROR);
}

static void test_some_of_each(void) {
    printf("\n  %u answers, %u errors, %u connections ended ", seen[RESULT], seen[ERROR], seen[ENDED]);
    CU_ASSERT(seen[RESULT] && seen[ERROR] && seen[ENDED]);
}

static void make_big(void) {
    CN_AUTO_BUF cn_buf b = {.cap = 1 << 20};
    CN_ASSERT(*ask(&f, &f.operator, "admin.index_create", "{\"tenant\":\"acme\",\"index\":\"big\",\"embedder\":\"none\"}") == '{');
    cn_buf_puts(&b, "{\"tenant\":\"acme\",\"index\":\"big\",\"activate\":true,\"documents\":[{\"id\":\"b\",\"labels\":[\"public\"],\"vector\":[1,0],\"text\":\"");
    for (int i = 0; i < BIG / 2; i++)
        cn_buf_puts(&b, "w ");
    cn_buf_puts(&b, "\"}]}");
    cn_buf_putc(&b, 0);
    CN_ASSERT(!b.failed && *ask(&f, &f.operator, "documents.put", b.p) == '{');
}

int main(void) {
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 2;
    fixture_init(&f);
    make_big();
    char listen[160];
    snprintf(path, sizeof path, "%s/sock", f.dir);
    snprintf(listen, sizeof listen, "unix:%s", path);
    char name[] = "cairnd", data[] = "--data", at[] = "--listen", *argv[] = {name, data, f.dir, at, listen, NULL};
    CN_ASSERT(cn_config_load(5, argv, &config) == CN_OK);
    pthread_t server;
    CN_ASSERT(pthread_create(&server, NULL, serve, NULL) == 0);
    close(dial());
    CU_pSuite s = CU_add_suite("no memory on the way", NULL, NULL);
    CU_add_test(s, "a question", test_a_question);
    CU_add_test(s, "a long error", test_a_long_error);
    CU_add_test(s, "some of each", test_some_of_each);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned bad = CU_get_number_of_failures();
    CU_cleanup_registry();
    kill(getpid(), SIGTERM);
    pthread_join(server, NULL);
    cn_config_done(&config);
    fixture_done(&f);
    return bad != 0;
}
