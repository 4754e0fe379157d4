// The command line of the generator, and scenarios, which have the same names.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "common/program.h"
#include "load/plan.h"

namespace millrace::apps {

/// What concerns the program, not the load.
struct RunOptions {
    std::string config_path;
    bool verbose = false;
    bool dry_run = false;
    bool quiet = false;
    std::string json, csv, hdr;        ///< files; empty: none
    std::vector<std::string> asserted;
};

/// Fills a plan from a command line, or from a scenario (TOML) that it names.
class Arguments {
public:
    explicit Arguments(CLI::App& app);
    /// After the parsing: what was given as text becomes values. An error names the option.
    Started<Plan> plan() const;
    const RunOptions& run() const { return run_; }
    /// The plan as a scenario that says everything.
    std::string to_toml(const Plan& plan) const;
    /// Each option that has a value, by its name.
    std::map<std::string, std::vector<std::string>> values(const Plan& plan) const;

private:
    void add_shape(CLI::App& app);
    void add_requests(CLI::App& app);
    void add_sources(CLI::App& app);
    void add_flood(CLI::App& app);
    void add_outputs(CLI::App& app);

    CLI::App& app_;
    Plan plan_;
    RunOptions run_;
    std::string target_;
    std::string request_size_ = "64";
    std::string response_size_ = "64";
    std::vector<std::string> steps_;
    std::vector<std::string> sources_;
    std::string source_ports_;
    std::string flood_sources_;
    int vlan_ = -1;
    uint32_t dscp_ = 0;
    bool close_ = false;
};

}  // namespace millrace::apps
