/* Averages along rows, sixteen of them at once: the part of `_area.c` that takes the longest, in plain C and with the vectors
   of the processor at hand. Each number of the result is the same sum in the same order with all of them. */

#ifdef __x86_64__
#include <immintrin.h>
#endif

#include "_inline.h"

/* The most that vectors may do (for tests): 1 for plain C, 2 for AVX2. AVX-512 was no faster: turning takes most of the time. */
static int most_vectors = 2;

static int level_of_vectors(void) {
#ifdef __x86_64__
  int level = __builtin_cpu_supports("avx2") ? 2 : 1;
#else
  int level = 1;
#endif
  return level < most_vectors ? level : most_vectors;
}

/* Write the rows' bytes as columns of ROWS bytes. What is missing of the rows is the last row again. */
static void turn_plain(const u8 *in, size_t stride, int rows, size_t begin, size_t end, u8 *columns) {
  for (int y = 0; y < ROWS; y++) {
    const u8 *row = in + stride * (size_t)(y < rows ? y : rows - 1);
    for (size_t x = begin; x < end; x++) columns[x * ROWS + (size_t)y] = row[x];
  }
}

/* Make the pixels from `x` to `stop` of a block: one column of ROWS sums a channel. */
INLINE void part_plain(const u8 *columns, int channels, const Axis *axis, int x, int stop, float *to) {
  for (; x < stop; x++, to += channels * ROWS) {
    const u8 *at = columns + (size_t)axis->starts[x] * (size_t)channels * ROWS;
    for (int i = 0; i < channels * ROWS; i++) to[i] = 0.0f;
    for (int k = 0; k < axis->lengths[x]; k++, at += channels * ROWS) {
      float weight = axis->weights[x][k];
      for (int i = 0; i < channels * ROWS; i++) to[i] += (float)at[i] * weight;
    }
  }
}

static void down_plain(const float *part, size_t count, float *lines, size_t step) {
  for (size_t y = 0; y < ROWS; y++)
    for (size_t i = 0; i < count; i++) lines[y * step + i] = part[i * ROWS + y];
}

#ifdef __x86_64__
/* The same as `turn_plain`, for all `count` bytes of a row, which are at least 16. */
static void turn(const u8 *in, size_t stride, int rows, size_t count, u8 *columns) {
  for (size_t next = 0; next < count; next += 16) {
    size_t x = next + 16 <= count ? next : count - 16;
    __m128i a[16], b[16];
    for (int y = 0; y < 16; y++)
      a[y] = _mm_loadu_si128((const __m128i *)(in + stride * (size_t)(y < rows ? y : rows - 1) + x));
    for (int turns = 0; turns < 2; turns++) { /* four times: lines i and i + 8 become lines 2 i and 2 i + 1 */
      for (int i = 0; i < 8; i++) {
        b[2 * i] = _mm_unpacklo_epi8(a[i], a[i + 8]);
        b[2 * i + 1] = _mm_unpackhi_epi8(a[i], a[i + 8]);
      }
      for (int i = 0; i < 8; i++) {
        a[2 * i] = _mm_unpacklo_epi8(b[i], b[i + 8]);
        a[2 * i + 1] = _mm_unpackhi_epi8(b[i], b[i + 8]);
      }
    }
    for (int y = 0; y < 16; y++) _mm_storeu_si128((__m128i *)(columns + (x + (size_t)y) * ROWS), a[y]);
  }
}

/* The same as `down_plain`, four sums of four rows at once; `count` is rounded up. */
static void down(const float *part, size_t count, float *lines, size_t step) {
  for (size_t i = 0; i < count; i += 4)
    for (size_t y = 0; y < ROWS; y += 4) {
      const float *from = part + i * ROWS + y;
      float *to = lines + y * step + i;
      __m128 a = _mm_load_ps(from), b = _mm_load_ps(from + ROWS), c = _mm_load_ps(from + 2 * ROWS), d = _mm_load_ps(from + 3 * ROWS);
      _MM_TRANSPOSE4_PS(a, b, c, d);
      _mm_store_ps(to, a);
      _mm_store_ps(to + step, b);
      _mm_store_ps(to + 2 * step, c);
      _mm_store_ps(to + 3 * step, d);
    }
}

#define AVX2 __attribute__((target("avx2")))

AVX2 INLINE void part_avx2(const u8 *columns, int channels, const Axis *axis, int x, int stop, float *to) {
  for (; x < stop; x++, to += channels * ROWS) {
    const u8 *at = columns + (size_t)axis->starts[x] * (size_t)channels * ROWS;
    const float *weights = axis->weights[x];
    __m256 sums[2 * MOST_CHANNELS];
    for (int i = 0; i < 2 * channels; i++) sums[i] = _mm256_setzero_ps();
    for (int k = 0; k < axis->lengths[x]; k++, at += channels * ROWS) {
      __m256 weight = _mm256_set1_ps(weights[k]);
      for (int i = 0; i < 2 * channels; i++) {
        __m256 level = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(at + 8 * i))));
        sums[i] = _mm256_add_ps(sums[i], _mm256_mul_ps(level, weight));
      }
    }
    for (int i = 0; i < 2 * channels; i++) _mm256_store_ps(to + 8 * i, sums[i]);
  }
}
#endif

/* One copy for each number of channels, which the compiler then knows. */
#define FOR_CHANNELS(vectors, name)                                                                                     \
  vectors static void name##s(const u8 *columns, int channels, const Axis *axis, int x, int stop, float *to) {            \
    if (channels == 1)                                                                                                  \
      name(columns, 1, axis, x, stop, to);                                                                              \
    else if (channels == 3)                                                                                             \
      name(columns, 3, axis, x, stop, to);                                                                              \
    else                                                                                                                \
      name(columns, 4, axis, x, stop, to);                                                                              \
  }

FOR_CHANNELS(, part_plain)
#ifdef __x86_64__
FOR_CHANNELS(AVX2, part_avx2)
#endif

/* Average along up to ROWS rows into `lines`, `step` floats apart, of which there are ROWS. `columns` has room for the rows. */
static void across(const u8 *in, size_t stride, int rows, size_t wide, int channels, const Axis *axis, u8 *columns, float *lines,
                   size_t step) {
  _Alignas(64) float part[PART * MOST_CHANNELS * ROWS] = {0};
  int vectors = level_of_vectors() > 1;
#ifdef __x86_64__
  if (vectors && wide >= 16)
    turn(in, stride, rows, wide, columns);
  else
#endif
    turn_plain(in, stride, rows, 0, wide, columns);
  for (int x = 0; x < axis->count; x += PART) {
    int stop = x + PART < axis->count ? x + PART : axis->count;
    size_t at = (size_t)x * (size_t)channels, count = (size_t)(stop - x) * (size_t)channels;
#ifdef __x86_64__
    if (vectors) {
      part_avx2s(columns, channels, axis, x, stop, part);
      down(part, count, lines + at, step);
      continue;
    }
#endif
    part_plains(columns, channels, axis, x, stop, part);
    down_plain(part, count, lines + at, step);
  }
}
