// A connection's story as text that reads as a wire script (tests/wire/script.h) with times.
#pragma once

#include <string>

#include <millrace/story.h>

namespace millrace::apps {

/// A line an event; what the script's language has no word for stands behind `//`. Sequence numbers
/// are relative to each side's SYN where that is known, else to the first byte that was seen.
std::string story_text(const Story& story);

}  // namespace millrace::apps
