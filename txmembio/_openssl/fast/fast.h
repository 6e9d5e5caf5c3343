/* What the files of _crossing share: Connection's part, in crossing.c, and MemoryBIO's and SSLObject's.
 *
 *     network -> MemoryBIO.write() -> SSLObject.read()  -> txm_read()  -> plaintext
 *     network <- MemoryBIO.read()  <- SSLObject.write() <- txm_write() <- plaintext
 *
 * The standard library has all four in C, and event loops call them five times for a message. Only the usual case is done
 * here; everything else is left to the same object's methods in Python: _read(), _write(), _end_of_read() and others.
 */

#ifndef TXM_FAST_H
#define TXM_FAST_H

#define Py_LIMITED_API 0x030A0000 /* 3.10 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

/* Nothing here looks into these, so OpenSSL's headers are not needed either. */
typedef struct txm_not_looked_into SSL, SSL_CTX, DIST_POINT, ACCESS_DESCRIPTION, ASN1_OBJECT, GENERAL_NAME;
#include "pump.h"

/* Bytes of a message from which the GIL is let go: they take the cipher about 2 us, against which 0.1 us for doing so no
 * longer counts, and others should not have to wait. */
#define LONG_WORK 4096

#define FAST(function) ((PyCFunction)(void (*)(void))(function))

/* In crossing.c. */
PyObject *txm_take(txm_scratch **area);
void txm_give(PyObject *scratch, txm_scratch *area);
PyObject *txm_shortened(PyObject *bytes, size_t room, const char *octets, long long length);

/* What crossing.py has handed over for the types here. */
typedef struct {
    long long (*read)(txm_connection *, txm_scratch *, const char *, size_t, size_t, char *, size_t);
    long long (*write)(txm_connection *, txm_scratch *, const char *, size_t);
    void (*leave)(txm_connection *);
    PyObject *want_read;      /* the exception's class, and its arguments */
    PyObject *want_read_why;
    PyObject *in_two_places;  /* the text for who comes in while another one is inside */
} txm_handed_over;

extern txm_handed_over txm_facades;

typedef struct {
    PyObject_HEAD
    PyObject *chunks; /* a list of bytes, none of them empty */
    Py_ssize_t at;    /* bytes of the first that are gone */
    char ended;
} txm_bio;

extern PyTypeObject *txm_bio_type;

int txm_readable(PyObject *view, const void **data, Py_ssize_t *length);
int txm_writable(PyObject *view, void **data, Py_ssize_t *length);
int txm_bio_append(txm_bio *b, PyObject *bytes);
int txm_bio_drop(txm_bio *b, Py_ssize_t taken);
PyObject *txm_in_python(PyObject *self, const char *name, PyObject *const *args, Py_ssize_t count, PyObject *names);

int txm_bio_add(PyObject *module);
int txm_sslobject_add(PyObject *module);

#endif
