// Server and generator in one process, over a ring link.
#pragma once

#include <millrace/config.h>

#include "load/plan.h"

namespace millrace::apps {

/// The configuration of the server's end (0: 10.77.0.1 and fd77::1) or the generator's (1: .2).
Config end_of_link(unsigned end, const Plan& plan);

}  // namespace millrace::apps
