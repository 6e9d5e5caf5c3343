/* Who keeps OpenSSL's record buffers between calls.
 *
 * They take about 33 KB of a connection. SSL_MODE_RELEASE_BUFFERS frees them after every record, which leaves an idle
 * connection with nothing but its SSL, but has each record pay for two allocations (60 to 80 ns of about 1100 for a short
 * one). So the connections that were used last keep theirs, and one that falls behind has them freed. What that can
 * hold on to is bounded by the number of places; a connection among thousands of idle ones owns nothing but its SSL.
 *
 * A place is taken only when a connection without one is used, so a busy one never comes here.
 */

#include <string.h>

#include <openssl/crypto.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "atomics.h"
#include "pump.h"

static CRYPTO_RWLOCK *lock = NULL; /* guards what follows, and the warm field of every connection that has a place */
static txm_connection *places[TXM_WARM];
static unsigned int next = 0;

/* Returns 1, or 0 with no memory for a lock. */
int txm_buffers_init(void)
{
    if (lock == NULL)
        lock = CRYPTO_THREAD_lock_new();
    return lock != NULL;
}

/* Frees a connection's buffers, unless part of a record is in them. OpenSSL looks at that itself, but before 3.0.14 it
 * forgot a record whose header was read and whose body was not (CVE-2024-4741): so not unless a header is awaited. */
static int release(SSL *ssl) { return strcmp(SSL_rstate_string(ssl), "RH") == 0 && SSL_free_buffers(ssl); }

/* Gives a connection, which the caller is inside, the place of the one that has had its own for longest. Where that one
 * is just being used by somebody, nothing changes: the next call tries the next place. */
void txm_buffers_keep(txm_connection *c)
{
    txm_connection *before;
    unsigned int place;
    if (!CRYPTO_THREAD_write_lock(lock))
        return;
    place = next;
    next = (next + 1) % TXM_WARM;
    before = places[place];
    if (before == NULL || atomic_pointer_swap_if_null(&before->owner, places) == NULL) {
        if (before != NULL) {
            (void)release(before->ssl); /* half a record that waits in them stays */
            before->warm = 0;
            atomic_pointer_clear(&before->owner);
        }
        places[place] = c;
        c->warm = (int)place + 1;
    }
    CRYPTO_THREAD_unlock(lock);
}

/* The handshake of a connection, which the caller is inside, is complete. Many say no more for a long time: until it has
 * something to carry, it gives up its place. */
void txm_buffers_give_up(txm_connection *c)
{
    if (!c->warm || !release(c->ssl) || !CRYPTO_THREAD_write_lock(lock))
        return;
    places[c->warm - 1] = NULL;
    c->warm = 0;
    CRYPTO_THREAD_unlock(lock);
}

/* What atomic_pointer_swap_if_null(&c->owner, thread) says, but that the moment in which the above has a connection for
 * itself is waited out: its own thread must not be told that somebody else uses it. */
void *txm_buffers_owner(txm_connection *c, void *thread)
{
    void *before;
    while ((before = atomic_pointer_swap_if_null(&c->owner, thread)) == places) {
        if (!CRYPTO_THREAD_read_lock(lock))
            break;
        CRYPTO_THREAD_unlock(lock);
    }
    return before;
}

/* Before a connection is freed. */
void txm_buffers_forget(const txm_connection *c)
{
    if (!CRYPTO_THREAD_write_lock(lock))
        return;
    if (c->warm)
        places[c->warm - 1] = NULL;
    CRYPTO_THREAD_unlock(lock);
}

/* Places taken, for tests. */
int txm_warm_connections(void)
{
    int count = 0;
    if (!CRYPTO_THREAD_read_lock(lock))
        return -1;
    for (unsigned int i = 0; i < TXM_WARM; i++)
        count += places[i] != NULL;
    CRYPTO_THREAD_unlock(lock);
    return count;
}
