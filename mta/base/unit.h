/* unit - numbers with units as people write them: durations and sizes.
 *
 * A whole number and one unit, nothing between or around them; nought needs
 * none. Printing takes the largest unit that divides the value, so that what
 * is printed reads back as the same.
 */
#pragma once

#include <stdint.h>

#include "mta/base/buf.h"
#include "mta/base/span.h"

/* 0 and the value, or -1: not of this form, or too large. */
int duration_parse(struct span s, uint64_t *ms_r); /* 30s 5m 4h 2d 500ms */
int size_parse(struct span s, uint64_t *bytes_r);  /* 64KiB 10MiB 4096 */
void duration_print(uint64_t ms, struct buf *out);
void size_print(uint64_t bytes, struct buf *out);
