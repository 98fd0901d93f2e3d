/* user - the users of this machine.
 *
 * Looking a name up may ask a directory over the network: it blocks, so it is
 * done on a pool thread (loop_work).
 */
#pragma once

#include <stdint.h>

enum { USER_NAME = 64 };

/* The name of a user id; "" when it has none, or when it is too long. */
void user_name(uint32_t uid, char name_r[static USER_NAME]);
uint32_t user_self(void); /* who this process is */
