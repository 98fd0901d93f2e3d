/* version - what this program is called. */
#pragma once

#define UMBRA_VERSION "0.1.0"
