/* How libjpeg's words end a call: errors and warnings alike, for whatever is unusual in a file is for the caller's own
   decoder to judge. Nothing is printed. */

#ifndef PENSTOCK_JPEG_ERRORS_H
#define PENSTOCK_JPEG_ERRORS_H

#include <stddef.h>
#include <stdio.h>

#include <jpeglib.h>

static void end_at_warning(j_common_ptr cinfo, int level) {
  if (level < 0) cinfo->err->error_exit(cinfo); /* a warning; the others are traces */
}

static void be_silent(j_common_ptr cinfo) { (void)cinfo; }

/* Let `fail` be called at any error or warning, with `job` as its client_data; it does not return. To be done before
   jpeg_create_decompress. */
static void set_up_errors(j_decompress_ptr cinfo, struct jpeg_error_mgr *errors, void *job, void (*fail)(j_common_ptr)) {
  cinfo->err = jpeg_std_error(errors);
  cinfo->client_data = job;
  errors->error_exit = fail;
  errors->emit_message = end_at_warning;
  errors->output_message = be_silent;
}

#endif
