/* Evaluates ensembles of decision trees, with the comparisons and additions of scikit-learn's own code in
 * the same order: the sums have the same bits.
 *
 * An ensemble is an object made of read-only buffers, which are checked once; `add` of it then adds the trees'
 * values to an array, without the GIL. The modules beside this file make the buffers: ranked.py and walked.py
 * say what is in them.
 *
 * Compile with -ffp-contract=off: a fused multiply-add would round once where scikit-learn rounds twice.
 */
#define Py_LIMITED_API 0x030B0000 /* buffers are in the stable ABI since 3.11 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define RANKS 256  /* entries of a table: a rank is a byte */
#define OF_NAN 255 /* the rank of NaN; those of numbers are 0 to 254 */
#define BLOCK 512  /* rows whose ranks are at hand at a time: with the tables of a tree, they fit a level-1 cache */
#define LANES 16   /* rows that go through a tree side by side: while one waits for memory, others go on */

#if defined(__GNUC__) || defined(__clang__)
#define INLINE static inline __attribute__((always_inline))
#define FIRST_BIT_32(bits) __builtin_ctz(bits)
#define FIRST_BIT_64(bits) __builtin_ctzll(bits)
#else
#define INLINE static inline
INLINE int FIRST_BIT_64(uint64_t bits)
{
    int at = 0;
    for (; !(bits & 1); bits >>= 1)
        at++;
    return at;
}
#define FIRST_BIT_32(bits) FIRST_BIT_64(bits)
#endif

/* ------------------------------------------------------------------------------------------------- buffers */

#define MOST_BUFFERS 8

typedef struct {
    Py_buffer views[MOST_BUFFERS];
    int count;
} Buffers;

static void release(Buffers *held)
{
    while (held->count)
        PyBuffer_Release(&held->views[--held->count]);
}

/* Return the buffer of `object`, with items of one of the `formats`; else NULL, with an exception. */
static Py_buffer *get(Buffers *held, PyObject *object, const char *name, const char *formats, int ndim, int flags)
{
    Py_buffer *view = &held->views[held->count];
    if (PyObject_GetBuffer(object, view, flags | PyBUF_FORMAT) < 0)
        return NULL;
    held->count++;
    const char *format = view->format ? view->format : "B";
    if (!format[0] || format[1] || !strchr(formats, format[0]) || view->ndim != ndim) {
        PyErr_Format(PyExc_TypeError, "%s has %d dimensions and the format %s, not %d and one of %s", name,
                     view->ndim, format, ndim, formats);
        return NULL;
    }
    int aligned = (uintptr_t)view->buf % (size_t)view->itemsize == 0;
    for (int i = 0; view->strides && i < ndim; i++)
        aligned = aligned && (view->shape[i] < 2 || view->strides[i] % view->itemsize == 0);
    if (!aligned) {
        PyErr_Format(PyExc_ValueError, "%s is not aligned", name);
        return NULL;
    }
    return view;
}

/* The same for a part of an ensemble: one that nobody changes after it was checked. */
static Py_buffer *part(Buffers *held, PyObject *object, const char *name, const char *formats)
{
    Py_buffer *view = get(held, object, name, formats, 1, PyBUF_C_CONTIGUOUS);
    if (view && !view->readonly) {
        PyErr_Format(PyExc_ValueError, "%s can be changed", name);
        return NULL;
    }
    return view;
}

static int fail(const char *what)
{
    PyErr_SetString(PyExc_ValueError, what);
    return -1;
}

/* Whether `starts` rises from 0 to `end` in as many steps as there are `parts`. */
static int divides(const Py_buffer *starts, Py_ssize_t parts, Py_ssize_t end)
{
    const uint32_t *at = starts->buf;
    if (starts->shape[0] != parts + 1 || at[0] != 0 || at[parts] != (size_t)end)
        return 0;
    for (Py_ssize_t i = 0; i < parts; i++)
        if (at[i + 1] < at[i])
            return 0;
    return 1;
}

static int all_below(const Py_buffer *numbers, Py_ssize_t limit)
{
    const uint32_t *number = numbers->buf;
    for (Py_ssize_t i = 0; i < numbers->shape[0]; i++)
        if ((Py_ssize_t)number[i] >= limit)
            return 0;
    return 1;
}

/* --------------------------------------------------------------------------------------------------- ranks */

typedef struct {
    const uint32_t *features, *starts;
    const double *thresholds; /* of each scale 2^n - 1, sorted; what fills it up at the end is +inf */
    Py_ssize_t count;
} Scales;

static int get_scales(Buffers *held, PyObject *features, PyObject *starts, PyObject *thresholds, Py_ssize_t columns,
                      Scales *scales)
{
    Py_buffer *of = part(held, features, "features", "I");
    Py_buffer *from = of ? part(held, starts, "starts", "I") : NULL;
    Py_buffer *values = from ? part(held, thresholds, "thresholds", "d") : NULL;
    if (!values)
        return -1;
    if (!divides(from, of->shape[0], values->shape[0]))
        return fail("starts does not divide the thresholds among the features");
    if (!all_below(of, columns))
        return fail("there is a feature beyond the columns");
    *scales = (Scales){of->buf, from->buf, values->buf, of->shape[0]};
    for (Py_ssize_t i = 0; i < scales->count; i++) {
        uint32_t size = scales->starts[i + 1] - scales->starts[i];
        if (size >= RANKS || size & (size + 1))
            return fail("a feature has other than 2^n - 1 thresholds, at most 255");
    }
    return 0;
}

INLINE void rank_column(const char *x, Py_ssize_t stride, int is_double, const double *thresholds, unsigned size,
                        uint8_t *ranks, Py_ssize_t rows)
{
    for (Py_ssize_t i = 0; i < rows; i++, x += stride) {
        double value = is_double ? *(const double *)x : (double)*(const float *)x;
        unsigned rank = 0; /* how many thresholds are less */
        for (unsigned half = (size + 1) / 2; half; half /= 2)
            rank += thresholds[rank + half - 1] < value ? half : 0;
        ranks[i] = (uint8_t)(value != value ? OF_NAN : rank);
    }
}

/* Write the ranks of at most BLOCK rows from `row` on, BLOCK for each scale. */
static void rank_block(const Py_buffer *x, const Scales *scales, Py_ssize_t row, Py_ssize_t rows, uint8_t *ranks)
{
    Py_ssize_t stride = x->strides[0];
    for (Py_ssize_t i = 0; i < scales->count; i++, ranks += BLOCK) {
        const char *column = (const char *)x->buf + row * stride + scales->features[i] * x->strides[1];
        const double *thresholds = scales->thresholds + scales->starts[i];
        unsigned size = scales->starts[i + 1] - scales->starts[i];
        if (x->itemsize == sizeof(double))
            rank_column(column, stride, 1, thresholds, size, ranks, rows);
        else
            rank_column(column, stride, 0, thresholds, size, ranks, rows);
    }
}

static uint8_t *room_for_ranks(const Scales *scales)
{
    uint8_t *room = calloc((size_t)scales->count + 1, BLOCK);
    if (!room)
        PyErr_NoMemory();
    return room;
}

/* ranks(x, features, starts, thresholds, out): the ranks of all rows as floats, NaN of NaN. */
static PyObject *ranks(PyObject *module, PyObject *args)
{
    PyObject *of_x, *features, *starts, *thresholds, *of_out, *result = NULL;
    if (!PyArg_ParseTuple(args, "OOOOO", &of_x, &features, &starts, &thresholds, &of_out))
        return NULL;
    Buffers held = {.count = 0};
    Scales scales;
    uint8_t *block = NULL;
    Py_buffer *x = get(&held, of_x, "x", "fd", 2, PyBUF_STRIDES);
    Py_buffer *out = x ? get(&held, of_out, "out", "f", 2, PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE) : NULL;
    if (!out || get_scales(&held, features, starts, thresholds, x->shape[1], &scales) < 0)
        goto done;
    Py_ssize_t rows = x->shape[0];
    if (out->shape[0] != rows || out->shape[1] != scales.count) {
        fail("out needs a row for each of x and a column for each feature");
        goto done;
    }
    if (!(block = room_for_ranks(&scales)))
        goto done;
    Py_BEGIN_ALLOW_THREADS
    float *to = out->buf;
    for (Py_ssize_t row = 0; row < rows; row += BLOCK) {
        Py_ssize_t some = rows - row < BLOCK ? rows - row : BLOCK;
        rank_block(x, &scales, row, some, block);
        for (Py_ssize_t i = 0; i < some; i++)
            for (Py_ssize_t f = 0; f < scales.count; f++) {
                uint8_t rank = block[f * BLOCK + i];
                *to++ = rank == OF_NAN ? NAN : (float)rank;
            }
    }
    Py_END_ALLOW_THREADS
    result = Py_NewRef(Py_None);
done:
    free(block);
    release(&held);
    return result;
}

/* -------------------------------------------------------------------------------------- what ensembles share */

typedef struct {
    PyObject_HEAD
    Buffers held;
    Py_ssize_t trees, columns, width, outputs_needed;
    const uint32_t *outputs; /* of each tree, the first of `width` outputs that it adds to */
    const double *values;
    Scales scales; /* of an ensemble with tables */
    const uint32_t *pairs, *pair_scales;
    const void *masks;
    int leaves;
    const struct Node *nodes; /* of one that is walked */
    const uint32_t *starts, *depths;
    unsigned feature_bits;
} Ensemble;

static Ensemble *allocated(PyTypeObject *type)
{
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    return (Ensemble *)allocate(type, 0);
}

static void deallocated(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    release(&((Ensemble *)self)->held);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

static int get_outputs(Ensemble *self, PyObject *outputs, Py_ssize_t columns, Py_ssize_t width)
{
    Py_buffer *view = part(&self->held, outputs, "outputs", "I");
    if (!view)
        return -1;
    if (columns < 0 || width < 1)
        return fail("there are less than no columns, or less than one value in a leaf");
    self->outputs = view->buf;
    self->trees = view->shape[0];
    self->columns = columns;
    self->width = width;
    for (Py_ssize_t i = 0; i < self->trees; i++)
        if (self->outputs_needed < (Py_ssize_t)self->outputs[i] + width)
            self->outputs_needed = (Py_ssize_t)self->outputs[i] + width;
    return 0;
}

/* Get what `add(x, out)` was called with, in this order. */
static int get_call(const Ensemble *self, PyObject *args, Buffers *held, const char *formats, int flags)
{
    PyObject *of_x, *of_out;
    if (!PyArg_ParseTuple(args, "OO", &of_x, &of_out))
        return -1;
    Py_buffer *x = get(held, of_x, "x", formats, 2, flags);
    Py_buffer *out = x ? get(held, of_out, "out", "d", 2, PyBUF_STRIDES | PyBUF_WRITABLE) : NULL;
    if (!out)
        return -1;
    if (x->shape[1] != self->columns)
        return fail("x has another number of columns than the ensemble");
    if (out->shape[0] != x->shape[0] || out->shape[1] < self->outputs_needed)
        return fail("out needs a row for each of x and a column for each output");
    return 0;
}

INLINE void add_values(char *to, Py_ssize_t stride, const double *values, Py_ssize_t width)
{
    for (Py_ssize_t k = 0; k < width; k++, to += stride)
        *(double *)to += values[k];
}

/* --------------------------------------------------------------------------------------------- small trees */

static PyObject *new_ranked(PyTypeObject *type, PyObject *args, PyObject *named)
{
    PyObject *features, *starts, *thresholds, *of_pairs, *of_scales, *of_masks, *outputs, *of_values;
    Py_ssize_t columns, width;
    if (!PyArg_ParseTuple(args, "OOOOOOOOnn", &features, &starts, &thresholds, &of_pairs, &of_scales, &of_masks,
                          &outputs, &of_values, &columns, &width))
        return NULL;
    Ensemble *self = allocated(type);
    if (!self)
        return NULL;
    Buffers *held = &self->held;
    if (get_outputs(self, outputs, columns, width) < 0
        || get_scales(held, features, starts, thresholds, columns, &self->scales) < 0)
        goto failed;
    Py_buffer *pairs = part(held, of_pairs, "pairs", "I");
    Py_buffer *scales = pairs ? part(held, of_scales, "scales", "I") : NULL;
    Py_buffer *masks = scales ? part(held, of_masks, "masks", "ILQ") : NULL;
    Py_buffer *values = masks ? part(held, of_values, "values", "d") : NULL;
    if (!values)
        goto failed;
    self->leaves = (int)masks->itemsize * 8;
    if (!divides(pairs, self->trees, scales->shape[0]) || masks->shape[0] != scales->shape[0] * RANKS
        || !all_below(scales, self->scales.count)) {
        fail("pairs, scales and masks do not belong together");
        goto failed;
    }
    if (values->shape[0] % width || values->shape[0] / width != self->trees * self->leaves) {
        fail("values needs as many leaves for each tree as a mask has bits");
        goto failed;
    }
    self->pairs = pairs->buf;
    self->pair_scales = scales->buf;
    self->masks = masks->buf;
    self->values = values->buf;
    return (PyObject *)self;
failed:
    Py_DECREF(self);
    return NULL;
}

/* Add the values of the leaf in which each row ends, tree by tree: of the leaves that no feature excludes, the
 * first. The last leaf is never excluded, so that there is one whatever the tables say. */
#define TREES_BY_RANKS(NAME, MASK, LEAVES, FIRST_BIT)                                                             \
    static void NAME(const Ensemble *e, const uint8_t *ranks, char *out, Py_ssize_t row_stride,                   \
                     Py_ssize_t stride, Py_ssize_t rows)                                                          \
    {                                                                                                             \
        const MASK *masks = e->masks;                                                                             \
        for (Py_ssize_t tree = 0; tree < e->trees; tree++) {                                                      \
            const double *values = e->values + tree * LEAVES * e->width;                                          \
            char *to = out + e->outputs[tree] * stride;                                                           \
            for (Py_ssize_t row = 0; row < rows; row += LANES) {                                                  \
                MASK leaves[LANES];                                                                               \
                for (int i = 0; i < LANES; i++)                                                                   \
                    leaves[i] = ~(MASK)0;                                                                         \
                for (uint32_t pair = e->pairs[tree]; pair < e->pairs[tree + 1]; pair++) {                         \
                    const MASK *table = masks + (size_t)pair * RANKS;                                             \
                    const uint8_t *rank = ranks + (size_t)e->pair_scales[pair] * BLOCK + row;                     \
                    for (int i = 0; i < LANES; i++)                                                               \
                        leaves[i] &= table[rank[i]];                                                              \
                }                                                                                                 \
                int some = rows - row < LANES ? (int)(rows - row) : LANES;                                        \
                for (int i = 0; i < some; i++, to += row_stride) {                                                \
                    int leaf = FIRST_BIT(leaves[i] | (MASK)1 << (LEAVES - 1));                                    \
                    add_values(to, stride, values + leaf * e->width, e->width);                                   \
                }                                                                                                 \
            }                                                                                                     \
        }                                                                                                         \
    }

TREES_BY_RANKS(trees_of_32, uint32_t, 32, FIRST_BIT_32)
TREES_BY_RANKS(trees_of_64, uint64_t, 64, FIRST_BIT_64)

static PyObject *add_ranked(PyObject *object, PyObject *args)
{
    const Ensemble *self = (const Ensemble *)object;
    Buffers held = {.count = 0};
    uint8_t *block = NULL;
    PyObject *result = NULL;
    if (get_call(self, args, &held, "fd", PyBUF_STRIDES) < 0 || !(block = room_for_ranks(&self->scales)))
        goto done;
    const Py_buffer *x = &held.views[0], *out = &held.views[1];
    Py_ssize_t rows = x->shape[0];
    Py_BEGIN_ALLOW_THREADS
    for (Py_ssize_t row = 0; row < rows; row += BLOCK) {
        Py_ssize_t some = rows - row < BLOCK ? rows - row : BLOCK;
        char *to = (char *)out->buf + row * out->strides[0];
        rank_block(x, &self->scales, row, some, block);
        if (self->leaves == 32)
            trees_of_32(self, block, to, out->strides[0], out->strides[1], some);
        else
            trees_of_64(self, block, to, out->strides[0], out->strides[1], some);
    }
    Py_END_ALLOW_THREADS
    result = Py_NewRef(Py_None);
done:
    free(block);
    release(&held);
    return result;
}

/* --------------------------------------------------------------------------------------------- large trees */

typedef struct Node {
    float threshold;
    uint32_t link; /* from the highest bit: the left child; whether NaN goes left; the feature */
} Node;

/* Whether no step from any node leads out of its tree, and no feature is beyond the columns. */
static int stays_inside(const Ensemble *self)
{
    unsigned bits = self->feature_bits;
    for (Py_ssize_t tree = 0; tree < self->trees; tree++) {
        uint32_t first = self->starts[tree], size = self->starts[tree + 1] - first;
        if (!size)
            return 0;
        for (uint32_t i = 0; i < size; i++) {
            Node node = self->nodes[first + i];
            uint32_t left = node.link >> (bits + 1);
            int is_leaf = isinf(node.threshold) && node.threshold > 0 && node.link >> bits & 1;
            if (left >= size || (left + 1 >= size && !is_leaf)
                || (Py_ssize_t)(node.link & (((uint32_t)1 << bits) - 1)) >= self->columns)
                return 0;
        }
    }
    return 1;
}

static PyObject *new_walked(PyTypeObject *type, PyObject *args, PyObject *named)
{
    PyObject *of_nodes, *of_starts, *of_depths, *outputs, *of_values;
    Py_ssize_t columns, width;
    int bits;
    if (!PyArg_ParseTuple(args, "OOOOOinn", &of_nodes, &of_starts, &of_depths, &outputs, &of_values, &bits,
                          &columns, &width))
        return NULL;
    Ensemble *self = allocated(type);
    if (!self)
        return NULL;
    Buffers *held = &self->held;
    if (get_outputs(self, outputs, columns, width) < 0)
        goto failed;
    Py_buffer *nodes = part(held, of_nodes, "nodes", "LQ");
    Py_buffer *starts = nodes ? part(held, of_starts, "starts", "I") : NULL;
    Py_buffer *depths = starts ? part(held, of_depths, "depths", "I") : NULL;
    Py_buffer *values = depths ? part(held, of_values, "values", "d") : NULL;
    if (!values)
        goto failed;
    if (nodes->itemsize != sizeof(Node) || !divides(starts, self->trees, nodes->shape[0])
        || depths->shape[0] != self->trees || values->shape[0] % width
        || values->shape[0] / width != nodes->shape[0]) {
        fail("nodes, starts, depths and values do not belong together");
        goto failed;
    }
    self->nodes = nodes->buf;
    self->starts = starts->buf;
    self->depths = depths->buf;
    self->values = values->buf;
    self->feature_bits = (unsigned)bits;
    if (bits < 0 || bits > 30 || !stays_inside(self)) {
        fail("a node leads out of its tree or beyond the columns");
        goto failed;
    }
    return (PyObject *)self;
failed:
    Py_DECREF(self);
    return NULL;
}

/* Go down from the root with LANES rows at a time, until all are in leaves, which lead to themselves. */
INLINE void walk(const Node *nodes, const float *const *x, unsigned bits, uint32_t depth, uint32_t *at, int with_nan)
{
    const uint32_t of_feature = ((uint32_t)1 << bits) - 1;
    for (int i = 0; i < LANES; i++)
        at[i] = 0;
    for (uint32_t step = 0; step < depth; step++) {
        uint32_t moved = 0;
        for (int i = 0; i < LANES; i++) {
            Node node = nodes[at[i]];
            float value = x[i][node.link & of_feature];
            uint32_t right = !(value <= node.threshold);
            if (with_nan)
                right &= (uint32_t)(value == value) | (~(node.link >> bits) & 1);
            uint32_t next = (node.link >> (bits + 1)) + right;
            moved |= next ^ at[i];
            at[i] = next;
        }
        if (!moved)
            break;
    }
}

static int has_nan(const float *x, Py_ssize_t count)
{
    int found = 0;
    for (Py_ssize_t i = 0; i < count; i++)
        found |= x[i] != x[i];
    return found;
}

static PyObject *add_walked(PyObject *object, PyObject *args)
{
    const Ensemble *self = (const Ensemble *)object;
    Buffers held = {.count = 0};
    if (get_call(self, args, &held, "f", PyBUF_C_CONTIGUOUS) < 0) {
        release(&held);
        return NULL;
    }
    const Py_buffer *x = &held.views[0], *out = &held.views[1];
    Py_ssize_t rows = x->shape[0], columns = self->columns, width = self->width;
    Py_BEGIN_ALLOW_THREADS
    const float *first = x->buf;
    int with_nan = has_nan(first, rows * columns);
    for (Py_ssize_t tree = 0; tree < self->trees; tree++) {
        const Node *nodes = self->nodes + self->starts[tree];
        const double *values = self->values + self->starts[tree] * width;
        char *to = (char *)out->buf + self->outputs[tree] * out->strides[1];
        for (Py_ssize_t row = 0; row < rows; row += LANES) {
            const float *of_rows[LANES];
            uint32_t at[LANES];
            for (int i = 0; i < LANES; i++)
                of_rows[i] = first + (row + i < rows ? row + i : rows - 1) * columns;
            if (with_nan)
                walk(nodes, of_rows, self->feature_bits, self->depths[tree], at, 1);
            else
                walk(nodes, of_rows, self->feature_bits, self->depths[tree], at, 0);
            for (int i = 0; i < LANES && row + i < rows; i++, to += out->strides[0])
                add_values(to, out->strides[1], values + at[i] * width, width);
        }
    }
    Py_END_ALLOW_THREADS
    release(&held);
    return Py_NewRef(Py_None);
}

/* -------------------------------------------------------------------------------------------------- module */

#define TYPE(NAME, NEW, ADD)                                                                                      \
    static PyMethodDef NAME##_methods[] = {{"add", ADD, METH_VARARGS, "add(x, out): add all trees to out"}, {0}}; \
    static PyType_Slot NAME##_slots[] = {                                                                         \
        {Py_tp_new, NEW}, {Py_tp_dealloc, deallocated}, {Py_tp_methods, NAME##_methods}, {0}};                    \
    static PyType_Spec NAME##_spec = {"scoring.models.trees._kernels." #NAME, sizeof(Ensemble), 0,                \
                                      Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE, NAME##_slots};

TYPE(Ranked, new_ranked, add_ranked)
TYPE(Walked, new_walked, add_walked)

static int executed(PyObject *module)
{
    PyType_Spec *specs[] = {&Ranked_spec, &Walked_spec};
    for (int i = 0; i < 2; i++) {
        PyObject *type = PyType_FromSpec(specs[i]);
        if (!type || PyModule_AddType(module, (PyTypeObject *)type) < 0) {
            Py_XDECREF(type);
            return -1;
        }
        Py_DECREF(type);
    }
    return 0;
}

static PyMethodDef functions[] = {
    {"ranks", ranks, METH_VARARGS, "ranks(x, features, starts, thresholds, out): write ranks of x to out"},
    {0},
};
static PyModuleDef_Slot slots[] = {{Py_mod_exec, executed}, {0}};
static PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, .m_name = "_kernels", .m_size = 0, .m_methods = functions, .m_slots = slots};

PyMODINIT_FUNC PyInit__kernels(void)
{
    return PyModuleDef_Init(&definition);
}
