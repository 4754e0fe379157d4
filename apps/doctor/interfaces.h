// The kernel's network interfaces.
#pragma once

#include <string>
#include <vector>

#include "doctor/device.h"
#include "doctor/machine.h"

namespace millrace::apps {

/// Of this network namespace; under another root than "" as the files there have them, without
/// addresses and without the driver's word on its queues.
std::vector<NetInterface> look_at_interfaces(const std::string& root);

/// Where a memif device meets its peer; an abstract socket begins with '@'.
std::string memif_socket(const Device& device);

}  // namespace millrace::apps
