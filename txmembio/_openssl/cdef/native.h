/* What native_context.py and its neighbours pass through for facades that mirror OpenSSL's own API. */
extern "Python+C" void txm_py_info(void *handle, int where, int value);

const char *ERR_lib_error_string(unsigned long code);
#define ERR_LIB_NONE ...

long SSL_CTX_clear_mode(SSL_CTX *context, long mode);
long SSL_CTX_get_mode(SSL_CTX *context);
long SSL_CTX_set_timeout(SSL_CTX *context, long seconds);
long SSL_CTX_get_timeout(const SSL_CTX *context);
int SSL_CTX_load_verify_locations(SSL_CTX *context, const char *file, const char *folder);
int SSL_CTX_use_certificate_chain_file(SSL_CTX *context, const char *file);
int SSL_CTX_use_certificate_file(SSL_CTX *context, const char *file, int type);
int SSL_CTX_use_PrivateKey_file(SSL_CTX *context, const char *file, int type);
long SSL_CTX_add_extra_chain_cert(SSL_CTX *context, X509 *certificate);
void SSL_CTX_set_default_passwd_cb(SSL_CTX *context, int (*callback)(char *, int, int, void *));
void SSL_CTX_set_default_passwd_cb_userdata(SSL_CTX *context, void *data);
void *SSL_load_client_CA_file(const char *file);
void SSL_CTX_set_client_CA_list(SSL_CTX *context, void *names);
int SSL_CTX_set_tlsext_use_srtp(SSL_CTX *context, const char *profiles);

void SSL_set_accept_state(SSL *ssl);
void SSL_set_connect_state(SSL *ssl);
uint64_t SSL_set_options(SSL *ssl, uint64_t options);
void SSL_set_verify(SSL *ssl, int mode, void *callback);
int SSL_use_certificate(SSL *ssl, X509 *certificate);
int SSL_use_PrivateKey(SSL *ssl, EVP_PKEY *key);
SSL_CTX *SSL_set_SSL_CTX(SSL *ssl, SSL_CTX *context);
const char *SSL_get_cipher_list(const SSL *ssl, int priority);
void *SSL_get_client_CA_list(const SSL *ssl);
int SSL_renegotiate_pending(const SSL *ssl);
long SSL_total_renegotiations(SSL *ssl);
int SSL_want(const SSL *ssl);
SSL_SESSION *SSL_get_session(const SSL *ssl);
size_t SSL_get_server_random(const SSL *ssl, unsigned char *out, size_t length);
size_t SSL_get_client_random(const SSL *ssl, unsigned char *out, size_t length);
size_t SSL_SESSION_get_master_key(const SSL_SESSION *session, unsigned char *out, size_t length);
#define SSL_FILETYPE_PEM ...
#define SSL_FILETYPE_ASN1 ...
#define SSL_NOTHING ...
#define SSL_WRITING ...
#define SSL_READING ...

X509 *X509_dup(X509 *certificate);
X509_NAME *X509_NAME_dup(const X509_NAME *name);
void X509_NAME_free(X509_NAME *name);
X509_NAME *d2i_X509_NAME(X509_NAME **name, const unsigned char **data, long length);
int X509_NAME_cmp(const X509_NAME *one, const X509_NAME *other);
char *X509_NAME_oneline(const X509_NAME *name, char *buffer, int size);
unsigned long X509_subject_name_hash(X509 *certificate);
int X509_print(BIO *out, X509 *certificate);
void *OPENSSL_sk_new_null(void);
int OPENSSL_sk_push(void *stack, const void *item);

X509_STORE *X509_STORE_new(void);
void X509_STORE_free(X509_STORE *store);
int X509_STORE_up_ref(X509_STORE *store);
int X509_STORE_load_locations(X509_STORE *store, const char *file, const char *folder);
X509_VERIFY_PARAM *X509_VERIFY_PARAM_new(void);
void X509_VERIFY_PARAM_free(X509_VERIFY_PARAM *parameters);
void X509_VERIFY_PARAM_set_time(X509_VERIFY_PARAM *parameters, int64_t seconds);
int X509_STORE_set1_param(X509_STORE *store, const X509_VERIFY_PARAM *parameters);
X509_STORE_CTX *X509_STORE_CTX_new(void);
void X509_STORE_CTX_free(X509_STORE_CTX *context);
int X509_STORE_CTX_init(X509_STORE_CTX *context, X509_STORE *store, X509 *certificate, void *chain);
int X509_verify_cert(X509_STORE_CTX *context);
void *X509_STORE_CTX_get0_chain(const X509_STORE_CTX *context);
X509_CRL *d2i_X509_CRL(X509_CRL **crl, const unsigned char **data, long length);

typedef struct {
    int nid;
    const char *comment;
} EC_builtin_curve;
size_t EC_get_builtin_curves(EC_builtin_curve *curves, size_t count);
X509_NAME *X509_NAME_new(void);
int X509_NAME_add_entry_by_NID(X509_NAME *name, int nid, int kind, const unsigned char *text, int length, int place, int set);
int X509_NAME_get_index_by_NID(const X509_NAME *name, int nid, int after);
X509_NAME_ENTRY *X509_NAME_delete_entry(X509_NAME *name, int at);
void X509_NAME_ENTRY_free(X509_NAME_ENTRY *entry);
unsigned long X509_NAME_hash_ex(const X509_NAME *name, void *library, const char *properties, int *ok);
#define MBSTRING_UTF8 ...

X509 *X509_new(void);
int X509_set_version(X509 *certificate, long version);
int X509_set_pubkey(X509 *certificate, EVP_PKEY *key);
EVP_PKEY *X509_get_pubkey(X509 *certificate);
int X509_sign(X509 *certificate, EVP_PKEY *key, const EVP_MD *digest);
int X509_digest(const X509 *certificate, const EVP_MD *type, unsigned char *digest, unsigned int *size);
int X509_get_signature_nid(const X509 *certificate);
int X509_set_serialNumber(X509 *certificate, ASN1_INTEGER *number);
int X509_set_issuer_name(X509 *certificate, const X509_NAME *name);
int X509_set_subject_name(X509 *certificate, const X509_NAME *name);
ASN1_TIME *X509_getm_notBefore(const X509 *certificate);
ASN1_TIME *X509_getm_notAfter(const X509 *certificate);
ASN1_TIME *X509_gmtime_adj(ASN1_TIME *time, long seconds);
int ASN1_TIME_set_string(ASN1_TIME *time, const char *text);
void *ASN1_TIME_to_generalizedtime(const ASN1_TIME *time, void *out);
ASN1_INTEGER *d2i_ASN1_INTEGER(ASN1_INTEGER **number, const unsigned char **data, long length);
void ASN1_INTEGER_free(ASN1_INTEGER *number);
int X509_get_ext_count(const X509 *certificate);
X509_EXTENSION *X509_get_ext(const X509 *certificate, int at);
int X509_add_ext(X509 *certificate, X509_EXTENSION *extension, int place);

X509_EXTENSION *d2i_X509_EXTENSION(X509_EXTENSION **extension, const unsigned char **data, long length);
int i2d_X509_EXTENSION(const X509_EXTENSION *extension, unsigned char **out);
X509_EXTENSION *X509_EXTENSION_dup(const X509_EXTENSION *extension);
void X509_EXTENSION_free(X509_EXTENSION *extension);
ASN1_OBJECT *X509_EXTENSION_get_object(X509_EXTENSION *extension);
ASN1_OCTET_STRING *X509_EXTENSION_get_data(X509_EXTENSION *extension);
int X509_EXTENSION_get_critical(const X509_EXTENSION *extension);
int X509V3_EXT_print(BIO *out, X509_EXTENSION *extension, unsigned long flags, int indent);
X509_EXTENSION *X509V3_EXT_nconf(void *configuration, X509V3_CTX *context, const char *name, const char *value);
void X509V3_set_ctx(X509V3_CTX *context, X509 *issuer, X509 *subject, X509_REQ *request, X509_CRL *crl, int flags);

X509_REQ *X509_REQ_new(void);
void X509_REQ_free(X509_REQ *request);
X509_REQ *d2i_X509_REQ(X509_REQ **request, const unsigned char **data, long length);
int i2d_X509_REQ(const X509_REQ *request, unsigned char **out);
X509_NAME *X509_REQ_get_subject_name(const X509_REQ *request);
int X509_REQ_set_version(X509_REQ *request, long version);
long X509_REQ_get_version(const X509_REQ *request);
int X509_REQ_set_pubkey(X509_REQ *request, EVP_PKEY *key);
EVP_PKEY *X509_REQ_get_pubkey(X509_REQ *request);
int X509_REQ_sign(X509_REQ *request, EVP_PKEY *key, const EVP_MD *digest);
int X509_REQ_verify(X509_REQ *request, EVP_PKEY *key);
void *X509_REQ_get_extensions(X509_REQ *request);
int X509_REQ_add_extensions(X509_REQ *request, void *extensions);
int X509_REQ_print(BIO *out, X509_REQ *request);

EVP_PKEY *EVP_PKEY_new(void);
int EVP_PKEY_up_ref(EVP_PKEY *key);
int EVP_PKEY_get_base_id(const EVP_PKEY *key);
EVP_PKEY *d2i_PUBKEY(EVP_PKEY **key, const unsigned char **data, long length);
EVP_PKEY *PEM_read_bio_PUBKEY(BIO *bio, EVP_PKEY **key, int (*callback)(char *, int, int, void *), void *data);
int EVP_PKEY_print_private(BIO *out, const EVP_PKEY *key, int indent, void *parameters);
int EVP_PKEY_print_public(BIO *out, const EVP_PKEY *key, int indent, void *parameters);
EVP_PKEY_CTX *EVP_PKEY_CTX_new(EVP_PKEY *key, ENGINE *engine);
void EVP_PKEY_CTX_free(EVP_PKEY_CTX *context);
int EVP_PKEY_check(EVP_PKEY_CTX *context);
X509_REQ *PEM_read_bio_X509_REQ(BIO *bio, X509_REQ **request, int (*callback)(char *, int, int, void *), void *data);
const EVP_CIPHER *EVP_get_cipherbyname(const char *name);
EVP_PKEY *EVP_PKEY_Q_keygen(OSSL_LIB_CTX *library, const char *properties, const char *type, ...);
