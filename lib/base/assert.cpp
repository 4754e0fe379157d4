#include "base/assert.h"

#include <cstdio>
#include <cstdlib>

namespace millrace {

void assertion_failed(const char* expression, const char* file, int line) {
    std::fprintf(stderr, "millrace: internal error: %s is false at %s:%d\n", expression, file,
                 line);
    std::abort();
}

}  // namespace millrace
