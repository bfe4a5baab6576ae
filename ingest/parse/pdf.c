/* PDF by poppler's pdftotext, a program of its own: its crashes and its licence stay outside. It is started with the file
 * on its standard input, may read what the system installed and nothing else, and has no network. */
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <poll.h>
#include <seccomp.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/os.h"
#include "engine/base/sanitize.h"
#include "engine/base/utf8.h"
#include "ingest/parse/out.h"
#include "ingest/parse/worker.h"

/* --- in the child, before it becomes pdftotext --- */
static void system_files_only(void) {
    static const char *const dirs[] = {"/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache", "/etc/fonts", "/etc/xpdf", "/etc/alternatives"};
    const uint64_t readable = LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
    struct landlock_ruleset_attr all = {.handled_access_fs = (1u << 13) - 1};
    int rules = (int)syscall(SYS_landlock_create_ruleset, &all, sizeof all, 0);
    if (rules < 0)
        return;
    for (size_t i = 0; i < sizeof dirs / sizeof *dirs; i++) {
        struct stat st;
        struct landlock_path_beneath_attr beneath = {.allowed_access = readable, .parent_fd = open(dirs[i], O_PATH | O_CLOEXEC)};
        if (beneath.parent_fd >= 0) {
            if (fstat(beneath.parent_fd, &st) == 0 && !S_ISDIR(st.st_mode))
                beneath.allowed_access = LANDLOCK_ACCESS_FS_READ_FILE;
            syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &beneath, 0);
            close(beneath.parent_fd);
        }
    }
    syscall(SYS_landlock_restrict_self, rules, 0);
    close(rules);
}

static void no_network(void) {
    static const int refused[] = {SCMP_SYS(socket), SCMP_SYS(socketpair), SCMP_SYS(connect), SCMP_SYS(bind), SCMP_SYS(ptrace), SCMP_SYS(kill), SCMP_SYS(tkill), SCMP_SYS(tgkill),
        SCMP_SYS(io_uring_setup), SCMP_SYS(process_vm_readv), SCMP_SYS(process_vm_writev), SCMP_SYS(pidfd_open), SCMP_SYS(pidfd_getfd), SCMP_SYS(setpriority)};
    scmp_filter_ctx c = seccomp_init(SCMP_ACT_ALLOW);
    for (size_t i = 0; c && i < sizeof refused / sizeof *refused; i++)
        seccomp_rule_add(c, SCMP_ACT_ERRNO(1), refused[i], 0);
    if (!c || seccomp_load(c) != 0)
        _exit(3);
    seccomp_release(c);
}

_Noreturn void cn_pdf_child(void) {
    struct rlimit core = {0, 0}, memory = {CN_WORKER_BYTES, CN_WORKER_BYTES}, time = {CN_PARSE_SECONDS, CN_PARSE_SECONDS + 5};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    close_range(3, ~0u, 0);
    setrlimit(RLIMIT_CORE, &core);
#if !CN_SANITIZED
    setrlimit(RLIMIT_AS, &memory);
#else
    (void)memory;
#endif
    setrlimit(RLIMIT_CPU, &time);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        _exit(3);
    system_files_only();
    no_network();
    execlp("pdftotext", "pdftotext", "-enc", "UTF-8", "-", "-", (char *)NULL);
    _exit(127);
}

/* --- in the parent --- */
typedef struct child {
    pid_t pid;
    int out, err;
} child;

static cn_err in_memory_file(cn_str bytes, int *ret) {
    int fd = memfd_create("cairn-pdf", MFD_CLOEXEC);
    if (fd < 0)
        return cn_fail_errno(errno, "memory for a PDF");
    while (bytes.n) {
        ssize_t did = write(fd, bytes.p, bytes.n);
        if (did <= 0) {
            int why = errno;
            close(fd);
            return cn_fail_errno(why, "memory for a PDF");
        }
        bytes.p += did;
        bytes.n -= (size_t)did;
    }
    lseek(fd, 0, SEEK_SET);
    *ret = fd;
    return CN_OK;
}

static cn_err start(int in, child *ret) {
    int out[2], err[2];
    union { const char *c[3]; char *p[3]; } argv = {.c = {"cairn-parse", CN_PDF_ARG, NULL}};
    if (pipe2(out, O_CLOEXEC) != 0)
        return cn_fail_errno(errno, "a pipe to pdftotext");
    if (pipe2(err, O_CLOEXEC) != 0) {
        close(out[0]);
        close(out[1]);
        return cn_fail_errno(errno, "a pipe to pdftotext");
    }
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in, 0);
    posix_spawn_file_actions_adddup2(&actions, out[1], 1);
    posix_spawn_file_actions_adddup2(&actions, err[1], 2);
    char *room[4];
    int e = posix_spawn(&ret->pid, "/proc/self/exe", &actions, NULL, argv.p, cn_parse_environment(room));
    posix_spawn_file_actions_destroy(&actions);
    close(out[1]);
    close(err[1]);
    ret->out = out[0];
    ret->err = err[0];
    if (e == 0)
        return CN_OK;
    close(out[0]);
    close(err[0]);
    return cn_fail_errno(e, "starting pdftotext");
}

/* One read into the buffer; false at the end. What passes its cap is read and dropped. */
static bool drain(int fd, cn_buf *b) {
    char part[16384];
    ssize_t n = read(fd, part, sizeof part);
    if (n > 0)
        cn_buf_add(b, part, (size_t)n);
    return n > 0 || (n < 0 && errno == EINTR);
}

static cn_err collect(child *c, uint64_t until, cn_buf *text, cn_buf *errors) {
    struct pollfd f[2] = {{.fd = c->out, .events = POLLIN}, {.fd = c->err, .events = POLLIN}};
    cn_buf *into[2] = {text, errors};
    while (f[0].fd >= 0 || f[1].fd >= 0) {
        uint64_t now = cn_mono_ns();
        if (now >= until || text->failed)
            return text->failed ? cn_fail(CN_INVALID, "its text is over the limit of %u bytes; split it", CN_TEXT_MAX) : CN_DEADLINE;
        if (poll(f, 2, (int)((until - now) / 1000000) + 1) < 0) {
            if (errno != EINTR)
                return cn_fail_errno(errno, "waiting for pdftotext");
            continue; /* what poll says of the two is of the time before */
        }
        for (int i = 0; i < 2; i++)
            if (f[i].fd >= 0 && f[i].revents && !drain(f[i].fd, into[i]))
                f[i].fd = -1;
    }
    return CN_OK;
}

static cn_err verdict(int status, cn_buf *errors) {
    cn_buf_putc(errors, 0);
    const char *said = errors->p ? errors->p : "";
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return CN_OK;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
        return cn_fail(CN_UNAVAILABLE, "pdftotext is missing; install the package poppler-utils");
    if (WIFSIGNALED(status))
        return cn_fail(CN_INVALID, "pdftotext ended by signal %d on it", WTERMSIG(status));
    if (strstr(said, "assword"))
        return cn_fail(CN_INVALID, "an encrypted PDF; remove its password first");
    return cn_fail(CN_INVALID, "a damaged or cut off PDF (pdftotext: %.*s)", (int)strcspn(said, "\n"), said);
}

static cn_err run(cn_str bytes, cn_buf *text) {
    int in, status = 0;
    child c;
    CN_AUTO_BUF cn_buf errors;
    cn_buf_init(&errors, 4096);
    CN_TRY(in_memory_file(bytes, &in));
    cn_err e = start(in, &c);
    close(in);
    CN_TRY(e);
    e = collect(&c, cn_mono_ns() + cn_parse_limit_ns(), text, &errors);
    if (e != CN_OK)
        kill(c.pid, SIGKILL);
    close(c.out);
    close(c.err);
    while (waitpid(c.pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (e == CN_DEADLINE)
        return cn_fail(e, "parsing it takes over %llu s", (unsigned long long)(cn_parse_limit_ns() / 1000000000u));
    errors.failed = false;
    if (errors.n >= 4095)
        errors.n = 4000;
    return e == CN_OK ? verdict(status, &errors) : e;
}

cn_err cn_parse_pdf(cn_str bytes, cn_arena *a, cn_parsed *ret) {
    CN_AUTO_BUF cn_buf text;
    cn_buf_init(&text, CN_TEXT_MAX);
    CN_TRY(run(bytes, &text));
    if (!cn_utf8_ok(cn_buf_str(&text))) /* it was told to write that */
        return cn_fail(CN_INVALID, "pdftotext made no UTF-8 of it");
    return cn_parse_text(cn_buf_str(&text), true, a, ret);
}
