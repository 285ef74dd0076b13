/* Levels of red, green and blue of luma and chroma: the arithmetic of `_jpeg_colors.c` with vectors of one length, which includes
   this once for each. Two pixels come of a column of chroma; vectors hold all even pixels, or all odd ones, in numbers of 16
   bits.

   Before: NAME(name) names what is defined here, TARGET is the attribute of functions, Vector the type, MM(operation) and
   SI(operation) name the processor's, and ODD(even, odd) takes every second number of both. */

typedef struct {
  Vector even, odd;
} NAME(Pixels);

/* The sums of as many columns of chroma, and those one column before and after. */
typedef struct {
  Vector here, before, after;
} NAME(Columns);

typedef struct {
  Vector red, green, blue;
} NAME(Levels);

/* Return chroma less 128. */
TARGET INLINE NAME(Pixels) NAME(chroma)(NAME(Columns) of) {
  const Vector middle = MM(set1_epi16)(128);
  Vector thrice = MM(add_epi16)(of.here, MM(slli_epi16)(of.here, 1));
  Vector even = MM(srli_epi16)(MM(add_epi16)(MM(add_epi16)(thrice, of.before), MM(set1_epi16)(8)), 4);
  Vector odd = MM(srli_epi16)(MM(add_epi16)(MM(add_epi16)(thrice, of.after), MM(set1_epi16)(7)), 4);
  return (NAME(Pixels)){MM(sub_epi16)(even, middle), MM(sub_epi16)(odd, middle)};
}

/* Return the rounded product of x and factor / 65536. */
TARGET INLINE Vector NAME(times)(Vector x, int16_t factor) {
  Vector twice = MM(mulhi_epi16)(MM(slli_epi16)(x, 1), MM(set1_epi16)(factor));
  return MM(srai_epi16)(MM(add_epi16)(twice, MM(set1_epi16)(1)), 1);
}

TARGET INLINE Vector NAME(red)(Vector y, Vector cr) { return MM(add_epi16)(MM(add_epi16)(y, cr), NAME(times)(cr, 26345)); }

TARGET INLINE Vector NAME(blue)(Vector y, Vector cb) {
  return MM(add_epi16)(MM(add_epi16)(y, MM(slli_epi16)(cb, 1)), NAME(times)(cb, -14942));
}

TARGET INLINE Vector NAME(green)(Vector y, Vector cb, Vector cr) {
  const Vector weights = MM(set1_epi32)(GREEN_WEIGHTS), half = MM(set1_epi32)(32768);
  Vector low = MM(madd_epi16)(ODD(cb, MM(slli_epi32)(cr, 16)), weights);
  Vector high = MM(madd_epi16)(ODD(MM(srli_epi32)(cb, 16), cr), weights);
  low = MM(srli_epi32)(MM(add_epi32)(low, half), 16);
  high = MM(add_epi32)(high, half);
  return MM(add_epi16)(MM(sub_epi16)(y, cr), ODD(low, high));
}

/* Return the levels of all pixels in their order. */
TARGET INLINE Vector NAME(merged)(Vector even, Vector odd) {
  const Vector zero = SI(setzero)(), most = MM(set1_epi16)(255);
  even = MM(min_epi16)(MM(max_epi16)(even, zero), most);
  odd = MM(min_epi16)(MM(max_epi16)(odd, zero), most);
  return SI(or)(even, MM(slli_epi16)(odd, 8));
}

/* `luma` is in the order of pixels. */
TARGET INLINE NAME(Levels) NAME(levels)(Vector luma, NAME(Columns) blue, NAME(Columns) red) {
  NAME(Pixels) cb = NAME(chroma)(blue), cr = NAME(chroma)(red);
  Vector even = SI(and)(luma, MM(set1_epi16)(255)), odd = MM(srli_epi16)(luma, 8);
  return (NAME(Levels)){
      NAME(merged)(NAME(red)(even, cr.even), NAME(red)(odd, cr.odd)),
      NAME(merged)(NAME(green)(even, cb.even, cr.even), NAME(green)(odd, cb.odd, cr.odd)),
      NAME(merged)(NAME(blue)(even, cb.even), NAME(blue)(odd, cb.odd)),
  };
}

#undef NAME
#undef TARGET
#undef Vector
#undef MM
#undef SI
#undef ODD
