/* Boxes of a baseline JPEG, without decoding the rest: libjpeg-turbo's jpeg_crop_scanline and jpeg_skip_scanlines, with
   entropy decoding of our own (`compiled/_jpeg_entropy.c`), which is faster where nothing is wanted.

   Optional: worker/imaging/partial_jpeg.py has the same answers without it, and decides when it is asked. Owns libjpeg's calls and
   memory safety; refuses to know formats, limits and what a failure is called. Any warning or error of libjpeg ends
   the call with its words: whatever is unusual is for the caller's own decoder to judge. Where our entropy decoding meets
   anything unusual, all is done again with libjpeg's, whose verdict counts.

   The image is decoded as if its header said `rows` lines: all their entropy-coded data is decoded and so checked, the
   inverse DCT and colour conversion are done around the boxes only. */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030b0000 /* 3.11, the first whose stable interface has buffers */
#include <Python.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>

#include "compiled/_jpeg_entropy.h"
#include "compiled/_jpeg_errors.h"
#include "compiled/_jpeg_planes.h"

/* 2.1 is the first with a 4:4:0 upsampling like today's; other libraries of this interface give other pixels. */
#if !defined(LIBJPEG_TURBO_VERSION_NUMBER) || LIBJPEG_TURBO_VERSION_NUMBER < 2001000
#error "libjpeg-turbo 2.1 or newer is needed"
#endif
#if JPEG_LIB_VERSION >= 80
#define MIN_DCT_SIZE(cinfo) ((cinfo)->min_DCT_v_scaled_size)
#else
#define MIN_DCT_SIZE(cinfo) ((cinfo)->min_DCT_scaled_size)
#endif

/* Rows that libjpeg is asked for at once, at most; it gives as many as it has. */
enum { ROWS = 8 };

/* What is wanted, and where libjpeg reads: `head` is the file's beginning with another height in it, `tail` the rest. */
typedef struct {
  struct jpeg_decompress_struct cinfo;
  struct jpeg_error_mgr errors;
  struct jpeg_source_mgr source;
  jmp_buf failed;
  char words[JMSG_LENGTH_MAX];
  unsigned char *head;
  size_t head_size;
  const unsigned char *tail;
  size_t tail_size;
  int in_tail;
  const Box *boxes;
  size_t count;
  uint32_t width; /* of the image, as the caller knows it */
  uint32_t rows;
  int to_the_end; /* `rows` are all that the file has */
  int channels;
  unsigned int reduction;   /* 1, 2, 4 or 8: boxes and `out` are of the reduced image */
  uint32_t out_width, out_rows;
  unsigned char *out;
  Entropy *entropy; /* NULL: libjpeg's own */
} Job;

static void fail(j_common_ptr cinfo) {
  Job *job = cinfo->client_data;
  cinfo->err->format_message(cinfo, job->words);
  longjmp(job->failed, 1);
}

static void refuse(Job *job, const char *words) {
  snprintf(job->words, sizeof job->words, "%s", words);
  longjmp(job->failed, 1);
}

static void give_up(j_decompress_ptr cinfo) { refuse(cinfo->client_data, "something unusual in the entropy-coded data"); }

/* The source: two pieces of memory, one after the other. */

static void start_source(j_decompress_ptr cinfo) { (void)cinfo; }

static boolean next_piece(j_decompress_ptr cinfo) {
  Job *job = cinfo->client_data;
  if (job->in_tail || job->tail_size == 0) refuse(job, "Premature end of JPEG file");
  job->in_tail = 1;
  cinfo->src->next_input_byte = job->tail;
  cinfo->src->bytes_in_buffer = job->tail_size;
  return TRUE;
}

static void skip_bytes(j_decompress_ptr cinfo, long count) {
  if (count <= 0) return;
  size_t left = (size_t)count;
  while (left > cinfo->src->bytes_in_buffer) {
    left -= cinfo->src->bytes_in_buffer;
    next_piece(cinfo);
  }
  cinfo->src->next_input_byte += left;
  cinfo->src->bytes_in_buffer -= left;
}

static void open_source(Job *job) {
  struct jpeg_source_mgr *source = &job->source;
  source->init_source = start_source;
  source->fill_input_buffer = next_piece;
  source->skip_input_data = skip_bytes;
  source->resync_to_restart = jpeg_resync_to_restart;
  source->term_source = start_source;
  source->next_input_byte = job->head;
  source->bytes_in_buffer = job->head_size;
  job->cinfo.src = source;
}

/* The boxes. */

static uint32_t least(uint32_t a, uint32_t b) { return a < b ? a : b; }

static void skip_to(Job *job, uint32_t row) {
  j_decompress_ptr cinfo = &job->cinfo;
  while (cinfo->output_scanline < row) {
    if (jpeg_skip_scanlines(cinfo, row - cinfo->output_scanline) == 0) refuse(job, "libjpeg skips no rows");
  }
}

/* Find where the next rows that any box needs begin and end, with a margin of one iMCU row, at iMCU rows. */
static int next_band(const Job *job, uint32_t from, uint32_t unit, uint32_t *start, uint32_t *stop) {
  int found = 0;
  for (size_t i = 0; i < job->count; i++) {
    const Box *box = &job->boxes[i];
    uint32_t top = (uint32_t)box->top, bottom = top + (uint32_t)box->height;
    uint32_t first = top / unit, last = (bottom + unit - 1) / unit + 1;
    uint32_t begin = (first > 0 ? first - 1 : 0) * unit, end = least(last * unit, job->out_rows);
    if (end <= from) continue;
    if (begin < from) begin = from;
    if (!found || begin < *start) {
      *start = begin;
      *stop = end;
    }
    found = 1;
  }
  return found;
}

/* Let libjpeg decode only the columns around the boxes; return the first of them. */
static uint32_t crop(Job *job) {
  j_decompress_ptr cinfo = &job->cinfo;
  uint32_t unit = (uint32_t)(cinfo->max_h_samp_factor * MIN_DCT_SIZE(cinfo));
  uint32_t left = job->out_width, right = 0;
  for (size_t i = 0; i < job->count; i++) {
    const Box *box = &job->boxes[i];
    uint32_t end = (uint32_t)box->left + (uint32_t)box->width;
    left = least(left, (uint32_t)box->left);
    right = end > right ? end : right;
  }
  left = left / unit > 0 ? (left / unit - 1) * unit : 0;
  right = least(((right + unit - 1) / unit + 1) * unit, job->out_width);
  JDIMENSION offset = left, width = right - left;
  jpeg_crop_scanline(cinfo, &offset, &width);
  if (offset > left || offset + width < right || offset + width > job->out_width || width != cinfo->output_width)
    refuse(job, "libjpeg crops otherwise");
  if (job->entropy) {
    uint32_t mcu = cinfo->comps_in_scan == 1 ? (uint32_t)MIN_DCT_SIZE(cinfo) : unit; /* as jpeg_crop_scanline has it */
    take_entropy(job->entropy, cinfo, cinfo->src->next_input_byte, cinfo->src->bytes_in_buffer, offset / mcu,
                 (offset + width + mcu - 1) / mcu - 1, give_up);
  }
  return offset;
}

static void decode(Job *job) {
  j_decompress_ptr cinfo = &job->cinfo;
  jpeg_create_decompress(cinfo);
  open_source(job);
  jpeg_read_header(cinfo, TRUE);
  if (cinfo->progressive_mode || cinfo->arith_code || jpeg_has_multiple_scans(cinfo)) refuse(job, "not baseline");
  if (cinfo->image_width != job->width || cinfo->image_height != job->rows) refuse(job, "not the size that was told");
  cinfo->out_color_space = job->channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
  cinfo->scale_num = 8 / job->reduction;
  cinfo->scale_denom = 8;
  jpeg_start_decompress(cinfo);
  if (cinfo->output_width != job->out_width || cinfo->output_height != job->out_rows ||
      cinfo->output_components != job->channels || !job->in_tail)
    refuse(job, "not the wanted output");
  uint32_t unit = (uint32_t)(cinfo->max_v_samp_factor * MIN_DCT_SIZE(cinfo));
  uint32_t left = crop(job), start = 0, stop = 0;
  size_t channels = (size_t)job->channels, stride = job->out_width * channels;
  JSAMPROW lines[ROWS];
  while (next_band(job, stop, unit, &start, &stop)) {
    skip_to(job, start);
    while (cinfo->output_scanline < stop) {
      uint32_t row = cinfo->output_scanline, count = least(ROWS, stop - row);
      for (uint32_t i = 0; i < count; i++) lines[i] = job->out + (row + i) * stride + left * channels;
      if (jpeg_read_scanlines(cinfo, lines, count) < 1) refuse(job, "libjpeg gives no row");
    }
  }
  if (cinfo->output_scanline < job->out_rows) { /* skipping to the very end would leave the data undecoded, unchecked */
    skip_to(job, job->out_rows - 1);
    lines[0] = job->out + (job->out_rows - 1) * stride + left * channels;
    if (jpeg_read_scanlines(cinfo, lines, 1) != 1) refuse(job, "libjpeg gives no row");
  }
  if (!job->to_the_end) return; /* what follows the rows is not looked at */
  if (job->entropy) { /* libjpeg goes on at the marker */
    const unsigned char *end = end_of_entropy(job->entropy);
    if (end == NULL) give_up(cinfo);
    cinfo->src->next_input_byte = end;
    cinfo->src->bytes_in_buffer = (size_t)(job->tail + job->tail_size - end);
  }
  jpeg_finish_decompress(cinfo);
}

/* Return 0, or 1 with `words` set. Nothing here may touch Python: the interpreter is released. */
static int attempt(Job *job) {
  job->in_tail = 0;
  memset(&job->cinfo, 0, sizeof job->cinfo);
  set_up_errors(&job->cinfo, &job->errors, job, fail);
  volatile int status = 1;
  if (setjmp(job->failed) == 0) {
    decode(job);
    status = 0;
  }
  jpeg_destroy_decompress(&job->cinfo);
  return status;
}

static int run(Job *job, int by_libjpeg) {
  job->entropy = by_libjpeg != 1 ? get_entropy() : NULL;
  int status = attempt(job);
  if (job->entropy && status != 0 && by_libjpeg != 2) {
    give_back(job->entropy);
    job->entropy = NULL;
    status = attempt(job);
  }
  give_back(job->entropy);
  return status;
}

/* Python. */

/* Check all that memory safety rests upon; raises ValueError. */
static int check(const Job *job, Py_ssize_t out_size) {
  if ((job->channels != 1 && job->channels != 3) || job->rows < 1 || job->width < 1 || job->count < 1) goto bad;
  if (job->reduction != 1 && job->reduction != 2 && job->reduction != 4 && job->reduction != 8) goto bad;
  for (size_t i = 0; i < job->count; i++) {
    const Box *box = &job->boxes[i];
    if (box->top < 0 || box->left < 0 || box->height < 1 || box->width < 1) goto bad;
    if ((uint64_t)box->top + (uint64_t)box->height > job->out_rows) goto bad;
    if ((uint64_t)box->left + (uint64_t)box->width > job->out_width) goto bad;
  }
  if ((uint64_t)job->out_rows * job->out_width * (uint64_t)job->channels > (uint64_t)out_size) goto bad;
  return 0;
bad:
  PyErr_SetString(PyExc_ValueError, "boxes (top, left, height, width; int32) must lie inside rows × width, reduced by 1, 2, 4 or 8, "
                                    "and out must hold those");
  return -1;
}

PyDoc_STRVAR(regions_doc,
             "regions(data, at, rows, width, boxes, out, channels, reduction=1, by_libjpeg=0) -> str | None\n\n"
             "Decode boxes (int32; n, 4: top, left, height, width) of the JPEG `data`, whose header's height at byte\n"
             "`at` is taken to be `rows`, into their places in `out` (uint8; rows, width, channels). With a reduction of\n"
             "2, 4 or 8, boxes and `out` are those of the image at such a part of its size. Return None, or libjpeg's\n"
             "words. With `by_libjpeg` 1 libjpeg's entropy decoding alone is used (for tests), with 2 ours alone.");

static PyObject *regions(PyObject *module, PyObject *args) {
  (void)module;
  Py_buffer data = {0}, boxes = {0}, out = {0};
  Py_ssize_t at;
  unsigned int rows, width;
  int channels, by_libjpeg = 0;
  unsigned int reduction = 1;
  PyObject *result = NULL;
  if (!PyArg_ParseTuple(args, "y*nIIy*w*i|Ii:regions", &data, &at, &rows, &width, &boxes, &out, &channels, &reduction,
                        &by_libjpeg))
    return NULL;
  Job *job = calloc(1, sizeof *job);
  if (job == NULL) {
    PyErr_NoMemory();
    goto done;
  }
  *job = (Job){.boxes = boxes.buf, .count = (size_t)boxes.len / sizeof(Box), .width = width, .rows = rows,
               .channels = channels, .reduction = reduction, .out = out.buf};
  if (reduction > 0) job->out_width = (width + reduction - 1) / reduction, job->out_rows = (rows + reduction - 1) / reduction;
  if (at < 2 || at > data.len - 2 || reduction > 8 || rows > 65535 || width > 65535) {
    PyErr_SetString(PyExc_ValueError, "`at` must be where the header's height stands, and rows, width and reduction as of a JPEG");
    goto done;
  }
  if (check(job, out.len) < 0) goto done;
  job->head_size = (size_t)at + 2;
  job->head = malloc(job->head_size);
  if (job->head == NULL) {
    PyErr_NoMemory();
    goto done;
  }
  memcpy(job->head, data.buf, job->head_size);
  job->to_the_end = rows == (uint32_t)job->head[at] * 256 + job->head[at + 1];
  job->head[at] = (unsigned char)(rows >> 8);
  job->head[at + 1] = (unsigned char)(rows & 255);
  job->tail = (const unsigned char *)data.buf + job->head_size;
  job->tail_size = (size_t)data.len - job->head_size;
  int status;
  Py_BEGIN_ALLOW_THREADS
  status = run(job, by_libjpeg);
  Py_END_ALLOW_THREADS
  result = status == 0 ? Py_NewRef(Py_None) : PyUnicode_DecodeLatin1(job->words, (Py_ssize_t)strlen(job->words), NULL);
done:
  if (job != NULL) free(job->head);
  free(job);
  PyBuffer_Release(&data);
  PyBuffer_Release(&boxes);
  PyBuffer_Release(&out);
  return result;
}

#define TEXT_OF(value) #value
#define TEXT(value) TEXT_OF(value)

static PyMethodDef methods[] = {{"regions", regions, METH_VARARGS, regions_doc},
                                {"planes", planes, METH_VARARGS, planes_doc},
                                {"colors", colors, METH_VARARGS, colors_doc},
                                {NULL, NULL, 0, NULL}};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_jpeg_regions", "Boxes of a baseline JPEG.", 0, methods,
                                        NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__jpeg_regions(void) {
  PyObject *module = PyModule_Create(&definition);
  if (module != NULL && (PyModule_AddStringConstant(module, "LIBRARY", "libjpeg-turbo " TEXT(LIBJPEG_TURBO_VERSION)) < 0 ||
                         PyModule_AddIntConstant(module, "VECTORS", vectors_of_colors()) < 0)) {
    Py_DECREF(module);
    return NULL;
  }
  return module;
}
