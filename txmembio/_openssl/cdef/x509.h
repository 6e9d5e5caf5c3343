/* Certificates and what a certificate says. */
X509 *PEM_read_bio_X509(BIO *bio, X509 **certificate, int (*callback)(char *, int, int, void *), void *data);
X509 *PEM_read_bio_X509_AUX(BIO *bio, X509 **certificate, int (*callback)(char *, int, int, void *), void *data);
X509_CRL *PEM_read_bio_X509_CRL(BIO *bio, X509_CRL **crl, int (*callback)(char *, int, int, void *), void *data);
X509 *d2i_X509(X509 **certificate, const unsigned char **data, long length);
int i2d_X509(X509 *certificate, unsigned char **out);
void X509_free(X509 *certificate);
int X509_up_ref(X509 *certificate);
void X509_CRL_free(X509_CRL *crl);
X509_NAME *X509_get_subject_name(const X509 *certificate);
X509_NAME *X509_get_issuer_name(const X509 *certificate);
int i2d_X509_NAME(const X509_NAME *name, unsigned char **out);
ASN1_INTEGER *X509_get_serialNumber(X509 *certificate);
const ASN1_TIME *X509_get0_notBefore(const X509 *certificate);
const ASN1_TIME *X509_get0_notAfter(const X509 *certificate);
long X509_get_version(const X509 *certificate);
X509_PUBKEY *X509_get_X509_PUBKEY(const X509 *certificate);
int i2d_X509_PUBKEY(const X509_PUBKEY *key, unsigned char **out);
EVP_PKEY *X509_get0_pubkey(const X509 *certificate);
int X509_check_host(X509 *certificate, const char *name, size_t length, unsigned int flags, char **matched);
int X509_check_ip(X509 *certificate, const unsigned char *address, size_t length, unsigned int flags);
int X509_check_ca(X509 *certificate);
int X509_check_issued(X509 *issuer, X509 *subject);
int X509_verify(X509 *certificate, EVP_PKEY *key);
int X509_check_private_key(const X509 *certificate, const EVP_PKEY *key);
int X509_get_signature_info(X509 *certificate, int *digest, int *key, int *bits, uint32_t *flags);
void *X509_get_ext_d2i(const X509 *certificate, int nid, int *critical, int *index);
int X509_NAME_entry_count(const X509_NAME *name);
X509_NAME_ENTRY *X509_NAME_get_entry(const X509_NAME *name, int at);
int X509_NAME_ENTRY_set(const X509_NAME_ENTRY *entry);
ASN1_OBJECT *X509_NAME_ENTRY_get_object(const X509_NAME_ENTRY *entry);
ASN1_STRING *X509_NAME_ENTRY_get_data(const X509_NAME_ENTRY *entry);
int X509_NAME_print_ex(BIO *out, const X509_NAME *name, int indent, unsigned long flags);
#define XN_FLAG_RFC2253 ...
#define ASN1_STRFLGS_ESC_MSB ...
int ASN1_STRING_to_UTF8(unsigned char **out, const ASN1_STRING *string);
int ASN1_TIME_print(BIO *out, const ASN1_TIME *time);
int i2a_ASN1_INTEGER(BIO *out, const ASN1_INTEGER *number);

/* Trust. */
int X509_STORE_add_cert(X509_STORE *store, X509 *certificate);
int X509_STORE_add_crl(X509_STORE *store, X509_CRL *crl);
int X509_STORE_set_flags(X509_STORE *store, unsigned long flags);
void *X509_STORE_get0_objects(const X509_STORE *store);
int X509_STORE_lock(X509_STORE *store);
int X509_STORE_unlock(X509_STORE *store);
int X509_OBJECT_get_type(const X509_OBJECT *object);
X509 *X509_OBJECT_get0_X509(const X509_OBJECT *object);
const char *X509_get_default_cert_file(void);
const char *X509_get_default_cert_dir(void);
const char *X509_get_default_cert_file_env(void);
const char *X509_get_default_cert_dir_env(void);
const char *X509_verify_cert_error_string(long code);
int X509_STORE_CTX_get_error(const X509_STORE_CTX *store);
int X509_STORE_CTX_get_error_depth(const X509_STORE_CTX *store);
X509 *X509_STORE_CTX_get_current_cert(const X509_STORE_CTX *store);
unsigned long X509_VERIFY_PARAM_get_flags(const X509_VERIFY_PARAM *parameters);
int X509_VERIFY_PARAM_set_flags(X509_VERIFY_PARAM *parameters, unsigned long flags);
int X509_VERIFY_PARAM_clear_flags(X509_VERIFY_PARAM *parameters, unsigned long flags);
int X509_VERIFY_PARAM_set1_host(X509_VERIFY_PARAM *parameters, const char *name, size_t length);
int X509_VERIFY_PARAM_set1_ip(X509_VERIFY_PARAM *parameters, const unsigned char *address, size_t length);
void X509_VERIFY_PARAM_set_hostflags(X509_VERIFY_PARAM *parameters, unsigned int flags);
#define X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS ...
#define X509_CHECK_FLAG_NEVER_CHECK_SUBJECT ...
#define X509_V_FLAG_CRL_CHECK ...
#define X509_V_FLAG_CRL_CHECK_ALL ...
#define X509_V_FLAG_X509_STRICT ...
#define X509_V_FLAG_ALLOW_PROXY_CERTS ...
#define X509_V_FLAG_TRUSTED_FIRST ...
#define X509_V_FLAG_PARTIAL_CHAIN ...
#define X509_V_OK ...
#define X509_V_ERR_HOSTNAME_MISMATCH ...
#define X509_V_ERR_IP_ADDRESS_MISMATCH ...
#define X509_LU_X509 ...
#define X509_LU_CRL ...
int ASN1_TIME_diff(int *days, int *seconds, const ASN1_TIME *from, const ASN1_TIME *to);
ASN1_TIME *ASN1_TIME_set(ASN1_TIME *time, int64_t seconds);
void ASN1_TIME_free(ASN1_TIME *time);

/* Extensions, as stacks of names. */
void *GENERAL_NAME_get0_value(const GENERAL_NAME *name, int *type);
void GENERAL_NAME_free(GENERAL_NAME *name);
int GENERAL_NAME_print(BIO *out, GENERAL_NAME *name);
void GENERAL_NAMES_free(void *names);
void AUTHORITY_INFO_ACCESS_free(void *access);
void CRL_DIST_POINTS_free(void *points);
const unsigned char *ASN1_STRING_get0_data(const ASN1_STRING *string);
int ASN1_STRING_length(const ASN1_STRING *string);
#define GEN_OTHERNAME ...
#define GEN_EMAIL ...
#define GEN_DNS ...
#define GEN_X400 ...
#define GEN_DIRNAME ...
#define GEN_EDIPARTY ...
#define GEN_URI ...
#define GEN_IPADD ...
#define GEN_RID ...
#define NID_subject_alt_name ...
#define NID_info_access ...
#define NID_crl_distribution_points ...
#define NID_ad_OCSP ...
#define NID_ad_ca_issuers ...
