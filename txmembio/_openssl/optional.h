/* What OpenSSL 3.0 lacks: a 0/1 flag for each, decided where the compiler sees the headers. Python reads the flag, and
 * never compares versions. A flag at 0 has a stand-in here that fails, so that the declarations stay the same. */

#ifndef TXM_OPTIONAL_H
#define TXM_OPTIONAL_H

#include <openssl/ssl.h>

#if OPENSSL_VERSION_NUMBER >= 0x30200000L
#define TXM_HAS_HANDSHAKE_RTT 1
#else
#define TXM_HAS_HANDSHAKE_RTT 0
static int SSL_get_handshake_rtt(const SSL *ssl, uint64_t *microseconds)
{
    (void)ssl;
    *microseconds = 0;
    return -1;
}
#endif

/* Versions and key exchanges that a build of OpenSSL can leave out. */
#ifdef OPENSSL_NO_SSL3
#define TXM_HAS_SSLv3 0
#else
#define TXM_HAS_SSLv3 1
#endif
#ifdef OPENSSL_NO_TLS1
#define TXM_HAS_TLSv1 0
#else
#define TXM_HAS_TLSv1 1
#endif
#ifdef OPENSSL_NO_TLS1_1
#define TXM_HAS_TLSv1_1 0
#else
#define TXM_HAS_TLSv1_1 1
#endif
#ifdef OPENSSL_NO_PSK
#define TXM_HAS_PSK 0
static int SSL_CTX_use_psk_identity_hint(SSL_CTX *context, const char *hint)
{
    (void)context;
    (void)hint;
    return 0;
}
#else
#define TXM_HAS_PSK 1
#endif

#endif
