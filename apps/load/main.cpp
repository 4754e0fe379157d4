// millrace-load: a load generator whose figures one can believe.
#include <fmt/format.h>

#include "common/say.h"
#include "load/arguments.h"
#include "load/embedded.h"
#include "load/export.h"
#include "load/flood_run.h"
#include "load/report.h"
#include "load/responder.h"

using namespace millrace;

namespace {

/// What the intervals of a run go to.
class Outputs final : public apps::RunObserver {
public:
    Outputs(const apps::Plan& plan, const apps::RunOptions& options)
        : plan_(plan), options_(options), table_(plan) {}

    /// Tries the files before anything is measured in vain.
    Started<void> open() {
        for (const auto& [name, path] :
             {std::pair{"--json", &options_.json}, {"--csv", &options_.csv}}) {
            if (path->empty()) continue;
            if (const auto written = apps::write_file(*path, ""); !written)
                return failure(fmt::format("{} {}: {}", name, *path, written.error().message()));
        }
        if (options_.hdr.empty()) return {};
        auto log = apps::HdrLog::create(options_.hdr);
        if (!log) return failure(fmt::format("--hdr {}: {}", options_.hdr, log.error().message()));
        log_ = std::move(*log);
        return {};
    }
    void on_interval(const apps::Interval& interval, const apps::Figures& figures) override {
        if (!options_.quiet) table_.print(interval, figures);
        // Answers to what a schedule intended count also behind its end.
        const bool counts = interval.phase == apps::Phase::counting ||
                            (interval.phase == apps::Phase::draining && plan_.is_open_loop());
        if (log_ == nullptr || !counts) return;
        log_->add("connect", interval.start, interval.seconds, figures.connect);
        log_->add("handshake", interval.start, interval.seconds, figures.handshake);
        log_->add("first_byte", interval.start, interval.seconds, figures.first_byte);
        log_->add("request", interval.start, interval.seconds, figures.request);
        log_->add("uncorrected", interval.start, interval.seconds, figures.uncorrected);
    }
    /// The files that are written at the end.
    Started<void> close(const std::string& json, const std::string& csv) {
        if (log_ != nullptr && !log_->close())
            return failure(fmt::format("--hdr {}: could not be written", options_.hdr));
        for (const auto& [name, path, text] : {std::tuple{"--json", &options_.json, &json},
                                               std::tuple{"--csv", &options_.csv, &csv}}) {
            if (path->empty()) continue;
            if (const auto written = apps::write_file(*path, *text); !written)
                return failure(fmt::format("{} {}: {}", name, *path, written.error().message()));
        }
        return {};
    }

private:
    const apps::Plan& plan_;
    const apps::RunOptions& options_;
    apps::LiveTable table_;
    std::unique_ptr<apps::HdrLog> log_;
};

/// Everything that one call of the program needs.
class Program {
public:
    Program(const apps::Plan& plan, const apps::Arguments& arguments,
            std::vector<apps::Assertion> assertions)
        : plan_(plan), arguments_(arguments), assertions_(std::move(assertions)) {}
    int run();

private:
    Started<void> make_configs();
    Started<void> start_server();
    int serve();
    int generate();
    int conclude(Outputs& outputs, const apps::Results& results);

    const apps::Plan& plan_;
    const apps::Arguments& arguments_;
    const std::vector<apps::Assertion> assertions_;
    const apps::Signals signals_;
    Config server_config_, client_config_;
    // What loops call outlives them: a runtime is destroyed before what is declared above it.
    std::unique_ptr<apps::Responder> responder_;
    std::unique_ptr<apps::LoadRun> load_;
    std::unique_ptr<Runtime> server_, client_;
};

Started<void> Program::make_configs() {
    if (plan_.role == apps::Role::both) {
        server_config_ = apps::end_of_link(0, plan_);
        client_config_ = apps::end_of_link(1, plan_);
    } else {
        auto config = load_config(arguments_.run().config_path);
        if (!config) return std::unexpected(config.error());
        (plan_.role == apps::Role::server ? server_config_ : client_config_) = std::move(*config);
    }
    if (plan_.role == apps::Role::server) return apps::apply_to_server(plan_, server_config_);
    if (auto applied = apps::apply(plan_, client_config_); !applied) return applied;
    return apps::check_feasible(plan_, client_config_);
}

Started<void> Program::start_server() {
    auto runtime = apps::start(server_config_);
    if (!runtime) return std::unexpected(runtime.error());
    server_ = std::move(*runtime);
    responder_ = std::make_unique<apps::Responder>(*server_, plan_);
    return responder_->start(plan_.target.port);
}

int Program::serve() {
    apps::say("serving {} on port {}\n", apps::name_of(plan_.protocol), plan_.target.port);
    std::fflush(stdout);
    const auto print = [this] {
        const apps::Served served = responder_->served();
        apps::say("connections {} requests {} bytes in {} out {}", served.connections,
                  served.requests, served.bytes_in, served.bytes_out);
        if (served.handshakes > 0) apps::say(" handshakes {}", served.handshakes);
        apps::say("\n");
        std::fflush(stdout);
    };
    while (!signals_.wait(10))
        if (!arguments_.run().quiet) print();
    print();
    return 0;
}

int Program::generate() {
    auto runtime = apps::start(client_config_);
    if (!runtime) return apps::fail(runtime.error());
    client_ = std::move(*runtime);
    if (plan_.mode == apps::Mode::flood)
        return apps::run_flood(*client_, plan_.flood, plan_.duration, arguments_.run().quiet,
                               [this] { return signals_.wait(0); });
    Outputs outputs(plan_, arguments_.run());
    if (const auto opened = outputs.open(); !opened) return apps::fail(opened.error());
    load_ = std::make_unique<apps::LoadRun>(
        *client_, plan_, apps::transmit_slack(client_config_),
        [this](double seconds) { return signals_.wait(seconds); });
    if (const auto started = load_->start(); !started) return apps::fail(started.error());
    std::function<apps::Served()> served;
    if (responder_ != nullptr) served = [this] { return responder_->served(); };
    return conclude(outputs, load_->run(outputs, served));
}

int Program::conclude(Outputs& outputs, const apps::Results& results) {
    std::vector<apps::AssertionResult> checked;
    for (const apps::Assertion& assertion : assertions_)
        checked.push_back(assertion.check(results));
    apps::print_report(plan_, results, checked);
    const auto closed = outputs.close(
        apps::to_json(arguments_.values(plan_), results, checked), apps::to_csv(results));
    if (!closed) return apps::fail(closed.error());
    const bool broken = std::ranges::any_of(
        results.invariants, [](const apps::Invariant& invariant) { return !invariant.holds; });
    const bool failed = std::ranges::any_of(
        checked, [](const apps::AssertionResult& assertion) { return !assertion.holds; });
    // Who asserts nothing expects no errors.
    const bool errors = assertions_.empty() && results.whole.errors_total() > 0;
    return apps::said(broken || failed || errors || !results.invalid.empty() ? 1 : 0);
}

int Program::run() {
    Runtime::set_verbose(arguments_.run().verbose);
    if (const auto made = make_configs(); !made) return apps::fail(made.error());
    if (plan_.role != apps::Role::client)
        if (const auto started = start_server(); !started) return apps::fail(started.error());
    return plan_.role == apps::Role::server ? serve() : generate();
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app("millrace-load: a load generator on Millrace");
    apps::Arguments arguments(app);
    CLI11_PARSE(app, argc, argv);
    const auto plan = arguments.plan();
    if (!plan) return apps::fail(plan.error());
    const apps::RunOptions& options = arguments.run();
    std::vector<apps::Assertion> assertions;
    for (const std::string& text : options.asserted) {
        auto assertion = apps::Assertion::parse(text);
        if (!assertion) return apps::fail(assertion.error());
        assertions.push_back(std::move(*assertion));
    }
    if (options.dry_run) {
        apps::say("{}", arguments.to_toml(*plan));
        return apps::said(0);
    }
    if (plan->mode == apps::Mode::flood &&
        (!assertions.empty() || !options.json.empty() || !options.csv.empty() ||
         !options.hdr.empty()))
        return apps::fail({"--assert, --json, --csv, --hdr: not of --mode flood"});
    if (options.config_path.empty() && plan->role != apps::Role::both)
        return apps::fail({"--config: which? Or --role both, over an embedded link"});
    return Program(*plan, arguments, std::move(assertions)).run();
}
