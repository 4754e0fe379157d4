// The head of an answer, as text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace millrace::apps {

/// What it says. The text behind the views lives as long as the program.
struct Head {
    /// What becomes of the connection, where HTTP's version does not say so by itself.
    enum class Persistence : uint8_t { as_usual, close, keep_alive };

    int status = 0;
    size_t size = 0;                ///< of the body, sent or not (HEAD)
    std::string_view content_type;
    std::string_view extra;         ///< whole lines
    Persistence persistence = Persistence::as_usual;

    bool operator==(const Head&) const = default;
};

/// "Not Found" and its like.
std::string_view reason_phrase(int status);

/// One core's. Writes each head that is not that of the answer before.
class HeadWriter {
public:
    /// Good until the next call.
    std::string_view write(const Head& head);

private:
    Head last_;
    std::string text_;
};

}  // namespace millrace::apps
