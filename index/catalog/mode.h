/* mode.h -- what a responder may let an index, a whole tenant, or the whole host do during an incident (DESIGN.md section 8).
 *
 * control.mdb, database "meta": key = "mode" and an index id (u64 big-endian; 0: the tenant); value = record (pack.h),
 * format 1: {mode, text, by, at, reason}. The host's is the same record in cairn.mdb, database "settings", key "mode". None
 * stands for normal. The host's mode, a tenant's and an index's own hold together.
 *
 *   freeze  nothing is written: no job seals, no version goes, jobs activate nothing
 *   drain   jobs under way finish, no new one begins
 *   thaw    ends these two
 *   exact   questions are answered by exact search alone
 *   lexical questions are answered by their words alone: no embedder is asked, no vector compared
 *   refuse  nothing is answered but the text given
 *   answer  ends these three
 *   normal  ends all
 *
 * One of what may be written and one of how is answered hold together ("freeze+refuse"): setting one of a kind takes the place
 * of its own kind alone, so that whoever freezes and then refuses has both. by, at and reason are of the latest setting.
 * None of them keeps anybody from denial, hiding, erasure, rollback, activation by a person, release or the audit chain. A
 * name that this program does not know lets nothing be answered or written.
 * Owns:    strings live in the arena given.
 * Thread:  any; set takes the control writer, the host's the host's writer and then each tenant's.
 * Limits:  CN_MODE_TEXT bytes of text. */
#pragma once
#include "index/catalog/index.h"

#define CN_MODE_TEXT 500

typedef enum cn_mode_kind { /* bits of a set */
    CN_INCIDENT_NORMAL = 0,
    CN_INCIDENT_FREEZE = 1,
    CN_INCIDENT_DRAIN = 2,
    CN_INCIDENT_EXACT = 4,
    CN_INCIDENT_LEXICAL = 8,
    CN_INCIDENT_REFUSE = 16,
    CN_INCIDENT_UNKNOWN = 32,
} cn_mode_kind;

typedef struct cn_mode_info {
    unsigned kind;                 /* bits of cn_mode_kind */
    cn_str name, text, by, reason; /* name: as freeze+refuse; of normal: the name alone */
    int64_t at_us;                 /* CN_NO_TIME: normal */
} cn_mode_info;

typedef struct cn_modes { /* what holds for an index */
    cn_mode_info host, tenant, index;
    const char *of_tenant; /* its name, as long-lived as the tenant */
    cn_str of_index;       /* as given; empty: of no index */
} cn_modes;

/* index empty: the tenant and the host alone. */
cn_err cn_modes_get(cn_tenant *t, cn_str index, cn_arena *a, cn_modes *ret);
/* mode: a word of the table above. CN_INVALID: no such. text: of refuse alone. Raises the epoch. */
cn_err cn_mode_set(cn_tenant *t, cn_str index, cn_str mode, cn_str text, const cn_actor *who);
/* For every tenant, those made later too, from its one commit on. Each tenant's chain tells of it afterwards, in a transaction that
 * waits for what had looked before and raises its epoch. When some of that fails, the error says where, and the mode holds all the
 * same; setting it again tells the others. */
cn_err cn_host_mode_set(cn_data *d, cn_str mode, cn_str text, const cn_actor *who);
cn_err cn_host_mode_get(cn_data *d, cn_arena *a, cn_mode_info *ret);
bool cn_modes_are(const cn_modes *m, cn_mode_kind kind); /* one of them is */
/* CN_REFUSED, saying by which mode and what to do. */
cn_err cn_modes_may_answer(const cn_modes *m);
cn_err cn_modes_may_write(const cn_modes *m);
cn_err cn_modes_may_begin(const cn_modes *m); /* a job, or documents.put */
cn_err cn_modes_let_write(cn_tenant *t, cn_str index); /* by what is in force now; index empty: of the tenant. No refusal is audited */
/* Asked by a job: may it begin, or go on to seal? A refusal is audited. CN_NOT_FOUND: to begin, of an index that is not there. */
cn_err cn_modes_let_job(cn_tenant *t, cn_str index, bool begins, const cn_actor *who);
