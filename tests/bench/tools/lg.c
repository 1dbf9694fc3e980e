/* lg.c - load generator for HTTP/1.1 proxies with Server-Sent Events, which checks every stream. One thread, epoll.
 *
 *   lg [-u 127.0.0.1:8080/v1/chat/completions] [-c connections] [-d seconds] [-w warmup_s] [-r requests_per_s] [-g ramp_s] [-s]
 *      [-n events] [-b body | -f body_file] [-H 'Name: value']... [-V count] [-P pid[,pid...]] [-m max_requests]
 *
 *   -s   ask for a stream (the default body gets "stream":true and include_usage) and check it
 *   -n   content events that every stream must have (0: do not check the number)
 *   -r   open loop: requests start on a fixed timetable, and latency counts from the planned start, so that a stall is not left
 *        out. Without -r each connection sends its next request when the last one ended (closed loop).
 *   -g   spread the start of the connections over so many seconds (closed loop)
 *   -V   every @@@@@@@ in path, headers and body is another number of 7 digits for each request, 0 to count-1 in turn
 *   -P   processes whose CPU time (user + system, with their threads) and resident memory to report, together and one by one
 *   -m   stop after so many requests
 *
 * Requests that run when the time is up may end (3 s). Prints one JSON object; times in microseconds.
 * Stream checks: status 200, every content event carries n= in order from 0, data: [DONE] seen, chunked framing ended. The delay of
 * an event is now minus the t= that mock.c wrote into it. `frames` counts HTTP chunks: one for each of the provider's, if a proxy
 * neither joins nor cuts them. Exit status 1 when any request failed.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

typedef struct { uint32_t *v; size_t n, cap; } samples;      /* in units of 0.1 us */
static void add(samples *s, uint64_t ns) {
    if (s->n == s->cap) { s->cap = s->cap ? s->cap * 2 : 65536; s->v = realloc(s->v, s->cap * 4); }
    uint64_t x = ns / 100; s->v[s->n++] = x > 0xffffffffu ? 0xffffffffu : x;
}
static int cmp(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b; return x < y ? -1 : x > y;
}
static double pct(samples *s, double p) {                      /* us; s is sorted */
    if (!s->n) return 0;
    size_t i = (size_t)ceil(p * s->n); if (i) i--; return s->v[i] / 10.0;
}
static uint64_t now_ns(void) {
    struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000ull + t.tv_nsec;
}

enum { IDLE, CONNECTING, HEAD, BODY };
enum { ID, SIZE, DATA, CRLF, TRAILER };                       /* body framing */
typedef struct {
    int fd, state, frame, status, keep, got_done, bad, events;
    int64_t left;                                              /* of the body or the chunk */
    uint64_t start, first;
    size_t sent;
    char *own;                                                 /* this connection's copy of the request (-V) */
    char head[8192]; int head_len;
    char line[64]; int line_len;
    char *ev; int ev_len, ev_cap;
} conn;

static int ep, n_conn = 1, streaming, want_events = -1;
static double secs = 5, warm = 1, rate = 0, ramp = 0;
static struct sockaddr_in addr;
static char host[256] = "127.0.0.1:8080", path[1024] = "/v1/chat/completions";
static char *req; static size_t req_len;
static size_t places[16]; static int n_places; static uint64_t vary, varied;
static conn *conns;
static int *idle, n_idle;
static samples lat, ttfb, chunk;
static uint64_t ok, failed, frames, events, bytes, t_begin, t_end, reconnects, max_req, total_done;
static int measuring, stopping, in_flight, first_failure;
static uint64_t *queue; static size_t q_head, q_tail, q_cap;

static void start_request(conn *c, uint64_t planned);

static void fail(conn *c, const char *why) {
    if (measuring) failed++;
    c->bad = 1;
    if (first_failure) return;
    first_failure = 1;
    fprintf(stderr, "first failure: %s (status %d, %d events) %.*s\n", why, c->status, c->events, c->head_len > 300 ? 300 : c->head_len, c->head);
}
static void reopen(conn *c) {
    if (c->fd >= 0) { close(c->fd); reconnects++; }
    c->fd = -1;
}
static void finished(conn *c) {
    uint64_t t = now_ns();
    if (!c->bad) {
        if (c->status != 200) fail(c, "status");
        else if (streaming && !c->got_done) fail(c, "no [DONE]");
        else if (streaming && want_events > 0 && c->events != want_events) fail(c, "number of events");
    }
    if (!c->bad && measuring) { ok++; add(&lat, t - c->start); add(&ttfb, c->first - c->start); }
    total_done++;
    in_flight--;
    if (!c->keep || c->bad) reopen(c);
    c->state = IDLE;
    if (stopping || (max_req && total_done + in_flight >= max_req)) return;
    if (rate > 0) {
        if (q_head != q_tail) start_request(c, queue[q_head++ % q_cap]);
        else idle[n_idle++] = c - conns;
    } else start_request(c, t);
}

static void event(conn *c, uint64_t t) {                        /* one SSE event without its blank line */
    char *p = c->ev; int n = c->ev_len;
    if (n < 6 || memcmp(p, "data:", 5)) return;
    p += 5; n -= 5; while (n && *p == ' ') { p++; n--; }
    if (n >= 6 && !memcmp(p, "[DONE]", 6)) { c->got_done = 1; return; }
    char *m = memmem(p, n, "n=", 2);
    if (!m || p + n - m < 29 || memcmp(m + 7, " t=", 3)) return;  /* role, finish or usage event */
    if (atoi(m + 2) != c->events) { if (!c->bad) fail(c, "event out of order"); return; }
    c->events++;
    if (measuring) { uint64_t sent = strtoull(m + 10, NULL, 10); events++; add(&chunk, t > sent ? t - sent : 0); }
}
static void sse(conn *c, const char *p, size_t n, uint64_t t) {
    while (n) {
        const char *nl = memchr(p, '\n', n);
        size_t k = nl ? (size_t)(nl - p + 1) : n;
        if (c->ev_len + (int)k > c->ev_cap) { c->ev_cap = (c->ev_len + k) * 2 + 512; c->ev = realloc(c->ev, c->ev_cap); }
        memcpy(c->ev + c->ev_len, p, k); c->ev_len += k; p += k; n -= k;
        if (!nl) return;
        int len = c->ev_len;
        if (len == 1 || (len == 2 && c->ev[0] == '\r')) { c->ev_len = 0; continue; }
        if (len >= 2 && c->ev[len - 1] == '\n' && c->ev[len - 2] == '\n') { event(c, t); c->ev_len = 0; }
        else if (len >= 4 && !memcmp(c->ev + len - 4, "\r\n\r\n", 4)) { event(c, t); c->ev_len = 0; }
        else if (n == 0) return;
    }
}

/* returns 1 when the answer is complete */
static int body(conn *c, const char *p, size_t n, uint64_t t) {
    while (n) {
        if (c->frame == ID) {
            size_t k = c->left >= 0 && (int64_t)n > c->left ? (size_t)c->left : n;
            if (streaming) sse(c, p, k, t);
            if (c->left >= 0) { c->left -= k; if (!c->left) return 1; }
            p += k; n -= k;
        } else if (c->frame == DATA) {
            size_t k = (int64_t)n > c->left ? (size_t)c->left : n;
            if (streaming) sse(c, p, k, t);
            c->left -= k; p += k; n -= k;
            if (!c->left) { c->frame = CRLF; c->left = 2; }
        } else if (c->frame == CRLF) {
            p++; n--; if (!--c->left) { c->frame = SIZE; c->line_len = 0; }
        } else {                                               /* SIZE or TRAILER line */
            char ch = *p++; n--;
            if (c->line_len < 63) c->line[c->line_len++] = ch;
            if (ch != '\n') continue;
            c->line[c->line_len] = 0;
            if (c->frame == SIZE) {
                c->left = strtol(c->line, NULL, 16);
                if (measuring && c->left) frames++;
                c->frame = c->left ? DATA : TRAILER; c->line_len = 0;
            } else { if (c->line_len <= 2) return 1; c->line_len = 0; }
        }
    }
    return 0;
}

static void on_read(conn *c) {
    static char buf[1 << 18];
    for (;;) {
        ssize_t k = recv(c->fd, buf, sizeof buf, 0);
        if (k < 0 && errno == EAGAIN) return;
        if (k <= 0) {
            if (c->state == IDLE) { reopen(c); return; }
            if (c->state == BODY && c->frame == ID && c->left < 0) { c->keep = 0; finished(c); return; }
            fail(c, k ? strerror(errno) : "closed early"); finished(c); return;
        }
        if (c->state == IDLE) { reopen(c); return; }
        uint64_t t = now_ns();
        if (measuring) bytes += k;
        char *p = buf; size_t n = k;
        if (c->state == HEAD) {
            if (!c->first) c->first = t;
            size_t room = sizeof c->head - 1 - c->head_len, m = n < room ? n : room;
            int before = c->head_len;
            memcpy(c->head + c->head_len, p, m); c->head_len += m; c->head[c->head_len] = 0;
            char *end = strstr(c->head, "\r\n\r\n");
            if (!end) { if (m < n) { fail(c, "head too long"); finished(c); return; } continue; }
            size_t hl = end + 4 - c->head; p += hl - before; n -= hl - before;
            *end = 0; c->head_len = hl - 4;
            c->status = atoi(c->head + 9);
            c->left = -1; c->frame = ID; c->keep = memcmp(c->head, "HTTP/1.0", 8) != 0;
            char *h = strcasestr(c->head, "\r\ncontent-length:"); if (h) c->left = atoll(h + 17);
            if ((h = strcasestr(c->head, "\r\ntransfer-encoding: chunked"))) { c->frame = SIZE; c->line_len = 0; }
            if (strcasestr(c->head, "\r\nconnection: close")) c->keep = 0;
            c->state = BODY;
            if (c->frame == ID && c->left == 0) { finished(c); return; }
            c->first = t;
        }
        if (body(c, p, n, t)) { finished(c); return; }
        if (k < (ssize_t)sizeof buf) return;
    }
}

static void push(conn *c) {
    while (c->sent < req_len) {
        ssize_t k = send(c->fd, (c->own ? c->own : req) + c->sent, req_len - c->sent, MSG_NOSIGNAL);
        if (k < 0) {
            struct epoll_event e = {.events = EPOLLIN | EPOLLOUT, .data.u32 = c - conns};
            if (errno == EAGAIN) { epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &e); return; }
            fail(c, "send"); finished(c); return;
        }
        c->sent += k;
    }
}
static void write_number(conn *c) {
    if (!c->own) { c->own = malloc(req_len); memcpy(c->own, req, req_len); }
    char digits[24]; snprintf(digits, sizeof digits, "%07llu", (unsigned long long)(varied++ % vary));
    for (int i = 0; i < n_places; i++) memcpy(c->own + places[i], digits, 7);
}
static void start_request(conn *c, uint64_t planned) {
    in_flight++;
    if (vary) write_number(c);
    c->start = planned; c->first = 0; c->sent = 0; c->head_len = 0; c->ev_len = 0; c->events = 0;
    c->got_done = c->bad = c->status = 0; c->keep = 1;
    if (c->fd < 0) {
        int one = 1;
        c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        if (connect(c->fd, (void *)&addr, sizeof addr) && errno != EINPROGRESS) { perror("connect"); exit(1); }
        struct epoll_event e = {.events = EPOLLIN | EPOLLOUT, .data.u32 = c - conns};
        epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &e);
        c->state = CONNECTING;
        return;
    }
    c->state = HEAD; push(c);
}

static long pids[64]; static int n_pids;
static double cpu_before[64], cpu_used[64], cpu;
static double cpu_of(long pid) {
    char f[64], b[2048]; sprintf(f, "/proc/%ld/stat", pid);
    FILE *fp = fopen(f, "r"); if (!fp) return 0;
    size_t n = fread(b, 1, sizeof b - 1, fp); b[n] = 0; fclose(fp);
    char *p = strrchr(b, ')'); unsigned long u = 0, s = 0;
    if (!p || sscanf(p + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &u, &s) != 2) return 0;
    return (double)(u + s) / sysconf(_SC_CLK_TCK);
}
static double rss_mb(void) {
    double sum = 0;
    for (int i = 0; i < n_pids; i++) {
        char f[64]; long a, r; sprintf(f, "/proc/%ld/statm", pids[i]);
        FILE *fp = fopen(f, "r"); if (!fp) continue;
        if (fscanf(fp, "%ld %ld", &a, &r) == 2) sum += r * (double)sysconf(_SC_PAGESIZE) / 1048576;
        fclose(fp);
    }
    return sum;
}

int main(int argc, char **argv) {
    int o; char *b = NULL, hdr[8192] = ""; size_t blen = 0;
    while ((o = getopt(argc, argv, "u:c:d:w:r:g:sn:b:f:H:V:P:m:")) != -1) switch (o) {
        case 'u': {
            char *s = optarg; if (!strncmp(s, "http://", 7)) s += 7;
            char *sl = strchr(s, '/');
            if (sl) snprintf(path, sizeof path, "%s", sl);
            snprintf(host, sizeof host, "%.*s", sl ? (int)(sl - s) : 250, s);
            break; }
        case 'c': n_conn = atoi(optarg); break;
        case 'd': secs = atof(optarg); break;
        case 'w': warm = atof(optarg); break;
        case 'r': rate = atof(optarg); break;
        case 'g': ramp = atof(optarg); break;
        case 's': streaming = 1; break;
        case 'n': want_events = atoi(optarg); break;
        case 'b': b = optarg; blen = strlen(b); break;
        case 'f': { FILE *f = fopen(optarg, "rb"); if (!f) { perror(optarg); return 2; }
            b = malloc(1 << 24); blen = fread(b, 1, 1 << 24, f); fclose(f); break; }
        case 'H': strcat(strcat(hdr, optarg), "\r\n"); break;
        case 'P': for (char *p = strtok(optarg, ","); p && n_pids < 64; p = strtok(NULL, ",")) pids[n_pids++] = atol(p); break;
        case 'V': vary = atoll(optarg); break;
        case 'm': max_req = atoll(optarg); break;
        default: fprintf(stderr, "see the head of lg.c\n"); return 2;
    }
    if (!b) {
#define ASK "{\"model\":\"gpt-4o-mini\",\"messages\":[{\"role\":\"user\",\"content\":\"Say hello to the load generator, please.\"}]"
        b = streaming ? ASK ",\"stream\":true,\"stream_options\":{\"include_usage\":true}}" : ASK "}";
        blen = strlen(b);
    }
    signal(SIGPIPE, SIG_IGN);
    req = malloc(blen + 16384);
    req_len = sprintf(req, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nAccept: */*\r\n"
                           "User-Agent: lg\r\n%sContent-Length: %zu\r\n\r\n", path, host, hdr, blen);
    memcpy(req + req_len, b, blen); req_len += blen;
    for (char *p = req; vary && n_places < 16 && (p = memmem(p, req + req_len - p, "@@@@@@@", 7)); p += 7)
        places[n_places++] = p - req;
    char *col = strchr(host, ':');
    addr.sin_family = AF_INET; addr.sin_port = htons(col ? atoi(col + 1) : 80);
    char ip[64]; snprintf(ip, sizeof ip, "%.*s", col ? (int)(col - host) : 63, host);
    if (!strcmp(ip, "localhost")) strcpy(ip, "127.0.0.1");
    if (inet_pton(AF_INET, ip, &addr.sin_addr) != 1 || (ntohl(addr.sin_addr.s_addr) >> 24) != 127) {
        fprintf(stderr, "only loopback addresses\n"); return 2;
    }
    ep = epoll_create1(0);
    conns = calloc(n_conn, sizeof *conns); idle = calloc(n_conn + 1, sizeof *idle);
    q_cap = 1 << 20; queue = malloc(q_cap * 8);
    double rss0 = rss_mb();
    uint64_t t0 = now_ns(), t = t0, next = t0;
    uint64_t gap = rate > 0 ? (uint64_t)(1e9 / rate) : 0;
    t_begin = t0 + (uint64_t)(warm * 1e9); t_end = t_begin + (uint64_t)(secs * 1e9);
    for (int i = 0; i < n_conn; i++) {
        conns[i].fd = -1;
        if (rate > 0) idle[n_idle++] = i;
    }
    int started = rate > 0 ? n_conn : 0;
    double rss1 = 0; uint64_t m0 = 0, m1 = 0, grace = 0;
    struct epoll_event evs[512];
    for (;;) {
        t = now_ns();
        if (!measuring && !stopping && t >= t_begin) { 
            measuring = 1; m0 = now_ns();
            for (int i = 0; i < n_pids; i++) cpu_before[i] = cpu_of(pids[i]);
        }
        if (!stopping && (t >= t_end || (max_req && total_done >= max_req))) {
            m1 = now_ns();
            for (int i = 0; i < n_pids; i++) cpu += cpu_used[i] = cpu_of(pids[i]) - cpu_before[i];
            rss1 = rss_mb(); stopping = 1;
            measuring = 0; grace = t + 3000000000ull;
        }
        if (stopping && (!in_flight || t > grace)) break;
        if (rate > 0 && !stopping) while (next <= t) {
            if (n_idle) start_request(&conns[idle[--n_idle]], next);
            else if (q_tail - q_head < q_cap) queue[q_tail++ % q_cap] = next;
            next += gap;
        }
        if (max_req && total_done + in_flight >= max_req) started = n_conn;      /* those that run are enough */
        while (!stopping && started < n_conn && (t - t0) / 1e9 * n_conn >= ramp * started) {
            start_request(&conns[started++], t);
            if (max_req && total_done + in_flight >= max_req) started = n_conn;
        }
        uint64_t wake = stopping ? grace : (measuring ? t_end : t_begin);
        if (rate > 0 && !stopping && next < wake) wake = next;
        if (!stopping && started < n_conn && wake > t + 500000) wake = t + 500000;
        uint64_t d = wake > t ? wake - t : 0;
        struct timespec ts = {d / 1000000000ull, d % 1000000000ull};
        int n = epoll_pwait2(ep, evs, 512, &ts, NULL);
        for (int i = 0; i < n; i++) {
            conn *c = &conns[evs[i].data.u32];
            if (c->fd < 0) continue;
            if (evs[i].events & EPOLLOUT) {
                struct epoll_event e = {.events = EPOLLIN, .data.u32 = c - conns};
                epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &e);
                if (c->state == CONNECTING) {
                    int err = 0; socklen_t l = sizeof err; getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &err, &l);
                    if (err) { fprintf(stderr, "connect: %s\n", strerror(err)); return 1; }
                    c->state = HEAD;
                }
                push(c);
            }
            if (c->fd >= 0 && evs[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) on_read(c);
        }
    }
    double dt = (m1 - m0) / 1e9;
    qsort(lat.v, lat.n, 4, cmp); qsort(ttfb.v, ttfb.n, 4, cmp); qsort(chunk.v, chunk.n, 4, cmp);
    printf("{\"rps\":%.1f,\"ok\":%llu,\"failed\":%llu,\"chunks_s\":%.0f,\"mb_s\":%.2f,\"lat_us\":[%.1f,%.1f,%.1f,%.1f],"
           "\"ttfb_us\":[%.1f,%.1f,%.1f],\"chunk_us\":[%.1f,%.1f,%.1f],\"cpu_pct\":%.1f,\"cpu_us_req\":%.2f,"
           "\"cpu_us_chunk\":%.3f,\"rss0_mb\":%.1f,\"rss_mb\":%.1f,\"reconnects\":%llu,\"secs\":%.3f,"
           "\"total\":%llu,\"frames\":%llu,\"chunks\":%llu,\"cpu_s\":{",
           ok / dt, (unsigned long long)ok, (unsigned long long)failed, events / dt, bytes / dt / 1e6,
           pct(&lat, .5), pct(&lat, .95), pct(&lat, .99), pct(&lat, 1), pct(&ttfb, .5), pct(&ttfb, .95), pct(&ttfb, .99),
           pct(&chunk, .5), pct(&chunk, .95), pct(&chunk, .99), dt > 0 ? cpu / dt * 100 : 0,
           ok ? cpu * 1e6 / ok : 0, events ? cpu * 1e6 / events : 0, rss0, rss1, (unsigned long long)reconnects, dt,
           (unsigned long long)total_done, (unsigned long long)frames, (unsigned long long)events);
    for (int i = 0; i < n_pids; i++) printf("%s\"%ld\":%.2f", i ? "," : "", pids[i], cpu_used[i]);
    printf("}}\n");
    return failed || !ok;
}
