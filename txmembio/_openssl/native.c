/* Single steps for facades that mirror OpenSSL's own API, at the price of one crossing where nothing else happens. */

#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "pump.h"

/* Reads, as txm_operate(TXM_OP_READ) does, into the scratch. Returns how many bytes came, where that is all there is to
 * tell and all of the wire was taken, and lets go of the connection. 0 where nothing can come: there is no wire, and
 * nothing is held. TXM_SEE_REPORT for everything else: then look, and call txm_leave() unless that says TXM_BUSY. */
long long txm_read_now(txm_connection *c, txm_scratch *scratch, const char *wire, size_t wire_length, size_t length)
{
    const txm_report *r = &scratch->report;
    if (wire_length == 0 && !c->eof && txm_enter(c) == 0) {
        int nothing = SSL_is_init_finished(c->ssl) && !SSL_has_pending(c->ssl) && SSL_get_shutdown(c->ssl) == 0;
        txm_leave(c);
        if (nothing)
            return 0;
    }
    if (txm_operate(c, scratch, TXM_OP_READ, wire, wire_length, scratch->plaintext, length) != 0 || r->wire != 0 ||
        r->consumed != wire_length)
        return TXM_SEE_REPORT;
    txm_leave(c);
    return (long long)r->plaintext;
}

/* Writes, as txm_operate(TXM_OP_WRITE) does. Returns how much wire is in the scratch, where all of the data was taken,
 * and lets go of the connection. TXM_SEE_REPORT for everything else. Only for a connection whose handshake is complete
 * and that no unread wire waits for: a record of the peer's may have to be read first. */
long long txm_write_now(txm_connection *c, txm_scratch *scratch, const char *data, size_t length)
{
    const txm_report *r = &scratch->report;
    if (txm_operate(c, scratch, TXM_OP_WRITE, NULL, 0, (char *)(size_t)data, length) != 0 || r->plaintext != length)
        return TXM_SEE_REPORT;
    txm_leave(c);
    return (long long)r->wire;
}
