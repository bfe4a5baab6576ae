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

/* Of a ruleset all that this kernel's landlock can refuse: later ones know moving between folders, cutting short, ioctls of devices. */
int cn_landlock_begin(void) {
    static const uint64_t known[] = {0, (1u << 13) - 1, (1u << 14) - 1, (1u << 15) - 1, (1u << 15) - 1, (1u << 16) - 1};
    const long newest = sizeof known / sizeof *known - 1, abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (abi < 1)
        return -1;
    struct landlock_ruleset_attr all = {.handled_access_fs = known[abi < newest ? abi : newest]};
    return (int)syscall(SYS_landlock_create_ruleset, &all, sizeof all.handled_access_fs, 0);
}

int cn_landlock_end(int rules) {
    int e = (int)syscall(SYS_landlock_restrict_self, rules, 0);
    close(rules);
    return e;
}

/* No path may be opened any more. Kernels without landlock refuse the same by the calls alone, of which none takes a path but to
 * ask what is there; what starts another program (pdf.c) needs it. */
static void no_paths(void) {
    int rules = cn_landlock_begin();
    if (rules >= 0)
        cn_landlock_end(rules);
}

/* What computing, memory and an open socket need; any other call fails with EPERM. */
static int few_calls(void) {
    static const int allowed[] = {SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(recvfrom), SCMP_SYS(sendto), SCMP_SYS(exit),
        SCMP_SYS(exit_group), SCMP_SYS(mmap), SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(mprotect), SCMP_SYS(madvise), SCMP_SYS(brk),
        SCMP_SYS(futex), SCMP_SYS(rt_sigreturn), SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigaction), SCMP_SYS(sigaltstack),
        SCMP_SYS(clock_gettime), SCMP_SYS(gettimeofday), SCMP_SYS(getrandom), SCMP_SYS(getpid), SCMP_SYS(gettid),
        SCMP_SYS(close), SCMP_SYS(fstat), SCMP_SYS(newfstatat), SCMP_SYS(lseek), SCMP_SYS(sched_yield), SCMP_SYS(setrlimit),
        SCMP_SYS(getrusage), SCMP_SYS(getrlimit)};
    return cn_allow_calls(allowed, sizeof allowed / sizeof *allowed);
}

int cn_allow_calls(const int *allowed, size_t n) {
    scmp_filter_ctx c = seccomp_init(SCMP_ACT_ERRNO(1));
    int e = c ? 0 : -1;
    for (size_t i = 0; e == 0 && i < n; i++)
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
