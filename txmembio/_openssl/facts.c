/* What a handshake has agreed on, in one crossing: servers ask for it once for each connection. */

#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "pump.h"

/* Fills in what there is, NULL and 0 for what there is not. The texts are OpenSSL's and stay, but for ALPN's, which is the
 * connection's. Returns what txm_enter() does; unless that is TXM_SEE_REPORT, nothing is held. */
int txm_negotiated_get(txm_connection *c, txm_negotiated *out)
{
    int entered = txm_enter(c);
    const SSL_CIPHER *cipher;
    int group;
    if (entered == TXM_SEE_REPORT)
        return entered;
    cipher = SSL_get_current_cipher(c->ssl);
    group = (int)SSL_get_negotiated_group(c->ssl);
    out->version = SSL_get_version(c->ssl);
    out->cipher = cipher == NULL ? NULL : SSL_CIPHER_get_name(cipher);
    out->group = group == 0 ? NULL : SSL_group_to_name(c->ssl, group);
    SSL_get0_alpn_selected(c->ssl, &out->alpn, &out->alpn_length);
    out->resumed = SSL_session_reused(c->ssl);
    if (entered == 0)
        txm_leave(c);
    return entered;
}
