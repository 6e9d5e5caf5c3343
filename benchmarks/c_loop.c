/* Ends of TLS 1.3 connections that live in memory: the limit that everything written in Python is measured against.
 *
 * The bytes go the way txmembio's own pump takes them, with nothing else around: OpenSSL's read side borrows the
 * caller's wire, its write side appends to a buffer of fixed size, and nothing is allocated for a message. COPYING adds
 * the one thing that no function returning bytes can do without: an allocation of the result's size and a copy into it.
 *
 * Every function works on `count` messages of one size, so that a caller who reads the clock on both sides of a call
 * sees the work and not the call. No function checks for impossible arguments: c_loop.py is the only caller.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#define CIPHER_SUITE "TLS_AES_128_GCM_SHA256"

enum mode {
    BARE,    /* the result stays in this end's own buffer, and the next message overwrites it */
    COPYING, /* the result is copied to the heap; the one before it is freed afterwards, as `result = f(x)` does */
    BATCH,   /* encrypting only: the results are kept, one after the other */
};

struct end {
    SSL *ssl; /* keeps its context */
    const char *borrowed; /* wire that OpenSSL has not read yet: the caller's memory */
    size_t borrowed_left;
    char *wire; /* wire that OpenSSL has written */
    size_t wire_used, wire_size;
    char *plaintext; /* plaintext of the last message decrypted */
    size_t plaintext_used, plaintext_size;
    void *result; /* COPYING: the last message's copy */
};

static int read_wire(BIO *bio, char *into, size_t wanted, size_t *got) {
    struct end *end = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (end->borrowed_left == 0) {
        BIO_set_retry_read(bio);
        return 0;
    }
    *got = wanted < end->borrowed_left ? wanted : end->borrowed_left;
    memcpy(into, end->borrowed, *got);
    end->borrowed += *got;
    end->borrowed_left -= *got;
    return 1;
}

static int write_wire(BIO *bio, const char *from, size_t size, size_t *written) {
    struct end *end = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (size > end->wire_size - end->wire_used)
        return 0;
    memcpy(end->wire + end->wire_used, from, size);
    end->wire_used += size;
    *written = size;
    return 1;
}

static long control_wire(BIO *bio, int command, long number, void *pointer) {
    (void)bio, (void)number, (void)pointer;
    return command == BIO_CTRL_FLUSH;
}

static BIO *new_bio(struct end *end) {
    static BIO_METHOD *method; /* one for the life of the process; its callers take turns */
    if (method == NULL) {
        method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "benchmark wire");
        if (method == NULL)
            return NULL;
        BIO_meth_set_read_ex(method, read_wire);
        BIO_meth_set_write_ex(method, write_wire);
        BIO_meth_set_ctrl(method, control_wire);
    }
    BIO *bio = BIO_new(method);
    if (bio != NULL) {
        BIO_set_data(bio, end);
        BIO_set_init(bio, 1);
    }
    return bio;
}

const char *loop_version(void) { return OpenSSL_version(OPENSSL_VERSION); }

/* The first error in OpenSSL's queue as text, "" if there is none. */
const char *loop_error(void) {
    static char text[256];
    unsigned long code = ERR_get_error();
    text[0] = 0;
    if (code != 0)
        ERR_error_string_n(code, text, sizeof text);
    ERR_clear_error();
    return text;
}

/* For servers with the certificate and key in the file `pem`; for clients, which verify nothing, if `pem` is NULL.
 * `ssl_mode` is for SSL_CTX_set_mode(3), `tickets` for SSL_CTX_set_num_tickets(3). */
SSL_CTX *context_new(const char *pem, long ssl_mode, size_t tickets) {
    SSL_CTX *context = SSL_CTX_new(pem != NULL ? TLS_server_method() : TLS_client_method());
    if (context == NULL)
        return NULL;
    SSL_CTX_set_mode(context, ssl_mode);
    if (SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) && SSL_CTX_set_ciphersuites(context, CIPHER_SUITE) &&
        SSL_CTX_set_num_tickets(context, tickets) &&
        (pem == NULL || (SSL_CTX_use_certificate_chain_file(context, pem) == 1 &&
                         SSL_CTX_use_PrivateKey_file(context, pem, SSL_FILETYPE_PEM) == 1)))
        return context;
    SSL_CTX_free(context);
    return NULL;
}

void context_free(SSL_CTX *context) { SSL_CTX_free(context); }

void end_free(struct end *end) {
    if (end == NULL)
        return;
    if (end->ssl != NULL)
        SSL_set_shutdown(end->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN); /* or its session could not be resumed again */
    SSL_free(end->ssl);
    free(end->wire);
    free(end->plaintext);
    free(end->result);
    free(end);
}

/* A server if the context is one for servers. `session` is what a client resumes, NULL for nothing. */
struct end *end_new(SSL_CTX *context, SSL_SESSION *session, size_t wire_size, size_t plaintext_size) {
    struct end *end = calloc(1, sizeof *end);
    if (end == NULL)
        return NULL;
    end->wire = malloc(end->wire_size = wire_size);
    end->plaintext = malloc(end->plaintext_size = plaintext_size);
    end->ssl = SSL_new(context);
    BIO *bio = new_bio(end);
    if (end->wire == NULL || end->plaintext == NULL || end->ssl == NULL || bio == NULL ||
        (session != NULL && !SSL_is_server(end->ssl) && !SSL_set_session(end->ssl, session))) {
        BIO_free(bio);
        end_free(end);
        return NULL;
    }
    SSL_set_bio(end->ssl, bio, bio);
    if (SSL_is_server(end->ssl))
        SSL_set_accept_state(end->ssl);
    else
        SSL_set_connect_state(end->ssl);
    return end;
}

const char *end_wire(const struct end *end) { return end->wire; }
size_t end_wire_used(const struct end *end) { return end->wire_used; }
const char *end_plaintext(const struct end *end) { return end->plaintext; }
size_t end_plaintext_used(const struct end *end) { return end->plaintext_used; }
const char *end_cipher(const struct end *end) { return SSL_get_cipher_name(end->ssl); }
int end_resumed(const struct end *end) { return SSL_session_reused(end->ssl); }

/* What resumes this connection, for session_free(); a client has it once it has read its server's tickets. */
SSL_SESSION *end_session(struct end *end) { return SSL_get1_session(end->ssl); }
void session_free(SSL_SESSION *session) { SSL_SESSION_free(session); }

/* Goes on with the handshake, and reads the tickets that follow it: 1 when it is complete, 0 when it wants wire, -1 when it
 * failed. What is to be sent is in end_wire(). */
int end_handshake(struct end *end, const char *wire, size_t size) {
    size_t got;
    end->borrowed = wire;
    end->borrowed_left = size;
    end->wire_used = 0;
    int result = SSL_do_handshake(end->ssl);
    if (result != 1)
        return SSL_get_error(end->ssl, result) == SSL_ERROR_WANT_READ ? 0 : -1;
    if (end->borrowed_left == 0)
        return 1;
    result = SSL_read_ex(end->ssl, end->plaintext, end->plaintext_size, &got);
    return SSL_get_error(end->ssl, result) == SSL_ERROR_WANT_READ ? 1 : -1;
}

/* The time that one end takes, added up. */
static struct timespec started_cpu, started_wall;
static double spent[2];

static double since(clockid_t clock, const struct timespec *start) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)(now.tv_sec - start->tv_sec) + (double)(now.tv_nsec - start->tv_nsec) * 1e-9;
}

static void clock_on(void) {
    clock_gettime(CLOCK_MONOTONIC, &started_wall);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &started_cpu);
}

static void clock_off(void) {
    spent[1] += since(CLOCK_PROCESS_CPUTIME_ID, &started_cpu);
    spent[0] += since(CLOCK_MONOTONIC, &started_wall);
}

/* One handshake between a near end, whose work lies between on() and off(), and a far one; 0, or -1 when it failed. */
static int handshake_once(SSL_CTX *near_context, SSL_CTX *far_context, SSL_SESSION *session, size_t room, void (*on)(void),
                          void (*off)(void)) {
    struct end *near, *far;
    int near_status = 0, far_status = 0, flights = 0, server;
    far = end_new(far_context, session, room, room);
    on();
    near = end_new(near_context, session, room, room);
    off();
    if (near == NULL || far == NULL)
        goto done;
    server = SSL_is_server(near->ssl);
    if (server)
        far_status = end_handshake(far, NULL, 0);
    /* Until both are complete and no tickets are left to read. */
    while (near_status >= 0 && far_status >= 0 && flights++ < 10) {
        on();
        near_status = end_handshake(near, far->wire, far->wire_used);
        off();
        if (near_status == 1 && far_status == 1 && near->wire_used == 0)
            break;
        far_status = end_handshake(far, near->wire, near->wire_used);
        if (near_status == 1 && far_status == 1 && far->wire_used == 0)
            break;
    }
done:
    if (near_status == 1 && far_status == 1 && (session != NULL) != SSL_session_reused(near->ssl))
        near_status = -1;
    on();
    end_free(near);
    off();
    end_free(far);
    return near_status == 1 && far_status == 1 ? 0 : -1;
}

/* `count` handshakes; seconds by the wall's clock and of the processor that the near ends took are added up in `taken`. A
 * caller that counts something else has its own on() and off(). Only a client's context goes with a session. */
int handshakes(SSL_CTX *near_context, SSL_CTX *far_context, SSL_SESSION *session, size_t room, long count, void (*on)(void),
               void (*off)(void), double *taken) {
    spent[0] = spent[1] = 0;
    for (long number = 0; number < count; number++) {
        if (handshake_once(near_context, far_context, session, room, on != NULL ? on : clock_on,
                           off != NULL ? off : clock_off) != 0)
            return -1;
    }
    taken[0] = spent[0];
    taken[1] = spent[1];
    return 0;
}

static int keep_copy(struct end *end, const char *bytes, size_t size) {
    void *copy = malloc(size);
    if (copy == NULL)
        return -1;
    memcpy(copy, bytes, size);
    free(end->result);
    end->result = copy;
    return 0;
}

/* Encrypts the same `size` bytes `count` times; 0, or -1 when OpenSSL refused or the wire did not fit. */
int end_encrypt(struct end *end, const char *plaintext, size_t size, long count, int mode) {
    size_t written;
    end->wire_used = 0;
    for (long message = 0; message < count; message++) {
        if (mode != BATCH)
            end->wire_used = 0;
        if (!SSL_write_ex(end->ssl, plaintext, size, &written) || written != size)
            return -1;
        if (mode == COPYING && keep_copy(end, end->wire, end->wire_used) != 0)
            return -1;
    }
    return 0;
}

/* Decrypts one message into end->plaintext; 0, or -1 when OpenSSL refused the wire or the plaintext did not fit. */
static int decrypt_one(struct end *end, const char *wire, size_t size) {
    size_t got;
    end->borrowed = wire;
    end->borrowed_left = size;
    end->plaintext_used = 0;
    while (SSL_read_ex(end->ssl, end->plaintext + end->plaintext_used, end->plaintext_size - end->plaintext_used, &got)) {
        end->plaintext_used += got;
        if (end->borrowed_left == 0 && !SSL_has_pending(end->ssl))
            return 0; /* another SSL_read could only say that it wants wire, for a sixth of this function's time at 64 bytes */
    }
    return SSL_get_error(end->ssl, 0) == SSL_ERROR_WANT_READ ? 0 : -1;
}

/* Decrypts `count` messages that lie one after the other, `size` bytes of wire each; 0, or -1 as decrypt_one(). */
int end_decrypt(struct end *end, const char *wire, size_t size, long count, int mode) {
    for (long message = 0; message < count; message++) {
        if (decrypt_one(end, wire + (size_t)message * size, size) != 0)
            return -1;
        if (mode == COPYING && keep_copy(end, end->plaintext, end->plaintext_used) != 0)
            return -1;
    }
    return 0;
}
