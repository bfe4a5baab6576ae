#include "server/service/first_word.h"

#include <stdio.h>

void cn_first_word_init(cn_first_word *w) {
    *w = (cn_first_word){.known = false};
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->said, NULL);
}

void cn_first_word_done(cn_first_word *w) {
    pthread_cond_destroy(&w->said);
    pthread_mutex_destroy(&w->lock);
}

void cn_first_word_say(cn_first_word *w, cn_err err) {
    pthread_mutex_lock(&w->lock);
    w->known = true;
    w->err = err;
    snprintf(w->why, sizeof w->why, "%s", err == CN_OK ? "" : cn_error_detail());
    pthread_cond_signal(&w->said);
    pthread_mutex_unlock(&w->lock);
}

cn_err cn_first_word_wait(cn_first_word *w) {
    pthread_mutex_lock(&w->lock);
    while (!w->known)
        pthread_cond_wait(&w->said, &w->lock);
    pthread_mutex_unlock(&w->lock);
    cn_first_word_done(w);
    return w->err == CN_OK ? CN_OK : cn_fail(w->err, "%s", w->why);
}
