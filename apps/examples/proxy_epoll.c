/* An HTTP proxy on sockets and epoll, as it is written for Linux: proxy_epoll CONFIG PORT */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <millrace/socket.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy_request.h"

enum { BUFFER = 65536, EVENTS = 64 };

/* What one side has sent and the other has not taken yet: from `begin` to `end`. */
struct side {
    struct session *session;
    int fd;
    int ended;    /* it will send no more */
    int finished; /* and the other has been told */
    size_t begin, end;
    char data[BUFFER];
};

struct session {
    struct side client, server;
    int connected, over;
    struct session *next_over;
};

static int epoll, listener;
static struct session *all_over; /* those that ended while events of theirs may be left */

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void end_session(struct session *s) {
    if (s->over) return;
    s->over = 1;
    mr_close(s->client.fd);
    if (s->server.fd >= 0) mr_close(s->server.fd);
    s->next_over = all_over;
    all_over = s;
}

static void answer(struct session *s, const char *text) {
    mr_send(s->client.fd, text, strlen(text), 0);
    end_session(s);
}

static int watch(struct side *side) {
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = side};
    return mr_epoll_ctl(epoll, EPOLL_CTL_ADD, side->fd, &event);
}

/* Into its buffer, as far as there is room. A reset is the end of what it sends, too. */
static void take(struct side *from) {
    if (from->begin == from->end) from->begin = from->end = 0;
    while (!from->ended && from->end < BUFFER) {
        const ssize_t got = mr_read(from->fd, from->data + from->end, BUFFER - from->end);
        if (got < 0 && errno == EAGAIN) return;
        if (got <= 0)
            from->ended = 1;
        else
            from->end += (size_t)got;
    }
}

/* One direction, until it does not go on. What one that hears no more is sent is dropped: what he
   has said himself may still be under way. */
static void forward(struct side *from, struct side *to) {
    for (;;) {
        take(from);
        if (from->begin == from->end) break;
        const ssize_t put = mr_write(to->fd, from->data + from->begin, from->end - from->begin);
        if (put < 0 && errno == EAGAIN) return;
        from->begin = put < 0 ? from->end : from->begin + (size_t)put;
    }
    if (from->ended && !from->finished) {
        from->finished = 1;
        mr_shutdown(to->fd, SHUT_WR);
    }
}

/* "10.0.0.1:80" or "[fd00::1]:80". */
static socklen_t parse(char *text, struct sockaddr_storage *address) {
    char *const colon = strrchr(text, ':');
    const int port = atoi(colon + 1);
    struct sockaddr_in *const in = (struct sockaddr_in *)address;
    struct sockaddr_in6 *const in6 = (struct sockaddr_in6 *)address;
    memset(address, 0, sizeof(*address));
    if (port < 1 || port > 65535) return 0;
    if (text[0] == '[' && colon[-1] == ']') {
        colon[-1] = '\0';
        in6->sin6_family = AF_INET6;
        in6->sin6_port = htons((uint16_t)port);
        return inet_pton(AF_INET6, text + 1, &in6->sin6_addr) == 1 ? sizeof(*in6) : 0;
    }
    *colon = '\0';
    in->sin_family = AF_INET;
    in->sin_port = htons((uint16_t)port);
    return inet_pton(AF_INET, text, &in->sin_addr) == 1 ? sizeof(*in) : 0;
}

/* What stands in for the head goes in front of what came behind it. 0: there is no room. */
static int replace_head(struct session *s, const struct proxy_request *request) {
    struct side *const client = &s->client;
    const size_t rest = client->end - request->taken, head = strlen(request->head);
    if (head + rest > BUFFER) return 0;
    memmove(client->data + head, client->data + request->taken, rest);
    memcpy(client->data, request->head, head);
    client->end = head + rest;
    if (request->is_tunnel) {
        s->server.end = strlen(PROXY_ESTABLISHED);
        memcpy(s->server.data, PROXY_ESTABLISHED, s->server.end);
    }
    return 1;
}

/* Opens the way to whom the head names. What the client is answered instead, or null. */
static const char *reach(struct session *s, struct proxy_request *request) {
    struct sockaddr_storage address;
    const socklen_t size = parse(request->authority, &address);
    if (size == 0 || !replace_head(s, request)) return PROXY_BAD_REQUEST;
    s->server.fd = mr_socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s->server.fd < 0 || watch(&s->server) < 0) return PROXY_BAD_GATEWAY;
    if (mr_connect(s->server.fd, (struct sockaddr *)&address, size) < 0 && errno != EINPROGRESS)
        return PROXY_BAD_GATEWAY;
    return NULL;
}

static void read_head(struct session *s) {
    static struct proxy_request request;
    take(&s->client);
    const int complete = read_proxy_request(s->client.data, s->client.end, &request);
    const char *const answered = complete < 0 ? PROXY_BAD_REQUEST
                                 : complete > 0 ? reach(s, &request)
                                                : NULL;
    if (answered != NULL)
        answer(s, answered);
    else if (complete == 0 && s->client.ended)
        end_session(s);
}

static void serve(struct side *side, uint32_t events) {
    struct session *const s = side->session;
    if (s->over) return;
    if (s->server.fd < 0) {
        read_head(s);
        return;
    }
    if (!s->connected) {
        int error = 0;
        socklen_t size = sizeof(error);
        if (side == &s->client || (events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) == 0) return;
        mr_getsockopt(side->fd, SOL_SOCKET, SO_ERROR, &error, &size);
        if (error != 0) {
            answer(s, PROXY_BAD_GATEWAY);
            return;
        }
        s->connected = 1;
    }
    forward(&s->client, &s->server);
    forward(&s->server, &s->client);
    if (s->client.finished && s->server.finished) end_session(s);
}

static void welcome(void) {
    for (;;) {
        const int fd = mr_accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) return;
        struct session *const s = calloc(1, sizeof(*s));
        if (s == NULL) fail("calloc");
        s->client.session = s->server.session = s;
        s->client.fd = fd;
        s->server.fd = -1;
        if (watch(&s->client) < 0) fail("epoll_ctl");
    }
}

static void listen_on(int port) {
    const struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    listener = mr_socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (listener < 0) fail("socket");
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
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (epoll < 0 || mr_epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event) < 0) fail("epoll");
    for (;;) {
        struct epoll_event ready[EVENTS];
        const int events = mr_epoll_wait(epoll, ready, EVENTS, -1);
        if (events < 0) fail("epoll_wait");
        for (int i = 0; i < events; ++i) {
            if (ready[i].data.ptr == NULL)
                welcome();
            else
                serve(ready[i].data.ptr, ready[i].events);
        }
        while (all_over != NULL) {
            struct session *const gone = all_over;
            all_over = gone->next_over;
            free(gone);
        }
    }
}
