/* epoll_echo.c on Millrace.

       epoll_echo_millrace CONFIG PORT */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <millrace/socket.h>

enum { BUFFER = 16384, EVENTS = 64 };

/* What a client has sent and not been sent back yet: from `begin` to `end`. */
struct client {
    int fd;
    int done; /* it will send no more */
    size_t begin, end;
    char data[BUFFER];
};

static int epoll, listener;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void drop(struct client *c) {
    mr_close(c->fd);
    free(c);
}

/* Reads and writes until neither goes on. 0: it is over. */
static int serve(struct client *c) {
    for (;;) {
        ssize_t got = -1, put = -1;
        if (c->begin == c->end) c->begin = c->end = 0;
        if (!c->done && c->end < BUFFER) {
            got = mr_read(c->fd, c->data + c->end, BUFFER - c->end);
            if (got < 0 && errno != EAGAIN) return 0;
            if (got == 0) c->done = 1;
            if (got > 0) c->end += (size_t)got;
        }
        if (c->begin < c->end) {
            put = mr_send(c->fd, c->data + c->begin, c->end - c->begin, MSG_NOSIGNAL);
            if (put < 0 && errno != EAGAIN) return 0;
            if (put > 0) c->begin += (size_t)put;
        }
        if (c->done && c->begin == c->end) return 0;
        if (got <= 0 && put <= 0) return 1;
    }
}

static void welcome(void) {
    for (;;) {
        const int fd = mr_accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) return;
        const int on = 1;
        mr_setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        struct client *c = calloc(1, sizeof(*c));
        if (c == NULL) fail("calloc");
        c->fd = fd;
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c};
        if (mr_epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0) fail("epoll_ctl");
    }
}

static void listen_on(int port) {
    const struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    const int on = 1;
    listener = mr_socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (listener < 0) fail("socket");
    mr_setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (mr_bind(listener, (const struct sockaddr *)&any, sizeof(any)) < 0) fail("bind");
    if (mr_listen(listener, SOMAXCONN) < 0) fail("listen");
}

int main(int count, char **arguments) {
    char why[512];
    if (count != 3) {
        fprintf(stderr, "usage: %s CONFIG PORT\n", arguments[0]);
        return 2;
    }
    if (mr_context_load(arguments[1], why, sizeof(why)) == NULL) {
        fprintf(stderr, "%s\n", why);
        return 1;
    }
    listen_on(atoi(arguments[2]));
    epoll = mr_epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0) fail("epoll_create1");
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (mr_epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event) < 0) fail("epoll_ctl");
    for (;;) {
        struct epoll_event ready[EVENTS];
        const int events = mr_epoll_wait(epoll, ready, EVENTS, -1);
        if (events < 0 && errno != EINTR) fail("epoll_wait");
        for (int i = 0; i < events; ++i) {
            struct client *c = ready[i].data.ptr;
            if (c == NULL)
                welcome();
            else if (!serve(c))
                drop(c);
        }
    }
}
