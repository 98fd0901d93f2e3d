/* sim_disk_private - what sim_store.c and sim_disk.c share. */
#pragma once

#include "tests/sim/sim_store.h"

enum { SIM_DISK_MAGIC = 0xd15c };

struct sim_record {
	struct map_node node;
	uint64_t id;
	char *env, *status;
	size_t env_n, status_n;
	struct blob *body;
	int aside;
};

struct sim_note {
	struct map_node node;
	char *key, *p;
	size_t n;
};

struct sim_file {
	struct map_node node;
	uint64_t id;
	char *p;
	size_t n, cap;
	int finished;
};

struct sim_disk *sim_store_disk(struct store *s);
struct span disk_key(const uint64_t *id);
struct sim_record *disk_record(const struct sim_disk *d, uint64_t id);
struct sim_file *disk_file(const struct sim_disk *d, uint64_t id);
struct sim_note *disk_note(const struct sim_disk *d, struct span key);
void disk_record_del(struct sim_disk *d, struct sim_record *r);
void disk_file_del(struct sim_disk *d, struct sim_file *f);
void disk_note_set(struct sim_disk *d, struct span key, struct span v);
void disk_set(char **p, size_t *n, struct span s);
