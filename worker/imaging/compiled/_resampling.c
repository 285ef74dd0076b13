/* Resizes images as Pillow does, bit for bit, and samples nearest pixels as its affine transform does.

   Optional: worker/imaging/resize.py gets the same pixels from Pillow where this was not built. Pillow's own loops take
   one channel of one pixel after the other; these take a pixel, or a row, at once. */

#include "_image.h"

#include <math.h>

enum { PRECISION = 22, HALF = 1 << (PRECISION - 1) }; /* fraction bits of a weight; what rounds a sum */

/* Which pixels of the source make each pixel of one side of the result, and with which weights. */
typedef struct {
  int count, taps; /* pixels of the result; weights of each, 0 beyond its length */
  int *starts, *lengths;
  int longest;
  int32_t *weights;
} Axis;

static double box(double x) { return x > -0.5 && x <= 0.5 ? 1.0 : 0.0; }

static double triangle(double x) {
  x = fabs(x);
  return x < 1.0 ? 1.0 - x : 0.0;
}

static double cubic(double x) {
  x = fabs(x);
  if (x < 1.0) return (1.5 * x - 2.5) * x * x + 1.0;
  return x < 2.0 ? (((x - 5.0) * x + 8.0) * x - 4.0) * -0.5 : 0.0;
}

static const struct {
  double (*value)(double);
  double support;
} FILTERS[] = {{box, 0.5}, {triangle, 1.0}, {cubic, 2.0}};

static void free_axis(Axis *axis) {
  free(axis->starts);
  free(axis->lengths);
  free(axis->weights);
}

/* Compute weights in double precision, with Pillow's operations in Pillow's order. Return -1 without memory. */
static int set_axis(Axis *axis, int from, int to, int filter) {
  double scale = (double)from / to, widened = scale < 1.0 ? 1.0 : scale;
  double support = FILTERS[filter].support * widened, inverse = 1.0 / widened;
  axis->count = to;
  axis->taps = (int)ceil(support) * 2 + 1;
  axis->starts = malloc(sizeof(int) * (size_t)to);
  axis->lengths = malloc(sizeof(int) * (size_t)to);
  axis->weights = calloc((size_t)to * (size_t)axis->taps, sizeof(int32_t));
  double *row = malloc(sizeof(double) * (size_t)axis->taps);
  int status = axis->starts && axis->lengths && axis->weights && row ? 0 : -1;
  for (int i = 0; status == 0 && i < to; i++) {
    double center = (i + 0.5) * scale, total = 0.0;
    int first = (int)(center - support + 0.5), stop = (int)(center + support + 0.5);
    if (first < 0) first = 0;
    if (stop > from) stop = from;
    axis->starts[i] = first;
    axis->lengths[i] = stop - first;
    if (axis->longest < stop - first) axis->longest = stop - first;
    for (int k = 0; k < stop - first; k++) total += row[k] = FILTERS[filter].value((k + first - center + 0.5) * inverse);
    for (int k = 0; k < stop - first; k++) {
      double weight = (total != 0.0 ? row[k] / total : row[k]) * (1 << PRECISION);
      axis->weights[(size_t)i * (size_t)axis->taps + (size_t)k] = (int32_t)(weight < 0.0 ? weight - 0.5 : weight + 0.5);
    }
  }
  free(row);
  return status;
}

#include "_resampling_rows.h"

/* Resample each column of `row` bytes a line; `sums` has room for a line. */
ANY_PROCESSOR
static void down_plain(const u8 *in, size_t stride, size_t row, const Axis *axis, int32_t *sums, u8 *out, size_t step) {
  for (int y = 0; y < axis->count; y++, out += step) {
    const u8 *at = in + stride * (size_t)axis->starts[y];
    const int32_t *weights = axis->weights + (size_t)y * (size_t)axis->taps;
    for (size_t x = 0; x < row; x++) sums[x] = HALF;
    for (int k = 0; k < axis->lengths[y]; k++, at += stride) {
      int32_t weight = weights[k];
      for (size_t x = 0; x < row; x++) sums[x] += weight * at[x];
    }
    for (size_t x = 0; x < row; x++) out[x] = level(sums[x]);
  }
}

static void down(const u8 *in, size_t stride, size_t row, const Axis *axis, int32_t *sums, u8 *out, size_t step) {
#ifdef __x86_64__
  if (level_of_vectors() >= 3 && axis->longest <= MOST_LINES) {
    down_avx512(in, stride, row, axis, out, step);
    return;
  }
#endif
  down_plain(in, stride, row, axis, sums, out, step);
}

/* Return -1 without memory. A pass along a side that keeps its length is left out: all its weights would be 1. */
static int resized(const Image *in, const Image *out, int filter, int height_first) {
  Axis x = {0}, y = {0};
  int widest = in->width > out->width ? in->width : out->width, status = -1;
  size_t narrow = (size_t)out->width * CHANNELS, wide = (size_t)in->width * CHANNELS;
  int32_t *sums = malloc(sizeof(int32_t) * (size_t)widest * CHANNELS);
  u8 *middle = malloc(height_first ? (size_t)out->height * wide : (size_t)in->height * narrow);
  if (!sums || !middle || set_axis(&x, in->width, out->width, filter) < 0 || set_axis(&y, in->height, out->height, filter) < 0)
    goto done;
  if (in->width == out->width) {
    down(in->pixels, in->stride, wide, &y, sums, out->pixels, out->stride);
    status = 0;
  } else if (in->height == out->height) {
    status = crossed(in->pixels, in->stride, in->height, in->width, &x, out->pixels, out->stride);
  } else if (height_first) {
    down(in->pixels, in->stride, wide, &y, sums, middle, wide);
    status = crossed(middle, wide, out->height, in->width, &x, out->pixels, out->stride);
  } else {
    status = crossed(in->pixels, in->stride, in->height, in->width, &x, middle, narrow);
    down(middle, narrow, narrow, &y, sums, out->pixels, out->stride);
  }
done:
  free_axis(&x);
  free_axis(&y);
  free(sums);
  free(middle);
  return status;
}

/* A place in the image, in multiples of 2^-16. */
typedef struct {
  int32_t x, y;
} Place;

static int is_inside(const Image *in, Place at) {
  return at.x >> 16 >= 0 && at.x >> 16 < in->width && at.y >> 16 >= 0 && at.y >> 16 < in->height;
}

/* Return whether all places of the result's pixels, and one step beyond, have 32 bits: then those inside of the image
   are neighbours in each row, because the places go straight on. */
static int are_places(const Image *out, const int m[6]) {
  for (int corner = 0; corner < 4; corner++) {
    int64_t x = corner & 1 ? out->width : -1, y = corner & 2 ? out->height : -1;
    int64_t at_x = m[0] * x + m[1] * y + m[2], at_y = m[3] * x + m[4] * y + m[5];
    if (at_x < INT32_MIN || at_x > INT32_MAX || at_y < INT32_MIN || at_y > INT32_MAX) return 0;
  }
  return 1;
}

/* Sample the nearest pixels. What lies outside keeps what `out` holds. */
static void sampled(const Image *in, const Image *out, const int m[6]) {
  Place row = {m[2], m[5]};
  for (int y = 0; y < out->height; y++, row.x += m[1], row.y += m[4]) {
    int first = 0, stop = out->width;
    Place at = row, end = {(int)(row.x + (int64_t)m[0] * (stop - 1)), (int)(row.y + (int64_t)m[3] * (stop - 1))};
    for (; first < stop && !is_inside(in, at); first++) at.x += m[0], at.y += m[3];
    for (; first < stop && !is_inside(in, end); stop--) end.x -= m[0], end.y -= m[3];
    u8 *to = out->pixels + out->stride * (size_t)y + (size_t)first * CHANNELS;
    for (int x = first; x < stop; x++, to += CHANNELS, at.x += m[0], at.y += m[3])
      memcpy(to, in->pixels + in->stride * (size_t)(at.y >> 16) + (size_t)(at.x >> 16) * CHANNELS, CHANNELS);
  }
}

PyDoc_STRVAR(resize_doc, "resize(image, out, filter, height_first)\n\n"
                         "Resize by the filter 0 (box), 1 (bilinear) or 2 (bicubic), along the height first or the width.");

static PyObject *resize(PyObject *module, PyObject *args) {
  (void)module;
  PyObject *from, *to;
  Image in, out;
  int filter, height_first, status;
  if (!PyArg_ParseTuple(args, "OOip:resize", &from, &to, &filter, &height_first)) return NULL;
  if (filter < 0 || filter >= (int)(sizeof FILTERS / sizeof FILTERS[0])) {
    PyErr_SetString(PyExc_ValueError, "filter must be 0, 1 or 2");
    return NULL;
  }
  if (take_two(from, to, &in, &out, CHANNELS) < 0) return NULL;
  Py_BEGIN_ALLOW_THREADS
  status = resized(&in, &out, filter, height_first);
  Py_END_ALLOW_THREADS
  release_two(&in, &out);
  if (status < 0) return PyErr_NoMemory();
  return Py_NewRef(Py_None);
}

PyDoc_STRVAR(sample_doc, "sample(image, out, a, b, c, d, e, f)\n\n"
                         "Write the pixel at ((a x + b y + c) >> 16, (d x + e y + f) >> 16) to each (x, y) of `out`; where\n"
                         "there is none, leave it.");

static PyObject *sample(PyObject *module, PyObject *args) {
  (void)module;
  PyObject *from, *to;
  Image in, out;
  int m[6];
  if (!PyArg_ParseTuple(args, "OOiiiiii:sample", &from, &to, &m[0], &m[1], &m[2], &m[3], &m[4], &m[5])) return NULL;
  if (take_two(from, to, &in, &out, CHANNELS) < 0) return NULL;
  if (!are_places(&out, m)) {
    release_two(&in, &out);
    PyErr_SetString(PyExc_ValueError, "the map leads too far away");
    return NULL;
  }
  Py_BEGIN_ALLOW_THREADS
  sampled(&in, &out, m);
  Py_END_ALLOW_THREADS
  release_two(&in, &out);
  return Py_NewRef(Py_None);
}

PyDoc_STRVAR(limit_vectors_doc, "limit_vectors(most) -> int\n\n"
                                "Let `resize` use vectors up to 1 (none), 2 (AVX2) or 3 (AVX-512), for tests; return which it has.");

static PyObject *limit_vectors(PyObject *module, PyObject *args) {
  (void)module;
  if (!PyArg_ParseTuple(args, "i:limit_vectors", &most_vectors)) return NULL;
  return PyLong_FromLong(level_of_vectors());
}

static PyMethodDef methods[] = {{"resize", resize, METH_VARARGS, resize_doc},
                                {"sample", sample, METH_VARARGS, sample_doc},
                                {"limit_vectors", limit_vectors, METH_VARARGS, limit_vectors_doc},
                                {0}};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_resampling", "Pillow's resampling.", 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__resampling(void) { return PyModule_Create(&definition); }
