/* What the compiled loops share: images as buffers, and the loops' choice of vector instructions.

   An image is uint8, height × width × 3; its rows may have gaps between them. Results are the same with any vector
   instructions: sums are of integers, floating-point results are single operations, and setup.py turns fused ones off. */

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

enum { CHANNELS = 3, MAX_SIDE = 65535 };

typedef uint8_t u8;

typedef struct {
  Py_buffer buffer;
  u8 *pixels;
  int height, width;
  size_t stride; /* bytes from a row to the next */
} Image;

/* Take an image from Python; raises ValueError, and then there is nothing to release. */
static int take(PyObject *object, Image *image, int writable) {
  Py_buffer *buffer = &image->buffer;
  if (PyObject_GetBuffer(object, buffer, writable ? PyBUF_STRIDES | PyBUF_WRITABLE : PyBUF_STRIDES) < 0) return -1;
  if (buffer->ndim != 3 || buffer->itemsize != 1 || buffer->shape[2] != CHANNELS || buffer->strides[2] != 1 ||
      buffer->strides[1] != CHANNELS || buffer->shape[0] < 1 || buffer->shape[0] > MAX_SIDE || buffer->shape[1] < 1 ||
      buffer->shape[1] > MAX_SIDE || (buffer->shape[0] > 1 && buffer->strides[0] < buffer->shape[1] * CHANNELS)) {
    PyBuffer_Release(buffer);
    PyErr_SetString(PyExc_ValueError, "an image must be uint8, height × width × 3, of 1 to 65535 pixels a side, its rows without gaps");
    return -1;
  }
  image->pixels = buffer->buf;
  image->height = (int)buffer->shape[0];
  image->width = (int)buffer->shape[1];
  image->stride = (size_t)buffer->strides[0];
  return 0;
}

/* Take an image and one that a loop writes, of any size; raises ValueError. */
static int take_two(PyObject *from, PyObject *to, Image *in, Image *out) {
  if (take(from, in, 0) < 0) return -1;
  if (take(to, out, 1) < 0) {
    PyBuffer_Release(&in->buffer);
    return -1;
  }
  return 0;
}

static void release_two(Image *in, Image *out) {
  PyBuffer_Release(&in->buffer);
  PyBuffer_Release(&out->buffer);
}
