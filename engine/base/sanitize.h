/* sanitize.h -- CN_SANITIZED: 1 where AddressSanitizer or ThreadSanitizer is built in, by gcc or by clang, else 0.
 *
 * They map terabytes of shadow memory, so no limit of address space can hold, and they define malloc themselves.
 * Owns:    nothing.
 * Thread:  any.
 * Limits:  none. */
#pragma once

#if defined(__has_feature)
#define CN_HAS_FEATURE(x) __has_feature(x)
#else
#define CN_HAS_FEATURE(x) 0
#endif

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || CN_HAS_FEATURE(address_sanitizer) || CN_HAS_FEATURE(thread_sanitizer)
#define CN_SANITIZED 1
#else
#define CN_SANITIZED 0
#endif
