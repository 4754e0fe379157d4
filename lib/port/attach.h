// From a device's name in the configuration to an ethdev port, or to the cause and the remedy.
#pragma once

#include <cstdint>
#include <string>

#include <millrace/error.h>

namespace millrace::port {

/// Makes or finds the port that `device` names. Two ends of a "ring:NAME:END" link may be opened in
/// any order, by one runtime or by two.
Started<uint16_t> attach(const std::string& device);
/// Takes the port out of the process again.
void detach(const std::string& device, uint16_t port);
/// The queues that a "ring:NAME:END,queues=N" link has; 0 for other devices.
uint16_t ring_queues(const std::string& device);

}  // namespace millrace::port
