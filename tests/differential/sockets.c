/* What goes through a socket: flags, pieces, urgent data, options, half closes. Run on the machine's
   kernel and on Millrace; the outputs must be equal (differential.py). */
#include "steps.h"

static char bytes[65536];

/* The words of this program. */
static void settle(void) { pause_for(5); }
static int sent(int fd, const char *text, int flags) {
    const int result = (int)CALL(send)(fd, text, strlen(text), flags);
    settle();
    return result;
}
/* Shows what came, too. */
static int got(int fd, size_t size, int flags) {
    char text[256] = "";
    const int result = (int)CALL(recv)(fd, text, size, flags);
    if (result > 0 && (flags & MSG_TRUNC) == 0) printf("[%.*s] ", result, text);
    return result;
}
static int queued(int fd, unsigned long request) {
    int value = -2;
    return CALL(ioctl)(fd, request, &value) < 0 ? -1 : value;
}
static int now(int fd) {
    return events(fd, POLLIN | POLLOUT | POLLPRI | POLLRDHUP | POLLRDNORM | POLLWRNORM, 0);
}
/* A connected pair in slots 1 and 2, over the listener in slot 0; non-blocking where asked. */
static void fresh_pair(int domain, int flags) {
    const char *where = domain == AF_INET ? a1 : six;
    s[1] = CALL(socket)(domain, SOCK_STREAM, 0);
    if (connect_to(s[1], where, 6000) < 0) perror("connect");
    s[2] = CALL(accept)(s[0], NULL, NULL);
    CALL(fcntl)(s[1], F_SETFL, flags);
    CALL(fcntl)(s[2], F_SETFL, flags);
    set(s[1], IPPROTO_TCP, TCP_NODELAY, 1);
    settle();
}
static void close_pair(void) {
    closed(s[1]);
    closed(s[2]);
    settle();
}

static void flags(void) {
    heading("flags");
    fresh_pair(AF_INET, O_NONBLOCK);
    T(CALL(fcntl)(s[1], F_GETFL) == (O_RDWR | O_NONBLOCK));
    T(CALL(fcntl)(s[1], F_SETFD, FD_CLOEXEC));
    T(CALL(fcntl)(s[1], F_GETFD));
    T(CALL(fcntl)(s[1], 9999));
    T(got(s[2], 10, 0));
    T(got(s[2], 10, MSG_DONTWAIT));
    T(got(s[2], 0, 0));
    T(sent(s[1], "hello world", 0));
    T(got(s[2], 5, MSG_PEEK));
    T(got(s[2], 200, MSG_PEEK));
    T(got(s[2], 5, 0));
    T(got(s[2], 3, MSG_TRUNC));
    T(got(s[2], 200, 0));
    T(got(s[2], 200, MSG_PEEK));
    T(got(s[2], 10, MSG_ERRQUEUE));
    T(sent(s[1], "all", MSG_NOSIGNAL));
    T(got(s[2], 3, MSG_WAITALL));
    T(sent(s[1], "", 0));
    T(sent(s[1], "cork", MSG_MORE));
    T(now(s[2]) & POLLIN);
    T(sent(s[1], "ed", 0));
    T(got(s[2], 200, 0));
    T(sent(s[1], "a", MSG_MORE));
    T(sent(s[1], "b", MSG_MORE));
    T(now(s[2]) & POLLIN);
    T(set(s[1], IPPROTO_TCP, TCP_NODELAY, 1));
    T(sent(s[1], "c", 0));
    T(got(s[2], 200, 0));
    T(set(s[1], IPPROTO_TCP, TCP_CORK, 1));
    T(get(s[1], IPPROTO_TCP, TCP_CORK));
    T(sent(s[1], "1", 0));
    T(sent(s[1], "2", 0));
    T(now(s[2]) & POLLIN);
    T(set(s[1], IPPROTO_TCP, TCP_CORK, 0));
    settle();
    T(got(s[2], 200, 0));
    T((int)CALL(recv)(s[2], NULL, 10, 0));
    T(sent(s[1], "gone", 0));
    T((int)CALL(recv)(s[2], NULL, 10, MSG_TRUNC));
    T(got(s[2], 10, 0));
    T((int)CALL(send)(-1, "x", 1, 0));
    T((int)CALL(recv)(-1, bytes, 1, 0));
    close_pair();
}

static void pieces(void) {
    char one[4] = "", two[8] = "", three[32] = "";
    struct iovec out[] = {{"ab", 2}, {"", 0}, {"cdefg", 5}, {"hij", 3}};
    struct iovec in[] = {{one, 3}, {two, 0}, {two, 4}, {three, 30}};
    struct msghdr message = {.msg_iov = in, .msg_iovlen = 4};
    struct sockaddr_storage from;
    socklen_t from_size = sizeof(from);
    heading("pieces");
    fresh_pair(AF_INET, O_NONBLOCK);
    T((int)CALL(writev)(s[1], out, 4));
    settle();
    T((int)CALL(readv)(s[2], in, 4));
    printf("%.3s %.4s %.3s\n", one, two, three);
    T((int)CALL(readv)(s[2], in, 4));
    T((int)CALL(writev)(s[1], out, -1));
    T((int)CALL(writev)(s[1], out, 1025));
    T((int)CALL(writev)(s[1], out, 0));
    T((int)CALL(writev)(s[1], out + 1, 1));
    T((int)CALL(readv)(s[2], in, 0));
    T((int)CALL(readv)(s[2], in + 1, 1));
    T((int)CALL(read)(s[2], one, 0));
    T((int)CALL(write)(s[2], one, 0));
    T((int)CALL(recv)(s[2], one, 0, 0));
    T((int)CALL(read)(s[0], one, 0));
    T((int)CALL(read)(-1, one, 0));
    T((int)CALL(readv)(s[2], in, -1));
    message.msg_iov = out;
    T((int)CALL(sendmsg)(s[1], &message, 0));
    settle();
    message.msg_iov = in;
    memset(three, 0, sizeof(three));
    T((int)CALL(recvmsg)(s[2], &message, MSG_PEEK));
    printf("%.3s %.4s %.3s\n", one, two, three);
    message.msg_name = &from;
    message.msg_namelen = sizeof(from);
    T((int)CALL(recvmsg)(s[2], &message, 0));
    T((int)message.msg_namelen);
    T((int)message.msg_flags);
    T((int)CALL(recvmsg)(s[2], &message, 0));
    message.msg_iovlen = 1025;
    T((int)CALL(sendmsg)(s[1], &message, 0));
    T((int)CALL(recvmsg)(s[2], &message, 0));
    T((int)CALL(sendto)(s[1], "to", 2, 0, (struct sockaddr *)&from, sizeof(from)));
    settle();
    T((int)CALL(recvfrom)(s[2], one, 3, 0, (struct sockaddr *)&from, &from_size));
    T((int)from_size);
    T((int)CALL(write)(s[1], "w", 1));
    settle();
    T((int)CALL(read)(s[2], one, 3));
    close_pair();
}

static void queues(void) {
    int total = 0, result;
    heading("queues");
    T(queued(s[0], FIONREAD));
    T(queued(s[0], SIOCOUTQ));
    fresh_pair(AF_INET, O_NONBLOCK);
    T(queued(s[1], FIONREAD));
    T(queued(s[1], SIOCOUTQ));
    T(queued(s[1], SIOCATMARK));
    T(queued(s[1], 0x1234));
    T(sent(s[1], "twelve bytes", 0));
    T(queued(s[2], FIONREAD));
    T(queued(s[1], SIOCOUTQ));
    T(queued(s[1], SIOCOUTQNSD));
    T(got(s[2], 4, 0));
    T(queued(s[2], FIONREAD));
    T(got(s[2], 20, 0));
    T(queued(s[2], FIONREAD));
    /* Full: a sender that may not wait takes what there is room for, and says so from then on. */
    T(set(s[1], SOL_SOCKET, SO_SNDBUF, 30000));
    T(set(s[2], SOL_SOCKET, SO_RCVBUF, 20000));
    /* And stays full: ACKs that are still under way make room once more. */
    for (int refused = 0; refused < 20;) {
        result = (int)CALL(send)(s[1], bytes, sizeof(bytes), 0);
        if (result > 0) {
            total += result;
            refused = 0;
        } else {
            ++refused;
            settle();
        }
    }
    T((int)CALL(send)(s[1], bytes, sizeof(bytes), 0));
    T(total > 20000);
    T(now(s[1]));
    T(now(s[2]));
    T(queued(s[1], SIOCOUTQ) > 0);
    T(queued(s[1], SIOCOUTQNSD) > 0);
    T(queued(s[2], FIONREAD) > 0);
    for (int i = 0; total > 0 && i < 3000; ++i) {
        result = (int)CALL(recv)(s[2], bytes, 10000, 0);
        if (result > 0)
            total -= result;
        else
            pause_for(1);
    }
    T(total);
    for (int i = 0; queued(s[1], SIOCOUTQ) > 0 && i < 500; ++i) pause_for(1);
    T(now(s[1]));
    T(now(s[2]));
    T(queued(s[1], SIOCOUTQ));
    T(CALL(shutdown)(s[1], SHUT_WR));
    pause_for(600); /* the ACK of a FIN may be a delayed one */
    T(queued(s[1], SIOCOUTQ));
    T(queued(s[2], FIONREAD));
    T(now(s[2]));
    close_pair();
    /* A low-water mark: fewer bytes are nothing to wait for, but can be read. */
    fresh_pair(AF_INET, O_NONBLOCK);
    T(get(s[2], SOL_SOCKET, SO_RCVLOWAT));
    T(set(s[2], SOL_SOCKET, SO_RCVLOWAT, 5));
    T(get(s[2], SOL_SOCKET, SO_RCVLOWAT));
    T(sent(s[1], "four", 0));
    T(now(s[2]));
    T(got(s[2], 2, 0));
    T(sent(s[1], "more", 0));
    T(now(s[2]));
    T(got(s[2], 20, 0));
    T(set(s[2], SOL_SOCKET, SO_RCVLOWAT, 0));
    T(get(s[2], SOL_SOCKET, SO_RCVLOWAT));
    T(sent(s[1], "end", 0));
    T(CALL(shutdown)(s[1], SHUT_WR));
    settle();
    T(now(s[2]));
    T(set(s[2], SOL_SOCKET, SO_RCVLOWAT, 50));
    T(now(s[2]));
    T(got(s[2], 20, 0));
    T(got(s[2], 20, 0));
    close_pair();
}

static void urgent(void) {
    heading("urgent data");
    fresh_pair(AF_INET, O_NONBLOCK);
    T(got(s[2], 1, MSG_OOB));
    T(sent(s[1], "before", 0));
    T(sent(s[1], "!", MSG_OOB));
    T(sent(s[1], "after", 0));
    T(now(s[2]));
    T(queued(s[2], SIOCATMARK));
    T(queued(s[2], FIONREAD));
    T(got(s[2], 3, 0));
    T(got(s[2], 100, 0));
    T(queued(s[2], SIOCATMARK));
    T(queued(s[2], FIONREAD));
    T(now(s[2]));
    T(got(s[2], 1, MSG_OOB | MSG_PEEK));
    T(got(s[2], 1, MSG_OOB));
    T(got(s[2], 1, MSG_OOB));
    T(now(s[2]));
    T(queued(s[2], SIOCATMARK));
    T(got(s[2], 100, MSG_PEEK));
    T(got(s[2], 100, 0));
    T(queued(s[2], SIOCATMARK));
    T(got(s[2], 100, 0));
    /* Of several bytes the last is urgent. */
    T(sent(s[1], "abc", MSG_OOB));
    T(now(s[2]));
    T(got(s[2], 100, 0));
    T(got(s[2], 100, MSG_OOB));
    T(got(s[2], 100, 0));
    T(now(s[2]));
    /* The mark read over: the byte is gone. */
    T(sent(s[1], "x", MSG_OOB));
    T(now(s[2]));
    T(got(s[2], 100, 0));
    T(got(s[2], 1, MSG_OOB));
    T(now(s[2]));
    /* A second urgent byte before the first was fetched. */
    T(sent(s[1], "p1", MSG_OOB));
    T(sent(s[1], "p2", MSG_OOB));
    T(got(s[2], 1, MSG_OOB));
    T(got(s[2], 100, 0));
    T(got(s[2], 100, 0));
    T(now(s[2]));
    /* At the mark, with another behind it. */
    T(sent(s[1], "m1", MSG_OOB));
    T(got(s[2], 1, 0));
    T(queued(s[2], SIOCATMARK));
    T(sent(s[1], "m2", MSG_OOB));
    T(queued(s[2], SIOCATMARK));
    T(got(s[2], 100, 0));
    T(queued(s[2], SIOCATMARK));
    T(got(s[2], 1, MSG_OOB));
    T(got(s[2], 100, 0));
    /* In line. */
    T(set(s[2], SOL_SOCKET, SO_OOBINLINE, 1));
    T(get(s[2], SOL_SOCKET, SO_OOBINLINE));
    T(sent(s[1], "in", 0));
    T(sent(s[1], "L", MSG_OOB));
    T(sent(s[1], "ine", 0));
    T(now(s[2]));
    T(got(s[2], 1, MSG_OOB));
    T(queued(s[2], FIONREAD));
    T(got(s[2], 100, 0));
    T(queued(s[2], SIOCATMARK));
    T(got(s[2], 100, 0));
    T(now(s[2]));
    T(set(s[2], SOL_SOCKET, SO_OOBINLINE, 0));
    T(sent(s[1], "abcd", MSG_OOB));
    T(got(s[2], 20, MSG_PEEK | MSG_WAITALL));
    T(block(s[2], 1));
    T(got(s[2], 20, MSG_PEEK | MSG_WAITALL));
    T(block(s[2], 0));
    T((int)CALL(recv)(s[2], bytes, 0, MSG_OOB));
    T(got(s[2], 1, MSG_OOB));
    T(got(s[2], 20, 0));
    T(got(s[2], 20, 0));
    T(sent(s[1], "e", MSG_OOB));
    T((int)CALL(recv)(s[2], NULL, 1, MSG_OOB | MSG_TRUNC));
    T(got(s[2], 1, MSG_OOB));
    T(CALL(shutdown)(s[1], SHUT_WR));
    settle();
    T(sent(s[1], "!", MSG_OOB));
    T(got(s[2], 1, MSG_OOB));
    T(got(s[2], 1, 0));
    close_pair();
    T(got(s[0], 1, MSG_OOB));
    T(queued(s[0], SIOCATMARK));
}

static void option(const char *name, int fd, int level, int number, int first, const int *values) {
    printf("%s:", name);
    if (first) printf(" begins %d,", get(fd, level, number));
    for (; *values != -99; ++values) {
        if (set(fd, level, number, *values) < 0)
            printf(" %d %s", *values, strerrorname_np(errno));
        else
            printf(" %d is %d", *values, get(fd, level, number));
    }
    printf("\n");
}
#define O(fd, level, name, first, ...) \
    option(#name, fd, level, name, first, (const int[]){__VA_ARGS__, -99})

static void options_of(int fd, int domain) {
    char name[32] = "";
    socklen_t size = sizeof(name);
    unsigned char byte = 77;
    O(fd, SOL_SOCKET, SO_KEEPALIVE, 1, 1, 0, 5);
    O(fd, SOL_SOCKET, SO_OOBINLINE, 1, 1, 0);
    O(fd, SOL_SOCKET, SO_SNDBUF, 0, 50000, 1, 100000);
    O(fd, SOL_SOCKET, SO_RCVBUF, 0, 50000, 1, 100000);
    O(fd, SOL_SOCKET, SO_RCVLOWAT, 1, 10, 0, 150000, -1, 1);
    O(fd, SOL_SOCKET, SO_SNDLOWAT, 1, 10);
    O(fd, SOL_SOCKET, SO_ERROR, 1, 1);
    O(fd, SOL_SOCKET, SO_TYPE, 1, 1);
    O(fd, SOL_SOCKET, SO_ACCEPTCONN, 0, 1);
    O(fd, SOL_SOCKET, SO_MAX_PACING_RATE, 1, 1000000, -1);
    O(fd, IPPROTO_TCP, TCP_NODELAY, 0, 1, 0, 7);
    O(fd, IPPROTO_TCP, TCP_CORK, 1, 1, 0);
    O(fd, IPPROTO_TCP, TCP_KEEPIDLE, 1, 0, 1, 600, 32767, 32768, -1);
    O(fd, IPPROTO_TCP, TCP_KEEPINTVL, 1, 0, 1, 32767, 32768, -1);
    O(fd, IPPROTO_TCP, TCP_KEEPCNT, 1, 0, 1, 127, 128, -1);
    O(fd, IPPROTO_TCP, TCP_SYNCNT, 1, 0, 1, 127, 128, -1);
    O(fd, IPPROTO_TCP, TCP_LINGER2, 1, 5, 0, -1, -5, 119, 10);
    O(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 1, 1000, 0, -1);
    O(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, 1, 4096, 0);
    O(fd, IPPROTO_TCP, TCP_INFO, 0, 1);
    O(fd, IPPROTO_IP, IP_TOS, 1, 0x10, 0xff, 3, 0);
    O(fd, IPPROTO_IP, IP_TTL, 1, 1, 255, 256, 0, -1, -2, 70);
    O(fd, IPPROTO_IP, IP_MTU_DISCOVER, 1, IP_PMTUDISC_DO, IP_PMTUDISC_WANT, 6, -1);
    if (domain == AF_INET6) {
        O(fd, IPPROTO_IPV6, IPV6_TCLASS, 1, 0x20, 0xff, 3, 256, -1, -2);
        O(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 1, 1, 255, 256, -1, -2);
    } else {
        T(set(fd, IPPROTO_IPV6, IPV6_TCLASS, 1));
        T(get(fd, IPPROTO_IPV6, IPV6_V6ONLY));
    }
    T(CALL(setsockopt)(fd, IPPROTO_IP, IP_TTL, &byte, 1));
    T(get(fd, IPPROTO_IP, IP_TTL));
    T(set(fd, IPPROTO_IP, IP_TTL, -1));
    size = 1;
    T(CALL(getsockopt)(fd, IPPROTO_IP, IP_TOS, &byte, &size));
    T(byte);
    T((int)size);
    T(CALL(setsockopt)(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4));
    size = sizeof(name);
    T(CALL(getsockopt)(fd, IPPROTO_TCP, TCP_CONGESTION, name, &size));
    printf("%s %d\n", name, (int)size);
    T(CALL(setsockopt)(fd, IPPROTO_TCP, TCP_CONGESTION, "cubic\0x", 7));
    size = 4;
    T(CALL(getsockopt)(fd, IPPROTO_TCP, TCP_CONGESTION, name, &size));
    printf("%.4s %d\n", name, (int)size);
    T(CALL(setsockopt)(fd, IPPROTO_TCP, TCP_CONGESTION, "no such", 7));
    T(CALL(setsockopt)(fd, IPPROTO_TCP, TCP_CONGESTION, "", 0));
    T(CALL(setsockopt)(fd, IPPROTO_TCP, TCP_NODELAY, "1", 1));
    T(set(fd, IPPROTO_TCP, 12345, 1));
    T(set(fd, SOL_SOCKET, 12345, 1));
    T(set(fd, 12345, 1, 1));
    T(get(fd, SOL_SOCKET, 12345));
    T(get(fd, 12345, 1));
}

static void info_of(int fd) {
    struct tcp_info info;
    socklen_t size = sizeof(info);
    memset(&info, 0xff, sizeof(info));
    T(CALL(getsockopt)(fd, IPPROTO_TCP, TCP_INFO, &info, &size));
    printf("%d bytes, state %d, ca %d, retransmits %d, backoff %d, options %d, unacked %u, lost %u, "
           "retrans %u, total %u\n",
           (int)size, info.tcpi_state, info.tcpi_ca_state, info.tcpi_retransmits,
           info.tcpi_backoff, info.tcpi_options & ~TCPI_OPT_ECN, info.tcpi_unacked,
           info.tcpi_lost, info.tcpi_retrans, info.tcpi_total_retrans);
    size = 8;
    T(CALL(getsockopt)(fd, IPPROTO_TCP, TCP_INFO, &info, &size));
    T((int)size);
}

static void options(void) {
    heading("options");
    for (int domain = AF_INET; domain != 0; domain = domain == AF_INET ? AF_INET6 : 0) {
        fresh(1, domain);
        options_of(s[1], domain);
        O(s[1], IPPROTO_TCP, TCP_MAXSEG, 1, 87, 88, 1000, 32767, 32768, 0, -1);
        O(s[1], IPPROTO_TCP, TCP_QUICKACK, 1, 0, 1);
        T(get(s[1], IPPROTO_IP, IP_MTU));
        info_of(s[1]);
        closed(s[1]);
    }
    fresh_pair(AF_INET, 0);
    T(get(s[1], IPPROTO_IP, IP_MTU) >= 1500);
    options_of(s[1], AF_INET);
    info_of(s[1]);
    sent(s[1], "x", 0);
    T(got(s[2], 1, 0));
    info_of(s[2]);
    CALL(shutdown)(s[1], SHUT_WR);
    pause_for(600); /* the ACK of a FIN may be a delayed one */
    info_of(s[1]);
    info_of(s[2]);
    close_pair();
    info_of(s[0]);
    /* What a listener hands on. */
    set(s[0], SOL_SOCKET, SO_KEEPALIVE, 1);
    set(s[0], IPPROTO_TCP, TCP_NODELAY, 1);
    set(s[0], IPPROTO_TCP, TCP_KEEPIDLE, 77);
    set(s[0], IPPROTO_TCP, TCP_USER_TIMEOUT, 7777);
    set(s[0], IPPROTO_IP, IP_TOS, 0x40);
    set(s[0], IPPROTO_IP, IP_TTL, 99);
    set(s[0], SOL_SOCKET, SO_RCVLOWAT, 3);
    set(s[0], SOL_SOCKET, SO_OOBINLINE, 1);
    set(s[0], IPPROTO_TCP, TCP_MAXSEG, 700);
    fresh_pair(AF_INET, 0);
    T(get(s[2], SOL_SOCKET, SO_KEEPALIVE));
    T(get(s[2], IPPROTO_TCP, TCP_NODELAY));
    T(get(s[2], IPPROTO_TCP, TCP_KEEPIDLE));
    T(get(s[2], IPPROTO_TCP, TCP_USER_TIMEOUT));
    T(get(s[2], IPPROTO_IP, IP_TOS));
    T(get(s[2], IPPROTO_IP, IP_TTL));
    T(get(s[2], SOL_SOCKET, SO_RCVLOWAT));
    T(get(s[2], SOL_SOCKET, SO_OOBINLINE));
    T(get(s[2], IPPROTO_TCP, TCP_MAXSEG));
    T(get(s[1], IPPROTO_TCP, TCP_MAXSEG));
    close_pair();
    fresh(1, AF_INET);
    set(s[1], IPPROTO_TCP, TCP_MAXSEG, 600);
    T(connect_to(s[1], a1, 6000));
    s[2] = CALL(accept)(s[0], NULL, NULL);
    T(get(s[1], IPPROTO_TCP, TCP_MAXSEG));
    T(get(s[2], IPPROTO_TCP, TCP_MAXSEG));
    close_pair();
    closed(s[0]);
    server(0, a1, 6000, 1);
}

/* Each `how`, from either side, with and without data under way. */
static void half_closes(void) {
    static const int hows[] = {SHUT_RD, SHUT_WR, SHUT_RDWR};
    heading("half closes");
    for (int i = 0; i < 3; ++i)
        for (int unread = 0; unread < 2; ++unread) {
            printf("how %d, unread %d\n", hows[i], unread);
            fresh_pair(AF_INET, O_NONBLOCK);
            if (unread) {
                T(sent(s[1], "one", 0));
                T(sent(s[2], "two", 0));
            }
            T(CALL(shutdown)(s[1], hows[i]));
            settle();
            T(now(s[1]));
            T(now(s[2]));
            T(got(s[1], 10, 0));
            T(got(s[1], 10, 0));
            T(got(s[2], 10, 0));
            T(got(s[2], 10, 0));
            T(sent(s[1], "late", 0));
            T(sent(s[2], "later", 0));
            T(got(s[1], 10, 0));
            T(got(s[2], 10, 0));
            T(now(s[1]));
            T(now(s[2]));
            T(CALL(shutdown)(s[1], hows[i]));
            T(CALL(shutdown)(s[2], SHUT_WR));
            settle();
            T(now(s[1]));
            T(now(s[2]));
            T(got(s[1], 10, 0));
            T(get(s[1], SOL_SOCKET, SO_ERROR));
            T(get(s[2], SOL_SOCKET, SO_ERROR));
            close_pair();
        }
}

/* A reset, met in each way. */
static void resets(void) {
    heading("resets");
    for (int way = 0; way < 5; ++way) {
        printf("way %d\n", way);
        fresh_pair(AF_INET, O_NONBLOCK);
        if (way == 4) sent(s[2], "what came before", 0);
        if (way == 4) linger(s[2], 1, 0);
        if (way == 1) sent(s[1], "unread at the other end", 0);
        if (way == 2) linger(s[2], 1, 0);
        if (way == 3) CALL(shutdown)(s[1], SHUT_WR);
        settle();
        T(closed(s[2]));
        settle();
        T(now(s[1]));
        if (way == 0) {
            T(got(s[1], 10, 0));
            T(sent(s[1], "into the void", 0));
            T(now(s[1]));
        }
        T(sent(s[1], "again", 0));
        T(sent(s[1], "again", 0));
        T(got(s[1], 10, 0));
        T(get(s[1], SOL_SOCKET, SO_ERROR));
        T(got(s[1], 10, 0));
        T(now(s[1]));
        T(queued(s[1], FIONREAD));
        T(queued(s[1], SIOCOUTQ));
        T(CALL(shutdown)(s[1], SHUT_RDWR));
        T(peer_port(s[1]));
        closed(s[1]);
        settle();
    }
}

/* What sendfile takes out of a file, and where it leaves it. */
static int file_sent(int fd, int file, off_t from, size_t count) {
    const int sent = (int)CALL(sendfile)(fd, file, &from, count);
    printf("  now at %ld\n", (long)from);
    return sent;
}

static void files(void) {
    char name[] = "/tmp/differential.XXXXXX";
    const int file = mkstemp(name), writing = open(name, O_WRONLY);
    int pipes[2];
    unlink(name);
    heading("sendfile");
    T((int)write(file, "0123456789", 10));
    T(pipe(pipes));
    fresh_pair(AF_INET, 0);
    T(file_sent(s[1], file, 0, 4));
    T(got(s[2], 10, 0));
    T(file_sent(s[1], file, 7, 100));
    T(got(s[2], 10, 0));
    T(file_sent(s[1], file, 10, 1));
    T(file_sent(s[1], file, 11, 1));
    T(file_sent(s[1], file, 0, 0));
    T(file_sent(s[1], file, -1, 1));
    T((int)lseek(file, 2, SEEK_SET));
    T((int)CALL(sendfile)(s[1], file, NULL, 3));
    T((int)lseek(file, 0, SEEK_CUR));
    T(got(s[2], 10, 0));
    T((int)CALL(sendfile)(s[1], file, NULL, (size_t)-1));
    T((int)CALL(sendfile)(s[1], -1, NULL, 3));
    T((int)CALL(sendfile)(-1, file, NULL, 3));
    T((int)CALL(sendfile)(s[1], writing, NULL, 3));
    T((int)CALL(sendfile)(s[1], s[2], NULL, 3));
    T(ftruncate(file, 40000000));
    block(s[1], 0);
    set(s[1], SOL_SOCKET, SO_SNDBUF, 10000);
    const off_t most = 39000000;
    off_t from = 0;
    const ssize_t part = CALL(sendfile)(s[1], file, &from, most);
    T(part > 0 && part < most && part == from);
    T(ok(1 - (CALL(sendfile)(s[1], file, &from, most) > 0)));
    CALL(shutdown)(s[1], SHUT_WR);
    T((int)CALL(sendfile)(s[1], file, NULL, 3));
    close_pair();
    fresh(1, AF_INET);
    T((int)CALL(sendfile)(s[1], file, NULL, 3));
    T((int)CALL(sendfile)(s[1], file, NULL, 0));
    T(file_sent(s[1], file, 40000000, 5));
    closed(s[1]);
    close(file);
    close(writing);
}

/* The length of the saved headers, and which version of IP they begin with. */
static int saved_syn(int fd, socklen_t room) {
    unsigned char saved[256];
    socklen_t size = room;
    const int got = CALL(getsockopt)(fd, IPPROTO_TCP, TCP_SAVED_SYN, saved, &size);
    if (got < 0) return got;
    return size == 0 ? 0 : (int)size * 100 + (saved[0] >> 4);
}

static void kept_for_accept(void) {
    heading("kept for accept");
    fresh(0, AF_INET);
    T(get(s[0], IPPROTO_TCP, TCP_DEFER_ACCEPT));
    for (int seconds = 0; seconds < 140; seconds = seconds * 2 + 1) {
        T(set(s[0], IPPROTO_TCP, TCP_DEFER_ACCEPT, seconds));
        T(get(s[0], IPPROTO_TCP, TCP_DEFER_ACCEPT));
    }
    T(set(s[0], IPPROTO_TCP, TCP_DEFER_ACCEPT, 10));
    T(get(s[0], IPPROTO_TCP, TCP_DEFER_ACCEPT));
    T(set(s[0], IPPROTO_TCP, TCP_DEFER_ACCEPT, -1));
    T(get(s[0], IPPROTO_TCP, TCP_DEFER_ACCEPT));
    T(set(s[0], IPPROTO_TCP, TCP_SAVE_SYN, 3));
    T(set(s[0], IPPROTO_TCP, TCP_SAVE_SYN, -1));
    T(set(s[0], IPPROTO_TCP, TCP_SAVE_SYN, 1));
    T(get(s[0], IPPROTO_TCP, TCP_SAVE_SYN));
    T(set(s[0], IPPROTO_TCP, TCP_DEFER_ACCEPT, 3));
    T(bind_to(s[0], a1, 5901));
    T(CALL(listen)(s[0], 5));
    fresh(1, AF_INET);
    T(connect_to(s[1], a1, 5901));
    block(s[0], 0);
    pause_for(5);
    T(ok(accepted(s[0])));
    T(events(s[0], POLLIN, 0));
    T(send_text(s[1], "at last"));
    T(events(s[0], POLLIN, 1000));
    T(ok(accepted(s[0])));
    T(receive(s[15]));
    T(saved_syn(s[15], 10));
    T(saved_syn(s[15], 256));
    T(saved_syn(s[15], 256));
    T(saved_syn(s[1], 256));
    T(saved_syn(s[0], 256));
    closed(s[15]);
    closed(s[1]);
    /* In the end who says nothing is let in, too. */
    T(set(s[0], IPPROTO_TCP, TCP_DEFER_ACCEPT, 1));
    fresh(1, AF_INET);
    T(connect_to(s[1], a1, 5901));
    T(events(s[0], POLLIN, 3000));
    T(ok(accepted(s[0])));
    closed(s[15]);
    closed(s[1]);
    closed(s[0]);
}

static void more_options(void) {
    heading("more options");
    fresh(0, AF_INET);
    T(get(s[0], IPPROTO_IP, IP_MINTTL));
    T(set(s[0], IPPROTO_IP, IP_MINTTL, 256));
    T(set(s[0], IPPROTO_IP, IP_MINTTL, -1));
    T(set(s[0], IPPROTO_IP, IP_MINTTL, 200));
    T(get(s[0], IPPROTO_IP, IP_MINTTL));
    T(get(s[0], IPPROTO_TCP, TCP_WINDOW_CLAMP));
    T(set(s[0], IPPROTO_TCP, TCP_WINDOW_CLAMP, 1));
    T(get(s[0], IPPROTO_TCP, TCP_WINDOW_CLAMP));
    T(set(s[0], IPPROTO_TCP, TCP_WINDOW_CLAMP, 5000));
    T(get(s[0], IPPROTO_TCP, TCP_WINDOW_CLAMP));
    T(set(s[0], IPPROTO_TCP, TCP_WINDOW_CLAMP, 0));
    T(get(s[0], IPPROTO_TCP, TCP_TIMESTAMP) != -1);
    T(set(s[0], IPPROTO_TCP, TCP_TIMESTAMP, 1));
    T(get(s[0], IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT));
    T(set(s[0], IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1));
    T(get(s[0], IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT));
    T(bind_to(s[0], "10.9.0.99", 0));
    T(bind_to(s[0], a2, 0));
    T(port(s[0]));
    T(name_is(s[0], a2));
    server(1, a1, 5900, 0);
    T(set(s[0], IPPROTO_IP, IP_MINTTL, 64));
    T(connect_to(s[0], a1, 5900));
    T(name_is(s[0], a2));
    T(port(s[0]) >= 32768);
    T(ok(accepted(s[1])));
    T(set(s[0], IPPROTO_TCP, TCP_WINDOW_CLAMP, 0));
    /* Who has come from too far is not heard: the segments' TTL is 64. */
    T(set(s[0], IPPROTO_IP, IP_MINTTL, 65));
    T(send_text(s[15], "unheard"));
    block(s[0], 0);
    T(receive(s[0]));
    T(set(s[0], IPPROTO_IP, IP_MINTTL, 0));
    block(s[0], 1);
    T(receive(s[0]));
    for (int i = 0; i < 2; ++i) closed(s[i]);
    closed(s[15]);
    fresh(0, AF_INET);
    set(s[0], IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
    T(bind_to(s[0], a1, 0));
    T(CALL(listen)(s[0], 5));
    T(port(s[0]) >= 32768);
    closed(s[0]);
    fresh(0, AF_INET6);
    T(set(s[0], IPPROTO_IPV6, IPV6_MINHOPCOUNT, 256));
    T(set(s[0], IPPROTO_IPV6, IPV6_MINHOPCOUNT, 255));
    T(get(s[0], IPPROTO_IPV6, IPV6_MINHOPCOUNT));
    closed(s[0]);
}

int main(void) {
    if (!begin(32768, 60999)) return 1;
    server(0, a1, 6000, 1);
    flags();
    pieces();
    queues();
    urgent();
    options();
    half_closes();
    resets();
    files();
    more_options();
    kept_for_accept();
    end();
    return 0;
}
