#include "common/programs.h"

#include <cerrno>

namespace millrace::apps {

void add_program_option(CLI::App& app, std::string& program) {
    app.add_option("-p,--program", program,
                   "of this process number, or at this socket; else of all that run");
}

Started<std::vector<std::string>> meant(const std::string& program) {
    if (program.find('/') != std::string::npos) return std::vector{program};
    std::vector<std::string> paths = Inspection::running();
    if (!program.empty())
        std::erase_if(paths, [&](const std::string& path) {
            return !path.substr(path.rfind('/') + 1).starts_with(program + ".");
        });
    if (!paths.empty()) return paths;
    return failure(program.empty() ? "no program of this user's runs, or none lets others look in "
                                     "(inspect.enabled)"
                                   : "no such program of this user's: " + program,
                   ENOENT);
}

}  // namespace millrace::apps
