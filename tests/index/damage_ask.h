/* damage_ask.h -- a tenant with some of everything, and questions about all of it, for tests that damage its files.
 *
 * Owns:    the tenant is small.h's; what is asked is freed in between.
 * Thread:  one at a time.
 * Limits:  for tests only. */
#pragma once
#include "tests/index/small.h"

#define REFUSED (-2) /* an error is no answer, */
#define ABSENT (-3)  /* but "there is no such" is one */
#define SEEN 14      /* the first of them: 1 or 0, may this principal see that document? */
#define REVOKED (SEEN + 8 + 4) /* whose answer is REFUSED always: what a revoked key opens */
#define QUESTIONS (SEEN + 26)

bool a_set_up(void);
void a_ask_all(int answers[QUESTIONS]); /* numbers that tell one answer from another, or REFUSED */
extern unsigned long a_by_cells; /* questions that were answered by cells */
