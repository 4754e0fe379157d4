// Memory that must not be touched, told to AddressSanitizer where the build has it.
#pragma once

#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#define MILLRACE_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MILLRACE_ASAN 1
#endif
#endif

#ifdef MILLRACE_ASAN
#include <sanitizer/asan_interface.h>
#endif

namespace millrace {

#ifdef MILLRACE_ASAN
inline void poison(void* memory, size_t size) { ASAN_POISON_MEMORY_REGION(memory, size); }
inline void unpoison(void* memory, size_t size) { ASAN_UNPOISON_MEMORY_REGION(memory, size); }
#else
inline void poison(void*, size_t) {}
inline void unpoison(void*, size_t) {}
#endif

}  // namespace millrace
