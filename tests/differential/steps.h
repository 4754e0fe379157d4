// The words that the differential programs are written in: each step says what it did and how that
// ended, by number or errno.
#pragma once

#include "calls.h"

#define a1 "10.9.0.1"
#define a2 "10.9.0.2"
#define six "fd00:9::1"
static int s[16];

/* --- the steps' own words */

static inline void show(const char *what, int result) {
    const int why = errno;
    if (result < 0)
        printf("%s: %s\n", what, strerrorname_np(why));
    else
        printf("%s: %d\n", what, result);
    fflush(stdout);
}
#define T(call) show(#call, (call))

static inline socklen_t address(struct sockaddr_storage *to, const char *text, int port) {
    memset(to, 0, sizeof(*to));
    if (strchr(text, ':') == NULL) {
        struct sockaddr_in *in = (struct sockaddr_in *)to;
        in->sin_family = AF_INET;
        in->sin_port = htons((uint16_t)port);
        inet_pton(AF_INET, text, &in->sin_addr);
        return sizeof(*in);
    }
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)to;
    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons((uint16_t)port);
    inet_pton(AF_INET6, text, &in6->sin6_addr);
    return sizeof(*in6);
}

static inline int bind_to(int fd, const char *text, int port) {
    struct sockaddr_storage to;
    const socklen_t size = address(&to, text, port);
    return CALL(bind)(fd, (struct sockaddr *)&to, size);
}

static inline int connect_to(int fd, const char *text, int port) {
    struct sockaddr_storage to;
    const socklen_t size = address(&to, text, port);
    return CALL(connect)(fd, (struct sockaddr *)&to, size);
}

static inline int disconnect(int fd) {
    struct sockaddr none = {.sa_family = AF_UNSPEC};
    return CALL(connect)(fd, &none, sizeof(none));
}

static inline int set(int fd, int level, int name, int value) {
    return CALL(setsockopt)(fd, level, name, &value, sizeof(value));
}

static inline int get(int fd, int level, int name) {
    int value = -2;
    socklen_t size = sizeof(value);
    return CALL(getsockopt)(fd, level, name, &value, &size) < 0 ? -1 : value;
}

static inline int reuse(int fd) { return set(fd, SOL_SOCKET, SO_REUSEADDR, 1); }
static inline int reuse_port(int fd) { return set(fd, SOL_SOCKET, SO_REUSEPORT, 1); }
static inline int v6_only(int fd, int on) { return set(fd, IPPROTO_IPV6, IPV6_V6ONLY, on); }
static inline int block(int fd, int on) { return CALL(fcntl)(fd, F_SETFL, on ? 0 : O_NONBLOCK); }

static inline int linger(int fd, int on, int seconds) {
    struct linger how = {.l_onoff = on, .l_linger = seconds};
    return CALL(setsockopt)(fd, SOL_SOCKET, SO_LINGER, &how, sizeof(how));
}

/* The port of one end; shown only where it was asked for by number. */
static inline int port_of(int fd, int peer) {
    struct sockaddr_storage is;
    socklen_t size = sizeof(is);
    memset(&is, 0, sizeof(is));
    if ((peer ? CALL(getpeername)(fd, (struct sockaddr *)&is, &size)
              : CALL(getsockname)(fd, (struct sockaddr *)&is, &size)) < 0)
        return -1;
    return ntohs(is.ss_family == AF_INET ? ((struct sockaddr_in *)&is)->sin_port
                                         : ((struct sockaddr_in6 *)&is)->sin6_port);
}
static inline int port(int fd) { return port_of(fd, 0); }
static inline int peer_port(int fd) { return port_of(fd, 1); }
static inline int name_is(int fd, const char *text) {
    struct sockaddr_storage is, should;
    socklen_t size = sizeof(is);
    memset(&is, 0, sizeof(is));
    if (CALL(getsockname)(fd, (struct sockaddr *)&is, &size) < 0) return -1;
    address(&should, text, port(fd));
    return memcmp(&is, &should, size) == 0;
}

static inline int events(int fd, int asked, int timeout) {
    struct pollfd entry = {.fd = fd, .events = (short)asked};
    const int ready = CALL(poll)(&entry, 1, timeout);
    return ready <= 0 ? ready : entry.revents;
}
static inline int send_text(int fd, const char *text) {
    return (int)CALL(send)(fd, text, strlen(text), MSG_NOSIGNAL);
}
static inline int receive(int fd) {
    char text[64];
    return (int)CALL(recv)(fd, text, sizeof(text), 0);
}
static inline int accepted(int fd) { return s[15] = CALL(accept)(fd, NULL, NULL); }
/* A descriptor's number says nothing. */
static inline int ok(int result) { return result < 0 ? result : 0; }
static inline int closed(int fd) { return CALL(close)(fd); }
static inline void heading(const char *text) { printf("== %s\n", text); }

static inline void fresh(int i, int domain) { s[i] = CALL(socket)(domain, SOCK_STREAM, 0); }
static inline void server(int i, const char *text, int number, int with_reuse) {
    fresh(i, strchr(text, ':') == NULL ? AF_INET : AF_INET6);
    if (with_reuse) reuse(s[i]);
    if (bind_to(s[i], text, number) < 0 || CALL(listen)(s[i], 5) < 0) perror("server");
}
/* A pair over the server in slot i: the client in slot i + 1, the other end in slot i + 2. */
static inline void pair(int i, const char *text, int number, int from) {
    fresh(i + 1, AF_INET);
    if (from != 0) {
        reuse(s[i + 1]);
        bind_to(s[i + 1], text, from);
    }
    if (connect_to(s[i + 1], text, number) < 0) perror("connect");
    s[i + 2] = CALL(accept)(s[i], NULL, NULL);
}
static inline void pause_for(int ms) {
    struct timespec start, now;
    int turns = 0;
    clock_gettime(CLOCK_MONOTONIC, &start);
    do {
#ifdef ON_MILLRACE
        mr_turn();
#else
        usleep(1000);
        turns = 1000;
#endif
        clock_gettime(CLOCK_MONOTONIC, &now);
        /* Where the processor was away for all that time, the loop has turned once: too little. */
    } while (++turns < 200 ||
             (now.tv_sec - start.tv_sec) * 1000 + (now.tv_nsec - start.tv_nsec) / 1000000 < ms);
}

/* --- a program's frame */

#ifdef ON_MILLRACE
static mr_context *context;
#endif

/* The kernel's ports and addresses are set by differential.py. */
static inline int begin(int first_port, int last_port) {
    signal(SIGPIPE, SIG_IGN);
#ifdef ON_MILLRACE
    char why[512], toml[1024];
    snprintf(toml, sizeof(toml),
             "[[port]]\ndevice = 'ring:differential:0'\n"
             "addresses = ['10.9.0.1/24', '10.9.0.2/24', 'fd00:9::1/64']\n[[core]]\n"
             "[tcp]\ntcp_tw_reuse = 0\nmax_connections = 1024\ntcp_max_tw_buckets = 1024\n"
             "ip_local_port_range_min = %d\nip_local_port_range_max = %d\n"
             "[pools]\nreceive = 4096\nheader = 1024\nattach = 1024\npayload = 1024\n"
             "[eal]\nhuge_pages = false\n",
             first_port, last_port);
    context = mr_context_create(toml, why, sizeof(why));
    if (context == NULL) fprintf(stderr, "%s\n", why);
    return context != NULL;
#else
    (void)first_port;
    (void)last_port;
    return 1;
#endif
}

static inline void end(void) {
#ifdef ON_MILLRACE
    mr_context_destroy(context);
#endif
}
