#include "load/arguments.h"

#include <algorithm>

#include <fmt/format.h>

#include "common/text.h"
#include "load/raw.h"

namespace millrace::apps {

namespace {

constexpr uint32_t size_max = 1 << 30;

/// An option that takes one of these words; what was given stays a word.
template <typename Value>
CLI::Option* add_choice(CLI::App& app, const std::string& name, Value& variable,
                        std::vector<std::pair<std::string, Value>> choices,
                        const std::string& description) {
    std::vector<std::string> words;
    for (const auto& [word, value] : choices) words.push_back(word);
    const auto chosen = [&variable, choices](const CLI::results_t& given) {
        for (const auto& [word, value] : choices)
            if (word == given.front()) variable = value;
        return true;
    };
    return app.add_option(name, chosen, description)->check(CLI::IsMember(words));
}

/// One that is not negative.
std::optional<double> amount(std::string_view text) {
    const auto value = parse_number<double>(text);
    return value && *value >= 0 ? value : std::nullopt;
}

/// RATE:SECONDS
std::optional<RateStep> step(std::string_view text) {
    const size_t colon = text.find(':');
    if (colon == std::string_view::npos) return std::nullopt;
    const auto rate = amount(text.substr(0, colon));
    const auto seconds = amount(text.substr(colon + 1));
    if (!rate || !seconds || *seconds == 0) return std::nullopt;
    return RateStep{*rate, *seconds};
}

/// FIRST-LAST
std::optional<std::pair<uint16_t, uint16_t>> port_range(std::string_view text) {
    const size_t dash = text.find('-');
    if (dash == std::string_view::npos) return std::nullopt;
    const auto first = amount(text.substr(0, dash));
    const auto last = amount(text.substr(dash + 1));
    if (!first || !last || *first < 1 || *last > 65535 || *first > *last) return std::nullopt;
    return std::pair{static_cast<uint16_t>(*first), static_cast<uint16_t>(*last)};
}

/// ADDRESS or FIRST-LAST, at most 65536 of them.
bool add_addresses(std::string_view text, std::vector<Address>& to) {
    const size_t dash = text.find('-');
    const auto first = Address::parse(text.substr(0, dash));
    const auto last =
        dash == std::string_view::npos ? first : Address::parse(text.substr(dash + 1));
    if (!first || !last || first->family() != last->family()) return false;
    std::array<uint8_t, 16> bytes = first->bytes();
    for (int count = 0; count < 65536; ++count) {
        to.push_back(Address::v6(bytes.data()));
        if (to.back() == *last) return true;
        for (size_t i = bytes.size(); i-- > 0;)
            if (++bytes[i] != 0) break;
    }
    return false;
}

/// An option that means something for some plans only.
struct Scope {
    std::string_view name;
    bool (*applies)(const Plan&);
    std::string_view where;
};

bool is_flood(const Plan& plan) { return plan.mode == Mode::flood; }
bool is_no_flood(const Plan& plan) { return plan.mode != Mode::flood; }
bool is_http(const Plan& plan) {
    return plan.speaks_http() && plan.mode != Mode::handshakes && !is_flood(plan);
}
bool is_tls_client(const Plan& plan) {
    return plan.protocol == Protocol::https && plan.role != Role::server && !is_flood(plan);
}
bool is_tls_server(const Plan& plan) {
    return plan.protocol == Protocol::https && plan.role != Role::client && !is_flood(plan);
}
bool is_raw_server(const Plan& plan) {
    return plan.protocol == Protocol::raw && plan.role != Role::client;
}
bool is_paced(const Plan& plan) { return plan.mode == Mode::rps || plan.mode == Mode::cps; }
bool has_requests(const Plan& plan) {
    return plan.protocol != Protocol::udp && plan.mode != Mode::throughput &&
           plan.mode != Mode::handshakes && !is_flood(plan);
}
bool is_closed(const Plan& plan) {
    return has_requests(plan) || plan.mode == Mode::handshakes;
}
bool has_pipeline(const Plan& plan) {
    return plan.mode != Mode::throughput && plan.mode != Mode::rr && plan.mode != Mode::crr &&
           plan.mode != Mode::handshakes && !is_flood(plan);
}

constexpr std::array<Scope, 37> scopes{{
    {"protocol", [](const Plan& p) { return is_no_flood(p) || p.role != Role::client; },
     "servers, and modes other than flood"},
    {"path", is_http, "requests over --protocol http and https"},
    {"method", is_http, "requests over --protocol http and https"},
    {"header", [](const Plan& p) { return p.speaks_http() && !is_flood(p); },
     "--protocol http and https"},
    {"request-body", is_http, "requests over --protocol http and https"},
    {"status", is_http, "requests over --protocol http and https"},
    {"output", is_http, "requests over --protocol http and https"},
    {"resume", is_tls_client, "clients of --protocol https"},
    {"authority", is_tls_client, "clients of --protocol https"},
    {"tls", is_tls_client, "clients of --protocol https"},
    {"certificate", is_tls_server, "servers of --protocol https"},
    {"key", is_tls_server, "servers of --protocol https"},
    {"request-size", [](const Plan& p) { return !p.speaks_http(); },
     "--protocol raw, echo and udp"},
    {"response-size", [](const Plan& p) { return p.protocol == Protocol::raw; }, "--protocol raw"},
    {"direction", [](const Plan& p) { return p.mode == Mode::throughput; }, "--mode throughput"},
    {"think", [](const Plan& p) { return p.mode == Mode::closed; }, "--mode closed"},
    {"trickle", [](const Plan& p) { return p.mode == Mode::concurrent; }, "--mode concurrent"},
    {"rate", [](const Plan& p) { return p.is_open_loop() || is_flood(p); },
     "--mode rps, cps, concurrent and flood"},
    {"steps", is_paced, "--mode rps and cps"},
    {"ramp", is_paced, "--mode rps and cps"},
    {"arrivals", [](const Plan& p) { return p.is_open_loop(); }, "--mode rps, cps and concurrent"},
    {"lag-limit", [](const Plan& p) { return p.is_open_loop(); }, "--mode rps, cps and concurrent"},
    {"connections", is_no_flood, "modes other than flood"},
    {"warm-up", is_no_flood, "modes other than flood"},
    {"drain", is_no_flood, "modes other than flood"},
    {"timeout", is_no_flood, "modes other than flood"},
    {"dscp", is_no_flood, "modes other than flood"},
    {"pipeline", has_pipeline, "--mode closed, rps, cps and concurrent"},
    {"requests", has_requests, "connections with requests"},
    {"close", has_requests, "connections with requests"},
    {"close-by", is_closed, "connections that end"},
    {"flood", is_flood, "--mode flood"},
    {"honest", is_flood, "--mode flood"},
    {"flood-sources", is_flood, "--mode flood"},
    {"drop-every", is_raw_server, "--protocol raw and --role server or both"},
    {"body", [](const Plan& p) { return p.role != Role::client && is_http(p); },
     "servers of requests over --protocol http and https"},
    {"ipv6", [](const Plan& p) { return p.role == Role::both; }, "--role both"},
}};

/// Null where it means something for every plan.
const Scope* scope_of(std::string_view option) {
    const auto found = std::ranges::find(scopes, option, &Scope::name);
    return found == scopes.end() ? nullptr : &*found;
}

/// Where it can be the server, who then keeps TIME-WAIT.
Closing usual_closing(const Plan& plan) {
    return plan.protocol == Protocol::echo ? Closing::client : Closing::server;
}

/// The least size of a message, which has to hold what the protocol puts into it.
uint32_t least_request(Protocol protocol) {
    if (protocol == Protocol::raw) return RawHeader::size;
    return protocol == Protocol::udp ? datagram_size_min : 1;
}

}  // namespace

Arguments::Arguments(CLI::App& app) : app_(app) {
    app.set_config("--scenario", "", "a TOML file with options under these names")
        ->configurable(false);
    app.allow_config_extras(false);
    app.add_option("-c,--config", run_.config_path,
                   "TOML file: ports, addresses, cores (see config/); --role both needs none");
    app.add_flag("-v,--verbose", run_.verbose, "messages of DPDK and its drivers");
    add_choice<Role>(app, "--role", plan_.role,
        {{"client", Role::client}, {"server", Role::server}, {"both", Role::both}},
        "client; server, which heeds --protocol, the target's port, --body, --drop-every, --vlan, "
        "--mtu, --certificate and --key alone; both: in one process, over a ring")
        ->default_str("client");
    app.add_option("-t,--target", target_,
                   "ADDRESS:PORT or [ADDRESS]:PORT; a server listens on its port")
        ->default_str("10.77.0.1:80");
    add_choice<Mode>(app, "-m,--mode", plan_.mode,
        {{"closed", Mode::closed}, {"rps", Mode::rps}, {"cps", Mode::cps},
         {"concurrent", Mode::concurrent}, {"throughput", Mode::throughput}, {"rr", Mode::rr},
         {"crr", Mode::crr}, {"handshakes", Mode::handshakes}, {"flood", Mode::flood}},
        "closed: as fast as answered; rps: requests/s, open loop; cps: connections/s, "
        "open loop; concurrent: build up and hold; throughput: bulk; rr, crr: round "
        "trips; handshakes: of TLS; flood: segments without connections, towards the target alone")
        ->default_str("closed");
    add_choice<Protocol>(app, "--protocol", plan_.protocol,
        {{"http", Protocol::http}, {"https", Protocol::https}, {"raw", Protocol::raw},
         {"echo", Protocol::echo}, {"udp", Protocol::udp}},
        "http, https, raw, echo or udp")
        ->default_str("http");
    add_shape(app);
    add_requests(app);
    add_sources(app);
    add_flood(app);
    add_outputs(app);
}

void Arguments::add_shape(CLI::App& app) {
    app.add_option("-n,--connections", plan_.connections,
                   "connections in all; of cps the most at a time (default: 64; rr, crr: 1)")
        ->check(CLI::Range(1, 10'000'000));
    app.add_option("-r,--requests", plan_.requests_per_connection,
                   "requests per connection, 0: keep it")
        ->capture_default_str();
    app.add_flag("--close", close_, "a connection per request, as --requests 1");
    app.add_option("--pipeline", plan_.pipeline, "requests on their way on one connection")
        ->capture_default_str()
        ->check(CLI::Range(1, 1024));
    app.add_option("--think", plan_.think_ms, "closed: ms from an answer to the next request")
        ->capture_default_str()
        ->check(CLI::NonNegativeNumber);
    app.add_option("--rate", plan_.rate,
                   "a second: requests of rps, connections of cps and concurrent, segments of "
                   "flood (0: all that the link takes)")
        ->capture_default_str()
        ->check(CLI::NonNegativeNumber);
    app.add_option("--trickle", plan_.trickle, "concurrent: requests a second on what is held")
        ->capture_default_str()
        ->check(CLI::NonNegativeNumber);
    add_choice<Arrivals>(app, "--arrivals", plan_.arrivals,
        {{"even", Arrivals::even}, {"poisson", Arrivals::poisson}},
        "even, or poisson: as from independent users")
        ->default_str("even");
    app.add_option("--ramp", plan_.ramp, "seconds in which the rate comes up; do not count")
        ->capture_default_str()
        ->check(CLI::NonNegativeNumber);
    app.add_option("--warm-up", plan_.warm_up, "seconds at the rate that do not count")
        ->capture_default_str()
        ->check(CLI::NonNegativeNumber);
    app.add_option("-d,--duration", plan_.duration, "seconds that count; 0: until Ctrl-C")
        ->capture_default_str()
        ->check(CLI::NonNegativeNumber);
    app.add_option("--steps", steps_, "RATE:SECONDS, one after the other, for --rate and -d")
        ->delimiter(',');
    app.add_option("--drain", plan_.drain, "seconds for what is under way at the end")
        ->capture_default_str()
        ->check(CLI::NonNegativeNumber);
    app.add_option("--timeout", plan_.timeout, "seconds for a connection or an answer; 0: for ever")
        ->capture_default_str()
        ->check(CLI::NonNegativeNumber);
}

void Arguments::add_requests(CLI::App& app) {
    app.add_option("-p,--path", plan_.path, "http: what is asked for")->capture_default_str();
    app.add_option("--method", plan_.method, "http: the request's method")->capture_default_str();
    app.add_option("-H,--header", plan_.headers, "http: \"Name: value\", any number of times")
        ->allow_extra_args(false);
    app.add_option("--request-body", plan_.body, "http: bytes of a request's body")
        ->capture_default_str()
        ->check(CLI::Range(0U, size_max));
    app.add_option("--status", plan_.status, "http: what answers must have; 0: any")
        ->capture_default_str()
        ->check(CLI::Range(0, 599));
    app.add_option("-s,--request-size", request_size_,
                   "raw, echo, udp: bytes; 64, or 64,512 in turn, or 64*9,1500*1 by weight, or "
                   "uniform:64:1500, or exponential:500:65536")
        ->capture_default_str();
    app.add_option("--response-size", response_size_, "raw: likewise")->capture_default_str();
    add_choice<Direction>(app, "--direction", plan_.direction,
        {{"up", Direction::up}, {"down", Direction::down}, {"both", Direction::both}},
        "throughput: up, down or both")
        ->default_str("down");
    add_choice<Closing>(app, "--close-by", plan_.closing,
        {{"client", Closing::client}, {"server", Closing::server}, {"reset", Closing::reset}},
        "who closes a connection after its requests: client, server, or reset "
        "(default: server, who keeps TIME-WAIT then; client of echo)");
    app.add_option("--resume", plan_.tls.resumes, "https: sessions are taken up again, or not")
        ->default_str("true");
    add_choice<TlsVersion>(app, "--tls", plan_.tls.version,
        {{"any", TlsVersion::any}, {"1.2", TlsVersion::tls_1_2}, {"1.3", TlsVersion::tls_1_3}},
        "https: the version that is spoken: any, 1.2 or 1.3")
        ->default_str("any");
    app.add_option("--authority", plan_.tls.authority,
                   "https: PEM file of those who may have signed the certificate, which then is to "
                   "be of the host that is asked; without: any certificate will do")
        ->check(CLI::ExistingFile);
    app.add_option("--certificate", plan_.identity.certificate,
                   "https, server or both: PEM file with the chain (default: one made up)")
        ->check(CLI::ExistingFile);
    app.add_option("--key", plan_.identity.key, "https, server or both: PEM file with its key")
        ->check(CLI::ExistingFile);
    app.add_option("-o,--output", plan_.output, "fetch once and write the body to this file")
        ->configurable(false);
    app.add_option("--drop-every", plan_.drop_every,
                   "server, both: one request in so many has no answer (raw); 0: each has")
        ->capture_default_str();
    app.add_option("-b,--body", plan_.served_body, "server, both: bytes that /body answers with")
        ->capture_default_str()
        ->check(CLI::Range(1U, size_max));
}

void Arguments::add_sources(CLI::App& app) {
    app.add_option("--sources", sources_,
                   "addresses to connect from, or FIRST-LAST, in turn; of the first port's subnets")
        ->delimiter(',');
    app.add_option("--source-ports", source_ports_, "FIRST-LAST, to connect from");
    app.add_option("--vlan", vlan_, "802.1Q identifier, 0: untagged")->check(CLI::Range(0, 4094));
    app.add_option("--mtu", plan_.mtu, "bytes of an IP packet (default: as configured, or 1500)")
        ->check(CLI::Range(576, 16000));
    app.add_option("--dscp", dscp_, "of what is sent")
        ->capture_default_str()
        ->check(CLI::Range(0, 63));
    app.add_flag("-6,--ipv6", plan_.ipv6, "both: over IPv6");
}

void Arguments::add_flood(CLI::App& app) {
    add_choice<FloodKind>(app, "--flood", plan_.flood.kind,
        {{"syn", FloodKind::syn}, {"ack", FloodKind::ack}, {"udp", FloodKind::udp}},
        "what to flood with: syn, ack or udp")
        ->default_str("syn");
    app.add_option("--honest", plan_.flood.honest_rate,
                   "flood: connections a second that are opened and closed beside it")
        ->capture_default_str()
        ->check(CLI::NonNegativeNumber);
    app.add_option("--flood-sources", flood_sources_,
                   "flood: the network that it seems to come from (default: the one for "
                   "benchmarks, 198.18.0.0/15 or 2001:2::/48)");
}

void Arguments::add_outputs(CLI::App& app) {
    app.add_option("--lag-limit", plan_.lag_limit_us,
                   "us of the schedule's lag at p99 above which a run is invalid")
        ->capture_default_str()
        ->check(CLI::PositiveNumber);
    app.add_option("--assert", run_.asserted,
                   "METRIC COMPARISON VALUE, say 'p99<200us', 'errors==0', 'rps>=10k': the exit "
                   "status tells whether it holds")
        ->allow_extra_args(false);
    app.add_option("--json", run_.json, "write the whole report to this file")->configurable(false);
    app.add_option("--csv", run_.csv, "write a line a second to this file")->configurable(false);
    app.add_option("--hdr", run_.hdr, "write the latencies to this file, an HdrHistogram log")
        ->configurable(false);
    app.add_flag("-q,--quiet", run_.quiet, "no line a second")->configurable(false);
    app.add_flag("--dry-run", run_.dry_run, "print the plan as a scenario, and end")
        ->configurable(false);
}

Started<Plan> Arguments::plan() const {
    Plan plan = plan_;
    if (!target_.empty()) {
        const auto target = SocketAddress::parse(target_);
        if (!target) return failure("--target: " + target_ + " is not ADDRESS:PORT");
        plan.target = *target;
    } else if (plan.ipv6) {
        plan.target.address = *Address::parse("fd77::1");
    }
    if (plan.ipv6 && plan.target.address.is_v4())
        return failure("--ipv6: the target is an IPv4 address");
    if (close_) plan.requests_per_connection = 1;
    if (app_.count("--close-by") == 0) plan.closing = usual_closing(plan);
    for (const auto& [name, text, to, least] :
         {std::tuple{"--request-size", &request_size_, &plan.request_size,
                     least_request(plan.protocol)},
          std::tuple{"--response-size", &response_size_, &plan.response_size, 1U}}) {
        auto sizes = Sizes::parse(*text, least, size_max);
        if (!sizes) return failure(fmt::format("{}: {}", name, sizes.error().what));
        *to = *sizes;
    }
    for (const std::string& text : steps_) {
        const auto parsed = step(text);
        if (!parsed) return failure("--steps: " + text + " is not RATE:SECONDS");
        plan.steps.push_back(*parsed);
    }
    for (const std::string& text : sources_)
        if (!add_addresses(text, plan.sources) ||
            plan.sources.back().family() != plan.target.address.family())
            return failure("--sources: " + text +
                           " is no address, or FIRST-LAST, of the target's family");
    if (!source_ports_.empty()) {
        const auto range = port_range(source_ports_);
        if (!range) return failure("--source-ports: " + source_ports_ + " is not FIRST-LAST");
        plan.source_ports = *range;
    }
    plan.dscp = static_cast<uint8_t>(dscp_);
    if (vlan_ >= 0) plan.vlan = static_cast<uint16_t>(vlan_);
    // For IPv6 the network that RFC 5180 has for benchmarks.
    const std::string usual = plan.target.address.is_v4() ? "198.18.0.0/15" : "2001:2::/48";
    const std::string network = flood_sources_.empty() ? usual : flood_sources_;
    const auto flooding = Prefix::parse(network);
    if (!flooding || flooding->address.family() != plan.target.address.family())
        return failure("--flood-sources: " + network + " is no network of the target's family");
    plan.flood.target = plan.target;
    plan.flood.sources = *flooding;
    plan.flood.rate = plan.rate;
    plan.flood.honest_from = plan.sources;
    for (const Scope& scope : scopes)
        if (app_.count("--" + std::string(scope.name)) > 0 && !scope.applies(plan))
            return failure(fmt::format("--{}: of {} only", scope.name, scope.where));
    if (plan.output && app_.count("--connections") + app_.count("--requests") > 0)
        return failure("--output: one is fetched, so no --connections, no --requests");
    if (auto whole = complete(plan); !whole) return std::unexpected(whole.error());
    return plan;
}

namespace {

/// Numbers and truth as they are, all else between quotes.
std::string toml_value(const std::string& text) {
    if (amount(text) || text == "true" || text == "false") return text;
    std::string quoted = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\') quoted += '\\';
        quoted += c;
    }
    return quoted + '"';
}

}  // namespace

std::string Arguments::to_toml(const Plan& plan) const {
    std::string text;
    for (const auto& [name, values] : values(plan)) {
        std::string list;
        for (const std::string& value : values)
            list += (list.empty() ? "" : ", ") + toml_value(value);
        const bool several = app_.get_option("--" + name)->get_expected_max() > 1;
        text += name + " = " + (several ? "[" + list + "]" : list) + "\n";
    }
    return text;
}

std::map<std::string, std::vector<std::string>> Arguments::values(const Plan& plan) const {
    std::map<std::string, std::vector<std::string>> values;
    for (const CLI::Option* option : app_.get_options()) {
        if (option->get_lnames().empty() || !option->get_configurable()) continue;
        const Scope* scope = scope_of(option->get_lnames().front());
        if (scope != nullptr && !scope->applies(plan)) continue;
        auto& of = values[option->get_lnames().front()];
        if (option->count() > 0)
            of = option->results();
        else if (!option->get_default_str().empty())
            of = {option->get_default_str()};
        if (of.empty() || of.front().empty()) values.erase(option->get_lnames().front());
    }
    // What the mode, or another option, stands for.
    values["target"] = {plan.target.to_string()};
    values.erase("close");
    if (!plan.steps.empty()) {
        values.erase("rate");
        values.erase("duration");
    }
    if (is_no_flood(plan)) values["connections"] = {std::to_string(plan.connections)};
    if (is_closed(plan))
        values["close-by"] = {std::string(name_of(plan.closing))};
    if (has_requests(plan)) values["requests"] = {std::to_string(plan.requests_per_connection)};
    return values;
}

}  // namespace millrace::apps
