/* SPDX-License-Identifier: Apache-2.0 */
/* netecho [PORT...]: answer TCP, HTTP and UDP on each port (default 8080), IPv4
 * and IPv6, with one line: name=<hostname> proto=<p> peer=<ip> pport=<n> local=<ip> port=<n>
 * It shows which pod answered and which source address it saw.
 * TCP: a request beginning with "GET " gets an HTTP response; anything else
 * (or one second of silence) gets the bare line.  The connection is then closed,
 * except that a first line "hold" keeps it open, echoing, until the client ends.
 *
 * netecho -c tcp|udp|http ADDRESS PORT [SECONDS [COUNT]]: be the client, COUNT
 * times (default 1), each on a new socket; print each answer's body.  Ends with
 * status 0 only if every try was answered in time.  (Debian's static busybox has
 * no nc -u, and its wget crashes with -T.) */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static char host[256];

static const char *addr(const struct in6_addr *a, char *b) {
    if (IN6_IS_ADDR_V4MAPPED(a)) inet_ntop(AF_INET, &a->s6_addr[12], b, 64);
    else inet_ntop(AF_INET6, a, b, 64);
    return b;
}

static int line(char *b, size_t n, const char *proto, struct sockaddr_in6 *p, struct in6_addr *l, int port) {
    char pa[64], la[64];
    return snprintf(b, n, "name=%s proto=%s peer=%s pport=%d local=%s port=%d\n", host, proto,
                    addr(&p->sin6_addr, pa), ntohs(p->sin6_port), addr(l, la), port);
}

static void serve_tcp(int c) {
    char req[4096], l[512], out[1024];
    struct sockaddr_in6 p = {0}, me = {0};
    socklen_t n = sizeof p;
    getpeername(c, (void *)&p, &n);
    n = sizeof me;
    getsockname(c, (void *)&me, &n);
    struct pollfd f = {.fd = c, .events = POLLIN};
    ssize_t r = poll(&f, 1, 1000) > 0 ? read(c, req, sizeof req - 1) : 0;
    req[r > 0 ? r : 0] = 0;
    int http = !strncmp(req, "GET ", 4);
    int k = line(l, sizeof l, http ? "http" : "tcp", &p, &me.sin6_addr, ntohs(me.sin6_port));
    if (http)
        k = snprintf(out, sizeof out, "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s", k, l);
    else
        memcpy(out, l, k);
    if (write(c, out, k) != k) return;
    if (!strncmp(req, "hold", 4))
        while ((r = read(c, req, sizeof req)) > 0 && write(c, req, r) == r) ;
    shutdown(c, SHUT_WR);
    while (poll(&f, 1, 200) > 0 && read(c, req, sizeof req) > 0) ;
}

static void serve_udp(int s, int port) {
    char buf[2048], ctl[256], l[512];
    struct sockaddr_in6 p;
    struct iovec io = {buf, sizeof buf};
    struct msghdr m = {.msg_name = &p, .msg_namelen = sizeof p, .msg_iov = &io, .msg_iovlen = 1,
                       .msg_control = ctl, .msg_controllen = sizeof ctl};
    if (recvmsg(s, &m, 0) < 0) return;
    struct in6_addr to = in6addr_any;
    struct cmsghdr *c;
    for (c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c))
        if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
            struct in6_pktinfo *i = (void *)CMSG_DATA(c);
            to = i->ipi6_addr;
            i->ipi6_ifindex = 0;    /* answer from the address asked, by any way */
        }
    io.iov_base = l;
    io.iov_len = line(l, sizeof l, "udp", &p, &to, port);
    sendmsg(s, &m, 0);
}

/* One request; 0 when answered. */
static int ask(const char *proto, const char *a, const char *portname, int secs) {
    struct sockaddr_storage ss = {0};
    struct sockaddr_in *s4 = (void *)&ss;
    struct sockaddr_in6 *s6 = (void *)&ss;
    socklen_t len;
    if (inet_pton(AF_INET, a, &s4->sin_addr) == 1) {
        s4->sin_family = AF_INET; s4->sin_port = htons(atoi(portname)); len = sizeof *s4;
    } else if (inet_pton(AF_INET6, a, &s6->sin6_addr) == 1) {
        s6->sin6_family = AF_INET6; s6->sin6_port = htons(atoi(portname)); len = sizeof *s6;
    } else return fprintf(stderr, "bad address %s\n", a), 2;
    int udp = !strcmp(proto, "udp"), http = !strcmp(proto, "http");
    int c = socket(ss.ss_family, udp ? SOCK_DGRAM : SOCK_STREAM, 0);
    struct timeval tv = {.tv_sec = secs};       /* also bounds connect() */
    setsockopt(c, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv);
    setsockopt(c, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
    char b[65536];
    const char *req = http ? "GET / HTTP/1.0\r\n\r\n" : "probe\n";
    ssize_t r = -1, n = 0;
    if (!connect(c, (void *)&ss, len) && send(c, req, strlen(req), MSG_NOSIGNAL) > 0)
        while ((r = recv(c, b + n, sizeof b - 1 - n, 0)) > 0) {
            n += r;
            if (udp) break;
        }
    if (n <= 0 || r < 0) { perror("no answer"); close(c); return 1; }
    close(c);
    b[n] = 0;
    char *body = http ? strstr(b, "\r\n\r\n") : 0;
    fputs(body ? body + 4 : b, stdout);
    return http && strncmp(b + 8, " 200", 4) ? 1 : 0;
}

int main(int argc, char **argv) {
    if (argc >= 5 && !strcmp(argv[1], "-c")) {
        int bad = 0, n = argc > 6 ? atoi(argv[6]) : 1;
        while (n-- > 0) bad |= ask(argv[2], argv[3], argv[4], argc > 5 ? atoi(argv[5]) : 3);
        return bad;
    }
    static char *def[] = {"", "8080"};
    struct pollfd f[64];
    int port[64], n = 0, one = 1, zero = 0;
    if (argc < 2) { argc = 2; argv = def; }
    gethostname(host, sizeof host - 1);
    signal(SIGCHLD, SIG_IGN);
    signal(SIGTERM, exit);
    for (int i = 1; i < argc && n < 62; i++)
        for (int t = 0; t < 2; t++) {
            struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_port = htons(atoi(argv[i]))};
            int s = socket(AF_INET6, t ? SOCK_DGRAM : SOCK_STREAM, 0);
            setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
            setsockopt(s, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof zero);
            if (t) setsockopt(s, IPPROTO_IPV6, IPV6_RECVPKTINFO, &one, sizeof one);
            if (bind(s, (void *)&a, sizeof a) || (!t && listen(s, 128))) { perror(argv[i]); return 1; }
            f[n] = (struct pollfd){.fd = s, .events = POLLIN};
            port[n++] = t ? atoi(argv[i]) : 0;
        }
    for (;;) {
        if (poll(f, n, -1) < 0) continue;
        for (int i = 0; i < n; i++) {
            if (!(f[i].revents & POLLIN)) continue;
            if (port[i]) { serve_udp(f[i].fd, port[i]); continue; }
            int c = accept(f[i].fd, 0, 0);
            if (c < 0) continue;
            if (!fork()) { serve_tcp(c); _exit(0); }
            close(c);
        }
    }
}
