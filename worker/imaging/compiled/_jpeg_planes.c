/* A JPEG with colours halved along both sides (4:2:0) as libjpeg has it before it makes pixels: 1.5 bytes a pixel instead of
   3. And what libjpeg-turbo would make of them, in boxes only: its "fancy" upsampling (jdsample.c, h2v2_fancy_upsample) and
   its colours (jdcolor.c, ycc_rgb_convert), to the last bit, with vectors and without.

   Owns those two computations and memory safety; refuses to judge: whatever is unusual in a file is for the caller's own
   decoder. The rows of a picture of height h: h rows of luma, then (h + 1) / 2 rows of which the first half is blue
   chroma and the second half red; each as long as the width, rounded up to whole blocks. */

#include "_jpeg_planes.h"

#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>

#include "_jpeg_entropy.h"
#include "_jpeg_errors.h"
#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define HAS_VECTORS 1
#endif

/* An MCU is 16 × 16 pixels; chroma planes of fewer columns than that are upsampled otherwise by libjpeg. */
enum { UNIT = 16, LEAST_WIDTH = 16, MOST_SIDE = 65500 };

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

static uint32_t stride_of(uint32_t width) { return (width + UNIT - 1) / UNIT * UNIT; }

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

/* Pixels. */

typedef struct {
  int32_t top, left, height, width;
} Box;

/* Three parts of a row of chroma that is the nearest one and one of the next; with room beyond both ends for their
   neighbours and for what vectors read. */
typedef struct {
  uint16_t *blue, *red;
} Sums;

static unsigned char level(int32_t value) { return (unsigned char)(value < 0 ? 0 : value > 255 ? 255 : value); }

/* Make two pixels of the column `c` of chroma. */
static void two_pixels(const unsigned char *luma, const Sums *sums, ptrdiff_t c, unsigned char *to) {
  const uint16_t *blue = sums->blue + c, *red = sums->red + c;
  for (int odd = 0; odd < 2; odd++, to += 3) {
    int32_t y = luma[odd], round = 8 - odd, next = odd ? 1 : -1;
    int32_t cb = ((3 * blue[0] + blue[next] + round) >> 4) - 128, cr = ((3 * red[0] + red[next] + round) >> 4) - 128;
    to[0] = level(y + ((91881 * cr + 32768) >> 16)); /* 1.40200, 0.34414, 0.71414 and 1.77200 times 65536 */
    to[1] = level(y + ((-22554 * cb - 46802 * cr + 32768) >> 16));
    to[2] = level(y + ((116130 * cb + 32768) >> 16));
  }
}

#ifdef HAS_VECTORS
#define AVX2 __attribute__((target("avx2")))

/* Return sixteen levels of chroma less 128, of eight columns from `sums` on. */
AVX2 static inline __m256i upsampled(const uint16_t *sums) {
  __m128i here = _mm_loadu_si128((const __m128i *)sums), thrice = _mm_add_epi16(here, _mm_slli_epi16(here, 1));
  __m128i before = _mm_loadu_si128((const __m128i *)(sums - 1)), after = _mm_loadu_si128((const __m128i *)(sums + 1));
  __m128i even = _mm_srli_epi16(_mm_add_epi16(_mm_add_epi16(thrice, before), _mm_set1_epi16(8)), 4);
  __m128i odd = _mm_srli_epi16(_mm_add_epi16(_mm_add_epi16(thrice, after), _mm_set1_epi16(7)), 4);
  __m256i all = _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_unpacklo_epi16(even, odd)), _mm_unpackhi_epi16(even, odd), 1);
  return _mm256_sub_epi16(all, _mm256_set1_epi16(128));
}

/* Return the rounded product of x and factor / 65536. */
AVX2 static inline __m256i times(__m256i x, int16_t factor) {
  __m256i twice = _mm256_mulhi_epi16(_mm256_slli_epi16(x, 1), _mm256_set1_epi16(factor));
  return _mm256_srai_epi16(_mm256_add_epi16(twice, _mm256_set1_epi16(1)), 1);
}

AVX2 static inline __m128i packed(__m256i levels) {
  return _mm_packus_epi16(_mm256_castsi256_si128(levels), _mm256_extracti128_si256(levels, 1));
}

/* Make pixels of `count` columns of chroma from column `c` on, eight at a time; return how many. `to` is written no further
   than they go. */
AVX2 static ptrdiff_t many_pixels(const unsigned char *luma, const Sums *sums, ptrdiff_t c, ptrdiff_t count, unsigned char *to) {
  const __m256i weights = _mm256_set1_epi32((18734 << 16) | (-22554 & 0xffff)); /* of blue, and of red less a whole one */
  const __m256i half = _mm256_set1_epi32(32768);
  const __m128i red0 = _mm_setr_epi8(0, -1, -1, 1, -1, -1, 2, -1, -1, 3, -1, -1, 4, -1, -1, 5);
  const __m128i red1 = _mm_setr_epi8(-1, -1, 6, -1, -1, 7, -1, -1, 8, -1, -1, 9, -1, -1, 10, -1);
  const __m128i red2 = _mm_setr_epi8(-1, 11, -1, -1, 12, -1, -1, 13, -1, -1, 14, -1, -1, 15, -1, -1);
  const __m128i green0 = _mm_setr_epi8(-1, 0, -1, -1, 1, -1, -1, 2, -1, -1, 3, -1, -1, 4, -1, -1);
  const __m128i green1 = _mm_setr_epi8(5, -1, -1, 6, -1, -1, 7, -1, -1, 8, -1, -1, 9, -1, -1, 10);
  const __m128i green2 = _mm_setr_epi8(-1, -1, 11, -1, -1, 12, -1, -1, 13, -1, -1, 14, -1, -1, 15, -1);
  const __m128i blue0 = _mm_setr_epi8(-1, -1, 0, -1, -1, 1, -1, -1, 2, -1, -1, 3, -1, -1, 4, -1);
  const __m128i blue1 = _mm_setr_epi8(-1, 5, -1, -1, 6, -1, -1, 7, -1, -1, 8, -1, -1, 9, -1, -1);
  const __m128i blue2 = _mm_setr_epi8(10, -1, -1, 11, -1, -1, 12, -1, -1, 13, -1, -1, 14, -1, -1, 15);
  ptrdiff_t done = 0;
  for (; done + 8 <= count; done += 8, luma += 16, to += 48) {
    __m256i cb = upsampled(sums->blue + c + done), cr = upsampled(sums->red + c + done);
    __m256i y = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)luma));
    __m256i low = _mm256_madd_epi16(_mm256_unpacklo_epi16(cb, cr), weights), high = _mm256_madd_epi16(_mm256_unpackhi_epi16(cb, cr), weights);
    __m256i change = _mm256_packs_epi32(_mm256_srai_epi32(_mm256_add_epi32(low, half), 16), _mm256_srai_epi32(_mm256_add_epi32(high, half), 16));
    __m128i red = packed(_mm256_add_epi16(_mm256_add_epi16(y, cr), times(cr, 26345)));
    __m128i green = packed(_mm256_add_epi16(_mm256_sub_epi16(y, cr), change));
    __m128i blue = packed(_mm256_add_epi16(_mm256_add_epi16(y, _mm256_slli_epi16(cb, 1)), times(cb, -14942)));
    __m128i *at = (__m128i *)to;
    _mm_storeu_si128(at, _mm_or_si128(_mm_or_si128(_mm_shuffle_epi8(red, red0), _mm_shuffle_epi8(green, green0)), _mm_shuffle_epi8(blue, blue0)));
    _mm_storeu_si128(at + 1, _mm_or_si128(_mm_or_si128(_mm_shuffle_epi8(red, red1), _mm_shuffle_epi8(green, green1)), _mm_shuffle_epi8(blue, blue1)));
    _mm_storeu_si128(at + 2, _mm_or_si128(_mm_or_si128(_mm_shuffle_epi8(red, red2), _mm_shuffle_epi8(green, green2)), _mm_shuffle_epi8(blue, blue2)));
  }
  return done;
}
#endif

/* Write the sums of columns [first, stop) of one plane, and of their neighbours: beyond the picture they are the same again. */
static void add_rows(const unsigned char *near, const unsigned char *other, ptrdiff_t first, ptrdiff_t stop, ptrdiff_t columns, uint16_t *sums) {
  ptrdiff_t from = first > 0 ? first - 1 : 0, to = stop < columns ? stop + 1 : columns;
  for (ptrdiff_t c = from; c < to; c++) sums[c] = (uint16_t)(3 * near[c] + other[c]);
  if (first == 0) sums[-1] = sums[0];
  if (stop == columns) sums[columns] = sums[columns - 1];
}

static void convert(const unsigned char *all, uint32_t height, uint32_t width, const Box *box, const Sums *sums, int vectors, unsigned char *out) {
  ptrdiff_t stride = (ptrdiff_t)stride_of(width), columns = ((ptrdiff_t)width + 1) / 2, rows = ((ptrdiff_t)height + 1) / 2;
  ptrdiff_t first = box->left / 2, right = (ptrdiff_t)box->left + box->width, stop = (right + 1) / 2;
  ptrdiff_t pairs = right == (ptrdiff_t)width && width % 2 ? stop - 1 : stop; /* of columns that are whole */
  const unsigned char *chroma = all + stride * (ptrdiff_t)height;
  (void)vectors;
  for (ptrdiff_t y = box->top; y < (ptrdiff_t)box->top + box->height; y++) {
    ptrdiff_t near = y / 2, other = y % 2 ? (near + 1 < rows ? near + 1 : near) : (near > 0 ? near - 1 : near);
    for (int red = 0; red < 2; red++)
      add_rows(chroma + stride * near + red * stride / 2, chroma + stride * other + red * stride / 2, first, stop, columns, red ? sums->red : sums->blue);
    const unsigned char *luma = all + stride * y;
    unsigned char *to = out + ((size_t)y * width) * 3;
    ptrdiff_t c = first;
#ifdef HAS_VECTORS
    if (vectors) c += many_pixels(luma + 2 * c, sums, c, pairs - c, to + 6 * c);
#endif
    for (; c < pairs; c++) two_pixels(luma + 2 * c, sums, c, to + 6 * c);
    if (c < stop) {
      unsigned char last[6];
      two_pixels(luma + 2 * c, sums, c, last);
      memcpy(to + 6 * c, last, 3);
    }
  }
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
  if (job != NULL) job->entropy = new_entropy();
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
    free(job->entropy);
    free(job->spare);
  }
  free(job);
  PyBuffer_Release(&data);
  PyBuffer_Release(&out);
  return result;
}

const char colors_doc[] = "colors(planes, width, boxes, out, vectors=True)\n\n"
                          "Write the pixels of boxes (int32; n, 4: top, left, height, width) of a picture, given by its planes, to their\n"
                          "places in `out` (uint8; height, width, 3). Without `vectors` plain C alone is used (for tests).";

PyObject *colors(PyObject *module, PyObject *args) {
  (void)module;
  Py_buffer all = {0}, boxes = {0}, out = {0};
  unsigned int width;
  int vectors = 1;
  PyObject *result = NULL;
  if (!PyArg_ParseTuple(args, "y*Iy*w*|p:colors", &all, &width, &boxes, &out, &vectors)) return NULL;
  uint32_t stride = width <= MOST_SIDE ? stride_of(width) : 0, rows = stride ? (uint32_t)((size_t)all.len / stride) : 0;
  uint32_t height = (uint32_t)((uint64_t)rows * 2 / 3);
  const Box *box = boxes.buf;
  size_t count = (size_t)boxes.len / sizeof *box, length = width / 2 + 64;
  uint16_t *room = NULL;
  int fits = width >= LEAST_WIDTH && height >= 1 && height <= MOST_SIDE && (uint64_t)stride * rows == (uint64_t)all.len &&
             rows == height + (height + 1) / 2 && (uint64_t)height * width * 3 <= (uint64_t)out.len;
  for (size_t i = 0; fits && i < count; i++)
    fits = box[i].top >= 0 && box[i].left >= 0 && box[i].height >= 1 && box[i].width >= 1 &&
           (int64_t)box[i].top + box[i].height <= (int64_t)height && (int64_t)box[i].left + box[i].width <= (int64_t)width;
  if (!fits) {
    PyErr_SetString(PyExc_ValueError, "planes must have the rows of a picture of this width, and boxes (int32) and `out` fit to it");
    goto done;
  }
  room = calloc(2 * length, sizeof *room);
  if (room == NULL) {
    PyErr_NoMemory();
    goto done;
  }
#ifdef HAS_VECTORS
  vectors = vectors && __builtin_cpu_supports("avx2");
#endif
  Sums sums = {room + 16, room + length + 16};
  Py_BEGIN_ALLOW_THREADS
  for (size_t i = 0; i < count; i++) convert(all.buf, height, width, &box[i], &sums, vectors, out.buf);
  Py_END_ALLOW_THREADS
  result = Py_NewRef(Py_None);
done:
  free(room);
  PyBuffer_Release(&all);
  PyBuffer_Release(&boxes);
  PyBuffer_Release(&out);
  return result;
}
