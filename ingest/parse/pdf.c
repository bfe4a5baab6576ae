/* PDF by poppler's pdftotext, a program of its own: its crashes and its licence stay outside. It is started with the file
 * on its standard input, may read what the system installed and nothing else, and reaches neither a network nor a process. */
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
static int system_files_only(void) {
    static const char *const dirs[] = {"/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache", "/etc/fonts", "/etc/xpdf", "/etc/alternatives"};
    const uint64_t readable = LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
    int rules = cn_landlock_begin();
    if (rules < 0)
        return -1;
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
    return cn_landlock_end(rules);
}

/* What the loader, the C library and pdftotext need to begin, to read and to write. None of it changes a file by its path, speaks
 * to another process or makes one; a call that is missing here fails, and the libraries do without it. */
static int few_calls(void) {
    static const int allowed[] = {SCMP_SYS(execve), SCMP_SYS(brk), SCMP_SYS(mmap), SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(mprotect), SCMP_SYS(madvise),
        SCMP_SYS(open), SCMP_SYS(openat), SCMP_SYS(close), SCMP_SYS(read), SCMP_SYS(readv), SCMP_SYS(pread64), SCMP_SYS(write), SCMP_SYS(writev), SCMP_SYS(lseek),
        SCMP_SYS(stat), SCMP_SYS(lstat), SCMP_SYS(fstat), SCMP_SYS(newfstatat), SCMP_SYS(statx), SCMP_SYS(statfs), SCMP_SYS(fstatfs), SCMP_SYS(access), SCMP_SYS(faccessat),
        SCMP_SYS(faccessat2), SCMP_SYS(readlink), SCMP_SYS(readlinkat), SCMP_SYS(getdents64), SCMP_SYS(getcwd), SCMP_SYS(fadvise64),
        SCMP_SYS(arch_prctl), SCMP_SYS(set_tid_address), SCMP_SYS(set_robust_list), SCMP_SYS(rseq), SCMP_SYS(futex), SCMP_SYS(getrandom),
        SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn), SCMP_SYS(sigaltstack),
        SCMP_SYS(clock_gettime), SCMP_SYS(gettimeofday), SCMP_SYS(time), SCMP_SYS(times), SCMP_SYS(getrusage), SCMP_SYS(getrlimit),
        SCMP_SYS(getpid), SCMP_SYS(gettid), SCMP_SYS(getuid), SCMP_SYS(geteuid), SCMP_SYS(getgid), SCMP_SYS(getegid),
        SCMP_SYS(uname), SCMP_SYS(sysinfo), SCMP_SYS(sched_getaffinity), SCMP_SYS(sched_yield), SCMP_SYS(exit), SCMP_SYS(exit_group)};
    return cn_allow_calls(allowed, sizeof allowed / sizeof *allowed);
}

bool cn_parse_takes_pdf(void) {
    int rules = cn_landlock_begin();
    if (rules >= 0)
        close(rules);
    return rules >= 0;
}

int cn_pdf_confine(void) {
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return -1;
    if (system_files_only() != 0)
        return CN_PDF_OPEN;
    return few_calls();
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
    int e = cn_pdf_confine();
    if (e != 0)
        _exit(e == CN_PDF_OPEN ? CN_PDF_OPEN : 3);
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
    if (WIFEXITED(status) && WEXITSTATUS(status) == CN_PDF_OPEN && !*said) /* pdftotext has such a status too, and tells why */
        return cn_fail(CN_INVALID, "a PDF, which takes a kernel with landlock (Linux 5.13): without it pdftotext could read any file; give its text");
    if (WIFEXITED(status) && WEXITSTATUS(status) == 3 && !*said)
        return cn_fail(CN_UNAVAILABLE, "a parser could not lock itself in: this system allows no seccomp filter");
    if (WIFSIGNALED(status))
        return cn_fail(CN_INVALID, "pdftotext ended by signal %d on it: it is damaged, no PDF, or too much for %u MiB of memory; mend it, or split it", WTERMSIG(status),
                       (unsigned)(CN_WORKER_BYTES >> 20));
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
