#include <millrace/inspect.h>

#include <array>

namespace millrace {

std::string_view to_string(SocketState state) {
    constexpr std::array<std::string_view, 12> names{
        "UNKNOWN",   "ESTAB",  "SYN-SENT",   "SYN-RECV", "FIN-WAIT-1", "FIN-WAIT-2",
        "TIME-WAIT", "UNCONN", "CLOSE-WAIT", "LAST-ACK", "LISTEN",     "CLOSING"};
    const auto number = static_cast<size_t>(state);
    return number < names.size() ? names[number] : names[0];
}

std::string_view to_string(SocketTimer timer) {
    constexpr std::array<std::string_view, 5> names{"off", "on", "keepalive", "timewait",
                                                    "persist"};
    const auto number = static_cast<size_t>(timer);
    return number < names.size() ? names[number] : "unknown";
}

bool SocketFilter::admits(const SocketRecord& record) const {
    const auto any = [](const Prefix& prefix) {
        return prefix.length == 0 && prefix.address == Address();
    };
    return (kinds >> static_cast<unsigned>(record.kind) & 1) != 0 &&
           (states >> static_cast<unsigned>(record.state) & 1) != 0 &&
           (local_port == 0 || local_port == record.local.port) &&
           (remote_port == 0 || remote_port == record.remote.port) &&
           (any(local) || local.contains(record.local.address)) &&
           (any(remote) || remote.contains(record.remote.address));
}

}  // namespace millrace
