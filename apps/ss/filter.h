// The filters of `ss`: states by name, ports and addresses.
#pragma once

#include <string>
#include <vector>

#include <millrace/inspect.h>

namespace millrace::apps {

/// Which states are shown where no filter names one, by the options of the command line.
struct StateChoice {
    bool all = false;        ///< -a: listening and not
    bool listening = false;  ///< -l: only these
    bool tcp = false;        ///< -t; without -t and -u both
    bool udp = false;        ///< -u
};

/// From the words behind the options: `state NAME`, `exclude NAME`, `sport [=] [:]PORT`, `dport`,
/// `src ADDRESS[/LENGTH][:PORT]`, `dst`; joined by nothing or by `and`. States as `ss` names them:
/// established, syn-sent, syn-recv, fin-wait-1, fin-wait-2, time-wait, closed, close-wait,
/// last-ack, listening, closing; all, connected, synchronized, bucket, big. What is wrong is said.
Started<SocketFilter> parse_filter(const std::vector<std::string>& words,
                                   const StateChoice& choice);

}  // namespace millrace::apps
