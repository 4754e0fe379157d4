#include "load/plan.h"

#include <strings.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include <fmt/format.h>

#include "common/text.h"
#include "load/raw.h"

namespace millrace::apps {

std::string_view name_of(Mode mode) {
    constexpr std::array<std::string_view, 9> names{
        "closed", "rps", "cps", "concurrent", "throughput", "rr", "crr", "handshakes", "flood"};
    return names[static_cast<size_t>(mode)];
}

std::string_view name_of(Protocol protocol) {
    constexpr std::array<std::string_view, 5> names{"http", "https", "raw", "echo", "udp"};
    return names[static_cast<size_t>(protocol)];
}

std::string_view name_of(Closing closing) {
    constexpr std::array<std::string_view, 3> names{"client", "server", "reset"};
    return names[static_cast<size_t>(closing)];
}

/// The name or address alone, of NAME, NAME:PORT, ADDRESS:PORT or [ADDRESS]:PORT.
std::string Plan::tls_host() const {
    for (const std::string& header : headers) {
        if (strncasecmp(header.c_str(), "Host:", 5) != 0) continue;
        std::string_view host = trimmed(std::string_view(header).substr(5));
        if (host.starts_with('[') && host.find(']') != std::string_view::npos)
            host = host.substr(1, host.find(']') - 1);
        else if (host.find(':') == host.rfind(':'))
            host = host.substr(0, host.find(':'));
        // As in a certificate: a name has no dot at its end (RFC 6066 section 3).
        if (host.ends_with('.')) host.remove_suffix(1);
        return std::string(host);
    }
    return target.address.to_string();
}

double Plan::counted_seconds() const {
    if (steps.empty())
        return duration > 0 ? duration : std::numeric_limits<double>::infinity();
    double sum = 0;
    for (const RateStep& step : steps) sum += step.seconds;
    return sum;
}

double Plan::highest_rate() const {
    double highest = rate;
    for (const RateStep& step : steps) highest = std::max(highest, step.rate);
    return highest;
}

std::vector<RatePiece> Plan::pieces() const {
    const double first = steps.empty() ? rate : steps.front().rate;
    std::vector<RatePiece> pieces;
    if (ramp > 0) pieces.push_back({.seconds = ramp, .from = 0, .to = first});
    if (warm_up > 0) pieces.push_back({.seconds = warm_up, .from = first, .to = first});
    for (const RateStep& step : steps)
        pieces.push_back({.seconds = step.seconds, .from = step.rate, .to = step.rate});
    if (steps.empty())
        pieces.push_back({.seconds = counted_seconds(), .from = rate, .to = rate});
    return pieces;
}

namespace {

/// What a mode stands for, where nothing else has been said.
void put_in_defaults(Plan& plan) {
    if (plan.connections == 0)
        plan.connections = plan.mode == Mode::rr || plan.mode == Mode::crr ? 1 : 64;
    const bool one = plan.mode == Mode::crr || plan.mode == Mode::cps;
    if (one && plan.requests_per_connection == 0) plan.requests_per_connection = 1;
    if (plan.output) {
        plan.connections = 1;
        plan.requests_per_connection = 1;
    }
}

/// A name as DNS has them, or an address.
bool can_be_asked(const std::string& host) {
    const bool name = !host.empty() && host.size() <= 253 &&
                      host.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                             "0123456789-._") == std::string::npos;
    return name || Address::parse(host);
}

}  // namespace

Started<void> complete(Plan& plan) {
    put_in_defaults(plan);
    const auto wrong = [](std::string_view what) { return failure(std::string(what)); };
    if (!plan.steps.empty() && plan.rate > 0)
        return wrong("--steps stand for --rate and --duration");
    const bool has_rate = plan.highest_rate() > 0;
    const bool wants_rate = plan.is_open_loop();
    if (plan.mode == Mode::flood) return {};
    if (wants_rate && !has_rate)
        return wrong(fmt::format("--mode {} wants a --rate", name_of(plan.mode)));
    if (!wants_rate && has_rate)
        return wrong(fmt::format("--rate: --mode {} has none", name_of(plan.mode)));
    if (!plan.steps.empty() && plan.mode != Mode::rps && plan.mode != Mode::cps)
        return wrong("--steps are of --mode rps and cps");
    if (plan.trickle > 0 && plan.mode != Mode::concurrent)
        return wrong("--trickle is of --mode concurrent");
    if (plan.think_ms > 0 && (plan.mode != Mode::closed || plan.pipeline > 1))
        return wrong("--think is of --mode closed without --pipeline");
    if (plan.mode == Mode::handshakes && plan.protocol != Protocol::https)
        return wrong("--mode handshakes speaks --protocol https");
    plan.tls.host = plan.tls_host();
    if (plan.protocol == Protocol::https && !can_be_asked(plan.tls.host))
        return wrong("--header \"Host:\": TLS has to know whom it asks: a name or an address");
    if (plan.mode == Mode::handshakes)
        for (const std::string& header : plan.headers)
            if (strncasecmp(header.c_str(), "Host:", 5) != 0)
                return wrong("--header: --mode handshakes has none but \"Host:\", for TLS");
    if (plan.identity.certificate.empty() != plan.identity.key.empty())
        return wrong("--certificate and --key: one is missing");
    if (plan.mode == Mode::throughput && plan.protocol != Protocol::raw)
        return wrong("--mode throughput speaks --protocol raw");
    if (plan.protocol == Protocol::udp &&
        (plan.mode == Mode::cps || plan.mode == Mode::crr || plan.mode == Mode::throughput))
        return wrong(fmt::format("--mode {}: datagrams have no connections",
                                 name_of(plan.mode)));
    if (plan.protocol == Protocol::udp && plan.request_size.most() > datagram_size_max)
        return wrong(fmt::format("--request-size: a datagram has at most {} bytes",
                                 datagram_size_max));
    if (plan.protocol == Protocol::udp && plan.request_size.least() < datagram_size_min)
        return wrong(fmt::format("--request-size: a datagram has at least {} bytes, its number",
                                 datagram_size_min));
    if (plan.protocol == Protocol::raw && plan.request_size.least() < RawHeader::size)
        return wrong(fmt::format("--request-size: of --protocol raw at least {} bytes, its header",
                                 RawHeader::size));
    if (plan.drop_every != 0 && plan.protocol != Protocol::raw)
        return wrong("--drop-every is of --protocol raw");
    if (plan.closing == Closing::server && plan.protocol == Protocol::echo)
        return wrong("--close-by server: an echo server does not close first");
    if (plan.mode == Mode::crr && plan.requests_per_connection != 1)
        return wrong("--requests: --mode crr has one on each connection");
    if (plan.mode == Mode::concurrent && plan.duration == 0 && plan.trickle == 0)
        return wrong("--mode concurrent without an end wants a --trickle");
    return {};
}

Started<void> apply_to_server(const Plan& plan, Config& config) {
    PortConfig& port = config.ports.front();
    if (plan.vlan) port.vlan = *plan.vlan;
    if (plan.mtu != 0) port.mtu = plan.mtu;
    return validate(config);
}

Started<void> apply(const Plan& plan, Config& config) {
    PortConfig& port = config.ports.front();
    for (const Address& source : plan.sources) {
        const auto is = [&](const Prefix& known) { return known.address == source; };
        if (std::ranges::any_of(port.addresses, is)) continue;
        const auto around = std::ranges::find_if(
            port.addresses, [&](const Prefix& p) { return p.contains(source); });
        if (around == port.addresses.end())
            return failure(fmt::format("--sources: {} is in no subnet of the first port",
                                       source.to_string()));
        port.addresses.push_back({source, around->length});
    }
    if (plan.source_ports.first != 0) {
        config.tcp.ip_local_port_range_min = plan.source_ports.first;
        config.tcp.ip_local_port_range_max = plan.source_ports.second;
    }
    return apply_to_server(plan, config);
}

size_t transmit_slack(const Config& config) {
    size_t sum = 0;
    for (const PortConfig& port : config.ports) {
        // Drivers without hardware give them back at once.
        const bool is_nic = !port.device.starts_with("ring:") && !port.device.starts_with("net_");
        if (is_nic) sum += size_t{port.transmit_descriptors} * config.cores.size();
    }
    return sum;
}

Started<void> check_feasible(const Plan& plan, const Config& config) {
    if (plan.mode == Mode::flood) return {};
    const Family family = plan.target.address.family();
    const PortConfig& port = config.ports.front();
    const auto ours = std::ranges::count_if(
        port.addresses, [&](const Prefix& p) { return p.address.family() == family; });
    std::vector<Address> sources = plan.sources;
    std::ranges::sort(sources, {}, &Address::bytes);
    sources.erase(std::unique(sources.begin(), sources.end()), sources.end());
    const double addresses = sources.empty() ? std::min(static_cast<double>(ours), 1.0)
                                             : static_cast<double>(sources.size());
    const double ports = config.tcp.ip_local_port_range_max -
                         static_cast<double>(config.tcp.ip_local_port_range_min) + 1;
    const double there_are = addresses * ports;
    // Who closes first keeps TIME-WAIT; a SYN over the server's entry is taken (RFC 6191), over
    // ours only as tcp_tw_reuse has it. Nothing stays after a reset.
    const double requests = static_cast<double>(plan.requests_per_connection);
    const bool has_rate = plan.mode == Mode::cps || (plan.mode == Mode::rps && requests > 0);
    const double rate = !has_rate                ? 0
                        : plan.mode == Mode::cps ? plan.highest_rate()
                                                 : plan.highest_rate() / requests;
    const bool waits = plan.closing == Closing::client && plan.protocol != Protocol::udp;
    const bool reuses = config.tcp.tcp_tw_reuse == 1 && config.tcp.tcp_timestamps == 1;
    const double wait_s = !waits ? 0
                          : reuses ? config.tcp.tcp_tw_reuse_delay / 1000.0
                                   : config.tcp.tcp_timewait_len;
    const double lasts = plan.uncounted_seconds() + plan.counted_seconds();
    const double kept = rate * std::min(wait_s, lasts);
    const double open = plan.mode == Mode::cps ? 0 : plan.connections;
    if (kept + open > there_are)
        return failure(fmt::format(
            "{:.0f} connections/s, each {:.0f} s in TIME-WAIT, and {:.0f} open need {:.0f} tuples; "
            "{:.0f} addresses of {:.0f} ports make {:.0f}: add --sources, widen --source-ports, "
            "set tcp_tw_reuse = 1, or close by --close-by server or reset",
            rate, wait_s, open, kept + open, addresses, ports, there_are));
    const double cores = static_cast<double>(config.cores.size());
    if (plan.protocol == Protocol::udp && plan.connections > config.ip.max_udp_sockets * cores)
        return failure(
            fmt::format("--connections: {} do not fit in max_udp_sockets = {} on {} cores",
                        plan.connections, config.ip.max_udp_sockets, cores));
    if (plan.protocol != Protocol::udp && plan.connections > config.tcp.max_connections * cores)
        return failure(fmt::format(
            "--connections: {} do not fit in max_connections = {} on {} cores",
            plan.connections, config.tcp.max_connections, cores));
    return {};
}

}  // namespace millrace::apps
