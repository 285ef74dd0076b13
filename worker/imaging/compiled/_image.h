/* What the compiled loops share: images as buffers, and the loops' choice of vector instructions.

   An image is uint8, height × width × channels, of which most loops take 3; its rows may have gaps between them. Results are
   the same with any vector instructions: sums are of integers or in one order, other floating-point results are single
   operations, and setup.py turns fused ones off. */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030b0000 /* 3.11, the first whose stable interface has buffers */
#include <Python.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* The same loop for processors with AVX2 and for those without, chosen when the module is loaded. */
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
#define ANY_PROCESSOR __attribute__((target_clones("avx2", "default")))
#else
#define ANY_PROCESSOR
#endif

enum { CHANNELS = 3, ANY_CHANNELS = 0, MAX_SIDE = 65535 };

typedef uint8_t u8;

typedef struct {
  Py_buffer buffer;
  u8 *pixels;
  int height, width, channels;
  size_t stride; /* bytes from a row to the next */
} Image;

#define MUST_BE(channels)                                                                                                  \
  "an image must be uint8, height × width × " channels ", of 1 to 65535 pixels a side, its rows without gaps"

/* Take an image of so many channels from Python, or with ANY_CHANNELS of 1, 3 or 4; raises ValueError, and then there is
   nothing to release. */
static int take_channels(PyObject *object, Image *image, int writable, int channels) {
  Py_buffer *buffer = &image->buffer;
  if (PyObject_GetBuffer(object, buffer, writable ? PyBUF_STRIDES | PyBUF_WRITABLE : PyBUF_STRIDES) < 0) return -1;
  Py_ssize_t found = buffer->ndim == 3 ? buffer->shape[2] : 0;
  if (buffer->ndim != 3 || buffer->itemsize != 1 || (channels != ANY_CHANNELS ? found != channels : found != 1 && found != 3 && found != 4) ||
      buffer->strides[2] != 1 || buffer->strides[1] != found || buffer->shape[0] < 1 || buffer->shape[0] > MAX_SIDE ||
      buffer->shape[1] < 1 || buffer->shape[1] > MAX_SIDE ||
      (buffer->shape[0] > 1 && buffer->strides[0] < buffer->shape[1] * found)) {
    PyBuffer_Release(buffer);
    PyErr_SetString(PyExc_ValueError, channels == ANY_CHANNELS ? MUST_BE("1, 3 or 4")
                                      : channels == CHANNELS   ? MUST_BE("3")
                                      : channels == 1          ? MUST_BE("1")
                                                               : MUST_BE("4"));
    return -1;
  }
  image->pixels = buffer->buf;
  image->height = (int)buffer->shape[0];
  image->width = (int)buffer->shape[1];
  image->channels = (int)found;
  image->stride = (size_t)buffer->strides[0];
  return 0;
}

/* Take an image of three channels. */
static inline int take(PyObject *object, Image *image, int writable) { return take_channels(object, image, writable, CHANNELS); }

/* Take an image and one of as many channels that a loop writes, of any size; raises ValueError. */
static int take_two(PyObject *from, PyObject *to, Image *in, Image *out, int channels) {
  if (take_channels(from, in, 0, channels) < 0) return -1;
  if (take_channels(to, out, 1, in->channels) < 0) {
    PyBuffer_Release(&in->buffer);
    return -1;
  }
  return 0;
}

static void release_two(Image *in, Image *out) {
  PyBuffer_Release(&in->buffer);
  PyBuffer_Release(&out->buffer);
}
