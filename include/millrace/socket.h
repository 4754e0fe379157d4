// The socket API in C: what a program written for Linux's sockets calls, `mr_` before the name.
//
// Purpose: porting. Each call takes the arguments of the one it is named after, returns what that
// returns and sets errno to what Linux sets in the same situation. Constants and structures are the
// C library's own.
//
// Owner: a context belongs to the thread that made it, and its sockets with it; the descriptors of
// another context, or of the kernel, are EBADF, null pointers EFAULT. A thread without a context
// gets ENXIO, one that enters another thread's EPERM. A context is one core's stack in the caller's
// own loop: it turns inside these calls, in those that wait and once in those that would answer
// EAGAIN; `mr_turn` turns it for a program that is busy elsewhere.
// Descriptors: dense from `MR_DESCRIPTOR_MIN` on, the lowest that is free; none is ever one of the
// kernel's (which end below it, see /proc/sys/fs/nr_open).
// In a turn (a callback of the native API) what would wait or turn answers EDEADLK.
// Signals: SIGPIPE is never raised, all calls behave as with MSG_NOSIGNAL; a signal handler does
// not end a wait (there is no EINTR).
//
//     mr_context *context = mr_context_create(toml, why, sizeof why);
//     int s = mr_socket(AF_INET, SOCK_STREAM, 0);
//     mr_connect(s, (struct sockaddr *)&server, sizeof server);
//     mr_send(s, "hello", 5, 0);
#pragma once

#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MR_DESCRIPTOR_MIN (1 << 20)

typedef struct mr_context mr_context;

/** Starts a stack from a configuration (TOML, of one core; see config/) and enters it. Null where
    that cannot be; then `why` says cause and remedy. */
mr_context *mr_context_create(const char *toml, char *why, size_t why_size);
/** The same from a file. */
mr_context *mr_context_load(const char *path, char *why, size_t why_size);
/** Closes its sockets and ends it: what was sent has a tenth of a second to leave, then it is lost
    without a word. Nothing happens on another thread than its own, or within a turn. */
void mr_context_destroy(mr_context *context);
/** The calling thread's calls are about this context from now on; null: about none. */
void mr_context_enter(mr_context *context);
/** One turn of the loop. 1 if there was anything to do, 0 if not, -1: EDEADLK, ENXIO. */
int mr_turn(void);

/** A counter of the calling thread's context by its name, Linux's where it has one, say
    "TcpRetransSegs" (lib/observe/counters.h). -1: ENOENT, ENXIO. Cost: a walk over the names. */
int64_t mr_counter(const char *name);

/** AF_INET and AF_INET6; SOCK_STREAM (TCP) or SOCK_DGRAM (UDP), with SOCK_NONBLOCK and SOCK_CLOEXEC
    (which has no effect: descriptors do not outlive exec). EAFNOSUPPORT, EPROTONOSUPPORT,
    ESOCKTNOSUPPORT, EINVAL, EMFILE, ENOBUFS (max_udp_sockets). */
int mr_socket(int domain, int type, int protocol);
/** Linux's rules of SO_REUSEADDR, SO_REUSEPORT and IPV6_V6ONLY; TCP and UDP have ports of their
    own. Port 0: any of ip_local_port_range. EADDRINUSE, EADDRNOTAVAIL, EINVAL, EAFNOSUPPORT,
    EBADF. */
int mr_bind(int socket, const struct sockaddr *address, socklen_t size);
/** The backlog is bounded by somaxconn. EADDRINUSE, EINVAL, EOPNOTSUPP (datagrams), EBADF. */
int mr_listen(int socket, int backlog);
/** EAGAIN, EINVAL (it does not listen), EMFILE (the connection stays in the queue), EOPNOTSUPP
    (datagrams), EBADF. */
int mr_accept(int socket, struct sockaddr *address, socklen_t *size);
/** The same, with SOCK_NONBLOCK and SOCK_CLOEXEC for the new socket. */
int mr_accept4(int socket, struct sockaddr *address, socklen_t *size, int flags);
/** Waits for the handshake, at most SO_SNDTIMEO; EINPROGRESS on a non-blocking socket, EALREADY
    while that lasts. AF_UNSPEC ends what there is. A datagram socket is connected at once: it hears
    that peer alone, sends to it by default and is told of ICMP's errors. ECONNREFUSED, ETIMEDOUT,
    EHOSTUNREACH, ENETUNREACH, EADDRNOTAVAIL, EISCONN, EACCES (broadcast without SO_BROADCAST),
    EAFNOSUPPORT, EINVAL, EBADF. */
int mr_connect(int socket, const struct sockaddr *address, socklen_t size);
/** SHUT_RD, SHUT_WR, SHUT_RDWR. ENOTCONN, EINVAL, EBADF. */
int mr_shutdown(int socket, int how);
/** SO_LINGER says what becomes of what was sent; without it, it is sent. EBADF. */
int mr_close(int socket);

int mr_getsockname(int socket, struct sockaddr *address, socklen_t *size);
/** ENOTCONN. */
int mr_getpeername(int socket, struct sockaddr *address, socklen_t *size);

/** Options of SOL_SOCKET, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_IP and IPPROTO_IPV6: the table in
    README.md beside this file says what becomes of each. ENOPROTOOPT for what is not honoured.
    EINVAL, EDOM, ENOENT (TCP_CONGESTION), EBADF, ENOTSOCK. */
int mr_setsockopt(int socket, int level, int name, const void *value, socklen_t size);
/** Those, and SO_ERROR, SO_TYPE, SO_DOMAIN, SO_PROTOCOL, SO_ACCEPTCONN, SO_INCOMING_CPU, TCP_INFO,
    IP_MTU, IPV6_MTU. ENOTCONN, ENOPROTOOPT, EBADF, ENOTSOCK. */
int mr_getsockopt(int socket, int level, int name, void *value, socklen_t *size);

/** MSG_DONTWAIT, MSG_MORE, MSG_NOSIGNAL, MSG_OOB; another flag: EOPNOTSUPP. A blocking socket
    sends all of it; a datagram socket makes one datagram of it, with MSG_MORE (and UDP_CORK)
    together with what is sent next. EAGAIN, EPIPE, ENOTCONN, the connection's error, EBADF,
    ENOTSOCK; of datagrams EDESTADDRREQ, EMSGSIZE, EACCES, ENETUNREACH, EADDRNOTAVAIL, ENODEV,
    ENOBUFS, and no MSG_OOB. Copies. A datagram leaves when the loop turns. */
ssize_t mr_send(int socket, const void *data, size_t size, int flags);
ssize_t mr_write(int socket, const void *data, size_t size);
/** A stream goes where it is connected to: the address is not looked at, as in Linux. A scope
    (sin6_scope_id, the number of a port in the configuration from 1 on) is that of a group. */
ssize_t mr_sendto(int socket, const void *data, size_t size, int flags, const struct sockaddr *to,
                  socklen_t to_size);
/** EINVAL for more than 1024 pieces. */
ssize_t mr_writev(int socket, const struct iovec *pieces, int count);
/** EMSGSIZE for more than 1024 pieces. Control data of datagrams: IP_PKTINFO, IP_TTL, IP_TOS,
    IPV6_PKTINFO, IPV6_HOPLIMIT, IPV6_TCLASS, else EINVAL; of streams: EOPNOTSUPP. */
ssize_t mr_sendmsg(int socket, const struct msghdr *message, int flags);
/** Several messages, at most 1024; answers how many were sent, each `msg_len` says how much of it.
    The error of the first alone. */
struct mmsghdr;
int mr_sendmmsg(int socket, struct mmsghdr *messages, unsigned count, int flags);

/** MSG_DONTWAIT, MSG_PEEK, MSG_WAITALL, MSG_TRUNC (drops instead of copying), MSG_OOB (EINVAL
    where there is no urgent byte), MSG_ERRQUEUE (what IP_RECVERR keeps; EAGAIN); another flag:
    EOPNOTSUPP. 0: the peer has closed its side. EAGAIN, ENOTCONN, the connection's error, EBADF,
    ENOTSOCK. What came before a reset can be read after it. Copies. */
ssize_t mr_recv(int socket, void *data, size_t size, int flags);
ssize_t mr_read(int socket, void *data, size_t size);
/** A stream names no sender: `from_size` becomes 0. Of a datagram, what there is no room for is
    lost; with MSG_TRUNC its whole size is answered. */
ssize_t mr_recvfrom(int socket, void *data, size_t size, int flags, struct sockaddr *from,
                    socklen_t *from_size);
ssize_t mr_readv(int socket, const struct iovec *pieces, int count);
/** Control data of datagrams: IP_PKTINFO, IP_TTL, IP_TOS, IPV6_PKTINFO, IPV6_HOPLIMIT,
    IPV6_TCLASS, as the options of their names ask for, and with MSG_ERRQUEUE IP_RECVERR or
    IPV6_RECVERR; MSG_TRUNC and MSG_CTRUNC say what was cut. */
ssize_t mr_recvmsg(int socket, struct msghdr *message, int flags);
struct timespec;
/** Several messages; answers how many came, each `msg_len` says how large it is. MSG_WAITFORONE: as
    many as there are behind the first. `timeout` (or null) is looked at behind each, as in Linux:
    it ends no wait. The error of the first alone; EINVAL. */
int mr_recvmmsg(int socket, struct mmsghdr *messages, unsigned count, int flags,
                const struct timespec *timeout);

/** Received data, or data to be sent, where it lies: three words that own a share of it. Each is to
    be sent or released once; it may be released on any thread, also when its context is gone. */
struct mr_slice {
    const void *data; /**< it and `size` may be moved to the part that matters */
    size_t size;      /**< bytes */
    void *owner;      /**< the library's; null in an empty slice */
};
/** The most slices that one call hands over. */
#define MR_SLICES_MAX 64

/** Receives without a copy: into `slices`, at most `*count`, which says how many there are then.
    The window opens by mr_consumed alone. MSG_DONTWAIT; answers and errors as mr_recv, SO_RCVLOWAT
    does not count. What ends at an urgent byte may be a copy. EINVAL for no room, EOPNOTSUPP. */
ssize_t mr_recv_slices(int socket, struct mr_slice *slices, size_t *count, int flags);
/** So many bytes of what mr_recv_slices has handed over are done with: the window may open. EINVAL
    for more than that, EOPNOTSUPP (datagrams), EBADF, ENOTSOCK. */
int mr_consumed(int socket, size_t size);
/** Lets go of a slice, which is empty then. It opens no window. Any thread. */
void mr_slice_release(struct mr_slice *slice);
/** Sends without a copy, slice by slice: those that were taken are empty then, the others as they
    were. The send buffer may be exceeded by less than one slice. MSG_DONTWAIT, MSG_MORE; answers
    and errors as mr_send. EINVAL for one that lies outside of what it owns, EOPNOTSUPP. Copied
    after all is what comes in more than eight pieces a segment, what was received while receive
    buffers are short, and memory of regions where a port reads by DMA. */
ssize_t mr_send_slices(int socket, struct mr_slice *slices, size_t count, int flags);

/** Memory of the program's own, from which slices are cut to be sent; it must stay as it is until
    `released(argument)` is called: once, on the thread that lets go last, when the region is
    destroyed and the last slice of it acknowledged or released. `released` may be null. Any
    thread. */
typedef struct mr_region mr_region;
mr_region *mr_region_create(const void *memory, size_t size, void (*released)(void *argument),
                            void *argument);
/** Slices of it live on. Any thread. */
void mr_region_destroy(mr_region *region);
/** A slice of at most 32768 bytes. EINVAL, ENOBUFS where no buffer is left to refer to it. */
int mr_region_slice(const mr_region *region, size_t offset, size_t size, struct mr_slice *slice);
/** Sends a file of the kernel's, mapped, without a copy: as Linux's, of regular files only. Who
    truncates the file meanwhile kills the program (SIGBUS). A file that tells no size, as those of
    /proc, has nothing to be sent. EBADF, EINVAL, what mmap answers (ENOMEM, EACCES, ENODEV as
    EINVAL), else as mr_send. */
ssize_t mr_sendfile(int socket, int file, off_t *offset, size_t count);

/** F_GETFL and F_SETFL for O_NONBLOCK, F_GETFD and F_SETFD for FD_CLOEXEC (which is always so).
    EINVAL for another command, EBADF. */
int mr_fcntl(int descriptor, int command, ...);
/** FIONBIO, FIONREAD (SIOCINQ; of datagrams: the next one's size), SIOCOUTQ, and of streams
    SIOCOUTQNSD and SIOCATMARK; an `int *` follows. EINVAL, EFAULT, ENOTTY, EBADF, ENOTSOCK. */
int mr_ioctl(int socket, unsigned long request, ...);

/** Sockets and epoll sets of this context; other descriptors: POLLNVAL. POLLIN, POLLPRI, POLLOUT,
    POLLRDHUP, POLLHUP, POLLERR, as Linux reports them. `timeout` in ms, negative: none. */
int mr_poll(struct pollfd *descriptors, nfds_t count, int timeout);

/** A set of descriptors to wait for. EINVAL, EMFILE. */
int mr_epoll_create(int size);
/** EPOLL_CLOEXEC, which is always so. */
int mr_epoll_create1(int flags);
/** Sockets and sets of this context, and descriptors of the kernel's. EPOLLIN, EPOLLOUT, EPOLLPRI,
    EPOLLRDHUP, EPOLLERR, EPOLLHUP; EPOLLET, EPOLLONESHOT, EPOLLEXCLUSIVE. A descriptor that is
    closed leaves the set. EBADF, EEXIST, EINVAL, ELOOP, ENOENT, EPERM (a kernel's file). */
int mr_epoll_ctl(int set, int operation, int descriptor, struct epoll_event *event);
/** `timeout` in ms, negative: none. Where kernel descriptors are in the set, each turn of the loop
    asks the kernel for them. EBADF, EFAULT, EINVAL. */
int mr_epoll_wait(int set, struct epoll_event *events, int count, int timeout);

#ifdef __cplusplus
}
#endif
