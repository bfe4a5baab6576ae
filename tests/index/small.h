/* small.h -- a tenant with hand-written documents, for tests that tell a story.
 *
 * Owns:    the data directory, removed by s_close(); what is given out lives in s_arena.
 * Thread:  s_open, s_close and s_seal one at a time; s_sees any.
 * Limits:  SMALL_DIM dimensions, one chunk a document, source "default". */
#pragma once
#include "index/control/records.h"
#include "index/search/search.h"

#define SMALL_DIM 4

typedef struct s_row {
    const char *id, *text, *allow, *deny, *require;
} s_row;

extern char s_dir[64];
extern cn_data *s_data;
extern cn_tenant *s_tenant;
extern cn_arena s_arena;
extern const cn_actor s_who, s_why; /* without and with a reason */

bool s_open(void);
void s_close(void);
bool s_open_again(void);    /* as another process would see it */
void s_index(const char *index);
/* Rows and one removed id (NULL: none) onto the head; the new version's number, 0 when it failed. */
uint64_t s_seal(const char *index, const s_row *rows, uint32_t n, const char *removed);
cn_err s_activate(const char *index, uint64_t number);
cn_labels s_labels(const char *commas);
/* May this principal see the document in that version (0: the active)? Asked by search and by cn_view_doc, which must agree:
 * 1 yes, 0 no, -1 they differ, -2 no answer at all (the error is in cn_error_detail()). */
int s_sees(const char *index, uint64_t number, const char *labels, const char *id);
cn_err s_policy(cn_policy_op op, const char *id, const char *labels, const cn_actor *who);
uint64_t s_epoch(void);
void s_segment_path(const cn_seg_id *id, char path[4096]);
uint32_t s_sweep(void); /* a minute passes, and the sweep goes by: how many files went */
typedef struct s_aged {
    cn_seg_id id[4096];
    uint32_t n;
} s_aged;
bool s_sweep_aged(s_aged *ret, uint32_t *ret_files); /* the same; ret: the files that waited for it; false: it failed */
bool s_is_sound(void); /* the whole tenant, checked; what is not is printed */
unsigned s_files_with(const void *p, size_t n); /* files of the data directory whose raw bytes hold these */
