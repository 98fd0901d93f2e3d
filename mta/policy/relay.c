/* relay - may this client send to this recipient? */
#include "mta/policy/relay.h"

#include "mta/conf/conf.h"

struct outcome policy_recipient(
	unsigned permissions, const struct address *to, int accepted)
{
	if (permissions & PERM_RELAY)
		return (struct outcome){0};
	if (!(permissions & PERM_SUBMIT))
		return OUTCOME(550, 5, 7, 1, "this connector takes no mail");
	if (to->flags & ADDRESS_LITERAL)
		return OUTCOME(
			550, 5, 7, 1, "relaying to an address literal denied");
	if (!accepted)
		return OUTCOME(550, 5, 7, 1, "relaying denied");
	if (address_local_routes(to->local))
		return OUTCOME(550, 5, 7, 1,
			"relaying denied (routing characters in local part)");
	return (struct outcome){0};
}
