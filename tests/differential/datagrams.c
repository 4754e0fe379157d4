/* Datagram sockets: each step with its errno. Run on the machine's kernel and on Millrace; the
   outputs must be equal (differential.py). */
#include "steps.h"

#include <linux/errqueue.h>
#include <netinet/udp.h>

#define group "239.1.2.3"
#define group6 "ff15::1:2"
/* The number of the interface that has the addresses. */
#ifdef ON_MILLRACE
#define INTERFACE 1
#else
#include <net/if.h>
#define INTERFACE ((int)if_nametoindex("mr0"))
#endif

static char text[70000];

static void fresh_udp(int i, int domain) { s[i] = CALL(socket)(domain, SOCK_DGRAM, 0); }
static void bound(int i, const char *to, int number) {
    fresh_udp(i, strchr(to, ':') == NULL ? AF_INET : AF_INET6);
    if (bind_to(s[i], to, number) < 0) perror("bind");
}

static int send_size(int fd, const char *to, int number, size_t size, int flags) {
    struct sockaddr_storage address_of;
    const socklen_t length = address(&address_of, to, number);
    return (int)CALL(sendto)(fd, text, size, flags, (struct sockaddr *)&address_of, length);
}
static int send_to(int fd, const char *to, int number, const char *what) {
    struct sockaddr_storage address_of;
    const socklen_t length = address(&address_of, to, number);
    return (int)CALL(sendto)(fd, what, strlen(what), 0, (struct sockaddr *)&address_of, length);
}
/* Who is not waiting is asked again for a while: to arrive takes no time in the kernel. */
static int receive_now(int fd, size_t size, int flags) {
    for (int i = 0; i < 20; ++i) {
        const int got = (int)CALL(recv)(fd, text, size, flags | MSG_DONTWAIT);
        if (got >= 0 || errno != EAGAIN) return got;
        pause_for(1);
    }
    errno = EAGAIN;
    return -1;
}
/* The port that the next datagram came from, without taking it. */
static int from_port(int fd) {
    struct sockaddr_storage from;
    socklen_t size = sizeof(from);
    char byte;
    if (CALL(recvfrom)(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT, (struct sockaddr *)&from, &size) < 0)
        return -1;
    return ntohs(from.ss_family == AF_INET ? ((struct sockaddr_in *)&from)->sin_port
                                           : ((struct sockaddr_in6 *)&from)->sin6_port);
}
static int from_is(int fd, const char *who) {
    struct sockaddr_storage from, should;
    socklen_t size = sizeof(from);
    char byte;
    memset(&from, 0, sizeof(from));
    if (CALL(recvfrom)(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT, (struct sockaddr *)&from, &size) < 0)
        return -1;
    address(&should, who, from_port(fd));
    return memcmp(&from, &should, size) == 0;
}
static int queued(int fd) {
    int value = -1;
    return CALL(ioctl)(fd, FIONREAD, &value) < 0 ? -1 : value;
}
static int membership(int fd, int name, const char *to, const char *on) {
    struct ip_mreq request;
    inet_pton(AF_INET, to, &request.imr_multiaddr);
    inet_pton(AF_INET, on, &request.imr_interface);
    return CALL(setsockopt)(fd, IPPROTO_IP, name, &request, sizeof(request));
}
static int membership6(int fd, int name, const char *to, int interface) {
    struct ipv6_mreq request;
    inet_pton(AF_INET6, to, &request.ipv6mr_multiaddr);
    request.ipv6mr_interface = (unsigned)interface;
    return CALL(setsockopt)(fd, IPPROTO_IPV6, name, &request, sizeof(request));
}
static int group_request(int fd, int level, const char *to, int interface) {
    struct group_req request = {.gr_interface = (unsigned)interface};
    address(&request.gr_group, to, 0);
    return CALL(setsockopt)(fd, level, MCAST_JOIN_GROUP, &request, sizeof(request));
}
static int multicast_by(int fd, const char *on) {
    struct in_addr by;
    inet_pton(AF_INET, on, &by);
    return CALL(setsockopt)(fd, IPPROTO_IP, IP_MULTICAST_IF, &by, sizeof(by));
}

static void arguments(void) {
    struct sockaddr_storage to;
    heading("arguments");
    T(ok(CALL(socket)(AF_INET, SOCK_DGRAM, IPPROTO_TCP)));
    T(ok(s[0] = CALL(socket)(AF_INET, SOCK_DGRAM, IPPROTO_UDP)));
    T(closed(s[0]));
    fresh_udp(0, AF_INET);
    T(get(s[0], SOL_SOCKET, SO_TYPE) == SOCK_DGRAM);
    T(get(s[0], SOL_SOCKET, SO_DOMAIN) == AF_INET);
    T(get(s[0], SOL_SOCKET, SO_PROTOCOL) == IPPROTO_UDP);
    T(get(s[0], SOL_SOCKET, SO_ACCEPTCONN));
    T(get(s[0], SOL_SOCKET, SO_ERROR));
    T(port(s[0]));
    T(name_is(s[0], "0.0.0.0"));
    T(peer_port(s[0]));
    T(CALL(listen)(s[0], 5));
    T(ok(accepted(s[0])));
    T(events(s[0], POLLIN | POLLOUT, 0));
    T(queued(s[0]));
    T(send_text(s[0], "x"));
    T(port(s[0]) >= 32768);
    T(CALL(sendto)(s[0], "x", 1, MSG_OOB, NULL, 0));
    T(CALL(sendto)(s[0], "x", 1, 0, NULL, 0));
    address(&to, a1, 5000);
    T(CALL(sendto)(s[0], "x", 1, MSG_OOB, (struct sockaddr *)&to, sizeof(struct sockaddr_in)));
    T(CALL(sendto)(s[0], "x", 1, 0, (struct sockaddr *)&to, 8));
    T(send_to(s[0], six, 5000, "x"));
    T(send_to(s[0], a1, 0, "x"));
    T(send_to(s[0], "192.0.2.1", 5000, "x"));
    T(receive_now(s[0], 10, 0));
    T(CALL(recv)(-1, text, 1, 0));
    T(CALL(send)(-1, text, 1, 0));
    T(connect_to(s[0], six, 5000));
    T(connect_to(s[0], "192.0.2.1", 5000));
    T(CALL(connect)(s[0], (struct sockaddr *)&to, 8));
    T(CALL(connect)(s[0], (struct sockaddr *)&to, 1));
    T(CALL(shutdown)(s[0], 7));
    T(closed(s[0]));
    T(closed(s[0]));
}

static void ports(void) {
    heading("ports");
    bound(0, a1, 5000);
    T(port(s[0]));
    T(name_is(s[0], a1));
    T(bind_to(s[0], a1, 5001));
    fresh_udp(1, AF_INET);
    T(bind_to(s[1], a1, 5000));
    T(bind_to(s[1], "0.0.0.0", 5000));
    T(bind_to(s[1], "10.9.0.99", 5000));
    T(bind_to(s[1], a2, 5000));
    T(closed(s[1]));
    fresh_udp(1, AF_INET);
    reuse(s[1]);
    T(bind_to(s[1], a1, 5000));
    reuse(s[0]);
    T(bind_to(s[1], a1, 5000));
    fresh_udp(2, AF_INET);
    T(bind_to(s[2], a1, 5000));
    reuse_port(s[2]);
    T(bind_to(s[2], a1, 5000));
    T(closed(s[2]));
    fresh_udp(3, AF_INET);
    T(send_to(s[3], a1, 5000, "last"));
    T(receive_now(s[0], 10, 0));
    T(receive_now(s[1], 10, 0));
    T(closed(s[1]));
    T(send_to(s[3], a1, 5000, "first"));
    T(receive_now(s[0], 10, 0));
    T(port(s[3]) >= 32768);
    T(name_is(s[3], "0.0.0.0"));
    T(bind_to(s[3], a1, 5009));
    closed(s[0]);
    closed(s[3]);
    heading("the same port as a listener");
    server(0, a1, 5002, 0);
    bound(1, a1, 5002);
    T(port(s[1]));
    fresh_udp(2, AF_INET);
    T(send_to(s[2], a1, 5002, "datagram"));
    T(receive_now(s[1], 20, 0));
    fresh(3, AF_INET);
    T(connect_to(s[3], a1, 5002));
    T(ok(accepted(s[0])));
    for (int i = 0; i < 4; ++i) closed(s[i]);
    closed(s[15]);
    heading("who is meant");
    bound(0, "0.0.0.0", 5003);
    fresh_udp(1, AF_INET);
    reuse(s[0]);
    reuse(s[1]);
    T(bind_to(s[1], a1, 5003));
    fresh_udp(2, AF_INET);
    T(send_to(s[2], a1, 5003, "exact"));
    T(receive_now(s[1], 20, 0));
    T(send_to(s[2], a2, 5003, "any"));
    T(receive_now(s[0], 20, 0));
    T(receive_now(s[1], 20, 0));
    fresh_udp(3, AF_INET);
    reuse(s[3]);
    T(bind_to(s[3], a1, 5003));
    T(bind_to(s[2], a1, 5004));
    T(closed(s[2]));
    bound(2, a1, 5004);
    T(connect_to(s[3], a1, 5004));
    T(send_to(s[2], a1, 5003, "connected"));
    T(receive_now(s[3], 20, 0));
    bound(4, a1, 5005);
    T(send_to(s[4], a1, 5003, "others"));
    T(receive_now(s[1], 20, 0));
    T(receive_now(s[3], 20, 0));
    for (int i = 0; i < 5; ++i) closed(s[i]);
}

static void datagrams(void) {
    char small[4];
    struct iovec parts[2] = {{.iov_base = "he", .iov_len = 2}, {.iov_base = "llo", .iov_len = 3}};
    struct iovec into[2] = {{.iov_base = small, .iov_len = 3}, {.iov_base = text, .iov_len = 100}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    struct sockaddr_storage to;
    heading("datagrams");
    bound(0, a1, 5010);
    bound(1, a1, 5011);
    T(send_to(s[0], a1, 5011, "one"));
    T(send_to(s[0], a1, 5011, "three"));
    T(send_size(s[0], a1, 5011, 0, 0));
    pause_for(1);
    T(events(s[1], POLLIN | POLLOUT, 100));
    T(queued(s[1]));
    T(from_port(s[1]));
    T(from_is(s[1], a1));
    T(receive_now(s[1], 100, MSG_PEEK));
    T(receive_now(s[1], 100, 0));
    T(receive_now(s[1], 2, MSG_PEEK | MSG_TRUNC));
    T(receive_now(s[1], 2, 0));
    T(queued(s[1]));
    T(receive_now(s[1], 100, 0));
    T(receive_now(s[1], 100, 0));
    T(send_to(s[0], a1, 5011, "gone"));
    T(receive_now(s[1], 0, 0));
    T(receive_now(s[1], 100, 0));
    T(send_to(s[0], a1, 5011, "eleven"));
    T(receive_now(s[1], 2, MSG_TRUNC));
    T(CALL(write)(s[0], "x", 1));
    T(CALL(write)(s[0], "x", 0));
    T(send_to(s[0], a1, 5011, "read"));
    T(CALL(read)(s[1], text, 0));
    T((int)CALL(read)(s[1], text, 100));
    heading("messages");
    message.msg_name = &to;
    message.msg_namelen = address(&to, a1, 5011);
    T(CALL(sendmsg)(s[0], &message, 0));
    T(CALL(sendmsg)(s[0], &message, 0));
    message.msg_iov = into;
    message.msg_namelen = sizeof(to);
    message.msg_flags = -1;
    T((int)CALL(recvmsg)(s[1], &message, 0));
    T(message.msg_flags);
    T((int)message.msg_namelen);
    T(memcmp(small, "hel", 3));
    T(memcmp(text, "lo", 2));
    message.msg_iovlen = 1;
    T((int)CALL(recvmsg)(s[1], &message, 0));
    T(message.msg_flags);
    message.msg_iovlen = 1025;
    T((int)CALL(recvmsg)(s[1], &message, 0));
    T((int)CALL(sendmsg)(s[1], &message, 0));
    message.msg_iovlen = 1;
    message.msg_name = NULL;
    T((int)CALL(sendmsg)(s[1], &message, 0));
    heading("sizes");
    set(s[0], SOL_SOCKET, SO_SNDBUF, 200000);
    set(s[1], SOL_SOCKET, SO_RCVBUF, 200000);
    for (size_t size = 1400; size < 65000; size += 9000) {
        T(send_size(s[0], a1, 5011, size, 0));
        T(receive_now(s[1], sizeof(text), 0));
    }
    T(send_size(s[0], a1, 5011, 65507, 0));
    T(receive_now(s[1], sizeof(text), 0));
    T(send_size(s[0], a1, 5011, 65508, 0));
    T(send_size(s[0], a1, 5011, 69000, 0));
    T(set(s[0], IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO));
    T(send_size(s[0], "10.9.0.77", 5011, 1472, 0));
    T(send_size(s[0], "10.9.0.77", 5011, 1473, 0));
    T(set(s[0], IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_WANT));
    T(send_size(s[0], "10.9.0.77", 5011, 1473, 0));
    T(set(s[0], IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE));
    T(send_size(s[0], "10.9.0.77", 5011, 1473, 0));
    T(set(s[0], IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT));
    T(send_size(s[0], "10.9.0.77", 5011, 9000, 0));
    T(set(s[0], IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_OMIT));
    T(send_size(s[0], "10.9.0.77", 5011, 9000, 0));
    T(set(s[0], IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_INTERFACE));
    T(send_size(s[0], "10.9.0.77", 5011, 9000, 0));
    T(set(s[0], IPPROTO_IP, IP_MTU_DISCOVER, 6));
    T(get(s[0], IPPROTO_IP, IP_MTU_DISCOVER));
    closed(s[0]);
    closed(s[1]);
}

static void connected(void) {
    heading("connected");
    bound(0, a1, 5020);
    bound(1, a1, 5021);
    bound(2, a1, 5022);
    T(connect_to(s[0], a1, 5021));
    T(peer_port(s[0]));
    T(name_is(s[0], a1));
    T(get(s[0], IPPROTO_IP, IP_MTU) > 1000);
    T(get(s[1], IPPROTO_IP, IP_MTU));
    T(send_text(s[0], "to the peer"));
    T(receive_now(s[1], 100, 0));
    T(send_to(s[0], a1, 5022, "to another"));
    T(receive_now(s[2], 100, 0));
    T(send_to(s[2], a1, 5020, "from another"));
    T(receive_now(s[0], 100, 0));
    T(events(s[0], POLLIN | POLLOUT, 0));
    T(get(s[2], SOL_SOCKET, SO_ERROR));
    T(send_to(s[1], a1, 5020, "from the peer"));
    T(receive_now(s[0], 100, 0));
    T(connect_to(s[0], a1, 0));
    T(peer_port(s[0]));
    T(name_is(s[0], a1));
    T(connect_to(s[0], a1, 5022));
    T(peer_port(s[0]));
    T(send_text(s[0], "to the other"));
    T(receive_now(s[2], 100, 0));
    T(disconnect(s[0]));
    T(peer_port(s[0]));
    T(port(s[0]));
    T(send_text(s[0], "x"));
    T(send_to(s[1], a1, 5020, "from anybody"));
    T(receive_now(s[0], 100, 0));
    T(disconnect(s[0]));
    fresh_udp(3, AF_INET);
    T(disconnect(s[3]));
    T(connect_to(s[3], a1, 5021));
    T(port(s[3]) >= 32768);
    T(name_is(s[3], a1));
    T(disconnect(s[3]));
    T(port(s[3]));
    T(name_is(s[3], "0.0.0.0"));
    T(send_to(s[3], a1, 5021, "again"));
    T(receive_now(s[1], 100, 0));
    T(closed(s[3]));
    fresh_udp(3, AF_INET);
    T(bind_to(s[3], a1, 0));
    T(port(s[3]) >= 32768);
    T(connect_to(s[3], a1, 5021));
    T(disconnect(s[3]));
    T(port(s[3]));
    T(closed(s[3]));
    fresh_udp(3, AF_INET);
    T(bind_to(s[3], "0.0.0.0", 5023));
    T(connect_to(s[3], a1, 5021));
    T(name_is(s[3], a1));
    T(disconnect(s[3]));
    T(name_is(s[3], "0.0.0.0"));
    T(port(s[3]));
    for (int i = 0; i < 4; ++i) closed(s[i]);
}

static void refused(void) {
    heading("refused");
    bound(0, a1, 5030);
    T(send_to(s[0], a1, 5031, "nobody"));
    pause_for(5);
    T(get(s[0], SOL_SOCKET, SO_ERROR));
    T(receive_now(s[0], 100, 0));
    T(connect_to(s[0], a1, 5031));
    T(send_text(s[0], "nobody"));
    pause_for(5);
    T(events(s[0], POLLIN | POLLOUT, 0));
    T(receive_now(s[0], 100, 0));
    T(events(s[0], POLLIN | POLLOUT, 0));
    T(send_text(s[0], "nobody"));
    pause_for(5);
    T(get(s[0], SOL_SOCKET, SO_ERROR));
    T(get(s[0], SOL_SOCKET, SO_ERROR));
    T(send_text(s[0], "nobody"));
    pause_for(5);
    T(send_text(s[0], "told by the next"));
    pause_for(5);
    T(get(s[0], SOL_SOCKET, SO_ERROR));
    T(send_text(s[0], "nobody"));
    T(receive(s[0]));
    bound(1, a1, 5031);
    T(send_text(s[0], "somebody"));
    T(receive_now(s[1], 100, 0));
    closed(s[0]);
    closed(s[1]);
}

/* The next error that waits: its errno; and what else was told of it. */
static struct {
    int size, flags, level, origin, type, code, info, to_port, to_is, offender_is;
} told;
static int error_of(int fd, const char *to, const char *offender) {
    char space[256];
    struct sockaddr_storage name, should;
    struct iovec part = {.iov_base = text, .iov_len = 5};
    struct msghdr message = {.msg_name = &name,
                             .msg_namelen = sizeof(name),
                             .msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = space,
                             .msg_controllen = sizeof(space)};
    int number = 0;
    memset(&told, 0, sizeof(told));
    memset(&name, 0, sizeof(name));
    told.size = (int)CALL(recvmsg)(fd, &message, MSG_ERRQUEUE);
    if (told.size < 0) return -1;
    told.flags = message.msg_flags;
    told.to_port = ntohs(name.ss_family == AF_INET ? ((struct sockaddr_in *)&name)->sin_port
                                                   : ((struct sockaddr_in6 *)&name)->sin6_port);
    const socklen_t length = address(&should, to, told.to_port);
    told.to_is = message.msg_namelen == length && memcmp(&name, &should, 8) == 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
        struct sock_extended_err error;
        if (c->cmsg_type != (c->cmsg_level == IPPROTO_IP ? IP_RECVERR : IPV6_RECVERR)) continue;
        memcpy(&error, CMSG_DATA(c), sizeof(error));
        number = (int)error.ee_errno;
        told.level = c->cmsg_level;
        told.origin = error.ee_origin;
        told.type = error.ee_type;
        told.code = error.ee_code;
        told.info = (int)error.ee_info;
        address(&should, offender, 0);
        told.offender_is = strchr(offender, ':') == NULL
                               ? memcmp(CMSG_DATA(c) + sizeof(error), &should, 8) == 0
                               : memcmp(CMSG_DATA(c) + sizeof(error), &should, 24) == 0;
    }
    return number;
}
static void tell(void) {
    T(told.size);
    T(told.flags);
    T(told.level);
    T(told.origin);
    T(told.type);
    T(told.code);
    T(told.info);
    T(told.to_port);
    T(told.to_is);
    T(told.offender_is);
}

static void errors(void) {
    heading("errors");
    bound(0, a1, 5035);
    T(get(s[0], IPPROTO_IP, IP_RECVERR));
    T(error_of(s[0], a1, a1));
    T(set(s[0], IPPROTO_IP, IP_RECVERR, 1));
    T(get(s[0], IPPROTO_IP, IP_RECVERR));
    T(error_of(s[0], a1, a1));
    T(send_to(s[0], a1, 5036, "nobody"));
    pause_for(5);
    T(events(s[0], POLLIN | POLLOUT, 0));
    T(error_of(s[0], a1, a1));
    tell();
    T(events(s[0], POLLIN | POLLOUT, 0));
    T(get(s[0], SOL_SOCKET, SO_ERROR));
    T(send_to(s[0], a1, 5036, "one"));
    pause_for(5);
    T(send_to(s[0], a1, 5037, "told by the next"));
    T(send_to(s[0], a1, 5037, "two"));
    pause_for(5);
    T(error_of(s[0], a1, a1));
    T(told.to_port);
    T(told.size);
    T(get(s[0], SOL_SOCKET, SO_ERROR));
    T(events(s[0], POLLIN | POLLOUT, 0));
    T(error_of(s[0], a1, a1));
    T(told.to_port);
    T(error_of(s[0], a1, a1));
    T(set(s[0], IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO));
    T(send_size(s[0], "10.9.0.77", 5036, 2000, 0));
    T(events(s[0], POLLIN | POLLOUT, 0));
    T(get(s[0], SOL_SOCKET, SO_ERROR));
    T(error_of(s[0], "10.9.0.77", "0.0.0.0"));
    T(told.origin);
    T(told.info);
    T(told.size);
    T(send_to(s[0], a1, 5036, "x"));
    pause_for(5);
    T(set(s[0], IPPROTO_IP, IP_RECVERR, 0));
    T(error_of(s[0], a1, a1));
    T(get(s[0], SOL_SOCKET, SO_ERROR));
    closed(s[0]);
    bound(0, six, 5038);
    T(set(s[0], IPPROTO_IPV6, IPV6_RECVERR, 1));
    T(send_to(s[0], six, 5036, "nobody"));
    pause_for(5);
    T(events(s[0], POLLIN | POLLOUT, 0));
    T(error_of(s[0], six, six));
    tell();
    closed(s[0]);
}

static void shut(void) {
    heading("shutdown");
    bound(0, a1, 5040);
    bound(1, a1, 5041);
    T(CALL(shutdown)(s[0], SHUT_RD));
    T(events(s[0], POLLIN | POLLOUT | POLLRDHUP, 0));
    T((int)CALL(recv)(s[0], text, 10, 0));
    T((int)CALL(recv)(s[0], text, 10, MSG_DONTWAIT));
    T(send_to(s[1], a1, 5040, "still"));
    T(receive_now(s[0], 100, 0));
    T(connect_to(s[0], a1, 5041));
    T(CALL(shutdown)(s[0], SHUT_WR));
    T(events(s[0], POLLIN | POLLOUT | POLLRDHUP, 0));
    T(send_text(s[0], "x"));
    T(send_to(s[0], a1, 5041, "x"));
    T(CALL(shutdown)(s[1], SHUT_RDWR));
    T(events(s[1], POLLIN | POLLOUT | POLLRDHUP, 0));
    T(closed(s[0]));
    T(closed(s[1]));
}

static void waiting(void) {
    struct timeval time = {.tv_usec = 20000};
    heading("waiting");
    bound(0, a1, 5050);
    T(block(s[0], 0));
    T(receive(s[0]));
    T(block(s[0], 1));
    T(CALL(setsockopt)(s[0], SOL_SOCKET, SO_RCVTIMEO, &time, sizeof(time)));
    T(receive(s[0]));
    T(events(s[0], POLLIN, 0));
    T(events(s[0], POLLIN, 10));
    bound(1, a1, 5051);
    const int set_of = CALL(epoll_create1)(0);
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET}, told[4];
    T(CALL(epoll_ctl)(set_of, EPOLL_CTL_ADD, s[0], &event));
    T(CALL(epoll_wait)(set_of, told, 4, 100));
    T((int)told[0].events);
    T(CALL(epoll_wait)(set_of, told, 4, 0));
    T(send_to(s[1], a1, 5050, "an edge"));
    T(CALL(epoll_wait)(set_of, told, 4, 100));
    T((int)told[0].events);
    T(CALL(epoll_wait)(set_of, told, 4, 0));
    T(send_to(s[1], a1, 5050, "another"));
    T(CALL(epoll_wait)(set_of, told, 4, 100));
    T(CALL(epoll_wait)(set_of, told, 4, 0));
    event.events = EPOLLIN;
    T(CALL(epoll_ctl)(set_of, EPOLL_CTL_MOD, s[0], &event));
    T(CALL(epoll_wait)(set_of, told, 4, 100));
    T(receive(s[0]));
    T(CALL(epoll_wait)(set_of, told, 4, 100));
    T(receive(s[0]));
    T(CALL(epoll_wait)(set_of, told, 4, 0));
    T(CALL(close)(set_of));
    closed(s[0]);
    closed(s[1]);
}

static void batches(void) {
    char places[4][8];
    struct iovec parts[4];
    struct mmsghdr many[4];
    struct sockaddr_storage to;
    struct timespec time = {.tv_nsec = 1000000};
    heading("batches");
    bound(0, a1, 5060);
    bound(1, a1, 5061);
    memset(many, 0, sizeof(many));
    for (int i = 0; i < 4; ++i) {
        parts[i].iov_base = "batches";
        parts[i].iov_len = (size_t)i + 1;
        many[i].msg_hdr.msg_iov = &parts[i];
        many[i].msg_hdr.msg_iovlen = 1;
        many[i].msg_hdr.msg_name = &to;
        many[i].msg_hdr.msg_namelen = address(&to, a1, 5061);
    }
    T(CALL(sendmmsg)(s[0], many, 4, 0));
    T((int)many[3].msg_len);
    many[1].msg_hdr.msg_namelen = 3;
    T(CALL(sendmmsg)(s[0], many, 4, 0));
    T(CALL(sendmmsg)(s[0], many + 1, 3, 0));
    T(CALL(sendmmsg)(s[0], many, 0, 0));
    T(CALL(sendmmsg)(-1, many, 4, 0));
    pause_for(2);
    for (int i = 0; i < 4; ++i) {
        parts[i].iov_base = places[i];
        parts[i].iov_len = 3;
        many[i].msg_hdr.msg_name = NULL;
        many[i].msg_hdr.msg_flags = 0;
    }
    T(CALL(recvmmsg)(s[1], many, 4, 0, NULL));
    for (int i = 0; i < 4; ++i) T((int)many[i].msg_len);
    T(many[3].msg_hdr.msg_flags);
    T(CALL(recvmmsg)(s[1], many, 4, MSG_WAITFORONE, NULL));
    T(CALL(recvmmsg)(s[1], many, 4, MSG_DONTWAIT, NULL));
    time.tv_nsec = -1;
    T(CALL(recvmmsg)(s[1], many, 4, MSG_DONTWAIT, &time));
    closed(s[0]);
    closed(s[1]);
}

static void corked(void) {
    heading("corked");
    bound(0, a1, 5070);
    bound(1, a1, 5071);
    T(connect_to(s[0], a1, 5071));
    T((int)CALL(send)(s[0], "one ", 4, MSG_MORE));
    T(receive_now(s[1], 100, 0));
    T((int)CALL(send)(s[0], "two ", 4, MSG_MORE));
    T(send_text(s[0], "three"));
    T(receive_now(s[1], 100, 0));
    T(set(s[0], IPPROTO_UDP, UDP_CORK, 1));
    T(get(s[0], IPPROTO_UDP, UDP_CORK));
    T(send_text(s[0], "held "));
    T(send_size(s[0], a1, 5071, 65507, 0));
    T(send_text(s[0], "held "));
    T(send_text(s[0], "back"));
    T(receive_now(s[1], 100, 0));
    T(set(s[0], IPPROTO_UDP, UDP_CORK, 0));
    T(receive_now(s[1], 100, 0));
    closed(s[0]);
    closed(s[1]);
}

/* What beside the data was told: a bit for each. */
static int told_of(int fd, const char *destination) {
    char control[256];
    struct iovec part = {.iov_base = text, .iov_len = 100};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof(control)};
    int told = 0;
    pause_for(2);
    if (CALL(recvmsg)(fd, &message, MSG_DONTWAIT) < 0) return -1;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
        if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
            struct in_pktinfo info;
            struct in_addr should;
            memcpy(&info, CMSG_DATA(c), sizeof(info));
            inet_pton(AF_INET, destination, &should);
            told |= info.ipi_addr.s_addr == should.s_addr ? 1 : 1024;
        }
        if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TTL) {
            int ttl;
            memcpy(&ttl, CMSG_DATA(c), sizeof(ttl));
            told |= ttl << 16;
        }
        if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TOS)
            told |= c->cmsg_len == CMSG_LEN(1) ? *CMSG_DATA(c) << 2 : 2048;
        if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
            struct in6_pktinfo info;
            struct in6_addr should;
            memcpy(&info, CMSG_DATA(c), sizeof(info));
            inet_pton(AF_INET6, destination, &should);
            told |= memcmp(&info.ipi6_addr, &should, sizeof(should)) == 0 ? 1 : 1024;
        }
        if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_HOPLIMIT) {
            int hops;
            memcpy(&hops, CMSG_DATA(c), sizeof(hops));
            told |= hops << 16;
        }
        if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_TCLASS) {
            int traffic_class;
            memcpy(&traffic_class, CMSG_DATA(c), sizeof(traffic_class));
            told |= traffic_class << 2;
        }
    }
    return told;
}

static int send_with(int fd, const char *to, int number, int level, int type, const void *value,
                     size_t size) {
    char control[64] = {0};
    struct sockaddr_storage address_of;
    struct iovec part = {.iov_base = "control", .iov_len = 7};
    struct msghdr message = {.msg_name = &address_of,
                             .msg_namelen = address(&address_of, to, number),
                             .msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = CMSG_SPACE(size)};
    struct cmsghdr *c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = level;
    c->cmsg_type = type;
    c->cmsg_len = CMSG_LEN(size);
    memcpy(CMSG_DATA(c), value, size);
    return (int)CALL(sendmsg)(fd, &message, 0);
}

static void control(void) {
    const int seven = 7, huge = 300, nothing = 0;
    struct in_pktinfo from = {0};
    heading("control data");
    bound(0, "0.0.0.0", 5080);
    bound(1, "0.0.0.0", 5081);
    T(set(s[1], IPPROTO_IP, IP_PKTINFO, 1));
    T(set(s[1], IPPROTO_IP, IP_RECVTTL, 1));
    T(set(s[1], IPPROTO_IP, IP_RECVTOS, 1));
    T(get(s[1], IPPROTO_IP, IP_PKTINFO));
    T(send_to(s[0], a1, 5081, "x"));
    T(told_of(s[1], a1));
    T(set(s[0], IPPROTO_IP, IP_TTL, 9));
    T(set(s[0], IPPROTO_IP, IP_TOS, 0x2e));
    T(get(s[0], IPPROTO_IP, IP_TOS));
    T(send_to(s[0], a2, 5081, "x"));
    T(told_of(s[1], a2));
    T(send_with(s[0], a1, 5081, IPPROTO_IP, IP_TTL, &seven, sizeof(seven)));
    T(told_of(s[1], a1));
    T(send_with(s[0], a1, 5081, IPPROTO_IP, IP_TOS, &seven, sizeof(seven)));
    T(told_of(s[1], a1));
    T(send_with(s[0], a1, 5081, IPPROTO_IP, IP_TTL, &huge, sizeof(huge)));
    T(send_with(s[0], a1, 5081, IPPROTO_IP, IP_TTL, &nothing, sizeof(nothing)));
    T(send_with(s[0], a1, 5081, IPPROTO_IP, 99, &seven, sizeof(seven)));
    inet_pton(AF_INET, a2, &from.ipi_spec_dst);
    T(send_with(s[0], a1, 5081, IPPROTO_IP, IP_PKTINFO, &from, sizeof(from)));
    pause_for(2);
    T(from_is(s[1], a2));
    T(told_of(s[1], a1));
    inet_pton(AF_INET, "10.9.0.99", &from.ipi_spec_dst);
    T(send_with(s[0], a1, 5081, IPPROTO_IP, IP_PKTINFO, &from, sizeof(from)));
    from.ipi_spec_dst.s_addr = 0;
    from.ipi_ifindex = 99;
    T(send_with(s[0], "10.9.0.77", 5081, IPPROTO_IP, IP_PKTINFO, &from, sizeof(from)));
    from.ipi_ifindex = INTERFACE;
    T(send_with(s[0], "10.9.0.77", 5081, IPPROTO_IP, IP_PKTINFO, &from, sizeof(from)));
    closed(s[0]);
    closed(s[1]);
    heading("control data of IPv6");
    bound(0, "::", 5082);
    bound(1, "::", 5083);
    T(set(s[1], IPPROTO_IPV6, IPV6_RECVPKTINFO, 1));
    T(set(s[1], IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 1));
    T(set(s[1], IPPROTO_IPV6, IPV6_RECVTCLASS, 1));
    T(send_to(s[0], six, 5083, "x"));
    T(told_of(s[1], six));
    T(set(s[0], IPPROTO_IPV6, IPV6_UNICAST_HOPS, 9));
    T(set(s[0], IPPROTO_IPV6, IPV6_TCLASS, 0x2e));
    T(send_to(s[0], six, 5083, "x"));
    T(told_of(s[1], six));
    T(send_with(s[0], six, 5083, IPPROTO_IPV6, IPV6_HOPLIMIT, &seven, sizeof(seven)));
    T(told_of(s[1], six));
    T(send_with(s[0], six, 5083, IPPROTO_IPV6, IPV6_TCLASS, &seven, sizeof(seven)));
    T(told_of(s[1], six));
    T(send_with(s[0], six, 5083, IPPROTO_IPV6, IPV6_HOPLIMIT, &huge, sizeof(huge)));
    closed(s[0]);
    closed(s[1]);
}

static void families(void) {
    heading("both families");
    bound(0, "::", 5090);
    fresh_udp(1, AF_INET);
    T(bind_to(s[1], a1, 5090));
    T(send_to(s[1], a1, 5090, "to both"));
    pause_for(2);
    T(from_is(s[0], "::ffff:10.9.0.1"));
    T(receive_now(s[0], 100, 0));
    fresh_udp(2, AF_INET6);
    T(send_to(s[2], six, 5090, "six"));
    pause_for(2);
    T(from_is(s[0], six));
    T(receive_now(s[0], 100, 0));
    T(send_to(s[2], "::ffff:10.9.0.1", 5090, "mapped"));
    pause_for(2);
    T(from_is(s[0], "::ffff:10.9.0.1"));
    T(receive_now(s[0], 100, 0));
    T(send_to(s[2], a1, 5090, "an address of IPv4"));
    T(receive_now(s[0], 100, 0));
    T(v6_only(s[2], 1));
    T(get(s[2], IPPROTO_IPV6, IPV6_V6ONLY));
    closed(s[2]);
    fresh_udp(2, AF_INET6);
    T(v6_only(s[2], 1));
    T(bind_to(s[2], "::ffff:10.9.0.1", 5091));
    T(bind_to(s[2], "::", 5091));
    T(send_to(s[2], "::ffff:10.9.0.1", 5090, "x"));
    T(connect_to(s[2], "::ffff:10.9.0.1", 5090));
    bound(3, a1, 5091);
    T(send_to(s[3], a1, 5091, "to IPv4 alone"));
    T(receive_now(s[3], 100, 0));
    T(receive_now(s[2], 100, 0));
    closed(s[3]);
    fresh_udp(3, AF_INET6);
    T(connect_to(s[3], "::ffff:10.9.0.1", 5090));
    T(name_is(s[3], "::ffff:10.9.0.1"));
    T(send_text(s[3], "connected"));
    T(receive_now(s[0], 100, 0));
    T(disconnect(s[3]));
    T(connect_to(s[3], six, 5090));
    T(name_is(s[3], six));
    T(send_text(s[3], "by six"));
    T(receive_now(s[0], 100, 0));
    T(send_size(s[3], six, 5090, 30000, 0));
    T(receive_now(s[0], sizeof(text), 0));
    T(send_size(s[3], six, 5090, 65527, 0));
    T(receive_now(s[0], sizeof(text), 0));
    T(send_size(s[3], six, 5090, 65528, 0));
    T(set(s[3], IPPROTO_IPV6, IPV6_DONTFRAG, 1));
    T(get(s[3], IPPROTO_IPV6, IPV6_DONTFRAG));
    T(send_size(s[3], "fd00:9::77", 5090, 1453, 0));
    T(set(s[3], IPPROTO_IPV6, IPV6_DONTFRAG, 0));
    T(set(s[3], IPPROTO_IPV6, IPV6_MTU_DISCOVER, IP_PMTUDISC_DO));
    T(send_size(s[3], "fd00:9::77", 5090, 1453, 0));
    T(set(s[3], IPPROTO_IPV6, IPV6_MTU_DISCOVER, IP_PMTUDISC_WANT));
    T(send_size(s[3], "fd00:9::77", 5090, 1453, 0));
    for (int i = 0; i < 4; ++i) closed(s[i]);
}

static void groups(void) {
    heading("broadcast");
    bound(0, "0.0.0.0", 5100);
    bound(1, a1, 5101);
    T(get(s[1], SOL_SOCKET, SO_BROADCAST));
    T(send_to(s[1], "10.9.0.255", 5100, "x"));
    T(connect_to(s[1], "10.9.0.255", 5100));
    T(set(s[1], SOL_SOCKET, SO_BROADCAST, 1));
    T(send_to(s[1], "10.9.0.255", 5100, "to all"));
    T(receive_now(s[0], 100, 0));
    fresh_udp(2, AF_INET);
    reuse(s[0]);
    reuse(s[2]);
    T(bind_to(s[2], "10.9.0.255", 5100));
    T(send_to(s[1], "10.9.0.255", 5100, "to both"));
    T(receive_now(s[0], 100, 0));
    T(receive_now(s[2], 100, 0));
    T(send_to(s[1], a1, 5100, "to one"));
    T(receive_now(s[0], 100, 0));
    T(receive_now(s[2], 100, 0));
    for (int i = 0; i < 3; ++i) closed(s[i]);

    heading("groups");
    bound(0, "0.0.0.0", 5102);
    fresh_udp(1, AF_INET);
    T(send_to(s[1], group, 5102, "no route"));
    T(membership(s[0], IP_ADD_MEMBERSHIP, group, "0.0.0.0"));
    T(membership(s[0], IP_ADD_MEMBERSHIP, a2, a1));
    T(membership(s[0], IP_ADD_MEMBERSHIP, group, "10.9.0.99"));
    T(membership(s[0], IP_DROP_MEMBERSHIP, group, a1));
    T(membership(s[0], IP_ADD_MEMBERSHIP, group, a1));
    T(membership(s[0], IP_ADD_MEMBERSHIP, group, a1));
    T(get(s[1], IPPROTO_IP, IP_MULTICAST_TTL));
    T(get(s[1], IPPROTO_IP, IP_MULTICAST_LOOP));
    T(get(s[1], IPPROTO_IP, IP_MULTICAST_ALL));
    T(multicast_by(s[1], "10.9.0.99"));
    T(multicast_by(s[1], a1));
    T(send_to(s[1], group, 5102, "to the group"));
    T(receive_now(s[0], 100, 0));
    T(set(s[1], IPPROTO_IP, IP_MULTICAST_LOOP, 0));
    T(send_to(s[1], group, 5102, "not to ourselves"));
    T(receive_now(s[0], 100, 0));
    T(set(s[1], IPPROTO_IP, IP_MULTICAST_LOOP, 1));
    T(set(s[1], IPPROTO_IP, IP_MULTICAST_TTL, 0));
    T(send_to(s[1], group, 5102, "not beyond"));
    T(receive_now(s[0], 100, 0));
    T(set(s[1], IPPROTO_IP, IP_MULTICAST_TTL, 256));
    T(set(s[1], IPPROTO_IP, IP_MULTICAST_TTL, -1));
    T(get(s[1], IPPROTO_IP, IP_MULTICAST_TTL));
    bound(2, "0.0.0.0", 5103);
    T(send_to(s[1], group, 5103, "joined by another"));
    T(receive_now(s[2], 100, 0));
    T(set(s[2], IPPROTO_IP, IP_MULTICAST_ALL, 2));
    T(set(s[2], IPPROTO_IP, IP_MULTICAST_ALL, 0));
    T(send_to(s[1], group, 5103, "joined by another"));
    T(receive_now(s[2], 100, 0));
    T(membership(s[0], IP_DROP_MEMBERSHIP, group, a1));
    T(send_to(s[1], group, 5102, "left"));
    T(receive_now(s[0], 100, 0));
    T(membership(s[0], IP_DROP_MEMBERSHIP, group, a1));
    for (int i = 0; i < 20; ++i) {
        char other[20];
        snprintf(other, sizeof(other), "239.2.0.%d", i + 1);
        membership(s[0], IP_ADD_MEMBERSHIP, other, a1);
    }
    T(membership(s[0], IP_ADD_MEMBERSHIP, group, a1));
    closed(s[0]);
    fresh_udp(0, AF_INET);
    T(bind_to(s[0], group, 5102));
    T(name_is(s[0], group));
    T(membership(s[0], IP_ADD_MEMBERSHIP, group, a1));
    T(send_to(s[1], group, 5102, "to its own address"));
    T(receive_now(s[0], 100, 0));
    T(send_to(s[1], a1, 5102, "to the host"));
    T(receive_now(s[0], 100, 0));
    for (int i = 0; i < 3; ++i) closed(s[i]);

    heading("groups of IPv6");
    bound(0, "::", 5104);
    fresh_udp(1, AF_INET6);
    T(membership6(s[0], IPV6_ADD_MEMBERSHIP, six, 0));
    T(group_request(s[0], IPPROTO_IP, group6, INTERFACE));
    T(group_request(s[0], IPPROTO_IPV6, group, INTERFACE));
    T(group_request(s[0], IPPROTO_IPV6, "ff15::1:3", INTERFACE));
    T(group_request(s[0], IPPROTO_IPV6, "ff15::1:3", INTERFACE));
    T(membership6(s[0], IPV6_ADD_MEMBERSHIP, group6, 99));
    T(membership6(s[0], IPV6_DROP_MEMBERSHIP, group6, 0));
    T(membership6(s[0], IPV6_ADD_MEMBERSHIP, group6, INTERFACE));
    T(membership6(s[0], IPV6_ADD_MEMBERSHIP, group6, INTERFACE));
    T(get(s[1], IPPROTO_IPV6, IPV6_MULTICAST_HOPS));
    T(get(s[1], IPPROTO_IPV6, IPV6_MULTICAST_LOOP));
    T(get(s[1], IPPROTO_IPV6, IPV6_MULTICAST_ALL));
    T(set(s[1], IPPROTO_IPV6, IPV6_MULTICAST_IF, 99));
    T(set(s[1], IPPROTO_IPV6, IPV6_MULTICAST_LOOP, 2));
    T(set(s[1], IPPROTO_IPV6, IPV6_MULTICAST_IF, INTERFACE));
    T(send_to(s[1], group6, 5104, "to the group"));
    T(receive_now(s[0], 100, 0));
    T(set(s[1], IPPROTO_IPV6, IPV6_MULTICAST_LOOP, 0));
    T(send_to(s[1], group6, 5104, "not to ourselves"));
    T(receive_now(s[0], 100, 0));
    T(set(s[1], IPPROTO_IPV6, IPV6_MULTICAST_LOOP, 1));
    T(send_size(s[1], group6, 5104, 4000, 0));
    T(receive_now(s[0], sizeof(text), 0));
    T(membership6(s[0], IPV6_DROP_MEMBERSHIP, group6, INTERFACE));
    T(send_to(s[1], group6, 5104, "left"));
    T(receive_now(s[0], 100, 0));
    closed(s[0]);
    closed(s[1]);
}

static void options(void) {
    heading("options");
    fresh_udp(0, AF_INET);
    T(set(s[0], SOL_SOCKET, SO_RCVBUF, 50000));
    T(get(s[0], SOL_SOCKET, SO_RCVBUF));
    T(set(s[0], SOL_SOCKET, SO_SNDBUF, 50000));
    T(get(s[0], SOL_SOCKET, SO_SNDBUF));
    T(set(s[0], SOL_SOCKET, SO_RCVBUF, 1));
    T(get(s[0], SOL_SOCKET, SO_RCVBUF));
    T(get(s[0], SOL_SOCKET, SO_REUSEADDR));
    T(CALL(setsockopt)(s[0], SOL_SOCKET, SO_REUSEADDR, "1", 1));
    T(set(s[0], IPPROTO_TCP, TCP_NODELAY, 1));
    T(get(s[0], IPPROTO_TCP, TCP_NODELAY));
    T(set(s[0], IPPROTO_UDP, 9999, 1));
    T(get(s[0], IPPROTO_UDP, 9999));
    T(set(s[0], IPPROTO_IP, IP_TTL, 0));
    T(set(s[0], IPPROTO_IP, IP_TTL, 256));
    T(set(s[0], IPPROTO_IP, IP_TTL, -1));
    T(get(s[0], IPPROTO_IP, IP_TTL));
    T(get(s[0], IPPROTO_IP, IP_MTU));
    T(get(s[0], IPPROTO_IP, IP_MTU_DISCOVER));
    T(set(s[0], IPPROTO_IPV6, IPV6_V6ONLY, 1));
    closed(s[0]);
    fresh_udp(0, AF_INET6);
    T(set(s[0], IPPROTO_IPV6, IPV6_TCLASS, 256));
    T(set(s[0], IPPROTO_IPV6, IPV6_TCLASS, -1));
    T(get(s[0], IPPROTO_IPV6, IPV6_TCLASS));
    T(get(s[0], IPPROTO_IPV6, IPV6_UNICAST_HOPS));
    T(get(s[0], IPPROTO_IPV6, IPV6_MTU_DISCOVER));
    T(get(s[0], IPPROTO_IPV6, IPV6_MTU));
    T(set(s[0], IPPROTO_IPV6, IPV6_MULTICAST_HOPS, 256));
    T(set(s[0], IPPROTO_IPV6, IPV6_MULTICAST_HOPS, 5));
    T(get(s[0], IPPROTO_IPV6, IPV6_MULTICAST_HOPS));
    closed(s[0]);
}

int main(void) {
    if (!begin(32768, 60999)) return 1;
    arguments();
    ports();
    datagrams();
    connected();
    refused();
    errors();
    shut();
    waiting();
    batches();
    corked();
    control();
    families();
    groups();
    options();
    end();
    return 0;
}
