#include "common/say.h"

#include <cerrno>
#include <system_error>

namespace millrace::apps {

int said(int status) {
    errno = 0;
    const bool flushed = std::fflush(stdout) == 0;
    if (flushed && std::ferror(stdout) == 0) return status;
    complain("standard output cannot be written{}{}\n", errno != 0 ? ": " : "",
             errno != 0 ? std::generic_category().message(errno) : "");
    return status != 0 ? status : 1;
}

}  // namespace millrace::apps
