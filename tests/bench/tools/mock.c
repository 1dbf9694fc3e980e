/* mock.c - a provider that costs next to nothing: OpenAI chat completions, one thread, epoll (3 us an answer, 1.7 us a chunk).
 *
 *   mock -p PORT [-n chunks] [-s chunk_bytes] [-d delay_us] [-b body_bytes] [-l latency_us] [-v]
 *
 * POST <any path>  body has "stream":true  -> SSE of n chunks (a usage chunk when the body has "include_usage":true), data: [DONE]
 *                  otherwise               -> one JSON answer with usage, body_bytes long
 * GET /_set?chunks=&size=&delay_us=&body=&latency_us=&tokens=&vary=     settings of the answers that begin from now on; tokens:
 *                  output that a whole answer reports; reset=1 begins `most_busy` (most answers in hand at once) anew
 * GET /_stats      counters as JSON: answers, streams, chunks sent, streams whose client left, open connections; and THE BOOK: the sums
 *                  of all usage that was sent. With vary (-v) every answer reports other numbers, so that no error can cancel out.
 * GET <any other>  200
 *
 * Every SSE event is one HTTP chunk and one send(), with TCP_NODELAY. Its text is "n=00042 t=<19 digits>": place in the stream and
 * CLOCK_MONOTONIC nanoseconds of the send; lg.c takes order, completeness and the delay of each chunk from it.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
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

typedef unsigned long long ull;

static int conf_chunks = 100, conf_size = 180, conf_body = 600, conf_tokens = 21, conf_vary;
static long conf_delay_us, conf_latency_us;
static uint64_t st_requests, st_answers, st_streams, st_chunks, st_aborted, st_conns, st_open, st_busy, st_most_busy;
static uint64_t book_input, book_cached, book_output, book_reasoning;

enum { READING, STREAMING };

typedef struct { int input, cached, output, reasoning; } usage;

typedef struct conn {
    int fd, state, is_busy, want_usage, is_last, n, total, size, in_timer, waiting_out, closed, in_ready;
    long delay_us;
    uint64_t due;                     /* ns */
    struct conn *next, *prev;         /* in the timer list */
    struct conn *rnext;               /* in the ready list */
    char *in; size_t in_len, in_cap;
    char *out; size_t out_len, out_off, out_cap;
} conn;

static int ep;
static conn timers;                   /* in order of due time; nearly all use one delay, so inserting from the tail stops at once */
static conn *ready_head, *ready_tail, *dead;

static uint64_t now_ns(void) {
    struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000ull + t.tv_nsec;
}

static void timer_add(conn *c, uint64_t due) {
    conn *p = timers.prev;
    while (p != &timers && p->due > due) p = p->prev;
    c->due = due; c->prev = p; c->next = p->next; p->next->prev = c; p->next = c; c->in_timer = 1;
}
static void timer_del(conn *c) {
    if (!c->in_timer) return;
    c->prev->next = c->next; c->next->prev = c->prev; c->in_timer = 0;
}
static void ready_add(conn *c) {
    if (c->in_ready) return;
    c->in_ready = 1; c->rnext = NULL;
    if (ready_tail) ready_tail->rnext = c; else ready_head = c;
    ready_tail = c;
}
static void set_busy(conn *c, int is_busy) {
    if (c->is_busy == is_busy) return;
    c->is_busy = is_busy;
    st_busy += is_busy ? 1 : -1;
    if (st_busy > st_most_busy) st_most_busy = st_busy;
}
static void conn_close(conn *c) {
    if (c->closed) return;
    if (c->state == STREAMING) st_aborted++;
    timer_del(c); set_busy(c, 0);
    close(c->fd); c->closed = 1; st_open--;
    c->next = dead; dead = c;          /* freed when no list can hold it any more */
}

static void out_add(conn *c, const char *p, size_t n) {
    if (c->out_len + n > c->out_cap) { c->out_cap = (c->out_len + n) * 2; c->out = realloc(c->out, c->out_cap); }
    memcpy(c->out + c->out_len, p, n); c->out_len += n;
}
static void watch(conn *c, uint32_t events) {
    struct epoll_event e = {.events = events | EPOLLIN | EPOLLRDHUP, .data.ptr = c};
    epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &e);
}
/* 0: all sent; 1: socket full; -1: closed */
static int out_flush(conn *c) {
    while (c->out_off < c->out_len) {
        ssize_t n = send(c->fd, c->out + c->out_off, c->out_len - c->out_off, MSG_NOSIGNAL);
        if (n < 0) {
            if (errno != EAGAIN) { conn_close(c); return -1; }
            if (!c->waiting_out) { watch(c, EPOLLOUT); c->waiting_out = 1; }
            return 1;
        }
        c->out_off += n;
    }
    c->out_len = c->out_off = 0;
    if (c->state == READING && !c->in_timer) set_busy(c, 0);
    return 0;
}

/* What an answer used, entered into the book. All numbers keep their length, so that the answer's length is fixed. */
static usage used(int output) {
    static uint64_t seed = 88172645463325252ull;
    usage u = {19, 0, output, 0};
    if (conf_vary) {
        seed ^= seed << 13; seed ^= seed >> 7; seed ^= seed << 17;
        u.input = 1000 + seed % 9000; u.cached = 100 + (seed >> 16) % 800;
        u.output = 100 + (seed >> 32) % 900; u.reasoning = 10 + (seed >> 48) % 90;
    }
    book_input += u.input; book_cached += u.cached; book_output += u.output; book_reasoning += u.reasoning;
    return u;
}
static int usage_json(char *to, size_t room, usage u) {
    return snprintf(to, room, "\"usage\":{\"prompt_tokens\":%d,\"completion_tokens\":%d,\"total_tokens\":%d,"
        "\"prompt_tokens_details\":{\"cached_tokens\":%d},\"completion_tokens_details\":{\"reasoning_tokens\":%d}}",
        u.input, u.output, u.input + u.output, u.cached, u.reasoning);
}

/* The whole answer's text is made once per body size; after that only its usage is written anew. */
static char *whole; static size_t whole_len, usage_at; static int whole_for = -1, whole_usage_len;
static void make_whole(int tail_len) {
    static const char before[] = "{\"id\":\"chatcmpl-mock000000000000000001\",\"object\":\"chat.completion\",\"created\":1700000000,"
        "\"model\":\"gpt-4o-mini\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"";
    static const char after[] = "\",\"refusal\":null},\"logprobs\":null,\"finish_reason\":\"stop\"}],";
    static const char end[] = ",\"system_fingerprint\":\"fp_mock\"}";
    int fixed = sizeof before + sizeof after + sizeof end - 3 + tail_len, pad = conf_body > fixed ? conf_body - fixed : 0;
    whole = realloc(whole, fixed + pad + 400);
    size_t n = sprintf(whole, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
        "x-request-id: req_mock\r\nopenai-processing-ms: 1\r\n\r\n%s", fixed + pad, before);
    for (int i = 0; i < pad; i++) whole[n++] = "Lorem ipsum dolor sit amet "[i % 27];
    n += sprintf(whole + n, "%s", after);
    usage_at = n;
    whole_len = n + tail_len + sprintf(whole + n + tail_len, "%s", end);
    whole_for = conf_body; whole_usage_len = tail_len;
}
static void answer_whole(conn *c) {
    char tail[512];
    int tail_len = usage_json(tail, sizeof tail, used(conf_tokens));
    if (whole_for != conf_body || whole_usage_len != tail_len) make_whole(tail_len);
    memcpy(whole + usage_at, tail, tail_len);
    out_add(c, whole, whole_len);
    st_answers++;
}

static char pad_text[65536];
#define EVENT "data: {\"id\":\"chatcmpl-mock01\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"gpt-4o-mini\","
static void stream_event(conn *c) {          /* append the next event to out */
    char ev[66000]; int n;
    if (c->n < c->total) {
        static const char head[] = EVENT "\"choices\":[{\"index\":0,\"delta\":{\"content\":\"", tail[] = "\"}}]}\n\n";
        n = sizeof head - 1; memcpy(ev, head, n);
        n += sprintf(ev + n, "n=%05d t=%019llu", c->n % 100000, (ull)now_ns());
        int pad = c->size - n - (int)sizeof tail + 1;
        if (pad > 0) { memcpy(ev + n, pad_text, pad); n += pad; }
        memcpy(ev + n, tail, sizeof tail - 1); n += sizeof tail - 1;
        st_chunks++;
    } else if (c->n == c->total) {
        n = sprintf(ev, EVENT "\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n");
    } else if (c->n == c->total + 1 && c->want_usage) {
        char text[512]; usage_json(text, sizeof text, used(c->total));
        n = sprintf(ev, EVENT "\"choices\":[],%s}\n\n", text);
    } else {
        n = sprintf(ev, "data: [DONE]\n\n");
        c->is_last = 1; st_answers++;
    }
    char h[16]; int hn = sprintf(h, "%x\r\n", n);
    out_add(c, h, hn); out_add(c, ev, n); out_add(c, "\r\n", 2);
    if (c->is_last) out_add(c, "0\r\n\r\n", 5);
    c->n++;
}

static int parse(conn *c);
/* send what is due on a stream: one event, then wait for the delay or for the next turn */
static void stream_step(conn *c) {
    if (c->closed || out_flush(c)) return;    /* a full socket goes on at EPOLLOUT */
    if (c->is_last) { c->state = READING; c->is_last = 0; set_busy(c, 0); parse(c); return; }
    stream_event(c);
    if (out_flush(c)) return;
    if (!c->is_last && c->delay_us && c->n <= c->total) timer_add(c, c->due + c->delay_us * 1000ull);
    else ready_add(c);
}

static long number(const char *line, const char *name, long otherwise) {
    const char *at = strstr(line, name);
    return at ? atol(at + strlen(name)) : otherwise;
}
static void answer_get(conn *c, const char *head, size_t head_len) {
    char line[1024]; size_t n = 0;
    while (n < head_len && n < sizeof line - 1 && head[n] != '\r') { line[n] = head[n]; n++; }
    line[n] = 0;
    if (strstr(line, "/_set")) {
        conf_chunks = number(line, "chunks=", conf_chunks); conf_size = number(line, "size=", conf_size);
        conf_delay_us = number(line, "delay_us=", conf_delay_us); conf_body = number(line, "body=", conf_body);
        conf_latency_us = number(line, "latency_us=", conf_latency_us); conf_vary = number(line, "vary=", conf_vary);
        conf_tokens = number(line, "tokens=", conf_tokens);
        if (number(line, "reset=", 0)) st_most_busy = st_busy;
        if (conf_size > 60000) conf_size = 60000;
        if (conf_body > 16000000) conf_body = 16000000;
    }
    char b[768], h[128];
    int bn = sprintf(b, "{\"requests\":%llu,\"answers\":%llu,\"streams\":%llu,\"chunks_sent\":%llu,\"aborted\":%llu,\"connections\":%llu,"
        "\"open\":%llu,\"most_busy\":%llu,\"book\":{\"input_tokens\":%llu,\"cache_read_tokens\":%llu,\"output_tokens\":%llu,\"reasoning_tokens\":%llu}}",
        (ull)st_requests, (ull)st_answers, (ull)st_streams, (ull)st_chunks, (ull)st_aborted, (ull)st_conns, (ull)st_open, (ull)st_most_busy,
        (ull)book_input, (ull)book_cached, (ull)book_output, (ull)book_reasoning);
    int hn = sprintf(h, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", bn);
    out_add(c, h, hn); out_add(c, b, bn);
}
static int is_true(const char *body, size_t len, const char *name) {
    const char *s = memmem(body, len, name, strlen(name)), *e = body + len;
    if (!s) return 0;
    for (s += strlen(name); s < e && (*s == ' ' || *s == ':'); s++);
    return e - s >= 4 && !memcmp(s, "true", 4);
}
static void answer(conn *c, const char *head, size_t head_len, const char *body, size_t body_len) {
    if (!memcmp(head, "GET ", 4)) { answer_get(c, head, head_len); return; }
    st_requests++; set_busy(c, 1);
    if (!is_true(body, body_len, "\"stream\"")) { answer_whole(c); return; }
    st_streams++;
    c->want_usage = is_true(body, body_len, "\"include_usage\"");
    c->state = STREAMING; c->is_last = c->n = 0; c->total = conf_chunks; c->size = conf_size; c->delay_us = conf_delay_us;
    static const char h[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
        "Transfer-Encoding: chunked\r\nx-request-id: req_mock\r\n\r\n";
    out_add(c, h, sizeof h - 1);
}

/* length of a whole chunked body, decoded in place into *body_len bytes; 0: not whole yet */
static size_t unchunk(char *body, char *lim, size_t *body_len) {
    char *p = body, *w = body; int whole_body = 0;
    while (!whole_body) {
        char *nl = memmem(p, lim - p, "\r\n", 2);
        if (!nl) return 0;
        size_t k = strtoul(p, NULL, 16);
        p = nl + 2;
        if ((size_t)(lim - p) < k + 2) return 0;
        p += k + 2; whole_body = k == 0;
    }
    size_t used_bytes = p - body;
    for (p = body;;) {
        char *nl = memmem(p, lim - p, "\r\n", 2);
        size_t k = strtoul(p, NULL, 16);
        p = nl + 2;
        if (!k) break;
        memmove(w, p, k); w += k; p += k + 2;
    }
    *body_len = w - body;
    return used_bytes;
}
/* take whole requests from the input; returns -1 when the connection was closed */
static int parse(conn *c) {
    while (c->state == READING && c->in_len) {
        char *end = memmem(c->in, c->in_len, "\r\n\r\n", 4);
        if (!end) return 0;
        size_t head_len = end + 4 - c->in, body_len = 0, taken;
        char *body = c->in + head_len, save = *end;
        *end = 0;
        char *cl = strcasestr(c->in, "\r\ncontent-length:"), *te = strcasestr(c->in, "\r\ntransfer-encoding:");
        *end = save;
        if (te) {
            size_t k = unchunk(body, c->in + c->in_len, &body_len);
            if (!k) return 0;
            taken = head_len + k;
        } else {
            if (cl) body_len = strtoul(cl + 17, NULL, 10);
            taken = head_len + body_len;
            if (c->in_len < taken) return 0;
        }
        answer(c, c->in, head_len, body, body_len);
        memmove(c->in, c->in + taken, c->in_len - taken); c->in_len -= taken;
        if (c->state == STREAMING) {
            c->due = now_ns();
            if (c->delay_us || conf_latency_us) {
                if (out_flush(c) < 0) return -1;
                timer_add(c, c->due + (c->delay_us + conf_latency_us) * 1000ull);
            } else ready_add(c);
        } else if (conf_latency_us) {
            timer_add(c, now_ns() + conf_latency_us * 1000ull);
            return 0;                          /* the next request waits for this answer */
        } else if (out_flush(c) < 0) return -1;
    }
    return 0;
}

static void on_accept(int ls) {
    int fd, one = 1;
    while ((fd = accept4(ls, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        conn *c = calloc(1, sizeof *c); c->fd = fd; c->in_cap = 4096; c->in = malloc(c->in_cap + 1);
        struct epoll_event e = {.events = EPOLLIN | EPOLLRDHUP, .data.ptr = c};
        epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e); st_conns++; st_open++;
    }
}
static void on_writable(conn *c) {
    watch(c, 0); c->waiting_out = 0;
    if (out_flush(c) || c->state != STREAMING || c->in_timer) return;
    uint64_t t = now_ns(); if (c->due < t) c->due = t;
    ready_add(c);
}
static void on_readable(conn *c) {
    static char rb[1 << 16];
    for (;;) {
        ssize_t k = recv(c->fd, rb, sizeof rb, 0);
        if (k < 0 && errno == EAGAIN) break;
        if (k <= 0) { conn_close(c); return; }
        if (c->in_len + k > c->in_cap) { c->in_cap = (c->in_len + k) * 2; c->in = realloc(c->in, c->in_cap + 1); }
        memcpy(c->in + c->in_len, rb, k); c->in_len += k; c->in[c->in_len] = 0;
        if (k < (ssize_t)sizeof rb) break;
    }
    if (c->state == READING && !c->in_timer) parse(c);
}
static void run_due(void) {
    uint64_t t = now_ns();
    while (timers.next != &timers && timers.next->due <= t) {
        conn *c = timers.next; timer_del(c);
        if (c->state == STREAMING) stream_step(c);
        else if (out_flush(c) == 0) parse(c);
    }
}
static void run_ready(void) {
    conn *r = ready_head; ready_head = ready_tail = NULL;
    while (r) { conn *nx = r->rnext; r->in_ready = 0; stream_step(r); r = nx; }
}
static void bury(void) {              /* a closed conn may still stand in the ready list, which looks whether it is closed */
    for (conn **pp = &dead; *pp;) {
        conn *c = *pp;
        if (c->in_ready) { pp = &c->next; continue; }
        *pp = c->next; free(c->in); free(c->out); free(c);
    }
}

int main(int argc, char **argv) {
    int port = 9000, o, one = 1;
    while ((o = getopt(argc, argv, "p:n:s:d:b:l:v")) != -1) switch (o) {
        case 'p': port = atoi(optarg); break;
        case 'n': conf_chunks = atoi(optarg); break;
        case 's': conf_size = atoi(optarg); break;
        case 'd': conf_delay_us = atol(optarg); break;
        case 'b': conf_body = atoi(optarg); break;
        case 'l': conf_latency_us = atol(optarg); break;
        case 'v': conf_vary = 1; break;
        default: fprintf(stderr, "see the head of mock.c\n"); return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    memset(pad_text, '.', sizeof pad_text);
    timers.next = timers.prev = &timers;
    int ls = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(ls, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(ls, (void *)&a, sizeof a) || listen(ls, 4096)) { perror("bind"); return 1; }
    ep = epoll_create1(0);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL}, evs[256];
    epoll_ctl(ep, EPOLL_CTL_ADD, ls, &e);
    for (;;) {
        struct timespec ts = {0, 0}, *tp = NULL;
        if (ready_head) tp = &ts;
        else if (timers.next != &timers) {
            uint64_t t = now_ns(), d = timers.next->due > t ? timers.next->due - t : 0;
            ts.tv_sec = d / 1000000000ull; ts.tv_nsec = d % 1000000000ull; tp = &ts;
        }
        int n = epoll_pwait2(ep, evs, 256, tp, NULL);
        for (int i = 0; i < n; i++) {
            conn *c = evs[i].data.ptr;
            if (!c) { on_accept(ls); continue; }
            if (!c->closed && evs[i].events & EPOLLOUT) on_writable(c);
            if (!c->closed && evs[i].events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) on_readable(c);
        }
        run_due(); run_ready(); bury();
    }
}
