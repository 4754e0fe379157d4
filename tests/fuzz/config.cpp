// The configuration: any text is taken or refused, and a refusal says in which file and line, or
// what does not go with what.
#include <string_view>

#include <millrace/config.h>

#include "fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace millrace;
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    const auto config = parse_config(text, "fuzz.toml");
    if (config) {
        fuzz::expect(validate(*config).has_value(), "what was taken is not valid");
        return 0;
    }
    constexpr std::string_view place = "fuzz.toml:";
    const std::string& why = config.error().what;
    fuzz::expect(why.starts_with(place) && why.size() > place.size() + 3, "no place, or no reason");
    fuzz::expect(config.error().code != 0, "a refusal without a code");
    return 0;
}
