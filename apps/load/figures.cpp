#include "load/figures.h"

namespace millrace::apps {

std::string_view name_of(LoadError error) {
    constexpr std::array<std::string_view, load_error_count> names{
        "refused",    "reset",  "timed-out", "unreachable", "closed-early",
        "bad-answer", "status", "bad-tls",   "no-port",     "no-memory",
        "lost"};
    return names[static_cast<size_t>(error)];
}

uint64_t Figures::errors_total() const {
    uint64_t sum = 0;
    for (const uint64_t n : errors) sum += n;
    return sum;
}

Figures& Figures::operator+=(const Figures& other) {
    attempted += other.attempted;
    established += other.established;
    closed += other.closed;
    asked += other.asked;
    completed += other.completed;
    unanswered += other.unanswered;
    unsent += other.unsent;
    skipped += other.skipped;
    handshakes += other.handshakes;
    resumed += other.resumed;
    bytes_out += other.bytes_out;
    bytes_in += other.bytes_in;
    for (size_t i = 0; i < errors.size(); ++i) errors[i] += other.errors[i];
    for (size_t i = 0; i < statuses.size(); ++i) statuses[i] += other.statuses[i];
    add_latencies(other);
    return *this;
}

void Figures::add_latencies(const Figures& other) {
    connect += other.connect;
    handshake += other.handshake;
    first_byte += other.first_byte;
    request += other.request;
    uncorrected += other.uncorrected;
    lag += other.lag;
}

void Figures::clear() {
    attempted = established = closed = 0;
    asked = completed = unanswered = unsent = skipped = 0;
    handshakes = resumed = bytes_out = bytes_in = 0;
    errors.fill(0);
    statuses.fill(0);
    for (Histogram* histogram : {&connect, &handshake, &first_byte, &request, &uncorrected, &lag})
        histogram->clear();
}

}  // namespace millrace::apps
