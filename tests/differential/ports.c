/* Who may have a port, and how connections begin and end: each step with its errno. Run on the
   machine's kernel and on Millrace; the outputs must be equal (differential.py). What is printed
   depends on nothing but the stack: ephemeral ports are checked, not shown. */
#include "steps.h"

static int range_first = 32768, range_last = 60999;

static int has_ephemeral_port(int fd) {
    const int is = port(fd);
    return is < 0 ? is : is >= range_first && is <= range_last;
}

/* --- the chapters */

static void arguments(void) {
    struct sockaddr_storage to;
    heading("arguments");
    T(ok(CALL(socket)(AF_INET, 77, 0)));
    T(ok(CALL(socket)(AF_INET, SOCK_STREAM, IPPROTO_UDP)));
    T(ok(CALL(socket)(12345, SOCK_STREAM, 0)));
    T(bind_to(-1, a1, 5000));
    T(CALL(listen)(-1, 5));
    T(ok(accepted(-1)));
    T(connect_to(-1, a1, 5000));
    T(CALL(close)(-1));
    fresh(0, AF_INET);
    T(port(s[0]));
    T(peer_port(s[0]));
    T(name_is(s[0], "0.0.0.0"));
    address(&to, a1, 5000);
    T(CALL(bind)(s[0], (struct sockaddr *)&to, 8));
    T(CALL(connect)(s[0], (struct sockaddr *)&to, 8));
    T(CALL(connect)(s[0], (struct sockaddr *)&to, 1));
    T(bind_to(s[0], six, 5000));
    T(connect_to(s[0], six, 5000));
    T(bind_to(s[0], "10.9.0.99", 5000));
    T(bind_to(s[0], "192.0.2.1", 5000));
    T(ok(accepted(s[0])));
    T(send_text(s[0], "x"));
    T(receive(s[0]));
    T(CALL(shutdown)(s[0], SHUT_RDWR));
    T(CALL(shutdown)(s[0], 7));
    T(events(s[0], POLLIN | POLLOUT, 0));
    T(get(s[0], SOL_SOCKET, SO_TYPE) == SOCK_STREAM);
    T(get(s[0], SOL_SOCKET, SO_DOMAIN) == AF_INET);
    T(get(s[0], SOL_SOCKET, SO_PROTOCOL) == IPPROTO_TCP);
    T(get(s[0], SOL_SOCKET, SO_ACCEPTCONN));
    T(get(s[0], SOL_SOCKET, SO_ERROR));
    T(get(s[0], SOL_SOCKET, SO_REUSEADDR));
    T(CALL(setsockopt)(s[0], SOL_SOCKET, SO_REUSEADDR, "1", 1));
    T(v6_only(s[0], 1));
    T(get(s[0], IPPROTO_TCP, 9999));
    T(bind_to(s[0], a1, 5000));
    T(port(s[0]));
    T(name_is(s[0], a1));
    T(bind_to(s[0], a1, 5000));
    T(bind_to(s[0], a1, 5001));
    T(CALL(listen)(s[0], 5));
    T(get(s[0], SOL_SOCKET, SO_ACCEPTCONN));
    T(CALL(listen)(s[0], -1));
    T(connect_to(s[0], a1, 5000));
    T(send_text(s[0], "x"));
    T(receive(s[0]));
    T(peer_port(s[0]));
    T(events(s[0], POLLIN | POLLOUT, 0));
    T(CALL(shutdown)(s[0], SHUT_WR));
    T(get(s[0], SOL_SOCKET, SO_ACCEPTCONN));
    T(CALL(shutdown)(s[0], SHUT_RD));
    T(get(s[0], SOL_SOCKET, SO_ACCEPTCONN));
    T(CALL(listen)(s[0], 5));
    T(disconnect(s[0]));
    T(get(s[0], SOL_SOCKET, SO_ACCEPTCONN));
    T(port(s[0]));
    T(closed(s[0]));
    T(closed(s[0]));
    T(port(s[0]));
    fresh(0, AF_INET6);
    T(bind_to(s[0], a1, 5000));
    T(v6_only(s[0], 1));
    T(get(s[0], IPPROTO_IPV6, IPV6_V6ONLY));
    T(bind_to(s[0], "::ffff:10.9.0.1", 5000));
    T(connect_to(s[0], "::ffff:10.9.0.1", 5000));
    T(bind_to(s[0], six, 5000));
    T(v6_only(s[0], 0));
    T(closed(s[0]));
}

/* Every pair of addresses under every pair of options: bind the second, then let both listen. */
static void pairs(void) {
    static const char *const where[] = {"0.0.0.0", "10.9.0.1", "10.9.0.2", "::", "only ::",
                                        "::ffff:10.9.0.1", "fd00:9::1"};
    static const char *const how[] = {"neither", "first reuses", "second reuses", "both reuse",
                                      "both share", "one reuses, both share"};
    const int count = sizeof(where) / sizeof(where[0]), ways = sizeof(how) / sizeof(how[0]);
    heading("pairs");
    for (int way = 0; way < ways; ++way)
        for (int i = 0; i < count; ++i)
            for (int k = 0; k < count; ++k) {
                const int both[] = {i, k};
                int result[4] = {0};
                for (int n = 0; n < 2; ++n) {
                    const char *text = where[both[n]];
                    const int only = strncmp(text, "only ", 5) == 0;
                    fresh(n, strchr(text, ':') == NULL ? AF_INET : AF_INET6);
                    if (only) v6_only(s[n], 1);
                    if (way == 3 || way - 1 == n || (way == 5 && n == 0)) reuse(s[n]);
                    if (way >= 4) reuse_port(s[n]);
                    result[n] = bind_to(s[n], only ? text + 5 : text, 5100) < 0 ? errno : 0;
                }
                for (int n = 0; n < 2; ++n)
                    if (result[n] == 0) result[2 + n] = CALL(listen)(s[n], 5) < 0 ? errno : 0;
                printf("%s and %s, %s:", where[i], where[k], how[way]);
                for (int n = 0; n < 4; ++n)
                    printf(" %s", result[n] == 0 ? "ok" : strerrorname_np(result[n]));
                printf("\n");
                closed(s[0]);
                closed(s[1]);
            }
}

/* What connections do to their port. */
static void connections(void) {
    for (int with_reuse = 0; with_reuse < 2; ++with_reuse) {
        const int number = 5200 + with_reuse * 10;
        heading(with_reuse ? "connections of a listener with SO_REUSEADDR" : "connections");
        server(0, a1, number, with_reuse);
        pair(0, a1, number, 0);
        T(has_ephemeral_port(s[1]));
        T(port(s[2]) == number);
        T(peer_port(s[1]) == number);
        T(peer_port(s[2]) == port(s[1]));
        T(connect_to(s[1], a1, number));
        T(bind_to(s[1], a1, 5999));
        T(CALL(listen)(s[1], 5));
        T(get(s[2], SOL_SOCKET, SO_REUSEADDR));
        T(closed(s[0]));
        fresh(3, AF_INET);
        T(bind_to(s[3], a2, number));
        T(CALL(listen)(s[3], 5));
        T(closed(s[3]));
        fresh(3, AF_INET);
        T(bind_to(s[3], a1, number));
        T(bind_to(s[3], "0.0.0.0", number));
        T(reuse(s[3]));
        T(bind_to(s[3], "0.0.0.0", number));
        T(CALL(listen)(s[3], 5));
        T(closed(s[3]));
        /* The server's side closes first: TIME-WAIT is on its port. */
        T(closed(s[2]));
        T(receive(s[1]));
        T(events(s[1], POLLIN | POLLOUT | POLLRDHUP, 0));
        T(closed(s[1]));
        pause_for(20);
        fresh(3, AF_INET);
        T(bind_to(s[3], a1, number));
        T(reuse(s[3]));
        T(bind_to(s[3], a1, number));
        T(CALL(listen)(s[3], 5));
        T(closed(s[3]));
        fresh(3, AF_INET6);
        T(bind_to(s[3], "::", number));
        T(reuse(s[3]));
        T(bind_to(s[3], "::", number));
        T(closed(s[3]));
        fresh(3, AF_INET6);
        T(v6_only(s[3], 1));
        T(bind_to(s[3], "::", number));
        T(closed(s[3]));
        fresh(3, AF_INET);
        T(reuse_port(s[3]));
        T(bind_to(s[3], a1, number));
        T(closed(s[3]));
    }
}

static void clients(void) {
    heading("one local port, many destinations");
    server(0, a1, 5300, 1);
    server(5, a2, 5301, 1);
    pair(0, a1, 5300, 5310);
    T(port(s[1]));
    fresh(3, AF_INET);
    T(bind_to(s[3], a1, 5310));
    T(reuse(s[3]));
    T(bind_to(s[3], a1, 5310));
    T(connect_to(s[3], a1, 5300));
    T(connect_to(s[3], a2, 5301));
    T(ok(accepted(s[5])));
    T(peer_port(s[15]));
    T(closed(s[15]));
    T(closed(s[3]));
    /* The client closes first, and is in TIME-WAIT. */
    T(closed(s[1]));
    T(receive(s[2]));
    T(closed(s[2]));
    pause_for(20);
    fresh(3, AF_INET);
    T(bind_to(s[3], a1, 5310));
    T(reuse(s[3]));
    T(bind_to(s[3], a1, 5310));
    T(connect_to(s[3], a1, 5300));
    T(closed(s[3]));
    /* FIN-WAIT-2 of an orphan holds its port as well. */
    pair(0, a1, 5300, 5311);
    T(closed(s[1]));
    T(receive(s[2]));
    fresh(3, AF_INET);
    T(bind_to(s[3], a1, 5311));
    T(closed(s[3]));
    T(send_text(s[2], "nobody reads this"));
    pause_for(20);
    T(send_text(s[2], "nor this"));
    T(closed(s[2]));
    fresh(3, AF_INET);
    T(bind_to(s[3], a1, 5311));
    T(closed(s[3]));
    T(closed(s[0]));
    T(closed(s[5]));
}

static void refused(void) {
    heading("refused and unreachable");
    fresh(0, AF_INET);
    T(connect_to(s[0], a1, 5400));
    T(has_ephemeral_port(s[0]));
    T(name_is(s[0], "0.0.0.0"));
    T(get(s[0], SOL_SOCKET, SO_ERROR));
    T(connect_to(s[0], a1, 5400));
    T(bind_to(s[0], a1, 5405));
    T(port(s[0]));
    T(closed(s[0]));
    fresh(0, AF_INET);
    T(connect_to(s[0], a1, 5400));
    T(CALL(listen)(s[0], 5));
    fresh(1, AF_INET);
    T(connect_to(s[1], a1, port(s[0])));
    T(closed(s[1]));
    T(CALL(shutdown)(s[0], SHUT_RD));
    T(bind_to(s[0], a1, 5405)); /* what listen() chose is nobody's any more */
    T(port(s[0]));
    T(closed(s[0]));
    fresh(0, AF_INET);
    T(bind_to(s[0], a1, 5400)); /* bound, and not listening */
    fresh(1, AF_INET);
    T(bind_to(s[1], a1, 5401));
    T(connect_to(s[1], a1, 5400));
    T(port(s[1]));
    T(CALL(listen)(s[0], 1));
    T(connect_to(s[1], a1, 5400));
    T(peer_port(s[1]));
    T(ok(accepted(s[0])));
    T(connect_to(s[1], a1, 5400));
    T(closed(s[15]));
    T(receive(s[1]));
    T(receive(s[1]));
    T(closed(s[1]));
    T(closed(s[0]));
    fresh(0, AF_INET);
    T(connect_to(s[0], "192.0.2.1", 80));
    T(connect_to(s[0], "224.0.0.1", 80));
    T(connect_to(s[0], "255.255.255.255", 80));
    T(block(s[0], 0));
    T(connect_to(s[0], a1, 5402));
    T(events(s[0], POLLOUT, 1000));
    T(get(s[0], SOL_SOCKET, SO_ERROR));
    T(get(s[0], SOL_SOCKET, SO_ERROR));
    T(closed(s[0]));
    fresh(0, AF_INET6);
    T(connect_to(s[0], "2001:db8::1", 80));
    T(connect_to(s[0], six, 5402));
    T(closed(s[0]));
    fresh(0, AF_INET);
    T(connect_to(s[0], "10.9.0.77", 80)); /* nobody has that address: no answer to ARP */
    T(closed(s[0]));
}

static void attempts(void) {
    heading("non-blocking attempts and the accept queue");
    server(0, a1, 5500, 1);
    CALL(listen)(s[0], 1);
    block(s[0], 0);
    T(ok(accepted(s[0])));
    T(events(s[0], POLLIN, 0));
    fresh(1, AF_INET);
    block(s[1], 0);
    T(connect_to(s[1], a1, 5500));
    T(events(s[1], POLLOUT, 1000));
    T(connect_to(s[1], a1, 5500));
    T(connect_to(s[1], a1, 5500));
    T(get(s[1], SOL_SOCKET, SO_ERROR));
    T(receive(s[1]));
    T(send_text(s[1], "early"));
    T(events(s[0], POLLIN, 1000));
    fresh(2, AF_INET);
    T(connect_to(s[2], a1, 5500));
    /* Two wait, with a backlog of one: full. */
    fresh(3, AF_INET);
    block(s[3], 0);
    T(connect_to(s[3], a1, 5500));
    T(events(s[3], POLLOUT, 100));
    T(connect_to(s[3], a1, 5500));
    T(send_text(s[3], "too early"));
    T(receive(s[3]));
    T(peer_port(s[3]));
    T(ok(accepted(s[0])));
    T(receive(s[15]));
    T(closed(s[15]));
    T(events(s[3], POLLOUT, 3000));
    T(ok(accepted(s[0])));
    T(closed(s[15]));
    T(ok(accepted(s[0])));
    T(closed(s[15]));
    T(ok(accepted(s[0])));
    T(receive(s[1]));
    for (int i = 1; i < 4; ++i) closed(s[i]);
    /* Those that nobody has accepted are reset with the listener. */
    fresh(1, AF_INET);
    T(connect_to(s[1], a1, 5500));
    T(closed(s[0]));
    T(receive(s[1]));
    T(receive(s[1]));
    T(send_text(s[1], "x"));
    T(closed(s[1]));
    /* A waiting connection may be over before it is accepted. */
    server(0, a1, 5501, 1);
    fresh(1, AF_INET);
    T(connect_to(s[1], a1, 5501));
    T(send_text(s[1], "gone"));
    T(closed(s[1]));
    T(ok(accepted(s[0])));
    T(receive(s[15]));
    T(receive(s[15]));
    T(closed(s[15]));
    fresh(1, AF_INET);
    T(connect_to(s[1], a1, 5501));
    T(linger(s[1], 1, 0));
    T(closed(s[1]));
    pause_for(20);
    T(ok(accepted(s[0])));
    T(receive(s[15]));
    T(receive(s[15]));
    T(closed(s[15]));
    T(closed(s[0]));
}

static void endings(void) {
    heading("how connections end");
    server(0, a1, 5600, 1);
    pair(0, a1, 5600, 0);
    T(CALL(shutdown)(s[1], SHUT_WR));
    T(CALL(shutdown)(s[1], SHUT_WR));
    T(send_text(s[1], "x"));
    T(receive(s[2]));
    T(send_text(s[2], "half closed"));
    T(receive(s[1]));
    T(CALL(shutdown)(s[2], SHUT_RD));
    T(receive(s[2]));
    T(closed(s[2]));
    T(receive(s[1]));
    T(events(s[1], POLLIN | POLLOUT | POLLRDHUP, 0));
    T(CALL(shutdown)(s[1], SHUT_RDWR));
    T(peer_port(s[1]));
    T(closed(s[1]));

    pair(0, a1, 5600, 0);
    T(send_text(s[1], "never read"));
    pause_for(20);
    T(closed(s[2])); /* unread data: a reset */
    T(receive(s[1]));
    T(receive(s[1]));
    T(send_text(s[1], "x"));
    T(closed(s[1]));

    pair(0, a1, 5600, 0);
    T(CALL(shutdown)(s[2], SHUT_WR)); /* a FIN, then a reset */
    pause_for(20);
    T(linger(s[2], 1, 0));
    T(closed(s[2]));
    pause_for(20);
    T(receive(s[1]));
    T(get(s[1], SOL_SOCKET, SO_ERROR));
    T(closed(s[1]));

    pair(0, a1, 5600, 0);
    T(linger(s[2], 1, 0));
    T(closed(s[2]));
    pause_for(20);
    T(events(s[1], POLLIN | POLLOUT | POLLRDHUP, 1000));
    T(get(s[1], SOL_SOCKET, SO_ERROR));
    T(receive(s[1]));
    T(connect_to(s[1], a1, 5600));
    T(disconnect(s[1]));
    T(get(s[1], SOL_SOCKET, SO_ERROR));
    T(connect_to(s[1], a1, 5600));
    T(closed(s[1]));
    T(ok(accepted(s[0])));
    T(receive(s[15]));
    T(closed(s[15]));

    pair(0, a1, 5600, 0);
    T(linger(s[1], 1, 5));
    T(send_text(s[1], "flushed"));
    T(closed(s[1]));
    T(receive(s[2]));
    T(receive(s[2]));
    T(closed(s[2]));

    pair(0, a1, 5600, 0);
    T(disconnect(s[1]));
    T(events(s[1], POLLIN | POLLOUT, 0));
    T(get(s[1], SOL_SOCKET, SO_ERROR));
    T(peer_port(s[1]));
    T(has_ephemeral_port(s[1]));
    T(name_is(s[1], "0.0.0.0"));
    T(receive(s[2]));
    T(closed(s[2]));
    T(closed(s[1]));
    T(closed(s[0]));
}

static void self(void) {
    heading("self-connect");
    fresh(0, AF_INET);
    T(bind_to(s[0], a1, 5700));
    T(connect_to(s[0], a1, 5700));
    T(port(s[0]));
    T(peer_port(s[0]));
    T(send_text(s[0], "to myself"));
    T(receive(s[0]));
    T(CALL(shutdown)(s[0], SHUT_WR));
    T(receive(s[0]));
    T(closed(s[0]));
}

static void ephemeral(void) {
    heading("ports that nobody asked for");
    fresh(0, AF_INET);
    T(bind_to(s[0], a1, 0));
    T(has_ephemeral_port(s[0]));
    T(name_is(s[0], a1));
    T(closed(s[0]));
    fresh(0, AF_INET);
    T(CALL(listen)(s[0], 5));
    T(has_ephemeral_port(s[0]));
    T(name_is(s[0], "0.0.0.0"));
    fresh(1, AF_INET);
    T(connect_to(s[1], a2, port(s[0])));
    T(ok(accepted(s[0])));
    T(name_is(s[15], a2));
    T(name_is(s[1], a2)); /* DIFFERENCES */
    T(closed(s[15]));
    T(closed(s[1]));
    T(closed(s[0]));
    fresh(0, AF_INET6);
    T(CALL(listen)(s[0], 5));
    T(name_is(s[0], "::"));
    fresh(1, AF_INET);
    T(connect_to(s[1], a1, port(s[0])));
    T(ok(accepted(s[0])));
    T(name_is(s[15], "::ffff:10.9.0.1"));
    T(closed(s[15]));
    T(closed(s[1]));
    T(closed(s[0]));
}

/* With a range of four ports. */
static void exhaustion(void) {
    heading("exhaustion");
    server(0, a1, 5800, 1);
    CALL(listen)(s[0], 100);
    for (int i = 1; i <= 5; ++i) {
        fresh(i, AF_INET);
        T(connect_to(s[i], a1, 5800));
    }
    T(has_ephemeral_port(s[1]));
    server(7, a1, 5801, 1);
    T(connect_to(s[5], a1, 5801));
    for (int i = 8; i <= 11; ++i) {
        fresh(i, AF_INET);
        T(bind_to(s[i], a2, 0));
    }
    fresh(12, AF_INET);
    T(bind_to(s[12], a2, 0));
    T(bind_to(s[12], a1, 0));
    T(bind_to(s[12], "0.0.0.0", 0));
    for (int i = 0; i <= 12; ++i)
        if (i != 6) closed(s[i]);
}

int main(int count, char **arguments_given) {
    const int few = count > 1 && strcmp(arguments_given[1], "exhaustion") == 0;
    if (few) range_first = 40000, range_last = 40003;
    if (!begin(range_first, range_last)) return 1;
    if (few) {
        exhaustion();
    } else {
        arguments();
        pairs();
        connections();
        clients();
        refused();
        attempts();
        endings();
        self();
        ephemeral();
    }
    end();
    return 0;
}
