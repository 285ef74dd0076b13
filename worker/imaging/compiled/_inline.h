/* Functions that the compiler is to copy into each place that calls them. */

#ifndef PENSTOCK_INLINE_H
#define PENSTOCK_INLINE_H

#ifdef __GNUC__
#define INLINE static inline __attribute__((always_inline))
#else
#define INLINE static inline
#endif

#endif
