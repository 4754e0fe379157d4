// Assertions of our own invariants. A bad peer or a bad caller never reaches one of these: they
// are for our own bugs, after which the memory cannot be trusted (house rule 8).
#pragma once

namespace millrace {
[[noreturn]] void assertion_failed(const char* expression, const char* file, int line);
}

#define MILLRACE_ASSERT(expression) \
    ((expression) ? void(0) : ::millrace::assertion_failed(#expression, __FILE__, __LINE__))

// On the packet path: checked in builds that are not optimised for speed alone.
#ifdef NDEBUG
#define MILLRACE_DEBUG_ASSERT(expression) void(0)
#else
#define MILLRACE_DEBUG_ASSERT(expression) MILLRACE_ASSERT(expression)
#endif
