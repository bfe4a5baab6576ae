#include <linux/landlock.h>
#include <stdbool.h>
#include <seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/base/sanitize.h"
#include "ingest/parse/worker.h"

static void limit(int what, rlim_t n) {
    struct rlimit r = {n, n};
    setrlimit((__rlimit_resource_t)what, &r); /* a lower limit is already in force otherwise */
}

static void limits(void) {
    limit(RLIMIT_CORE, 0);
    limit(RLIMIT_FSIZE, 0);
#if !CN_SANITIZED
    limit(RLIMIT_AS, CN_WORKER_BYTES);
#endif
}

/* No path may be opened any more. Kernels before 5.13 know no landlock; the call filter stands alone there. */
static void no_paths(void) {
    struct landlock_ruleset_attr all = {.handled_access_fs = (1u << 13) - 1};
    int fd = (int)syscall(SYS_landlock_create_ruleset, &all, sizeof all, 0);
    if (fd < 0)
        return;
    syscall(SYS_landlock_restrict_self, fd, 0);
    close(fd);
}

/* What computing, memory and an open socket need; any other call fails with EPERM. */
static int few_calls(void) {
    static const int allowed[] = {SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(recvfrom), SCMP_SYS(sendto), SCMP_SYS(exit),
        SCMP_SYS(exit_group), SCMP_SYS(mmap), SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(mprotect), SCMP_SYS(madvise), SCMP_SYS(brk),
        SCMP_SYS(futex), SCMP_SYS(rt_sigreturn), SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigaction), SCMP_SYS(sigaltstack),
        SCMP_SYS(clock_gettime), SCMP_SYS(gettimeofday), SCMP_SYS(getrandom), SCMP_SYS(getpid), SCMP_SYS(gettid),
        SCMP_SYS(close), SCMP_SYS(fstat), SCMP_SYS(newfstatat), SCMP_SYS(lseek), SCMP_SYS(sched_yield), SCMP_SYS(setrlimit),
        SCMP_SYS(getrusage), SCMP_SYS(getrlimit)};
    scmp_filter_ctx c = seccomp_init(SCMP_ACT_ERRNO(1));
    int e = c ? 0 : -1;
    for (size_t i = 0; e == 0 && i < sizeof allowed / sizeof *allowed; i++)
        e = seccomp_rule_add(c, SCMP_ACT_ALLOW, allowed[i], 0);
    if (e == 0) /* abort() and limits: of this process, no other */
        e = seccomp_rule_add(c, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1, SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid()));
    if (e == 0)
        e = seccomp_rule_add(c, SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), 1, SCMP_A0(SCMP_CMP_EQ, 0));
    if (e == 0)
        e = seccomp_load(c);
    if (c)
        seccomp_release(c);
    return e;
}

int cn_confine(void) {
    limits();
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return -1;
    no_paths();
    return few_calls();
}
