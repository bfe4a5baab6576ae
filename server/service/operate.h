/* operate.h -- what methods show of incident modes. For server/service only.
 *
 * Owns:    nothing.
 * Thread:  one at a time, with the call.
 * Limits:  none. */
#pragma once
#include "server/service/inside.h"

/* A pair: "normal", "freeze", or, of the tenant's own, "tenant drain", of the host's "host drain"; all that are not normal. */
void cn_out_incident_mode(cn_buf *out, const cn_modes *m);
/* A pair: a list of what is not normal in this tenant and the host, as far as the caller may know of it. only: of this index, if given;
 * full: with text, by whom and why. */
cn_err cn_out_modes(cn_call *c, cn_tenant *t, cn_str only, bool full, cn_buf *out);
cn_err cn_out_host_mode(cn_service *s, cn_call *c, bool full, cn_buf *out); /* the same pair, of the host alone */
