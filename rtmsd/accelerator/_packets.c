/* Takes audio packets like earlier ones from the bytes of a connection to their track.

The same as `FrameSplitter`, `decode_batch`, `MediaIntake.audio` and `Track.append` do one after the other, for a message
that equals an earlier one but for its base64 and the digits of its time, and whose packet continues the track. Whatever
is not so, or not so for certain, is returned as bytes, for them to read. See the package.
*/

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define READ_BYTES (64 * 1024)
#define HEAD_BYTES 4    /* of a frame with a message of 126 to 65535 bytes */
#define MAX_FORMS 64    /* people in one conversation; past it the one used longest ago is forgotten */
#define TIME_DIGITS 13
#define PIECE_BYTES 64  /* file_buffer.PIECE_BYTES */

/* What messages of one participant have in common: all but the base64 and the time of their packets. */
typedef struct {
    unsigned char *message; /* the one it was learnt from */
    Py_ssize_t message_bytes;
    Py_ssize_t data_at, data_chars, data_bytes, time_at;
    PyObject *user_id, *user_name;
} Form;

typedef struct {
    PyObject_HEAD
    PyObject *tracks, *store, *timeline, *backlog, *listeners;
    Form *forms; /* the one used last comes first */
    int form_count, form_room;
    unsigned char *held; /* the beginning of a frame of a known length */
    Py_ssize_t held_bytes, wanted_bytes;
    Py_ssize_t taken, read_bytes;
    int is_taking; /* what a track calls must not change what is being taken */
} Reader;

/* Slots of Python classes. They are read and set in place: `__slots__` lie at fixed offsets of their objects. */

enum { TRACK_BYTES_PER_MS, TRACK_BLOCK_BYTES, TRACK_SLACK_BYTES, TRACK_EXPECTED, TRACK_NEWEST_MS, TRACK_NEWEST_BYTES,
       TRACK_TAIL, TRACK_KEYS, TRACK_FILE, TRACK_USER_NAME, TRACK_SLOTS };
static const char *const track_names[TRACK_SLOTS] = {
    "_bytes_per_ms", "_block_bytes", "_slack_bytes", "_expected", "newest_ms", "_newest_bytes",
    "_tail", "_keys", "file", "user_name"};
static Py_ssize_t track_offsets[TRACK_SLOTS];
static PyTypeObject *track_type; /* of which all tracks are, as the first reader is told */

enum { BACKLOG_PENDING, BACKLOG_LIMIT, BACKLOG_SLOTS };
static const char *const backlog_names[BACKLOG_SLOTS] = {"pending_bytes", "limit_bytes"};
static Py_ssize_t backlog_offsets[BACKLOG_SLOTS];
static PyTypeObject *backlog_type;

static PyObject *str_append, *str_audio_watch_ms, *str_decodes, *str_on_dirty;

#define TRACK(track, slot) (*(PyObject **)((char *)(track) + track_offsets[slot]))
#define BACKLOG(backlog, slot) (*(PyObject **)((char *)(backlog) + backlog_offsets[slot]))

static int
find_slots(PyTypeObject **known, PyTypeObject *type, const char *const *names, Py_ssize_t *offsets, int count)
{
    if (*known == type)
        return 0;
    if (*known != NULL) {
        PyErr_Format(PyExc_TypeError, "%s is not %s", type->tp_name, (*known)->tp_name);
        return -1;
    }
    for (int i = 0; i < count; i++) {
        PyObject *slot = PyObject_GetAttrString((PyObject *)type, names[i]);
        if (slot == NULL)
            return -1;
        if (!Py_IS_TYPE(slot, &PyMemberDescr_Type) || ((PyMemberDescrObject *)slot)->d_member->type != T_OBJECT_EX) {
            Py_DECREF(slot);
            PyErr_Format(PyExc_TypeError, "%s.%s is no slot", type->tp_name, names[i]);
            return -1;
        }
        offsets[i] = ((PyMemberDescrObject *)slot)->d_member->offset;
        Py_DECREF(slot);
    }
    *known = (PyTypeObject *)Py_NewRef(type);
    return 0;
}

/* Returns -1 with an error set where the slot holds no number of 64 bits. */
static int
read_number(PyObject *value, long long *number)
{
    if (value == NULL) {
        PyErr_SetString(PyExc_AttributeError, "a slot is empty");
        return -1;
    }
    *number = PyLong_AsLongLong(value);
    return *number == -1 && PyErr_Occurred() ? -1 : 0;
}

static int
set_number(PyObject **slot, long long number)
{
    PyObject *value = PyLong_FromLongLong(number);
    if (value == NULL)
        return -1;
    Py_XSETREF(*slot, value);
    return 0;
}

/* Base64 */

static unsigned char sextets[256]; /* of each character; 255: it is none of the alphabet */

static void
fill_sextets(void)
{
    const char *alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    memset(sextets, 255, sizeof sextets);
    for (int i = 0; i < 64; i++)
        sextets[(unsigned char)alphabet[i]] = (unsigned char)i;
}

/* Decode `chars` characters, a multiple of 4, to just `bytes` bytes. Returns 0 for anything but the one way to write
them: padding that is too much, too little or not zero is for others to judge. Where it is inlined, the loop has too few
registers: a packet costs a sixth more. */
static __attribute__((noinline)) int
decode_base64(const unsigned char *in, Py_ssize_t chars, unsigned char *out, Py_ssize_t bytes)
{
    Py_ssize_t padding = chars / 4 * 3 - bytes;
    Py_ssize_t whole = padding ? chars / 4 - 1 : chars / 4;
    unsigned char bad = 0;
    for (Py_ssize_t i = 0; i < whole; i++, in += 4, out += 3) {
        unsigned char a = sextets[in[0]], b = sextets[in[1]], c = sextets[in[2]], d = sextets[in[3]];
        bad |= a | b | c | d;
        out[0] = (unsigned char)(a << 2 | b >> 4);
        out[1] = (unsigned char)(b << 4 | c >> 2);
        out[2] = (unsigned char)(c << 6 | d);
    }
    if (padding) {
        unsigned char a = sextets[in[0]], b = sextets[in[1]], c = padding == 1 ? sextets[in[2]] : 0;
        bad |= a | b | c;
        if (in[3] != '=' || (padding == 2 && in[2] != '=') || (padding == 1 ? c & 3 : b & 15))
            return 0;
        out[0] = (unsigned char)(a << 2 | b >> 4);
        if (padding == 1)
            out[1] = (unsigned char)(b << 4 | c >> 2);
    }
    return bad < 64;
}

/* Forms */

static void
clear_form(Form *form)
{
    PyMem_Free(form->message);
    Py_CLEAR(form->user_id);
    Py_CLEAR(form->user_name);
}

static int
lies_within(Py_ssize_t at, Py_ssize_t size, Py_ssize_t whole)
{
    return at >= 0 && size <= whole && at <= whole - size;
}

static int
is_possible(const Form *form)
{
    Py_ssize_t whole = form->message_bytes;
    if (whole < 126 || whole > 65535 || form->data_chars < 4 || form->data_chars % 4 || form->data_bytes < 1
        || !lies_within(form->data_at, form->data_chars, whole) || !lies_within(form->time_at, TIME_DIGITS, whole))
        return 0;
    Py_ssize_t most = form->data_chars / 4 * 3;
    return form->data_bytes <= most && form->data_bytes >= most - 2
        && (form->time_at >= form->data_at + form->data_chars || form->data_at >= form->time_at + TIME_DIGITS);
}

static int
fits(const Form *form, const unsigned char *message)
{
    const unsigned char *known = form->message;
    Py_ssize_t first_at = form->data_at, first_bytes = form->data_chars, second_at = form->time_at,
               second_bytes = TIME_DIGITS;
    if (second_at < first_at) {
        first_at = form->time_at, first_bytes = TIME_DIGITS;
        second_at = form->data_at, second_bytes = form->data_chars;
    }
    Py_ssize_t between_at = first_at + first_bytes, end_at = second_at + second_bytes;
    return memcmp(known, message, first_at) == 0
        && memcmp(known + end_at, message + end_at, form->message_bytes - end_at) == 0
        && memcmp(known + between_at, message + between_at, second_at - between_at) == 0;
}

/* Returns the form of a message and makes it the first; NULL: it has none of those known. */
static Form *
find_form(Reader *self, const unsigned char *message, Py_ssize_t message_bytes)
{
    for (int i = 0; i < self->form_count; i++) {
        if (self->forms[i].message_bytes == message_bytes && fits(&self->forms[i], message)) {
            if (i) {
                Form found = self->forms[i];
                memmove(self->forms + 1, self->forms, i * sizeof(Form));
                self->forms[0] = found;
            }
            return self->forms;
        }
    }
    return NULL;
}

/* Returns 0 where there is no number without a leading zero. */
static long long
read_time(const unsigned char *digits)
{
    long long time = 0;
    if (digits[0] == '0')
        return 0;
    for (int i = 0; i < TIME_DIGITS; i++) {
        if (digits[i] < '0' || digits[i] > '9')
            return 0;
        time = time * 10 + (digits[i] - '0');
    }
    return time;
}

/* Returns the length of the message of a frame; -1: it is no whole message of 126 to 65535 bytes. */
static Py_ssize_t
read_head(const unsigned char *frame)
{
    Py_ssize_t message_bytes = frame[2] << 8 | frame[3];
    int is_whole = frame[0] == 0x81 || frame[0] == 0x82; /* text or binary */
    return is_whole && frame[1] == 126 && message_bytes > 125 ? message_bytes : -1;
}

/* Packets */

/* `Track.append`, decoding first. Returns 1; 0: nothing was done, as it is for others to place; -1: an error. */
static int
append(Reader *self, const Form *form, PyObject *track, const unsigned char *message, long long time_ms)
{
    long long per_ms, block, slack, expected, newest_ms, pending, limit;
    if (read_number(TRACK(track, TRACK_BYTES_PER_MS), &per_ms) < 0
        || read_number(TRACK(track, TRACK_BLOCK_BYTES), &block) < 0
        || read_number(TRACK(track, TRACK_SLACK_BYTES), &slack) < 0
        || read_number(TRACK(track, TRACK_EXPECTED), &expected) < 0
        || read_number(TRACK(track, TRACK_NEWEST_MS), &newest_ms) < 0
        || read_number(BACKLOG(self->backlog, BACKLOG_PENDING), &pending) < 0
        || read_number(BACKLOG(self->backlog, BACKLOG_LIMIT), &limit) < 0) {
        PyErr_Clear();
        return 0;
    }
    PyObject *tail = TRACK(track, TRACK_TAIL), *keys = TRACK(track, TRACK_KEYS), *file = TRACK(track, TRACK_FILE);
    if (tail == NULL || !PyList_CheckExact(tail) || keys == NULL || file == NULL)
        return 0;
    long long off = time_ms * per_ms - expected;
    if (off < -slack || off > slack || time_ms <= newest_ms || block < 1 || form->data_bytes % block
        || pending >= limit)
        return 0;
    PyObject *name = TRACK(track, TRACK_USER_NAME);
    if (name != form->user_name) {
        int is_same = name == NULL ? 0 : PyObject_RichCompareBool(name, form->user_name, Py_EQ);
        if (is_same <= 0)
            return is_same;
    }

    int result = -1;
    PyObject *key = NULL, *appended = NULL, *data = PyBytes_FromStringAndSize(NULL, form->data_bytes);
    if (data == NULL)
        return -1;
    unsigned char *bytes = (unsigned char *)PyBytes_AS_STRING(data);
    if (!decode_base64(message + form->data_at, form->data_chars, bytes, form->data_bytes)) {
        result = 0;
        goto done;
    }
    Py_hash_t hash = PyObject_Hash(data);
    key = PyLong_FromLongLong(time_ms ^ (long long)hash);
    if (key == NULL)
        goto done;
    if (PyList_GET_SIZE(tail) == 0) {
        PyObject *called = PyObject_CallMethodOneArg(file, str_on_dirty, file);
        if (called == NULL)
            goto done;
        Py_DECREF(called);
    }
    if (PyList_Append(tail, data) < 0
        || (appended = PyObject_CallMethodOneArg(keys, str_append, key)) == NULL
        || set_number(&TRACK(track, TRACK_EXPECTED), expected + form->data_bytes) < 0
        || set_number(&TRACK(track, TRACK_NEWEST_BYTES), form->data_bytes) < 0
        || set_number(&TRACK(track, TRACK_NEWEST_MS), time_ms) < 0
        || set_number(&BACKLOG(self->backlog, BACKLOG_PENDING), pending + form->data_bytes + PIECE_BYTES) < 0)
        goto done;
    self->taken++;
    result = 1;
done:
    Py_XDECREF(appended);
    Py_XDECREF(key);
    Py_DECREF(data);
    return result;
}

/* Take packets from the beginning of `frames`, from `since_ms` on. Returns how many bytes they had, or -1. */
static Py_ssize_t
take_frames(Reader *self, const unsigned char *frames, Py_ssize_t size, double since_ms)
{
    Py_ssize_t at = 0;
    while (size - at >= HEAD_BYTES) {
        const unsigned char *message = frames + at + HEAD_BYTES;
        Py_ssize_t message_bytes = read_head(frames + at);
        if (message_bytes < 0 || size - at - HEAD_BYTES < message_bytes)
            break;
        const Form *form = find_form(self, message, message_bytes);
        long long time_ms = form == NULL ? 0 : read_time(message + form->time_at);
        if (!time_ms || (double)time_ms < since_ms)
            break;
        PyObject *track = PyDict_GetItemWithError(self->tracks, form->user_id);
        if (track == NULL || !Py_IS_TYPE(track, track_type)) {
            if (PyErr_Occurred())
                return -1;
            break;
        }
        Py_INCREF(track);
        int is_taken = append(self, form, track, message, time_ms);
        Py_DECREF(track);
        if (is_taken < 0)
            return -1;
        if (!is_taken)
            break;
        at += HEAD_BYTES + message_bytes;
    }
    return at;
}

/* Keep the beginning of a message that may turn out to be a packet. Returns 1; 0: it will be none; -1: an error. */
static int
hold(Reader *self, Py_ssize_t message_bytes, const void *beginning, Py_ssize_t size)
{
    if (size >= message_bytes)
        return 0;
    for (int i = 0; i < self->form_count; i++) {
        if (self->forms[i].message_bytes == message_bytes) {
            self->held = PyMem_Malloc(HEAD_BYTES + message_bytes);
            if (self->held == NULL) {
                PyErr_NoMemory();
                return -1;
            }
            self->held[0] = 0x81;
            self->held[1] = 126;
            self->held[2] = (unsigned char)(message_bytes >> 8);
            self->held[3] = (unsigned char)message_bytes;
            memcpy(self->held + HEAD_BYTES, beginning, size);
            self->held_bytes = HEAD_BYTES + size;
            self->wanted_bytes = HEAD_BYTES + message_bytes;
            return 1;
        }
    }
    return 0;
}

static void
let_go(Reader *self)
{
    PyMem_Free(self->held);
    self->held = NULL;
    self->held_bytes = self->wanted_bytes = 0;
}

/* Returns what is held and `size` bytes more, for others. */
static PyObject *
give_back(Reader *self, const unsigned char *frames, Py_ssize_t size)
{
    PyObject *rest = PyBytes_FromStringAndSize(NULL, self->held_bytes + size);
    if (rest == NULL)
        return NULL;
    if (self->held_bytes)
        memcpy(PyBytes_AS_STRING(rest), self->held, self->held_bytes);
    memcpy(PyBytes_AS_STRING(rest) + self->held_bytes, frames, size);
    let_go(self);
    return rest;
}

/* Returns 1 and from when on packets may be taken; 0: none may; -1: an error. */
static int
may_take(Reader *self, double *since_ms)
{
    if (PyList_GET_SIZE(self->listeners))
        return 0;
    PyObject *decodes = PyObject_GetAttr(self->store, str_decodes);
    if (decodes == NULL)
        return -1;
    Py_DECREF(decodes); /* a singleton */
    if (decodes != Py_False)
        return 0;
    PyObject *watch_ms = PyObject_GetAttr(self->timeline, str_audio_watch_ms);
    if (watch_ms == NULL)
        return -1;
    *since_ms = PyFloat_AsDouble(watch_ms);
    Py_DECREF(watch_ms);
    return *since_ms == -1.0 && PyErr_Occurred() ? -1 : 1;
}

static PyObject *
take_all(Reader *self, const unsigned char *frames, Py_ssize_t size)
{
    double since_ms;
    if (size == 0) /* the end of the connection */
        return PyBytes_FromStringAndSize(NULL, 0);
    int may = may_take(self, &since_ms);
    if (may < 0)
        return NULL;
    if (!may)
        return give_back(self, frames, size);
    if (self->held != NULL) {
        Py_ssize_t more = self->wanted_bytes - self->held_bytes;
        more = more < size ? more : size;
        memcpy(self->held + self->held_bytes, frames, more);
        self->held_bytes += more;
        frames += more;
        size -= more;
        if (self->held_bytes < self->wanted_bytes)
            Py_RETURN_NONE;
        Py_ssize_t used = take_frames(self, self->held, self->wanted_bytes, since_ms);
        if (used < 0)
            return NULL;
        if (!used)
            return give_back(self, frames, size);
        let_go(self);
    }
    Py_ssize_t used = take_frames(self, frames, size, since_ms);
    if (used < 0)
        return NULL;
    if (used == size)
        Py_RETURN_NONE;
    frames += used;
    size -= used;
    Py_ssize_t message_bytes = size < HEAD_BYTES ? -1 : read_head(frames);
    int is_held = message_bytes < 0 ? 0 : hold(self, message_bytes, frames + HEAD_BYTES, size - HEAD_BYTES);
    if (is_held < 0)
        return NULL;
    if (is_held)
        Py_RETURN_NONE;
    return give_back(self, frames, size);
}

/* The type */

/* Returns 0 with an error set where nothing may be asked of the reader. */
static int
is_ready(const Reader *self)
{
    if (self->listeners == NULL)
        PyErr_SetString(PyExc_TypeError, "the reader was not initialised");
    else if (self->is_taking)
        PyErr_SetString(PyExc_RuntimeError, "the reader is taking packets");
    else
        return 1;
    return 0;
}

static PyObject *
take(Reader *self, const unsigned char *frames, Py_ssize_t size)
{
    self->taken = 0;
    self->read_bytes = size;
    self->is_taking = 1;
    PyObject *rest = take_all(self, frames, size);
    self->is_taking = 0;
    return rest;
}

static PyObject *
reader_read(Reader *self, PyObject *descriptor)
{
    unsigned char buffer[READ_BYTES];
    ssize_t size;
    int fd;
    if (!is_ready(self) || !PyArg_Parse(descriptor, "i", &fd))
        return NULL;
    self->taken = self->read_bytes = 0;
    do {
        /* So that the writer thread gets its turn: kept, at 1000 streams what is unsynced is two to three times as old. */
        Py_BEGIN_ALLOW_THREADS
        size = read(fd, buffer, READ_BYTES);
        Py_END_ALLOW_THREADS
    } while (size < 0 && errno == EINTR);
    if (size < 0)
        return PyErr_SetFromErrno(PyExc_OSError);
    return take(self, buffer, size);
}

static PyObject *
reader_take(Reader *self, PyObject *data)
{
    if (!is_ready(self))
        return NULL;
    if (!PyBytes_Check(data)) {
        PyErr_SetString(PyExc_TypeError, "bytes are wanted");
        return NULL;
    }
    return take(self, (const unsigned char *)PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data));
}

static PyObject *
reader_hold(Reader *self, PyObject *args)
{
    Py_ssize_t message_bytes;
    Py_buffer beginning;
    if (!is_ready(self) || !PyArg_ParseTuple(args, "ny*", &message_bytes, &beginning))
        return NULL;
    int is_held = -1;
    if (self->held != NULL)
        PyErr_SetString(PyExc_ValueError, "there is the beginning of another message");
    else
        is_held = hold(self, message_bytes, beginning.buf, beginning.len);
    PyBuffer_Release(&beginning);
    return is_held < 0 ? NULL : PyBool_FromLong(is_held);
}

static PyObject *
reader_knows(Reader *self, PyObject *message)
{
    if (!is_ready(self))
        return NULL;
    if (!PyBytes_Check(message)) {
        PyErr_SetString(PyExc_TypeError, "bytes are wanted");
        return NULL;
    }
    const unsigned char *bytes = (const unsigned char *)PyBytes_AS_STRING(message);
    return PyBool_FromLong(find_form(self, bytes, PyBytes_GET_SIZE(message)) != NULL);
}

static PyObject *
reader_learn(Reader *self, PyObject *args)
{
    Form form = {0};
    PyObject *message;
    if (!is_ready(self)
        || !PyArg_ParseTuple(args, "SnnnnOO", &message, &form.data_at, &form.data_chars, &form.data_bytes,
                             &form.time_at, &form.user_id, &form.user_name))
        return NULL;
    form.message_bytes = PyBytes_GET_SIZE(message);
    if (!is_possible(&form))
        Py_RETURN_FALSE;
    if (self->form_count == self->form_room && self->form_room < MAX_FORMS) {
        int room = self->form_room ? 2 * self->form_room : 1;
        Form *forms = PyMem_Realloc(self->forms, room * sizeof(Form));
        if (forms == NULL)
            return PyErr_NoMemory();
        self->forms = forms;
        self->form_room = room;
    }
    form.message = PyMem_Malloc(form.message_bytes);
    if (form.message == NULL)
        return PyErr_NoMemory();
    memcpy(form.message, PyBytes_AS_STRING(message), form.message_bytes);
    Py_INCREF(form.user_id);
    Py_INCREF(form.user_name);
    int is_full = self->form_count == MAX_FORMS;
    if (is_full)
        clear_form(&self->forms[--self->form_count]);
    memmove(self->forms + 1, self->forms, self->form_count * sizeof(Form));
    self->forms[0] = form;
    self->form_count++;
    return PyBool_FromLong(!is_full);
}

static int
reader_init(Reader *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"track_type", "tracks", "store", "timeline", "backlog", "listeners", NULL};
    PyObject *type, *tracks, *store, *timeline, *backlog, *listeners;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!O!OOOO!", names, &PyType_Type, &type, &PyDict_Type, &tracks,
                                     &store, &timeline, &backlog, &PyList_Type, &listeners))
        return -1;
    if (self->tracks != NULL) {
        PyErr_SetString(PyExc_TypeError, "a reader is made once");
        return -1;
    }
    if (find_slots(&track_type, (PyTypeObject *)type, track_names, track_offsets, TRACK_SLOTS) < 0
        || find_slots(&backlog_type, Py_TYPE(backlog), backlog_names, backlog_offsets, BACKLOG_SLOTS) < 0)
        return -1;
    self->tracks = Py_NewRef(tracks);
    self->store = Py_NewRef(store);
    self->timeline = Py_NewRef(timeline);
    self->backlog = Py_NewRef(backlog);
    self->listeners = Py_NewRef(listeners);
    return 0;
}

static int
reader_traverse(Reader *self, visitproc visit, void *arg)
{
    Py_VISIT(self->tracks);
    Py_VISIT(self->store);
    Py_VISIT(self->timeline);
    Py_VISIT(self->backlog);
    Py_VISIT(self->listeners);
    return 0;
}

static int
reader_clear(Reader *self)
{
    Py_CLEAR(self->tracks);
    Py_CLEAR(self->store);
    Py_CLEAR(self->timeline);
    Py_CLEAR(self->backlog);
    Py_CLEAR(self->listeners);
    return 0;
}

static void
reader_dealloc(Reader *self)
{
    PyObject_GC_UnTrack(self);
    reader_clear(self);
    for (int i = 0; i < self->form_count; i++)
        clear_form(&self->forms[i]);
    PyMem_Free(self->forms);
    let_go(self);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyMethodDef reader_methods[] = {
    {"read", (PyCFunction)reader_read, METH_O,
     "Read from a socket once and take the packets at the beginning. Returns None if nothing is left, else the rest as\n"
     "bytes, for others to read; b\"\" at the end of the connection. Raises OSError."},
    {"take", (PyCFunction)reader_take, METH_O, "The same with bytes that were read already."},
    {"hold", (PyCFunction)reader_hold, METH_VARARGS,
     "Take over the beginning of a message of a length, if it may turn out to be a packet. Returns whether it may."},
    {"knows", (PyCFunction)reader_knows, METH_O, "Whether a message has a form that was learnt."},
    {"learn", (PyCFunction)reader_learn, METH_VARARGS,
     "Learn a form: a message; in it the offset and length of its base64, how many bytes those are, and the offset of\n"
     "its time; the participant's id and name. Returns whether it could, and had to forget no other form for it."},
    {NULL}};

static PyMemberDef reader_members[] = {
    {"taken", T_PYSSIZET, offsetof(Reader, taken), READONLY, "Packets taken by the last call."},
    {"read_bytes", T_PYSSIZET, offsetof(Reader, read_bytes), READONLY, "What the last call read."},
    {NULL}};

static PyTypeObject ReaderType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "rtmsd.accelerator._packets.Reader",
    .tp_basicsize = sizeof(Reader),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_doc = "Takes packets of one connection; see the package.",
    .tp_new = PyType_GenericNew,
    .tp_init = (initproc)reader_init,
    .tp_traverse = (traverseproc)reader_traverse,
    .tp_clear = (inquiry)reader_clear,
    .tp_dealloc = (destructor)reader_dealloc,
    .tp_methods = reader_methods,
    .tp_members = reader_members,
};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, .m_name = "_packets", .m_size = -1};

PyMODINIT_FUNC
PyInit__packets(void)
{
    fill_sextets();
    if ((str_append = PyUnicode_InternFromString("append")) == NULL
        || (str_audio_watch_ms = PyUnicode_InternFromString("audio_watch_ms")) == NULL
        || (str_decodes = PyUnicode_InternFromString("decodes")) == NULL
        || (str_on_dirty = PyUnicode_InternFromString("on_dirty")) == NULL
        || PyType_Ready(&ReaderType) < 0)
        return NULL;
    PyObject *made = PyModule_Create(&module);
    if (made != NULL && PyModule_AddObjectRef(made, "Reader", (PyObject *)&ReaderType) < 0)
        Py_CLEAR(made);
    return made;
}
