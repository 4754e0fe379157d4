/* What an epoll set reports, and when: levels, edges, one shot, exclusive, sets in sets, kernel
   descriptors. Run on the machine's kernel and on Millrace; the outputs must be equal
   (differential.py). */
#include "steps.h"

static int set_a, set_b;
static char bytes[65536];

/* The words of this program. */
static void settle(void) { pause_for(5); }
static int control(int set, int operation, int slot, uint32_t asked) {
    struct epoll_event event = {.events = asked, .data = {.u32 = (uint32_t)slot}};
    return CALL(epoll_ctl)(set, operation, s[slot], &event);
}
static int add(int set, int slot, uint32_t asked) {
    return control(set, EPOLL_CTL_ADD, slot, asked);
}
static int modify(int set, int slot, uint32_t asked) {
    return control(set, EPOLL_CTL_MOD, slot, asked);
}
static int drop(int set, int slot) { return control(set, EPOLL_CTL_DEL, slot, 0); }

/* What is ready, by slot. */
static int look_for(int set, int most, int timeout) {
    struct epoll_event ready[32];
    uint32_t by_slot[16] = {0};
    const int count = CALL(epoll_wait)(set, ready, most, timeout);
    for (int i = 0; i < count; ++i) by_slot[ready[i].data.u32] = ready[i].events;
    for (int i = 0; i < 16; ++i)
        if (by_slot[i] != 0) printf("<%d: %x> ", i, by_slot[i]);
    return count;
}
static int look(int set) { return look_for(set, 32, 0); }

static void text(int slot, const char *what) {
    send_text(s[slot], what);
    settle();
}
static void fresh_pair(int i) {
    s[i] = CALL(socket)(AF_INET, SOCK_STREAM, 0);
    if (connect_to(s[i], a1, 6100) < 0) perror("connect");
    s[i + 1] = CALL(accept)(s[0], NULL, NULL);
    block(s[i], 0);
    block(s[i + 1], 0);
    settle();
}
static void close_pair(int i) {
    closed(s[i]);
    closed(s[i + 1]);
    settle();
}

/* Until the one takes no more, until the other has had it all. */
static void fill(int slot) {
    for (int i = 0; i < 300; ++i) {
        CALL(send)(s[slot], bytes, sizeof(bytes), 0);
        if (i % 50 == 0) settle();
    }
}
static void drain(int slot) {
    for (int i = 0; i < 1000; ++i)
        if (CALL(recv)(s[slot], bytes, sizeof(bytes), 0) < 0) pause_for(1);
}

static void errors(void) {
    struct epoll_event event = {.events = EPOLLIN};
    heading("errors");
    T(ok(CALL(epoll_create)(0)));
    T(ok(CALL(epoll_create)(-1)));
    T(ok(CALL(epoll_create1)(77)));
    T(CALL(epoll_ctl)(set_a, EPOLL_CTL_ADD, -1, &event));
    T(CALL(epoll_ctl)(-1, EPOLL_CTL_ADD, s[0], &event));
    T(CALL(epoll_ctl)(s[0], EPOLL_CTL_ADD, set_a, &event));
    T(CALL(epoll_ctl)(set_a, EPOLL_CTL_ADD, set_a, &event));
    T(CALL(epoll_ctl)(set_a, EPOLL_CTL_ADD, s[0], NULL));
    T(CALL(epoll_ctl)(set_a, EPOLL_CTL_DEL, s[0], NULL));
    T(CALL(epoll_ctl)(set_a, EPOLL_CTL_MOD, s[0], &event));
    T(CALL(epoll_ctl)(set_a, 77, s[0], &event));
    T(add(set_a, 0, EPOLLIN));
    T(add(set_a, 0, EPOLLIN));
    T(modify(set_a, 0, EPOLLIN | EPOLLEXCLUSIVE));
    T(drop(set_a, 0));
    T(drop(set_a, 0));
    T(add(set_a, 0, EPOLLIN | EPOLLEXCLUSIVE | EPOLLONESHOT));
    T(add(set_a, 0, EPOLLIN | EPOLLEXCLUSIVE | EPOLLRDHUP));
    T(add(set_a, 0, EPOLLIN | EPOLLEXCLUSIVE));
    T(modify(set_a, 0, EPOLLIN));
    T(drop(set_a, 0));
    T(look_for(set_a, 0, 0));
    T(look_for(set_a, -1, 0));
    T(look_for(s[0], 5, 0));
    T(look_for(-1, 5, 0));
    T(look(set_a));
    T(send_text(set_a, "x"));
    T(CALL(listen)(set_a, 1));
    T(ok(CALL(accept)(set_a, NULL, NULL)));
    T(get(set_a, SOL_SOCKET, SO_TYPE));
    T(events(set_a, POLLIN | POLLOUT, 0));
}

static void levels(void) {
    heading("levels");
    fresh_pair(1);
    T(add(set_a, 2, EPOLLIN | EPOLLRDHUP));
    T(look(set_a));
    text(1, "hello");
    T(look(set_a));
    T(look(set_a));
    T(events(set_a, POLLIN | POLLOUT, 0));
    T(receive(s[2]));
    T(look(set_a));
    T(events(set_a, POLLIN | POLLOUT, 0));
    T(modify(set_a, 2, EPOLLIN | EPOLLOUT));
    T(look(set_a));
    T(modify(set_a, 2, EPOLLOUT));
    text(1, "more");
    T(look(set_a));
    T(modify(set_a, 2, EPOLLIN));
    T(look(set_a));
    T(modify(set_a, 2, 0));
    T(look(set_a));
    T(receive(s[2]));
    T(modify(set_a, 2, EPOLLIN | EPOLLRDHUP | EPOLLOUT));
    T(CALL(shutdown)(s[1], SHUT_WR));
    settle();
    T(look(set_a));
    T(receive(s[2]));
    T(look(set_a));
    T(CALL(shutdown)(s[2], SHUT_WR));
    settle();
    T(look(set_a));
    T(modify(set_a, 2, 0));
    T(look(set_a));
    T(closed(s[2]));
    T(look(set_a));
    T(drop(set_a, 2));
    closed(s[1]);
    settle();
}

static void edges(void) {
    heading("edges");
    fresh_pair(1);
    T(add(set_a, 2, EPOLLIN | EPOLLET));
    T(look(set_a));
    text(1, "first");
    T(look(set_a));
    T(look(set_a));
    text(1, "second");
    T(look(set_a));
    T(look(set_a));
    T(receive(s[2]));
    T(look(set_a));
    T(modify(set_a, 2, EPOLLIN | EPOLLOUT | EPOLLET));
    T(look(set_a));
    T(look(set_a));
    text(1, "third");
    T(look(set_a));
    T(modify(set_a, 2, EPOLLIN | EPOLLOUT | EPOLLET));
    T(look(set_a));
    T(look(set_a));
    T(receive(s[2]));
    T(CALL(shutdown)(s[1], SHUT_WR));
    settle();
    T(look(set_a));
    T(look(set_a));
    T(receive(s[2]));
    T(closed(s[1]));
    settle();
    T(look(set_a));
    T(modify(set_a, 2, EPOLLIN | EPOLLRDHUP | EPOLLET));
    T(look(set_a));
    T(CALL(shutdown)(s[2], SHUT_WR));
    settle();
    T(look(set_a));
    T(look(set_a));
    closed(s[2]);
    settle();
    T(look(set_a));
    /* Room to send: an edge after there was none. */
    fresh_pair(1);
    T(set(s[1], SOL_SOCKET, SO_SNDBUF, 30000));
    T(set(s[2], SOL_SOCKET, SO_RCVBUF, 20000));
    T(add(set_a, 1, EPOLLOUT | EPOLLET));
    T(look(set_a));
    T(look(set_a));
    fill(1);
    T(look(set_a));
    drain(2);
    T(look(set_a));
    T(look(set_a));
    close_pair(1);
    /* The same as a level, that nobody has looked at before. */
    fresh_pair(1);
    set(s[1], SOL_SOCKET, SO_SNDBUF, 30000);
    set(s[2], SOL_SOCKET, SO_RCVBUF, 20000);
    fill(1);
    T(add(set_a, 1, EPOLLOUT));
    T(look(set_a));
    drain(2);
    T(look(set_a));
    T(look(set_a));
    close_pair(1);
}

static void one_shot(void) {
    heading("one shot");
    fresh_pair(1);
    T(add(set_a, 2, EPOLLIN | EPOLLONESHOT));
    text(1, "a");
    T(look(set_a));
    T(look(set_a));
    text(1, "b");
    T(look(set_a));
    T(modify(set_a, 2, EPOLLIN | EPOLLONESHOT));
    T(look(set_a));
    T(receive(s[2]));
    T(modify(set_a, 2, EPOLLIN | EPOLLONESHOT));
    T(look(set_a));
    T(CALL(shutdown)(s[1], SHUT_WR));
    settle();
    T(look(set_a));
    T(CALL(shutdown)(s[2], SHUT_WR));
    settle();
    T(look(set_a));
    T(modify(set_a, 2, EPOLLONESHOT));
    T(look(set_a));
    T(look(set_a));
    close_pair(1);
}

static void several(void) {
    heading("several");
    fresh_pair(1);
    fresh_pair(3);
    fresh_pair(5);
    for (int i = 2; i <= 6; i += 2) T(add(set_a, i, EPOLLIN));
    for (int i = 1; i <= 5; i += 2) text(i, "x");
    T(look(set_a));
    /* One at a time, each gets its turn. */
    for (int i = 0; i < 6; ++i) T(look_for(set_a, 1, 0));
    T(receive(s[4]));
    T(look(set_a));
    T(look_for(set_a, 2, 0));
    T(drop(set_a, 2));
    T(look(set_a));
    T(closed(s[6]));
    T(look(set_a));
    text(3, "y");
    T(look(set_a));
    closed(s[5]);
    close_pair(3);
    T(look(set_a));
    close_pair(1);
    T(look(set_a));
}

static void ends(void) {
    heading("ends");
    /* A connection that is reset. */
    fresh_pair(1);
    T(add(set_a, 1, EPOLLIN));
    T(linger(s[2], 1, 0));
    T(closed(s[2]));
    settle();
    T(look(set_a));
    T(get(s[1], SOL_SOCKET, SO_ERROR));
    T(look(set_a));
    T(receive(s[1]));
    T(look(set_a));
    closed(s[1]);
    /* An attempt that succeeds, one that is refused. */
    for (int number = 6100; number <= 6101; ++number) {
        s[1] = CALL(socket)(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        T(add(set_a, 1, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET));
        T(look(set_a));
        T(connect_to(s[1], a1, number));
        settle();
        T(look(set_a));
        T(look(set_a));
        T(get(s[1], SOL_SOCKET, SO_ERROR));
        T(connect_to(s[1], a1, number));
        T(closed(s[1]));
        if (number == 6100) closed(CALL(accept)(s[0], NULL, NULL));
        settle();
    }
    /* A listener. */
    T(add(set_a, 0, EPOLLIN | EPOLLOUT));
    T(look(set_a));
    for (int i = 1; i <= 2; ++i) {
        fresh(i, AF_INET);
        T(connect_to(s[i], a1, 6100));
    }
    settle();
    T(look(set_a));
    T(ok(s[3] = CALL(accept)(s[0], NULL, NULL)));
    T(look(set_a));
    T(ok(s[4] = CALL(accept)(s[0], NULL, NULL)));
    T(look(set_a));
    T(drop(set_a, 0));
    for (int i = 1; i <= 4; ++i) closed(s[i]);
    settle();
    /* Marks that are lowered, listeners that end, sockets that never were connected. */
    fresh_pair(1);
    T(set(s[2], SOL_SOCKET, SO_RCVLOWAT, 100));
    T(add(set_a, 2, EPOLLIN));
    text(1, "ten bytes.");
    T(look(set_a));
    T(set(s[2], SOL_SOCKET, SO_RCVLOWAT, 1));
    T(look(set_a));
    close_pair(1);
    server(1, a1, 6102, 1);
    T(add(set_a, 1, EPOLLIN));
    T(look(set_a));
    T(CALL(shutdown)(s[1], SHUT_RD));
    T(look(set_a));
    closed(s[1]);
    fresh(1, AF_INET);
    T(add(set_a, 1, EPOLLIN | EPOLLET));
    T(look(set_a));
    T(look(set_a));
    T(CALL(shutdown)(s[1], SHUT_RDWR));
    T(look(set_a));
    T(disconnect(s[1]));
    T(look(set_a));
    closed(s[1]);
    /* Our own shutdown is news, too. */
    fresh_pair(1);
    T(add(set_a, 1, EPOLLIN | EPOLLRDHUP | EPOLLET));
    T(look(set_a));
    T(CALL(shutdown)(s[1], SHUT_RD));
    T(look(set_a));
    T(look(set_a));
    T(CALL(shutdown)(s[1], SHUT_WR));
    T(look(set_a));
    close_pair(1);
    /* Urgent data. */
    fresh_pair(1);
    T(add(set_a, 2, EPOLLPRI | EPOLLET));
    T(look(set_a));
    text(1, "x");
    T(look(set_a));
    T((int)CALL(send)(s[1], "!", 1, MSG_OOB));
    settle();
    T(look(set_a));
    T(look(set_a));
    T((int)CALL(recv)(s[2], bytes, 1, MSG_OOB));
    T(modify(set_a, 2, EPOLLPRI | EPOLLIN));
    T(look(set_a));
    close_pair(1);
}

static void sets_in_sets(void) {
    struct epoll_event event = {.events = EPOLLIN, .data = {.u32 = 9}};
    heading("sets in sets");
    fresh_pair(1);
    T(add(set_a, 2, EPOLLIN));
    T(CALL(epoll_ctl)(set_b, EPOLL_CTL_ADD, set_a, &event));
    T(CALL(epoll_ctl)(set_a, EPOLL_CTL_ADD, set_b, &event));
    event.events = EPOLLIN | EPOLLEXCLUSIVE;
    T(CALL(epoll_ctl)(set_a, EPOLL_CTL_ADD, set_b, &event));
    T(look(set_b));
    text(1, "inner");
    T(look(set_b));
    T(look(set_b));
    T(look(set_a));
    T(look(set_b));
    T(receive(s[2]));
    T(look(set_b));
    T(look(set_a));
    text(1, "again");
    T(look_for(set_b, 8, 100));
    event.events = EPOLLIN | EPOLLET;
    T(CALL(epoll_ctl)(set_b, EPOLL_CTL_MOD, set_a, &event));
    T(look(set_b));
    T(look(set_b));
    T(drop(set_a, 2));
    T(look(set_b));
    T(CALL(epoll_ctl)(set_b, EPOLL_CTL_DEL, set_a, NULL));
    close_pair(1);
    /* Two sets over one socket. */
    fresh_pair(1);
    T(add(set_a, 2, EPOLLIN));
    T(add(set_b, 2, EPOLLIN | EPOLLET));
    text(1, "both");
    T(look(set_a));
    T(look(set_b));
    T(look(set_b));
    T(receive(s[2]));
    T(look(set_a));
    close_pair(1);
    fresh_pair(1);
    T(add(set_a, 2, EPOLLIN | EPOLLEXCLUSIVE));
    T(add(set_b, 2, EPOLLIN | EPOLLEXCLUSIVE));
    text(1, "nobody waits: both");
    T(look(set_a));
    T(look(set_b));
    close_pair(1);
    T(look(set_a));
    T(look(set_b));
}

/* Descriptors of the kernel's among ours. */
static void kernels(void) {
    const uint64_t one = 1;
    uint64_t number = 0;
    struct epoll_event event = {.events = EPOLLIN, .data = {.u32 = 7}};
    const int file = open("/etc/hostname", O_RDONLY | O_CLOEXEC);
    const int count = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    heading("kernel descriptors");
    fresh_pair(1);
    T(CALL(epoll_ctl)(set_a, EPOLL_CTL_ADD, file, &event));
    T(CALL(epoll_ctl)(set_a, EPOLL_CTL_ADD, 1000000, &event));
    T(CALL(epoll_ctl)(set_a, EPOLL_CTL_MOD, count, &event));
    T(CALL(epoll_ctl)(set_a, EPOLL_CTL_ADD, count, &event));
    T(CALL(epoll_ctl)(set_a, EPOLL_CTL_ADD, count, &event));
    T(add(set_a, 2, EPOLLIN));
    T(look(set_a));
    T((int)write(count, &one, sizeof(one)));
    T(look(set_a));
    T(events(set_a, POLLIN, 0));
    text(1, "ours");
    T(look(set_a));
    T(look_for(set_a, 1, 0) + look_for(set_a, 1, 0));
    T((int)read(count, &number, sizeof(number)));
    T(look(set_a));
    T(receive(s[2]));
    T(look(set_a));
    event.events = EPOLLIN | EPOLLET;
    T(CALL(epoll_ctl)(set_a, EPOLL_CTL_MOD, count, &event));
    T((int)write(count, &one, sizeof(one)));
    T(look_for(set_a, 4, 200));
    T(look(set_a));
    T(CALL(epoll_ctl)(set_a, EPOLL_CTL_DEL, count, NULL));
    T(CALL(epoll_ctl)(set_a, EPOLL_CTL_DEL, count, NULL));
    close(file);
    close(count);
    close_pair(1);
}

/* How deep sets may lie in one another, built from either end; and what wakes the outermost. */
static void nests(void) {
    const uint64_t one = 1;
    struct epoll_event event = {.events = EPOLLIN, .data = {.u32 = 3}};
    int chain[8];
    heading("nests");
    for (int outwards = 0; outwards < 2; ++outwards) {
        for (int i = 0; i < 8; ++i) chain[i] = CALL(epoll_create1)(0);
        for (int i = 0; i < 7; ++i) {
            const int at = outwards ? 6 - i : i;
            T(CALL(epoll_ctl)(chain[at], EPOLL_CTL_ADD, chain[at + 1], &event));
        }
        T(CALL(epoll_ctl)(chain[7], EPOLL_CTL_ADD, chain[0], &event));
        for (int i = 0; i < 8; ++i) closed(chain[i]);
    }
    for (int edge = 0; edge < 2; ++edge) {
        const int count = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        printf("edge %d\n", edge);
        for (int i = 0; i < 3; ++i) chain[i] = CALL(epoll_create1)(0);
        event.events = EPOLLIN | (edge ? EPOLLET : 0);
        T(CALL(epoll_ctl)(chain[0], EPOLL_CTL_ADD, chain[1], &event));
        T(CALL(epoll_ctl)(chain[1], EPOLL_CTL_ADD, chain[2], &event));
        T(CALL(epoll_ctl)(chain[2], EPOLL_CTL_ADD, count, &event));
        T(look(chain[0]));
        T((int)write(count, &one, sizeof(one)));
        T(look_for(chain[0], 4, 200));
        T(look(chain[0]));
        T(events(chain[0], POLLIN, 0));
        T(look(chain[1]));
        T(look(chain[2]));
        T(look(chain[2]));
        T((int)write(count, &one, sizeof(one)));
        T(look(chain[0]));
        T(CALL(epoll_ctl)(chain[0], EPOLL_CTL_DEL, chain[1], NULL));
        T(look(chain[0]));
        T(look(chain[1]));
        for (int i = 0; i < 3; ++i) closed(chain[i]);
        close(count);
    }
}

static void waiting(void) {
    struct timespec before, after;
    heading("waiting");
    clock_gettime(CLOCK_MONOTONIC, &before);
    T(look_for(set_a, 4, 30));
    clock_gettime(CLOCK_MONOTONIC, &after);
    T((after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000 >= 29);
    fresh_pair(1);
    T(add(set_a, 2, EPOLLIN));
    send_text(s[1], "under way");
    T(look_for(set_a, 4, -1));
    T(closed(set_b));
    T(look(set_b));
    close_pair(1);
}

int main(void) {
    if (!begin(32768, 60999)) return 1;
    server(0, a1, 6100, 1);
    block(s[0], 0);
    set_a = CALL(epoll_create1)(EPOLL_CLOEXEC);
    set_b = CALL(epoll_create)(1);
    errors();
    levels();
    edges();
    one_shot();
    several();
    ends();
    sets_in_sets();
    kernels();
    nests();
    waiting();
    end();
    return 0;
}
