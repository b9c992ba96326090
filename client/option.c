/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "option.h"

#include "text.h"
#include "util/escape.h"
#include "util/memory.h"
#include "verb.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#define TIMEOUT_MAX (366 * 24 * 3600 * USEC_PER_SEC)

const Option OPTION_TABLE[OPTION_MAX] = {
#define OPTION_ROW(constant, name, letter, value, help) [OPTION_##constant] = {name, letter, value, help},
	OPTIONS(OPTION_ROW)
#undef OPTION_ROW
};

static const char *const SUITES[] = {"xchacha20-poly1305", "chacha20-poly1305", "aes-256-gcm"};

/* A word of the command line as it may be shown: escaped, and not all of a megabyte. */
static char *quote(const char *word)
{
	return escape_bytes(word, MIN(strlen(word), (size_t)256), 60);
}

_printf_(3, 4) static int problem(char **ret_problem, const char *word, const char *format, ...)
{
	_cleanup_free_ char *quoted = NULL;
	_cleanup_free_ char *start = NULL;
	va_list ap;

	va_start(ap, format);
	start = text_format(format, ap);
	va_end(ap);
	if (!start)
		return -ENOMEM;
	if (!word) {
		*ret_problem = TAKE_PTR(start);
		return -EINVAL;
	}
	quoted = quote(word);
	if (!quoted || asprintf(ret_problem, "%s '%s'.", start, quoted) < 0) {
		*ret_problem = NULL;
		return -ENOMEM;
	}
	return -EINVAL;
}

static OptionId option_by_name(const char *name, size_t length)
{
	for (int i = 0; i < OPTION_MAX; i++)
		if (strlen(OPTION_TABLE[i].name) == length && memcmp(OPTION_TABLE[i].name, name, length) == 0)
			return (OptionId)i;
	return OPTION_INVALID;
}

static OptionId option_by_letter(char letter)
{
	for (int i = 0; i < OPTION_MAX; i++)
		if (OPTION_TABLE[i].letter && OPTION_TABLE[i].letter == letter)
			return (OptionId)i;
	return OPTION_INVALID;
}

/* "90s", "15min", "2h", "1d", "90": at least a second. */
static int parse_timeout(const char *text, uint64_t *ret)
{
	static const struct {
		const char *unit;
		uint64_t seconds;
	} units[] = {{"", 1}, {"s", 1}, {"sec", 1}, {"m", 60}, {"min", 60}, {"h", 3600}, {"d", 86400}};
	uint64_t number = 0;
	const char *p = text;

	if (!isdigit((unsigned char)*p))
		return -EINVAL;
	for (; isdigit((unsigned char)*p); p++) {
		number = number * 10 + (uint64_t)(*p - '0');
		if (number > TIMEOUT_MAX / USEC_PER_SEC)
			return -ERANGE;
	}
	for (size_t i = 0; i < ELEMENTSOF(units); i++) {
		if (strcmp(p, units[i].unit) != 0)
			continue;
		number *= units[i].seconds * USEC_PER_SEC;
		if (number == 0 || number > TIMEOUT_MAX)
			return -ERANGE;
		*ret = number;
		return 0;
	}
	return -EINVAL;
}

static int parse_fd(const char *text, int *ret)
{
	int number = 0;

	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	for (; isdigit((unsigned char)*text); text++) {
		number = number * 10 + (*text - '0');
		if (number > 1 << 20)
			return -EINVAL;
	}
	if (*text)
		return -EINVAL;
	*ret = number;
	return 0;
}

static int take_value(Arguments *a, OptionId id, const char *value, char **ret_problem)
{
	const char *name = OPTION_TABLE[id].name;

	if (id == OPTION_TIMEOUT && parse_timeout(value, &a->timeout) < 0)
		return problem(ret_problem, value,
			"--%s wants a time from 1s to 366d (as in 90s, 15min, 2h), not", name);
	if (id == OPTION_PASSPHRASE_FD && parse_fd(value, &a->passphrase_fd) < 0)
		return problem(ret_problem, value, "--%s wants the number of an open descriptor, not", name);
	if (id == OPTION_SUITE) {
		bool known = false;

		for (size_t i = 0; i < ELEMENTSOF(SUITES); i++)
			known = known || strcmp(value, SUITES[i]) == 0;
		if (!known)
			return problem(ret_problem, value,
				"--%s wants xchacha20-poly1305, chacha20-poly1305 or aes-256-gcm, not", name);
	}
	if (!*value)
		return problem(ret_problem, NULL, "--%s wants a value that is not empty.", name);
	a->values[id] = value;
	a->present |= OPTION_BIT(id);
	return 0;
}

/* Reads the option at argv[*index], and its value. */
static int parse_option(int argc, char **argv, int *index, Arguments *a, char **ret_problem)
{
	const char *word = argv[*index], *value = NULL;
	OptionId id;

	if (word[1] == '-') {
		const char *equals = strchr(word, '=');

		id = option_by_name(word + 2, equals ? (size_t)(equals - word - 2) : strlen(word + 2));
		value = equals ? equals + 1 : NULL;
	} else {
		id = word[2] ? OPTION_INVALID : option_by_letter(word[1]);
	}
	if (id == OPTION_INVALID)
		return problem(ret_problem, word, "There is no option");
	if (!OPTION_TABLE[id].value) {
		if (value)
			return problem(ret_problem, NULL, "--%s takes no value.", OPTION_TABLE[id].name);
		a->present |= OPTION_BIT(id);
		return 0;
	}
	if (!value) {
		if (*index + 1 >= argc)
			return problem(ret_problem, NULL, "--%s wants a value: --%s %s.",
				OPTION_TABLE[id].name, OPTION_TABLE[id].name, OPTION_TABLE[id].value);
		value = argv[++*index];
	}
	return take_value(a, id, value, ret_problem);
}

/* Options that are given must be the verb's, and go together. */
static int check(const Arguments *a, char **ret_problem)
{
	static const unsigned exclusive[] = {
		OPTION_BIT(OPTION_PASSPHRASE_FD) | OPTION_BIT(OPTION_PASSPHRASE_FILE),
		OPTION_BIT(OPTION_RESUME) | OPTION_BIT(OPTION_ROLLBACK) | OPTION_BIT(OPTION_SETTLE),
		OPTION_BIT(OPTION_TO) | OPTION_BIT(OPTION_UNVERIFIED_MEDIUM),
	};
	const Verb *verb = a->verb;

	for (int i = 0; i < OPTION_MAX; i++)
		if ((a->present & ~verb->options & ~VERB_OPTIONS_COMMON) & OPTION_BIT(i))
			return problem(ret_problem, NULL, "'usbctl %s' has no option --%s.", verb->name,
				OPTION_TABLE[i].name);
	for (size_t k = 0; k < ELEMENTSOF(exclusive); k++) {
		int first = -1;

		for (int i = 0; i < OPTION_MAX; i++) {
			if (!(a->present & exclusive[k] & OPTION_BIT(i)))
				continue;
			if (first >= 0)
				return problem(ret_problem, NULL, "--%s and --%s do not go together.",
					OPTION_TABLE[first].name, OPTION_TABLE[i].name);
			first = i;
		}
	}
	if (a->n_words < verb->words_min)
		return problem(ret_problem, NULL, "'usbctl %s' wants more: usbctl %s %s.", verb->name,
			verb->name, verb->words);
	if (a->n_words > verb->words_max)
		return problem(ret_problem, a->words[verb->words_max],
			"'usbctl %s' does not know what to do with", verb->name);
	if (arguments_has(a, OPTION_ALL) && a->n_words > 0)
		return problem(ret_problem, NULL, "--all and a DRIVE do not go together.");
	return 0;
}

int arguments_parse(int argc, char **argv, Arguments *arguments, char **ret_problem)
{
	bool options_end = false;
	int r;

	*ret_problem = NULL;
	/* Known from the first word on, so that also a problem with an earlier word is told as asked for. */
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (strcmp(argv[i], "--json") == 0)
			arguments->present |= OPTION_BIT(OPTION_JSON);

	arguments->words = new0(char *, (size_t)MAX(argc, 1));
	if (!arguments->words)
		return -ENOMEM;
	for (int i = 1; i < argc; i++) {
		char *word = argv[i];

		if (!options_end && strcmp(word, "--") == 0) {
			options_end = true;
		} else if (!options_end && word[0] == '-' && word[1]) {
			r = parse_option(argc, argv, &i, arguments, ret_problem);
			if (r < 0)
				return r;
		} else if (!arguments->verb) {
			arguments->verb = verb_by_name(word);
			if (!arguments->verb)
				return problem(ret_problem, word, "There is no verb");
		} else {
			arguments->words[arguments->n_words++] = word;
		}
	}
	if (arguments_has(arguments, OPTION_HELP) || arguments_has(arguments, OPTION_VERSION))
		return 0;
	if (!arguments->verb)
		return problem(ret_problem, NULL, "What is to be done? A verb is missing.");
	return check(arguments, ret_problem);
}

void arguments_clear(Arguments *arguments)
{
	arguments->words = mfree(arguments->words);
}
