/* The base of MemoryBIO, which memorybio.py has the rest of. */

#include <stddef.h>
#include <string.h>

#include "fast.h"

/* Bytes that asyncio and uvloop receive at a time, at most, in a buffer of their own; and from how many it is worth while
 * to have one bytes object for them again and again. With a new one each time, malloc() would fetch its pages from the
 * system and give them back, which takes longer than to decrypt them. */
#define BLOCK 262144
#define WORTH_THE_BLOCK 4096

/* Writes that are kept apart, as in memorybio.py. */
#define MANY_CHUNKS 64

PyTypeObject *txm_bio_type;

static PyObject *block; /* of BLOCK bytes, whatever it says of its size; free if nobody else refers to it */

/* These two are in the stable ABI of 3.10, which has no others, and stay there, though not in every header. They are
 * deprecated since they let go of the buffer at once; here a memoryview of ours holds it. */
PyAPI_FUNC(int) PyObject_AsReadBuffer(PyObject *object, const void **data, Py_ssize_t *length);
PyAPI_FUNC(int) PyObject_AsWriteBuffer(PyObject *object, void **data, Py_ssize_t *length);

#ifdef __GNUC__
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
#endif
int txm_readable(PyObject *view, const void **data, Py_ssize_t *length)
{
    return PyObject_AsReadBuffer(view, data, length);
}

int txm_writable(PyObject *view, void **data, Py_ssize_t *length) { return PyObject_AsWriteBuffer(view, data, length); }

/* The method of the same object that is written in Python, with the same arguments. */
PyObject *txm_in_python(PyObject *self, const char *name, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    PyObject *method = PyObject_GetAttrString(self, name), *positional = PyTuple_New(count), *named = PyDict_New();
    PyObject *out = NULL;
    Py_ssize_t i, more = names == NULL ? 0 : PyTuple_Size(names);
    int ok = method != NULL && positional != NULL && named != NULL;
    for (i = 0; ok && i < count; i++) {
        Py_INCREF(args[i]);
        ok = PyTuple_SetItem(positional, i, args[i]) == 0;
    }
    for (i = 0; ok && i < more; i++)
        ok = PyDict_SetItem(named, PyTuple_GetItem(names, i), args[count + i]) == 0;
    if (ok)
        out = PyObject_Call(method, positional, named);
    Py_XDECREF(method);
    Py_XDECREF(positional);
    Py_XDECREF(named);
    return out;
}

/* A copy of memory that is the caller's. The block is only ever the first chunk. */
static PyObject *copied(const txm_bio *b, const void *source, Py_ssize_t length)
{
    if (length < WORTH_THE_BLOCK || length > BLOCK || PyList_Size(b->chunks) != 0)
        return PyBytes_FromStringAndSize(source, length);
    if (block == NULL && (block = PyBytes_FromStringAndSize(NULL, BLOCK)) == NULL)
        return NULL;
    if (Py_REFCNT(block) != 1)
        return PyBytes_FromStringAndSize(source, length);
    memcpy(PyBytes_AsString(block), source, (size_t)length);
    return txm_shortened((Py_INCREF(block), block), (size_t)length, NULL, length);
}

/* Appends bytes, whose reference it takes; NULL is passed on. */
int txm_bio_append(txm_bio *b, PyObject *bytes)
{
    int result = bytes == NULL ? -1 : PyBytes_Size(bytes) == 0 ? 0 : PyList_Append(b->chunks, bytes);
    Py_XDECREF(bytes);
    return result;
}

/* Takes bytes off the first chunk. It need not be there any more, nor be so long: a callback can read the BIO. */
int txm_bio_drop(txm_bio *b, Py_ssize_t taken)
{
    b->at += taken;
    if (PyList_Size(b->chunks) != 0 && b->at < PyBytes_Size(PyList_GetItem(b->chunks, 0)))
        return 0;
    b->at = 0;
    return PyList_SetSlice(b->chunks, 0, 1, NULL);
}

static PyObject *bio_read(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    txm_bio *b = (txm_bio *)self;
    Py_ssize_t chunks = PyList_Size(b->chunks);
    PyObject *whole = chunks == 0 ? NULL : PyList_GetItem(b->chunks, 0);
    if (whole != NULL && whole == block) { /* nobody else is to have it, now or as a part that is all of it */
        whole = PyBytes_FromStringAndSize(PyBytes_AsString(block), PyBytes_Size(block));
        if (whole == NULL || PyList_SetItem(b->chunks, 0, whole) < 0)
            return NULL;
    }
    if (count == 0 && chunks == 0)
        return PyBytes_FromStringAndSize(NULL, 0);
    if (count != 0 || chunks != 1 || b->at != 0)
        return txm_in_python(self, "_read", args, count, NULL);
    Py_INCREF(whole);
    if (PyList_SetSlice(b->chunks, 0, 1, NULL) < 0)
        Py_CLEAR(whole);
    return whole;
}

static PyObject *bio_write(PyObject *self, PyObject *data)
{
    txm_bio *b = (txm_bio *)self;
    PyObject *view;
    const void *source;
    Py_ssize_t length;
    int ok;
    if (b->ended)
        return txm_in_python(self, "_write", &data, 1, NULL);
    if (PyBytes_CheckExact(data)) {
        Py_INCREF(data);
        length = PyBytes_Size(data);
        ok = txm_bio_append(b, data) == 0;
    } else {
        view = PyMemoryView_FromObject(data);
        ok = view != NULL && txm_readable(view, &source, &length) == 0 &&
             txm_bio_append(b, copied(b, source, length)) == 0;
        Py_XDECREF(view);
    }
    return ok ? PyLong_FromSsize_t(length) : NULL;
}

static PyObject *bio_pending(PyObject *self, void *unused)
{
    const txm_bio *b = (const txm_bio *)self;
    Py_ssize_t chunks = PyList_Size(b->chunks), sum = -b->at;
    (void)unused;
    if (chunks > MANY_CHUNKS) {
        PyObject *whole = PyObject_CallMethod(self, "_joined", NULL);
        Py_XDECREF(whole);
        if (whole == NULL)
            return NULL;
        chunks = PyList_Size(b->chunks);
    }
    for (Py_ssize_t i = 0; i < chunks; i++)
        sum += PyBytes_Size(PyList_GetItem(b->chunks, i));
    return PyLong_FromSsize_t(sum);
}

static PyObject *bio_new(PyTypeObject *type, PyObject *args, PyObject *names)
{
    txm_bio *b = (txm_bio *)((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0);
    (void)args;
    (void)names;
    if (b != NULL && (b->chunks = PyList_New(0)) == NULL)
        Py_CLEAR(b);
    return (PyObject *)b;
}

static void bio_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    Py_XDECREF(((txm_bio *)self)->chunks);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

static PyMethodDef methods[] = {
    {"read", FAST(bio_read), METH_FASTCALL,
     "read($self, size=-1, /)\n--\n\nAt most `size` bytes, everything if it is negative or left out; b\"\" if there is "
     "nothing."},
    {"write", bio_write, METH_O,
     "write($self, data, /)\n--\n\nAppends; returns how many bytes. Raises SSLError after write_eof()."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef facts[] = {
    {"pending", bio_pending, NULL, "Bytes that can be read.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef members[] = {
    {"_chunks", T_OBJECT_EX, offsetof(txm_bio, chunks), READONLY, NULL},
    {"_at", T_PYSSIZET, offsetof(txm_bio, at), 0, NULL},
    {"_ended", T_BOOL, offsetof(txm_bio, ended), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_new, (void *)bio_new}, {Py_tp_dealloc, (void *)bio_dealloc}, {Py_tp_methods, methods},
    {Py_tp_getset, facts},        {Py_tp_members, members},             {0, NULL},
};

static PyType_Spec spec = {
    "txmembio._openssl._crossing.Chunks", (int)sizeof(txm_bio), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, slots,
};

/* Adds the type to the module: 0, or -1 with an exception. */
int txm_bio_add(PyObject *module)
{
    txm_bio_type = (PyTypeObject *)PyType_FromSpec(&spec);
    Py_XINCREF(txm_bio_type); /* one for here */
    return txm_bio_type == NULL ? -1 : PyModule_AddObject(module, "Chunks", (PyObject *)txm_bio_type);
}
