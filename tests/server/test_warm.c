/* A query asked again of a server takes nothing from the heap, from the socket and back: a real server in this process, asked
 * over a Unix socket by plain reads and writes. Counted at cairn's own seam and, in builds without a sanitizer, at malloc
 * itself, so that what libraries take (libuv, msgpack, OpenSSL, LMDB) counts too. */
#include <CUnit/Basic.h>
#include <CUnit/CUnit.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "engine/base/mem.h"
#include "engine/base/sanitize.h"
#include "server/net/log_sink.h"
#include "server/net/server.h"
#include "server/wire/rpc.h"
#include "tests/server/fixture.h"

static _Atomic unsigned long mallocs;

#if CN_SANITIZED || !defined(__GLIBC__)
#define COUNTS_MALLOC 0
#else
#define COUNTS_MALLOC 1
/* The thread that writes request records is off the way of a query: what LMDB takes for its transactions does not count. */
static bool counts(void) {
    static __thread int known; /* 0: not yet */
    char name[16] = "";
    if (!known) {
        known = -1; /* should the question itself take memory */
        known = pthread_getname_np(pthread_self(), name, sizeof name) == 0 && strcmp(name, "cairn-records") == 0 ? 0 : 1;
    }
    return known != 0;
}

/* The program's own definitions win over libc's, in every library. */
extern void *__libc_malloc(size_t n);
extern void *__libc_calloc(size_t count, size_t n);
extern void *__libc_realloc(void *p, size_t n);
extern void *__libc_memalign(size_t align, size_t n);
void *malloc(size_t n) {
    atomic_fetch_add(&mallocs, counts());
    return __libc_malloc(n);
}
void *calloc(size_t count, size_t n) {
    atomic_fetch_add(&mallocs, counts());
    return __libc_calloc(count, n);
}
void *realloc(void *p, size_t n) {
    atomic_fetch_add(&mallocs, counts());
    return __libc_realloc(p, n);
}
int posix_memalign(void **ret, size_t align, size_t n) {
    atomic_fetch_add(&mallocs, counts());
    *ret = __libc_memalign(align, n);
    return *ret ? 0 : 12;
}
#endif

#define EACH 200
#define ROUNDS 10
static fixture f;
static char path[96], listen_at[104], key[CN_KEY_TEXT];
static char answer[1 << 20];

static cn_err ended = CN_INTERNAL;

static void *serve(void *config) {
    ended = cn_server_run(config, f.s, NULL, NULL);
    return NULL;
}

static int dial(void) {
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    union {
        const struct sockaddr_un *un;
        const struct sockaddr *any;
    } addr = {&to};
    snprintf(to.sun_path, sizeof to.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    for (int i = 0; i < 1000 && connect(fd, addr.any, sizeof to) != 0; i++)
        usleep(10000);
    return fd;
}

/* One request and its whole answer; true when it is a result. */
static bool asked(int fd, const cn_buf *request) {
    cn_frames frames;
    cn_message m;
    size_t have = 0, whole;
    cn_frames_init(&frames, sizeof answer);
    CU_ASSERT_EQUAL_FATAL(write(fd, request->p, request->n), (ssize_t)request->n);
    do {
        ssize_t got = read(fd, answer + have, sizeof answer - have);
        CU_ASSERT_FATAL(got > 0);
        have += (size_t)got;
    } while (cn_frames_next(&frames, answer, have, &whole) != CN_OK);
    return cn_message_parse((cn_str){answer, whole}, &m) == CN_OK && m.error.n == 1 && (unsigned char)m.error.p[0] == 0xc0;
}

static void request(cn_buf *b, const char *method, const char *json) {
    CN_AUTO_BUF cn_buf map;
    cn_buf_init(&map, 1 << 20);
    cn_buf_init(b, 1 << 20);
    CN_ASSERT(cn_json_parse(cn_str_of(json), &map) == CN_OK);
    cn_rpc_request(b, 7, cn_str_of(method), cn_buf_str(&map));
}

static void warm(const char *name, int fd, const char *method, const char *json) {
    CN_AUTO_BUF cn_buf b;
    request(&b, method, json);
    uint64_t seam = 1;
    unsigned long heap = 1;
    for (int round = 0; round < ROUNDS && (seam || heap); round++) { /* a slow moment moves a query to a worker that is still cold */
        seam = cn_alloc_count();
        heap = mallocs;
        for (int i = 0; i < EACH; i++)
            CU_ASSERT(asked(fd, &b));
        seam = cn_alloc_count() - seam;
        heap = mallocs - heap;
    }
    if (seam || heap)
        printf("\n  %s: %lu at the seam, %lu at malloc, of %d requests\n", name, (unsigned long)seam, heap, EACH);
    CU_ASSERT_EQUAL(seam, 0);
    CU_ASSERT_EQUAL(heap, 0);
}

static void test_warm(void) {
    char auth[128], with_key[256];
    CN_AUTO_BUF cn_buf b;
    int fd = dial();
    snprintf(auth, sizeof auth, "{\"key\":\"%s\"}", key);
    snprintf(with_key, sizeof with_key, "{\"key\":\"%s\",\"index\":\"docs\",\"vector\":[1,0,0,0]}", key);
    warm("without a key", fd, "query", "{\"tenant\":\"acme\",\"index\":\"docs\",\"vector\":[1,0,0,0]}");
    request(&b, "auth", auth);
    CU_ASSERT(asked(fd, &b));
    warm("a vector", fd, "query", "{\"index\":\"docs\",\"vector\":[1,0,0,0],\"k\":5}");
    warm("exact", fd, "query", "{\"index\":\"docs\",\"vector\":[1,0,0,0],\"k\":5,\"mode\":\"exact\",\"per_doc\":1}");
    warm("a filter", fd, "query", "{\"index\":\"docs\",\"vector\":[1,0,0,0],\"filter\":{\"field\":\"lang\",\"eq\":\"de\"}}");
    warm("narrowed labels", fd, "query", "{\"index\":\"docs\",\"vector\":[1,0,0,0],\"labels\":[\"public\"]}");
    warm("words, a phrase and a prefix", fd, "query", "{\"index\":\"docs\",\"text\":\"for st* \\\"the public one\\\"\",\"mode\":\"lexical\",\"operators\":true,\"highlight\":true}");
    warm("a citation", fd, "fetch", "{\"index\":\"docs\",\"doc\":\"d1\"}");
    warm("a batch, on a worker", fd, "query_batch", "{\"index\":\"docs\",\"queries\":[{\"vector\":[1,0,0,0]},{\"vector\":[0,1,0,0]}]}");
    warm("a key in the request", fd, "query", with_key);
    CU_ASSERT(!COUNTS_MALLOC || mallocs > 1000); /* it does count */
    close(fd);
}

static void stop(pthread_t server) {
    kill(getpid(), SIGTERM);
    CN_ASSERT(pthread_join(server, NULL) == 0 && ended == CN_OK);
}

int main(void) {
    cn_arena a;
    cn_caller caller;
    cn_config config;
    pthread_t server;
    cn_log_sink_set("logfmt", "error");
    fixture_init(&f);
    cn_arena_init(&a, 4096, 1 << 20);
    make_key(&f, "{\"tenant\":\"acme\",\"scopes\":[\"query\"],\"labels\":[\"group:hr\",\"public\"]}", &a, &caller, key);
    snprintf(path, sizeof path, "%s/sock", f.dir);
    snprintf(listen_at, sizeof listen_at, "unix:%s", path);
    char name[] = "cairnd", data[] = "--data", listen[] = "--listen", workers[] = "--workers=1";
    char *argv[] = {name, data, f.dir, listen, listen_at, workers, NULL};
    CN_ASSERT(cn_config_load(6, argv, &config) == CN_OK);
    CN_ASSERT(pthread_create(&server, NULL, serve, &config) == 0 && CU_initialize_registry() == CUE_SUCCESS);
    CU_add_test(CU_add_suite("a warm query through the server", NULL, NULL), "takes nothing from the heap", test_warm);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures();
    CU_cleanup_registry();
    stop(server);
    cn_config_done(&config);
    cn_arena_done(&a);
    fixture_done(&f);
    return failed != 0;
}
