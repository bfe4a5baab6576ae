/* first_word.h -- whoever has another thread do something waits until that has begun for good, or says why it cannot.
 *
 * Owns:    a lock and a condition; it lies on the stack of the one who waits, and is gone once that one has heard it.
 * Thread:  one says it, once, and does not touch it afterwards; another waits for it.
 * Limits:  as long as the other takes to say it. */
#pragma once
#include <pthread.h>

#include "engine/base/error.h"

typedef struct cn_first_word {
    pthread_mutex_t lock;
    pthread_cond_t said;
    bool known;
    cn_err err;
    char why[CN_ERROR_TEXT];
} cn_first_word;

void cn_first_word_init(cn_first_word *w);
void cn_first_word_say(cn_first_word *w, cn_err err); /* with cn_error_detail() of this thread */
cn_err cn_first_word_wait(cn_first_word *w);          /* the same error, for this thread; ends w */
void cn_first_word_done(cn_first_word *w);            /* nobody is to say it after all */
