// A socket as a JSON object; names as `ss` has them, sizes in bytes, times in their unit.
#pragma once

#include <nlohmann/json.hpp>

#include <millrace/inspect.h>

namespace millrace::apps {

nlohmann::ordered_json to_json(const SocketRecord& record);

}  // namespace millrace::apps
