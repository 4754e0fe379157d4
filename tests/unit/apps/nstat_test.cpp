// The tables of millrace-nstat.
#include "nstat/counters.h"

#include <gtest/gtest.h>

namespace millrace::apps {
namespace {

Counters example() {
    Counters counters;
    read_counters("7.0", "core 0 TcpInSegs 100\ncore 0 TcpExtListenDrops 0\ncore 1 TcpInSegs 20\n"
                  "nonsense\ncore x TcpInSegs 1\nrow 0 TcpInSegs 1\ncore 0 TcpInSegs 1 2\n",
                  counters);
    read_counters("8.0", "core 0 TcpInSegs 5\n", counters);
    return counters;
}

TEST(Nstat, what_is_no_counter_is_left_out) {
    const Counters counters = example();
    ASSERT_EQ(counters.size(), 4U);
    EXPECT_EQ(counters[2].program, "7.0");
    EXPECT_EQ(counters[2].core, 1);
    EXPECT_EQ(counters[2].name, "TcpInSegs");
    EXPECT_EQ(counters[2].value, 20U);
}

TEST(Nstat, cores_and_programs_add_up) {
    const Counters sums = summed(example());
    ASSERT_EQ(sums.size(), 2U);
    EXPECT_EQ(sums[0].value, 125U);
    EXPECT_EQ(table(sums, 0, {}),
              "TcpInSegs                                            125\n");
    EXPECT_EQ(table(sums, 0, {.zeros = true, .patterns = {"*Drops"}}),
              "TcpExtListenDrops                                      0\n");
    EXPECT_EQ(table(sums, 0, {.patterns = {"Udp*"}}), "");
}

TEST(Nstat, differences_are_by_program_and_by_the_second) {
    const Counters before = example();
    Counters now = before;
    now[0].value += 40;
    now[2].value += 10;
    EXPECT_EQ(table(summed(since(now, before)), 2, {}),
              "TcpInSegs                                           25.0\n");
    now.pop_back();  // a program has gone: what it had counted is no lack
    EXPECT_EQ(table(summed(since(now, before)), 2, {}),
              "TcpInSegs                                           25.0\n");
    read_counters("9.0", "core 0 TcpInSegs 6\n", now);  // another has come
    EXPECT_EQ(table(summed(since(now, before)), 2, {}),
              "TcpInSegs                                           28.0\n");
    now[0].value = 3;  // and one of the same number as one that has gone
    EXPECT_EQ(since(now, before)[0].value, 3U);
}

TEST(Nstat, prometheus_reads_one_type_and_a_line_for_each_core) {
    EXPECT_EQ(prometheus(example(), {.patterns = {"TcpInSegs"}}),
              "# TYPE millrace_tcp_in_segs_total counter\n"
              "millrace_tcp_in_segs_total{program=\"7.0\",core=\"0\"} 100\n"
              "millrace_tcp_in_segs_total{program=\"7.0\",core=\"1\"} 20\n"
              "millrace_tcp_in_segs_total{program=\"8.0\",core=\"0\"} 5\n");
    const Counters drop{
        {.program = "7.0", .core = 0, .name = "tcp_bad_checksum", .value = 1, .port = {}}};
    EXPECT_EQ(prometheus(drop, {}).substr(7, 36), "millrace_tcp_bad_checksum_total coun");
}

TEST(Nstat, ports_are_counted_by_themselves_and_levels_are_as_they_are) {
    const std::string before =
        "port net_tap0,iface=a PortMissed 5\nport ring:b c:0 PortMissed 7\nlevel 0 BuffersFree 90\n"
        "level 1 BuffersFree 9\n";
    Counters then, now;
    read_counters("7.0", before, then);
    read_counters("7.0", "port net_tap0,iface=a PortMissed 9\nport ring:b c:0 PortMissed 7\n"
                         "level 0 BuffersFree 80\nlevel 1 BuffersFree 9\n", now);
    EXPECT_EQ(table(summed(since(now, then)), 2, {}),
              "PortMissed                                           2.0  net_tap0,iface=a\n"
              "BuffersFree                                           89\n");
    EXPECT_EQ(prometheus(then, {}),
              "# TYPE millrace_port_missed_total counter\n"
              "millrace_port_missed_total{program=\"7.0\",port=\"net_tap0,iface=a\"} 5\n"
              "millrace_port_missed_total{program=\"7.0\",port=\"ring:b c:0\"} 7\n"
              "# TYPE millrace_buffers_free gauge\n"
              "millrace_buffers_free{program=\"7.0\",core=\"0\"} 90\n"
              "millrace_buffers_free{program=\"7.0\",core=\"1\"} 9\n");
}

}  // namespace
}  // namespace millrace::apps
