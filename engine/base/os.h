/* os.h -- clock, randomness and processors, behind a table that tests can swap.
 *
 * Owns:    nothing.
 * Thread:  any; swap the table only before threads start.
 * Limits:  none. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct cn_os {
    int64_t (*wall_us)(void);                /* microseconds since 1970, UTC */
    uint64_t (*mono_ns)(void);               /* never goes back */
    void (*random)(void *bytes, size_t n);   /* from the kernel; aborts when it has none */
    unsigned (*cpus)(void);                  /* processors this process may use, at least 1 */
} cn_os;

extern const cn_os cn_os_real;
extern const cn_os *cn_os_now; /* &cn_os_real, unless a test put another here */

static inline int64_t cn_wall_us(void) { return cn_os_now->wall_us(); }
/* When that is due which was noted at a time and waits so long. Noted further ahead than it waits, it is due now: the clock was
 * put back since, and nothing waits for it to come round again. */
static inline int64_t cn_due_us(int64_t noted_us, int64_t wait_us) {
    int64_t now = cn_wall_us();
    return noted_us > now + wait_us ? now : noted_us + wait_us;
}
static inline bool cn_is_due(int64_t noted_us, int64_t wait_us) { return cn_wall_us() >= cn_due_us(noted_us, wait_us); }
static inline uint64_t cn_mono_ns(void) { return cn_os_now->mono_ns(); }
static inline void cn_random(void *bytes, size_t n) { cn_os_now->random(bytes, n); }
static inline unsigned cn_cpus(void) { return cn_os_now->cpus(); }

/* First thing in a program: whoever started it without standard input, output or error gets /dev/null there, so that no
 * file opened later has their numbers and is written into by a message; as output it takes nothing, so that an answer that
 * goes nowhere is an error. Ends the process when even that cannot be had. A write past the limit on a file's size
 * (ulimit -f) is an error from then on, and no signal. */
void cn_std_files(void);

/* The calling thread, and those that it starts, work for a moment at a time and want to begin soon: they ask for slices of
 * 0.1 ms (sched_setattr(2)), so that from Linux 6.12 on they go before threads that run for long, and giving way costs them
 * no more than that. Elsewhere nothing changes. */
void cn_thread_prompt(void);

/* Between two steps of long work: who waits for this processor goes first, and need not wait for the clock's next tick. */
void cn_give_way(void);
static inline void cn_give_way_at(uint32_t step) { /* of small steps: at each 64th */
    if (step % 64 == 63)
        cn_give_way();
}

uint64_t cn_thread_cpu_ns(void);   /* what the calling thread has spent */
uint64_t cn_children_cpu_ns(void); /* what ended children of this process have spent, theirs included */

/* "2026-11-23T10:20:30.123456Z" and back; parse takes RFC 3339 (date alone too). Returns 0, or -1 on a wrong text. */
#define CN_TIME_TEXT 32
void cn_time_text(int64_t wall_us, char text[CN_TIME_TEXT]);
int cn_time_parse(const char *p, size_t n, int64_t *ret_wall_us);
