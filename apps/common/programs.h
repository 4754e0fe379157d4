// Which running programs are meant.
#pragma once

#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include <millrace/inspect.h>

namespace millrace::apps {

/// Adds -p; `program` is a process number or the path of a socket, empty: all that run.
void add_program_option(CLI::App& app, std::string& program);
/// The sockets of the runtimes that are meant; why there are none.
Started<std::vector<std::string>> meant(const std::string& program);

}  // namespace millrace::apps
