// Histograms as an HdrHistogram log (format 1.3), for that project's plotters and processors.
#pragma once

#include <cstdio>
#include <memory>
#include <string>
#include <string_view>

#include <millrace/error.h>

#include "load/histogram.h"

namespace millrace::apps {

/// A histogram in HdrHistogram's compressed V2 encoding, in base64.
std::string hdr_encoded(const Histogram& histogram);

/// A file to which each interval adds a line for each histogram, told apart by tags.
class HdrLog {
public:
    /// Makes the file. The errno where it cannot be written.
    static Result<std::unique_ptr<HdrLog>> create(const std::string& path);
    ~HdrLog();
    HdrLog(const HdrLog&) = delete;
    HdrLog& operator=(const HdrLog&) = delete;

    /// An interval of `seconds` that ends now and began at `start`, on a clock of the caller's; one
    /// without values leaves no line.
    void add(std::string_view tag, double start, double seconds, const Histogram& histogram);
    /// False where something of it could not be written.
    bool close();

private:
    explicit HdrLog(std::FILE* file) : file_(file) {}
    void begin(double ago);
    std::FILE* file_;
    bool begun_ = false;
    bool failed_ = false;
};

}  // namespace millrace::apps
