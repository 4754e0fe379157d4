// One row per numeric key: its name, where it lives, its range. Parsing and validation share it.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include <millrace/config.h>

namespace millrace::config {

template <typename Struct>
struct Field {
    std::string_view name;
    uint32_t Struct::*member;
    uint32_t min;
    uint32_t max;
};

std::span<const Field<TcpTunables>> tcp_fields();
std::span<const Field<IpTunables>> ip_fields();
std::span<const Field<PoolConfig>> pool_fields();
std::span<const Field<RecorderConfig>> recorder_fields();
constexpr uint32_t recorder_events_max = 65536;

}  // namespace millrace::config
