# SPDX-License-Identifier: LGPL-2.1-or-later
"""The host's end of the channel to the agent in a machine."""

import base64
import concurrent.futures
import itertools
import json
import os
import socket
import sys
import threading
import time


TRACE = bool(os.environ.get("VM_TRACE"))  # how long each request takes, on standard error


class AgentError(Exception):
    pass


class Done:
    """How a program in the machine ended."""

    def __init__(self, arguments, result):
        self.arguments, self.code, self.late = arguments, result["code"], result["late"]
        self.out = base64.b64decode(result["out"]).decode(errors="surrogateescape")
        self.err = base64.b64decode(result["err"]).decode(errors="surrogateescape")

    def check(self):
        if self.code or self.late:
            raise AgentError(str(self))
        return self

    def __str__(self):
        return (f"{self.arguments}: exit {self.code}{', took too long' if self.late else ''}\n"
                f"{self.out}{self.err}")


class Agent:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(path))
        self.lock = threading.Lock()
        self.pending = {}
        self.numbers = itertools.count(1)
        self.lost = None
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        buffer = b""
        try:
            while data := self.socket.recv(1 << 20):
                buffer += data
                *lines, buffer = buffer.split(b"\n")
                for line in lines:
                    self.settle(line)
        except (OSError, ValueError):
            pass
        with self.lock:
            self.lost = AgentError("the machine is gone")
            pending, self.pending = self.pending, {}
        for future in pending.values():
            future.set_exception(self.lost)

    def settle(self, line):
        answer = json.loads(line)
        with self.lock:
            future = self.pending.pop(answer["id"], None)
        if future is None:
            return
        if "error" in answer:
            future.set_exception(AgentError(answer["error"]))
        else:
            future.set_result(answer["result"])

    def begin(self, do, **arguments):
        """Sends a request; returns a Future of its result."""
        future = concurrent.futures.Future()
        with self.lock:
            if self.lost:
                raise self.lost
            number = next(self.numbers)
            self.pending[number] = future
            if TRACE:
                begun = time.monotonic()
                what = do if do != "call" else arguments["function"]
                if do == "run":
                    what = " ".join(base64.b64decode(word).decode()[:40] for word in arguments["arguments"][:2])
                future.add_done_callback(
                    lambda _: print(f"{time.monotonic() - begun:7.2f} s {what}", file=sys.stderr, flush=True))
            self.socket.sendall(json.dumps({"id": number, "do": do, **arguments}).encode() + b"\n")
        return future

    # ---- programs

    def start(self, arguments, user=None, input=None, timeout=120, **options):
        """Starts a program; returns a Future of Done."""
        words = [base64.b64encode(os.fsencode(word)).decode() for word in arguments]
        if input is not None:
            options["input"] = base64.b64encode(os.fsencode(input)).decode()
        begun = self.begin("run", arguments=words, user=user, timeout=timeout, **options)
        done = concurrent.futures.Future()

        def finish(future):
            if future.exception():
                done.set_exception(future.exception())
            else:
                done.set_result(Done(arguments, future.result()))

        begun.add_done_callback(finish)
        return done

    def run(self, arguments, check=True, timeout=120, **options):
        done = self.start(arguments, timeout=timeout, **options).result(timeout + 60)
        return done.check() if check else done

    def shell(self, script, *arguments, **options):
        return self.run(["/bin/sh", "-euc", script, "sh", *arguments], **options)

    # ---- functions.py

    def call(self, function, *arguments, timeout=180):
        return self.begin("call", function=function, arguments=arguments).result(timeout)

    def close(self):
        self.socket.close()
