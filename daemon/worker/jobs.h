/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The kinds of jobs, each run inside the sandbox. They fill in worker->result's counts and message and return
 * its outcome. */

#include "worker/worker.h"

Outcome job_probe(Worker *worker);    /* probe.c */
Outcome job_enroll(Worker *worker);   /* enroll.c */
Outcome job_unenroll(Worker *worker); /* unenroll.c */
Outcome job_unlock(Worker *worker);   /* unlock.c */
Outcome job_transact(Worker *worker); /* transact.c: survey, encrypt, decrypt, verify, recover */
