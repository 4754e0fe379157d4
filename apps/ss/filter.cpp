#include "ss/filter.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>

#include <fmt/format.h>

#include "common/text.h"

namespace millrace::apps {

namespace {

constexpr uint32_t bit(SocketState state) { return 1U << static_cast<unsigned>(state); }
constexpr uint32_t bit(SocketKind kind) { return 1U << static_cast<unsigned>(kind); }

constexpr uint32_t all_states = 0xffe;  // 1 to 11
constexpr uint32_t connected =
    all_states & ~bit(SocketState::closed) & ~bit(SocketState::listen);
constexpr uint32_t bucket = bit(SocketState::syn_received) | bit(SocketState::time_wait);

struct NamedStates {
    std::string_view name;
    uint32_t states;
};
constexpr std::array named{
    NamedStates{"established", bit(SocketState::established)},
    NamedStates{"syn-sent", bit(SocketState::syn_sent)},
    NamedStates{"syn-recv", bit(SocketState::syn_received)},
    NamedStates{"fin-wait-1", bit(SocketState::fin_wait_1)},
    NamedStates{"fin-wait-2", bit(SocketState::fin_wait_2)},
    NamedStates{"time-wait", bit(SocketState::time_wait)},
    NamedStates{"closed", bit(SocketState::closed)},
    NamedStates{"unconnected", bit(SocketState::closed)},
    NamedStates{"close-wait", bit(SocketState::close_wait)},
    NamedStates{"last-ack", bit(SocketState::last_ack)},
    NamedStates{"listening", bit(SocketState::listen)},
    NamedStates{"listen", bit(SocketState::listen)},
    NamedStates{"closing", bit(SocketState::closing)},
    NamedStates{"all", all_states},
    NamedStates{"connected", connected},
    NamedStates{"synchronized", connected & ~bit(SocketState::syn_sent)},
    NamedStates{"bucket", bucket},
    NamedStates{"big", all_states & ~bucket},
};

std::optional<uint32_t> states_named(std::string_view name) {
    const auto found = std::ranges::find(named, name, &NamedStates::name);
    if (found == named.end()) return std::nullopt;
    return found->states;
}

/// "80" or ":80".
std::optional<uint16_t> port_of(std::string_view text) {
    if (text.starts_with(':')) text.remove_prefix(1);
    const auto port = parse_number<uint16_t>(text);
    return port && *port != 0 ? port : std::nullopt;
}

/// An address, a prefix, or either with a port; "[...]" around IPv6 with one.
bool take_end(std::string_view text, Prefix& prefix, uint16_t& port) {
    if (const auto whole = Prefix::parse(text)) {
        prefix = *whole;
        return true;
    }
    if (const auto address = Address::parse(text)) {
        prefix = {*address, static_cast<uint8_t>(address->wire_size() * 8)};
        return true;
    }
    const size_t colon = text.rfind(':');
    if (colon == std::string_view::npos) return false;
    const auto number = port_of(text.substr(colon));
    std::string_view rest = text.substr(0, colon);
    if (rest.starts_with('[') && rest.ends_with(']')) rest = rest.substr(1, rest.size() - 2);
    if (!number) return false;
    port = *number;
    return rest.empty() || rest == "*" || take_end(rest, prefix, port);
}

/// What the options alone choose.
SocketFilter chosen(const StateChoice& choice) {
    SocketFilter filter;
    const bool tcp = choice.tcp || !choice.udp;
    const bool udp = choice.udp || !choice.tcp;
    filter.kinds = (tcp ? ~bit(SocketKind::udp) : 0) | (udp ? bit(SocketKind::udp) : 0);
    const uint32_t listening = bit(SocketState::listen) | bit(SocketState::closed);
    if (choice.listening)
        filter.states = listening;
    else if (!choice.all)  // as `ss`: what is connected, and no half-open or TIME-WAIT entries
        filter.states = connected & ~bucket;
    return filter;
}

}  // namespace

Started<SocketFilter> parse_filter(const std::vector<std::string>& words,
                                   const StateChoice& choice) {
    SocketFilter filter = chosen(choice);
    bool states_given = false;
    for (size_t i = 0; i < words.size(); ++i) {
        const std::string& word = words[i];
        if (word == "and" || word == "&&") {
            if (i == 0 || i + 1 == words.size())
                return failure("filter: 'and' stands between two parts", EINVAL);
            continue;
        }
        if (i + 1 < words.size() && (words[i + 1] == "=" || words[i + 1] == "==")) ++i;
        if (i + 1 == words.size())
            return failure(fmt::format("filter: {} wants a value", word), EINVAL);
        const std::string& value = words[++i];
        if (word == "state" || word == "exclude") {
            const auto states = states_named(value);
            if (!states) return failure(fmt::format("filter: no state is {}", value), EINVAL);
            if (word == "exclude") {
                filter.states = (states_given ? filter.states : all_states) & ~*states;
            } else {
                filter.states = states_given ? filter.states | *states : *states;
            }
            states_given = true;
        } else if (word == "sport" || word == "dport") {
            const auto port = port_of(value);
            if (!port) return failure(fmt::format("filter: no port is {}", value), EINVAL);
            (word == "sport" ? filter.local_port : filter.remote_port) = *port;
        } else if (word == "src" || word == "dst") {
            const bool good = word == "src" ? take_end(value, filter.local, filter.local_port)
                                            : take_end(value, filter.remote, filter.remote_port);
            if (!good) return failure(fmt::format("filter: no address is {}", value), EINVAL);
        } else {
            return failure(fmt::format("filter: unknown word {}", word), EINVAL);
        }
    }
    return filter;
}

}  // namespace millrace::apps
