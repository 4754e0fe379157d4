/* A stranger's test, by millrace/testing.h alone: a connection each way; the SYN, a data segment and
   the FIN are lost, and come again when they should, to the millisecond. */
#include <arpa/inet.h>
#include <errno.h>
#include <millrace/testing.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MS 1000000

static void check(bool good, const char *what, int line) {
    if (good) return;
    fprintf(stderr, "line %d: %s (errno %d)\n", line, what, errno);
    exit(1);
}
#define CHECK(what) check(what, #what, __LINE__)

enum kind { nothing, a_syn, data, a_fin };

static enum kind kind_of(const char *packet, size_t size) {
    const struct iphdr *ip = (const void *)packet;
    const struct tcphdr *tcp = (const void *)(packet + ip->ihl * 4);
    if (tcp->syn) return tcp->ack ? nothing : a_syn;
    if (tcp->fin) return a_fin;
    return size > ip->ihl * 4u + tcp->doff * 4u ? data : nothing;
}

static enum kind next_to_lose;

static bool filter(void *argument, const mr_context *from, const void *packet, size_t size) {
    (void)argument, (void)from;
    if (next_to_lose == nothing || kind_of(packet, size) != next_to_lose) return true;
    next_to_lose = nothing;
    return false;
}

/* The time between the two latest packets of a kind that `from` has sent. */
static int64_t milliseconds_between(mr_context *from, enum kind kind) {
    char packet[2048];
    int64_t times[2] = {0, 0}, at;
    ssize_t size;
    while ((size = mr_test_take(from, packet, sizeof packet, &at)) > 0) {
        if (kind_of(packet, (size_t)size) != kind) continue;
        times[0] = times[1];
        times[1] = at;
    }
    return (times[1] - times[0] + MS / 2) / MS;
}

static struct sockaddr_in at(const char *address, int port) {
    struct sockaddr_in is = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    inet_pton(AF_INET, address, &is.sin_addr);
    return is;
}

/* From `client` to `server`, which has that address. */
static void one_way(mr_test_network *network, mr_context *client, mr_context *server,
                    const char *address) {
    struct sockaddr_in to = at(address, 7);
    char bytes[100];
    mr_context_enter(server);
    int listener = mr_socket(AF_INET, SOCK_STREAM, 0);
    CHECK(mr_bind(listener, (struct sockaddr *)&to, sizeof to) == 0);
    CHECK(mr_listen(listener, 1) == 0);

    mr_context_enter(client);
    next_to_lose = a_syn;
    int s = mr_socket(AF_INET, SOCK_STREAM, 0);
    CHECK(mr_connect(s, (struct sockaddr *)&to, sizeof to) == 0);
    /* RFC 6298 section 2.1: the first RTO is one second. */
    CHECK(milliseconds_between(client, a_syn) == 1000);

    mr_context_enter(server);
    int accepted = mr_accept(listener, NULL, NULL);
    CHECK(accepted >= 0);

    mr_context_enter(client);
    next_to_lose = data;
    CHECK(mr_send(s, "hello", 5, 0) == 5);
    mr_context_enter(server);
    CHECK(mr_recv(accepted, bytes, sizeof bytes, 0) == 5);
    CHECK(memcmp(bytes, "hello", 5) == 0);
    /* tcp_rto_min_us above the round trip, of which timestamps say that it took a millisecond: the
       handshake's own measure is void, since its SYN went twice (RFC 6298 section 3). */
    CHECK(milliseconds_between(client, data) == 201);

    mr_context_enter(client);
    next_to_lose = a_fin;
    CHECK(mr_shutdown(s, SHUT_WR) == 0);
    mr_context_enter(server);
    CHECK(mr_recv(accepted, bytes, sizeof bytes, 0) == 0);
    CHECK(milliseconds_between(client, a_fin) == 201);
    CHECK(mr_close(accepted) == 0);
    CHECK(mr_close(listener) == 0);
    mr_context_enter(client);
    CHECK(mr_recv(s, bytes, sizeof bytes, 0) == 0);
    CHECK(mr_close(s) == 0);
    CHECK(mr_test_advance_to(network, mr_test_now(network) + 100 * (int64_t)1000 * MS) == 0);
    CHECK(mr_test_next_event(network) == -1);
}

int main(void) {
    char why[256] = "";
    mr_test_network *network = mr_test_network_create(42);
    mr_context *a = mr_test_context_create(
        network, "[[port]]\ndevice = 'a'\naddresses = ['10.0.0.1/24']", why, sizeof why);
    mr_context *b = mr_test_context_create(
        network, "[[port]]\ndevice = 'b'\naddresses = ['10.0.0.2/24']", why, sizeof why);
    if (a == NULL || b == NULL) return fprintf(stderr, "%s\n", why);
    CHECK(mr_test_set_filter(network, filter, NULL) == 0);
    one_way(network, a, b, "10.0.0.2");
    one_way(network, b, a, "10.0.0.1");
    CHECK(mr_test_network_destroy(network) == -1 && errno == EBUSY);
    mr_context_destroy(a);
    mr_context_destroy(b);
    CHECK(mr_test_network_destroy(network) == 0);
    return 0;
}
