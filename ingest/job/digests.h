/* digests.h -- what says whether a document is the same as the one kept: content digest, row digest, and the chain over
 * all rows read, by which a resumed job knows that its input is still the same.
 *
 *   content = SHA-256("cairn content 2", format, title, uri, bytes, SHA-256 of the vector; zeros: none)
 *   row     = SHA-256("cairn row 1", content, allow, deny, require, metadata)     each list with its count
 *   chain   = SHA-256(chain before, operation, key, row)
 * The time of change is in none of them: touching a file changes nothing.
 * Owns:    nothing.
 * Thread:  any.
 * Limits:  none. */
#pragma once
#include "ingest/source/source.h"

cn_digest cn_vector_digest(const cn_raw *raw); /* the leaf wants it too: made once */
cn_digest cn_content_digest(const cn_raw *raw, const cn_digest *vector);
cn_digest cn_row_digest(const cn_digest *content, const cn_triple *labels, cn_str meta);
cn_digest cn_chain_digest(const cn_digest *before, cn_op op, const cn_key *key, const cn_digest *row);
