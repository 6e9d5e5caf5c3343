/* What C asks of Python; answered in callbacks.py. */
extern "Python+C" int txm_py_client_hello(void *handle, const unsigned char *name, size_t length);
extern "Python+C" int txm_py_alpn(void *handle, const unsigned char *offered, unsigned int length);
extern "Python+C" int txm_py_verify(void *handle, int ok, X509_STORE_CTX *store);
extern "Python+C" void txm_py_keylog(void *handle, const char *line);
extern "Python+C" int txm_py_password(char *buffer, int size, int writing, void *handle);
