// One HTTP connection: parse, answer, keep alive; pipelined requests in order.
#pragma once

#include <memory>
#include <string>

#include <llhttp.h>
#include <millrace/timer.h>

#include "common/channel.h"
#include "httpd/server.h"

namespace millrace::apps {

class HttpSession final : public ConnectionHandler {
public:
    static constexpr size_t target_max = 8192;
    static constexpr size_t head_max = 16384;
    static constexpr size_t framing_max = 8;  ///< bytes around each of a body that comes in chunks
    static constexpr size_t body_max = 1 << 20;
    static constexpr size_t drain_max = 4 << 20;
    /// For who has connected and asked nothing yet, when the server ends.
    static constexpr Duration first_request_max = Duration::from_s(1);

    explicit HttpSession(HttpServer& server);

    /// `tls`: null without TLS.
    void start(Connection connection, TlsContext* tls);
    void on_readable(Connection c) override;
    void on_writable(Connection c) override;
    void on_closed(Connection c, CloseReason reason) override;
    /// The server ends gracefully: this session does as soon as it can.
    void begin_drain();

private:
    bool is_idle() const;
    void work();
    void go_on();
    bool parse();
    void parse(std::span<const std::byte> bytes);
    bool send_pending();
    bool send_file();
    bool send_file_copied();
    bool sent(const Result<size_t>& sent);
    void answer();
    void answer_with(int status, const std::shared_ptr<const MappedFile>& body,
                     std::string_view extra);
    void refuse(int status);
    void drain();
    void finish();
    void fail_tls();
    void over();
    void count_handshake();
    void count_bytes();
    void watch();
    void expired();

    // llhttp's callbacks
    static int on_url(llhttp_t* parser, const char* at, size_t size);
    static int on_body(llhttp_t* parser, const char* at, size_t size);
    static int on_complete(llhttp_t* parser);
    static const llhttp_settings_t& settings();

    HttpServer& server_;
    Channel channel_;
    llhttp_t parser_{};
    std::string target_;
    size_t head_size_ = 0;          ///< of the request so far, but for its body
    size_t body_size_ = 0;
    int refused_ = 0;               ///< status with which parsing was stopped
    bool request_ready_ = false;    ///< a whole request waits for its answer
    bool close_after_ = false;
    bool draining_ = false;         ///< refused: what still comes is thrown away
    bool handshake_counted_ = false;
    bool served_ = false;           ///< it has been answered once
    size_t drained_ = 0;
    std::shared_ptr<const MappedFile> file_;  ///< its rest is still to be sent
    size_t file_offset_ = 0;
    std::string pending_;           ///< response bytes that the send buffer had no room for
    Instant progress_;              ///< when a request was last whole, or an answer went on
    uint64_t delivered_ = 0;        ///< bytes that had reached the peer when the timer expired last
    Timer timer_;
};

}  // namespace millrace::apps
