#include "load/export.h"

#include <sys/utsname.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <fstream>

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "version.h"

namespace millrace::apps {

namespace {

using Json = nlohmann::ordered_json;

constexpr int schema_version = 2;

double us(Duration d) { return static_cast<double>(d.ns()) / 1000; }

Json latency(const Histogram& histogram) {
    Json json{{"count", histogram.count()},
              {"min_us", us(histogram.min())},
              {"mean_us", us(histogram.mean())},
              {"max_us", us(histogram.max())}};
    Json percentiles = Json::array();
    // Where a curve bends: ever finer towards the end, as HdrHistogram prints it.
    double left = 100;
    for (int halves = 0; halves < 18 && histogram.count() > 0; ++halves, left /= 2)
        for (int quarter = 0; quarter < 4; ++quarter) {
            const double percent = 100 - left + left / 8 * quarter;
            percentiles.push_back({percent, us(histogram.percentile(percent / 100))});
        }
    for (const auto& [name, fraction] :
         {std::pair{"p50_us", 0.5}, {"p90_us", 0.9}, {"p99_us", 0.99}, {"p99_9_us", 0.999},
          {"p99_99_us", 0.9999}, {"p99_999_us", 0.99999}})
        json[name] = us(histogram.percentile(fraction));
    json["percentiles"] = std::move(percentiles);
    return json;
}

Json errors(const Figures& figures) {
    Json json = Json::object();
    for (size_t i = 0; i < load_error_count; ++i)
        json[std::string(name_of(static_cast<LoadError>(i)))] = figures.errors[i];
    return json;
}

Json counts(const Figures& figures) {
    Json json{{"attempted", figures.attempted}, {"established", figures.established},
              {"closed", figures.closed},       {"asked", figures.asked},
              {"completed", figures.completed}, {"unanswered", figures.unanswered},
              {"unsent", figures.unsent},       {"skipped", figures.skipped},
              {"handshakes", figures.handshakes}, {"resumed", figures.resumed},
              {"bytes_in", figures.bytes_in},   {"bytes_out", figures.bytes_out},
              {"errors", errors(figures)}};
    Json statuses = Json::object();
    for (size_t i = 0; i < figures.statuses.size(); ++i)
        if (figures.statuses[i] != 0) statuses[std::to_string(i)] = figures.statuses[i];
    json["statuses"] = std::move(statuses);
    return json;
}

Json machine() {
    utsname name{};
    uname(&name);
    std::string cpu = "unknown";
    std::ifstream info("/proc/cpuinfo");
    for (std::string line; std::getline(info, line);)
        if (line.starts_with("model name")) {
            cpu = line.substr(line.find(':') + 2);
            break;
        }
    return {{"cpu", cpu},
            {"cpus", sysconf(_SC_NPROCESSORS_ONLN)},
            {"kernel", std::string(name.sysname) + " " + name.release},
            {"architecture", name.machine}};
}

Json series(const Results& results) {
    Json json = Json::array();
    for (const Interval& interval : results.series)
        json.push_back({{"phase", name_of(interval.phase)},
                        {"start_s", interval.start},
                        {"seconds", interval.seconds},
                        {"open", interval.open},
                        {"attempted", interval.attempted},
                        {"established", interval.established},
                        {"completed", interval.completed},
                        {"errors", interval.errors},
                        {"bytes_in", interval.bytes_in},
                        {"bytes_out", interval.bytes_out},
                        {"p50_us", us(interval.p50)},
                        {"p99_us", us(interval.p99)},
                        {"max_us", us(interval.max)},
                        {"connect_p99_us", us(interval.connect_p99)},
                        {"lag_p99_us", us(interval.lag_p99)},
                        {"busy", interval.busy}});
    return json;
}

Json health(const Results& results, const std::vector<AssertionResult>& assertions) {
    Json json{{"valid", results.invalid.empty()},
              {"invalid", results.invalid},
              {"tls_problem", results.tls_problem},
              {"interrupted", results.interrupted}};
    Json invariants = Json::array();
    for (const Invariant& invariant : results.invariants)
        invariants.push_back({{"name", invariant.name}, {"holds", invariant.holds},
                              {"detail", invariant.detail}});
    json["invariants"] = std::move(invariants);
    Json checked = Json::array();
    for (const AssertionResult& assertion : assertions)
        checked.push_back({{"text", assertion.text}, {"value", assertion.value},
                           {"holds", assertion.holds}});
    json["assertions"] = std::move(checked);
    return json;
}

}  // namespace

std::string to_json(const OptionValues& options, const Results& results,
                    const std::vector<AssertionResult>& assertions) {
    const Figures& counted = results.counted;
    const auto now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
    Json json{{"schema", schema_version},
              {"program", {{"version", program_version}, {"commit", program_commit},
                           {"dpdk", dpdk_version}}},
              {"ended", fmt::format("{:%FT%TZ}", fmt::gmtime(now))},
              {"machine", machine()},
              {"options", options},
              {"seconds", results.seconds}};
    json["rates"] = {{"requests", results.per_second(counted.completed)},
                     {"connections", results.per_second(counted.established)},
                     {"gbps_in", results.per_second(counted.bytes_in) * 8e-9},
                     {"gbps_out", results.per_second(counted.bytes_out) * 8e-9}};
    json["counted"] = counts(counted);
    json["whole"] = counts(results.whole);
    json["latency"] = {{"connect", latency(counted.connect)},
                       {"handshake", latency(counted.handshake)},
                       {"first_byte", latency(counted.first_byte)},
                       {"request", latency(counted.request)},
                       {"uncorrected", latency(counted.uncorrected)},
                       {"lag", latency(counted.lag)}};
    json["retransmissions"] = {{"syn", results.retransmitted_syns()},
                               {"data", results.retransmitted_data()},
                               {"fin", results.retransmitted_fins()}};
    json["ports"] = {{"missed", results.port_missed},
                     {"no_buffer", results.port_no_buffer},
                     {"errors", results.port_errors},
                     {"transmit_full", results.port_transmit_full}};
    Json cores = Json::array();
    for (const CoreShare& core : results.cores)
        cores.push_back({{"core", core.core}, {"busy", core.busy},
                         {"busy_cycles", core.busy_cycles}});
    json["cores"] = std::move(cores);
    json["counters"] = results.counters;
    json["server"] = nullptr;
    if (results.served)
        json["server"] = {{"connections", results.served->connections},
                          {"handshakes", results.served->handshakes},
                          {"requests", results.served->requests},
                          {"bytes_in", results.served->bytes_in},
                          {"bytes_out", results.served->bytes_out},
                          {"busy_cycles", results.served->busy_cycles}};
    json["health"] = health(results, assertions);
    json["series"] = series(results);
    // A path or header may be no UTF-8.
    return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string to_csv(const Results& results) {
    std::string text =
        "phase,start_s,seconds,open,attempted,established,completed,errors,bytes_in,bytes_out,"
        "p50_us,p99_us,max_us,connect_p99_us,lag_p99_us,busy\n";
    for (const Interval& i : results.series)
        text += fmt::format("{},{:.3f},{:.3f},{},{},{},{},{},{},{},{},{},{},{},{},{:.4f}\n",
                            name_of(i.phase), i.start, i.seconds, i.open, i.attempted,
                            i.established, i.completed, i.errors, i.bytes_in, i.bytes_out,
                            us(i.p50), us(i.p99), us(i.max), us(i.connect_p99), us(i.lag_p99),
                            i.busy);
    return text;
}

Result<void> write_file(const std::string& path, std::string_view text) {
    std::FILE* file = std::fopen(path.c_str(), "w");
    if (file == nullptr) return error(errno);
    const bool written = std::fwrite(text.data(), 1, text.size(), file) == text.size();
    const int why = errno;
    if (std::fclose(file) != 0) return error(errno);
    if (!written) return error(why != 0 ? why : EIO);
    return {};
}

}  // namespace millrace::apps
