/* Where OpenSSL asks back during a handshake.
 *
 * Each callback finds its txm_connection through the SSL's app data. What C can answer by itself it does; Python is
 * called only for what a user of the connection asked to decide (txm_connection.wants). The txm_py_ functions take the
 * GIL, never let an exception through (callbacks.py keeps it and hands it out after the call), and answer "fatal" for it.
 */

#include <string.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/tls1.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "pump.h"

/* Defined by cffi (extern "Python+C" in cdef/callbacks.h). */
extern int txm_py_client_hello(void *handle, const unsigned char *name, size_t length);
extern int txm_py_alpn(void *handle, const unsigned char *offered, unsigned int length);
extern int txm_py_verify(void *handle, int ok, X509_STORE_CTX *store);
extern void txm_py_keylog(void *handle, const char *line);
extern void txm_py_message(void *handle, int sent, int version, int content_type, const unsigned char *data,
                           size_t length);
extern unsigned int txm_py_psk_client(void *handle, const char *hint, char *identity, unsigned int identity_room,
                                      unsigned char *secret, unsigned int secret_room);
extern unsigned int txm_py_psk_server(void *handle, const char *identity, unsigned char *secret,
                                      unsigned int secret_room);

static txm_connection *connection_of(const SSL *ssl) { return SSL_get_app_data(ssl); }

extern void txm_py_info(void *handle, int where, int value); /* as the others above */

/* Keeps the last alert of each direction, so that an error can name it; and tells Python of every step where it wants to
 * know. */
static void on_info(const SSL *ssl, int where, int value)
{
    txm_connection *c = connection_of(ssl);
    int description = value & 0xff; /* SSL_CTX_set_info_callback(3): level << 8 | description */
    if (c == NULL)
        return;
    if (c->wants & TXM_WANTS_INFO)
        txm_py_info(c->handle, where, value);
    if (!(where & SSL_CB_ALERT) || description == SSL_AD_CLOSE_NOTIFY)
        return;
    if (where & SSL_CB_WRITE)
        c->alert_sent = description;
    else
        c->alert_received = description;
}

/* What the peer's chain is refused for, and which of its certificates it is about, for the exception. */
static void write_down(txm_connection *c, X509_STORE_CTX *store)
{
    X509 *certificate = X509_STORE_CTX_get_current_cert(store);
    BIO *text = BIO_new(BIO_s_mem());
    c->verify_error = X509_STORE_CTX_get_error(store);
    c->verify_depth = X509_STORE_CTX_get_error_depth(store);
    if (c->verify_subject == NULL)
        c->verify_subject = OPENSSL_malloc(TXM_TEXT_ROOM); /* few connections ever need it */
    if (c->verify_subject != NULL) {
        int length = 0;
        if (text != NULL && certificate != NULL &&
            X509_NAME_print_ex(text, X509_get_subject_name(certificate), 0, XN_FLAG_RFC2253) >= 0)
            length = BIO_read(text, c->verify_subject, TXM_TEXT_ROOM - 1);
        c->verify_subject[length > 0 ? length : 0] = '\0';
    }
    BIO_free(text);
}

/* Lets Python decide about a certificate where it asked to, and writes down a refusal: the first one ends verification,
 * and OpenSSL's complaints that Python has waved through are none. With SSL_VERIFY_NONE nobody is refused, so nobody is
 * asked, unless it said TXM_WANTS_VERIFY_ALWAYS. */
static int on_verify(int ok, X509_STORE_CTX *store)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    txm_connection *c = ssl == NULL ? NULL : connection_of(ssl);
    int verdict = ok;
    if (c == NULL)
        return ok;
    if ((c->wants & TXM_WANTS_VERIFY) &&
        (SSL_get_verify_mode(ssl) != SSL_VERIFY_NONE || (c->wants & TXM_WANTS_VERIFY_ALWAYS))) {
        verdict = txm_py_verify(c->handle, ok, store);
        if (verdict)
            X509_STORE_CTX_set_error(store, X509_V_OK);
        else if (ok)
            X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION);
    }
    if (!verdict)
        write_down(c, store);
    return verdict;
}

/* The server's choice by its own order of preference; nothing in common means no ALPN, as in the standard library. */
static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_length, const unsigned char *in,
                   unsigned int in_length, void *unused)
{
    txm_connection *c = connection_of(ssl);
    unsigned char *selected = NULL;
    (void)unused;
    if (c == NULL || in_length == 0) /* SSL_select_next_proto() reads beyond an empty list (CVE-2024-5535) */
        return SSL_TLSEXT_ERR_NOACK;
    if (c->wants & TXM_WANTS_ALPN) {
        int at = txm_py_alpn(c->handle, in, in_length);
        if (at == -1)
            return SSL_TLSEXT_ERR_NOACK;
        if (at < 0 || (unsigned int)at >= in_length)
            return SSL_TLSEXT_ERR_ALERT_FATAL;
        *out = in + at + 1;
        *out_length = in[at];
        return SSL_TLSEXT_ERR_OK;
    }
    if (c->alpn == NULL)
        return SSL_TLSEXT_ERR_NOACK;
    if (SSL_select_next_proto(&selected, out_length, c->alpn, c->alpn_length, in, in_length) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_NOACK;
    *out = selected;
    return SSL_TLSEXT_ERR_OK;
}

/* Finds the host name in a ClientHello (RFC 6066 section 3). Returns 1 and the name, or 1 and NULL where there is none,
 * or 0 where the extension is malformed. Only to be called from the ClientHello callback. */
int txm_client_hello_server_name(SSL *ssl, const unsigned char **name, size_t *length)
{
    const unsigned char *extension = NULL;
    size_t left = 0;
    size_t list;
    *name = NULL;
    *length = 0;
    if (!SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &extension, &left))
        return 1;
    /* ServerNameList: length(2), then NameType(1) HostName: length(2), bytes. One entry is all there ever is. */
    if (left < 5)
        return 0;
    list = (size_t)extension[0] << 8 | extension[1];
    if (list != left - 2 || extension[2] != TLSEXT_NAMETYPE_host_name)
        return 0;
    *length = (size_t)extension[3] << 8 | extension[4];
    if (*length == 0 || *length != left - 5 || *length > TLSEXT_MAXLEN_host_name)
        return 0;
    *name = extension + 5;
    return 1;
}

/* After a HelloRetryRequest the client says hello once more; RFC 8446 section 4.1.2 has it change nothing that decisions
 * were based on. A client that passes the check for one name and then comes out as another would be served the other's
 * secrets. Returns 1 for the first hello, and for another one with the same name; 0 with no memory to remember it in. */
static int is_same_name(txm_connection *c, const unsigned char *name, size_t length)
{
    if (c->hello_heard)
        return length == c->hello_name_length && (length == 0 || memcmp(name, c->hello_name, length) == 0);
    c->hello_heard = 1;
    if (length != 0) {
        c->hello_name = OPENSSL_memdup(name, length);
        if (c->hello_name == NULL)
            return 0;
    }
    c->hello_name_length = length;
    return 1;
}

/* Before OpenSSL looks at a ticket: which context, and with it which client authentication, is to apply. */
static int on_client_hello(SSL *ssl, int *alert, void *unused)
{
    txm_connection *c = connection_of(ssl);
    const unsigned char *name;
    size_t length;
    int verdict;
    (void)unused;
    /* A context that Python has switched to need not have a callback of its own. */
    if (c == NULL || !((c->wants & TXM_WANTS_CLIENT_HELLO) || c->hello_heard))
        return SSL_CLIENT_HELLO_SUCCESS;
    if (!txm_client_hello_server_name(ssl, &name, &length)) {
        *alert = SSL_AD_DECODE_ERROR;
        return SSL_CLIENT_HELLO_ERROR;
    }
    if (!is_same_name(c, name, length)) {
        *alert = SSL_AD_ILLEGAL_PARAMETER;
        return SSL_CLIENT_HELLO_ERROR;
    }
    if (!(c->wants & TXM_WANTS_CLIENT_HELLO))
        return SSL_CLIENT_HELLO_SUCCESS;
    verdict = txm_py_client_hello(c->handle, name, length);
    if (verdict == -1)
        return SSL_CLIENT_HELLO_SUCCESS;
    *alert = verdict;
    return SSL_CLIENT_HELLO_ERROR;
}

/* OpenSSL acknowledges a server name only where somebody has answered for it (SSL_CTX_set_tlsext_servername_callback(3));
 * the decision was made above. */
static int on_server_name(SSL *ssl, int *alert, void *unused)
{
    const txm_connection *c = connection_of(ssl);
    (void)alert;
    (void)unused;
    return c != NULL && (c->wants & TXM_WANTS_CLIENT_HELLO) ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_NOACK;
}

static void on_keylog(const SSL *ssl, const char *line)
{
    const txm_connection *c = connection_of(ssl);
    if (c != NULL && (c->wants & TXM_WANTS_KEYLOG))
        txm_py_keylog(c->handle, line);
}

/* Every message of the protocol but application data, for somebody who looks into a connection. */
static void on_message(int sent, int version, int content_type, const void *data, size_t length, SSL *ssl, void *unused)
{
    const txm_connection *c = connection_of(ssl);
    (void)unused;
    if (c != NULL && (c->wants & TXM_WANTS_MESSAGES))
        txm_py_message(c->handle, sent, version, content_type, data, length);
}

#ifndef OPENSSL_NO_PSK
/* 0 bytes are no key: TLS 1.2 refuses the handshake, TLS 1.3 goes on without (SSL_CTX_set_psk_client_callback(3)). More
 * than PSK_MAX_PSK_LEN refuses in both. */
static unsigned int on_psk_client(SSL *ssl, const char *hint, char *identity, unsigned int identity_room,
                                  unsigned char *secret, unsigned int secret_room)
{
    const txm_connection *c = connection_of(ssl);
    if (c == NULL || !(c->wants & TXM_WANTS_PSK))
        return 0;
    return txm_py_psk_client(c->handle, hint, identity, identity_room, secret, secret_room);
}

static unsigned int on_psk_server(SSL *ssl, const char *identity, unsigned char *secret, unsigned int secret_room)
{
    const txm_connection *c = connection_of(ssl);
    if (c == NULL || !(c->wants & TXM_WANTS_PSK))
        return 0;
    return txm_py_psk_server(c->handle, identity, secret, secret_room);
}
#endif

void txm_callbacks_install(SSL_CTX *context)
{
    SSL_CTX_set_info_callback(context, on_info);
    SSL_CTX_set_alpn_select_cb(context, on_alpn, NULL);
    SSL_CTX_set_tlsext_servername_callback(context, on_server_name);
    SSL_CTX_set_client_hello_cb(context, on_client_hello, NULL);
}

void txm_keylog_enable(SSL_CTX *context, int on) { SSL_CTX_set_keylog_callback(context, on ? on_keylog : NULL); }

void txm_messages_enable(SSL_CTX *context, int on) { SSL_CTX_set_msg_callback(context, on ? on_message : NULL); }

/* Without a callback OpenSSL offers no cipher suite with a pre-shared key. */
#ifdef OPENSSL_NO_PSK /* then Python has refused already */
void txm_psk_client_enable(SSL_CTX *context, int on) { (void)context, (void)on; }
void txm_psk_server_enable(SSL_CTX *context, int on) { (void)context, (void)on; }
#else
void txm_psk_client_enable(SSL_CTX *context, int on)
{
    SSL_CTX_set_psk_client_callback(context, on ? on_psk_client : NULL);
}

void txm_psk_server_enable(SSL_CTX *context, int on)
{
    SSL_CTX_set_psk_server_callback(context, on ? on_psk_server : NULL);
}
#endif

void txm_verify_set(SSL_CTX *context, int mode) { SSL_CTX_set_verify(context, mode, on_verify); }

/* Makes everything that a context decides come from another one, for a connection whose ClientHello has just arrived.
 * SSL_set_SSL_CTX() alone takes certificates, ciphers, CA names and the session-id context, and leaves what SSL_new()
 * copied: verification, versions, options, tickets and groups. The session-id context it takes only where the old one
 * is still as it was when the SSL was made. Returns 1, or 0 with the queue saying why. */
int txm_connection_switch(txm_connection *c, SSL_CTX *context, const char *groups,
                          const unsigned char *session_id_context, unsigned int length)
{
    SSL *ssl = c->ssl;
    X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
    uint64_t options = SSL_CTX_get_options(context);
    if (c->first == NULL)
        c->first = SSL_get_SSL_CTX(ssl);
    /* SSL_set1_param() only ever adds flags. */
    if (SSL_set_SSL_CTX(ssl, context) == NULL || !X509_VERIFY_PARAM_clear_flags(param, ~0UL) ||
        !SSL_set1_param(ssl, SSL_CTX_get0_param(context)) ||
        !SSL_set_session_id_context(ssl, session_id_context, length))
        return 0;
    SSL_set_verify(ssl, SSL_CTX_get_verify_mode(context), on_verify);
    SSL_clear_options(ssl, SSL_get_options(ssl) & ~options);
    SSL_set_options(ssl, options);
    SSL_set_msg_callback(ssl, on_message); /* which asks what is wanted */
    return SSL_set_min_proto_version(ssl, (int)SSL_CTX_get_min_proto_version(context)) &&
           SSL_set_max_proto_version(ssl, (int)SSL_CTX_get_max_proto_version(context)) &&
           SSL_set_num_tickets(ssl, SSL_CTX_get_num_tickets(context)) &&
           (groups == NULL || SSL_set1_groups_list(ssl, groups));
}
