// The first head that an HTTP proxy reads (RFC 9112 section 3.2): whom it is for, and what he gets.
#pragma once

#ifdef __cplusplus
#include <cstdio>
#include <cstring>
#else
#include <stdio.h>
#include <string.h>
#endif

#define PROXY_HEAD_MAX ((size_t)8192)
#define PROXY_BAD_REQUEST "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"
#define PROXY_BAD_GATEWAY "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"
#define PROXY_ESTABLISHED "HTTP/1.1 200 Connection established\r\n\r\n"

struct proxy_request {
    char authority[80];               /* "10.0.0.1:80" or "[fd00::1]:80" */
    int is_tunnel;                    /* CONNECT: the client is told PROXY_ESTABLISHED */
    size_t taken;                     /* bytes of the head for which `head` stands in */
    char head[PROXY_HEAD_MAX + 64];   /* what the server gets first, empty for a tunnel */
};

/* 1: read; 0: the head is not complete; -1: not for a proxy. One request a connection. */
static inline int read_proxy_request(const char *data, size_t size, struct proxy_request *out) {
    char text[PROXY_HEAD_MAX + 1], method[16], target[PROXY_HEAD_MAX];
    const size_t kept = size < PROXY_HEAD_MAX ? size : PROXY_HEAD_MAX;
    memcpy(text, data, kept);
    text[kept] = '\0';
    const char *const end = strstr(text, "\r\n\r\n");
    if (end == NULL) return size < PROXY_HEAD_MAX ? 0 : -1;
    int line = 0;
    if (sscanf(text, "%15s %8191s HTTP/1.1%n", method, target, &line) != 2 || line == 0) return -1;
    /* White space is anything to sscanf: the line has to end where it seems to. */
    if (text + line > end || strncmp(text + line, "\r\n", 2) != 0) return -1;
    out->is_tunnel = strcmp(method, "CONNECT") == 0;
    const char *host = target;
    if (!out->is_tunnel) {
        if (strncmp(target, "http://", 7) != 0) return -1;
        host += 7;
    }
    const size_t length = strcspn(host, "/");
    const char *const path = host[length] == '/' ? host + length : "/";
    if (length == 0 || length > 60) return -1;
    snprintf(out->authority, sizeof(out->authority), "%.*s", (int)length, host);
    const char *const bracket = strchr(out->authority, ']');
    if (strchr(bracket != NULL ? bracket : out->authority, ':') == NULL)
        strcat(out->authority, ":80");
    out->taken = out->is_tunnel ? (size_t)(end - text) + 4 : (size_t)line + 2;
    out->head[0] = '\0';
    if (!out->is_tunnel)
        snprintf(out->head, sizeof(out->head), "%s %s HTTP/1.1\r\nConnection: close\r\n", method,
                 path);
    return 1;
}
