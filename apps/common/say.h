// What programs say. A disk that is full stops no program in its work, and a reader who has gone no
// server and no load (`Signals`); what was a tool's answer and is lost is its failure, when it
// ends.
#pragma once

#include <cstdio>
#include <string>
#include <utility>

#include <fmt/format.h>

namespace millrace::apps {

/// Into a stream, whose error flag tells of what is lost. (fmt::print would throw.)
template <typename... T>
void say_to(std::FILE* file, fmt::format_string<T...> form, T&&... values) {
    const std::string text = fmt::format(form, std::forward<T>(values)...);
    std::fwrite(text.data(), 1, text.size(), file);
}
/// On standard output.
template <typename... T>
void say(fmt::format_string<T...> form, T&&... values) {
    say_to(stdout, form, std::forward<T>(values)...);
}
/// On standard error.
template <typename... T>
void complain(fmt::format_string<T...> form, T&&... values) {
    say_to(stderr, form, std::forward<T>(values)...);
}

/// The exit status of a program whose answer stands on standard output: `status`, or a failure that
/// says so where not all of it could be written.
int said(int status);

}  // namespace millrace::apps
