#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Takes one safeguard of the engine away at a time, in a copy, and looks whether the crash states notice.

    tests/crash/mutants.py --build BUILD --cc "CC CFLAGS" --link "LDFLAGS LIBS" [--only NAME] [--jobs N]

Each mutant is one file of daemon/engine with some text replaced; it is compiled, linked with the rest of
BUILD's objects and run over a few scenarios until the first violation. Prints a table, and exits 1 when a mutant
survives that is not expected to, or does not apply any more.
"""

import argparse
import concurrent.futures
import os
import pathlib
import re
import shlex
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
ENGINE = ROOT / "daemon/engine"

# Those that kill most mutants come first.
SCENARIOS = [
    "encrypt.one.roomy.short.3.resume", "noscrub.one.full.short.3.resume", "decrypt.one.roomy.short.3.resume",
    "decrypt.one.full.long.1.resume", "encrypt.two.full.long.2.rollback", "noscrub.two.full.short.2.rollback",
    "decrypt.two.full.short.3.rollback", "encrypt.one.roomy.long.1.resume", "noscrub.one.roomy.short.1.resume",
    "first.one.roomy.short.1.resume", "encrypt.one.roomy.long.2.resume",
    "first.one.roomy.long.1.resume", "growing.one.roomy.short.2.resume", "growing.one.full.long.2.resume",
]

BARRIER = "		r = volume->vfs->barrier(volume->vfs, volume->root_fd);\n	/* A record that"
SKIP_IF = ("		r = (%s) ? 0 : volume->vfs->barrier(volume->vfs, volume->root_fd);\n	/* A record that")

RETIRED = ("rounds.c", "	r = journal_begin(rounds->journal, &rounds->head);\n	if (r >= 0)\n		r = record_list(rounds, JOURNAL_RETIRED, &rounds->retired);\n",
           "	r = journal_begin(rounds->journal, &rounds->head);\n")
ABORTED = ("rounds.c", "	if (r >= 0)\n		r = record_list(rounds, JOURNAL_ABORTED, &rounds->aborted);\n", "")
WHILE_READ = ("replacement.c", "	if (r >= 0 && !unchanged(&now, &replacement->source))\n		r = -ESTALE;\n	return r;", "	return r;")
EDITED_PLAIN = ("replacement.c", "	if (edited) {", "	if (false) {")
BEFORE_IT_GOES = ("replacement-release.c", "	if (r < 0 || !unchanged(&now, &replacement->source)) {", "	if (r < 0) {")
UNLINK_FIRST = ("rounds.c", "	r = round_write(rounds);\n", "	r = round_unlink(rounds);\n	if (r >= 0)\n		r = round_write(rounds);\n")
CLOSED_AT_ONCE = ("rounds.c", "		if (item->state != REPLACEMENT_UNLINKED)\n			continue;\n		run_count(",
                  "		if (item->state != REPLACEMENT_UNLINKED)\n			continue;\n		if (item->source_fd >= 0)\n"
                  "			run->volume->vfs->close(run->volume->vfs, item->source_fd);\n		rounds->retired.items[i]->source_fd = -1;\n		run_count(")
BEFORE_A_RUN = ("transaction.c", "	if (latest && !run->options->dry_run)\n		r = volume->vfs->barrier(volume->vfs, volume->root_fd);\n", "")
BEFORE_FIRST_RECORD = ("journal.c",
                       "		r = vfs->barrier(vfs, root_fd);\n	if (r >= 0)\n		r = journal_new(vfs, root_fd, mac_key, drive_id, pair, &journal);\n	if (r >= 0)\n		r = open_files",
                       "		r = 0;\n	if (r >= 0)\n		r = journal_new(vfs, root_fd, mac_key, drive_id, pair, &journal);\n	if (r >= 0)\n		r = open_files")
FIRST = ("recovery.c", "	r = volume->vfs->barrier(volume->vfs, volume->root_fd);\n	if (r >= 0)\n		r = journal_open", "	r = 0;\n	if (r >= 0)\n		r = journal_open")
AFTER_CLOSED = ("recovery.c", "	if (r >= 0)\n		r = volume->vfs->barrier(volume->vfs, volume->root_fd);\n	return r < 0 ? r : pending;",
                "	return r < 0 ? r : pending;")
LOOK_FIRST = ("recovery.c", "	outcome = run_check_volume(run, VOLUME_ALWAYS, VOLUME_TORN);", "	outcome = OUTCOME_DONE;")
LOOK_AGAIN = ("transaction.c", "	if (outcome == OUTCOME_DONE)\n		outcome = run_check_volume(", "	if (false)\n		outcome = run_check_volume(")
BEGINS = "a run begins with a barrier of its own, so that no record takes the place of the only durable one"
ORDER = "whichever of the two is first, nothing is allocated while unlinked sources are held"

# name, file, [(old, new) or (file, old, new)...], None: it must not survive; or why it may, and the mutant that
# takes away as well what makes it needless: that one must not.
MUTANTS = [
    ("no barrier after R0", "rounds.c",
     [(BARRIER, SKIP_IF % "!rounds->sealed.n && !rounds->scrubbing.n && !rounds->retired.n")], None),
    ("no barrier while a batch is sealed", "rounds.c", [(BARRIER, SKIP_IF % "rounds->sealed.n")], None),
    ("no barrier while a batch is scrubbed", "rounds.c", [(BARRIER, SKIP_IF % "rounds->scrubbing.n")], None),
    ("no barrier while a batch is unlinked", "rounds.c", [(BARRIER, SKIP_IF % "rounds->retired.n")], None),
    ("no barrier at all", "rounds.c", [(BARRIER, SKIP_IF % "true")], None),
    ("no barrier after closed", "rounds.c",
     [("	if (r >= 0)\n		r = volume->vfs->barrier(volume->vfs, volume->root_fd);\n	return r;\n}\n\nstatic int rounds_init",
       "	return r;\n}\n\nstatic int rounds_init")],
     None),
    ("sources unlinked in the round that scrubs them", "rounds.c",
     [("	pool_run(rounds->pool, rounds->retired.n, task_unlink, rounds);",
       "	pool_run(rounds->pool, rounds->scrubbing.n, task_unlink, rounds);"),
      ("	Replacement *item = rounds->retired.items[i];\n	bool scrubbed", "	Replacement *item = rounds->scrubbing.items[i];\n	bool scrubbed")], None),
    ("sources closed before the barrier", "rounds.c",
     [("	r = journal_begin(rounds->journal, &rounds->head);\n	if (r >= 0)\n		r = record_list(rounds, JOURNAL_RETIRED",
       "	for (size_t i = 0; i < rounds->retired.n; i++)\n		if (rounds->retired.items[i]->source_fd >= 0) {\n"
       "			volume->vfs->close(volume->vfs, rounds->retired.items[i]->source_fd);\n"
       "			rounds->retired.items[i]->source_fd = -1;\n		}\n"
       "	r = journal_begin(rounds->journal, &rounds->head);\n	if (r >= 0)\n		r = record_list(rounds, JOURNAL_RETIRED")], None),
    ("unlink before write", "rounds.c", [UNLINK_FIRST], (ORDER, "unlink before write, nothing held")),
    ("unlink before write, nothing held", "rounds.c", [UNLINK_FIRST, CLOSED_AT_ONCE], None),
    ("record before write", "rounds.c",
     [("	if (r >= 0)\n		r = journal_write(rounds->journal);\n	if (r >= 0)\n		r = volume->vfs->barrier(volume->vfs, volume->root_fd);\n	/* A record",
       "	if (r >= 0)\n		r = volume->vfs->barrier(volume->vfs, volume->root_fd);\n	if (r >= 0)\n		r = journal_write(rounds->journal);\n	/* A record")], None),
    ("records without intents", "rounds.c",
     [("	if (r >= 0)\n		r = record_list(rounds, JOURNAL_INTENT, &rounds->next);\n", "")], None),
    ("records without sealed", "rounds.c",
     [("	if (r >= 0)\n		r = record_list(rounds, JOURNAL_SEALED, &rounds->sealed);\n", "")], None),
    ("records without scrubbing", "rounds.c",
     [("	if (r >= 0)\n		r = record_list(rounds, JOURNAL_SCRUBBING, &rounds->scrubbing);\n", "")], None),
    ("records without retired", "rounds.c", [RETIRED], None),
    ("records without aborted", "rounds.c", [ABORTED], None),
    ("no last rounds", "rounds.c",
     [("	return rounds->sealed.n == 0 && rounds->scrubbing.n == 0 && rounds->retired.n == 0;",
       "	return rounds->sealed.n == 0 && rounds->scrubbing.n == 0;")], None),
    ("one last round too few", "rounds.c",
     [("	return rounds->sealed.n == 0 && rounds->scrubbing.n == 0 && rounds->retired.n == 0;",
       "	return rounds->sealed.n == 0;")], None),
    ("no scrub", "rounds.c", [("	if (!rounds->run->context.scrub)\n		return 0;", "	return 0;")], None),
    ("records not read back", "rounds.c", [("		r = journal_check(rounds->journal, r);", "		r = 0;")], None),
    ("one journal file", "journal.c",
     [("journal->fds[sequence % 2]", "journal->fds[0]"), ("file_paths[journal->pair][journal->sequence % 2]", "file_paths[journal->pair][0]")], None),
    ("a journal that was cut short is used", "journal.c", [("		if (a > 0 || b > 0) {", "		if (a >= 0 || b >= 0) {")], None),
    ("a journal that was cut short is removed", "journal.c",
     [("			if (r >= 0)\n				free_from = pair + 1;", "			if (r >= 0)\n				(void)vfs->unlink(vfs, root_fd, file_paths[pair][i], false);")], None),
    ("a journal's head is read on", "journal.c", [("MIN(MAX((size_t)fs.f_bsize, (size_t)512), HEAD_SIZE)", "HEAD_SIZE")], None),
    ("the first journal that has a record", "journal.c",
     [("	for (unsigned pair = ELEMENTSOF(file_paths); pair-- > 0;) {", "	for (unsigned pair = 0; pair < ELEMENTSOF(file_paths); pair++) {")], None),
    ("no barrier before the first record", "journal.c", [BEFORE_FIRST_RECORD],
     ("what make_file() has made is forced out by its own fsync()", "nothing forces the journal out before the first record")),
    ("nothing forces the journal out before the first record", "journal.c",
     [BEFORE_FIRST_RECORD, ("		r = vfs->fsync(vfs, fd);\n	vfs->close(vfs, fd);\n", "		r = 0;\n	vfs->close(vfs, fd);\n")], None),
    ("no look at the allocation before a recovery", "recovery.c", [LOOK_FIRST],
     ("settling allocates nothing, and what follows looks for itself", "no look at the allocation")),
    ("no look at the allocation before what follows", "transaction.c", [LOOK_AGAIN],
     ("what is torn here is gone once it was settled", "no look at the allocation")),
    ("no look at the allocation", "recovery.c", [LOOK_FIRST, LOOK_AGAIN], None),
    ("a tiny file's scrub not recognised", "classify.c",
     [("		if (r == SCRUB_SOME || (r == SCRUB_PERHAPS && !c->learned &&", "		if (r == SCRUB_SOME || (false && r == SCRUB_PERHAPS && !c->learned &&")], None),
    ("no read-back", "replacement.c", [("	if (!context->verify) {", "	if (context->verify || true) {")], None),
    ("read-back from the cache", "replacement.c",
     [("O_RDONLY | O_NOFOLLOW | O_NOATIME | context->medium_flags, 0);", "O_RDONLY | O_NOFOLLOW | O_NOATIME, 0);"),
      ("stream.in_direct = context->medium_flags != 0;", "stream.in_direct = false;")], None),
    ("content not compared", "replacement.c",
     [("	if (r >= 0 && memcmp(stream.content_tag, replacement->entry.content_tag, CONTENT_TAG_SIZE) != 0)\n		r = -EBADMSG;\n	/* It bears", "	/* It bears")], None),
    ("no O_EXCL", "replacement.c", [("O_CREAT | O_EXCL, mode", "O_CREAT, mode")], None),
    ("a source changed while it is read", "replacement.c", [WHILE_READ],
     ("the same is asked again before the scrub and before the unlink", "a source changed, whenever")),
    ("a source changed before it goes", "replacement-release.c", [BEFORE_IT_GOES], None),
    ("a source changed, whenever", "replacement.c", [WHILE_READ, BEFORE_IT_GOES], None),
    ("no lease", "replacement-release.c",
     [("	r = vfs->lease(vfs, replacement->source_fd);\n	replacement->leased = r >= 0;", "	r = 0;\n	replacement->leased = true;"),
      ("	if (replacement->leased && !vfs->lease_holds(vfs, replacement->source_fd)) {", "	if (false) {")], None),
    ("a lease that is refused", "replacement-release.c", [("	if (r == -EAGAIN || r == -EBUSY) {", "	if (false) {")], None),
    ("a lease that is broken", "replacement-release.c",
     [("	if (replacement->leased && !vfs->lease_holds(vfs, replacement->source_fd)) {", "	if (false) {")], None),
    ("no leases, not read once more", "replacement-release.c",
     [("	if (replacement->leased || !workspace || context->recovering)\n		return true;", "	return true;")], None),
    ("another file in the source's place", "replacement-release.c",
     [("	if (r >= 0 && !same_file(&held, &named)) {\n		/* Somebody", "	if (false) {\n		/* Somebody")], None),
    ("an edited new plaintext", "replacement.c", [EDITED_PLAIN],
     ("one whose time has changed is not taken away, whatever made it fail", "an edited new plaintext, either way")),
    ("an edited new plaintext, either way", "replacement.c",
     [EDITED_PLAIN, ("replacement-release.c", "	if (r >= 0 && replacement_is_edited(context, replacement, &named)) {", "	if (false) {")], None),
    ("abandoned file not held", "replacement-release.c",
     [("	if (r == -ENOENT || r == -ELOOP) /* gone, or", "	replacement_close(context, replacement);\n	if (r == -ENOENT || r == -ELOOP) /* gone, or")], None),
    ("scrub with zeros", "scrub.c",
     [("	(void)crypto_stream_chacha20_xor_ic(ret, ret, size, nonce, offset / 64, key->bytes);", "	(void)nonce, (void)offset, (void)key;")], None),
    ("scrub up to the file's end only", "scrub.c",
     [("		.end = (size + cluster - 1) / cluster * cluster,", "		.end = size,")], None),
    ("no barrier before a run", "transaction.c", [BEFORE_A_RUN], None),
    ("recovery: no barrier first", "recovery.c", [FIRST], (BEGINS, "recovery: no barrier first, nor before a run")),
    ("recovery: no barrier first, nor before a run", "recovery.c", [FIRST, BEFORE_A_RUN], None),
    ("recovery: no barrier after its scrub", "recovery.c",
     [("	r = write_promotions(recovery);\n	if (r >= 0)\n		r = volume->vfs->barrier(volume->vfs, volume->root_fd);\n	if (r < 0)\n		return r;\n\n	for", "	r = write_promotions(recovery);\n	if (r < 0)\n		return r;\n\n	for")], None),
    ("recovery: no barrier before closed", "recovery.c",
     [("			run_count(run, COUNT_SETTLED, 1);\n	}\n	return volume->vfs->barrier(volume->vfs, volume->root_fd);",
       "			run_count(run, COUNT_SETTLED, 1);\n	}\n	return 0;")], None),
    ("recovery: no barrier after closed", "recovery.c", [AFTER_CLOSED], (BEGINS, "recovery: no barrier after closed, nor before a run")),
    ("recovery: no barrier after closed, nor before a run", "recovery.c", [AFTER_CLOSED, BEFORE_A_RUN], None),
    ("recovery: closes before its barrier", "recovery.c",
     [("		if (finding->action == ACTION_FINISH || finding->action == ACTION_DROP_NEW)\n			run_count",
       "		finding->replacement = replacement_free(finding->replacement);\n"
       "		if (finding->action == ACTION_FINISH || finding->action == ACTION_DROP_NEW)\n			run_count")],
     None),
    ("recovery: readable means trusted", "recovery.c",
     [("		{JOURNAL_SEALED, false},", "		{JOURNAL_SEALED, true},")], None),
    ("recovery: nothing is trusted", "recovery.c",
     [("		{JOURNAL_SCRUBBING, true},\n		{JOURNAL_RETIRED, true},", "		{JOURNAL_SCRUBBING, false},\n		{JOURNAL_RETIRED, false},")], None),
    ("recovery: no promotion by the pattern", "classify.c",
     [("			c->finding->trusted = c->finding->promoted = true;\n		} else if (r < 0)", "			;\n		} else if (r < 0)")], None),
    ("recovery: a promotion is not recorded", "recovery.c",
     [("			return write_findings(recovery, 0, false);", "			return 0;")], None),
    ("a scrubbed source bears no mark", "replacement-release.c",
     [("	if (context->unordered)\n		(void)volume->vfs->chmod(\n			volume->vfs, replacement->source_fd, replacement->source.st_mode & 07555);\n", "")], None),
    ("a new plaintext bears no mark", "replacement.c",
     [("	if (r >= 0 && context->unordered)\n		(void)vfs->chmod(vfs, replacement->new_fd, made.st_mode & 07555);\n", "")], None),
    ("recovery: a source's size and time are not put back", "classify.c",
     [("	c->finding->restore =\n		c->run->context.scrub &&", "	c->finding->restore =\n		false && c->run->context.scrub &&")], None),
    ("recovery: source by size and time alone", "classify.c",
     [("	if (!c->scrub_key && !form_is_as_recorded(", "	if (!form_is_as_recorded("),
      ("	if (c->scrub_key && !c->learned && plain_is_whole(c, &c->source, entry->size) <= 0)\n		return false;\n	if (c->scrub_key && tail_is_ours(c) <= 0)\n		return false;", "")], None),
    ("recovery: a run follows an unreadable record", "recovery.c", [(" && !recovery.run.doubtful", "")], None),
    ("recovery: closed before what follows", "recovery.c",
     [("pending ? 0 : followed ? JOURNAL_SETTLED : JOURNAL_CLOSED", "pending ? 0 : JOURNAL_CLOSED")], None),
    ("recovery: settled is not closed", "recovery.c",
     [("	latest->flags = (latest->flags & ~(unsigned)JOURNAL_SETTLED) | JOURNAL_CLOSED;", "	return 0;")], None),
    ("recovery: an unreadable record hides nothing", "recovery.c",
     [("	run->doubtful = journal_unreadable(recovery->journal);", "	run->doubtful = false;")], None),
    ("recovery: new file not checked", "classify.c",
     [("	} else if (!cipher_is_whole(c, &c->new)) {\n		/* An intact", "	} else if (!c->new.present) {\n		/* An intact")], None),
    ("recovery: source not compared", "classify.c",
     [("		r = compare_forms(c, &c->new);\n		if (r >= 0)", "		r = 0;\n		if (r >= 0)")], None),
    ("recovery: plaintext not compared", "classify.c",
     [("	else if ((r = plain_is_as_written(c)) > 0)", "	else if ((r = 1) > 0)")], None),
    ("recovery: encrypted form not checked", "classify.c",
     [("	else if (!cipher_is_whole(c, &c->source))\n		decide(c, ACTION_KEEP, REASON_MEDIUM_FAILED);\n", "")], None),
    ("recovery: a source edited since it was looked at", "replacement.c",
     [("!replacement->mode_lent && !unchanged(&st, &replacement->source)", "false")], None),
    ("recovery: a new file edited since it was looked at", "replacement-release.c",
     [("	if (r >= 0 && replacement->seen && !unchanged(&named, &replacement->found_new))\n		return -ESTALE;\n", "")], None),
    ("recovery: an abandoned file's alias not looked for", "classify-stray.c",
     [("		if (!c->source.present || c->run->context.scrub)\n			return false;", "		if (true)\n			return false;")], None),
    ("recovery: edited source dropped for", "classify.c",
     [("		decide(c, ACTION_KEEP, REASON_EDITED);\n}\n\nstatic void decide_encrypt_trusted", "		decide(c, ACTION_FINISH, REASON_EDITED);\n}\n\nstatic void decide_encrypt_trusted")], None),
    ("recovery: no look for strays", "classify-stray.c", [("	r = strays_load(c->strays, vfs, c->directory);", "	r = 0;")], None),
    ("recovery: a torn new file with another's head left", "classify-stray.c",
     [("	return strcmp(path, c->finding->entry->path) == 0 || (c->finding->leftover && is_redundant(c, path));",
       "	return strcmp(path, c->finding->entry->path) == 0;")], None),
    ("recovery: a torn new file that is another's taken", "classify-stray.c",
     [("	if (c->finding->leftover || is_as_anothers(c, false))", "	if (c->finding->leftover)")], None),
    ("recovery: what is left over of torn names stays", "recovery.c",
     [("recovery->run.context.unordered && i < n && r >= 0; i++)", "false && i < n && r >= 0; i++)")], None),
    ("recovery: torn new file left", "classify.c",
     [("		decide(c, ACTION_DROP_NEW, REASON_INVALID);\n	else\n		decide(c, ACTION_KEEP, REASON_EDITED);\n}\n\nstatic void decide_encrypt_trusted",
       "		decide(c, ACTION_NONE, REASON_INVALID);\n	else\n		decide(c, ACTION_KEEP, REASON_EDITED);\n}\n\nstatic void decide_encrypt_trusted")], None),
]


def flatten(text):
    """Text with its white space made uniform, so that a formatter does not unmake a mutant; and where each
    character came from."""
    flat, origin = [], []
    for i, c in enumerate(text):
        if c.isspace():
            if flat and flat[-1] != " ":
                flat.append(" ")
                origin.append(i)
        else:
            flat.append(c)
            origin.append(i)
    return "".join(flat), origin


def mutate(text, edits):
    for old, new in edits:
        flat, origin = flatten(text)
        wanted = flatten(old)[0].strip()
        at = flat.find(wanted)
        if at < 0 or flat.find(wanted, at + 1) >= 0:
            raise ValueError(f"{'not found' if at < 0 else 'ambiguous'}: {old.strip().splitlines()[0].strip()}")
        text = text[:origin[at]] + new.strip() + text[origin[at + len(wanted) - 1] + 1:]
    return text


def judge(mutant, args, objects):
    name, first, edits, excuse = mutant
    folder = args.build / "mutants" / re.sub(r"\W+", "-", name)
    folder.mkdir(parents=True, exist_ok=True)
    edits = [edit if len(edit) == 3 else (first, *edit) for edit in edits]
    program, others, mutants = folder / "crash", list(objects), []
    for file in dict.fromkeys(edit[0] for edit in edits):
        try:
            source = mutate((ENGINE / file).read_text(), [edit[1:] for edit in edits if edit[0] == file])
        except ValueError as error:
            return name, None, f"does not apply: {error}"
        (folder / file).write_text(source)
        compiled = subprocess.run([*shlex.split(args.cc), "-w", "-c", "-o", folder / f"{file}.o", folder / file],
                                  cwd=ROOT, capture_output=True, text=True)
        if compiled.returncode:
            return name, None, "does not compile: " + compiled.stderr.strip().splitlines()[0]
        mutants.append(folder / f"{file}.o")
        others = [o for o in others if not o.endswith(f"daemon/engine/{file.removesuffix('.c')}.o")]
    subprocess.run([*shlex.split(args.cc), "-o", program, *mutants, *others, *shlex.split(args.link)],
                   cwd=ROOT, check=True)
    states = 0
    for scenario in SCENARIOS:
        run = subprocess.run([program, "--first", "--only", scenario], capture_output=True, text=True)
        if found := re.search(r"VIOLATION (.*)\n  replay: crash --replay (.*)", run.stdout):
            return name, True, f"{found[2]}: {found[1]}"
        if run.returncode:
            return name, True, f"{scenario}: ended with {run.returncode}"
        states += int(re.search(r"crash states: (\d+)", run.stdout)[1])
    return name, False, f"{excuse[0] if excuse else 'SURVIVED'} ({states} states)"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, required=True)
    parser.add_argument("--cc", required=True)
    parser.add_argument("--link", required=True)
    parser.add_argument("--only")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("objects", nargs="+")
    args = parser.parse_args()
    args.build = args.build.resolve()

    mutants = [m for m in MUTANTS if not args.only or args.only in m[0]]
    verdicts = {}
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        # Those that may survive take longest: they come last.
        runs = [pool.submit(judge, m, args, args.objects) for m in sorted(mutants, key=lambda m: bool(m[3]))]
        for run in concurrent.futures.as_completed(runs):
            name, dead, how = run.result()
            verdicts[name] = dead
            print(f"{name:<48} {'killed by' if dead else 'survives:' if dead is False else 'ERROR'} {how}", flush=True)
    # A needless one is proven by a mutant that lacks as well what makes it so.
    needless = [m for m in mutants if verdicts[m[0]] is False and m[3]]
    proven = [m for m in needless if verdicts.get(m[3][1], args.only)]
    for m in needless:
        print(f"{m[0]}: {'shown' if m in proven else 'NOT SHOWN'} to be needless by \"{m[3][1]}\"")
    killed = sum(dead is True for dead in verdicts.values())
    failed = len(mutants) - killed - len(proven)
    print(f"mutants: {killed} killed, {len(proven)} needless, {failed} not accounted for")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
