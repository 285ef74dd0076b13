/* The planes of a baseline JPEG with colours halved along both sides, and pixels of them: see `_jpeg_planes.c`. */

#ifndef PENSTOCK_JPEG_PLANES_H
#define PENSTOCK_JPEG_PLANES_H

#define PY_SSIZE_T_CLEAN
#ifndef Py_LIMITED_API
#define Py_LIMITED_API 0x030b0000 /* 3.11, the first whose stable interface has buffers */
#endif
#include <Python.h>

extern const char planes_doc[], colors_doc[];

PyObject *planes(PyObject *module, PyObject *args);
PyObject *colors(PyObject *module, PyObject *args);

#endif
