// Where a capture goes.
#pragma once

#include <span>
#include <string>

#include <millrace/error.h>

namespace millrace::apps {

/// A file, or standard output. One thread.
class Output {
public:
    /// "-": standard output, unless that is a terminal; else a file that is made or emptied, for
    /// its user alone.
    static Started<Output> open(const std::string& name);
    Output(Output&& other) noexcept;
    Output& operator=(Output&&) = delete;
    ~Output();

    /// All of it; false, from then on always, where that fails.
    bool write(std::span<const std::byte> bytes);
    /// The reader of a pipe has gone: no fault of anybody's.
    bool reader_has_gone() const { return wrong_ == EPIPE; }
    /// What went wrong; 0: nothing.
    int wrong() const { return wrong_; }

private:
    Output(int fd, bool ours) : fd_(fd), ours_(ours) {}
    int fd_ = -1;
    bool ours_ = false;  ///< to be closed
    int wrong_ = 0;      ///< errno
};

}  // namespace millrace::apps
