/* loop_uv - for the few files above that must give libuv a handle. */
#pragma once

#include <uv.h>

struct loop;
uv_loop_t *loop_uv(struct loop *l);
/* Of a loop that does not run: now and wall are as of this call. */
void loop_uv_read_clocks(struct loop *l);
/* One turn of it, which waits for nothing. */
void loop_uv_turn(struct loop *l);
