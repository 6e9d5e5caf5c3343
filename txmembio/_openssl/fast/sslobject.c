/* The base of SSLObject: read() and write(). sslobject.py has the same in Python, and all the rest. */

#include <stddef.h>
#include <string.h>

#include "fast.h"

/* Bytes of plaintext that are encrypted in one call: the scratch has room for their wire, whatever the cipher. */
#define AT_ONCE (8 * TXM_RECORD_PLAINTEXT)

/* Bytes of wire from which plaintext is decrypted where it is to stay. For less, a copy out of the scratch is cheaper than
 * memory for the most that may come. */
#define WORTH_ITS_MEMORY 8192

/* What OpenSSL calls it that it needs more wire: SSL_ERROR_WANT_READ (SSL_get_error(3)). */
#define WANT_READ 2

txm_handed_over txm_facades;

typedef struct {
    PyObject_HEAD
    txm_connection *c;      /* the connection's; NULL before _begin() */
    PyObject *connection;
    PyObject *incoming;
    PyObject *outgoing;
    PyObject *failed_later; /* as in sslobject.py */
    char drained;
    char inside;            /* a call of ours is under way */
} tls;

static int tls_traverse(PyObject *self, visitproc visit, void *arg)
{
    const tls *t = (const tls *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(t->connection);
    Py_VISIT(t->incoming);
    Py_VISIT(t->outgoing);
    Py_VISIT(t->failed_later);
    return 0;
}

static int tls_clear(PyObject *self)
{
    tls *t = (tls *)self;
    t->c = NULL;
    Py_CLEAR(t->connection);
    Py_CLEAR(t->incoming);
    Py_CLEAR(t->outgoing);
    Py_CLEAR(t->failed_later);
    return 0;
}

static void tls_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    (void)tls_clear(self);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

/* _begin(connection, address of its txm_connection, incoming, outgoing) */
static PyObject *tls_begin(PyObject *self, PyObject *args)
{
    tls *t = (tls *)self;
    PyObject *connection, *address, *incoming, *outgoing;
    if (!PyArg_ParseTuple(args, "OOO!O!:_begin", &connection, &address, txm_bio_type, &incoming, txm_bio_type,
                          &outgoing))
        return NULL;
    if (t->connection != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "this object has a connection already");
        return NULL;
    }
    t->c = PyLong_AsVoidPtr(address);
    if (PyErr_Occurred())
        return NULL;
    Py_INCREF(t->connection = connection);
    Py_INCREF(t->incoming = incoming);
    Py_INCREF(t->outgoing = outgoing);
    Py_RETURN_NONE;
}

/* Whether a call may go on: 1, or -1 with an exception for the second one to come in, or 0 for Python's own method. */
static int enter(const tls *t)
{
    if (!t->inside)
        return t->c != NULL;
    PyErr_SetObject(PyExc_RuntimeError, txm_facades.in_two_places);
    return -1;
}

static PyObject *want_read(void)
{
    PyErr_SetObject(txm_facades.want_read, txm_facades.want_read_why);
    return NULL;
}

/* One txm_read() of `wire`, the first chunk, whose plaintext goes to target, or becomes a bytes object where that is NULL.
 * NULL with *left where nothing has happened, and Python is to do it. */
static PyObject *read_once(tls *t, PyObject *wire, size_t size, char *target, int *left)
{
    txm_bio *incoming = (txm_bio *)t->incoming;
    const char *data = PyBytes_AsString(wire);
    size_t length = (size_t)PyBytes_Size(wire), at = (size_t)incoming->at < length ? (size_t)incoming->at : length;
    size_t most = length - at + TXM_RECORD_PLAINTEXT; /* with what OpenSSL has of a record that is not complete */
    PyObject *own = NULL, *out = NULL, *scratch;
    PyThreadState *released;
    txm_scratch *area;
    const txm_report *r;
    char *place = target;
    long long moved;
    int ok = 1;
    if ((scratch = txm_take(&area)) == NULL)
        return NULL;
    r = &area->report;
    if (target == NULL && length - at >= WORTH_ITS_MEMORY && size > TXM_RECORD_PLAINTEXT) {
        size = size < most ? size : most;
        if ((own = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size)) != NULL)
            place = PyBytes_AsString(own);
        else
            PyErr_Clear();
    }
    if (place == NULL) {
        place = area->plaintext;
        size = size < TXM_PLAINTEXT_ROOM ? size : TXM_PLAINTEXT_ROOM;
    }
    t->inside = 1;
    released = length - at >= LONG_WORK ? PyEval_SaveThread() : NULL;
    moved = txm_facades.read(t->c, area, data, at, length, place, size);
    if (released != NULL)
        PyEval_RestoreThread(released);
    t->inside = 0;
    if (moved == TXM_NOT_HERE) {
        *left = 1;
        Py_XDECREF(own);
    } else if (moved >= 0 || (r->status == TXM_WANT_WIRE && r->plaintext == 0 && r->wire == 0 && t->c->handle == NULL)) {
        /* What OpenSSL holds may be the beginning of a record, and then it has said already that it wants the rest. */
        int more = moved >= TXM_LEFT && r->ssl_error != WANT_READ;
        if (r->consumed != 0 && PyList_Size(incoming->chunks) != 0 && PyList_GetItem(incoming->chunks, 0) == wire)
            ok = txm_bio_drop(incoming, (Py_ssize_t)r->consumed) == 0;
        t->drained = !more && PyList_Size(incoming->chunks) == 0;
        if (moved >= TXM_LEFT)
            moved -= TXM_LEFT;
        if (moved < 0) {
            txm_facades.leave(t->c);
            Py_XDECREF(own);
            *left = ok ? -1 : 0;
        } else if (!ok)
            Py_XDECREF(own);
        else
            out = target != NULL ? PyLong_FromLongLong(moved) : txm_shortened(own, size, place, moved);
    } else { /* Python looks at the report, drops what was consumed, and keeps the scratch, which is a tuple */
        int whole = target == NULL && own == NULL;
        out = PyObject_CallMethod((PyObject *)t, whole ? "_end_of_read" : "_after_read", whole ? "(O)" : "(OO)", scratch,
                                  Py_False);
        Py_DECREF(scratch);
        if (own != NULL && out != NULL) { /* that was how many bytes */
            moved = PyLong_AsLongLong(out);
            Py_DECREF(out);
            return txm_shortened(own, size, place, moved);
        }
        Py_XDECREF(own);
        return out;
    }
    txm_give(scratch, area);
    return *left < 0 ? want_read() : out;
}

static PyObject *tls_read(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    tls *t = (tls *)self;
    const txm_bio *incoming = (const txm_bio *)t->incoming;
    PyObject *view = NULL, *wire, *out = NULL;
    Py_ssize_t size = 1024, room = 0;
    void *target = NULL;
    int may = enter(t), left = 0;
    if (may < 0)
        return NULL;
    if (!may || names != NULL || count > 2 || incoming->ended || PyList_Size(incoming->chunks) > 1 ||
        (t->failed_later != NULL && t->failed_later != Py_None))
        return txm_in_python(self, "_read", args, count, names);
    if (count > 0 && (size = PyNumber_AsSsize_t(args[0], NULL)) == -1 && PyErr_Occurred())
        return NULL;
    if (count == 2 && args[1] != Py_None) {
        view = PyMemoryView_FromObject(args[1]); /* holds the memory while OpenSSL writes to it */
        if (view == NULL || txm_writable(view, &target, &room) < 0 || room == 0) {
            Py_XDECREF(view);
            return PyErr_Occurred() ? NULL : PyLong_FromLong(0);
        }
        if (size <= 0 || size > room)
            size = room;
    } else if (size <= 0)
        return txm_in_python(self, "_read", args, count, names);
    if (PyList_Size(incoming->chunks) == 0 && t->drained)
        (void)want_read();
    else {
        wire = PyList_Size(incoming->chunks) == 0 ? PyBytes_FromStringAndSize(NULL, 0)
                                                  : PyList_GetItem(incoming->chunks, 0);
        if (PyList_Size(incoming->chunks) != 0)
            Py_INCREF(wire); /* another thread, or a callback, may empty the BIO meanwhile */
        if (wire != NULL)
            out = read_once(t, wire, (size_t)size, target, &left);
        Py_XDECREF(wire);
    }
    Py_XDECREF(view);
    return left > 0 ? txm_in_python(self, "_read", args, count, names) : out;
}

/* The bytes at `data` into the outgoing BIO, as one chunk however many there are. */
static PyObject *write_all(tls *t, const char *data, size_t length)
{
    txm_bio *outgoing = (txm_bio *)t->outgoing;
    size_t room = (length + AT_ONCE - 1) / AT_ONCE * TXM_WIRE_ROOM; /* whatever the records are, a piece has no more */
    size_t done = 0, used = 0, piece;
    PyObject *all = NULL, *scratch, *out;
    PyThreadState *released;
    txm_scratch *area;
    long long moved = TXM_NOT_HERE;
    if (length > AT_ONCE && (all = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)room)) == NULL)
        return NULL;
    if ((scratch = txm_take(&area)) == NULL) {
        Py_XDECREF(all);
        return NULL;
    }
    for (; done < length; done += piece) {
        piece = length - done < AT_ONCE ? length - done : AT_ONCE;
        t->inside = 1;
        released = piece >= LONG_WORK ? PyEval_SaveThread() : NULL;
        moved = txm_facades.write(t->c, area, data + done, piece);
        if (released != NULL)
            PyEval_RestoreThread(released);
        t->inside = 0;
        if (moved < 0 || all == NULL)
            break;
        memcpy(PyBytes_AsString(all) + used, area->wire, (size_t)moved);
        used += (size_t)moved;
    }
    if (all == NULL && moved >= 0)
        all = PyBytes_FromStringAndSize(area->wire, (Py_ssize_t)moved);
    else if (all != NULL)
        all = txm_shortened(all, used, NULL, (long long)used); /* never a copy, for which there might be no memory */
    if ((all != NULL || moved >= 0) && txm_bio_append(outgoing, all) < 0) {
        txm_give(scratch, area);
        return NULL;
    }
    if (moved >= 0) {
        txm_give(scratch, area);
        return PyLong_FromSize_t(length);
    }
    if (moved == TXM_NOT_HERE)
        txm_give(scratch, area);
    else { /* raises, mostly; it keeps the scratch */
        out = PyObject_CallMethod((PyObject *)t, "_after_write", "(O)", scratch);
        Py_DECREF(scratch);
        if (out == NULL)
            return NULL;
        Py_DECREF(out);
    }
    out = PyObject_CallMethod((PyObject *)t, "_write_slowly", "(y#)", data + done, (Py_ssize_t)(length - done));
    if (out != NULL && done != 0) {
        done += PyLong_AsSize_t(out);
        Py_DECREF(out);
        out = PyLong_FromSize_t(done);
    }
    return out;
}

static PyObject *tls_write(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    tls *t = (tls *)self;
    PyObject *view, *out = NULL;
    const void *data;
    Py_ssize_t length;
    int may = enter(t);
    if (may < 0)
        return NULL;
    if (!may || names != NULL || count != 1)
        return txm_in_python(self, "_write", args, count, names);
    if (PyBytes_CheckExact(args[0]))
        return write_all(t, PyBytes_AsString(args[0]), (size_t)PyBytes_Size(args[0]));
    view = PyMemoryView_FromObject(args[0]);
    if (view != NULL && txm_readable(view, &data, &length) == 0)
        out = write_all(t, data, (size_t)length);
    Py_XDECREF(view);
    return out;
}

static PyMethodDef methods[] = {
    {"read", FAST(tls_read), METH_FASTCALL | METH_KEYWORDS,
     "read($self, len=1024, buffer=None)\n--\n\nUp to `len` bytes of plaintext, a record's, or those of several full "
     "ones; with a buffer, into it, returning\nhow many. b\"\" (or 0) after the peer's close_notify."},
    {"write", FAST(tls_write), METH_FASTCALL | METH_KEYWORDS,
     "write($self, data)\n--\n\nEncrypts all of `data` into the outgoing BIO; returns how many bytes that were."},
    {"_begin", tls_begin, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef members[] = {
    {"_connection", T_OBJECT_EX, offsetof(tls, connection), READONLY, NULL},
    {"_incoming", T_OBJECT_EX, offsetof(tls, incoming), READONLY, NULL},
    {"_outgoing", T_OBJECT_EX, offsetof(tls, outgoing), READONLY, NULL},
    {"_failed_later", T_OBJECT, offsetof(tls, failed_later), 0, NULL},
    {"_drained", T_BOOL, offsetof(tls, drained), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_dealloc, (void *)tls_dealloc}, {Py_tp_traverse, (void *)tls_traverse}, {Py_tp_clear, (void *)tls_clear},
    {Py_tp_methods, methods},             {Py_tp_members, members},               {0, NULL},
};

static PyType_Spec spec = {
    "txmembio._openssl._crossing.Steps", (int)sizeof(tls), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, slots,
};

/* Adds the type to the module: 0, or -1 with an exception. */
int txm_sslobject_add(PyObject *module)
{
    PyObject *type = PyType_FromSpec(&spec);
    return type == NULL ? -1 : PyModule_AddObject(module, "Steps", type);
}
