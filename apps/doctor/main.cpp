// millrace-doctor: what will work on this machine, and with a configuration; with cause and remedy.
#include <cstdio>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "common/program.h"
#include "common/say.h"
#include "doctor/frames.h"
#include "doctor/judge.h"
#include "doctor/report.h"
#include "version.h"

namespace millrace::apps {
namespace {

struct Options {
    std::string config_path;
    std::string root;
    std::vector<std::string> peers;
    double patience = 1;
    bool json = false, strict = false, no_frames = false, verbose = false;
};

std::string versions() {
    return fmt::format("millrace {} ({}), built with DPDK {}, runs with {}", program_version,
                       program_commit, dpdk_version, millrace::dpdk_version());
}

Findings examine(const Options& options, const FrameOptions& frames) {
    Findings findings{ok("version", versions())};
    const auto add = [&](Findings more) {
        findings.insert(findings.end(), more.begin(), more.end());
    };
    Started<Config> config = Config{};
    if (!options.config_path.empty()) {
        config = load_config(options.config_path);
        findings.push_back(
            config ? ok("configuration", fmt::format("{}: ports {}, cores {}", options.config_path,
                                                     config->ports.size(), config->cores.size()))
                   : trouble("configuration", options.config_path + " cannot be used",
                             config.error().what,
                             "correct it there; config/ has examples, millrace/config.h all keys"));
    }
    const bool has_config = !options.config_path.empty() && config;
    std::vector<std::string> adopted;
    if (has_config && options.root.empty()) {
        for (const PortConfig& port : config->ports) adopted.push_back(port.adopt);
        if (const auto filled = adopt_interfaces(*config); !filled)
            findings.push_back(trouble("interface", "what is to be adopted is not there",
                                       filled.error().what, "do as the cause says"));
    }
    Machine machine = look(options.root, has_config ? &*config : nullptr);
    machine.adopted = std::move(adopted);
    add(judge(machine, has_config ? &*config : nullptr));
    if (!has_config || options.no_frames || !options.root.empty()) return findings;
    if (worst(findings) == Severity::failure)
        findings.push_back(note("frames", "not tried: there is a failure before it"));
    else
        add(try_frames(*config, frames));
    return findings;
}

int run(const Options& options) {
    FrameOptions frames;
    frames.patience = std::chrono::milliseconds(static_cast<int64_t>(options.patience * 1000));
    for (const std::string& text : options.peers) {
        const auto peer = Address::parse(text);
        if (!peer) return fail({"--peer: no address: " + text, EINVAL});
        frames.peers.push_back(*peer);
    }
    frames.verbose = options.verbose;
    Runtime::set_verbose(options.verbose);
    const Findings findings = examine(options, frames);
    if (options.json)
        say("{}\n", findings_json(findings).dump(2));
    else
        say("{}", findings_text(findings));
    return said(exit_status(findings, options.strict));
}

}  // namespace
}  // namespace millrace::apps

int main(int argc, char** argv) {
    using namespace millrace::apps;
    CLI::App app("millrace-doctor: what will work on this machine, and with a configuration");
    app.footer("Exit status: 0 without a failure, 1 with a warning and --strict or where the\n"
               "findings cannot be written, 2 with a failure; above 100: the command line is\n"
               "wrong. Run it as the user, in the network namespace and with the capabilities\n"
               "that the program will have.");
    Options options;
    app.add_option("-c,--config", options.config_path,
                   "TOML file of the program that is to run: what it needs is looked at, too");
    app.add_option("--peer", options.peers,
                   "an address on a port's link that has to answer, in any way");
    app.add_option("--patience", options.patience, "seconds that an answer may take")
        ->capture_default_str()
        ->check(CLI::Range(0.1, 10.0));
    app.add_flag("--no-frames", options.no_frames,
                 "open no port: nothing is sent, no interface made for the moment");
    app.add_flag("--json", options.json, "findings as JSON");
    app.add_flag("--strict", options.strict, "warnings count, too");
    app.add_option("--root", options.root,
                   "a copy of another machine's /proc, /sys, /dev and /var/run under this folder");
    app.add_flag("-v,--verbose", options.verbose, "messages of DPDK and its drivers");
    CLI11_PARSE(app, argc, argv);
    return run(options);
}
