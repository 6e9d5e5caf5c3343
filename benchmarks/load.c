/* The load of the end-to-end benchmarks: clients that are never what a measurement waits for.
 *
 *     load plain|tls PORT WORK CONNECTIONS AMOUNT SIZE [RATE]
 *
 * connects to 127.0.0.1, warms up and prints "ready"; does its work once it has read a line, and prints "done", the wall
 * clock's nanoseconds and its own processor time's; at the end of its input it closes what is open, and ends. Whoever
 * measures looks at the server's clock at "ready" and at "done", so neither connecting nor closing counts.
 *
 *     WORK        what is done                                                      AMOUNT, SIZE
 *     up          one connection sends; the server reads into a buffer of its own   bytes, -
 *     up-pieces   the same; the server is given pieces                              bytes, -
 *     down        one connection receives                                           bytes, bytes of each write
 *     echo        on each connection a message goes out when the last one is back   messages each, bytes in one
 *     latency     the same at a fixed RATE a second, whether or not the last one is     messages, bytes in one
 *                 back; "done" is followed by the median and the 99th percentile of
 *                 the nanoseconds from when each was due to when it was back
 *     writes      a byte goes out, SIZE bytes come back, each written by itself; "done" turns, bytes of a turn
 *                 is followed by the number of TLS records that they came in
 *     handshake   connects, exchanges a few bytes, closes: so many at a time        how often, -
 *     resume      the same with the session of an earlier connection                how often, -
 *     idle        connections are made, and kept                                    -, -
 *
 * A connection asks for what it wants in a line of text, which is explained where the servers are. One thread; no
 * certificate is verified, which would be the same for all; a mistake ends the program.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#define CIPHER_SUITE "TLS_AES_128_GCM_SHA256"
#define ANSWER '.'

enum {
    RECORD = 16384,          /* bytes of plaintext in a full record (RFC 8446, 5.1) */
    RECORD_OVERHEAD = 22,    /* bytes that a record adds: header, content type, tag (RFC 8446, 5.2) */
    PIECE = 1 << 18,         /* bytes given to one send(): the system call itself is nothing beside them */
    READ_AHEAD = 1 << 17,    /* bytes that OpenSSL asks of the socket at once: many records */
    WARM_BYTES = 1 << 23,    /* bytes of a transfer before the one that counts: TCP's windows are open by then */
    WARM_MESSAGES = 20,      /* messages on each connection before those that count */
    WARM_HANDSHAKES = 10,    /* connections, one after the other, before those that count */
    LARGEST_MESSAGE = 16384, /* bytes: a message and its overhead have to fit into an empty socket */
    EVENTS = 64              /* events taken from epoll at a time */
};

enum phase { SHAKING, ASKED, CLOSING };

struct link {
    int fd;
    SSL *ssl;         /* NULL: plain TCP */
    enum phase phase; /* of a `handshake` */
    size_t got;       /* of an `echo`: bytes of the message that are back */
    long left;        /* of an `echo`: messages that are still to come back */
    long next;        /* of a `latency`: the number, among all, of the message that comes back next */
};

static SSL_CTX *tls;         /* NULL: plain TCP */
static SSL_SESSION *session; /* the first that a server gave */
static struct sockaddr_in server = {.sin_family = AF_INET};

static void fail(const char *what) {
    fprintf(stderr, "load: %s: %s\n", what, errno != 0 ? strerror(errno) : "no error of the system");
    ERR_print_errors_fp(stderr);
    exit(1);
}

static void *allocate(size_t count, size_t size) {
    void *memory = calloc(count, size);
    if (memory == NULL)
        fail("memory");
    return memory;
}

/* --- one connection ----------------------------------------------------------------------------------------------- */

static int keep_session(SSL *ssl, SSL_SESSION *given) {
    (void)ssl;
    if (session != NULL)
        return 0; /* not kept: OpenSSL frees it */
    session = given;
    return 1;
}

static void start_tls(void) {
    tls = SSL_CTX_new(TLS_client_method());
    if (tls == NULL || !SSL_CTX_set_min_proto_version(tls, TLS1_3_VERSION) || !SSL_CTX_set_ciphersuites(tls, CIPHER_SUITE))
        fail("SSL_CTX");
    SSL_CTX_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_read_ahead(tls, 1);
    SSL_CTX_set_default_read_buffer_len(tls, READ_AHEAD);
    SSL_CTX_set_session_cache_mode(tls, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(tls, keep_session);
}

/* Connects. What listens on a loopback address has room in its backlog, so this does not wait for the server's turn. */
static void dial(struct link *link) {
    int yes = 1;
    link->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (link->fd < 0 || connect(link->fd, (struct sockaddr *)&server, sizeof server) != 0)
        fail("connect");
    setsockopt(link->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    if (tls == NULL)
        return;
    link->ssl = SSL_new(tls);
    if (link->ssl == NULL || !SSL_set_fd(link->ssl, link->fd))
        fail("SSL_new");
    SSL_set_connect_state(link->ssl);
}

/* 1 when the handshake is complete, 0 when it waits for the server. */
static int shake(struct link *link) {
    if (link->ssl == NULL)
        return 1;
    errno = 0;
    int result = SSL_do_handshake(link->ssl);
    if (result == 1)
        return 1;
    if (SSL_get_error(link->ssl, result) != SSL_ERROR_WANT_READ)
        fail("handshake");
    return 0;
}

/* Sends all of it: on a socket that does not block, it has to fit. */
static void give(struct link *link, const void *bytes, size_t size) {
    size_t given = 0;
    errno = 0;
    while (given < size) {
        size_t now = 0;
        if (link->ssl != NULL) {
            if (!SSL_write_ex(link->ssl, (const char *)bytes + given, size - given, &now))
                fail("SSL_write");
        } else {
            ssize_t sent = send(link->fd, (const char *)bytes + given, size - given, MSG_NOSIGNAL);
            if (sent < 0)
                fail("send");
            now = (size_t)sent;
        }
        given += now;
    }
}

/* The bytes that were there, at most `size`; 0 when there are none yet. */
static size_t take(struct link *link, void *bytes, size_t size) {
    size_t got = 0;
    errno = 0;
    if (link->ssl != NULL) {
        if (!SSL_read_ex(link->ssl, bytes, size, &got) && SSL_get_error(link->ssl, 0) != SSL_ERROR_WANT_READ)
            fail("SSL_read");
        return got;
    }
    ssize_t received = recv(link->fd, bytes, size, 0);
    if (received > 0)
        return (size_t)received;
    if (received == 0 || errno != EAGAIN)
        fail("recv");
    return 0;
}

static void ask(struct link *link, const char *what, long long amount, long size) {
    char line[64];
    give(link, line, (size_t)snprintf(line, sizeof line, "%s %lld %ld\n", what, amount, size));
}

/* Asks for the answer. Its SIZE is none: a server that says a line backwards, as `openssl s_server -rev` does, begins
 * with the answer too. */
static void ask_for_answer(struct link *link) {
    static const char line[] = "ping 0 .\n";
    give(link, line, sizeof line - 1);
}

/* 1 when the answer is there. */
static int take_answer(struct link *link) {
    char answer;
    if (take(link, &answer, 1) == 0)
        return 0;
    if (answer != ANSWER)
        fail("the server's answer is something else");
    return 1;
}

static void wait_for_answer(struct link *link) {
    if (!take_answer(link))
        fail("the server did not answer");
}

/* Tells the server that this is all: a close_notify, then TCP's own end. */
static void say_goodbye(struct link *link) {
    if (link->ssl != NULL)
        SSL_shutdown(link->ssl);
    ERR_clear_error();
    shutdown(link->fd, SHUT_WR);
}

static void discard(struct link *link) {
    SSL_free(link->ssl);
    close(link->fd);
    *link = (struct link){.fd = -1};
}

/* Connects, waits until the server is there too. */
static void introduce(struct link *link) {
    dial(link);
    if (!shake(link))
        fail("a handshake on a socket that blocks");
    ask_for_answer(link);
    wait_for_answer(link);
}

/* --- the clock of a measurement ----------------------------------------------------------------------------------- */

static long long nanoseconds(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static long long began, began_cpu;
static long long median, tail; /* nanoseconds, of a `latency` */
static long long records;      /* that were received, for `writes` */

static void await_order(void) {
    char line[16];
    if (fgets(line, sizeof line, stdin) == NULL)
        exit(0); /* whoever measures has changed its mind */
}

static void ready(void) {
    puts("ready");
    fflush(stdout);
    await_order();
    began = nanoseconds(CLOCK_MONOTONIC);
    began_cpu = nanoseconds(CLOCK_PROCESS_CPUTIME_ID);
}

static void done(void) {
    long long wall = nanoseconds(CLOCK_MONOTONIC) - began, cpu = nanoseconds(CLOCK_PROCESS_CPUTIME_ID) - began_cpu;
    printf("done %lld %lld %lld %lld %lld\n", wall, cpu, median, tail, records);
    fflush(stdout);
    await_order();
}

/* --- bulk --------------------------------------------------------------------------------------------------------- */

/* The wire of a request to send `amount` bytes, and of those bytes. With TLS it is encrypted here, beforehand, so that
 * sending it costs what it costs in plain TCP and the server never waits for a cipher that is not its own. */
static char *make_upload(struct link *link, const char *what, long long amount, size_t *size) {
    char line[64], *block = allocate(1, RECORD);
    size_t head = (size_t)snprintf(line, sizeof line, "%s %lld 0\n", what, amount), written;
    size_t room = head + (size_t)amount + (size_t)(amount / RECORD + 2) * RECORD_OVERHEAD;
    char *wire = allocate(1, room);
    BIO *memory = NULL;
    *size = 0;
    if (link->ssl != NULL) {
        memory = BIO_new(BIO_s_mem());
        BIO_up_ref(memory);
        SSL_set0_wbio(link->ssl, memory);
    }
    memset(block, 'u', RECORD);
    for (long long left = -1; left != 0;) { /* the line first, then the bytes */
        const char *from = left < 0 ? line : block;
        size_t now = left < 0 ? head : left < RECORD ? (size_t)left : RECORD;
        if (memory != NULL) {
            if (!SSL_write_ex(link->ssl, from, now, &written) || written != now)
                fail("SSL_write");
            int got = BIO_read(memory, wire + *size, (int)(room - *size));
            if (got <= 0 || BIO_pending(memory) != 0)
                fail("the wire of an upload has no room");
            *size += (size_t)got;
        } else {
            memcpy(wire + *size, from, now);
            *size += now;
        }
        left = left < 0 ? amount : left - (long long)now;
    }
    if (memory != NULL) {
        SSL_set0_wbio(link->ssl, BIO_new_socket(link->fd, BIO_NOCLOSE));
        BIO_free(memory);
    }
    free(block);
    return wire;
}

static void send_wire(struct link *link, const char *wire, size_t size) {
    for (size_t given = 0; given < size;) {
        size_t now = size - given < PIECE ? size - given : PIECE;
        ssize_t sent = send(link->fd, wire + given, now, MSG_NOSIGNAL);
        if (sent < 0)
            fail("send");
        given += (size_t)sent;
    }
    wait_for_answer(link);
}

static void upload(struct link *link, const char *what, long long amount) {
    size_t size;
    char *wire = make_upload(link, what, WARM_BYTES, &size);
    send_wire(link, wire, size);
    free(wire);
    wire = make_upload(link, what, amount, &size);
    ready();
    send_wire(link, wire, size);
    done();
    free(wire);
}

static void receive(struct link *link, long long amount, long size) {
    static char buffer[READ_AHEAD];
    ask(link, "down", amount, size);
    while (amount > 0)
        amount -= (long long)take(link, buffer, sizeof buffer);
    if (amount < 0)
        fail("the server sent more than it was asked for");
}

static void download(struct link *link, long long amount, long size) {
    receive(link, WARM_BYTES, size);
    ready();
    receive(link, amount, size);
    done();
}

/* --- many connections at once ------------------------------------------------------------------------------------- */

static int poller;

static void watch(struct link *link) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = link};
    if (fcntl(link->fd, F_SETFL, O_NONBLOCK) != 0 || epoll_ctl(poller, EPOLL_CTL_ADD, link->fd, &event) != 0)
        fail("epoll_ctl");
}

/* Calls `step` for each link that has something to read, until it has returned 1 `times` times. */
static void run_until(long times, int (*step)(struct link *)) {
    struct epoll_event events[EVENTS];
    while (times > 0) {
        int count = epoll_wait(poller, events, EVENTS, -1);
        for (int each = 0; each < count; each++)
            times -= step(events[each].data.ptr);
    }
}

static char message[LARGEST_MESSAGE];
static size_t message_size, question_size; /* bytes that come back, and bytes that go out for them: `writes` has one */

/* 1 when a message is back, 0 when more of it is to come. */
static int hear(struct link *link) {
    static char buffer[LARGEST_MESSAGE];
    size_t got;
    while ((got = take(link, buffer, message_size - link->got)) != 0) {
        if (memcmp(buffer, message + link->got, got) != 0)
            fail("a message came back changed");
        link->got += got;
        if (link->got == message_size) {
            link->got = 0;
            return 1;
        }
    }
    return 0;
}

/* 1 when the last message of this link is back. */
static int echo_step(struct link *link) {
    while (hear(link)) {
        if (--link->left == 0)
            return 1;
        give(link, message, question_size);
    }
    return 0;
}

static void echo_all(struct link *links, long connections, long messages) {
    for (long each = 0; each < connections; each++) {
        links[each].left = messages;
        give(&links[each], message, question_size);
    }
    run_until(connections, echo_step);
}

static void count_record(int sent, int version, int type, const void *bytes, size_t size, SSL *ssl, void *argument) {
    (void)version, (void)bytes, (void)size, (void)ssl, (void)argument;
    records += !sent && type == SSL3_RT_HEADER;
}

/* Connects all, and has the server do `what`, which is either "echo" or "writes". */
static void begin_echo(struct link *links, const char *what, long connections, long size) {
    int echoes = strcmp(what, "echo") == 0;
    if (size < 1 || size > LARGEST_MESSAGE)
        fail("SIZE is out of range");
    message_size = (size_t)size;
    question_size = echoes ? message_size : 1;
    for (size_t each = 0; each < message_size; each++)
        message[each] = echoes ? (char)(each * 31 + 7) : 't';
    for (long each = 0; each < connections; each++) {
        introduce(&links[each]);
        ask(&links[each], what, 0, size);
        watch(&links[each]);
    }
    echo_all(links, connections, WARM_MESSAGES);
}

static void echo(struct link *links, const char *what, long connections, long messages, long size) {
    if (tls != NULL && strcmp(what, "writes") == 0)
        SSL_CTX_set_msg_callback(tls, count_record);
    begin_echo(links, what, connections, size);
    records = 0;
    ready();
    echo_all(links, connections, messages);
    done();
}

/* --- messages at a fixed rate ------------------------------------------------------------------------------------- */

static double interval; /* nanoseconds between two messages */

static long long due(long number) { return began + (long long)((double)number * interval); }

static int by_size(const void *one, const void *other) {
    long long a = *(const long long *)one, b = *(const long long *)other;
    return (a > b) - (a < b);
}

/* Message by message, each on another connection, is sent when it is due: by a clock that does not wait for the server. So
 * what a slow moment does to those behind it counts (what else is known as coordinated omission). */
static void latency(struct link *links, long connections, long messages, long size, long rate) {
    struct epoll_event events[EVENTS], event = {.events = EPOLLIN | EPOLLET, .data.ptr = NULL};
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    long long *took = allocate((size_t)messages, sizeof *took);
    if (rate < 1 || messages < 1)
        fail("RATE and AMOUNT have to be 1 at least");
    interval = 1e9 / (double)rate;
    begin_echo(links, "echo", connections, size);
    for (long each = 0; each < connections; each++)
        links[each].next = each;
    if (timer < 0 || epoll_ctl(poller, EPOLL_CTL_ADD, timer, &event) != 0)
        fail("timerfd");
    ready();
    for (long sent = 0, heard = 0; heard < messages;) {
        for (; sent < messages && due(sent) <= nanoseconds(CLOCK_MONOTONIC); sent++)
            give(&links[sent % connections], message, message_size);
        if (sent < messages) {
            struct itimerspec when = {.it_value = {due(sent) / 1000000000, due(sent) % 1000000000}};
            timerfd_settime(timer, TFD_TIMER_ABSTIME, &when, NULL);
        }
        int count = epoll_wait(poller, events, EVENTS, -1);
        for (int each = 0; each < count; each++) {
            struct link *link = events[each].data.ptr;
            for (; link != NULL && hear(link); link->next += connections, heard++)
                took[link->next] = nanoseconds(CLOCK_MONOTONIC) - due(link->next);
        }
    }
    qsort(took, (size_t)messages, sizeof *took, by_size);
    median = took[messages / 2];
    tail = took[messages - 1 - messages / 100];
    done();
    free(took);
}

/* --- connections -------------------------------------------------------------------------------------------------- */

static long to_begin;
static int resuming;

static void begin(struct link *link) {
    to_begin--;
    link->phase = SHAKING;
    dial(link);
    if (resuming) { /* with a copy: a TLS 1.3 session that has been resumed is marked as used up */
        SSL_SESSION *copy = SSL_SESSION_dup(session);
        if (copy == NULL || !SSL_set_session(link->ssl, copy))
            fail("SSL_set_session");
        SSL_SESSION_free(copy);
    }
    watch(link);
    if (link->ssl == NULL) {
        ask_for_answer(link);
        link->phase = ASKED;
    } else {
        shake(link);
    }
}

/* 1 when this connection is at its end; the link has begun another one, if there are more to make. */
static int handshake_step(struct link *link) {
    char bytes[4096]; /* room for what a server says after its answer: session tickets */
    if (link->phase == SHAKING) {
        if (!shake(link))
            return 0;
        if (resuming && !SSL_session_reused(link->ssl))
            fail("the server did not resume the session");
        ask_for_answer(link);
        link->phase = ASKED;
    }
    if (link->phase == ASKED) {
        if (!take_answer(link))
            return 0;
        say_goodbye(link);
        link->phase = CLOSING;
    }
    for (ssize_t got; (got = recv(link->fd, bytes, sizeof bytes, 0)) != 0;) {
        if (got < 0 && errno == EAGAIN)
            return 0;
        if (got < 0)
            break; /* a reset: the server had not read our close_notify when it closed. It is gone too. */
    }
    discard(link);
    if (to_begin > 0)
        begin(link);
    return 1;
}

static void handshakes(struct link *links, long connections, long times) {
    int then = resuming;
    resuming = 0;
    for (int each = 0; each < WARM_HANDSHAKES; each++) { /* one of them brings the session */
        to_begin = 1;
        begin(links);
        run_until(1, handshake_step);
    }
    resuming = then;
    if (resuming && session == NULL)
        fail("the server gave no session to resume");
    ready();
    to_begin = times;
    for (long each = 0; each < connections && to_begin > 0; each++)
        begin(&links[each]);
    run_until(times, handshake_step);
    done();
}

static void allow_many_files(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int main(int count, char **arguments) {
    if (count != 7 && count != 8) {
        fputs("load plain|tls PORT WORK CONNECTIONS AMOUNT SIZE [RATE]\n", stderr);
        return 2;
    }
    const char *work = arguments[3];
    long connections = atol(arguments[4]), size = atol(arguments[6]);
    long long amount = atoll(arguments[5]);
    server.sin_port = htons((unsigned short)atoi(arguments[2]));
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connections < 1)
        fail("CONNECTIONS is less than 1");
    if (strcmp(arguments[1], "tls") == 0)
        start_tls();
    signal(SIGPIPE, SIG_IGN); /* OpenSSL's socket writes would raise it */
    allow_many_files();
    struct link *links = allocate((size_t)connections, sizeof *links);
    poller = epoll_create1(0);
    if (poller < 0)
        fail("epoll_create1");
    if (strncmp(work, "up", 2) == 0) {
        introduce(links);
        upload(links, work, amount);
    } else if (strcmp(work, "down") == 0) {
        introduce(links);
        download(links, amount, size);
    } else if (strcmp(work, "echo") == 0 || strcmp(work, "writes") == 0) {
        echo(links, work, connections, (long)amount, size);
    } else if (strcmp(work, "latency") == 0) {
        latency(links, connections, (long)amount, size, count == 8 ? atol(arguments[7]) : 0);
    } else if (strcmp(work, "handshake") == 0 || strcmp(work, "resume") == 0) {
        resuming = tls != NULL && strcmp(work, "resume") == 0;
        handshakes(links, connections, (long)amount);
        return 0; /* they are closed */
    } else if (strcmp(work, "idle") == 0) {
        for (long each = 0; each < connections; each++)
            introduce(&links[each]);
        ready();
        done();
    } else {
        fail("WORK is unknown");
    }
    for (long each = 0; each < connections && links[each].fd != 0; each++) {
        say_goodbye(&links[each]);
        discard(&links[each]);
    }
    return 0;
}
