/* The C side of txmembio, as Python sees it.
 *
 * One text for two readers: build.py hands this file to cffi as declarations, and the .c files include it, so a
 * signature that differs is a compile error. For that it holds declarations and plain numbers only: no conditionals,
 * no include guard. Include <openssl/ssl.h> and <openssl/x509v3.h> before it.
 */

/* Room for the wire that one call can produce, in bytes: eight full records, so that 64 KiB of plaintext (what Twisted
 * and Tornado read or write at a time) leaves in one call with room to spare, and both areas stay in a second-level cache. */
#define TXM_WIRE_ROOM 138240

/* Room for the plaintext that one call can produce, in bytes: eight records of 16384 (RFC 8446, section 5.1). */
#define TXM_PLAINTEXT_ROOM 131072

/* Plaintext in a full record (RFC 8446 section 5.1, RFC 5246 section 6.2.1), the bytes of a record's header, and the most
 * that a record takes beyond its plaintext: header, explicit nonce or IV, padding, tag or MAC (OpenSSL's
 * SSL3_RT_MAX_ENCRYPTED_OVERHEAD and the header). */
#define TXM_RECORD_PLAINTEXT 16384
#define TXM_RECORD_HEADER 5
#define TXM_RECORD_OVERHEAD 325

/* Bytes of the wire area that application data leaves alone: an alert, a KeyUpdate and a handful of the records that
 * carry them must always find room, or a fatal alert would be lost. */
#define TXM_WIRE_RESERVE 1024

/* Errors of one failure that are kept: OpenSSL's own queue holds 16, and more than a handful never helped anybody. */
#define TXM_ERRORS_KEPT 6

/* Length of text kept from an error or a certificate's subject, in bytes, the closing NUL included. */
#define TXM_TEXT_ROOM 256

/* Largest number of ticket keys a context holds: one that encrypts, the others for tickets that are still out there. */
#define TXM_TICKET_KEYS 32

/* Connections that keep their record buffers between calls: at about 33 KB each, 1 MB at most in a process. More than are
 * active at once in most, and few enough not to matter in any. */
#define TXM_WARM 32

/* What a call reports besides bytes; bits of txm_report.status. */
#define TXM_MORE 1         /* the scratch is full: take the bytes, call again with what was not consumed */
#define TXM_ESTABLISHED 2  /* the handshake was completed in this call */
#define TXM_CLOSED 4       /* the peer's close_notify has been read */
#define TXM_FAILED 8       /* fatal: see the report's errors; on the Connection's own path it stays so */
#define TXM_TRUNCATED 16   /* the wire ended without close_notify */
#define TXM_WANT_WIRE 32   /* the operation needs more wire from the peer */
#define TXM_BUSY 64        /* another thread, or a call further up this stack, is inside this connection */

/* What the hot functions return when there is more to tell than a number of bytes. */
#define TXM_SEE_REPORT -1

/* What txm_read() and txm_write() return for a case that they leave to txm_operate(). */
#define TXM_NOT_HERE -2

/* What txm_read() adds to the number of bytes where the next call will find more: no scratch has room for so many. */
#define TXM_LEFT 1073741824

/* The single steps of txm_operate(), for facades that must do one thing at a time. */
#define TXM_OP_HANDSHAKE 1
#define TXM_OP_READ 2
#define TXM_OP_WRITE 3
#define TXM_OP_SHUTDOWN 4
#define TXM_OP_PEEK 5
#define TXM_OP_VERIFY_CLIENT 6

/* Which of a connection's Python callbacks exist; bits of txm_connection.wants. */
#define TXM_WANTS_CLIENT_HELLO 1
#define TXM_WANTS_VERIFY 2
#define TXM_WANTS_ALPN 4
#define TXM_WANTS_KEYLOG 8
#define TXM_WANTS_PSK 16
#define TXM_WANTS_MESSAGES 32

/* Why something failed: OpenSSL's queue of this thread, emptied into data that can leave the thread. */
typedef struct {
    int count;                               /* errors kept below, oldest first; the last is always the newest */
    unsigned long codes[TXM_ERRORS_KEPT];    /* as ERR_get_error() gives them */
    char data[TXM_TEXT_ROOM];                /* OpenSSL's text beside the newest that has one */
} txm_errors;

/* What the last call did. */
typedef struct {
    int status;          /* TXM_ bits */
    int ssl_error;       /* SSL_get_error() of the step that ended the call, 0 when it went through */
    size_t consumed;     /* bytes taken from the caller's data */
    size_t plaintext;    /* bytes of plaintext produced */
    size_t wire;         /* bytes in scratch->wire */
    txm_errors errors;   /* filled when status has TXM_FAILED */
} txm_report;

/* Where one call puts what it produces. Belongs to one call at a time; Python lends it and takes it back. */
typedef struct {
    txm_report report;
    void *allocated;         /* what to free: the areas below start at a multiple of 64 bytes, a cache line */
    char *plaintext;
    char *wire;
    size_t wire_room;        /* bytes in wire: TXM_WIRE_ROOM, unless crossing.c has put a result's own memory there */
} txm_scratch;

/* One TLS connection. Between calls it owns its SSL* and nothing else. */
typedef struct {
    SSL *ssl;                 /* owned; owns the BIO */
    void *handle;             /* Python's handle for callbacks; not owned */
    const char *lent;         /* the caller's wire, for the length of one call */
    size_t lent_left;
    txm_scratch *scratch;     /* where wire goes, for the length of one call; NULL outside */
    void *owner;              /* the thread that is inside, NULL for none, or buffers.c; only touched atomically */
    txm_scratch *held;        /* the scratch of the call whose result Python is still putting away; the owner's alone */
    int warm;                 /* its place among those that keep their buffers, from 1; 0 for none */
    int wants;                /* TXM_WANTS_ bits */
    int eof;                  /* set by Python: the wire ended */
    int eof_read;             /* OpenSSL has asked for wire beyond that end */
    size_t asked;             /* bytes that OpenSSL asked for when the wire ran out: the rest of a record or its header */
    size_t missing;           /* the same while it has not been given any, else 0 */
    size_t record;            /* bytes in the body of the record whose header was read last */
    int established;          /* the handshake is complete */
    int sendable;             /* and Python has not closed: application data may go out */
    int failed;               /* a TXM_FAILED or TXM_TRUNCATED was reported to receive or send */
    int alert_sent;           /* the last alert but close_notify, RFC 8446 section 6, or -1 */
    int alert_received;
    long verify_error;        /* the X509_V_ERR_ that the peer's chain was refused for, 0 for none */
    int verify_depth;         /* where in the chain it was, 0 being the peer itself */
    char *verify_subject;                /* whose certificate, as RFC 2253 writes names; owned, NULL for nobody's */
    const unsigned char *alpn;           /* ALPN to answer with, in wire format (RFC 7301); not owned */
    unsigned int alpn_length;
    unsigned long long wire_received;    /* bytes so far, for those who count */
    unsigned long long wire_sent;
    unsigned long long plaintext_received;
    unsigned long long plaintext_sent;
    SSL_CTX *first;           /* the context before the first switch, NULL without one; the SSL keeps it alive */
    int hello_heard;          /* Python has decided about a ClientHello, which was for this name: */
    size_t hello_name_length;
    unsigned char *hello_name;           /* owned */
} txm_connection;

/* What a handshake has agreed on. */
typedef struct {
    const char *version;
    const char *cipher;
    const char *group;
    const unsigned char *alpn;
    unsigned int alpn_length;
    int resumed;
} txm_negotiated;

/* --- pump.c: the data path ------------------------------------------------------------------------------------- */

int txm_init(void);
int txm_context_prepare(SSL_CTX *context);

txm_scratch *txm_scratch_new(void);
void txm_scratch_free(txm_scratch *scratch);

txm_connection *txm_connection_new(SSL_CTX *context, int server_side);
void txm_connection_free(txm_connection *connection);

/* Live objects, for tests that look for leaks. */
int txm_live_connections(void);
int txm_live_scratches(void);

long long txm_receive(txm_connection *connection, txm_scratch *scratch, const char *wire, size_t length);
long long txm_receive_into(txm_connection *connection, txm_scratch *scratch, const char *wire, size_t length,
                           char *plaintext, size_t room);
long long txm_send(txm_connection *connection, txm_scratch *scratch, const char *plaintext, size_t length);
long long txm_send_held(txm_connection *connection, txm_scratch *scratch, const char *plaintext, size_t length);
int txm_operate(txm_connection *connection, txm_scratch *scratch, int operation, const char *wire, size_t wire_length,
                char *data, size_t length);
long long txm_write(txm_connection *connection, txm_scratch *scratch, const char *plaintext, size_t length);
long long txm_read(txm_connection *connection, txm_scratch *scratch, const char *wire, size_t at, size_t length,
                   char *target, size_t room);

int txm_enter(txm_connection *connection);
void txm_leave(txm_connection *connection);

void txm_errors_take(txm_errors *errors);
void txm_errors_clear(void);

/* --- buffers.c ---------------------------------------------------------------------------------------------------- */

int txm_buffers_init(void);
void txm_buffers_keep(txm_connection *connection);
void txm_buffers_give_up(txm_connection *connection);
void *txm_buffers_owner(txm_connection *connection, void *thread);
void txm_buffers_forget(const txm_connection *connection);
int txm_warm_connections(void);

/* --- callbacks.c: where OpenSSL asks back ------------------------------------------------------------------------ */

void txm_callbacks_install(SSL_CTX *context);
void txm_keylog_enable(SSL_CTX *context, int on);
void txm_messages_enable(SSL_CTX *context, int on);
void txm_psk_client_enable(SSL_CTX *context, int on);
void txm_psk_server_enable(SSL_CTX *context, int on);
void txm_verify_set(SSL_CTX *context, int mode);
int txm_connection_switch(txm_connection *connection, SSL_CTX *context, const char *groups,
                          const unsigned char *session_id_context, unsigned int length);
int txm_client_hello_server_name(SSL *ssl, const unsigned char **name, size_t *length);

/* --- facts.c ------------------------------------------------------------------------------------------------------- */

int txm_negotiated_get(txm_connection *connection, txm_negotiated *out);

/* --- ticket_keys.c ------------------------------------------------------------------------------------------------ */

int txm_ticket_keys_set(SSL_CTX *context, const unsigned char *keys, size_t key_length, size_t count);

/* --- certificates.c ----------------------------------------------------------------------------------------------- */

void *txm_dist_point_names(const DIST_POINT *point);
const ASN1_OBJECT *txm_access_method(const ACCESS_DESCRIPTION *access);
const GENERAL_NAME *txm_access_location(const ACCESS_DESCRIPTION *access);

/* --- library.c: the library that is really there ----------------------------------------------------------------- */

int txm_library_path(char *path, size_t room);

/* --- native.c: what only facades that mirror OpenSSL's own API ask for ---------------------------------------------- */

/* More bits of txm_connection.wants: every step of a handshake, and certificates even where nobody is refused
 * (SSL_VERIFY_NONE). */
#define TXM_WANTS_INFO 64
#define TXM_WANTS_VERIFY_ALWAYS 128

long long txm_read_now(txm_connection *connection, txm_scratch *scratch, const char *wire, size_t wire_length,
                       size_t length);
long long txm_write_now(txm_connection *connection, txm_scratch *scratch, const char *data, size_t length);
