// What passes from thread to thread through code that ThreadSanitizer does not see (DPDK's rings
// and pools), told to it where the build has it.
#pragma once

#if defined(__SANITIZE_THREAD__)
#define MILLRACE_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define MILLRACE_TSAN 1
#endif
#endif

#ifdef MILLRACE_TSAN
#include <sanitizer/tsan_interface.h>
#endif

namespace millrace {

/// What was written before this is seen by whoever calls `happens_after` for the address later.
#ifdef MILLRACE_TSAN
inline void happens_before(const void* address) { __tsan_release(const_cast<void*>(address)); }
inline void happens_after(const void* address) { __tsan_acquire(const_cast<void*>(address)); }
#else
inline void happens_before(const void*) {}
inline void happens_after(const void*) {}
#endif

}  // namespace millrace
