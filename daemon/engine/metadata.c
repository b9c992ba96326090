/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/metadata.h"

#include "engine/json.h"
#include "util/memory.h"

#include <errno.h>
#include <sodium.h>

#define FORMAT_NAME      "usbcrypt"
#define REQUIRES_MAX     16
#define EPOCHS_MAX       16
#define NAME_SIZE_MAX    64
#define MAC_SIZE         32
#define LINE_SIZE_MAX    (METADATA_SIZE - 2 * MAC_SIZE - 2)
#define MAC_INPUT_DOMAIN "usbcrypt drive.json" /* its NUL is not part of it */
#define SLOT_TYPE_NAME   "passphrase"
#define KDF_ALGORITHM    "argon2id"

Metadata *metadata_free(Metadata *metadata)
{
	if (!metadata)
		return NULL;
	cJSON_Delete(metadata->tree);
	free(metadata->line);
	return mfree(metadata);
}

static int compute_mac(const char *line, size_t size, const Secret *key, uint8_t mac[MAC_SIZE])
{
	crypto_generichash_state state;
	int r = -1;

	if (secret_size(key) == SUBKEY_SIZE)
		r = crypto_generichash_init(&state, secret_view(key), SUBKEY_SIZE, MAC_SIZE);
	if (r == 0) {
		crypto_generichash_update(
			&state, (const uint8_t *)MAC_INPUT_DOMAIN, strlen(MAC_INPUT_DOMAIN));
		crypto_generichash_update(&state, (const uint8_t *)line, size);
		crypto_generichash_final(&state, mac, MAC_SIZE);
	}
	secret_wipe(&state, sizeof(state));
	return r == 0 ? 0 : -EINVAL;
}

/* Line 1, line 2 and the padding, which is spaces up to the newline that ends the file. */
static int split(const uint8_t *bytes, size_t size, Metadata *m)
{
	const uint8_t *end, *p;

	if (size != METADATA_SIZE)
		return -EBADMSG;
	end = memchr(bytes, '\n', LINE_SIZE_MAX + 1);
	if (!end || end == bytes)
		return -EBADMSG;
	m->line_size = (size_t)(end - bytes);
	p = end + 1 + 2 * MAC_SIZE;
	if (!hex_decode((const char *)end + 1, m->mac, MAC_SIZE) || *p != '\n' || bytes[size - 1] != '\n')
		return -EBADMSG;
	while (++p < bytes + size - 1)
		if (*p != ' ')
			return -EBADMSG;
	m->line = malloc(m->line_size);
	if (!m->line)
		return -ENOMEM;
	memcpy(m->line, bytes, m->line_size);
	return 0;
}

/* The epochs the drive ever had, ascending, the current one among them. */
static int parse_epochs(const cJSON *json, uint32_t epoch)
{
	const cJSON *epochs, *item;
	double previous = 0;
	bool found = false;

	if (json_get_array(json, "epochs", 1, EPOCHS_MAX, &epochs) < 0)
		return -EBADMSG;
	cJSON_ArrayForEach (item, epochs) {
		if (!cJSON_IsNumber(item) || item->valuedouble <= previous ||
			item->valuedouble > (double)METADATA_NUMBER_MAX)
			return -EBADMSG;
		previous = item->valuedouble;
		found |= item->valuedouble == (double)epoch;
	}
	return found ? 0 : -EBADMSG;
}

/* 1: a slot of a known type, 0: of another, which is left alone. */
static int parse_slot(const cJSON *json, Slot *slot)
{
	const cJSON *kdf;
	const char *name;

	if (!cJSON_IsObject(json) || json_get_u32(json, "id", 1, METADATA_NUMBER_MAX, &slot->id) < 0 ||
		json_get_string(json, "type", NAME_SIZE_MAX, &name) < 0)
		return -EBADMSG;
	if (strcmp(name, SLOT_TYPE_NAME) != 0)
		return 0;
	slot->type = SLOT_PASSPHRASE;
	kdf = cJSON_GetObjectItemCaseSensitive(json, "kdf");
	if (!cJSON_IsObject(kdf) || json_get_string(kdf, "algorithm", NAME_SIZE_MAX, &name) < 0 ||
		strcmp(name, KDF_ALGORITHM) != 0 ||
		json_get_u64(kdf, "memory", KDF_MEMORY_MIN, KDF_MEMORY_MAX, &slot->kdf.memory) < 0 ||
		json_get_u32(kdf, "passes", KDF_PASSES_MIN, KDF_PASSES_MAX, &slot->kdf.passes) < 0 ||
		!kdf_parameters_are_valid(&slot->kdf) ||
		json_get_u32(json, "epoch", 1, METADATA_NUMBER_MAX, &slot->epoch) < 0 ||
		json_get_hex(json, "salt", slot->salt, sizeof(slot->salt)) < 0 ||
		json_get_hex(json, "commitment", slot->commitment, sizeof(slot->commitment)) < 0 ||
		json_get_hex(json, "wrapped", slot->wrapped, sizeof(slot->wrapped)) < 0)
		return -EBADMSG;
	return 1;
}

static int parse_slots(const cJSON *json, Metadata *m)
{
	uint32_t ids[METADATA_SLOTS_MAX];
	const cJSON *slots, *item;
	uint64_t cost = 0;
	size_t n = 0;

	if (json_get_array(json, "slots", 1, METADATA_SLOTS_MAX, &slots) < 0)
		return -EBADMSG;
	cJSON_ArrayForEach (item, slots) {
		Slot slot = {};
		int r = parse_slot(item, &slot);

		if (r < 0)
			return r;
		for (size_t i = 0; i < n; i++)
			if (ids[i] == slot.id)
				return -EBADMSG;
		ids[n++] = slot.id;
		if (r == 0)
			continue;
		cost += kdf_cost(&slot.kdf);
		m->slots[m->n_slots++] = slot;
	}
	return cost <= KDF_COST_SUM_MAX ? 0 : -EBADMSG;
}

/* No entry is known yet: whatever stands there asks for more than this version can do. */
static int parse_requires(const cJSON *json)
{
	const cJSON *requires, *item;

	if (json_get_array(json, "requires", 0, REQUIRES_MAX, &requires) < 0)
		return -EBADMSG;
	cJSON_ArrayForEach (item, requires) {
		const char *name = cJSON_GetStringValue(item);

		if (!name || !*name || strlen(name) > NAME_SIZE_MAX)
			return -EBADMSG;
	}
	return cJSON_GetArraySize(requires) == 0 ? 0 : -EOPNOTSUPP;
}

static int parse_line(Metadata *m)
{
	const cJSON *json;
	const char *name;
	cJSON *tree;
	int r;

	r = json_parse(m->line, m->line_size, &tree);
	if (r < 0)
		return r;
	m->tree = tree;
	json = tree;
	if (json_get_string(json, "format", NAME_SIZE_MAX, &name) < 0 || strcmp(name, FORMAT_NAME) != 0 ||
		json_get_u32(json, "version", 1, METADATA_NUMBER_MAX, &m->version) < 0)
		return -EBADMSG;
	/* What else another version says, only that version knows. */
	if (m->version != METADATA_VERSION)
		return -EOPNOTSUPP;
	r = parse_requires(json);
	if (r < 0)
		return r;
	if (json_get_u64(json, "generation", 1, UINT64_MAX - 1, &m->generation) < 0 ||
		json_get_hex(json, "drive", m->drive_id, sizeof(m->drive_id)) < 0 ||
		json_get_string(json, "suite", NAME_SIZE_MAX, &name) < 0 ||
		json_get_u32(json, "epoch", 1, METADATA_NUMBER_MAX, &m->epoch) < 0 ||
		!cJSON_IsObject(cJSON_GetObjectItemCaseSensitive(json, "policy")))
		return -EBADMSG;
	m->suite = suite_from_name(name);
	r = parse_epochs(json, m->epoch);
	return r < 0 ? r : parse_slots(json, m);
}

Outcome metadata_parse(const uint8_t *bytes, size_t size, Metadata **ret_metadata)
{
	_cleanup_metadata_ Metadata *m = NULL;
	int r;

	m = new0(Metadata, 1);
	if (!m)
		return OUTCOME_FAILED;
	r = split(bytes, size, m);
	if (r >= 0)
		r = parse_line(m);
	if (r >= 0 && crypto_generichash(m->digest, sizeof(m->digest), bytes, size, NULL, 0) != 0)
		r = -EINVAL;
	if (r == -EBADMSG)
		return OUTCOME_TAMPERED;
	if (r == -EOPNOTSUPP)
		return OUTCOME_UNSUPPORTED;
	if (r < 0)
		return OUTCOME_FAILED;
	*ret_metadata = TAKE_PTR(m);
	return OUTCOME_DONE;
}

bool metadata_verify(const Metadata *metadata, const Secret *metadata_mac)
{
	uint8_t mac[MAC_SIZE];

	return compute_mac(metadata->line, metadata->line_size, metadata_mac, mac) >= 0 &&
	       sodium_memcmp(mac, metadata->mac, sizeof(mac)) == 0;
}

static int print_slot(cJSON *json, const Slot *slot)
{
	cJSON *kdf = cJSON_CreateObject();
	int r = kdf ? 0 : -ENOMEM;

	if (r >= 0)
		r = json_set(kdf, "algorithm", cJSON_CreateString(KDF_ALGORITHM));
	if (r >= 0)
		r = json_set_u64(kdf, "memory", slot->kdf.memory);
	if (r >= 0)
		r = json_set(kdf, "passes", cJSON_CreateNumber(slot->kdf.passes));
	if (r >= 0)
		r = json_set(json, "id", cJSON_CreateNumber(slot->id));
	if (r >= 0)
		r = json_set(json, "type", cJSON_CreateString(SLOT_TYPE_NAME));
	if (r >= 0)
		r = json_set(json, "epoch", cJSON_CreateNumber(slot->epoch));
	if (r >= 0)
		r = json_set_hex(json, "salt", slot->salt, sizeof(slot->salt));
	if (r >= 0)
		r = json_set(json, "kdf", TAKE_PTR(kdf));
	if (r >= 0)
		r = json_set_hex(json, "commitment", slot->commitment, sizeof(slot->commitment));
	if (r >= 0)
		r = json_set_hex(json, "wrapped", slot->wrapped, sizeof(slot->wrapped));
	cJSON_Delete(kdf);
	return r;
}

int metadata_new(
	const uint8_t drive_id[DRIVE_ID_SIZE], Suite suite, const Slot *slot, Metadata **ret_metadata)
{
	_cleanup_metadata_ Metadata *m = NULL;
	_cleanup_json_ cJSON *json = NULL, *slots = NULL, *item = NULL;
	const int epochs[] = {(int)slot->epoch};
	int r;

	json = cJSON_CreateObject();
	slots = cJSON_CreateArray();
	item = cJSON_CreateObject();
	if (!json || !slots || !item)
		return -ENOMEM;

	r = json_set(json, "format", cJSON_CreateString(FORMAT_NAME));
	if (r >= 0)
		r = json_set(json, "version", cJSON_CreateNumber(METADATA_VERSION));
	if (r >= 0)
		r = json_set(json, "requires", cJSON_CreateArray());
	if (r >= 0)
		r = json_set_u64(json, "generation", 1);
	if (r >= 0)
		r = json_set_hex(json, "drive", drive_id, DRIVE_ID_SIZE);
	if (r >= 0)
		r = json_set(json, "suite", cJSON_CreateString(suite_name(suite)));
	if (r >= 0)
		r = json_set(json, "epoch", cJSON_CreateNumber(slot->epoch));
	if (r >= 0)
		r = json_set(json, "epochs", cJSON_CreateIntArray(epochs, 1));
	if (r >= 0)
		r = json_set(json, "policy", cJSON_CreateObject());
	if (r >= 0)
		r = print_slot(item, slot);
	if (r >= 0)
		r = cJSON_AddItemToArray(slots, item) ? 0 : -ENOMEM;
	if (r < 0)
		return r;
	item = NULL;
	r = json_set(json, "slots", TAKE_PTR(slots));
	if (r < 0)
		return r;

	m = new0(Metadata, 1);
	if (!m)
		return -ENOMEM;
	m->version = METADATA_VERSION;
	m->generation = 1;
	memcpy(m->drive_id, drive_id, DRIVE_ID_SIZE);
	m->suite = suite;
	m->epoch = slot->epoch;
	m->slots[0] = *slot;
	m->n_slots = 1;
	m->tree = TAKE_PTR(json);
	*ret_metadata = TAKE_PTR(m);
	return 0;
}

int metadata_replace_slot(Metadata *m, const Slot *slot)
{
	cJSON *item;

	for (size_t i = 0; i < m->n_slots; i++) {
		if (m->slots[i].id != slot->id)
			continue;
		cJSON_ArrayForEach (item, cJSON_GetObjectItemCaseSensitive(m->tree, "slots")) {
			uint32_t id;

			if (json_get_u32(item, "id", 1, METADATA_NUMBER_MAX, &id) >= 0 && id == slot->id) {
				m->slots[i] = *slot;
				return print_slot(item, slot);
			}
		}
	}
	return -ENOENT;
}

int metadata_format(
	Metadata *m, uint64_t generation, const Secret *metadata_mac, uint8_t bytes[METADATA_SIZE])
{
	_cleanup_free_ char *line = NULL;
	char hex[2 * MAC_SIZE + 1];
	uint8_t mac[MAC_SIZE];
	size_t size;
	int r;

	r = json_set_u64(m->tree, "generation", generation);
	if (r < 0)
		return r;
	m->generation = generation;
	line = cJSON_PrintUnformatted(m->tree);
	if (!line)
		return -ENOMEM;
	size = strlen(line);
	if (size > LINE_SIZE_MAX)
		return -EMSGSIZE;
	r = compute_mac(line, size, metadata_mac, mac);
	if (r < 0)
		return r;

	memset(bytes, ' ', METADATA_SIZE);
	memcpy(bytes, line, size);
	bytes[size] = '\n';
	memcpy(bytes + size + 1, sodium_bin2hex(hex, sizeof(hex), mac, sizeof(mac)), 2 * MAC_SIZE);
	bytes[size + 1 + 2 * MAC_SIZE] = '\n';
	bytes[METADATA_SIZE - 1] = '\n';
	return 0;
}
