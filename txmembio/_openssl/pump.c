/* The data path: wire and plaintext through OpenSSL, in memory, one crossing for each event.
 *
 *     caller's wire --lent--> BIO read side --> SSL_read  --> scratch->plaintext
 *     scratch->wire <-------- BIO write side <-- SSL_write <-- caller's plaintext
 *
 * OpenSSL is given one BIO of our own kind for both directions. Its read side owns nothing: it copies straight out of
 * the bytes that Python passed to the call, and says "retry" when they are used up. Since read_ahead stays off, OpenSSL
 * never takes more than the record it is working on, and keeps an incomplete one itself; so after a call nothing of the
 * caller's is needed any more, but for bytes that follow a close_notify, which are reported as not consumed.
 *
 * The write side appends to the scratch. The scratch never grows: Python made one buffer object over it. When it is
 * full, the call stops with TXM_MORE, Python takes the bytes out, and calls again with the rest.
 *
 * A call that did nothing out of the ordinary returns a number of bytes, and Python has no more to look at. Everything
 * else (wire to send after a read, a handshake that finished, a close, an error, more to come) returns TXM_SEE_REPORT.
 *
 * cffi lets go of the GIL around every call, crossing.c around long ones. What keeps two threads out of one SSL* is the
 * owner field, taken and given back with an atomic exchange; the loser is told TXM_BUSY and has touched nothing. The same
 * holds for a callback that tries to pump the connection it was called from. A call that returns TXM_SEE_REPORT keeps the
 * owner in place, so that nobody overtakes the bytes that Python has yet to put in order; Python ends that with
 * txm_leave().
 */

#include <limits.h>
#include <stdint.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "atomics.h"
#include "pump.h"

/* The most that a full record takes. */
#define RECORD_WIRE (TXM_RECORD_PLAINTEXT + TXM_RECORD_OVERHEAD)

/* Anything that this file allocates is counted, so that a test can say nothing is left. */
static long live_connections = 0;
static long live_scratches = 0;

int txm_live_connections(void) { return (int)atomic_long_get(&live_connections); }
int txm_live_scratches(void) { return (int)atomic_long_get(&live_scratches); }

/* --- the BIO ----------------------------------------------------------------------------------------------------- */

static BIO_METHOD *method = NULL; /* made once by txm_init(), lives as long as the process */

static int bio_read(BIO *bio, char *out, size_t room, size_t *taken)
{
    txm_connection *c = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    *taken = 0;
    if (c == NULL)
        return 0;
    if (c->lent_left == 0) {
        if (c->eof)
            c->eof_read = 1;
        else {
            c->asked = c->missing = room;
            BIO_set_retry_read(bio);
        }
        return 0;
    }
    c->missing = 0;
    if (room > c->lent_left)
        room = c->lent_left;
    memcpy(out, c->lent, room);
    if (room == TXM_RECORD_HEADER)
        c->record = (size_t)(unsigned char)out[3] << 8 | (unsigned char)out[4];
    c->lent += room;
    c->lent_left -= room;
    c->wire_received += room;
    *taken = room;
    return 1;
}

static int bio_write(BIO *bio, const char *data, size_t length, size_t *written)
{
    txm_connection *c = BIO_get_data(bio);
    size_t room;
    BIO_clear_retry_flags(bio);
    *written = 0;
    if (c == NULL || c->scratch == NULL) /* OpenSSL never writes outside a call of ours */
        return 0;
    room = c->scratch->wire_room - c->scratch->report.wire;
    if (length > room)
        length = room;
    if (length == 0) {
        BIO_set_retry_write(bio);
        return 0;
    }
    memcpy(c->scratch->wire + c->scratch->report.wire, data, length);
    c->scratch->report.wire += length;
    c->wire_sent += length;
    *written = length;
    return 1;
}

static long bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
    const txm_connection *c = BIO_get_data(bio);
    (void)number;
    (void)pointer;
    switch (command) {
    case BIO_CTRL_FLUSH: /* anything but 1 fails the handshake */
        return 1;
    case BIO_CTRL_EOF: /* a lie here turns an end of the wire into SSL_ERROR_SYSCALL with nothing in the queue */
        return c != NULL && c->eof && c->lent_left == 0;
    case BIO_CTRL_PENDING:
        return c == NULL ? 0 : c->lent_left > LONG_MAX ? LONG_MAX : (long)c->lent_left;
    default:
        return 0;
    }
}

static int bio_create(BIO *bio)
{
    BIO_set_init(bio, 1);
    return 1;
}

/* Before anything else, once, under Python's import lock. Returns 1, or 0 with OpenSSL's queue saying why. */
int txm_init(void)
{
    BIO_METHOD *made;
    int type;
    if (method != NULL)
        return 1;
    if (!txm_buffers_init())
        return 0;
    if (!OPENSSL_init_ssl(OPENSSL_INIT_LOAD_SSL_STRINGS | OPENSSL_INIT_LOAD_CRYPTO_STRINGS, NULL))
        return 0;
    type = BIO_get_new_index();
    if (type == -1)
        return 0;
    made = BIO_meth_new(type | BIO_TYPE_SOURCE_SINK, "txmembio");
    if (made == NULL)
        return 0;
    if (!BIO_meth_set_read_ex(made, bio_read) || !BIO_meth_set_write_ex(made, bio_write) ||
        !BIO_meth_set_ctrl(made, bio_ctrl) || !BIO_meth_set_create(made, bio_create)) {
        BIO_meth_free(made);
        return 0;
    }
    method = made;
    return 1;
}

/* What every context of ours needs, whatever its protocol. */
int txm_context_prepare(SSL_CTX *context)
{
    /* Moving: Python may pass the rest of its data from another address. */
    SSL_CTX_set_mode(context, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_AUTO_RETRY);
    /* With it on, bytes that follow a close_notify would be swallowed, and a return to plaintext would lose them. */
    SSL_CTX_set_read_ahead(context, 0);
    txm_callbacks_install(context);
    return 1;
}

/* --- scratch and connections --------------------------------------------------------------------------------------- */

/* One allocation: the scratch itself, then both areas, each at a multiple of a cache line: copies of 16 KB into places that
 * are not aligned cost 5% of a 64 KiB message. */
#define LINE 64u
#define SCRATCH_SIZE (sizeof(txm_scratch) + TXM_PLAINTEXT_ROOM + TXM_WIRE_ROOM + 4 * LINE)

txm_scratch *txm_scratch_new(void)
{
    char *allocated = OPENSSL_malloc(SCRATCH_SIZE);
    txm_scratch *scratch;
    if (allocated == NULL)
        return NULL;
    scratch = (txm_scratch *)(void *)(allocated + (LINE - (uintptr_t)allocated % LINE) % LINE);
    memset(scratch, 0, sizeof *scratch);
    scratch->allocated = allocated;
    scratch->plaintext = (char *)scratch + (sizeof *scratch + LINE - 1) / LINE * LINE;
    scratch->wire = scratch->plaintext + TXM_PLAINTEXT_ROOM;
    scratch->wire_room = TXM_WIRE_ROOM;
    atomic_long_add(&live_scratches, 1);
    return scratch;
}

void txm_scratch_free(txm_scratch *scratch)
{
    if (scratch == NULL)
        return;
    OPENSSL_clear_free(scratch->allocated, SCRATCH_SIZE); /* it has held plaintext */
    atomic_long_add(&live_scratches, -1);
}

/* Returns NULL with OpenSSL's queue saying why. */
txm_connection *txm_connection_new(SSL_CTX *context, int server_side)
{
    txm_connection *c = OPENSSL_zalloc(sizeof *c);
    BIO *bio = NULL;
    if (c == NULL)
        return NULL;
    c->alert_sent = c->alert_received = -1;
    c->ssl = SSL_new(context);
    bio = c->ssl == NULL ? NULL : BIO_new(method);
    if (bio == NULL || !SSL_set_app_data(c->ssl, c)) {
        BIO_free(bio);
        SSL_free(c->ssl);
        OPENSSL_free(c);
        return NULL;
    }
    BIO_set_data(bio, c);
    SSL_set_bio(c->ssl, bio, bio); /* takes the one reference we hold, for both sides */
    if (server_side)
        SSL_set_accept_state(c->ssl);
    else
        SSL_set_connect_state(c->ssl);
    atomic_long_add(&live_connections, 1);
    return c;
}

/* Runs from Python's finaliser: it frees and never pumps. */
void txm_connection_free(txm_connection *c)
{
    if (c == NULL)
        return;
    txm_buffers_forget(c);
    SSL_free(c->ssl);
    OPENSSL_free(c->verify_subject);
    OPENSSL_free(c->hello_name);
    OPENSSL_free(c);
    atomic_long_add(&live_connections, -1);
}

/* --- who is inside ------------------------------------------------------------------------------------------------- */

/* An address that is this thread's alone while it lives. */
static void *this_thread(void)
{
    static TXM_THREAD_LOCAL char here;
    return &here;
}

/* For Python to look at a connection's facts: 0 when entered, 1 when this thread is inside already (a callback looks
 * at its own connection; no txm_leave() then), TXM_SEE_REPORT when another thread is. */
int txm_enter(txm_connection *c)
{
    void *before = txm_buffers_owner(c, this_thread());
    if (before == NULL)
        return 0;
    return before == this_thread() ? 1 : TXM_SEE_REPORT;
}

/* Ends what txm_enter(), or a call that left the connection held, has begun. */
void txm_leave(txm_connection *c)
{
    c->held = NULL;
    atomic_pointer_clear(&c->owner);
}

/* Starts a call. Returns 0 with the report saying TXM_BUSY when somebody is inside. Whoever holds the connection with this
 * very scratch goes on; another call of the same thread, from a callback or a signal handler, has another scratch. */
static int begin(txm_connection *c, txm_scratch *scratch, const char *wire, size_t length)
{
    txm_report *r = &scratch->report;
    void *before = txm_buffers_owner(c, this_thread());
    r->status = 0;
    r->ssl_error = 0;
    r->consumed = 0;
    r->plaintext = 0;
    r->wire = 0;
    if (before != NULL && (before != this_thread() || c->held != scratch)) {
        r->status = TXM_BUSY;
        return 0;
    }
    c->scratch = scratch;
    c->lent = wire;
    c->lent_left = length;
    if (!c->warm)
        txm_buffers_keep(c);
    /* SSL_get_error() believes whatever is in the queue, and this thread's other users of OpenSSL may have left
     * something. Looking costs less than clearing. */
    if (ERR_peek_error() != 0)
        ERR_clear_error();
    return 1;
}

/* Ends a call. With more to tell than a number it leaves the connection held: Python has to put the result where it
 * belongs, and perhaps to call again, before anybody else may come in; then it calls txm_leave(). */
static long long end(txm_connection *c, txm_scratch *scratch, long long result)
{
    c->scratch = NULL;
    c->lent = NULL;
    c->lent_left = 0;
    if (result == TXM_SEE_REPORT)
        c->held = scratch;
    else if (c->held == NULL)
        atomic_pointer_clear(&c->owner);
    return result;
}

/* --- errors -------------------------------------------------------------------------------------------------------- */

void txm_errors_clear(void) { ERR_clear_error(); }

void txm_errors_take(txm_errors *errors)
{
    unsigned long code;
    const char *data = NULL;
    int flags = 0;
    errors->count = 0;
    errors->data[0] = '\0';
    while ((code = ERR_get_error_all(NULL, NULL, NULL, &data, &flags)) != 0) {
        if (errors->count < TXM_ERRORS_KEPT)
            errors->count++;
        errors->codes[errors->count - 1] = code;
        if ((flags & ERR_TXT_STRING) && data != NULL && data[0] != '\0')
            OPENSSL_strlcpy(errors->data, data, sizeof errors->data);
    }
}

/* Turns a step that did not go through into status bits. */
static void judge(txm_connection *c, txm_report *r, int returned)
{
    r->ssl_error = SSL_get_error(c->ssl, returned);
    if (c->eof_read && r->ssl_error != SSL_ERROR_WANT_WRITE) {
        /* Whatever this version of OpenSSL makes of it, and with whatever options: the wire ended, no close_notify came. */
        r->status |= TXM_TRUNCATED | TXM_FAILED;
        txm_errors_take(&r->errors);
        return;
    }
    switch (r->ssl_error) {
    case SSL_ERROR_WANT_READ:
        r->status |= TXM_WANT_WIRE;
        break;
    case SSL_ERROR_WANT_WRITE:
        r->status |= TXM_MORE;
        break;
    case SSL_ERROR_ZERO_RETURN:
        r->status |= TXM_CLOSED;
        break;
    default:
        r->status |= TXM_FAILED;
        txm_errors_take(&r->errors);
        break;
    }
}

/* --- the pump ------------------------------------------------------------------------------------------------------ */

static void note_handshake(txm_connection *c, txm_report *r)
{
    if (!c->established && SSL_is_init_finished(c->ssl)) {
        c->established = c->sendable = 1;
        r->status |= TXM_ESTABLISHED;
        txm_buffers_give_up(c);
    }
}

/* Feeds wire, goes on with the handshake, decrypts every complete record into plaintext, collects what is to be sent. */
long long txm_receive_into(txm_connection *c, txm_scratch *scratch, const char *wire, size_t length, char *plaintext,
                           size_t room)
{
    txm_report *r = &scratch->report;
    if (!begin(c, scratch, wire, length))
        return TXM_SEE_REPORT;
    if (c->failed) {
        r->status = TXM_FAILED;
        r->errors.count = 0;
        return end(c, scratch, TXM_SEE_REPORT);
    }
    for (;;) {
        size_t got = 0;
        int ok;
        if (r->plaintext == room || scratch->wire_room - r->wire < TXM_WIRE_RESERVE) {
            r->status |= TXM_MORE;
            break;
        }
        ok = SSL_read_ex(c->ssl, plaintext + r->plaintext, room - r->plaintext, &got);
        if (!ok) {
            judge(c, r, ok);
            break;
        }
        r->plaintext += got;
        /* Nothing lent and nothing held: asking again could only answer "retry", at the price of another record. */
        if (c->lent_left == 0 && !c->eof && !SSL_has_pending(c->ssl))
            break;
    }
    r->status &= ~TXM_WANT_WIRE; /* the ordinary end of a call here */
    note_handshake(c, r);
    if (r->status & TXM_FAILED)
        c->failed = 1;
    r->consumed = length - c->lent_left;
    c->plaintext_received += r->plaintext;
    return end(c, scratch, r->status == 0 && r->wire == 0 ? (long long)r->plaintext : TXM_SEE_REPORT);
}

long long txm_receive(txm_connection *c, txm_scratch *scratch, const char *wire, size_t length)
{
    return txm_receive_into(c, scratch, wire, length, scratch->plaintext, (size_t)TXM_PLAINTEXT_ROOM);
}

/* How much of length the rest of the wire area takes for certain: all of it, or full records. All records of a chunk go
 * out in one SSL_write, which saves a call for each; so it must be sure beforehand that they fit. */
static size_t fitting(const txm_scratch *scratch, size_t length)
{
    size_t room = scratch->wire_room - scratch->report.wire;
    size_t full, left;
    if (room < TXM_WIRE_RESERVE)
        return 0;
    room -= TXM_WIRE_RESERVE;
    full = room / RECORD_WIRE * TXM_RECORD_PLAINTEXT;
    left = room % RECORD_WIRE;
    return length <= full + (left > TXM_RECORD_OVERHEAD ? left - TXM_RECORD_OVERHEAD : 0) ? length : full;
}

static long long encrypt(txm_connection *c, txm_scratch *scratch, const char *plaintext, size_t length)
{
    txm_report *r = &scratch->report;
    if (c->failed || !c->sendable) {
        r->status = c->failed ? TXM_FAILED : TXM_WANT_WIRE;
        r->errors.count = 0;
        return TXM_SEE_REPORT;
    }
    while (r->consumed < length) {
        size_t chunk = fitting(scratch, length - r->consumed);
        size_t done = 0;
        int ok;
        if (chunk == 0) {
            r->status |= TXM_MORE;
            break;
        }
        ok = SSL_write_ex(c->ssl, plaintext + r->consumed, chunk, &done);
        if (!ok) {
            judge(c, r, ok);
            break;
        }
        r->consumed += done;
    }
    c->plaintext_sent += r->consumed;
    if (r->status & TXM_FAILED)
        c->failed = 1;
    return r->status == 0 ? (long long)r->wire : TXM_SEE_REPORT;
}

/* Encrypts plaintext into wire. Before the handshake is complete, and after a close, it takes nothing and says
 * TXM_WANT_WIRE. */
long long txm_send(txm_connection *c, txm_scratch *scratch, const char *plaintext, size_t length)
{
    return begin(c, scratch, NULL, 0) ? end(c, scratch, encrypt(c, scratch, plaintext, length)) : TXM_SEE_REPORT;
}

/* The same, but the connection stays held in any case: for a caller who puts the wire behind other wire, where nobody
 * else's may come between. */
long long txm_send_held(txm_connection *c, txm_scratch *scratch, const char *plaintext, size_t length)
{
    long long result;
    if (!begin(c, scratch, NULL, 0))
        return TXM_SEE_REPORT;
    result = encrypt(c, scratch, plaintext, length);
    (void)end(c, scratch, TXM_SEE_REPORT);
    return result;
}

/* One step of OpenSSL's own API, for facades that mirror it; data is read from or written to as the operation says.
 * Returns the report's status, and unless that is TXM_BUSY leaves the connection held. Nothing is latched: what OpenSSL answers the next time is what the facade passes on. */
int txm_operate(txm_connection *c, txm_scratch *scratch, int operation, const char *wire, size_t wire_length, char *data,
                size_t length)
{
    txm_report *r = &scratch->report;
    size_t moved = 0;
    int ok = 0;
    if (!begin(c, scratch, wire, wire_length))
        return r->status;
    switch (operation) {
    case TXM_OP_HANDSHAKE:
        ok = SSL_do_handshake(c->ssl);
        break;
    case TXM_OP_READ:
        ok = SSL_read_ex(c->ssl, data, length, &moved);
        r->plaintext = moved;
        c->plaintext_received += moved;
        break;
    case TXM_OP_PEEK:
        ok = SSL_peek_ex(c->ssl, data, length, &moved);
        r->plaintext = moved;
        break;
    case TXM_OP_WRITE:
        ok = SSL_write_ex(c->ssl, data, fitting(scratch, length), &moved);
        r->plaintext = moved;
        c->plaintext_sent += moved;
        break;
    case TXM_OP_SHUTDOWN:
        ok = SSL_shutdown(c->ssl);
        /* 0: ours is out, the peer's has not been read. Not a failure, and SSL_get_error() would call it one. */
        if (ok == 0) {
            r->status |= TXM_WANT_WIRE;
            ok = 1;
        } else if (ok == 1) {
            r->status |= TXM_CLOSED;
            ERR_clear_error(); /* it may have read a fatal alert instead of a close_notify, and says so there alone */
        }
        break;
    case TXM_OP_VERIFY_CLIENT:
        ok = SSL_verify_client_post_handshake(c->ssl);
        break;
    default:
        break;
    }
    if (ok <= 0)
        judge(c, r, ok);
    note_handshake(c, r);
    r->consumed = wire_length - c->lent_left;
    (void)end(c, scratch, TXM_SEE_REPORT);
    return r->status;
}

/* --- the usual case of a facade's read and write ------------------------------------------------------------------- */

/* What these two do not take: txm_operate() does. */
static int unusual(const txm_connection *c) { return !c->established || (c->wants & TXM_WANTS_MESSAGES); }

/* Returns how many bytes of wire the whole of plaintext has become. Else TXM_NOT_HERE, and nothing has happened, or
 * TXM_SEE_REPORT, which is txm_operate()'s report of the same step, with the connection held. */
long long txm_write(txm_connection *c, txm_scratch *scratch, const char *plaintext, size_t length)
{
    txm_report *r = &scratch->report;
    size_t moved = 0;
    int ok;
    if (!begin(c, scratch, NULL, 0))
        return TXM_SEE_REPORT;
    if (unusual(c) || length == 0 || fitting(scratch, length) < length)
        return end(c, scratch, TXM_NOT_HERE);
    ok = SSL_write_ex(c->ssl, plaintext, length, &moved);
    if (!ok)
        judge(c, r, ok);
    r->plaintext = moved;
    c->plaintext_sent += moved;
    return end(c, scratch, ok ? (long long)r->wire : TXM_SEE_REPORT);
}

/* Returns how many bytes of plaintext it has put into target (NULL for the scratch), with TXM_LEFT added where wire,
 * plaintext or a close is left for the next call. Else as above; r->consumed is always right.
 *
 * One record's worth, as OpenSSL gives it; but the next one too where the last was full, since then more of the same is
 * on its way. */
long long txm_read(txm_connection *c, txm_scratch *scratch, const char *wire, size_t at, size_t length, char *target,
                   size_t room)
{
    txm_report *r = &scratch->report;
    int ok;
    if (at > length) /* two threads at one BIO may bring that about, and are not to read what is no wire */
        at = length;
    if (!begin(c, scratch, wire + at, length - at))
        return TXM_SEE_REPORT;
    if (unusual(c) || room == 0)
        return end(c, scratch, TXM_NOT_HERE);
    if (target == NULL)
        target = scratch->plaintext;
    if (room >= TXM_LEFT)
        room = TXM_LEFT - 1; /* or the number returned would say what it does not mean */
    for (;;) {
        size_t got = 0;
        ok = SSL_read_ex(c->ssl, target + r->plaintext, room - r->plaintext, &got);
        if (!ok) {
            judge(c, r, ok);
            if (r->plaintext != 0) /* what ended it is said again, or said then: an incomplete record, a close */
                r->status &= ~(TXM_WANT_WIRE | TXM_CLOSED);
            break;
        }
        r->plaintext += got;
        if (got < TXM_RECORD_PLAINTEXT || c->lent_left == 0 || r->plaintext == room || r->wire != 0)
            break;
    }
    c->plaintext_received += r->plaintext;
    r->consumed = length - at - c->lent_left;
    if (r->status != 0 || r->wire != 0)
        return end(c, scratch, TXM_SEE_REPORT);
    if (c->lent_left != 0 || SSL_has_pending(c->ssl) || r->ssl_error == SSL_ERROR_ZERO_RETURN)
        return end(c, scratch, (long long)r->plaintext + TXM_LEFT);
    if (ok)
        c->asked = TXM_RECORD_HEADER; /* what OpenSSL would say to a next read, which the caller may answer by itself */
    return end(c, scratch, (long long)r->plaintext);
}
