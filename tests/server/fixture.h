/* fixture.h -- a service on a fresh data directory, asked and answering in JSON.
 *
 * Owns:    the directory, removed by fixture_done().
 * Thread:  one.
 * Limits:  answers up to 1 MiB. */
#pragma once
#include "engine/base/json.h"
#include "server/service/service.h"

typedef struct fixture {
    char dir[64];
    cn_service *s;
    cn_call call;
    cn_caller operator, nobody;
    cn_buf packed, answer, text;
} fixture;

void fixture_init(fixture *f); /* tenants acme and other; acme/docs with documents d0..d7, acme/secret with s0 */
void fixture_done(fixture *f);
/* The answer as one line of JSON, or "CODE: text". Borrowed until the next call. */
const char *ask(fixture *f, cn_caller *who, const char *method, const char *json);
unsigned times_in(const char *text, const char *part); /* how often it stands there */
/* A key made by the operator; the caller's strings live in the arena. */
void make_key(fixture *f, const char *json, cn_arena *a, cn_caller *ret, char key[CN_KEY_TEXT]);
