#include "httpd/files.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <optional>

namespace millrace::apps {

namespace {

/// Percent-decodes a path and cuts the query; nothing where an escape is malformed.
std::optional<std::string> decode(std::string_view target) {
    target = target.substr(0, target.find_first_of("?#"));
    std::string path;
    for (size_t i = 0; i < target.size(); ++i) {
        if (target[i] != '%') {
            path += target[i];
            continue;
        }
        unsigned value = 0;
        if (i + 2 >= target.size()) return std::nullopt;
        const char* digits = target.data() + i + 1;
        const auto [end, status] = std::from_chars(digits, digits + 2, value, 16);
        if (status != std::errc() || end != digits + 2 || value == 0) return std::nullopt;
        path += static_cast<char>(value);
        i += 2;
    }
    return path;
}

/// No empty, "." or ".." component: one file has one name, in the cache, too.
bool is_plain(std::string_view path) {
    while (!path.empty()) {
        const size_t slash = path.find('/');
        const std::string_view component = path.substr(0, slash);
        if (component.empty() || component == "." || component == "..") return false;
        if (slash == std::string_view::npos) return true;
        path.remove_prefix(slash + 1);
    }
    return true;
}

std::string_view content_type(std::string_view path) {
    static constexpr std::array<std::pair<std::string_view, std::string_view>, 9> types{{
        {".html", "text/html"},
        {".css", "text/css"},
        {".js", "text/javascript"},
        {".json", "application/json"},
        {".txt", "text/plain"},
        {".png", "image/png"},
        {".jpg", "image/jpeg"},
        {".svg", "image/svg+xml"},
        {".pdf", "application/pdf"},
    }};
    for (const auto& [suffix, type] : types)
        if (path.ends_with(suffix)) return type;
    return "application/octet-stream";
}

}  // namespace

Files::Files(const std::string& root) {
    if (!root.empty()) root_ = open(root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
}

Files::~Files() {
    if (root_ >= 0) close(root_);
}

std::shared_ptr<const MappedFile> Files::find(std::string_view target) {
    if (root_ < 0) return nullptr;
    const auto decoded = decode(target);
    if (!decoded || !decoded->starts_with('/')) return nullptr;
    std::string path = decoded->substr(1);
    if (path.empty() || path.ends_with('/')) path += "index.html";
    if (const auto known = cache_.find(path); known != cache_.end()) return known->second;
    if (!is_plain(path)) return nullptr;
    auto file = map(path);
    if (file == nullptr) return nullptr;
    if (cache_.size() >= cache_max) cache_.clear();
    return cache_.emplace(path, std::move(file)).first->second;
}

std::shared_ptr<const MappedFile> Files::map(const std::string& path) const {
    open_how how{};
    how.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK;  // a FIFO must not stop the loop
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
    const auto fd =
        static_cast<int>(syscall(SYS_openat2, root_, path.c_str(), &how, sizeof(how)));
    if (fd < 0) return nullptr;
    struct stat status {};
    void* memory = nullptr;
    if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_size > 0)
        memory = mmap(nullptr, static_cast<size_t>(status.st_size), PROT_READ, MAP_SHARED, fd, 0);
    const bool empty_file = S_ISREG(status.st_mode) && status.st_size == 0;
    close(fd);
    if (memory == MAP_FAILED || (memory == nullptr && !empty_file)) return nullptr;
    const auto size = static_cast<size_t>(status.st_size);
    Region region({static_cast<const std::byte*>(memory), size}, [memory, size] {
        if (memory != nullptr) munmap(memory, size);
    });
    return std::make_shared<const MappedFile>(
        MappedFile{std::move(region), size, content_type(path)});
}

}  // namespace millrace::apps
