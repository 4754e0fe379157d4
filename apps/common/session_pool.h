// Sessions of a server that are used again, connection after connection.
#pragma once

#include <memory>
#include <vector>

namespace millrace::apps {

/// Owns as many as there were connections at a time. One core's.
template <typename Session>
class SessionPool {
public:
    /// One that nobody uses, or a new one of `server`.
    template <typename Server>
    Session* take(Server& server) {
        if (idle_.empty()) {
            sessions_.push_back(std::make_unique<Session>(server));
            return sessions_.back().get();
        }
        Session* session = idle_.back();
        idle_.pop_back();
        return session;
    }
    void give_back(Session* session) { idle_.push_back(session); }
    /// Calls `visit(Session&)` for each, used or not; `visit` may give it back.
    template <typename Visit>
    void for_each(Visit&& visit) {
        for (const auto& session : sessions_) visit(*session);
    }

private:
    std::vector<std::unique_ptr<Session>> sessions_;
    std::vector<Session*> idle_;
};

}  // namespace millrace::apps
