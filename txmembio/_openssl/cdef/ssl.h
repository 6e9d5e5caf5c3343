/* Contexts. */
const SSL_METHOD *TLS_method(void);
const SSL_METHOD *TLS_client_method(void);
const SSL_METHOD *TLS_server_method(void);
SSL_CTX *SSL_CTX_new(const SSL_METHOD *method);
void SSL_CTX_free(SSL_CTX *context);
uint64_t SSL_CTX_get_options(const SSL_CTX *context);
uint64_t SSL_CTX_set_options(SSL_CTX *context, uint64_t options);
uint64_t SSL_CTX_clear_options(SSL_CTX *context, uint64_t options);
long SSL_CTX_set_mode(SSL_CTX *context, long mode);
int SSL_CTX_set_min_proto_version(SSL_CTX *context, int version);
int SSL_CTX_set_max_proto_version(SSL_CTX *context, int version);
int SSL_CTX_get_min_proto_version(SSL_CTX *context);
int SSL_CTX_get_max_proto_version(SSL_CTX *context);
int SSL_CTX_get_security_level(const SSL_CTX *context);
void SSL_CTX_set_security_level(SSL_CTX *context, int level);
int SSL_CTX_set_cipher_list(SSL_CTX *context, const char *list);
int SSL_CTX_set_ciphersuites(SSL_CTX *context, const char *list);
int SSL_CTX_set1_groups_list(SSL_CTX *context, const char *list);
int SSL_CTX_set1_sigalgs_list(SSL_CTX *context, const char *list);
int SSL_CTX_set1_client_sigalgs_list(SSL_CTX *context, const char *list);
long SSL_CTX_set_dh_auto(SSL_CTX *context, int on);
int SSL_CTX_set0_tmp_dh_pkey(SSL_CTX *context, EVP_PKEY *parameters);
int SSL_CTX_set_alpn_protos(SSL_CTX *context, const unsigned char *protocols, unsigned int length);
int SSL_CTX_set_session_id_context(SSL_CTX *context, const unsigned char *id, unsigned int length);
long SSL_CTX_set_session_cache_mode(SSL_CTX *context, long mode);
long SSL_CTX_get_session_cache_mode(SSL_CTX *context);
int SSL_CTX_set_num_tickets(SSL_CTX *context, size_t count);
size_t SSL_CTX_get_num_tickets(const SSL_CTX *context);
void SSL_CTX_set_post_handshake_auth(SSL_CTX *context, int on);
int SSL_CTX_get_verify_mode(const SSL_CTX *context);
void SSL_CTX_set_verify_depth(SSL_CTX *context, int depth);
int SSL_CTX_get_verify_depth(const SSL_CTX *context);
X509_VERIFY_PARAM *SSL_CTX_get0_param(SSL_CTX *context);
X509_STORE *SSL_CTX_get_cert_store(const SSL_CTX *context);
int SSL_CTX_set_default_verify_paths(SSL_CTX *context);
int SSL_CTX_load_verify_file(SSL_CTX *context, const char *file);
int SSL_CTX_load_verify_dir(SSL_CTX *context, const char *folder);
int SSL_CTX_add_client_CA(SSL_CTX *context, X509 *certificate);
int SSL_CTX_use_certificate(SSL_CTX *context, X509 *certificate);
int SSL_CTX_use_PrivateKey(SSL_CTX *context, EVP_PKEY *key);
long SSL_CTX_add1_chain_cert(SSL_CTX *context, X509 *certificate);
long SSL_CTX_clear_chain_certs(SSL_CTX *context);
int SSL_CTX_check_private_key(const SSL_CTX *context);
X509 *SSL_CTX_get0_certificate(const SSL_CTX *context);
long SSL_CTX_sess_number(SSL_CTX *context);
long SSL_CTX_sess_connect(SSL_CTX *context);
long SSL_CTX_sess_connect_good(SSL_CTX *context);
long SSL_CTX_sess_connect_renegotiate(SSL_CTX *context);
long SSL_CTX_sess_accept(SSL_CTX *context);
long SSL_CTX_sess_accept_good(SSL_CTX *context);
long SSL_CTX_sess_accept_renegotiate(SSL_CTX *context);
long SSL_CTX_sess_hits(SSL_CTX *context);
long SSL_CTX_sess_misses(SSL_CTX *context);
long SSL_CTX_sess_timeouts(SSL_CTX *context);
long SSL_CTX_sess_cache_full(SSL_CTX *context);
int SSL_CTX_set_max_early_data(SSL_CTX *context, uint32_t bytes);

/* Connections. */
int SSL_set_tlsext_host_name(SSL *ssl, char *name);
const char *SSL_get_servername(const SSL *ssl, int type);
X509_VERIFY_PARAM *SSL_get0_param(SSL *ssl);
int SSL_set_alpn_protos(SSL *ssl, const unsigned char *protocols, unsigned int length);
void SSL_get0_alpn_selected(const SSL *ssl, const unsigned char **data, unsigned int *length);
const char *SSL_get_version(const SSL *ssl);
int SSL_version(const SSL *ssl);
int SSL_is_init_finished(const SSL *ssl);
int SSL_is_server(const SSL *ssl);
int SSL_pending(const SSL *ssl);
int SSL_has_pending(const SSL *ssl);
int SSL_get_shutdown(const SSL *ssl);
void SSL_set_shutdown(SSL *ssl, int mode);
void SSL_set_quiet_shutdown(SSL *ssl, int on);
const SSL_CIPHER *SSL_get_current_cipher(const SSL *ssl);
void *SSL_get_ciphers(const SSL *ssl);
void *SSL_get_client_ciphers(const SSL *ssl);
SSL *SSL_new(SSL_CTX *context);
void SSL_free(SSL *ssl);
void *SSL_get1_supported_ciphers(SSL *ssl);
long SSL_get_negotiated_group(SSL *ssl);
const char *SSL_group_to_name(SSL *ssl, int id);
X509 *SSL_get1_peer_certificate(const SSL *ssl);
void *SSL_get_peer_cert_chain(const SSL *ssl);
void *SSL_get0_verified_chain(const SSL *ssl);
long SSL_get_verify_result(const SSL *ssl);
int SSL_get_verify_mode(const SSL *ssl);
void SSL_set_post_handshake_auth(SSL *ssl, int on);
SSL_CTX *SSL_get_SSL_CTX(const SSL *ssl);
size_t SSL_get_finished(const SSL *ssl, void *buffer, size_t count);
size_t SSL_get_peer_finished(const SSL *ssl, void *buffer, size_t count);
int SSL_export_keying_material(SSL *ssl, unsigned char *out, size_t length, const char *label, size_t label_length, const unsigned char *context, size_t context_length, int use_context);
int SSL_session_reused(const SSL *ssl);
int SSL_set_session(SSL *ssl, SSL_SESSION *session);
int SSL_set_session_id_context(SSL *ssl, const unsigned char *id, unsigned int length);
SSL_SESSION *SSL_get1_session(SSL *ssl);
const char *SSL_state_string_long(const SSL *ssl);
X509 *SSL_get_certificate(const SSL *ssl);
int SSL_key_update(SSL *ssl, int type);
int SSL_renegotiate(SSL *ssl);

/* Sessions. */
void SSL_SESSION_free(SSL_SESSION *session);
int SSL_SESSION_up_ref(SSL_SESSION *session);
SSL_SESSION *SSL_SESSION_dup(const SSL_SESSION *session);
const unsigned char *SSL_SESSION_get_id(const SSL_SESSION *session, unsigned int *length);
int64_t SSL_SESSION_get_time(const SSL_SESSION *session);
int64_t SSL_SESSION_get_timeout(const SSL_SESSION *session);
unsigned long SSL_SESSION_get_ticket_lifetime_hint(const SSL_SESSION *session);
int SSL_SESSION_has_ticket(const SSL_SESSION *session);
int SSL_SESSION_is_resumable(const SSL_SESSION *session);
int SSL_SESSION_get_protocol_version(const SSL_SESSION *session);
const char *SSL_SESSION_get0_hostname(const SSL_SESSION *session);
const unsigned char *SSL_SESSION_get0_id_context(const SSL_SESSION *session, unsigned int *length);
X509 *SSL_SESSION_get0_peer(SSL_SESSION *session);
int i2d_SSL_SESSION(SSL_SESSION *session, unsigned char **out);
SSL_SESSION *d2i_SSL_SESSION(SSL_SESSION **session, const unsigned char **data, long length);

/* Ciphers. */
const char *SSL_CIPHER_get_name(const SSL_CIPHER *cipher);
const char *SSL_CIPHER_get_version(const SSL_CIPHER *cipher);
int SSL_CIPHER_get_bits(const SSL_CIPHER *cipher, int *algorithm_bits);
uint32_t SSL_CIPHER_get_id(const SSL_CIPHER *cipher);
char *SSL_CIPHER_description(const SSL_CIPHER *cipher, char *buffer, int size);
int SSL_CIPHER_is_aead(const SSL_CIPHER *cipher);
int SSL_CIPHER_get_cipher_nid(const SSL_CIPHER *cipher);
int SSL_CIPHER_get_digest_nid(const SSL_CIPHER *cipher);
int SSL_CIPHER_get_kx_nid(const SSL_CIPHER *cipher);
int SSL_CIPHER_get_auth_nid(const SSL_CIPHER *cipher);
const EVP_MD *SSL_CIPHER_get_handshake_digest(const SSL_CIPHER *cipher);
int OPENSSL_sk_num(const void *stack);
void *OPENSSL_sk_value(const void *stack, int at);
void OPENSSL_sk_free(void *stack);

#define TLSEXT_NAMETYPE_host_name ...
#define SSL_SENT_SHUTDOWN ...
#define SSL_RECEIVED_SHUTDOWN ...
#define SSL_VERIFY_NONE ...
#define SSL_VERIFY_PEER ...
#define SSL_VERIFY_FAIL_IF_NO_PEER_CERT ...
#define SSL_VERIFY_CLIENT_ONCE ...
#define SSL_VERIFY_POST_HANDSHAKE ...
#define SSL_SESS_CACHE_OFF ...
#define SSL_SESS_CACHE_CLIENT ...
#define SSL_SESS_CACHE_SERVER ...
#define SSL_MAX_SSL_SESSION_ID_LENGTH ...
#define SSL_MAX_SID_CTX_LENGTH ...
#define SSL_OP_ALL ...
#define SSL_OP_DONT_INSERT_EMPTY_FRAGMENTS ...
#define SSL_OP_NO_SSLv2 ...
#define SSL_OP_NO_SSLv3 ...
#define SSL_OP_NO_TLSv1 ...
#define SSL_OP_NO_TLSv1_1 ...
#define SSL_OP_NO_TLSv1_2 ...
#define SSL_OP_NO_TLSv1_3 ...
#define SSL_OP_CIPHER_SERVER_PREFERENCE ...
#define SSL_OP_PRIORITIZE_CHACHA ...
#define SSL_OP_SINGLE_DH_USE ...
#define SSL_OP_SINGLE_ECDH_USE ...
#define SSL_OP_NO_TICKET ...
#define SSL_OP_NO_COMPRESSION ...
#define SSL_OP_NO_RENEGOTIATION ...
#define SSL_OP_IGNORE_UNEXPECTED_EOF ...
#define SSL_OP_ENABLE_MIDDLEBOX_COMPAT ...
#define SSL_OP_LEGACY_SERVER_CONNECT ...
#define SSL_OP_ENABLE_KTLS ...
#define TLS1_VERSION ...
#define TLS1_1_VERSION ...
#define TLS1_2_VERSION ...
#define TLS1_3_VERSION ...
