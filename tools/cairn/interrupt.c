/* interrupt.c -- Ctrl-C while a job runs: says what becomes of the job and how to go on, then ends by the signal.
 *
 * A job can be killed at any moment (nothing of it is visible before its last transaction, and its file is taken up again),
 * so there is nothing to undo; a handler only has to tell. It may write and nothing else, so its text is made beforehand. */
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "tools/cairn/local.h"

#define TEXT_MAX 1024
static char texts[2][TEXT_MAX]; /* before the job's id is known, and after */
static _Atomic(const char *) say;
static char place[300], tenant[150];
static bool rebuild, dry, clears;

static void stop(int sig) {
    const char *text = atomic_load(&say);
    static const char clear[] = "\r\033[K";
    if (clears && write(STDERR_FILENO, clear, sizeof clear - 1) < 0) {
    }
    if (write(STDERR_FILENO, text, strlen(text)) < 0) {
    }
    signal(sig, SIG_DFL);
    raise(sig); /* a shell's loop must see it */
}

/* "cairn", with --data where the environment does not say it. */
static void command(char *ret, size_t room) {
    const char *env = getenv("CAIRN_DATA");
    if (cmd_is_remote() || (env && cmd_the_env.data && strcmp(env, cmd_the_env.data) == 0))
        snprintf(ret, room, "cairn");
    else
        snprintf(ret, room, "cairn --data %s", cmd_the_env.data);
}

static void compose(char *text, const char *job) {
    char cairn[400];
    command(cairn, sizeof cairn);
    if (dry)
        snprintf(text, TEXT_MAX, "cairn: stopped; a dry run changes nothing\n");
    else if (cmd_is_remote())
        snprintf(text, TEXT_MAX, "cairn: stopped watching; the job goes on in the server: `cairn jobs show %s %s` tells how it stands, `cairn jobs cancel %s %s` ends it\n", tenant, job,
                 tenant, job);
    else
        snprintf(text, TEXT_MAX, "cairn: stopped; nothing of it is visible. To go on from here:\n  %s %s %s --resume %s\n", cairn, rebuild ? "rebuild" : "ingest", place, job);
}

void cmd_interrupt_begin(const char *method, const msgpack_object *params) {
    struct sigaction act = {.sa_handler = stop};
    cn_str t = cn_obj_str(cn_get(params, "tenant")), i = cn_obj_str(cn_get(params, "index"));
    snprintf(tenant, sizeof tenant, CN_STR_FMT, CN_STR_ARG(t));
    snprintf(place, sizeof place, CN_STR_FMT "/" CN_STR_FMT, CN_STR_ARG(t), CN_STR_ARG(i));
    rebuild = strcmp(method, "ingest.rebuild") == 0;
    cn_get_bool(params, "dry_run", &dry);
    clears = cmd_progress_wanted();
    compose(texts[0], "JOB");
    size_t n = strlen(texts[0]);
    if (!dry)
        snprintf(texts[0] + n, TEXT_MAX - n, "  (`cairn jobs list %s` tells which JOB)\n", tenant);
    atomic_store(&say, texts[0]);
    sigaction(SIGINT, &act, NULL);
    sigaction(SIGTERM, &act, NULL);
}

void cmd_interrupt_job(cn_str job) {
    char id[64];
    if (!job.n || job.n >= sizeof id || atomic_load(&say) == texts[1])
        return;
    snprintf(id, sizeof id, CN_STR_FMT, CN_STR_ARG(job));
    compose(texts[1], id);
    atomic_store(&say, texts[1]);
}

void cmd_interrupt_end(void) {
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
}
