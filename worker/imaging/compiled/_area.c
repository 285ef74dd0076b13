/* Averages the areas of pixels that an image's smaller version has, with the bytes of OpenCV's INTER_AREA.

   Optional: worker/imaging/resize.py gets the same bytes from OpenCV where this was not built. The sums are of floats, so
   their order is part of the result: first along each row, from left to right, then down the rows, each product rounded
   before it is added. OpenCV takes one number after the other; here sixteen rows lie beside each other, so that
   each vector holds one column of them, for any reduction and any number of channels. */

#include "_image.h"

#include <float.h>
#include <math.h>

#if FLT_EVAL_METHOD != 0
#error "floats must be rounded after each operation"
#endif

enum { ROWS = 16, PART = 16, MOST_CHANNELS = 4 }; /* rows of a block; pixels of the result that are made at once */

/* Which pixels of the source make each pixel of one side of the result, and with which weights. */
typedef struct {
  int count;
  int *starts, *lengths;
  const float **weights;
  float *all;
} Axis;

static void free_axis(Axis *axis) {
  free(axis->starts);
  free(axis->lengths);
  free(axis->weights);
  free(axis->all);
}

/* Share `from` pixels out to `to` pixels. A share of less than a thousandth of a pixel counts nothing, and all is computed in
   double precision, as OpenCV does. Return -1 without memory. */
static int set_axis(Axis *axis, int from, int to) {
  double scale = 1.0 / ((double)to / from);
  axis->count = to;
  axis->starts = malloc(sizeof(int) * (size_t)to);
  axis->lengths = malloc(sizeof(int) * (size_t)to);
  axis->weights = malloc(sizeof(float *) * (size_t)to);
  axis->all = malloc(sizeof(float) * ((size_t)from + 2 * (size_t)to)); /* whole pixels, and two shares for each */
  if (!axis->starts || !axis->lengths || !axis->weights || !axis->all) return -1;
  float *next = axis->all;
  for (int i = 0; i < to; i++) {
    double left = i * scale, right = left + scale, room = from - left;
    double cell = room < scale ? room : scale;
    int last = (int)floor(right), first = (int)ceil(left);
    if (last > from - 1) last = from - 1;
    if (first > last) first = last;
    axis->weights[i] = next;
    axis->starts[i] = first;
    if (first - left > 1e-3) {
      axis->starts[i] = first - 1;
      *next++ = (float)((first - left) / cell);
    }
    for (int k = first; k < last; k++) *next++ = (float)(1.0 / cell);
    double rest = right - last;
    if (rest > 1e-3) {
      if (rest > 1.0) rest = 1.0;
      if (rest > cell) rest = cell;
      *next++ = (float)(rest / cell);
    }
    axis->lengths[i] = (int)(next - axis->weights[i]);
  }
  return 0;
}

#include "_area_rows.h"

/* Add a row to the sums of a row of the result. */
ANY_PROCESSOR
static void add(float *restrict sums, const float *restrict line, float weight, size_t count) {
  for (size_t x = 0; x < count; x++) sums[x] += weight * line[x];
}

/* Round to the nearest level, to the even one of two: beyond 2^23, floats are whole numbers. */
ANY_PROCESSOR
static void round_off(u8 *restrict out, const float *restrict sums, size_t count) {
  for (size_t x = 0; x < count; x++) {
    int level = (int)(sums[x] + 8388608.0f - 8388608.0f);
    out[x] = (u8)(level > 255 ? 255 : level);
  }
}

/* Return -1 without memory. */
static int averaged(const Image *in, const Image *out) {
  Axis x = {0}, y = {0};
  size_t wide = (size_t)in->width * (size_t)in->channels, narrow = (size_t)out->width * (size_t)in->channels;
  size_t step = (narrow + PART - 1) / PART * PART;
  int first = -ROWS, status = -1;
  u8 *columns = aligned_alloc(64, (wide * ROWS + 63) / 64 * 64);
  float *lines = aligned_alloc(64, sizeof(float) * step * ROWS);
  float *sums = malloc(sizeof(float) * narrow);
  if (!columns || !lines || !sums || set_axis(&x, in->width, out->width) < 0 || set_axis(&y, in->height, out->height) < 0)
    goto done;
  for (int row = 0; row < out->height; row++) {
    memset(sums, 0, sizeof(float) * narrow);
    for (int k = 0; k < y.lengths[row]; k++) {
      int at = y.starts[row] + k;
      if (at < first || at >= first + ROWS) {
        first = at;
        int rows = in->height - first < ROWS ? in->height - first : ROWS;
        across(in->pixels + in->stride * (size_t)first, in->stride, rows, wide, in->channels, &x, columns, lines, step);
      }
      add(sums, lines + step * (size_t)(at - first), y.weights[row][k], narrow);
    }
    round_off(out->pixels + out->stride * (size_t)row, sums, narrow);
  }
  status = 0;
done:
  free_axis(&x);
  free_axis(&y);
  free(columns);
  free(lines);
  free(sums);
  return status;
}

PyDoc_STRVAR(average_doc, "average(image, out)\n\n"
                          "Reduce an image of 1, 3 or 4 channels to the size of `out`, which is no larger on any side.");

static PyObject *average(PyObject *module, PyObject *args) {
  (void)module;
  PyObject *from, *to;
  Image in, out;
  int status;
  if (!PyArg_ParseTuple(args, "OO:average", &from, &to)) return NULL;
  if (take_two(from, to, &in, &out, ANY_CHANNELS) < 0) return NULL;
  if (out.width > in.width || out.height > in.height) {
    release_two(&in, &out);
    PyErr_SetString(PyExc_ValueError, "an average must not be larger than its image");
    return NULL;
  }
  Py_BEGIN_ALLOW_THREADS
  status = averaged(&in, &out);
  Py_END_ALLOW_THREADS
  release_two(&in, &out);
  if (status < 0) return PyErr_NoMemory();
  return Py_NewRef(Py_None);
}

PyDoc_STRVAR(limit_vectors_doc, "limit_vectors(most) -> int\n\n"
                                "Let `average` use vectors up to 1 (none) or 2 (AVX2), for tests; return which it has.");

static PyObject *limit_vectors(PyObject *module, PyObject *args) {
  (void)module;
  if (!PyArg_ParseTuple(args, "i:limit_vectors", &most_vectors)) return NULL;
  return PyLong_FromLong(level_of_vectors());
}

static PyMethodDef methods[] = {{"average", average, METH_VARARGS, average_doc},
                                {"limit_vectors", limit_vectors, METH_VARARGS, limit_vectors_doc},
                                {0}};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_area", "OpenCV's averages.", 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__area(void) { return PyModule_Create(&definition); }
