/* Fuzzes the pump: two connections of ours talk to each other, and the input says what goes wrong on the way.
 *
 * The invariant: whatever bytes arrive, in whatever pieces, a call returns, stays within its buffers, takes no more than it
 * was given, and a connection that has failed stays failed. AddressSanitizer, UndefinedBehaviorSanitizer and LeakSanitizer
 * watch the rest.
 *
 * Built twice from this one file: with clang's libFuzzer, which is guided by coverage and runs as long as it is told to; and
 * with -DTXM_FUZZ_STANDALONE and any compiler, where a small generator makes the inputs from a seed: pump_fuzzer SEED RUNS.
 */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "pump.h"

#define CHECK(condition)                                                                                                \
    do {                                                                                                                \
        if (!(condition)) {                                                                                             \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                             \
            abort();                                                                                                    \
        }                                                                                                               \
    } while (0)

/* What cffi would define. The fuzzer's callbacks refuse, accept or pick by the input's first byte. */
static unsigned int mood;
int txm_py_client_hello(void *handle, const unsigned char *name, size_t length);
int txm_py_alpn(void *handle, const unsigned char *offered, unsigned int length);
int txm_py_verify(void *handle, int ok, X509_STORE_CTX *store);
void txm_py_keylog(void *handle, const char *line);
void txm_py_info(void *handle, int where, int value);
void txm_py_message(void *handle, int sent, int version, int content_type, const unsigned char *data, size_t length);
unsigned int txm_py_psk_client(void *handle, const char *hint, char *identity, unsigned int identity_room,
                               unsigned char *secret, unsigned int secret_room);
unsigned int txm_py_psk_server(void *handle, const char *identity, unsigned char *secret, unsigned int secret_room);

int txm_py_client_hello(void *handle, const unsigned char *name, size_t length)
{
    unsigned int sum = 0;
    (void)handle;
    for (size_t i = 0; i < length; i++) /* every byte must be readable */
        sum += name[i];
    return (mood & 3) == 3 && sum % 2 == 0 ? SSL_AD_UNRECOGNIZED_NAME : -1;
}

int txm_py_alpn(void *handle, const unsigned char *offered, unsigned int length)
{
    (void)handle;
    CHECK(length > 0);
    return (mood & 5) == 5 ? (int)(offered[0] % 3) - 2 : 0;
}

int txm_py_verify(void *handle, int ok, X509_STORE_CTX *store)
{
    (void)handle;
    (void)store;
    return (mood & 0xe0) == 0xe0 ? 0 : ok | 1;
}

void txm_py_keylog(void *handle, const char *line)
{
    (void)handle;
    CHECK(strlen(line) > 0);
}

/* Of these nothing is asked here: the contexts below have no such callback. */
void txm_py_info(void *handle, int where, int value)
{
    (void)handle;
    (void)where;
    (void)value;
}

void txm_py_message(void *handle, int sent, int version, int content_type, const unsigned char *data, size_t length)
{
    (void)handle;
    (void)sent;
    (void)version;
    (void)content_type;
    (void)data;
    (void)length;
}

unsigned int txm_py_psk_client(void *handle, const char *hint, char *identity, unsigned int identity_room,
                               unsigned char *secret, unsigned int secret_room)
{
    (void)handle;
    (void)hint;
    (void)identity;
    (void)identity_room;
    (void)secret;
    (void)secret_room;
    return 0;
}

unsigned int txm_py_psk_server(void *handle, const char *identity, unsigned char *secret, unsigned int secret_room)
{
    (void)handle;
    (void)identity;
    (void)secret;
    (void)secret_room;
    return 0;
}

static unsigned long handshakes, failures; /* runs that got so far: a fuzzer that never gets anywhere finds nothing */

static SSL_CTX *client_context, *server_context;

static void make_contexts(void)
{
    EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
    X509 *certificate = X509_new();
    X509_NAME *name;
    unsigned char keys[2 * 80];
    CHECK(key != NULL && certificate != NULL && txm_init());
    CHECK(X509_set_version(certificate, 2) && ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1));
    CHECK(X509_gmtime_adj(X509_getm_notBefore(certificate), -3600));
    CHECK(X509_gmtime_adj(X509_getm_notAfter(certificate), 360000));
    name = X509_get_subject_name(certificate);
    CHECK(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"localhost", -1, -1, 0));
    CHECK(X509_set_issuer_name(certificate, name) && X509_set_pubkey(certificate, key));
    CHECK(X509_sign(certificate, key, EVP_sha256()));

    server_context = SSL_CTX_new(TLS_server_method());
    client_context = SSL_CTX_new(TLS_client_method());
    CHECK(server_context != NULL && client_context != NULL);
    CHECK(txm_context_prepare(server_context) && txm_context_prepare(client_context));
    CHECK(SSL_CTX_use_certificate(server_context, certificate) && SSL_CTX_use_PrivateKey(server_context, key));
    CHECK(SSL_CTX_use_certificate(client_context, certificate) && SSL_CTX_use_PrivateKey(client_context, key));
    CHECK(SSL_CTX_set_session_id_context(server_context, (const unsigned char *)"fuzz", 4));
    memset(keys, 7, sizeof keys);
    CHECK(txm_ticket_keys_set(server_context, keys, 80, 2));
    txm_keylog_enable(server_context, 1);
    txm_verify_set(server_context, SSL_VERIFY_PEER);
    txm_verify_set(client_context, SSL_VERIFY_PEER);
    CHECK(SSL_CTX_set_alpn_protos(client_context, (const unsigned char *)"\2h2\10http/1.1", 12) == 0);
    X509_free(certificate);
    EVP_PKEY_free(key);
}

/* The input, byte by byte; zeros when it is used up. */
typedef struct {
    const uint8_t *at;
    size_t left;
} input;

static unsigned int next(input *in)
{
    if (in->left == 0)
        return 0;
    in->left--;
    return *in->at++;
}

/* Wire on its way from one end to the other. */
#define PIPE_ROOM (1 << 18)
typedef struct {
    char data[PIPE_ROOM];
    size_t length;
} pipe_t;

static void carry(pipe_t *pipe, const txm_scratch *scratch)
{
    size_t length = scratch->report.wire;
    CHECK(length <= (size_t)TXM_WIRE_ROOM);
    if (length > PIPE_ROOM - pipe->length)
        length = PIPE_ROOM - pipe->length;
    memcpy(pipe->data + pipe->length, scratch->wire, length);
    pipe->length += length;
}

static const int KNOWN = TXM_MORE | TXM_ESTABLISHED | TXM_CLOSED | TXM_FAILED | TXM_TRUNCATED | TXM_WANT_WIRE | TXM_BUSY;

/* One receive with everything that belongs to it, as connection.py does it. */
static void receive(txm_connection *c, txm_scratch *s, const char *wire, size_t length, pipe_t *out)
{
    size_t taken = 0;
    /* A copy of exactly this length, so that reading beyond it is seen. */
    char *copy = malloc(length ? length : 1);
    CHECK(copy != NULL);
    memcpy(copy, wire, length);
    for (int turns = 0;; turns++) {
        int failed_before = c->failed;
        long long result = txm_receive(c, s, copy + taken, length - taken);
        if (result >= 0) {
            CHECK((size_t)result <= (size_t)TXM_PLAINTEXT_ROOM && s->report.status == 0 && s->report.wire == 0);
            break;
        }
        CHECK(result == TXM_SEE_REPORT && (s->report.status & ~KNOWN) == 0 && !(s->report.status & TXM_BUSY));
        CHECK(s->report.consumed <= length - taken && s->report.plaintext <= (size_t)TXM_PLAINTEXT_ROOM);
        CHECK(!failed_before || (s->report.status & TXM_FAILED));
        CHECK(s->report.errors.count >= 0 && s->report.errors.count <= TXM_ERRORS_KEPT);
        carry(out, s);
        taken += s->report.consumed;
        if (!(s->report.status & TXM_MORE)) {
            txm_leave(c);
            break;
        }
        CHECK(turns < 10000);
    }
    CHECK(ERR_peek_error() == 0 || !c->failed);
    free(copy);
}

static void transmit(txm_connection *c, txm_scratch *s, size_t length, pipe_t *out)
{
    static const char data[1 << 16] = "plaintext";
    size_t done = 0;
    for (;;) {
        long long result = txm_send(c, s, data + done, length - done);
        carry(out, s);
        if (result >= 0)
            return;
        CHECK(s->report.consumed <= length - done);
        done += s->report.consumed;
        if (!(s->report.status & TXM_MORE)) {
            txm_leave(c);
            return;
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static pipe_t to_server, to_client;
    static txm_scratch *scratch, *other;
    input in = {data, size};
    txm_connection *ends[2];
    int connections = txm_live_connections();
    if (client_context == NULL) {
        make_contexts();
        scratch = txm_scratch_new();
        other = txm_scratch_new();
        CHECK(scratch != NULL && other != NULL);
    }
    mood = next(&in);
    ends[0] = txm_connection_new(client_context, 0);
    ends[1] = txm_connection_new(server_context, 1);
    CHECK(ends[0] != NULL && ends[1] != NULL);
    ends[0]->wants = TXM_WANTS_VERIFY;
    ends[1]->wants = TXM_WANTS_CLIENT_HELLO | TXM_WANTS_KEYLOG | TXM_WANTS_VERIFY | (mood & 8 ? TXM_WANTS_ALPN : 0);
    ends[1]->alpn = (const unsigned char *)"\10http/1.1";
    ends[1]->alpn_length = 9;
    CHECK(SSL_set_tlsext_host_name(ends[0]->ssl, "localhost"));
    if (mood & 16)
        CHECK(SSL_set_max_proto_version(ends[0]->ssl, TLS1_2_VERSION));
    to_server.length = to_client.length = 0;
    receive(ends[0], scratch, "", 0, &to_server);

    for (int step = 0; step < 64; step++) {
        unsigned int what = next(&in);
        int side = (int)(what >> 7); /* who is to receive */
        pipe_t *arriving = side ? &to_server : &to_client;
        pipe_t *leaving = side ? &to_client : &to_server;
        size_t length = arriving->length;
        switch (what & 15) {
        case 1: /* flip a bit that is on its way */
            if (length)
                arriving->data[(next(&in) << 8 | next(&in)) % length] ^= (char)(1u << (next(&in) & 7));
            break;
        case 2: /* put bytes of the input between */
            for (unsigned int n = next(&in) & 31; n > 0 && arriving->length < PIPE_ROOM; n--)
                arriving->data[arriving->length++] = (char)next(&in);
            break;
        case 3: /* lose the end */
            arriving->length = length ? (next(&in) << 8 | next(&in)) % length : 0;
            break;
        case 4: /* say it twice */
            if (length && length <= PIPE_ROOM - length) {
                memcpy(arriving->data + length, arriving->data, length);
                arriving->length += length;
            }
            break;
        case 5:
            transmit(ends[side], scratch, (size_t)(next(&in) << 8 | next(&in)), leaving);
            break;
        case 6:
            if (!(txm_operate(ends[side], other, TXM_OP_SHUTDOWN, NULL, 0, NULL, 0) & TXM_BUSY)) {
                carry(leaving, other);
                txm_leave(ends[side]);
            }
            break;
        case 7:
            ends[side]->eof = 1;
            receive(ends[side], scratch, "", 0, leaving);
            break;
        case 8: { /* a small room for plaintext: what Tornado's buffers can be */
            char room[1 + 255];
            size_t n = 1 + next(&in);
            long long result = txm_receive_into(ends[side], scratch, arriving->data, length, room, n);
            if (result == TXM_SEE_REPORT) {
                carry(leaving, scratch);
                length = scratch->report.consumed;
                txm_leave(ends[side]);
            }
            memmove(arriving->data, arriving->data + length, arriving->length - length);
            arriving->length -= length;
            break;
        }
        case 9: { /* the steps of the facades */
            char room[512];
            int op = 1 + (int)(next(&in) % 6);
            memset(room, 'x', sizeof room);
            txm_operate(ends[side], other, op, arriving->data, length, room, next(&in) << 1);
            carry(leaving, other);
            length = other->report.consumed;
            CHECK(length <= arriving->length);
            memmove(arriving->data, arriving->data + length, arriving->length - length);
            arriving->length -= length;
            txm_leave(ends[side]);
            break;
        }
        case 10: /* another context in the middle */
            (void)txm_connection_switch(ends[side], side ? server_context : client_context, "P-256",
                                        (const unsigned char *)"fuzz", 4);
            ERR_clear_error();
            break;
        default: { /* deliver, some or all of it */
            size_t most = what & 64 ? 1 + (next(&in) << 8 | next(&in)) : length;
            if (length > most)
                length = most;
            receive(ends[side], scratch, arriving->data, length, leaving);
            memmove(arriving->data, arriving->data + length, arriving->length - length);
            arriving->length -= length;
            break;
        }
        }
    }
    handshakes += (unsigned long)ends[1]->established;
    failures += (unsigned long)(ends[0]->failed || ends[1]->failed);
    txm_connection_free(ends[0]);
    txm_connection_free(ends[1]);
    CHECK(txm_live_connections() == connections);
    ERR_clear_error();
    return 0;
}

#ifdef TXM_FUZZ_STANDALONE
/* xorshift64*: good enough to pick steps with, and the same everywhere for a seed. */
static uint64_t state;
static uint64_t roll(void)
{
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return state * 0x2545F4914F6CDD1Dull;
}

int main(int argc, char **argv)
{
    unsigned long seed = argc > 1 ? strtoul(argv[1], NULL, 10) : 1;
    unsigned long runs = argc > 2 ? strtoul(argv[2], NULL, 10) : 1000;
    for (unsigned long run = 0; run < runs; run++) {
        uint8_t data[160];
        size_t size;
        state = (seed + run) * 0x9E3779B97F4A7C15ull | 1;
        size = roll() % sizeof data;
        for (size_t i = 0; i < size; i++) {
            data[i] = (uint8_t)(roll() >> 32);
            /* Most steps plainly deliver, in turn: else hardly a handshake would ever finish. */
            if (i > 0 && roll() & 7)
                data[i] = (uint8_t)(i & 1 ? 0x8f : 0x0f);
        }
        LLVMFuzzerTestOneInput(data, size);
    }
    CHECK(runs < 100 || (handshakes > runs / 10 && failures > runs / 10));
    printf("%lu runs from seed %lu, %lu handshakes, %lu failures: every invariant held\n", runs, seed, handshakes,
           failures);
    return 0;
}
#endif
