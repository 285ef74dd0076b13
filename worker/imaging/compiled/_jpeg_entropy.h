/* Entropy decoding of a baseline JPEG in libjpeg-turbo's place: see `_jpeg_entropy.c`. */

#ifndef PENSTOCK_JPEG_ENTROPY_H
#define PENSTOCK_JPEG_ENTROPY_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <jpeglib.h>

/* Bits that tables are indexed with: of symbols to be passed over, of two symbols whose values are wanted, of one. */
#define SKIP_BITS 12
#define PAIR_BITS 10
#define CODE_BITS 12
#define DC_BITS 9
/* Unstuffed bytes at hand, and how many of them a block may take: 64 symbols of 31 bits. */
#define HELD_BYTES 32768
#define BLOCK_BYTES 256

/* Two symbols, or one, in bytes that can be loaded each by itself. */
typedef struct {
  uint8_t bits, kind;                   /* of both symbols; PAIR_… */
  uint8_t before, beside, passed;       /* of the first: bits before its value, 64 less the value's, coefficients */
  uint8_t before2, beside2, passed2;    /* of the second; 0 coefficients: there is none */
} Pair;

/* A Huffman table, prepared for DC or for AC. */
typedef struct {
  int filled, has_skip; /* whether the rest is that of `counts` and `symbols`; and `skip` too */
  Pair pair[1 << PAIR_BITS];
  uint32_t code[1 << CODE_BITS];
  uint16_t skip[1 << SKIP_BITS];
  uint32_t dc[1 << DC_BITS]; /* as `code`, but small: it has to stay in the nearest cache */
  /* Of codes longer than CODE_BITS: what the codes of each length end before, left-aligned to 16 bits, and what is added
     to a code of that length for its place in `symbols`. */
  uint32_t end[17];
  int32_t place[17];
  unsigned char counts[17], symbols[256]; /* the table: how many codes have each length, and what they stand for, in order */
} Codes;

/* What libjpeg's other parts know of an entropy decoder (jpegint.h; the same in libjpeg-turbo 1.0 to 3.1). */
struct jpeg_entropy_decoder {
  void (*start_pass)(j_decompress_ptr cinfo);
  boolean (*decode_mcu)(j_decompress_ptr cinfo, JBLOCKROW *blocks);
  boolean insufficient_data;
};

/* The next bits: `count` of them at the top of `bits`, those after them from `at` on. */
typedef struct {
  uint64_t bits;
  int count;
  const unsigned char *at;
} Bits;

typedef struct {
  struct jpeg_entropy_decoder face; /* the first, so that libjpeg's pointer to it is one to this */
  Bits next;
  const unsigned char *held_end; /* what is in `held` behind it is zero */
  /* The file: the first byte that is not in `held` yet, and its end. At a marker no more is taken. */
  const unsigned char *from, *file_end;
  int at_marker;
  /* MCUs: the column of the next one, how many there are, and the first and last one that are wanted. */
  uint32_t column, columns, first, last;
  uint32_t interval, until_restart, restarts;
  int blocks, unwanted; /* in an MCU; whether some are not wanted whole */
  int skips;            /* whether this file's tables for passing over symbols are known to be there */
  struct {
    int component;
    int wanted; /* nothing, DC, or all of it: 0, 1, 2 */
    const Codes *dc, *ac;
  } of_block[D_MAX_BLOCKS_IN_MCU];
  int dc[MAX_COMPS_IN_SCAN];
  void (*give_up)(j_decompress_ptr cinfo);
  unsigned char held[HELD_BYTES + (D_MAX_BLOCKS_IN_MCU + 1) * BLOCK_BYTES];
  /* Of the last files: many of a data set have the same tables, and filling them takes a tenth of a small image's time. */
  Codes dc_codes[NUM_HUFF_TBLS], ac_codes[NUM_HUFF_TBLS];
} Entropy;

/* Return one to give back, to be used by one thread at a time; NULL without memory, or where it is not known what libjpeg's
   parts know of each other: in later versions. */
Entropy *get_entropy(void);
void give_back(Entropy *self);

/* Take the entropy decoding over from libjpeg, after jpeg_start_decompress. The coded data begins at `data`; of the MCUs in
   a row the first to the last are wanted. `give_up` is called at anything unusual, and does not return. */
void take_entropy(Entropy *self, j_decompress_ptr cinfo, const unsigned char *data, size_t size, uint32_t first,
                  uint32_t last, void (*give_up)(j_decompress_ptr));

/* Return where the marker after the scan stands; NULL if there is something else before it. */
const unsigned char *end_of_entropy(const Entropy *self);

#endif
