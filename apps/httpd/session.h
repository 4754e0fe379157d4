// One HTTP connection: parse, answer, keep alive; pipelined requests in order.
#pragma once

#include <memory>
#include <string>

#include <llhttp.h>

#include "httpd/server.h"

namespace millrace::apps {

class HttpSession final : public ConnectionHandler {
public:
    static constexpr size_t target_max = 8192;
    static constexpr size_t header_max = 16384;
    static constexpr size_t body_max = 1 << 20;
    static constexpr size_t drain_max = 4 << 20;

    explicit HttpSession(HttpServer& server);

    void start(Connection connection);
    void on_readable(Connection c) override;
    void on_writable(Connection c) override;
    void on_closed(Connection c, CloseReason reason) override;

private:
    void work();
    bool parse();
    bool send_file();
    void answer();
    void answer_with(int status, std::shared_ptr<const MappedFile> body, std::string_view extra);
    bool blocked() const { return !pending_.empty() || file_ != nullptr; }
    void take_input();
    void finish();
    void refuse(int status);
    void drain();

    // llhttp's callbacks
    static int on_url(llhttp_t* parser, const char* at, size_t size);
    static int on_header(llhttp_t* parser, const char* at, size_t size);
    static int on_body(llhttp_t* parser, const char* at, size_t size);
    static int on_complete(llhttp_t* parser);
    static const llhttp_settings_t& settings();

    HttpServer& server_;
    Connection connection_;
    llhttp_t parser_{};
    BufferChain input_;
    std::string target_;
    size_t header_size_ = 0;
    size_t body_size_ = 0;
    int refused_ = 0;               ///< status with which parsing was stopped
    bool request_ready_ = false;    ///< a whole request waits for its answer
    bool close_after_ = false;
    bool draining_ = false;         ///< refused: what still comes is thrown away
    size_t drained_ = 0;
    std::shared_ptr<const MappedFile> file_;  ///< its rest is still to be sent
    size_t file_offset_ = 0;
    std::string pending_;           ///< response bytes that the send buffer had no room for
};

}  // namespace millrace::apps
