/* What C asks of Python; answered in callbacks.py. */
extern "Python+C" int txm_py_client_hello(void *handle, const unsigned char *name, size_t length);
extern "Python+C" int txm_py_alpn(void *handle, const unsigned char *offered, unsigned int length);
extern "Python+C" int txm_py_verify(void *handle, int ok, X509_STORE_CTX *store);
extern "Python+C" void txm_py_keylog(void *handle, const char *line);
extern "Python+C" void txm_py_message(void *handle, int sent, int version, int content_type, const unsigned char *data, size_t length);
extern "Python+C" unsigned int txm_py_psk_client(void *handle, const char *hint, char *identity, unsigned int identity_room, unsigned char *secret, unsigned int secret_room);
extern "Python+C" unsigned int txm_py_psk_server(void *handle, const char *identity, unsigned char *secret, unsigned int secret_room);
extern "Python+C" int txm_py_password(char *buffer, int size, int writing, void *handle);
