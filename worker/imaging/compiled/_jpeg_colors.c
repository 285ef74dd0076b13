/* What libjpeg-turbo makes of the planes of a JPEG with halved colours, in boxes only: its "fancy" upsampling (jdsample.c,
   h2v2_fancy_upsample) and its colours (jdcolor.c, ycc_rgb_convert), to the last bit, with vectors and without. */

#include "_jpeg_planes.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define HAS_VECTORS 1
#endif
#include "_inline.h"

/* Three parts of a row of chroma that is the nearest one and one of the next; with room beyond both ends for their
   neighbours and for what vectors read. */
typedef struct {
  uint16_t *blue, *red;
} Sums;

static unsigned char level(int32_t value) { return (unsigned char)(value < 0 ? 0 : value > 255 ? 255 : value); }

/* What makes most pixels. */
enum { PLAIN = 1, WITH_AVX2 = 2, WITH_AVX512 = 3 };
/* Of the change of green: that of blue chroma, and that of red less a whole one, times 65536. */
#define GREEN_WEIGHTS ((18734 << 16) | (-22554 & 0xffff))

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

/* Write the sums of columns [first, stop) of one plane, and of their neighbours: beyond the picture they are the same again. */
INLINE void add_rows(const unsigned char *near, const unsigned char *other, ptrdiff_t first, ptrdiff_t stop, ptrdiff_t columns, uint16_t *sums) {
  ptrdiff_t from = first > 0 ? first - 1 : 0, to = stop < columns ? stop + 1 : columns;
  for (ptrdiff_t c = from; c < to; c++) sums[c] = (uint16_t)(3 * near[c] + other[c]);
  if (first == 0) sums[-1] = sums[0];
  if (stop == columns) sums[columns] = sums[columns - 1];
}

#ifdef HAS_VECTORS
#define AVX2 __attribute__((target("avx2")))

#define NAME(name) name##_of_32
#define TARGET AVX2
#define Vector __m256i
#define MM(operation) _mm256_##operation
#define SI(operation) _mm256_##operation##_si256
#define ODD(even, odd) _mm256_blend_epi16(even, odd, 0xaa)
#include "_jpeg_colors_levels.h"

AVX2 INLINE Columns_of_32 sixteen_columns(const uint16_t *sums) {
  return (Columns_of_32){_mm256_loadu_si256((const __m256i *)sums), _mm256_loadu_si256((const __m256i *)(sums - 1)),
                         _mm256_loadu_si256((const __m256i *)(sums + 1))};
}

/* Write sixteen pixels. */
AVX2 static inline void put(__m128i red, __m128i green, __m128i blue, unsigned char *to) {
  const __m128i red0 = _mm_setr_epi8(0, -1, -1, 1, -1, -1, 2, -1, -1, 3, -1, -1, 4, -1, -1, 5);
  const __m128i red1 = _mm_setr_epi8(-1, -1, 6, -1, -1, 7, -1, -1, 8, -1, -1, 9, -1, -1, 10, -1);
  const __m128i red2 = _mm_setr_epi8(-1, 11, -1, -1, 12, -1, -1, 13, -1, -1, 14, -1, -1, 15, -1, -1);
  const __m128i green0 = _mm_setr_epi8(-1, 0, -1, -1, 1, -1, -1, 2, -1, -1, 3, -1, -1, 4, -1, -1);
  const __m128i green1 = _mm_setr_epi8(5, -1, -1, 6, -1, -1, 7, -1, -1, 8, -1, -1, 9, -1, -1, 10);
  const __m128i green2 = _mm_setr_epi8(-1, -1, 11, -1, -1, 12, -1, -1, 13, -1, -1, 14, -1, -1, 15, -1);
  const __m128i blue0 = _mm_setr_epi8(-1, -1, 0, -1, -1, 1, -1, -1, 2, -1, -1, 3, -1, -1, 4, -1);
  const __m128i blue1 = _mm_setr_epi8(-1, 5, -1, -1, 6, -1, -1, 7, -1, -1, 8, -1, -1, 9, -1, -1);
  const __m128i blue2 = _mm_setr_epi8(10, -1, -1, 11, -1, -1, 12, -1, -1, 13, -1, -1, 14, -1, -1, 15);
  __m128i *at = (__m128i *)to;
  _mm_storeu_si128(at, _mm_or_si128(_mm_or_si128(_mm_shuffle_epi8(red, red0), _mm_shuffle_epi8(green, green0)), _mm_shuffle_epi8(blue, blue0)));
  _mm_storeu_si128(at + 1, _mm_or_si128(_mm_or_si128(_mm_shuffle_epi8(red, red1), _mm_shuffle_epi8(green, green1)), _mm_shuffle_epi8(blue, blue1)));
  _mm_storeu_si128(at + 2, _mm_or_si128(_mm_or_si128(_mm_shuffle_epi8(red, red2), _mm_shuffle_epi8(green, green2)), _mm_shuffle_epi8(blue, blue2)));
}

/* Make pixels of `count` columns of chroma, sixteen at a time: the last sixteen may be made in part twice. Return whether it
   was done: fewer than sixteen are not. */
AVX2 static int many_avx2(const unsigned char *luma, const uint16_t *blue_sums, const uint16_t *red_sums, ptrdiff_t count, unsigned char *to) {
  const ptrdiff_t step = 16;
  if (count < step) return 0;
  for (ptrdiff_t next = 0, done; next < count; next = done + step) {
    done = next <= count - step ? next : count - step;
    __m256i y = _mm256_loadu_si256((const __m256i *)(luma + 2 * done));
    Levels_of_32 of = levels_of_32(y, sixteen_columns(blue_sums + done), sixteen_columns(red_sums + done));
    put(_mm256_castsi256_si128(of.red), _mm256_castsi256_si128(of.green), _mm256_castsi256_si128(of.blue), to + 6 * done);
    put(_mm256_extracti128_si256(of.red, 1), _mm256_extracti128_si256(of.green, 1), _mm256_extracti128_si256(of.blue, 1), to + 6 * done + 48);
  }
  return 1;
}

#define AVX512 __attribute__((target("avx2,avx512f,avx512bw,avx512vl,avx512vbmi")))

#define NAME(name) name##_of_64
#define TARGET AVX512
#define Vector __m512i
#define MM(operation) _mm512_##operation
#define SI(operation) _mm512_##operation##_si512
#define ODD(even, odd) _mm512_mask_blend_epi16(0xaaaaaaaa, even, odd)
#include "_jpeg_colors_levels.h"

/* `there`: which columns are. */
AVX512 INLINE Columns_of_64 some_columns(const uint16_t *sums, __mmask32 there) {
  return (Columns_of_64){_mm512_maskz_loadu_epi16(there, sums), _mm512_maskz_loadu_epi16(there, sums - 1),
                         _mm512_maskz_loadu_epi16(there, sums + 1)};
}

/* The bytes of 64 pixels in three parts: which of red (0 to 63) or green (64 to 127) each is, or which of blue, and whether. */
typedef struct {
  unsigned char from[3][64], blue[3][64];
  uint64_t is_blue[3];
} Order;

static Order order_of_pixels(void) {
  Order order = {0};
  for (int i = 0; i < 3 * 64; i++) {
    order.from[i / 64][i % 64] = (unsigned char)(i % 3 * 64 + i / 3);
    order.blue[i / 64][i % 64] = (unsigned char)(i / 3);
    if (i % 3 == 2) order.is_blue[i / 64] |= 1ull << i % 64;
  }
  return order;
}

static inline uint64_t ones(ptrdiff_t count) { return count >= 64 ? ~0ull : count <= 0 ? 0 : (1ull << count) - 1; }

/* Make pixels of `count` columns, at most 32. */
AVX512 INLINE void up_to_32(const unsigned char *luma, const uint16_t *blue_sums, const uint16_t *red_sums, ptrdiff_t count, const Order *order, unsigned char *to) {
  __mmask32 there = (__mmask32)ones(count);
  __m512i y = _mm512_maskz_loadu_epi8(ones(2 * count), luma);
  Levels_of_64 of = levels_of_64(y, some_columns(blue_sums, there), some_columns(red_sums, there));
  for (int part = 0; part < 3; part++) {
    __m512i bytes = _mm512_permutex2var_epi8(of.red, _mm512_loadu_si512(order->from[part]), of.green);
    bytes = _mm512_mask_permutexvar_epi8(bytes, order->is_blue[part], _mm512_loadu_si512(order->blue[part]), of.blue);
    _mm512_mask_storeu_epi8(to + 64 * part, ones(6 * count - 64 * part), bytes);
  }
}

/* Make pixels of all `count` columns. */
AVX512 static void many_avx512(const unsigned char *luma, const uint16_t *blue, const uint16_t *red, ptrdiff_t count, const Order *order, unsigned char *to) {
  for (; count >= 32; count -= 32, luma += 64, blue += 32, red += 32, to += 192) up_to_32(luma, blue, red, 32, order, to);
  if (count > 0) up_to_32(luma, blue, red, count, order, to);
}
#endif

INLINE void convert_by(int vectors, const unsigned char *all, uint32_t height, uint32_t width, const Box *box, const Sums *sums, unsigned char *out) {
  ptrdiff_t stride = (ptrdiff_t)stride_of(width), columns = ((ptrdiff_t)width + 1) / 2, rows = ((ptrdiff_t)height + 1) / 2;
  ptrdiff_t first = box->left / 2, right = (ptrdiff_t)box->left + box->width, stop = (right + 1) / 2;
  ptrdiff_t pairs = right == (ptrdiff_t)width && width % 2 ? stop - 1 : stop; /* of columns that are whole */
  const unsigned char *chroma = all + stride * (ptrdiff_t)height;
#ifdef HAS_VECTORS
  const Order order = vectors == WITH_AVX512 ? order_of_pixels() : (Order){0};
#endif
  (void)vectors;
  for (ptrdiff_t y = box->top; y < (ptrdiff_t)box->top + box->height; y++) {
    ptrdiff_t near = y / 2, other = y % 2 ? (near + 1 < rows ? near + 1 : near) : (near > 0 ? near - 1 : near);
    for (int red = 0; red < 2; red++)
      add_rows(chroma + stride * near + red * stride / 2, chroma + stride * other + red * stride / 2, first, stop, columns, red ? sums->red : sums->blue);
    const unsigned char *luma = all + stride * y;
    unsigned char *to = out + ((size_t)y * width) * 3;
    ptrdiff_t c = first;
#ifdef HAS_VECTORS
    if (vectors == WITH_AVX512) {
      many_avx512(luma + 2 * c, sums->blue + c, sums->red + c, pairs - c, &order, to + 6 * c);
      c = pairs;
    } else if (vectors == WITH_AVX2 && many_avx2(luma + 2 * c, sums->blue + c, sums->red + c, pairs - c, to + 6 * c)) {
      c = pairs;
    }
#endif
    for (; c < pairs; c++) two_pixels(luma + 2 * c, sums, c, to + 6 * c);
    if (c < stop) {
      unsigned char last[6];
      two_pixels(luma + 2 * c, sums, c, last);
      memcpy(to + 6 * c, last, 3);
    }
  }
}

typedef void Convert(const unsigned char *all, uint32_t height, uint32_t width, const Box *box, const Sums *sums, unsigned char *out);

static void convert_plainly(const unsigned char *all, uint32_t height, uint32_t width, const Box *box, const Sums *sums, unsigned char *out) {
  convert_by(PLAIN, all, height, width, box, sums, out);
}

#ifdef HAS_VECTORS
AVX2 static void convert_avx2(const unsigned char *all, uint32_t height, uint32_t width, const Box *box, const Sums *sums, unsigned char *out) {
  convert_by(WITH_AVX2, all, height, width, box, sums, out);
}

AVX512 static void convert_avx512(const unsigned char *all, uint32_t height, uint32_t width, const Box *box, const Sums *sums, unsigned char *out) {
  convert_by(WITH_AVX512, all, height, width, box, sums, out);
}
#endif

int vectors_of_colors(void) {
#ifdef HAS_VECTORS
  if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vbmi")) return WITH_AVX512;
  if (__builtin_cpu_supports("avx2")) return WITH_AVX2;
#endif
  return PLAIN;
}

/* Return the fastest way of this processor that is allowed. */
static Convert *convert_with(int most) {
#ifdef HAS_VECTORS
  int level = vectors_of_colors() < most ? vectors_of_colors() : most;
  if (level == WITH_AVX512) return convert_avx512;
  if (level == WITH_AVX2) return convert_avx2;
#endif
  (void)most;
  return convert_plainly;
}

/* Python. */

const char colors_doc[] = "colors(planes, width, boxes, out, vectors=3)\n\n"
                          "Write the pixels of boxes (int32; n, 4: top, left, height, width) of a picture, given by its planes, to their\n"
                          "places in `out` (uint8; height, width, 3). `vectors`: the most to use, for tests: 1 (none), 2 (AVX2) or 3\n"
                          "(AVX-512).";

PyObject *colors(PyObject *module, PyObject *args) {
  (void)module;
  Py_buffer all = {0}, boxes = {0}, out = {0};
  unsigned int width;
  int vectors = WITH_AVX512;
  PyObject *result = NULL;
  if (!PyArg_ParseTuple(args, "y*Iy*w*|i:colors", &all, &width, &boxes, &out, &vectors)) return NULL;
  uint32_t stride = width <= MOST_SIDE ? stride_of(width) : 0, rows = stride ? (uint32_t)((size_t)all.len / stride) : 0;
  uint32_t height = (uint32_t)((uint64_t)rows * 2 / 3);
  const Box *box = boxes.buf;
  size_t count = (size_t)boxes.len / sizeof *box, length = width / 2 + 64;
  uint16_t *room = NULL;
  int fits = boxes.len % (Py_ssize_t)sizeof *box == 0 && width >= LEAST_WIDTH && height >= 1 && height <= MOST_SIDE && (uint64_t)stride * rows == (uint64_t)all.len &&
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
  Convert *convert = convert_with(vectors);
  Sums sums = {room + 16, room + length + 16};
  Py_BEGIN_ALLOW_THREADS
  for (size_t i = 0; i < count; i++) convert(all.buf, height, width, &box[i], &sums, out.buf);
  Py_END_ALLOW_THREADS
  result = Py_NewRef(Py_None);
done:
  free(room);
  PyBuffer_Release(&all);
  PyBuffer_Release(&boxes);
  PyBuffer_Release(&out);
  return result;
}
