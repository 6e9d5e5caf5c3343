/* The limit that servers written in Python are held against: one thread, epoll, and OpenSSL over memory BIOs.
 *
 *     epoll_server plain|tls PEM...
 *
 * listens on 127.0.0.1, a port for each PEM file (a certificate and its key), and does what `load.c` asks for; serving.py
 * says what that is, and what passes over standard input and output. A mistake of its own ends the program, one of a
 * client's ends the connection.
 *
 * All connections share two memory BIOs: one that received wire is put into until OpenSSL has read it, one that OpenSSL
 * writes to until that is sent. So a connection owns an SSL, what is below, and what its client is slow to read.
 */
#define _GNU_SOURCE /* accept4 */
#include <errno.h>
#include <malloc.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#define ANSWER "."

enum {
    READ_SIZE = 1 << 16,     /* bytes asked of the socket, and of OpenSSL, at once: what Twisted and Tornado ask for */
    LARGEST_WRITE = 1 << 20, /* bytes that a client may ask to be written at once */
    LONGEST_LINE = 64,       /* bytes of a client's line, at most */
    BACKLOG = 8192,          /* connections that may wait to be accepted */
    EVENTS = 64,             /* events taken from epoll at a time */
    MOST_FILES = 4           /* PEM files, at most */
};

enum kind { CONTROL, LISTENER, CONNECTION };
enum task { LINE, UP, DOWN, ECHO, WRITES };

struct watched {
    enum kind kind;
    int fd;
    SSL_CTX *tls; /* of a LISTENER; NULL: plain TCP */
};

struct connection {
    struct watched watched; /* first: epoll's events point to either */
    SSL *ssl;               /* NULL: plain TCP */
    enum task task;
    int over;              /* to be closed */
    long long left;        /* bytes still to read (UP) or to write (DOWN) */
    size_t size;           /* bytes of each write (DOWN, WRITES) */
    char *unsent;          /* wire that the socket had no room for, and how much of it; NULL: none */
    size_t unsent_size;
    char line[LONGEST_LINE];
    size_t line_size;
};

static int poller;
static BIO *received, *to_send;
static char block[LARGEST_WRITE];

static void fail(const char *what) {
    fprintf(stderr, "epoll_server: %s: %s\n", what, errno != 0 ? strerror(errno) : "no error of the system");
    ERR_print_errors_fp(stderr);
    exit(1);
}

static void *allocate(size_t size) {
    void *memory = calloc(1, size);
    if (memory == NULL)
        fail("memory");
    return memory;
}

static void watch(struct watched *watched, int operation, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = watched};
    if (epoll_ctl(poller, operation, watched->fd, &event) != 0)
        fail("epoll_ctl");
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

/* Sends wire; what there is no room for is kept until there is. */
static void send_wire(struct connection *c, const char *wire, size_t size) {
    if (c->unsent == NULL) {
        ssize_t sent = send(c->watched.fd, wire, size, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN) {
            c->over = 1;
            return;
        }
        if (sent > 0) {
            wire += sent;
            size -= (size_t)sent;
        }
        if (size == 0)
            return;
        watch(&c->watched, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
    }
    c->unsent = realloc(c->unsent, c->unsent_size + size);
    if (c->unsent == NULL)
        fail("memory");
    memcpy(c->unsent + c->unsent_size, wire, size);
    c->unsent_size += size;
}

/* Sends what OpenSSL has written. */
static void send_written(struct connection *c) {
    char *wire;
    long size = BIO_get_mem_data(to_send, &wire);
    if (size > 0)
        send_wire(c, wire, (size_t)size);
    (void)BIO_reset(to_send);
}

static void write_plaintext(struct connection *c, const char *bytes, size_t size) {
    size_t written;
    if (c->ssl == NULL)
        send_wire(c, bytes, size);
    else if (!SSL_write_ex(c->ssl, bytes, size, &written) || written != size)
        c->over = 1;
    else
        send_written(c);
}

/* Goes on writing until that is all, or until the socket is full. */
static void produce(struct connection *c) {
    while (c->task == DOWN && c->unsent == NULL && !c->over) {
        size_t size = (long long)c->size < c->left ? c->size : (size_t)c->left;
        write_plaintext(c, block, size);
        c->left -= (long long)size;
        if (c->left == 0)
            c->task = LINE;
    }
}

static void writable(struct connection *c) {
    char *wire = c->unsent;
    size_t size = c->unsent_size;
    if (wire == NULL)
        return;
    ssize_t sent = send(c->watched.fd, wire, size, MSG_NOSIGNAL);
    if (sent < 0) {
        c->over = errno != EAGAIN;
        return;
    }
    c->unsent_size -= (size_t)sent;
    memmove(wire, wire + sent, c->unsent_size);
    if (c->unsent_size != 0)
        return;
    free(wire);
    c->unsent = NULL;
    watch(&c->watched, EPOLL_CTL_MOD, EPOLLIN);
    produce(c);
}

/* --- what clients ask for ----------------------------------------------------------------------------------------- */

static void begin_task(struct connection *c) {
    char what[16];
    long long amount = 0;
    long size = 0;
    c->line[c->line_size] = 0;
    c->line_size = 0;
    if (sscanf(c->line, "%15s %lld %ld", what, &amount, &size) < 2 || size < 0 || size > LARGEST_WRITE) {
        c->over = 1;
        return;
    }
    c->left = amount;
    c->size = (size_t)size;
    if (strcmp(what, "ping") == 0)
        write_plaintext(c, ANSWER, 1);
    else if (strncmp(what, "up", 2) == 0)
        c->task = UP;
    else if (strcmp(what, "echo") == 0)
        c->task = ECHO;
    else if (strcmp(what, "writes") == 0)
        c->task = WRITES;
    else if (strcmp(what, "down") == 0 && size > 0 && amount > 0) {
        c->task = DOWN;
        produce(c);
    } else
        c->over = 1;
}

/* Plaintext has come. */
static void consume(struct connection *c, const char *bytes, size_t size) {
    while (size > 0 && !c->over) {
        if (c->task == LINE) {
            char byte = *bytes++;
            size--;
            if (byte == '\n')
                begin_task(c);
            else if (c->line_size + 1 == sizeof c->line)
                c->over = 1;
            else
                c->line[c->line_size++] = byte;
        } else if (c->task == UP) {
            size_t now = (long long)size < c->left ? size : (size_t)c->left;
            bytes += now;
            size -= now;
            c->left -= (long long)now;
            if (c->left == 0) {
                c->task = LINE;
                write_plaintext(c, ANSWER, 1);
            }
        } else if (c->task == ECHO) {
            write_plaintext(c, bytes, size);
            size = 0;
        } else if (c->task == WRITES) { /* one write each would be a record each: they are collected */
            for (size_t each = 0; each < c->size; each++)
                block[each] = 't';
            write_plaintext(c, block, c->size);
            size = 0;
        } else
            c->over = 1; /* nothing is to be said during a download */
    }
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

static void read_plaintext(struct connection *c) {
    static char plaintext[READ_SIZE];
    size_t got = 0;
    while (!c->over && SSL_read_ex(c->ssl, plaintext, sizeof plaintext, &got)) {
        consume(c, plaintext, got);
        if (BIO_pending(received) == 0 && !SSL_has_pending(c->ssl))
            break;
        got = 0;
    }
    if (got == 0 && SSL_get_error(c->ssl, 0) != SSL_ERROR_WANT_READ) {
        SSL_shutdown(c->ssl); /* our close_notify, if the client has sent its own; nothing if it made a mistake */
        c->over = 1;
    }
    ERR_clear_error();
    send_written(c);
}

static void readable(struct connection *c) {
    static char wire[READ_SIZE];
    ssize_t size = recv(c->watched.fd, wire, sizeof wire, 0);
    if (size < 0 && errno == EAGAIN)
        return;
    if (size <= 0) {
        c->over = 1;
        return;
    }
    if (c->ssl == NULL) {
        consume(c, wire, (size_t)size);
        return;
    }
    (void)BIO_reset(received);
    if (BIO_write(received, wire, (int)size) != (int)size)
        fail("a memory BIO");
    read_plaintext(c);
}

/* --- connections -------------------------------------------------------------------------------------------------- */

static void admit(struct watched *listener) {
    int fd, yes = 1;
    while ((fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        struct connection *c = allocate(sizeof *c);
        c->watched = (struct watched){.kind = CONNECTION, .fd = fd};
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        if (listener->tls != NULL) {
            c->ssl = SSL_new(listener->tls);
            if (c->ssl == NULL || !BIO_up_ref(received) || !BIO_up_ref(to_send))
                fail("SSL_new");
            SSL_set_bio(c->ssl, received, to_send);
            SSL_set_accept_state(c->ssl);
        }
        watch(&c->watched, EPOLL_CTL_ADD, EPOLLIN);
    }
    if (errno != EAGAIN)
        fail("accept");
}

static void discard(struct connection *c) {
    SSL_free(c->ssl);
    close(c->watched.fd);
    free(c->unsent);
    free(c);
}

static SSL_CTX *make_context(const char *pem) {
    SSL_CTX *tls = SSL_CTX_new(TLS_server_method());
    if (tls == NULL || SSL_CTX_use_certificate_chain_file(tls, pem) != 1 ||
        SSL_CTX_use_PrivateKey_file(tls, pem, SSL_FILETYPE_PEM) != 1)
        fail(pem);
    SSL_CTX_set_mode(tls, SSL_MODE_RELEASE_BUFFERS); /* as Twisted and txmembio do */
    return tls;
}

static unsigned listen_somewhere(struct watched *listener) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    listener->kind = LISTENER;
    listener->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (listener->fd < 0 || bind(listener->fd, (struct sockaddr *)&address, size) != 0 ||
        listen(listener->fd, BACKLOG) != 0 || getsockname(listener->fd, (struct sockaddr *)&address, &size) != 0)
        fail("listen");
    watch(listener, EPOLL_CTL_ADD, EPOLLIN);
    return ntohs(address.sin_port);
}

/* Whoever measures says "settle" before it looks at our memory. */
static void answer_control(void) {
    char line[64];
    if (read(STDIN_FILENO, line, sizeof line) <= 0)
        exit(0);
#ifdef __GLIBC__
    malloc_trim(0); /* glibc keeps some of what free() has been given */
#endif
    puts("true");
    fflush(stdout);
}

int main(int count, char **arguments) {
    static struct watched listeners[MOST_FILES], control = {.kind = CONTROL, .fd = STDIN_FILENO};
    struct rlimit limit;
    struct epoll_event events[EVENTS];
    if (count < 3 || count > 2 + MOST_FILES) {
        fputs("epoll_server plain|tls PEM...\n", stderr);
        return 2;
    }
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    signal(SIGPIPE, SIG_IGN);
    poller = epoll_create1(0);
    received = BIO_new(BIO_s_mem());
    to_send = BIO_new(BIO_s_mem());
    if (poller < 0 || received == NULL || to_send == NULL)
        fail("start");
    BIO_set_mem_eof_return(received, -1); /* empty means that more wire is wanted, not that it has ended */
    printf("{\"ports\": [");
    for (int each = 2; each < count; each++) {
        if (strcmp(arguments[1], "tls") == 0)
            listeners[each - 2].tls = make_context(arguments[each]);
        printf("%s%u", each > 2 ? ", " : "", listen_somewhere(&listeners[each - 2]));
    }
    if (strcmp(arguments[1], "tls") == 0)
        printf("], \"web\": null, \"library\": \"%s\"}\n", OpenSSL_version(OPENSSL_VERSION));
    else
        printf("], \"web\": null, \"library\": null}\n");
    fflush(stdout);
    watch(&control, EPOLL_CTL_ADD, EPOLLIN);
    for (;;) {
        int ready = epoll_wait(poller, events, EVENTS, -1);
        for (int each = 0; each < ready; each++) {
            struct watched *watched = events[each].data.ptr;
            if (watched->kind == CONTROL) {
                answer_control();
            } else if (watched->kind == LISTENER) {
                admit(watched);
            } else {
                struct connection *c = (struct connection *)watched;
                if (events[each].events & EPOLLOUT)
                    writable(c);
                if (!c->over && events[each].events & ~(uint32_t)EPOLLOUT)
                    readable(c);
                if (c->over)
                    discard(c);
            }
        }
    }
}
