// A host of a test's network, of modest pools.
#pragma once

#include <string>

#include <millrace/config.h>

namespace millrace::apps {

inline Config wire_host(const std::string& address) {
    Config config;
    config.ports.push_back({.device = "wire", .addresses = {*Prefix::parse(address)}});
    config.pools = {.receive = 4096, .header = 4096, .attach = 4096, .payload = 4096};
    config.tcp.max_connections = 1024;
    return config;
}

}  // namespace millrace::apps
