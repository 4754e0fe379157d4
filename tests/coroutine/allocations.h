// How often the calling thread has allocated: operator new is the tests' own here.
#pragma once

#include <cstddef>

namespace millrace {

size_t allocations();

}  // namespace millrace
