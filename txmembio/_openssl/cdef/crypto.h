/* Library-wide matters, random numbers, keys. */
#define OPENSSL_VERSION_NUMBER ...

#define OPENSSL_VERSION ...
unsigned long OpenSSL_version_num(void);
const char *OpenSSL_version(int what);
void OPENSSL_free(void *memory);
int RAND_bytes(unsigned char *buffer, int length);
int RAND_status(void);
void RAND_add(const void *buffer, int length, double entropy);

void EVP_PKEY_free(EVP_PKEY *key);
const EVP_MD *EVP_sha256(void);
const EVP_MD *EVP_get_digestbyname(const char *name);
int EVP_Digest(const void *data, size_t count, unsigned char *digest, unsigned int *size, const EVP_MD *type, ENGINE *engine);
int i2d_PUBKEY(const EVP_PKEY *key, unsigned char **out);
int i2d_PrivateKey(const EVP_PKEY *key, unsigned char **out);
EVP_PKEY *PEM_read_bio_PrivateKey(BIO *bio, EVP_PKEY **key, int (*callback)(char *, int, int, void *), void *data);
EVP_PKEY *d2i_AutoPrivateKey(EVP_PKEY **key, const unsigned char **data, long length);
EVP_PKEY *PEM_read_bio_Parameters(BIO *bio, EVP_PKEY **key);
int PEM_write_bio_PKCS8PrivateKey(BIO *bio, const EVP_PKEY *key, const EVP_CIPHER *cipher, const char *secret, int length, int (*callback)(char *, int, int, void *), void *data);
int EVP_PKEY_is_a(const EVP_PKEY *key, const char *name);
int EVP_PKEY_get_bits(const EVP_PKEY *key);

const char *OBJ_nid2sn(int nid);
const char *OBJ_nid2ln(int nid);
int OBJ_sn2nid(const char *name);
int OBJ_txt2nid(const char *name);
ASN1_OBJECT *OBJ_nid2obj(int nid);
ASN1_OBJECT *OBJ_txt2obj(const char *name, int no_name);
void ASN1_OBJECT_free(ASN1_OBJECT *object);
int OBJ_obj2nid(const ASN1_OBJECT *object);
int OBJ_obj2txt(char *buffer, int size, const ASN1_OBJECT *object, int no_name);
#define NID_undef ...
