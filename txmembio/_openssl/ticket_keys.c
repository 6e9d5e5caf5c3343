/* Session-ticket keys that come from outside, so that several processes and hosts resume each other's sessions.
 *
 * A ticket is encrypted with the first key and accepted under any of them; one that came under another than the first
 * is renewed. The format, AES-CBC with an HMAC-SHA256 over it, is RFC 5077's recommendation and what nginx and HAProxy
 * do with the same key files. The keys hang on the SSL_CTX, which frees them, and are changed and used under a lock,
 * since handshakes of other threads go on while Python replaces them.
 */

#include <string.h>

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "pump.h"

#define NAME_LENGTH 16 /* bytes; what RFC 5077 section 4 puts in front of a ticket */
#define SECRET_MOST 32 /* bytes; AES-256 and HMAC-SHA256 */

typedef struct {
    unsigned char name[NAME_LENGTH];
    unsigned char aes[SECRET_MOST];
    unsigned char hmac[SECRET_MOST];
    size_t secret_length; /* of each of the two: 16 or 32 bytes */
} ticket_key;

typedef struct {
    CRYPTO_RWLOCK *lock;
    size_t count;
    ticket_key keys[TXM_TICKET_KEYS];
} ticket_keys;

static void keys_free(void *parent, void *pointer, CRYPTO_EX_DATA *data, int index, long argl, void *argp)
{
    ticket_keys *keys = pointer;
    (void)parent;
    (void)data;
    (void)index;
    (void)argl;
    (void)argp;
    if (keys == NULL)
        return;
    CRYPTO_THREAD_lock_free(keys->lock);
    OPENSSL_clear_free(keys, sizeof *keys);
}

static int index_on_context = -1; /* only touched with the GIL held, by txm_ticket_keys_set()'s first call */

/* Copies out the key to encrypt with (name NULL), or the one a ticket names. Returns its place, or -1. */
static int find_key(ticket_keys *keys, const unsigned char *name, ticket_key *found)
{
    size_t i;
    int place = -1;
    if (keys == NULL || !CRYPTO_THREAD_read_lock(keys->lock))
        return -1;
    for (i = 0; i < keys->count; i++) {
        if (name == NULL || CRYPTO_memcmp(keys->keys[i].name, name, NAME_LENGTH) == 0) {
            *found = keys->keys[i];
            place = (int)i;
            break;
        }
    }
    CRYPTO_THREAD_unlock(keys->lock);
    return place;
}

static int set_mac(EVP_MAC_CTX *mac, ticket_key *key)
{
    char digest[] = "SHA256";
    OSSL_PARAM parameters[3];
    parameters[0] = OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key->hmac, key->secret_length);
    parameters[1] = OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0);
    parameters[2] = OSSL_PARAM_construct_end();
    return EVP_MAC_CTX_set_params(mac, parameters);
}

/* The keys that apply: those of the context that a server name has switched to, or, where that has none, of the one the
 * connection was made with. OpenSSL asks because the latter has some. */
static ticket_keys *keys_of(SSL *ssl)
{
    const txm_connection *c = SSL_get_app_data(ssl);
    ticket_keys *keys = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), index_on_context);
    if (keys == NULL && c != NULL && c->first != NULL)
        keys = SSL_CTX_get_ex_data(c->first, index_on_context);
    return keys;
}

/* SSL_CTX_set_tlsext_ticket_key_evp_cb(3): -1 error, 0 no such key, 1 fine, 2 fine and renew. */
static int on_ticket(SSL *ssl, unsigned char name[NAME_LENGTH], unsigned char *iv, EVP_CIPHER_CTX *cipher,
                     EVP_MAC_CTX *mac, int encrypting)
{
    ticket_key key;
    const EVP_CIPHER *kind;
    int place = find_key(keys_of(ssl), encrypting ? NULL : name, &key);
    int answer = -1;
    if (place < 0)
        return encrypting ? -1 : 0;
    kind = key.secret_length == 16 ? EVP_aes_128_cbc() : EVP_aes_256_cbc();
    if (encrypting) {
        memcpy(name, key.name, NAME_LENGTH);
        if (RAND_bytes(iv, EVP_CIPHER_get_iv_length(kind)) == 1 &&
            EVP_EncryptInit_ex2(cipher, kind, key.aes, iv, NULL) && set_mac(mac, &key))
            answer = 1;
    } else if (EVP_DecryptInit_ex2(cipher, kind, key.aes, iv, NULL) && set_mac(mac, &key)) {
        /* TLS 1.3 tickets are for one use (RFC 8446 appendix C.4), and without a 2 OpenSSL would send no new one. */
        answer = place == 0 && SSL_version(ssl) != TLS1_3_VERSION ? 1 : 2;
    }
    OPENSSL_cleanse(&key, sizeof key);
    return answer;
}

static void read_key(ticket_key *key, const unsigned char *bytes, size_t length)
{
    /* nginx's order: 48 bytes are name, AES, HMAC of 16 each; 80 bytes are name 16, HMAC 32, AES 32. */
    memset(key, 0, sizeof *key);
    memcpy(key->name, bytes, NAME_LENGTH);
    key->secret_length = length == 48 ? 16 : 32;
    memcpy(length == 48 ? key->aes : key->hmac, bytes + NAME_LENGTH, key->secret_length);
    memcpy(length == 48 ? key->hmac : key->aes, bytes + NAME_LENGTH + key->secret_length, key->secret_length);
}

/* keys: count times key_length (48 or 80) bytes, the first being the one that encrypts. Returns 1, 0 on failure. */
int txm_ticket_keys_set(SSL_CTX *context, const unsigned char *bytes, size_t key_length, size_t count)
{
    ticket_keys *keys;
    size_t i;
    if (count == 0 || count > TXM_TICKET_KEYS || (key_length != 48 && key_length != 80))
        return 0;
    if (index_on_context < 0)
        index_on_context = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, keys_free);
    if (index_on_context < 0)
        return 0;
    keys = SSL_CTX_get_ex_data(context, index_on_context);
    if (keys == NULL) {
        keys = OPENSSL_zalloc(sizeof *keys);
        if (keys == NULL)
            return 0;
        keys->lock = CRYPTO_THREAD_lock_new();
        if (keys->lock == NULL || !SSL_CTX_set_ex_data(context, index_on_context, keys)) {
            CRYPTO_THREAD_lock_free(keys->lock);
            OPENSSL_free(keys);
            return 0;
        }
    }
    if (!CRYPTO_THREAD_write_lock(keys->lock))
        return 0;
    for (i = 0; i < count; i++)
        read_key(&keys->keys[i], bytes + i * key_length, key_length);
    keys->count = count;
    CRYPTO_THREAD_unlock(keys->lock);
    return SSL_CTX_set_tlsext_ticket_key_evp_cb(context, on_ticket) != 0;
}
