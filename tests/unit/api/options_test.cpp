// The table of socket options in include/millrace/README.md says what the code does.
#include <millrace/socket.h>

#include <netinet/in.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <map>
#include <regex>
#include <string>

#include <gtest/gtest.h>

namespace millrace {
namespace {

/// "set, get", "get" or "ENOPROTOOPT", by level and number.
using Row = std::array<std::string, 2>;  // of streams, of datagrams
using Table = std::map<std::pair<int, int>, Row>;

Table read_table() {
    Table table;
    std::ifstream file(MILLRACE_OPTIONS);
    const std::regex heading(R"(## \w+ \(level (\d+).*)");
    const std::regex row(R"(\| `.*` \| (\d+) \| ([\w, ]+) \| ([\w, ]+) \|.*)");
    std::smatch found;
    int level = -1;
    for (std::string line; std::getline(file, line);) {
        if (std::regex_match(line, found, heading)) level = std::stoi(found[1]);
        if (std::regex_match(line, found, row)) table[{level, std::stoi(found[1])}] = {found[2], found[3]};
    }
    return table;
}

/// How both calls are answered, in the words of the table.
std::string answers(int socket, int level, int number) {
    char value[64] = {1};
    errno = 0;
    const bool sets =
        mr_setsockopt(socket, level, number, value, 16) == 0 || errno != ENOPROTOOPT;
    socklen_t size = sizeof(value);
    errno = 0;
    const bool gets =
        mr_getsockopt(socket, level, number, value, &size) == 0 ||
        (errno != ENOPROTOOPT && errno != EOPNOTSUPP);  // the latter of a foreign level, as Linux
    if (sets && gets) return "set, get";
    return gets ? "get" : sets ? "set" : "ENOPROTOOPT";
}

TEST(SocketOptions, the_table_says_what_the_code_does) {
    const Table table = read_table();
    ASSERT_GT(table.size(), 200U);
    char why[256];
    mr_context* context = mr_context_create(
        "[[port]]\ndevice = 'ring:options:0'\naddresses = ['10.5.2.1/24']\n[[core]]\n"
        "[tcp]\nmax_connections = 1024\ntcp_max_tw_buckets = 1024\n"
        "[pools]\nreceive = 4096\nheader = 1024\nattach = 1024\npayload = 1024\n"
        "[eal]\nhuge_pages = false\n",
        why, sizeof(why));
    ASSERT_NE(context, nullptr) << why;
    size_t honoured = 0;
    for (const int kind : {0, 1})
        for (const int level : {SOL_SOCKET, int{IPPROTO_TCP}, int{IPPROTO_UDP}, int{IPPROTO_IP},
                                int{IPPROTO_IPV6}})
            for (int number = 0; number < 300; ++number) {
                const int socket = mr_socket(level == IPPROTO_IPV6 ? AF_INET6 : AF_INET,
                                             kind == 0 ? SOCK_STREAM : SOCK_DGRAM, 0);
                ASSERT_GE(socket, MR_DESCRIPTOR_MIN);
                const auto row = table.find({level, number});
                const std::string said =
                    row == table.end() ? "ENOPROTOOPT" : row->second[static_cast<size_t>(kind)];
                EXPECT_EQ(answers(socket, level, number), said)
                    << kind << ", " << level << ", " << number;
                honoured += said != "ENOPROTOOPT";
                mr_close(socket);
            }
    EXPECT_GT(honoured, 80U);
    mr_context_destroy(context);
}

}  // namespace
}  // namespace millrace
