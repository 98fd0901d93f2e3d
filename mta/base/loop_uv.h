/* loop_uv - for the few files above that must give libuv a handle. */
#pragma once

#include <uv.h>

struct loop;
uv_loop_t *loop_uv(struct loop *l);
