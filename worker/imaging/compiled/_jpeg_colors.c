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
#if defined(__GNUC__)
#define INLINE static inline __attribute__((always_inline))
#else
#define INLINE static inline
#endif

typedef struct {
  int32_t top, left, height, width;
} Box;

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

/* Two pixels come of a column of chroma. Vectors hold all even pixels, or all odd ones, in numbers of 16 bits. */
typedef struct {
  __m256i even, odd;
} Pixels;

/* Return the chroma less 128 of sixteen columns from `sums` on. */
AVX2 static inline Pixels chroma(const uint16_t *sums) {
  const __m256i middle = _mm256_set1_epi16(128);
  __m256i here = _mm256_loadu_si256((const __m256i *)sums), thrice = _mm256_add_epi16(here, _mm256_slli_epi16(here, 1));
  __m256i before = _mm256_loadu_si256((const __m256i *)(sums - 1)), after = _mm256_loadu_si256((const __m256i *)(sums + 1));
  __m256i even = _mm256_srli_epi16(_mm256_add_epi16(_mm256_add_epi16(thrice, before), _mm256_set1_epi16(8)), 4);
  __m256i odd = _mm256_srli_epi16(_mm256_add_epi16(_mm256_add_epi16(thrice, after), _mm256_set1_epi16(7)), 4);
  return (Pixels){_mm256_sub_epi16(even, middle), _mm256_sub_epi16(odd, middle)};
}

/* Return the rounded product of x and factor / 65536. */
AVX2 static inline __m256i times(__m256i x, int16_t factor) {
  __m256i twice = _mm256_mulhi_epi16(_mm256_slli_epi16(x, 1), _mm256_set1_epi16(factor));
  return _mm256_srai_epi16(_mm256_add_epi16(twice, _mm256_set1_epi16(1)), 1);
}

AVX2 static inline __m256i red_of(__m256i y, __m256i cr) { return _mm256_add_epi16(_mm256_add_epi16(y, cr), times(cr, 26345)); }

AVX2 static inline __m256i blue_of(__m256i y, __m256i cb) {
  return _mm256_add_epi16(_mm256_add_epi16(y, _mm256_slli_epi16(cb, 1)), times(cb, -14942));
}

AVX2 static inline __m256i green_of(__m256i y, __m256i cb, __m256i cr) {
  const __m256i weights = _mm256_set1_epi32(GREEN_WEIGHTS), half = _mm256_set1_epi32(32768);
  __m256i low = _mm256_madd_epi16(_mm256_blend_epi16(cb, _mm256_slli_epi32(cr, 16), 0xaa), weights);
  __m256i high = _mm256_madd_epi16(_mm256_blend_epi16(_mm256_srli_epi32(cb, 16), cr, 0xaa), weights);
  low = _mm256_srli_epi32(_mm256_add_epi32(low, half), 16);
  high = _mm256_add_epi32(high, half);
  return _mm256_add_epi16(_mm256_sub_epi16(y, cr), _mm256_blend_epi16(low, high, 0xaa));
}

/* Return the levels of 32 pixels in their order. */
AVX2 static inline __m256i merged(__m256i even, __m256i odd) {
  const __m256i zero = _mm256_setzero_si256(), most = _mm256_set1_epi16(255);
  even = _mm256_min_epi16(_mm256_max_epi16(even, zero), most);
  odd = _mm256_min_epi16(_mm256_max_epi16(odd, zero), most);
  return _mm256_or_si256(even, _mm256_slli_epi16(odd, 8));
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
  const __m256i low = _mm256_set1_epi16(255);
  if (count < step) return 0;
  for (ptrdiff_t next = 0, done; next < count; next = done + step) {
    done = next <= count - step ? next : count - step;
    Pixels cb = chroma(blue_sums + done), cr = chroma(red_sums + done);
    __m256i y = _mm256_loadu_si256((const __m256i *)(luma + 2 * done));
    __m256i even = _mm256_and_si256(y, low), odd = _mm256_srli_epi16(y, 8);
    __m256i red = merged(red_of(even, cr.even), red_of(odd, cr.odd));
    __m256i green = merged(green_of(even, cb.even, cr.even), green_of(odd, cb.odd, cr.odd));
    __m256i blue = merged(blue_of(even, cb.even), blue_of(odd, cb.odd));
    put(_mm256_castsi256_si128(red), _mm256_castsi256_si128(green), _mm256_castsi256_si128(blue), to + 6 * done);
    put(_mm256_extracti128_si256(red, 1), _mm256_extracti128_si256(green, 1), _mm256_extracti128_si256(blue, 1), to + 6 * done + 48);
  }
  return 1;
}

#define AVX512 __attribute__((target("avx2,avx512f,avx512bw,avx512vl,avx512vbmi")))

typedef struct {
  __m512i even, odd;
} ManyPixels;

/* The same for 32 columns, of which the mask tells the ones that are there. */
AVX512 static inline ManyPixels many_chroma(const uint16_t *sums, __mmask32 there) {
  const __m512i middle = _mm512_set1_epi16(128);
  __m512i here = _mm512_maskz_loadu_epi16(there, sums), thrice = _mm512_add_epi16(here, _mm512_slli_epi16(here, 1));
  __m512i before = _mm512_maskz_loadu_epi16(there, sums - 1), after = _mm512_maskz_loadu_epi16(there, sums + 1);
  __m512i even = _mm512_srli_epi16(_mm512_add_epi16(_mm512_add_epi16(thrice, before), _mm512_set1_epi16(8)), 4);
  __m512i odd = _mm512_srli_epi16(_mm512_add_epi16(_mm512_add_epi16(thrice, after), _mm512_set1_epi16(7)), 4);
  return (ManyPixels){_mm512_sub_epi16(even, middle), _mm512_sub_epi16(odd, middle)};
}

AVX512 static inline __m512i many_times(__m512i x, int16_t factor) {
  __m512i twice = _mm512_mulhi_epi16(_mm512_slli_epi16(x, 1), _mm512_set1_epi16(factor));
  return _mm512_srai_epi16(_mm512_add_epi16(twice, _mm512_set1_epi16(1)), 1);
}

AVX512 static inline __m512i many_red(__m512i y, __m512i cr) { return _mm512_add_epi16(_mm512_add_epi16(y, cr), many_times(cr, 26345)); }

AVX512 static inline __m512i many_blue(__m512i y, __m512i cb) {
  return _mm512_add_epi16(_mm512_add_epi16(y, _mm512_slli_epi16(cb, 1)), many_times(cb, -14942));
}

AVX512 static inline __m512i many_green(__m512i y, __m512i cb, __m512i cr) {
  const __m512i weights = _mm512_set1_epi32(GREEN_WEIGHTS), half = _mm512_set1_epi32(32768);
  const __mmask32 high_halves = 0xaaaaaaaa;
  __m512i low = _mm512_madd_epi16(_mm512_mask_blend_epi16(high_halves, cb, _mm512_slli_epi32(cr, 16)), weights);
  __m512i high = _mm512_madd_epi16(_mm512_mask_blend_epi16(high_halves, _mm512_srli_epi32(cb, 16), cr), weights);
  low = _mm512_srli_epi32(_mm512_add_epi32(low, half), 16);
  high = _mm512_add_epi32(high, half);
  return _mm512_add_epi16(_mm512_sub_epi16(y, cr), _mm512_mask_blend_epi16(high_halves, low, high));
}

AVX512 static inline __m512i many_merged(__m512i even, __m512i odd) {
  const __m512i zero = _mm512_setzero_si512(), most = _mm512_set1_epi16(255);
  even = _mm512_min_epi16(_mm512_max_epi16(even, zero), most);
  odd = _mm512_min_epi16(_mm512_max_epi16(odd, zero), most);
  return _mm512_or_si512(even, _mm512_slli_epi16(odd, 8));
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
  const __m512i low = _mm512_set1_epi16(255);
  __mmask32 there = (__mmask32)ones(count);
  ManyPixels cb = many_chroma(blue_sums, there), cr = many_chroma(red_sums, there);
  __m512i y = _mm512_maskz_loadu_epi8(ones(2 * count), luma);
  __m512i even = _mm512_and_si512(y, low), odd = _mm512_srli_epi16(y, 8);
  __m512i red = many_merged(many_red(even, cr.even), many_red(odd, cr.odd));
  __m512i green = many_merged(many_green(even, cb.even, cr.even), many_green(odd, cb.odd, cr.odd));
  __m512i blue = many_merged(many_blue(even, cb.even), many_blue(odd, cb.odd));
  for (int part = 0; part < 3; part++) {
    __m512i bytes = _mm512_permutex2var_epi8(red, _mm512_loadu_si512(order->from[part]), green);
    bytes = _mm512_mask_permutexvar_epi8(bytes, order->is_blue[part], _mm512_loadu_si512(order->blue[part]), blue);
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
  int level = vectors_of_colors();
  if (most >= WITH_AVX512 && level >= WITH_AVX512) return convert_avx512;
  if (most >= WITH_AVX2 && level >= WITH_AVX2) return convert_avx2;
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
