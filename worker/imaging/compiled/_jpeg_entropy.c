/* Entropy decoding of a baseline JPEG, twice as fast as libjpeg-turbo's where values are not wanted.

   It stands in the place of libjpeg's entropy decoder, and libjpeg's other parts make the pixels: coefficients are exact,
   so the pixels are the same. Of MCUs that are not wanted, and of components that are made of their DC alone, the AC
   symbols are passed over: a table tells the length of as many of them as have their codes in the next 12 bits.

   Owns the bits; refuses to judge. Whatever a file without a flaw does not have ends in `give_up`, and libjpeg's own decoder
   has to say what it thinks of the file. So nothing passes here that libjpeg would warn of. */

#include "_jpeg_entropy.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "_inline.h"

#if defined(__GNUC__)
#define RARELY(condition) __builtin_expect(!!(condition), 0)
#else
#define RARELY(condition) (condition)
#endif

enum { BITS = 63, BLOCK_END = 63 };
/* An entry of `code`: bits of code and value (0 to 5), of the code (8 to 13), of the value (16 to 19), coefficients up to and
   with this one (24 to 28); whether it has no value (the block's end, or 16 zeros), or no code of at most CODE_BITS. */
enum { CODE_EMPTY = 1 << 30, CODE_LONG = 1 << 29, ZEROS = 16 };
/* An entry of `skip`: bits (0 to 5), coefficients (8 to 14), whether the block ends with it. Between two refills there are
   at least 56 bits: three entries of 18. One of no bits is for a second look. */
enum { SKIP_MOST = 18, SKIP_STEPS = 3, SKIP_ODD = 127 << 8, SKIP_END = 1 << 15 };
/* Two pairs of 28 bits lie between two refills. Kinds: the block ends with it; it is for a
   second look; it is the block's end alone. */
enum { PAIR_MOST = 28, PAIR_STEPS = 2, PAIR_END = 1, PAIR_ODD = 2, PAIR_NONE = 4 };

/* The zigzag order. What would lie beyond the block goes to its last place; that is found out afterwards. */
static const unsigned char order[64 + 2 * ZEROS] = {
    0,  1,  8,  16, 9,  2,  3,  10, 17, 24, 32, 25, 18, 11, 4,  5,  12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6,  7,  14, 21, 28,
    35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
    63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63};

/* Tables. */

INLINE uint32_t code_bits(uint32_t entry) { return entry >> 8 & BITS; }
INLINE uint32_t value_bits(uint32_t entry) { return entry >> 16 & 15; }
INLINE uint32_t coefficients(uint32_t entry) { return entry >> 24 & 31; }
INLINE int ends_block(uint32_t entry) { return entry & CODE_EMPTY && coefficients(entry) < ZEROS; }

static uint32_t entry_of(uint32_t symbol, uint32_t length, int is_dc) {
  uint32_t size = symbol & 15, zeros = is_dc ? 0 : symbol >> 4;
  uint32_t entry = (length + size) | length << 8 | size << 16 | (zeros + 1) << 24;
  return size == 0 && !is_dc ? entry | CODE_EMPTY : entry;
}

static void fill_codes(Codes *self, const JHUFF_TBL *table, int is_dc) {
  uint32_t code = 0, symbol = 0;
  memcpy(self->counts, table->bits, sizeof self->counts);
  memcpy(self->symbols, table->huffval, sizeof self->symbols);
  for (uint32_t i = 0; i < 1 << CODE_BITS; i++) self->code[i] = CODE_LONG;
  for (uint32_t length = 1; length <= 16; length++) {
    self->place[length] = (int32_t)symbol - (int32_t)code;
    for (int i = 0; i < table->bits[length] && symbol < 256; i++, symbol++, code++) {
      if (length > CODE_BITS) continue;
      uint32_t entry = entry_of(table->huffval[symbol], length, is_dc), at = code << (CODE_BITS - length);
      for (uint32_t j = at; j < at + (1u << (CODE_BITS - length)) && j < 1 << CODE_BITS; j++) self->code[j] = entry;
    }
    self->end[length] = code << (16 - length);
    code <<= 1;
  }
}

/* Return the entry of a code that is longer than CODE_BITS; 0 if there is none. */
static uint32_t long_entry(const Codes *self, uint64_t bits, int is_dc) {
  uint32_t next = (uint32_t)(bits >> 48), length = CODE_BITS + 1;
  while (length <= 16 && next >= self->end[length]) length++;
  if (length > 16) return 0;
  int32_t symbol = self->place[length] + (int32_t)(next >> (16 - length));
  return symbol < 0 || symbol > 255 ? 0 : entry_of(self->symbols[symbol], length, is_dc);
}

/* Return the entry of the first code in an index of so many bits, behind those that are used; one of CODE_LONG for none. */
static uint32_t entry_in(const Codes *self, uint32_t index, uint32_t width, uint32_t used) {
  uint32_t rest = index << (32 - width) << used, entry = used < width ? self->code[rest >> (32 - CODE_BITS)] : CODE_LONG;
  return used + code_bits(entry) <= width ? entry : CODE_LONG;
}

static void fill_dc(Codes *self) {
  for (uint32_t index = 0; index < 1 << DC_BITS; index++) self->dc[index] = entry_in(self, index, DC_BITS, 0);
}

/* Combine as many symbols as have their codes in each index; the value of the last one may go on behind it. */
static void fill_skip(Codes *self) {
  for (uint32_t index = 0; index < 1 << SKIP_BITS; index++) {
    uint32_t used = 0, passed = 0, end = 0;
    while (!end) {
      uint32_t entry = entry_in(self, index, SKIP_BITS, used);
      if (entry & CODE_LONG || used + (entry & BITS) > SKIP_MOST) break;
      used += entry & BITS;
      end = ends_block(entry) ? SKIP_END : 0;
      if (!end) passed += coefficients(entry);
    }
    self->skip[index] = (uint16_t)(used == 0 ? SKIP_ODD : used | passed << 8 | end);
  }
}

/* Combine two symbols, or one and the block's end, where the codes of both are in the index. */
static void fill_pairs(Codes *self) {
  for (uint32_t index = 0; index < 1 << PAIR_BITS; index++) {
    uint32_t one = entry_in(self, index, PAIR_BITS, 0), used = one & BITS;
    uint32_t two = entry_in(self, index, PAIR_BITS, used), both = used + (two & BITS);
    Pair pair = {.kind = PAIR_ODD};
    if (!(one & CODE_LONG) && ends_block(one)) {
      pair = (Pair){.bits = (uint8_t)used, .kind = PAIR_NONE};
    } else if (!(one & (CODE_LONG | CODE_EMPTY))) {
      pair = (Pair){.bits = (uint8_t)used, .before = (uint8_t)code_bits(one), .beside = (uint8_t)(64 - value_bits(one)),
                    .passed = (uint8_t)coefficients(one)};
      int ends = ends_block(two);
      if (!(two & CODE_LONG) && both <= PAIR_MOST && (!(two & CODE_EMPTY) || ends)) {
        pair.bits = (uint8_t)both;
        pair.kind = ends ? PAIR_END : 0;
        pair.before2 = (uint8_t)(used + code_bits(two));
        pair.beside2 = (uint8_t)(64 - value_bits(two));
        pair.passed2 = ends ? 0 : (uint8_t)coefficients(two);
      }
    }
    self->pair[index] = pair;
  }
}

/* Prepare a table, unless it is there from another file. */
static void fill(Codes *self, const JHUFF_TBL *table, int is_dc) {
  if (self->filled && memcmp(self->counts, table->bits, sizeof self->counts) == 0 &&
      memcmp(self->symbols, table->huffval, sizeof self->symbols) == 0)
    return;
  fill_codes(self, table, is_dc);
  if (is_dc) fill_dc(self);
  else fill_pairs(self);
  self->filled = 1;
  self->has_skip = 0;
}

/* Bits. */

INLINE uint64_t eight_bytes(const unsigned char *at) {
  uint64_t bytes;
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  memcpy(&bytes, at, sizeof bytes);
  return __builtin_bswap64(bytes);
#else
  bytes = 0;
  for (int i = 0; i < 8; i++) bytes = bytes << 8 | at[i];
  return bytes;
#endif
}

#define LOWEST_BITS 0x0101010101010101ULL

/* Return how many bytes of no bits come in memory before the first one with some; there is one. */
INLINE ptrdiff_t first_byte(uint64_t bytes) {
  unsigned char of[8];
  ptrdiff_t count = 0;
  memcpy(of, &bytes, sizeof of);
  while (of[count] == 0) count++;
  return count;
}

/* Have at least 56 bits. Those that are at the top already, behind `count`, are the same ones. */
INLINE void refill(Bits *b) {
  b->bits |= eight_bytes(b->at) >> b->count;
  b->at += (63 - b->count) >> 3;
  b->count |= 56;
}

INLINE void drop(Bits *b, uint32_t entry) {
  b->bits <<= entry & BITS;
  b->count -= (int)(entry & BITS);
}

/* Return the signed number that the first `size` bits stand for (ITU-T T.81, F.2.2.1, EXTEND). */
INLINE int value_of(uint64_t bits, uint32_t size) {
  return (int)(bits >> 1 >> (63 - size)) + (((int64_t)bits >= 0 ? -1 : 0) & (int)(1 - (1u << size)));
}

/* Return the same if all but `beside` of the 64 bits, at least one, are the number's. */
INLINE JCOEF number(uint64_t bits, uint32_t beside) {
  static const int16_t lowest[64 + 1] = {
      [63] = -1, [62] = -3, [61] = -7, [60] = -15, [59] = -31, [58] = -63, [57] = -127, [56] = -255, [55] = -511,
      [54] = -1023, [53] = -2047, [52] = -4095, [51] = -8191, [50] = -16383, [49] = -32767};
  return (JCOEF)((int)(bits >> (beside & BITS)) + (lowest[beside] & (int)~((int64_t)bits >> 63)));
}

/* Return how many bits are left in `held`; fewer than none if some were taken that are not there. */
static ptrdiff_t bits_left(const Entropy *self) { return (self->held_end - self->next.at) * 8 + self->next.count; }

/* Take bytes from the file, without the zero after each 0xff, up to the next marker. */
static void take_bytes(Entropy *self) {
  if (self->at_marker || self->held_end < self->next.at) return;
  size_t kept = (size_t)(self->held_end - self->next.at);
  memmove(self->held, self->next.at, kept);
  unsigned char *to = self->held + kept, *full = self->held + HELD_BYTES;
  const unsigned char *from = self->from;
  while (to < full && from < self->file_end) {
    if (full - to >= 8 && self->file_end - from >= 8) { /* eight bytes at once, or those before the first 0xff */
      uint64_t bytes, found;
      memcpy(&bytes, from, sizeof bytes);
      memcpy(to, &bytes, sizeof bytes);
      found = (~bytes - LOWEST_BITS) & bytes & LOWEST_BITS << 7;
      ptrdiff_t plain = found == 0 ? 8 : first_byte(found);
      to += plain;
      from += plain;
      if (found == 0) continue;
    }
    if (*from == 0xff) {
      if (self->file_end - from < 2 || from[1] != 0) {
        self->at_marker = 1;
        break;
      }
      from++;
      *to++ = 0xff;
    } else {
      *to++ = *from;
    }
    from++;
  }
  self->from = from;
  if (self->from == self->file_end) self->at_marker = 1;
  self->next.at = self->held;
  self->held_end = to;
  memset(to, 0, (size_t)self->blocks * BLOCK_BYTES + sizeof self->next); /* as far as an MCU may look */
}

/* Go on behind a restart marker; return whether it is the right one and stands where it should. */
static int restart(Entropy *self) {
  ptrdiff_t left = bits_left(self);
  if (!self->at_marker || left < 0 || left > 7 || self->file_end - self->from < 2) return 0;
  if (self->from[1] != 0xd0 + (self->restarts & 7)) return 0;
  self->from += 2;
  self->at_marker = 0;
  self->restarts++;
  self->until_restart = self->interval;
  self->next.bits = 0;
  self->next.count = 0;
  self->next.at = self->held_end;
  memset(self->dc, 0, sizeof self->dc);
  return 1;
}

/* Blocks. Each of these functions returns whether all is as it should be. */

INLINE int read_dc(Bits *b, const Codes *codes, int *dc) {
  refill(b);
  uint32_t entry = codes->dc[b->bits >> (64 - DC_BITS)];
  if (RARELY(entry & CODE_LONG)) {
    entry = codes->code[b->bits >> (64 - CODE_BITS)];
    if (entry & CODE_LONG) entry = long_entry(codes, b->bits, 1);
  }
  *dc += value_of(b->bits << code_bits(entry), value_bits(entry));
  drop(b, entry);
  return entry != 0 && *dc >= -32768 && *dc <= 32767;
}

/* Read one symbol, or pass over it if there is no block; `k` is the coefficient before, then that of the symbol. */
static int read_singly(Bits *b, const Codes *codes, uint32_t *k, JCOEF *block) {
  refill(b);
  uint32_t entry = codes->code[b->bits >> (64 - CODE_BITS)];
  if (entry & CODE_LONG) entry = long_entry(codes, b->bits, 0);
  if (entry == 0) return 0;
  if (ends_block(entry)) {
    *k = BLOCK_END;
  } else {
    *k += coefficients(entry);
    if (*k > BLOCK_END) return 0;
    if (block && !(entry & CODE_EMPTY)) block[order[*k]] = (JCOEF)value_of(b->bits << code_bits(entry), value_bits(entry));
  }
  drop(b, entry);
  return 1;
}

INLINE int skip_ac(Bits *state, const Codes *codes) {
  Bits b = *state;
  uint32_t k = 0;
  while (k < BLOCK_END) {
    refill(&b);
    for (int i = 0; i < SKIP_STEPS; i++) {
      uint32_t entry = codes->skip[b.bits >> (64 - SKIP_BITS)], passed = k + (entry >> 8 & 127);
      if (RARELY(passed >= BLOCK_END)) { /* maybe not all of them belong to the block */
        Bits c = b;
        uint32_t at = k;
        if (!read_singly(&c, codes, &at, NULL)) return 0;
        b = c;
        k = at;
        break;
      }
      k = passed;
      drop(&b, entry);
      if (entry & SKIP_END) {
        *state = b;
        return 1;
      }
    }
  }
  *state = b;
  return 1;
}

INLINE int read_ac(Bits *state, const Codes *codes, JCOEF *block) {
  Bits b = *state;
  uint32_t k = 0;
  while (k < BLOCK_END) {
    refill(&b);
    for (int i = 0; i < PAIR_STEPS; i++) {
      const Pair *pair = &codes->pair[b.bits >> (64 - PAIR_BITS)];
      uint32_t one = k + pair->passed, two = one + pair->passed2, kind = pair->kind;
      if (kind & PAIR_NONE) {
        drop(&b, pair->bits);
        *state = b;
        return 1;
      }
      if (RARELY(kind & PAIR_ODD || two >= BLOCK_END)) { /* maybe the second does not belong to the block */
        Bits c = b;
        uint32_t at = k;
        if (!read_singly(&c, codes, &at, block)) return 0;
        b = c;
        k = at;
        break;
      }
      JCOEF second = number(b.bits << (pair->before2 & BITS), pair->beside2);
      JCOEF first = number(b.bits << (pair->before & BITS), pair->beside);
      drop(&b, pair->bits);
      block[order[two]] = second; /* where there is none, the first one's place */
      block[order[one]] = first;
      k = two;
      if (kind & PAIR_END) {
        *state = b;
        return 1;
      }
    }
  }
  *state = b;
  return 1;
}

static void fill_skips(Entropy *self) {
  for (int i = 0; i < self->blocks; i++) {
    Codes *codes = &self->ac_codes[self->of_block[i].ac - self->ac_codes];
    if (!codes->has_skip) fill_skip(codes);
    codes->has_skip = 1;
  }
  self->skips = 1;
}

/* Decode MCUs: one into `blocks`, or pass over `count` if that is NULL. */
static int decode(Entropy *self, JBLOCKROW *blocks, uint32_t count) {
  if (RARELY(!self->skips && (!blocks || self->unwanted))) fill_skips(self); /* most images are wanted whole */
  for (; count > 0; count--) {
    if (self->interval) {
      if (self->until_restart == 0 && !restart(self)) return 0;
      self->until_restart--;
    }
    if (self->held_end - self->next.at < self->blocks * BLOCK_BYTES) take_bytes(self);
    Bits b = self->next;
    for (int i = 0; i < self->blocks; i++) {
      int *dc = &self->dc[self->of_block[i].component], wanted = blocks ? self->of_block[i].wanted : 0;
      if (!read_dc(&b, self->of_block[i].dc, dc)) return 0;
      if (wanted) blocks[i][0][0] = (JCOEF)*dc;
      if (!(wanted == 2 ? read_ac(&b, self->of_block[i].ac, blocks[i][0]) : skip_ac(&b, self->of_block[i].ac))) return 0;
    }
    self->next = b;
    if (bits_left(self) < 0) return 0;
  }
  return 1;
}

/* libjpeg. */

/* Decode the next MCU, for which libjpeg's controller of coefficients calls; without blocks where no pixel is wanted. */
static boolean decode_mcu(j_decompress_ptr cinfo, JBLOCKROW *blocks) {
  Entropy *self = (Entropy *)cinfo->entropy;
  int wanted = blocks && self->column >= self->first && self->column <= self->last;
  if (!decode(self, wanted ? blocks : NULL, 1)) self->give_up(cinfo);
  if (++self->column == self->columns) self->column = 0;
  return TRUE;
}

static void start_pass(j_decompress_ptr cinfo) { (void)cinfo; }

/* The one that was given back last, with the tables that it has. */
static _Atomic(Entropy *) kept;

Entropy *get_entropy(void) {
  if (LIBJPEG_TURBO_VERSION_NUMBER >= 4000000) return NULL;
  Entropy *self = atomic_exchange(&kept, NULL);
  return self ? self : calloc(1, sizeof *self);
}

void give_back(Entropy *self) {
  if (self) free(atomic_exchange(&kept, self));
}

void take_entropy(Entropy *self, j_decompress_ptr cinfo, const unsigned char *data, size_t size, uint32_t first,
                  uint32_t last, void (*give_up)(j_decompress_ptr)) {
  memset(self, 0, offsetof(Entropy, held));
  for (int i = 0; i < cinfo->blocks_in_MCU; i++) {
    int component = cinfo->MCU_membership[i];
    const jpeg_component_info *info = cinfo->cur_comp_info[component];
    int dc = info->dc_tbl_no & (NUM_HUFF_TBLS - 1), ac = info->ac_tbl_no & (NUM_HUFF_TBLS - 1); /* libjpeg has seen to that */
    fill(&self->dc_codes[dc], cinfo->dc_huff_tbl_ptrs[dc], 1);
    fill(&self->ac_codes[ac], cinfo->ac_huff_tbl_ptrs[ac], 0);
#if JPEG_LIB_VERSION >= 70
    int side = info->DCT_h_scaled_size;
#else
    int side = info->DCT_scaled_size;
#endif
    self->of_block[i].component = component;
    self->of_block[i].wanted = !info->component_needed ? 0 : side > 1 ? 2 : 1;
    self->unwanted |= self->of_block[i].wanted < 2;
    self->of_block[i].dc = &self->dc_codes[dc];
    self->of_block[i].ac = &self->ac_codes[ac];
  }
  self->face.start_pass = start_pass;
  self->face.decode_mcu = decode_mcu;
  self->blocks = cinfo->blocks_in_MCU;
  self->columns = cinfo->MCUs_per_row;
  self->first = first;
  self->last = last;
  self->interval = self->until_restart = cinfo->restart_interval;
  self->next.at = self->held_end = self->held;
  self->from = data;
  self->file_end = data + size;
  self->give_up = give_up;
  cinfo->entropy = &self->face;
}

const unsigned char *end_of_entropy(const Entropy *self) {
  ptrdiff_t left = bits_left(self);
  if (!self->at_marker || left < 0 || left > 7 || self->file_end - self->from < 2 || self->from[1] == 0xff) return NULL;
  return self->from;
}
