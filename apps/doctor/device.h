// A device's name in the configuration, taken apart.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "common/text.h"

namespace millrace::apps {

/// How the stack reaches the wire.
enum class DeviceKind : uint8_t { ring, null, tap, memif, af_packet, af_xdp, pci, other };

/// "net_tap0,iface=mr0": a name, and arguments behind it. Refers to the text.
class Device {
public:
    explicit Device(std::string_view text) : text_(text) {}

    std::string_view name() const { return text_.substr(0, text_.find(',')); }
    /// The value of `key=value`, or nothing.
    std::optional<std::string> argument(std::string_view key) const {
        for (size_t at = text_.find(','); at != std::string_view::npos; at = text_.find(',', at)) {
            ++at;
            const std::string_view one = text_.substr(at, text_.substr(at).find(','));
            if (one.size() > key.size() && one.starts_with(key) && one[key.size()] == '=')
                return std::string(one.substr(key.size() + 1));
        }
        return std::nullopt;
    }
    std::string argument(std::string_view key, std::string_view otherwise) const {
        return argument(key).value_or(std::string(otherwise));
    }
    uint32_t number(std::string_view key, uint32_t otherwise) const {
        return parse_number<uint32_t>(argument(key, "")).value_or(otherwise);
    }
    DeviceKind kind() const {
        const std::string_view is = name();
        if (is.starts_with("ring:")) return DeviceKind::ring;
        if (is.starts_with("net_null")) return DeviceKind::null;
        if (is.starts_with("net_tap")) return DeviceKind::tap;
        if (is.starts_with("net_memif")) return DeviceKind::memif;
        if (is.starts_with("net_af_packet")) return DeviceKind::af_packet;
        if (is.starts_with("net_af_xdp")) return DeviceKind::af_xdp;
        if (!is.starts_with("net_") && is.find(':') != std::string_view::npos)
            return DeviceKind::pci;
        return DeviceKind::other;
    }
    /// As /sys names it: "0000:03:00.0", also where the configuration leaves the domain out.
    std::string pci_address() const {
        const std::string is(name());
        return is.size() == 7 ? "0000:" + is : is;
    }

private:
    std::string_view text_;
};

}  // namespace millrace::apps
