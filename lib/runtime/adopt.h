// Who an interface of the kernel is on its link, taken over for a port of ours.
#pragma once

#include <millrace/config.h>

namespace millrace::runtime {

/// Asks the kernel (rtnetlink, in this process' network namespace) for what each port's `adopt`
/// names, and fills it in: MAC, MTU, addresses, routes and neighbours, as they are at this moment.
/// Nothing is changed on the kernel's side. The keys themselves are empty then.
Started<void> adopt(Config& config);

}  // namespace millrace::runtime
