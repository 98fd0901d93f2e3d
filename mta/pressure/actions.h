/* actions - what is off while a meter is at a level: one table. Pure. */
#pragma once

#include "mta/conf/conf_meters.h"
#include "mta/pressure/level.h"

/* The bits (enum pressure_action) of a meter that stands so. */
unsigned actions_of(
	enum meter_id m, const struct level *l, const struct thresholds *t);
