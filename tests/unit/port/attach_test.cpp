// Every way in which a port cannot be had names its cause and its remedy.
#include "port/attach.h"

#include <utility>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <rte_ethdev.h>
#include <rte_ring.h>

#include "unit/port/unix_socket.h"

namespace millrace::port {
namespace {

void expect_refused(const std::string& device, const std::string& why, int code) {
    // Twice: a device that could not be opened is not left behind as an open one.
    for (int i = 0; i < 2; ++i) {
        const auto port = attach(device);
        ASSERT_FALSE(port) << device;
        EXPECT_EQ(port.error().what, why);
        EXPECT_EQ(port.error().code, code) << device;
    }
}

void expect_cause(const std::string& device, const std::string& cause) {
    for (int i = 0; i < 2; ++i) {
        const auto port = attach(device);
        ASSERT_FALSE(port) << device;
        EXPECT_EQ(port.error().what, "cannot open the port " + device + ": " + cause);
        EXPECT_GT(port.error().code, 0) << device;
    }
}

TEST(Attach, an_unknown_kind_of_device_is_told_which_there_are) {
    for (const char* device : {"net_nosuch0", "eth0", "net_nosuch0,iface=lo", "none"})
        expect_cause(device,
                     "unknown kind of device: ring:, net_tap, net_memif, net_af_packet, "
                     "net_af_xdp, net_pcap, net_null or a PCI address");
}

TEST(Attach, a_pci_device_that_is_not_there_is_told_of_drivers_and_of_allowing_it) {
    expect_cause("0000:ff:1f.7",
                 "a PCI device needs a driver that DPDK can use (mlx5's own, or vfio-pci): bind "
                 "it, and pass eal.arguments = [\"-a\", \"ADDRESS\"]");
}

TEST(Attach, a_kernel_interface_must_be_named_and_exist) {
    expect_cause("net_af_packet0", "iface= is missing: name the kernel's interface");
    expect_cause("net_af_packet0,iface=nosuch0",
                 "there is no interface nosuch0 in this network namespace");
    expect_cause("net_af_packet0,blocksz=4096,iface=nosuch1,qpairs=1",
                 "there is no interface nosuch1 in this network namespace");
    expect_cause("net_af_xdp0", "iface= is missing: name the kernel's interface");
    expect_cause("net_af_xdp0,iface=nosuch0",
                 "there is no interface nosuch0 in this network namespace");
}

/// What stands in the way of a TAP depends on where this runs; each obstacle has its sentence.
TEST(Attach, a_tap_names_what_is_in_its_way) {
    if (access("/dev/net/tun", F_OK) != 0)
        expect_cause("net_tap0,iface=mr0",
                     "/dev/net/tun does not exist: load the tun module, or give the container the "
                     "device");
    else if (geteuid() != 0)
        expect_cause("net_tap0,iface=mr0",
                     "TAP needs CAP_NET_ADMIN: run as root, or use a ring: or net_memif link");
    else
        expect_cause("net_tap0,iface=lo",
                     "the interface lo exists already, perhaps of another program that runs: "
                     "choose another iface=");
}

TEST(Attach, a_memif_names_its_socket_and_its_role) {
    expect_cause("net_memif0,role=server,socket=/no/such/folder/memif.sock,socket-abstract=no",
                 "the socket may be in use or its folder missing: check socket= and role=");
}

/// A socket at a path of its own; one that somebody listens at, if asked to.
class SocketFile {
public:
    explicit SocketFile(bool listens) {
        const sockaddr_un address = testing::unix_address(path_);
        unlink(path_.c_str());
        EXPECT_EQ(bind(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
        if (listens) {
            EXPECT_EQ(listen(fd_, 8), 0);
        } else {
            close(std::exchange(fd_, -1));
        }
    }
    ~SocketFile() {
        if (fd_ >= 0) close(fd_);
        unlink(path_.c_str());
    }
    SocketFile(const SocketFile&) = delete;
    SocketFile& operator=(const SocketFile&) = delete;
    std::string device(const char* role) const {
        return fmt::format("net_memif8,role={},socket={},socket-abstract=no", role, path_);
    }
    bool exists() const { return access(path_.c_str(), F_OK) == 0; }
    bool has_pending() const { return testing::has_pending(fd_); }

private:
    const std::string path_ = fmt::format("/tmp/millrace-attach-{}.sock", getpid());
    int fd_ = socket(AF_UNIX, SOCK_SEQPACKET, 0);
};

TEST(Attach, a_memif_server_takes_the_place_of_one_that_was_killed) {
    const SocketFile left(false);
    const auto port = attach(left.device("server"));
    ASSERT_TRUE(port) << port.error().what;
    EXPECT_TRUE(left.exists());
    detach(left.device("server"), *port);
}

TEST(Attach, a_memif_socket_that_is_in_use_is_left_alone) {
    const SocketFile used(true);
    for (int i = 0; i < 2; ++i) EXPECT_FALSE(attach(used.device("server")));
    EXPECT_TRUE(used.exists());
    EXPECT_FALSE(used.has_pending()) << "to greet it could end the process (port/backlog.h)";
}

TEST(Attach, a_memif_client_removes_nothing) {
    const SocketFile left(false);
    const auto port = attach(left.device("client"));
    EXPECT_TRUE(left.exists());
    if (port) detach(left.device("client"), *port);
}

TEST(Attach, a_device_is_opened_once_and_can_be_opened_again_after_it_was_closed) {
    const auto port = attach("net_null7,size=80");
    ASSERT_TRUE(port) << port.error().what;
    const auto second = attach("net_null7,copy=1");
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().what, "the port net_null7,copy=1 is open already in this process");
    EXPECT_EQ(second.error().code, EBUSY);
    EXPECT_TRUE(rte_eth_dev_is_valid_port(*port));
    detach("net_null7,size=80", *port);
    EXPECT_FALSE(rte_eth_dev_is_valid_port(*port));
    const auto again = attach("net_null7");
    ASSERT_TRUE(again) << again.error().what;
    detach("net_null7", *again);
}

TEST(Attach, a_link_has_a_name_an_end_and_up_to_16_queues) {
    for (const char* device :
         {"ring:", "ring:x", "ring::0", "ring:x:2", "ring:x:01", "ring:x0", "ring:x:0,queues=0",
          "ring:x:0,queues=17", "ring:x:0,queues=-1", "ring:x:0,queues=", "ring:x:0,queues=2x"}) {
        expect_refused(device,
                       std::string(device) + ": a link is written ring:NAME:0 or ring:NAME:1, "
                                             "with ,queues=N (1 to 16) if it has several",
                       EINVAL);
        EXPECT_EQ(ring_queues(device), 0) << device;
    }
}

TEST(Attach, a_links_queues_are_those_of_its_name) {
    EXPECT_EQ(ring_queues("ring:x:0"), 1);
    EXPECT_EQ(ring_queues("ring:x:1,queues=16"), 16);
    EXPECT_EQ(ring_queues("ring:a:b:1,queues=3"), 3) << "colons in a name are part of it";
    EXPECT_EQ(ring_queues("net_null0,queues=4"), 0) << "no link";
}

TEST(Attach, an_end_of_a_link_is_opened_once) {
    const auto first = attach("ring:at_once:1");
    ASSERT_TRUE(first) << first.error().what;
    expect_refused("ring:at_once:1", "ring:at_once:1 is open already", EBUSY);
    const auto other = attach("ring:at_once:0");
    ASSERT_TRUE(other) << other.error().what;
    detach("ring:at_once:1", *first);
    // The link lives on while one end is open; the other may come back.
    const auto back = attach("ring:at_once:1");
    ASSERT_TRUE(back) << back.error().what;
    detach("ring:at_once:1", *back);
    detach("ring:at_once:0", *other);
}

TEST(Attach, both_ends_of_a_link_agree_on_its_queues) {
    const auto first = attach("ring:at_queues:0,queues=2");
    ASSERT_TRUE(first) << first.error().what;
    expect_refused("ring:at_queues:1,queues=3",
                   "ring:at_queues: the other end has 2 queues, this one asks for 3", EINVAL);
    expect_refused("ring:at_queues:1",
                   "ring:at_queues: the other end has 2 queues, this one asks for 1", EINVAL);
    detach("ring:at_queues:0,queues=2", *first);
    // Nothing of it is left: the name is free for another link.
    const auto anew = attach("ring:at_queues:0,queues=3");
    ASSERT_TRUE(anew) << anew.error().what;
    detach("ring:at_queues:0,queues=3", *anew);
}

TEST(Attach, a_links_name_that_is_too_long_for_dpdk_is_refused_and_leaves_nothing) {
    const std::string name(22, 'n');
    expect_refused("ring:" + name + ":0",
                   "cannot make the ring mr_" + name + "_0_0: File name too long", ENAMETOOLONG);
    const std::string device = "ring:" + name.substr(0, 19) + ":0";  // a ring's, but not a port's
    expect_refused(device, "cannot make a port of ring:" + name.substr(0, 19) +
                               ": File name too long", ENAMETOOLONG);
    EXPECT_EQ(rte_ring_lookup(("mr_" + name.substr(0, 19) + "_0_0").c_str()), nullptr);
}

}  // namespace
}  // namespace millrace::port
