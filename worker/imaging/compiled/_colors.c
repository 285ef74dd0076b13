/* Changes colours as Pillow does, bit for bit.

   Optional: the modules of worker/imaging/operations/color have the same answers without it, by numpy, OpenCV or Pillow,
   which pass over the pixels several times. A blend is start + factor * (level - start), each operation rounded to single
   precision, its fraction dropped, cut at 0 and 255. */

#include "_image.h"

enum { LEVELS = 256, DIFFERENCES = 511, ZERO = 255, BLOCK = 256 };

static u8 blended(float start, float factor, float level) {
  float value = start + factor * (level - start);
  value = value < 0.0f ? 0.0f : value;
  return (u8)(int32_t)(value > 255.0f ? 255.0f : value);
}

static int32_t gray(const u8 *pixel) { return (19595 * pixel[0] + 38470 * pixel[1] + 7471 * pixel[2] + 32768) >> 16; }

/* Blend with the grey levels. */
ANY_PROCESSOR
static void saturated(const Image *in, const Image *out, float factor) {
  float start[BLOCK * CHANNELS];
  for (int y = 0; y < in->height; y++) {
    const u8 *from = in->pixels + in->stride * (size_t)y;
    u8 *to = out->pixels + out->stride * (size_t)y;
    for (size_t left = (size_t)in->width, count; left > 0; left -= count, from += count * CHANNELS, to += count * CHANNELS) {
      count = left < BLOCK ? left : BLOCK;
      for (size_t x = 0; x < count; x++) {
        float level = (float)gray(from + x * CHANNELS);
        start[x * CHANNELS] = start[x * CHANNELS + 1] = start[x * CHANNELS + 2] = level;
      }
      for (size_t i = 0; i < count * CHANNELS; i++) to[i] = blended(start[i], factor, from[i]);
    }
  }
}

ANY_PROCESSOR
static int64_t gray_sum(const Image *in) {
  int64_t sum = 0;
  for (int y = 0; y < in->height; y++) {
    const u8 *from = in->pixels + in->stride * (size_t)y;
    int32_t of_row = 0; /* at most 65535 * 255 */
    for (size_t x = 0; x < (size_t)in->width; x++) of_row += gray(from + x * CHANNELS);
    sum += of_row;
  }
  return sum;
}

/* Blend with the mean grey level. */
static void contrasted(const Image *in, const Image *out, float factor) {
  float mean = (float)(int)((double)gray_sum(in) / ((double)in->height * in->width) + 0.5);
  u8 table[LEVELS];
  for (int level = 0; level < LEVELS; level++) table[level] = blended(mean, factor, (float)level);
  for (int y = 0; y < in->height; y++) {
    const u8 *from = in->pixels + in->stride * (size_t)y;
    u8 *to = out->pixels + out->stride * (size_t)y;
    for (size_t i = 0; i < (size_t)in->width * CHANNELS; i++) to[i] = table[from[i]];
  }
}

/* Blend with the image smoothed by the weights 1 1 1, 1 5 1, 1 1 1, whose sum is 13; the outermost pixels stay. */
ANY_PROCESSOR
static void sharpened(const Image *in, const Image *out, float factor) {
  for (int y = 0; y < in->height; y++) {
    const u8 *from = in->pixels + in->stride * (size_t)y;
    u8 *to = out->pixels + out->stride * (size_t)y;
    size_t row = (size_t)in->width * CHANNELS;
    if (y == 0 || y == in->height - 1 || in->width < 3) {
      memcpy(to, from, row);
      continue;
    }
    const u8 *above = from - in->stride, *below = from + in->stride;
    memcpy(to, from, CHANNELS);
    for (size_t i = CHANNELS; i < row - CHANNELS; i++) {
      int32_t sum = above[i - CHANNELS] + above[i] + above[i + CHANNELS] + from[i - CHANNELS] + 5 * from[i] +
                    from[i + CHANNELS] + below[i - CHANNELS] + below[i] + below[i + CHANNELS];
      /* A thirteenth is never nearer to a half than 1/26, so that single precision rounds it right. */
      float smooth = (float)(int32_t)((float)sum * (1.0f / 13.0f) + 0.5f);
      to[i] = blended(smooth, factor, from[i]);
    }
    memcpy(to + row - CHANNELS, from + row - CHANNELS, CHANNELS);
  }
}

/* The tables of hue.py. */
typedef struct {
  const u8 *hue;        /* by (largest channel, difference of the next two, largest less smallest) */
  const u8 *saturation; /* and the result's smallest level, by (largest, smallest) */
  const double *middle; /* what the largest level is multiplied by for the middle one, by (hue, saturation) */
  const u8 *roles;      /* by hue, two bits for each channel: whether it is the largest, whether the middle one */
} Tables;

static void turned(const Image *in, const Image *out, int steps, const Tables *tables) {
  for (int y = 0; y < in->height; y++) {
    const u8 *from = in->pixels + in->stride * (size_t)y;
    u8 *to = out->pixels + out->stride * (size_t)y;
    for (int x = 0; x < in->width; x++, from += CHANNELS, to += CHANNELS) {
      int red = from[0], green = from[1], blue = from[2];
      int largest = red, smallest = red, row = green - blue + ZERO;
      if (green > largest) largest = green, row = blue - red + DIFFERENCES + ZERO;
      if (blue > largest) largest = blue, row = red - green + 2 * DIFFERENCES + ZERO;
      if (green < smallest) smallest = green;
      if (blue < smallest) smallest = blue;
      int hue = (tables->hue[row * LEVELS + largest - smallest] + steps) & 255;
      const u8 *both = tables->saturation + 2 * (largest * LEVELS + smallest);
      u8 middle = (u8)(int)(tables->middle[hue * LEVELS + both[0]] * largest + 0.5);
      const u8 levels[4] = {both[1], (u8)largest, middle, 0};
      int roles = tables->roles[hue];
      to[0] = levels[roles & 3];
      to[1] = levels[roles >> 2 & 3];
      to[2] = levels[roles >> 4 & 3];
    }
  }
}

/* Count each channel's levels, into 3 × 256 numbers. Two sets of counters, because neighbours often are equal. */
static void counted(const Image *in, uint32_t *counts) {
  static const size_t size = CHANNELS * LEVELS;
  uint32_t others[CHANNELS * LEVELS] = {0};
  memset(counts, 0, size * sizeof *counts);
  for (int y = 0; y < in->height; y++) {
    const u8 *from = in->pixels + in->stride * (size_t)y;
    for (int x = 0; x < in->width; x++, from += CHANNELS) {
      uint32_t *to = x & 1 ? others : counts;
      to[from[0]]++, to[LEVELS + from[1]]++, to[2 * LEVELS + from[2]]++;
    }
  }
  for (size_t i = 0; i < size; i++) counts[i] += others[i];
}

static void looked_up(const Image *in, const Image *out, const u8 *tables) {
  for (int y = 0; y < in->height; y++) {
    const u8 *from = in->pixels + in->stride * (size_t)y;
    u8 *to = out->pixels + out->stride * (size_t)y;
    for (int x = 0; x < in->width; x++, from += CHANNELS, to += CHANNELS) {
      to[0] = tables[from[0]];
      to[1] = tables[LEVELS + from[1]];
      to[2] = tables[2 * LEVELS + from[2]];
    }
  }
}

/* Python. */

static int same_size(Image *in, Image *out) {
  if (in->height == out->height && in->width == out->width) return 0;
  PyErr_SetString(PyExc_ValueError, "both images must have one size");
  release_two(in, out);
  return -1;
}

typedef void Blend(const Image *, const Image *, float);

static PyObject *blend(PyObject *args, Blend *loop) {
  PyObject *from, *to;
  Image in, out;
  float factor;
  if (!PyArg_ParseTuple(args, "OOf", &from, &to, &factor)) return NULL;
  if (take_two(from, to, &in, &out, CHANNELS) < 0 || same_size(&in, &out) < 0) return NULL;
  Py_BEGIN_ALLOW_THREADS
  loop(&in, &out, factor);
  Py_END_ALLOW_THREADS
  release_two(&in, &out);
  return Py_NewRef(Py_None);
}

static PyObject *saturate(PyObject *module, PyObject *args) { return (void)module, blend(args, saturated); }
static PyObject *contrast(PyObject *module, PyObject *args) { return (void)module, blend(args, contrasted); }
static PyObject *sharpen(PyObject *module, PyObject *args) { return (void)module, blend(args, sharpened); }

static int of_size(const Py_buffer *buffer, size_t size) {
  if ((size_t)buffer->len == size) return 1;
  PyErr_SetString(PyExc_ValueError, "a table has another size");
  return 0;
}

static PyObject *turn(PyObject *module, PyObject *args) {
  (void)module;
  PyObject *from, *to, *result = NULL;
  Py_buffer hue, saturation, middle, roles;
  Image in, out;
  int steps;
  if (!PyArg_ParseTuple(args, "OOiy*y*y*y*:turn", &from, &to, &steps, &hue, &saturation, &middle, &roles)) return NULL;
  if (of_size(&hue, 3 * DIFFERENCES * LEVELS) && of_size(&saturation, 2 * LEVELS * LEVELS) &&
      of_size(&middle, sizeof(double) * LEVELS * LEVELS) && of_size(&roles, LEVELS) &&
      take_two(from, to, &in, &out, CHANNELS) == 0 && same_size(&in, &out) == 0) {
    const Tables tables = {hue.buf, saturation.buf, middle.buf, roles.buf};
    Py_BEGIN_ALLOW_THREADS
    turned(&in, &out, steps & 255, &tables);
    Py_END_ALLOW_THREADS
    release_two(&in, &out);
    result = Py_NewRef(Py_None);
  }
  PyBuffer_Release(&hue);
  PyBuffer_Release(&saturation);
  PyBuffer_Release(&middle);
  PyBuffer_Release(&roles);
  return result;
}

static PyObject *count(PyObject *module, PyObject *args) {
  (void)module;
  PyObject *from, *result = NULL;
  Py_buffer counts;
  Image in;
  if (!PyArg_ParseTuple(args, "Ow*:count", &from, &counts)) return NULL;
  if (of_size(&counts, sizeof(uint32_t) * CHANNELS * LEVELS) && take(from, &in, 0) == 0) {
    Py_BEGIN_ALLOW_THREADS
    counted(&in, counts.buf);
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&in.buffer);
    result = Py_NewRef(Py_None);
  }
  PyBuffer_Release(&counts);
  return result;
}

static PyObject *look_up(PyObject *module, PyObject *args) {
  (void)module;
  PyObject *from, *to, *result = NULL;
  Py_buffer tables;
  Image in, out;
  if (!PyArg_ParseTuple(args, "OOy*:look_up", &from, &to, &tables)) return NULL;
  if (of_size(&tables, CHANNELS * LEVELS) && take_two(from, to, &in, &out, CHANNELS) == 0 && same_size(&in, &out) == 0) {
    Py_BEGIN_ALLOW_THREADS
    looked_up(&in, &out, tables.buf);
    Py_END_ALLOW_THREADS
    release_two(&in, &out);
    result = Py_NewRef(Py_None);
  }
  PyBuffer_Release(&tables);
  return result;
}

static PyMethodDef methods[] = {
    {"saturate", saturate, METH_VARARGS, "saturate(image, out, factor)\n\nBlend with the grey levels."},
    {"contrast", contrast, METH_VARARGS, "contrast(image, out, factor)\n\nBlend with the mean grey level."},
    {"sharpen", sharpen, METH_VARARGS, "sharpen(image, out, factor)\n\nBlend with the smoothed image."},
    {"turn", turn, METH_VARARGS, "turn(image, out, steps, hue, saturation, middle, roles)\n\nMove the hue on, by the tables of hue.py."},
    {"count", count, METH_VARARGS, "count(image, counts)\n\nCount the levels of each channel (uint32; 3, 256)."},
    {"look_up", look_up, METH_VARARGS, "look_up(image, out, tables)\n\nReplace levels by those of each channel's table (uint8; 3, 256)."},
    {0}};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_colors", "Pillow's changes of colours.", 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__colors(void) { return PyModule_Create(&definition); }
