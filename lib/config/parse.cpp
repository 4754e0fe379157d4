// TOML (toml++) into Config. Every table is read through `Reader`, which remembers the keys that
// it was asked for, so that what nobody asked for is an error and not a silent default.
#include <algorithm>
#include <array>
#include <charconv>
#include <fstream>
#include <set>
#include <sstream>

#include <fmt/format.h>

#include <millrace/config.h>

#include "config/toml.h"
#include "config/tunables.h"

namespace millrace {

namespace {

using config::Field;


class Reader {
public:
    Reader(const toml::table& table, std::string_view file, std::string path)
        : table_(table), file_(file), path_(std::move(path)) {}

    [[nodiscard]] Failure refuse(std::string_view key, const toml::node* at,
                                 std::string_view why) const {
        const auto line = at != nullptr ? at->source().begin.line : table_.source().begin.line;
        return {fmt::format("{}:{}: {}{}{}: {}", file_, line, path_, path_.empty() ? "" : ".", key,
                            why),
                EINVAL};
    }

    const toml::node* get(std::string_view key) {
        known_.emplace(key);
        return table_.get(key);
    }

    template <typename Integer>
    void integer(std::string_view key, Integer& out, int64_t min, int64_t max) {
        const toml::node* node = get(key);
        if (node == nullptr || failed()) return;
        const auto value = node->value_exact<int64_t>();
        if (!value || *value < min || *value > max) {
            fail(refuse(key, node,
                        fmt::format("{} is not an integer from {} to {}", show(*node), min, max)));
            return;
        }
        out = static_cast<Integer>(*value);
    }

    void boolean(std::string_view key, bool& out) {
        const toml::node* node = get(key);
        if (node == nullptr || failed()) return;
        const auto value = node->value_exact<bool>();
        if (!value) return fail(refuse(key, node, show(*node) + " is neither true nor false"));
        out = *value;
    }

    void text(std::string_view key, std::string& out) {
        const toml::node* node = get(key);
        if (node == nullptr || failed()) return;
        const auto value = node->value_exact<std::string>();
        if (!value) return fail(refuse(key, node, show(*node) + " is not a string"));
        out = *value;
    }

    /// Calls `each(element)` for the elements of an array; `each` answers why it refuses, or "".
    template <typename Each>
    void list(std::string_view key, Each&& each) {
        const toml::node* node = get(key);
        if (node == nullptr || failed()) return;
        const toml::array* array = node->as_array();
        if (array == nullptr) return fail(refuse(key, node, show(*node) + " is not a list"));
        for (const toml::node& element : *array) {
            const std::string why = each(element);
            if (!why.empty()) return fail(refuse(key, &element, why));
        }
    }

    template <typename Struct>
    void fields(std::span<const Field<Struct>> fields, Struct& out) {
        for (const auto& field : fields)
            integer(field.name, out.*field.member, field.min, field.max);
    }

    /// Calls `each(Reader&)` for a table, or for every table of an array of tables.
    template <typename Each>
    void tables(std::string_view key, Each&& each) {
        const toml::node* node = get(key);
        if (node == nullptr || failed()) return;
        if (const toml::table* table = node->as_table()) return sub(*table, std::string(key), each);
        const toml::array* array = node->as_array();
        if (array == nullptr) return fail(refuse(key, node, "is not a table"));
        size_t i = 0;
        for (const toml::node& element : *array) {
            const toml::table* table = element.as_table();
            if (table == nullptr) return fail(refuse(key, &element, "is not a table"));
            sub(*table, fmt::format("{}[{}]", key, i++), each);
        }
    }

    void reject_unknown() {
        if (failed()) return;
        for (const auto& [key, node] : table_)
            if (!known_.contains(key.str()))
                return fail(refuse(key.str(), &node, "unknown key"));
    }

    void fail(Failure failure) {
        if (!failed()) failure_ = std::move(failure);
    }
    bool failed() const { return failure_.has_value(); }
    const std::optional<Failure>& why() const { return failure_; }

private:
    template <typename Each>
    void sub(const toml::table& table, const std::string& key, Each&& each) {
        if (failed()) return;
        Reader reader(table, file_, path_.empty() ? key : path_ + "." + key);
        each(reader);
        reader.reject_unknown();
        if (reader.failed()) fail(*reader.why());
    }

    static std::string show(const toml::node& node) {
        std::ostringstream out;
        out << toml::node_view<const toml::node>(&node);
        return out.str();
    }

    const toml::table& table_;
    std::string_view file_;
    std::string path_;
    std::set<std::string, std::less<>> known_;
    std::optional<Failure> failure_;
};

std::string read_address(const toml::node& node, std::vector<Prefix>& out) {
    const auto text = node.value<std::string>();
    const auto prefix = text ? Prefix::parse(*text) : error(EINVAL);
    if (!prefix) return "an address is written \"192.0.2.1/24\" or \"2001:db8::1/64\"";
    out.push_back(*prefix);
    return {};
}

/// "10.0.0.0/8 via 192.0.2.254", "default via 2001:db8::1".
std::string read_route(const toml::node& node, std::vector<Route>& out) {
    constexpr std::string_view wanted =
        "a route is written \"10.0.0.0/8 via 192.0.2.254\" or \"default via 2001:db8::1\"";
    const auto text = node.value<std::string>();
    const size_t via = text ? text->find(" via ") : std::string::npos;
    if (via == std::string::npos) return std::string(wanted);
    const auto gateway = Address::parse(std::string_view(*text).substr(via + 5));
    if (!gateway) return std::string(wanted);
    const std::string destination = text->substr(0, via);
    const auto prefix = destination == "default" ? Prefix{Address::any(gateway->family()), 0}
                                                 : Prefix::parse(destination);
    if (!prefix || prefix->address.family() != gateway->family() || gateway->is_unspecified())
        return std::string(wanted);
    out.push_back({*prefix, *gateway});
    return {};
}

/// "192.0.2.9 at 02:00:00:00:00:09".
std::string read_neighbour(const toml::node& node, std::vector<NeighbourConfig>& out) {
    constexpr std::string_view wanted =
        "a neighbour is written \"192.0.2.9 at 02:00:00:00:00:09\"";
    const auto text = node.value<std::string>();
    const size_t at = text ? text->find(" at ") : std::string::npos;
    if (at == std::string::npos) return std::string(wanted);
    const auto address = Address::parse(std::string_view(*text).substr(0, at));
    if (!address) return std::string(wanted);
    NeighbourConfig neighbour{.address = *address};
    const char* from = text->c_str() + at + 4;
    for (size_t i = 0; i < neighbour.mac.size(); ++i) {
        const auto [end, status] = std::from_chars(from, from + 2, neighbour.mac[i], 16);
        if (status != std::errc() || end != from + 2 || *end != (i < 5 ? ':' : '\0'))
            return std::string(wanted);
        from = end + 1;
    }
    out.push_back(neighbour);
    return {};
}

void read_port(Reader& reader, PortConfig& port) {
    reader.text("device", port.device);
    reader.list("addresses",
                [&](const toml::node& node) { return read_address(node, port.addresses); });
    reader.list("routes", [&](const toml::node& node) { return read_route(node, port.routes); });
    reader.list("neighbours",
                [&](const toml::node& node) { return read_neighbour(node, port.neighbours); });
    reader.text("adopt", port.adopt);
    if (const toml::node* mtu = reader.get("mtu"); mtu != nullptr && !port.adopt.empty())
        reader.fail(reader.refuse("mtu", mtu, "comes with adopt: leave one of them out"));
    reader.text("mac", port.mac);
    reader.integer("mtu", port.mtu, 576, 16000);
    reader.integer("vlan", port.vlan, 0, 4094);
    reader.integer("receive_descriptors", port.receive_descriptors, 64, 32768);
    reader.integer("transmit_descriptors", port.transmit_descriptors, 64, 32768);
    reader.boolean("software_checksums", port.software_checksums);
    reader.list("cores", [&](const toml::node& node) -> std::string {
        const auto core = node.value_exact<int64_t>();
        if (!core || *core < 0 || *core > 255) return "a core is an integer from 0 to 255";
        port.cores.push_back(static_cast<uint16_t>(*core));
        return {};
    });
}

void read_core(Reader& reader, CoreConfig& core) {
    int cpu = -1;
    reader.integer("cpu", cpu, 0, 1023);
    if (cpu >= 0) core.cpu = static_cast<uint16_t>(cpu);
    std::string idle = "spin";
    reader.text("idle", idle);
    if (idle == "yield")
        core.idle = IdlePolicy::yield;
    else if (idle == "sleep")
        core.idle = IdlePolicy::sleep;
    else if (idle != "spin")
        reader.fail(reader.refuse("idle", reader.get("idle"), R"(is "spin", "yield" or "sleep")"));
    reader.integer("idle_turns", core.idle_turns, 1, 1'000'000'000);
    reader.integer("idle_sleep_us", core.idle_sleep_us, 1, 1'000'000);
}

void read_eal(Reader& reader, EalConfig& eal) {
    reader.integer("memory_mb", eal.memory_mb, 0, 1'048'576);
    reader.boolean("huge_pages", eal.huge_pages);
    reader.boolean("shared", eal.shared);
    reader.boolean("telemetry", eal.telemetry);
    reader.text("file_prefix", eal.file_prefix);
    reader.list("arguments", [&](const toml::node& node) -> std::string {
        const auto text = node.value_exact<std::string>();
        if (!text) return "an EAL argument is a string";
        eal.arguments.push_back(*text);
        return {};
    });
}

void read_congestion_control(Reader& reader, CongestionControl& out) {
    constexpr std::array<std::string_view, 4> names{"reno", "cubic", "dctcp", "bbr"};
    constexpr std::string_view key = "tcp_congestion_control";
    std::string name(names[static_cast<size_t>(out)]);
    reader.text(key, name);
    const auto found = std::ranges::find(names, name);
    if (found == names.end())
        return reader.fail(reader.refuse(key, reader.get(key),
                                         R"(is "reno", "cubic", "dctcp" or "bbr")"));
    out = static_cast<CongestionControl>(found - names.begin());
}

void read_config(Reader& reader, Config& config) {
    reader.tables("port", [&](Reader& port) { read_port(port, config.ports.emplace_back()); });
    std::vector<CoreConfig> cores;
    reader.tables("core", [&](Reader& core) { read_core(core, cores.emplace_back()); });
    if (!cores.empty()) config.cores = std::move(cores);
    reader.tables("pools",
                  [&](Reader& pools) { pools.fields(config::pool_fields(), config.pools); });
    reader.tables("tcp", [&](Reader& tcp) {
        tcp.fields(config::tcp_fields(), config.tcp);
        read_congestion_control(tcp, config.tcp.tcp_congestion_control);
    });
    reader.tables("ip", [&](Reader& ip) { ip.fields(config::ip_fields(), config.ip); });
    reader.tables("eal", [&](Reader& eal) { read_eal(eal, config.eal); });
    reader.tables("recorder", [&](Reader& recorder) {
        recorder.fields(config::recorder_fields(), config.recorder);
    });
    reader.tables("inspect",
                  [&](Reader& inspect) { inspect.boolean("enabled", config.inspect.enabled); });
    reader.reject_unknown();
}

}  // namespace

Started<Config> parse_config(std::string_view text, std::string_view name) {
    const toml::parse_result parsed = toml::parse(text, std::string(name));
    if (!parsed)
        return failure(fmt::format("{}:{}: {}", name, parsed.error().source().begin.line,
                                   parsed.error().description()),
                       EINVAL);
    Reader reader(parsed.table(), name, "");
    Config config;
    read_config(reader, config);
    if (reader.failed()) return std::unexpected(*reader.why());
    if (auto valid = validate(config); !valid)
        return failure(fmt::format("{}: {}", name, valid.error().what), valid.error().code);
    return config;
}

Started<Config> load_config(const std::string& path) {
    std::ifstream file(path);
    if (!file)
        return failure(fmt::format("cannot read the configuration {}: {}", path,
                                   Errno{errno}.message()),
                       errno);
    std::ostringstream text;
    text << file.rdbuf();
    if (file.bad() || text.fail())
        return failure(fmt::format("cannot read the configuration {}: is it a file?", path), EIO);
    return parse_config(text.str(), path);
}

}  // namespace millrace
