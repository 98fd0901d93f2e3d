/* relay - may this client send to this recipient?
 *
 * The address that is judged here is the parsed one that is routed later,
 * byte for byte (T16). With `submit` alone only accepted domains are taken,
 * and no local part that asks the next hop to route further.
 */
#pragma once

#include "mta/smtp/address.h"
#include "mta/smtp/outcome.h"

/* permissions: bits of enum permission; accepted: the domain is ours.
 * code 0: yes. */
struct outcome policy_recipient(
	unsigned permissions, const struct address *to, int accepted);
