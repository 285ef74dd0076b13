/* The planes of a baseline JPEG with colours halved along both sides, and pixels of them.

   The rows of a picture of height h: h rows of luma, then (h + 1) / 2 rows of which the first half is blue chroma and the
   second half red; each as long as the width, rounded up to whole MCUs of 16 × 16 pixels. */

#ifndef PENSTOCK_JPEG_PLANES_H
#define PENSTOCK_JPEG_PLANES_H

#define PY_SSIZE_T_CLEAN
#ifndef Py_LIMITED_API
#define Py_LIMITED_API 0x030b0000 /* 3.11, the first whose stable interface has buffers */
#endif
#include <Python.h>
#include <stdint.h>

/* Pictures of fewer columns than LEAST_WIDTH are not for here: libjpeg upsamples those of up to 4 otherwise. */
enum { UNIT = 16, LEAST_WIDTH = 16, MOST_SIDE = 65500 };

static inline uint32_t stride_of(uint32_t width) { return (width + UNIT - 1) / UNIT * UNIT; }

extern const char planes_doc[], colors_doc[];

/* A part of a picture (pixels), as Python gives it. */
typedef struct {
  int32_t top, left, height, width;
} Box;

PyObject *planes(PyObject *module, PyObject *args);
PyObject *colors(PyObject *module, PyObject *args);

/* Return what makes most pixels of a picture on this processor: 1 (plain C), 2 (AVX2) or 3 (AVX-512). */
int vectors_of_colors(void);

#endif
