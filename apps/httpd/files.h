// Files of one directory, mapped once and served from the mapping.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include <millrace/buffer.h>

namespace millrace::apps {

/// A mapped file. Lives until the last buffer cut from it is gone.
struct MappedFile {
    Region region;
    size_t size = 0;
    std::string_view content_type;
};

/// One core's cache; starts anew when it is full. A file that changes on disk is served as it was
/// mapped; one that shrinks ends the process, as with any mapped file: replace files by renaming.
class Files {
public:
    /// `root` empty: no files are served.
    explicit Files(const std::string& root);
    ~Files();
    Files(const Files&) = delete;
    Files& operator=(const Files&) = delete;

    /// `target` is a request's: path, percent-encoded, with a query perhaps. Null: 404. Nothing
    /// outside the root is ever opened (the kernel sees to it: RESOLVE_BENEATH).
    std::shared_ptr<const MappedFile> find(std::string_view target);
    bool usable() const { return root_ >= 0; }

private:
    std::shared_ptr<const MappedFile> map(const std::string& path) const;
    static constexpr size_t cache_max = 4096;

    int root_ = -1;
    std::unordered_map<std::string, std::shared_ptr<const MappedFile>> cache_;
};

}  // namespace millrace::apps
