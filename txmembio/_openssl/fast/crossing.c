/* The two calls that every event makes, without cffi: Connection.receive_wire() and Connection.plaintext_to_wire().
 *
 * For CPython, where this can be built; crossing.py says what happens elsewhere. A message of 64 bytes takes OpenSSL half
 * a microsecond. Through cffi twice as much again goes into a frame of Python's, a tuple of arguments, letting go of the
 * GIL, and a slice that copies the result.
 *
 * Only what goes through is done here: established, bytes in, nothing put aside before, nothing to tell but the result.
 * For everything else the Python methods that these two stand in for are called, and where OpenSSL has answered already,
 * those that look at its report. So there is one place that knows what an error, a close or a handshake means, and it is
 * connection.py.
 *
 * The pump is the one in _lib, which hands its addresses over: nothing is linked here, neither it nor OpenSSL.
 */

#include "fast.h"

/* Bytes of a message from which OpenSSL writes its result where it is to stay. For shorter ones a copy out of the scratch
 * is cheaper than the memory that must be set aside for the worst case. */
#define WORTH_ITS_MEMORY 12288

/* What a Connection is in C. Those that Python may clear when it collects cycles are held until the end here, since C has
 * their addresses. */
typedef struct {
    PyObject_HEAD
    txm_connection *connection;
    PyObject *c;            /* cffi's owner of it */
    PyObject *handle;       /* of the callbacks, whose address the connection has */
    PyObject *wire;         /* a list: wire that goes first */
    PyObject *kept;         /* a list: plaintext that goes first */
    char handshake_complete;
    char plaintext_held;    /* plaintext that comes first */
} Crossing;

/* What crossing.py has handed over. */
static struct {
    long long (*receive)(txm_connection *, txm_scratch *, const char *, size_t, char *, size_t);
    long long (*send)(txm_connection *, txm_scratch *, const char *, size_t);
    PyObject *take_scratch;      /* () -> (a Scratch, the address of its C side) */
    PyObject *give_scratch;      /* (Scratch) */
    PyObject *receive_wire;      /* (connection, data) -> bytes: the Python methods */
    PyObject *plaintext_to_wire;
    PyObject *end_receiving;     /* (connection, data, Scratch) -> bytes: the same, once the pump has answered */
    PyObject *end_sending;
} python;

/* The scratch between two calls, NULL while one has it: what runs meanwhile takes another. The GIL guards both. */
static PyObject *idle;
static txm_scratch *idle_area;

/* Takes a scratch. Returns what to give back, or NULL with an exception. */
PyObject *txm_take(txm_scratch **area)
{
    PyObject *scratch = idle, *both, *address;
    *area = idle_area;
    idle = NULL;
    if (scratch != NULL)
        return scratch;
    both = PyObject_CallObject(python.take_scratch, NULL);
    if (both == NULL)
        return NULL;
    if (PyArg_ParseTuple(both, "OO:take_scratch", &scratch, &address)) {
        *area = PyLong_AsVoidPtr(address);
        Py_INCREF(scratch);
    }
    Py_DECREF(both);
    return scratch;
}

void txm_give(PyObject *scratch, txm_scratch *area)
{
    PyObject *other = idle, *none;
    idle = scratch;
    idle_area = area;
    if (other == NULL)
        return;
    if (!PyErr_Occurred()) { /* or it would be lost in the call */
        none = PyObject_CallFunctionObjArgs(python.give_scratch, other, NULL);
        if (none == NULL)
            PyErr_Clear(); /* no room in the pool: then it is freed */
        Py_XDECREF(none);
    }
    Py_DECREF(other);
}

/* Whether data can go straight into the pump: nothing is to come before it, and it is what the pump takes. */
static int is_plain(const Crossing *self, PyObject *data)
{
    return self->connection != NULL && self->handshake_complete && PyList_Size(self->kept) == 0 &&
           PyBytes_CheckExact(data);
}

static PyObject *in_python(PyObject *method, Crossing *self, PyObject *data)
{
    return PyObject_CallFunctionObjArgs(method, self, data, NULL);
}

/* The pump has more to tell than a number, and the connection is held until Python has looked at the report. */
static PyObject *end_in_python(PyObject *method, Crossing *self, PyObject *data, PyObject *scratch)
{
    PyObject *result = PyObject_CallFunctionObjArgs(method, self, data, scratch, NULL);
    Py_DECREF(scratch);
    return result;
}

/* Shortens bytes that nobody else has seen yet, as _PyBytes_Resize() does, which the limited API lacks; the memory behind
 * the end goes when they go. Where that would be an eighth or more, or there is no memory to shorten, copies them. */
PyObject *txm_shortened(PyObject *bytes, size_t room, const char *octets, long long length)
{
    if (bytes == NULL || (size_t)length < room - room / 8) {
        PyObject *copy = PyBytes_FromStringAndSize(octets, (Py_ssize_t)length);
        Py_XDECREF(bytes); /* the octets may be its own */
        return copy;
    }
    PyBytes_AsString(bytes)[length] = '\0';
    Py_SET_SIZE((PyVarObject *)bytes, (Py_ssize_t)length);
    return bytes;
}

/* The most plaintext that is complete with this wire, as the headers of its records have it. Where one was torn it is
 * wrong; then a little memory is wasted, or the pump has more to tell. */
static size_t most_plaintext(const txm_connection *c, const char *wire, size_t length)
{
    const unsigned char *octets = (const unsigned char *)wire;
    size_t at = c->missing == TXM_RECORD_HEADER ? 0 : c->missing;
    size_t most = at == 0 || at > length ? 0 : c->record;
    while (at + TXM_RECORD_HEADER <= length) {
        size_t body = (size_t)octets[at + 3] << 8 | octets[at + 4];
        at += TXM_RECORD_HEADER + body;
        if (at <= length)
            most += body;
    }
    return most < TXM_PLAINTEXT_ROOM ? most : TXM_PLAINTEXT_ROOM;
}

static PyObject *receive_wire(PyObject *object, PyObject *data)
{
    Crossing *self = (Crossing *)object;
    PyObject *scratch, *result = NULL;
    PyThreadState *released;
    txm_scratch *area;
    const char *wire;
    char *target;
    size_t length, room = 0;
    long long moved;
    if (self->plaintext_held || !is_plain(self, data))
        return in_python(python.receive_wire, self, data);
    wire = PyBytes_AsString(data);
    length = (size_t)PyBytes_Size(data);
    if (length >= WORTH_ITS_MEMORY)
        room = most_plaintext(self->connection, wire, length);
    if (room >= WORTH_ITS_MEMORY && (result = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)room)) == NULL)
        return NULL;
    if ((scratch = txm_take(&area)) == NULL) {
        Py_XDECREF(result);
        return NULL;
    }
    target = result == NULL ? area->plaintext : PyBytes_AsString(result);
    released = length >= LONG_WORK ? PyEval_SaveThread() : NULL;
    moved = python.receive(self->connection, area, wire, length, target, result == NULL ? TXM_PLAINTEXT_ROOM : room);
    if (released != NULL)
        PyEval_RestoreThread(released);
    if (moved >= 0) {
        result = txm_shortened(result, room, target, moved);
        txm_give(scratch, area);
        return result;
    }
    if (result != NULL)
        memcpy(area->plaintext, target, area->report.plaintext);
    Py_XDECREF(result);
    return end_in_python(python.end_receiving, self, data, scratch);
}

static PyObject *plaintext_to_wire(PyObject *object, PyObject *data)
{
    Crossing *self = (Crossing *)object;
    PyObject *scratch, *result = NULL;
    PyThreadState *released;
    txm_scratch *area;
    char *own;
    size_t length, room;
    long long moved;
    if (!is_plain(self, data) || PyList_Size(self->wire) != 0)
        return in_python(python.plaintext_to_wire, self, data);
    length = (size_t)PyBytes_Size(data);
    room = length + (length / TXM_RECORD_PLAINTEXT + 1) * TXM_RECORD_OVERHEAD + TXM_WIRE_RESERVE;
    if (length >= WORTH_ITS_MEMORY && room <= TXM_WIRE_ROOM &&
        (result = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)room)) == NULL)
        return NULL;
    if ((scratch = txm_take(&area)) == NULL) {
        Py_XDECREF(result);
        return NULL;
    }
    own = area->wire;
    if (result != NULL) {
        area->wire = PyBytes_AsString(result);
        area->wire_room = room;
    }
    released = length >= LONG_WORK ? PyEval_SaveThread() : NULL;
    moved = python.send(self->connection, area, PyBytes_AsString(data), length);
    if (released != NULL)
        PyEval_RestoreThread(released);
    if (moved < 0 && result != NULL)
        memcpy(own, area->wire, area->report.wire);
    area->wire_room = TXM_WIRE_ROOM;
    if (moved < 0) {
        area->wire = own;
        Py_XDECREF(result);
        return end_in_python(python.end_sending, self, data, scratch);
    }
    result = txm_shortened(result, room, area->wire, moved);
    area->wire = own;
    txm_give(scratch, area);
    return result;
}

/* adopt(c, address): the connection that this is from now on. */
static PyObject *adopt(PyObject *object, PyObject *arguments)
{
    Crossing *self = (Crossing *)object;
    PyObject *c, *address;
    if (!PyArg_ParseTuple(arguments, "OO:adopt", &c, &address))
        return NULL;
    if (self->c != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "this object has a connection already");
        return NULL;
    }
    self->wire = PyList_New(0);
    self->kept = PyList_New(0);
    self->connection = PyLong_AsVoidPtr(address);
    if (self->wire == NULL || self->kept == NULL || PyErr_Occurred()) {
        self->connection = NULL;
        return NULL;
    }
    Py_INCREF(c);
    self->c = c;
    Py_RETURN_NONE;
}

static void dealloc(PyObject *object)
{
    Crossing *self = (Crossing *)object;
    PyTypeObject *type = Py_TYPE(object);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    Py_XDECREF(self->c);
    Py_XDECREF(self->handle);
    Py_XDECREF(self->wire);
    Py_XDECREF(self->kept);
    release(object);
    Py_DECREF(type);
}

/* set_up(receive, send, take_scratch, ...): what the static struct holds, in its order. */
static PyObject *set_up(PyObject *module, PyObject *arguments)
{
    PyObject *receive, *send;
    (void)module;
    if (python.receive != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "set_up() was called before");
        return NULL;
    }
    if (!PyArg_ParseTuple(arguments, "OOOOOOOO:set_up", &receive, &send, &python.take_scratch, &python.give_scratch,
                          &python.receive_wire, &python.plaintext_to_wire, &python.end_receiving,
                          &python.end_sending))
        return NULL;
    Py_INCREF(arguments); /* for good, and with it all that is in it */
    *(void **)&python.send = PyLong_AsVoidPtr(send);
    *(void **)&python.receive = PyLong_AsVoidPtr(receive);
    if (PyErr_Occurred())
        return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"receive_wire", receive_wire, METH_O,
     "receive_wire($self, data, /)\n--\n\n"
     "Takes what has arrived; returns the plaintext in it, b\"\" if there is none yet. Then look at `changed`.\n\n"
     "Raises SSLError for bad wire and a refused handshake; what came before is handed over first."},
    {"plaintext_to_wire", plaintext_to_wire, METH_O,
     "plaintext_to_wire($self, data, /)\n--\n\n"
     "send_plaintext() and wire_to_send() in one: encrypts, and returns everything there is to send."},
    {"adopt", adopt, METH_VARARGS, "adopt($self, c, address, /)\n--\n\nTakes a connection, once."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef members[] = {
    {"_c", T_OBJECT_EX, offsetof(Crossing, c), READONLY, NULL},
    {"_handle", T_OBJECT, offsetof(Crossing, handle), 0, NULL},
    {"_kept", T_OBJECT_EX, offsetof(Crossing, kept), READONLY, NULL},
    {"_wire", T_OBJECT_EX, offsetof(Crossing, wire), READONLY, NULL},
    {"handshake_complete", T_BOOL, offsetof(Crossing, handshake_complete), 0, NULL},
    {"plaintext_held", T_BOOL, offsetof(Crossing, plaintext_held), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_dealloc, (void *)dealloc},
    {Py_tp_methods, methods},
    {Py_tp_members, members},
    {0, NULL},
};

static PyType_Spec spec = {
    "txmembio._openssl._crossing.Crossing", sizeof(Crossing), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, slots,
};

/* set_up_facades(read, write, leave, ...): what the struct in fast.h holds, in its order. */
static PyObject *set_up_facades(PyObject *module, PyObject *arguments)
{
    PyObject *read, *write, *leave;
    txm_handed_over *p = &txm_facades;
    (void)module;
    if (p->read != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "set_up_facades() was called before");
        return NULL;
    }
    if (!PyArg_ParseTuple(arguments, "OOOOOO:set_up_facades", &read, &write, &leave, &p->want_read, &p->want_read_why,
                          &p->in_two_places))
        return NULL;
    Py_INCREF(arguments); /* for good, and with it all that is in it */
    *(void **)&p->write = PyLong_AsVoidPtr(write);
    *(void **)&p->leave = PyLong_AsVoidPtr(leave);
    *(void **)&p->read = PyLong_AsVoidPtr(read);
    if (PyErr_Occurred())
        return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"set_up", set_up, METH_VARARGS, NULL},
    {"set_up_facades", set_up_facades, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

/* A second interpreter of the process would share what set_up() was given: it has to do without. */
static int execute(PyObject *module)
{
    static int executed = 0;
    PyObject *type;
    if (executed) {
        PyErr_SetString(PyExc_ImportError, "txmembio._openssl._crossing is for one interpreter, once");
        return -1;
    }
    type = PyType_FromSpec(&spec);
    if (type == NULL || PyModule_AddObject(module, "Crossing", type) != 0) {
        Py_XDECREF(type);
        return -1;
    }
    executed = 1;
    if (txm_bio_add(module) < 0 || txm_sslobject_add(module) < 0)
        return -1;
    return PyModule_AddIntConstant(module, "CONNECTION_SIZE", (long)sizeof(txm_connection)) ||
                   PyModule_AddIntConstant(module, "SCRATCH_SIZE", (long)sizeof(txm_scratch))
               ? -1
               : 0;
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, (void *)execute},
    {0, NULL},
};

static PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_crossing", NULL, 0, functions, module_slots, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__crossing(void);
PyMODINIT_FUNC PyInit__crossing(void) { return PyModuleDef_Init(&definition); }
