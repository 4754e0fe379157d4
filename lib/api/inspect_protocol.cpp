#include "api/inspect_protocol.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>

#include <fmt/format.h>

namespace millrace::api {

namespace {

struct stat status_of(const std::string& path) {
    struct stat status {};
    if (lstat(path.c_str(), &status) != 0) status.st_mode = 0;
    return status;
}

/// Ours, and nobody else's to write: a directory that somebody has put there is not trusted.
bool is_private(const std::string& path) {
    const struct stat status = status_of(path);
    return S_ISDIR(status.st_mode) && status.st_uid == geteuid() && (status.st_mode & 022) == 0;
}

/// Root looks into everybody's; another finds the door shut where it is not his own.
bool is_trusted(const std::string& path) {
    const struct stat status = status_of(path);
    return S_ISDIR(status.st_mode) && (geteuid() == 0 || status.st_uid == geteuid()) &&
           (status.st_mode & 022) == 0;
}

std::string environment(const char* name) {
    const char* value = secure_getenv(name);
    std::string path = value != nullptr && *value == '/' ? value : "";
    return path.substr(0, path.find(':'));  // systemd may name several
}

/// The best first.
std::vector<std::string> candidates() {
    std::vector<std::string> paths;
    if (const std::string path = environment("RUNTIME_DIRECTORY"); !path.empty())
        paths.push_back(path);
    if (geteuid() == 0) paths.emplace_back("/run/millrace");
    if (const std::string path = environment("XDG_RUNTIME_DIR"); !path.empty())
        paths.push_back(path + "/millrace");
    paths.push_back(fmt::format("/run/user/{}/millrace", geteuid()));
    paths.push_back(fmt::format("/tmp/millrace-{}", geteuid()));
    return paths;
}

/// What lies in a directory, and nothing where it cannot be read.
std::vector<std::string> entries(const std::string& directory) {
    std::vector<std::string> paths;
    std::error_code status;
    std::filesystem::directory_iterator at(directory, status);
    for (; !status && at != std::filesystem::directory_iterator(); at.increment(status))
        paths.push_back(at->path());
    return paths;
}

bool is_sound(const Prefix& prefix) { return prefix.length <= prefix.address.wire_size() * 8; }

}  // namespace

bool InspectRequest::is_valid() const {
    return magic == magic_value && record_size == sizeof(SocketRecord) && is_sound(filter.local) &&
           is_sound(filter.remote);
}

std::string inspect_directory() {
    for (const std::string& path : candidates())
        if ((mkdir(path.c_str(), 0700) == 0 || errno == EEXIST) && is_private(path)) return path;
    return {};
}

std::vector<std::string> inspected_directories() {
    std::vector<std::string> paths = candidates();
    paths.emplace_back("/run/millrace");  // of a service, which is not root's
    if (geteuid() == 0) {
        for (const std::string& path : entries("/run/user")) paths.push_back(path + "/millrace");
        for (const std::string& path : entries("/tmp"))
            if (path.starts_with("/tmp/millrace-")) paths.push_back(path);
    }
    std::ranges::sort(paths);
    paths.erase(std::ranges::unique(paths).begin(), paths.end());
    std::erase_if(paths, [](const std::string& path) { return !is_trusted(path); });
    return paths;
}

bool is_inspect_name(std::string_view name) {
    const auto digits = [](std::string_view text) {
        return !text.empty() &&
               text.find_first_not_of("0123456789") == std::string_view::npos;
    };
    const size_t dot = name.find('.');
    return dot != std::string_view::npos && digits(name.substr(0, dot)) &&
           digits(name.substr(dot + 1));
}

}  // namespace millrace::api
