#include "httpd/head.h"

#include <iterator>

#include <fmt/format.h>

namespace millrace::apps {

std::string_view reason_phrase(int status) {
    switch (status) {
        case 200: return "OK";
        case 400: return "Bad Request";
        case 404: return "Not Found";
        case 405: return "Method Not Allowed";
        case 413: return "Content Too Large";
        case 414: return "URI Too Long";
        case 431: return "Request Header Fields Too Large";
        default: return "Error";
    }
}

std::string_view HeadWriter::write(const Head& head) {
    if (head == last_) return text_;
    last_ = head;
    text_.clear();
    std::string_view connection;
    if (head.persistence == Head::Persistence::close) connection = "Connection: close\r\n";
    if (head.persistence == Head::Persistence::keep_alive)
        connection = "Connection: keep-alive\r\n";
    fmt::format_to(std::back_inserter(text_),
                   "HTTP/1.1 {} {}\r\nServer: millrace\r\nContent-Type: {}\r\n"
                   "Content-Length: {}\r\n{}{}\r\n",
                   head.status, reason_phrase(head.status), head.content_type, head.size,
                   head.extra, connection);
    return text_;
}

}  // namespace millrace::apps
