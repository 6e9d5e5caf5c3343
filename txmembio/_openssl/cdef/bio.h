/* Memory BIOs: only for reading and writing PEM and DER, never for the wire. */
BIO *BIO_new_mem_buf(const void *buffer, int length);
BIO *BIO_new(const BIO_METHOD *type);
const BIO_METHOD *BIO_s_mem(void);
int BIO_free(BIO *bio);
int BIO_read(BIO *bio, void *data, int length);
size_t BIO_ctrl_pending(BIO *bio);
