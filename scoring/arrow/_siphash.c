/* The numbers of pandas.util.hash_array for the values of an Arrow text column, without a Python object
 * for each value: SipHash-2-4 (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012), and
 * after it the finalizer of SplitMix64 (Steele, Lea and Flood, 2014), as pandas has both.
 * scoring/arrow/hashing.py has the way without this file. */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <stdint.h>
#include <string.h>

static inline uint64_t rotate(uint64_t x, int bits) { return (x << bits) | (x >> (64 - bits)); }

/* Little-endian, whatever the machine is. */
static inline uint64_t word(const uint8_t *p)
{
    return (uint64_t)p[0] | (uint64_t)p[1] << 8 | (uint64_t)p[2] << 16 | (uint64_t)p[3] << 24
         | (uint64_t)p[4] << 32 | (uint64_t)p[5] << 40 | (uint64_t)p[6] << 48 | (uint64_t)p[7] << 56;
}

#define ROUND                                                                                      \
    do {                                                                                           \
        v0 += v1; v1 = rotate(v1, 13); v1 ^= v0; v0 = rotate(v0, 32);                              \
        v2 += v3; v3 = rotate(v3, 16); v3 ^= v2;                                                   \
        v0 += v3; v3 = rotate(v3, 21); v3 ^= v0;                                                   \
        v2 += v1; v1 = rotate(v1, 17); v1 ^= v2; v2 = rotate(v2, 32);                              \
    } while (0)

static uint64_t siphash(const uint8_t *data, uint64_t length, uint64_t k0, uint64_t k1)
{
    uint64_t v0 = k0 ^ 0x736f6d6570736575ULL, v1 = k1 ^ 0x646f72616e646f6dULL;
    uint64_t v2 = k0 ^ 0x6c7967656e657261ULL, v3 = k1 ^ 0x7465646279746573ULL;
    uint64_t last = length << 56;
    const uint8_t *end = data + (length & ~(uint64_t)7);

    for (; data != end; data += 8) {
        uint64_t m = word(data);
        v3 ^= m;
        ROUND;
        ROUND;
        v0 ^= m;
    }
    for (uint64_t i = 0; i < (length & 7); i++)
        last |= (uint64_t)data[i] << (8 * i);
    v3 ^= last;
    ROUND;
    ROUND;
    v0 ^= last;
    v2 ^= 0xff;
    ROUND;
    ROUND;
    ROUND;
    ROUND;
    return v0 ^ v1 ^ v2 ^ v3;
}

static uint64_t mixed(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
    return x ^ (x >> 31);
}

static int64_t offset_at(const uint8_t *offsets, int wide, int64_t i)
{
    int64_t large;
    int32_t small;
    if (wide) {
        memcpy(&large, offsets + 8 * i, sizeof large);
        return large;
    }
    memcpy(&small, offsets + 4 * i, sizeof small);
    return small;
}

/* Returns 0, or -1 where the offsets do not lie in the data: nothing outside of it is read. */
static int hash_values(const Py_buffer *offsets, const Py_buffer *data, int wide, int64_t first,
                       const uint8_t *key, const Py_buffer *out)
{
    int64_t rows = out->len / 8;
    uint64_t k0 = word(key), k1 = word(key + 8);

    for (int64_t i = 0; i < rows; i++) {
        int64_t begin = offset_at(offsets->buf, wide, first + i);
        int64_t end = offset_at(offsets->buf, wide, first + i + 1);
        if (begin < 0 || end < begin || end > data->len)
            return -1;
        uint64_t length = (uint64_t)(end - begin);
        uint64_t hash = mixed(siphash((const uint8_t *)data->buf + begin, length, k0, k1));
        memcpy((uint8_t *)out->buf + 8 * i, &hash, sizeof hash);
    }
    return 0;
}

static PyObject *hash_texts(PyObject *self, PyObject *args)
{
    Py_buffer offsets, data, key, out;
    int wide, failed;
    long long first, rows;

    (void)self;
    if (!PyArg_ParseTuple(args, "y*y*pLy*w*", &offsets, &data, &wide, &first, &key, &out))
        return NULL;
    rows = out.len / 8;
    failed = first < 0 || key.len != 16 || out.len % 8
          || first > (long long)(offsets.len / (wide ? 8 : 4)) - rows - 1;
    if (!failed) {
        Py_BEGIN_ALLOW_THREADS
        failed = hash_values(&offsets, &data, wide, first, key.buf, &out);
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&offsets);
    PyBuffer_Release(&data);
    PyBuffer_Release(&key);
    PyBuffer_Release(&out);
    if (failed) {
        PyErr_SetString(PyExc_ValueError, "the offsets do not lie in the data");
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"hash_texts", hash_texts, METH_VARARGS,
     "hash_texts(offsets, data, wide, first, key, out): hash value first + i of an Arrow column into out[i]."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_siphash", NULL, 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__siphash(void) { return PyModule_Create(&module); }
