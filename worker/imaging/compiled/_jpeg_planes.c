/* A JPEG with colours halved along both sides (4:2:0) as libjpeg has it before it makes pixels: 1.5 bytes a pixel instead of
   3. `_jpeg_colors.c` makes pixels of them.

   Owns memory safety; refuses to judge: whatever is unusual in a file is for the caller's own decoder. */

#include "_jpeg_planes.h"

#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>

#include "_jpeg_entropy.h"
#include "_jpeg_errors.h"

typedef struct {
  struct jpeg_decompress_struct cinfo;
  struct jpeg_error_mgr errors;
  jmp_buf failed;
  Entropy *entropy;
  const unsigned char *data, *end;
  unsigned char *out, *spare; /* `spare` takes rows that are beyond the picture */
  size_t room;
  uint64_t most_pixels;
  uint32_t height, width;
  int filled;
} Job;

/* The file is not for here. */
static void fail(j_common_ptr cinfo) { longjmp(((Job *)cinfo->client_data)->failed, 1); }

static void give_up(j_decompress_ptr cinfo) { fail((j_common_ptr)cinfo); }

static int is_halved(const struct jpeg_decompress_struct *cinfo) {
  const jpeg_component_info *of = cinfo->comp_info;
  if (cinfo->num_components != 3 || cinfo->jpeg_color_space != JCS_YCbCr || cinfo->data_precision != 8) return 0;
  if (cinfo->image_width < LEAST_WIDTH || cinfo->image_width > MOST_SIDE || cinfo->image_height > MOST_SIDE) return 0;
  for (int i = 0; i < 3; i++)
    if (of[i].h_samp_factor != (i == 0 ? 2 : 1) || of[i].v_samp_factor != (i == 0 ? 2 : 1)) return 0;
  return 1;
}

static void decode(Job *job) {
  j_decompress_ptr cinfo = &job->cinfo;
  jpeg_create_decompress(cinfo);
  jpeg_mem_src(cinfo, (unsigned char *)job->data, (unsigned long)(job->end - job->data));
  jpeg_read_header(cinfo, TRUE);
  if (cinfo->progressive_mode || cinfo->arith_code || jpeg_has_multiple_scans(cinfo) || !is_halved(cinfo)) give_up(cinfo);
  uint32_t height = cinfo->image_height, width = cinfo->image_width, stride = stride_of(width), halved = (height + 1) / 2;
  if ((uint64_t)height * width > job->most_pixels) give_up(cinfo);
  job->height = height;
  job->width = width;
  if ((uint64_t)stride * (height + halved) > job->room) return;
  job->spare = malloc(stride);
  if (job->spare == NULL) give_up(cinfo);
  cinfo->raw_data_out = TRUE;
  jpeg_start_decompress(cinfo);
  take_entropy(job->entropy, cinfo, cinfo->src->next_input_byte, cinfo->src->bytes_in_buffer, 0, cinfo->MCUs_per_row - 1, give_up);
  JSAMPROW luma[UNIT], blue[UNIT / 2], red[UNIT / 2];
  JSAMPARRAY rows[3] = {luma, blue, red};
  unsigned char *chroma = job->out + (size_t)stride * height;
  while (cinfo->output_scanline < height) {
    uint32_t y = cinfo->output_scanline, c = y / 2;
    for (uint32_t i = 0; i < UNIT; i++) luma[i] = y + i < height ? job->out + (size_t)stride * (y + i) : job->spare;
    for (uint32_t i = 0; i < UNIT / 2; i++) {
      blue[i] = c + i < halved ? chroma + (size_t)stride * (c + i) : job->spare;
      red[i] = blue[i] + stride / 2;
    }
    if (jpeg_read_raw_data(cinfo, rows, UNIT) != UNIT) give_up(cinfo);
  }
  const unsigned char *end = end_of_entropy(job->entropy); /* libjpeg goes on at the marker */
  if (end == NULL) give_up(cinfo);
  cinfo->src->next_input_byte = end;
  cinfo->src->bytes_in_buffer = (size_t)(job->end - end);
  jpeg_finish_decompress(cinfo);
  job->filled = 1;
}

/* Return whether it was done. Nothing here may touch Python: the interpreter is released. */
static int attempt(Job *job) {
  set_up_errors(&job->cinfo, &job->errors, job, fail);
  volatile int done = 0;
  if (setjmp(job->failed) == 0) {
    decode(job);
    done = 1;
  }
  jpeg_destroy_decompress(&job->cinfo);
  return done;
}

/* Python. */

const char planes_doc[] = "planes(data, out, most_pixels) -> tuple[int, int, bool] | None\n\n"
                          "Decode the JPEG `data` into planes in `out`; return its height and width, and whether `out` had room.\n"
                          "None: the file is not a flawless baseline JPEG with halved colours, or has more pixels.";

PyObject *planes(PyObject *module, PyObject *args) {
  (void)module;
  Py_buffer data = {0}, out = {0};
  unsigned long long most;
  if (!PyArg_ParseTuple(args, "y*w*K:planes", &data, &out, &most)) return NULL;
  Job *job = calloc(1, sizeof *job);
  int done = 0;
  if (job != NULL) job->entropy = get_entropy();
  if (job != NULL && job->entropy != NULL) {
    job->data = data.buf;
    job->end = job->data + data.len;
    job->out = out.buf;
    job->room = (size_t)out.len;
    job->most_pixels = most;
    Py_BEGIN_ALLOW_THREADS
    done = attempt(job);
    Py_END_ALLOW_THREADS
  }
  PyObject *result = done ? Py_BuildValue("IIO", job->height, job->width, job->filled ? Py_True : Py_False) : Py_NewRef(Py_None);
  if (job != NULL) {
    give_back(job->entropy);
    free(job->spare);
  }
  free(job);
  PyBuffer_Release(&data);
  PyBuffer_Release(&out);
  return result;
}
