/* Resamples each row of an image: the part of `_resampling.c` that takes the longest, in plain C and with the vectors of
   the processor at hand. All of them add the same integers, so they make the same pixels. */

#ifdef __x86_64__
#include <immintrin.h>
#endif

/* The most that vectors may do (for tests): 1 for plain C, 2 for AVX2, 3 for AVX-512. */
static int most_vectors = 3;

static int level_of_vectors(void) {
#ifdef __x86_64__
  int level = !__builtin_cpu_supports("avx2") ? 1
              : __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                      __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vnni")
                  ? 3
                  : 2;
#else
  int level = 1;
#endif
  return level < most_vectors ? level : most_vectors;
}

static u8 level(int32_t sum) {
  sum >>= PRECISION;
  sum = sum < 0 ? 0 : sum;
  return (u8)(sum > 255 ? 255 : sum);
}

/* Resample each row. */
static void across(const u8 *in, size_t stride, int rows, const Axis *axis, u8 *out, size_t step) {
  for (int y = 0; y < rows; y++, in += stride, out += step) {
    u8 *to = out;
    for (int x = 0; x < axis->count; x++, to += CHANNELS) {
      const u8 *at = in + (size_t)axis->starts[x] * CHANNELS;
      const int32_t *weights = axis->weights + (size_t)x * (size_t)axis->taps;
      int32_t red = HALF, green = HALF, blue = HALF;
      for (int k = 0; k < axis->lengths[x]; k++, at += CHANNELS) {
        red += at[0] * weights[k];
        green += at[1] * weights[k];
        blue += at[2] * weights[k];
      }
      to[0] = level(red);
      to[1] = level(green);
      to[2] = level(blue);
    }
  }
}

#ifdef __x86_64__
enum { GROUP = 4, LOW_BITS = 12 };

/* Write each weight as a high and a low part of 16 bits, four times for the four channels of a pair of pixels; two pairs
   a group. All pixels get as many groups as the longest needs, so that the processor foresees the end of their sums. */
static __m256i *grouped(const Axis *axis, int groups) {
  int16_t *all = aligned_alloc(sizeof(__m256i), sizeof(__m256i) * 2 * (size_t)groups * (size_t)axis->count);
  for (int i = 0; all != NULL && i < axis->count * groups * GROUP; i++) {
    int x = i / (groups * GROUP), k = i % (groups * GROUP);
    int32_t weight = k < axis->lengths[x] ? axis->weights[(size_t)x * (size_t)axis->taps + (size_t)k] : 0;
    int16_t *to = all + (size_t)(i / GROUP) * 32 + (k % GROUP) / 2 * 8 + k % 2;
    for (int channel = 0; channel < 4; channel++) {
      to[2 * channel] = (int16_t)(weight >> LOW_BITS);
      to[16 + 2 * channel] = (int16_t)(weight & ((1 << LOW_BITS) - 1));
    }
  }
  return (__m256i *)all;
}

/* The same, four pixels of the source at once. `line` has room for what is read beyond a row, which counts nothing. */
__attribute__((target("avx2"))) static void across_avx2(const u8 *in, size_t stride, int rows, int width, const Axis *axis,
                                                        int groups, const __m256i *weights, u8 *line, u8 *out, size_t step) {
  const __m256i pairs = _mm256_setr_epi8(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1, /* the first two pixels */
                                         6, -1, 9, -1, 7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1);
  const __m128i half = _mm_set1_epi32(HALF);
  for (int y = 0; y < rows; y++, in += stride, out += step) {
    const __m256i *weight = weights;
    u8 *to = out;
    memcpy(line, in, (size_t)width * CHANNELS);
    for (int x = 0; x < axis->count; x++, to += CHANNELS) {
      const u8 *at = line + (size_t)axis->starts[x] * CHANNELS;
      __m256i high = _mm256_setzero_si256(), low = high;
      for (int k = 0; k < groups; k++, at += GROUP * CHANNELS, weight += 2) {
        __m256i pixels = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)at)), pairs);
        high = _mm256_add_epi32(high, _mm256_madd_epi16(pixels, weight[0]));
        low = _mm256_add_epi32(low, _mm256_madd_epi16(pixels, weight[1]));
      }
      high = _mm256_add_epi32(_mm256_slli_epi32(high, LOW_BITS), low);
      __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(high), _mm256_extracti128_si256(high, 1));
      sum = _mm_srai_epi32(_mm_add_epi32(sum, half), PRECISION);
      sum = _mm_packs_epi32(sum, sum);
      int32_t pixel = _mm_cvtsi128_si32(_mm_packus_epi16(sum, sum));
      memcpy(to, &pixel, x < axis->count - 1 ? sizeof pixel : CHANNELS);
    }
  }
}
#endif

#ifdef __x86_64__
#define AVX512 __attribute__((target("avx2,avx512f,avx512bw,avx512vl,avx512vbmi,avx512vnni")))

/* What makes four pixels of a row at once: where their source begins, which of the 64 bytes from there on make each of their
   three sums, and their weights in three digits of 8 bits with a sign, of `steps` times four taps. */
typedef struct {
  int steps, groups;
  int *starts;
  __m512i *bytes, *weights;
} Fours;

/* Lines of one column that vectors take, at most. */
enum { MOST_LINES = 128 };
enum { LANE = 16, REACH = (64 - GROUP * CHANNELS) / CHANNELS }; /* bytes of one pixel's sums; pixels that four may be apart */

/* Write the three digits of the weights of four taps of pixel `x`, each in the bytes of one number. */
static inline void set_digits(const Axis *axis, int x, int step, uint32_t digits[3]) {
  digits[0] = digits[1] = digits[2] = 0;
  for (int k = step * GROUP; k < (step + 1) * GROUP && k < axis->lengths[x]; k++) {
    int32_t rest = axis->weights[(size_t)x * (size_t)axis->taps + (size_t)k];
    for (int digit = 0; digit < 3; digit++) {
      int32_t low = (int8_t)(rest & 255);
      digits[digit] |= (uint32_t)(low & 255) << 8 * (k % GROUP);
      rest = (rest - low) / 256;
    }
  }
}

static void free_fours(Fours *fours) {
  free(fours->starts);
  free(fours->bytes);
  free(fours->weights);
}

/* Return whether that can be done: without memory, or if four pixels are too far apart, it cannot. */
AVX512 static int set_fours(Fours *fours, const Axis *axis) {
  const __m128i order = _mm_setr_epi8(0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11, 0, 0, 0, 0);
  int groups = fours->groups = (axis->count + GROUP - 1) / GROUP, steps = fours->steps = (axis->longest + GROUP - 1) / GROUP;
  fours->starts = malloc(sizeof(int) * (size_t)groups);
  fours->bytes = aligned_alloc(64, 64 * (size_t)groups);
  fours->weights = aligned_alloc(64, 64 * 3 * (size_t)groups * (size_t)steps);
  if (!fours->starts || !fours->bytes || !fours->weights) return 0;
  for (int i = 0; i < groups * GROUP; i++) {
    int x = i < axis->count ? i : axis->count - 1, first = axis->starts[i / GROUP * GROUP], apart = axis->starts[x] - first;
    if (apart < 0 || apart > REACH) return 0;
    fours->starts[i / GROUP] = first * CHANNELS;
    _mm_store_si128((__m128i *)(fours->bytes + i / GROUP) + i % GROUP, _mm_add_epi8(order, _mm_set1_epi8((char)(apart * CHANNELS))));
    for (int step = 0; step < steps; step++) {
      uint32_t digits[3] = {0};
      if (i < axis->count) set_digits(axis, x, step, digits);
      for (int digit = 0; digit < 3; digit++) { /* for red, green and blue; the fourth sum is 0 */
        __m128i all = _mm_setr_epi32((int)digits[digit], (int)digits[digit], (int)digits[digit], 0);
        _mm_store_si128((__m128i *)(fours->weights + ((size_t)(i / GROUP) * (size_t)steps + (size_t)step) * 3 + digit) + i % GROUP, all);
      }
    }
  }
  return 1;
}

/* Resample a row, from which may be read as far as the weights reach, and 64 bytes beyond. */
AVX512 static inline __attribute__((always_inline)) void four_by_four(const u8 *in, const Fours *fours, int steps, int count, u8 *out) {
  const __m512i *weights = fours->weights, half = _mm512_set1_epi32(HALF), zero = _mm512_setzero_si512();
  const __m128i pixels = _mm_setr_epi8(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, -1, -1, -1, -1);
  for (int group = 0; group < fours->groups; group++, out += GROUP * CHANNELS) {
    const u8 *at = in + fours->starts[group];
    __m512i low = half, middle = zero, high = zero;
    for (int step = 0; step < steps; step++, at += GROUP * CHANNELS, weights += 3) {
      __m512i taps = _mm512_permutexvar_epi8(fours->bytes[group], _mm512_loadu_si512(at));
      low = _mm512_dpbusd_epi32(low, taps, weights[0]);
      middle = _mm512_dpbusd_epi32(middle, taps, weights[1]);
      high = _mm512_dpbusd_epi32(high, taps, weights[2]);
    }
    high = _mm512_add_epi32(_mm512_slli_epi32(high, 8), middle);
    high = _mm512_srai_epi32(_mm512_add_epi32(_mm512_slli_epi32(high, 8), low), PRECISION);
    __m128i levels = _mm_shuffle_epi8(_mm512_cvtusepi32_epi8(_mm512_max_epi32(high, zero)), pixels);
    int left = (count - group * GROUP) * CHANNELS;
    if (left >= LANE) _mm_storeu_si128((__m128i *)out, levels);
    else _mm_mask_storeu_epi8(out, (__mmask16)((1u << (left < GROUP * CHANNELS ? left : GROUP * CHANNELS)) - 1), levels);
  }
}

/* The same for each row; `line` has room for what is read beyond the last ones. */
AVX512 static void across_avx512(const u8 *in, size_t stride, int rows, int width, const Axis *axis, const Fours *fours, u8 *line,
                                 size_t beyond, u8 *out, size_t step) {
  for (int y = 0; y < rows; y++, in += stride, out += step) {
    const u8 *row = in;
    if ((size_t)(rows - 1 - y) * stride < beyond) row = memcpy(line, in, (size_t)width * CHANNELS);
    if (fours->steps == 1) four_by_four(row, fours, 1, axis->count, out);
    else if (fours->steps == 2) four_by_four(row, fours, 2, axis->count, out);
    else four_by_four(row, fours, fours->steps, axis->count, out);
  }
}

/* Resample each column of `row` bytes a line, 64 at a time: the sums of four lines come from one instruction a digit. */
AVX512 static void down_avx512(const u8 *in, size_t stride, size_t row, const Axis *axis, u8 *out, size_t step) {
  const __m512i half = _mm512_set1_epi32(HALF), zero = _mm512_setzero_si512();
  for (int y = 0; y < axis->count; y++, out += step) {
    const u8 *first = in + stride * (size_t)axis->starts[y];
    int length = axis->lengths[y];
    uint32_t digits[MOST_LINES / GROUP][3];
    for (int k = 0; k < length; k += GROUP) set_digits(axis, y, k / GROUP, digits[k / GROUP]);
    for (size_t x = 0; x < row; x += 64) {
      __mmask64 here = row - x >= 64 ? ~(__mmask64)0 : ((__mmask64)1 << (row - x)) - 1;
      __m512i sums[3][4] = {{half, half, half, half}, {zero, zero, zero, zero}, {zero, zero, zero, zero}};
      for (int k = 0; k < length; k += GROUP) {
        __m512i line[GROUP], mixed[4];
        for (int i = 0; i < GROUP; i++) /* a line beyond the last counts nothing */
          line[i] = k + i < length ? _mm512_maskz_loadu_epi8(here, first + stride * (size_t)(k + i) + x) : zero;
        __m512i low = _mm512_unpacklo_epi8(line[0], line[1]), high = _mm512_unpackhi_epi8(line[0], line[1]);
        __m512i low2 = _mm512_unpacklo_epi8(line[2], line[3]), high2 = _mm512_unpackhi_epi8(line[2], line[3]);
        mixed[0] = _mm512_unpacklo_epi16(low, low2);
        mixed[1] = _mm512_unpackhi_epi16(low, low2);
        mixed[2] = _mm512_unpacklo_epi16(high, high2);
        mixed[3] = _mm512_unpackhi_epi16(high, high2);
        for (int digit = 0; digit < 3; digit++) {
          __m512i weight = _mm512_set1_epi32((int)digits[k / GROUP][digit]);
          for (int i = 0; i < 4; i++) sums[digit][i] = _mm512_dpbusd_epi32(sums[digit][i], mixed[i], weight);
        }
      }
      for (int i = 0; i < 4; i++) {
        __m512i sum = _mm512_add_epi32(_mm512_slli_epi32(sums[2][i], 8), sums[1][i]);
        sums[0][i] = _mm512_srai_epi32(_mm512_add_epi32(_mm512_slli_epi32(sum, 8), sums[0][i]), PRECISION);
      }
      __m512i levels = _mm512_packus_epi16(_mm512_packs_epi32(sums[0][0], sums[0][1]), _mm512_packs_epi32(sums[0][2], sums[0][3]));
      _mm512_mask_storeu_epi8(out + x, here, levels);
    }
  }
}
#endif

/* Resample each row the fastest way; return -1 without memory. */
static int crossed(const u8 *in, size_t stride, int rows, int width, const Axis *axis, u8 *out, size_t step) {
#ifdef __x86_64__
  if (level_of_vectors() >= 2) {
    int groups = (axis->longest + GROUP - 1) / GROUP;
    size_t beyond = (size_t)(axis->longest + GROUP) * CHANNELS + 64;
    u8 *line = calloc((size_t)width * CHANNELS + beyond, 1);
    Fours fours = {0};
    __m256i *weights = NULL;
    int status = line ? 0 : -1;
    if (line && level_of_vectors() >= 3 && set_fours(&fours, axis))
      across_avx512(in, stride, rows, width, axis, &fours, line, beyond, out, step);
    else if (line && (weights = grouped(axis, groups)))
      across_avx2(in, stride, rows, width, axis, groups, weights, line, out, step);
    else
      status = -1;
    free_fours(&fours);
    free(weights);
    free(line);
    return status;
  }
#endif
  across(in, stride, rows, axis, out, step);
  return (void)width, 0;
}

