/* documents.h -- reading documents whole or in part; rows of cn_methods_query. For server/service only.
 *
 * Owns:    nothing.
 * Thread:  any.
 * Limits:  CN_LIST_MAX documents a page; texts up to the answer's own limit. */
#pragma once
#include "server/service/inside.h"

#define CN_LIST_DEFAULT 100
#define CN_LIST_MAX 10000
cn_method_fn cn_m_fetch, cn_m_documents_list, cn_m_documents_get;
