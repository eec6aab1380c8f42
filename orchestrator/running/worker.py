"""A worker process: executes groups in a thread, says what happened each time it is asked, and leaves when it must."""

from __future__ import annotations

import os
import queue
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from orchestrator.execute import Executor
from orchestrator.running.events import Event, NodeDone, NodeFailed
from orchestrator.running.nearby import nearby
from orchestrator.running.stopping import Interrupted
from orchestrator.storage.writing import NotWritable
from orchestrator.store import Store

STEP_SECONDS = 1.0  # how long a step waits before it reports what was logged so far
LEAVE_SECONDS = 8.0  # how long a worker that was told to end stays for what it has under way


class Worker:
    """What a worker does with the groups that it is given, one after the other."""

    def __init__(self) -> None:
        self._leave = threading.Event()
        self._ending = False  # this process was told to end
        self._ended = False
        signal.signal(signal.SIGTERM, self._terminate)
        os.dup2(1, 2)  # one log of all that a node prints, in its order

    def begin(self, job: Mapping[str, Any]) -> None:
        """Take up a group. `job` says where its store and data lie, whose driver it is, and what to say of the code."""
        for entry in job["path"]:
            if entry not in sys.path:
                sys.path.append(entry)
        self._events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._said: dict[str, Any] = {"left": False, "unwritable": None, "crash": None}
        if not self._ending:
            self._leave.clear()
        self._thread = threading.Thread(target=self._execute, args=(job,), daemon=True, name="execute")
        self._thread.start()

    def leave(self, wait: float) -> None:
        """Keep what is under way as soon as it can be kept, and begin nothing more; wait at most so long for it."""
        self._leave.set()
        self._thread.join(wait)

    def _execute(self, job: Mapping[str, Any]) -> None:
        try:
            store = Store.at(job["store"]).join()
            executor = Executor(
                store,
                nearby(Path(job["data"])),
                job["device"],
                job["provenance"],
                self._events.put,
                job["share"],
                self._leave.is_set,
            )
            executor.run(job["group"])
        except Interrupted:
            self._said["left"] = True
        except NotWritable as error:
            # A disk that is full, or credentials that are missing, on this machine: the driver's own may be well.
            host, words = socket.gethostname(), str(error)
            elsewhere = host != job.get("host", host) and host not in words
            self._said["unwritable"] = f"on {host}: {words}" if elsewhere else words
        except BaseException:  # the driver must hear of it
            self._said["crash"] = traceback.format_exc()
        self._events.put(None)

    def step(self) -> dict[str, Any]:
        """What happened since the last step; at once when a node finishes, else after a second.

        A process that was told to end does so when it is asked again: then all that it had to say has been heard.
        """
        if self._ending and self._ended:
            os._exit(0)
        events: list[Event] = []
        ended = finished = False
        deadline = time.monotonic() + STEP_SECONDS
        while not (ended or (finished and self._events.empty())):
            try:
                event = self._events.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                break
            if event is None:
                ended = True
            else:
                events.append(event)
                finished = finished or isinstance(event, NodeDone | NodeFailed)
        self._ended = ended
        said = self._said if ended else {}
        # Done would let it be given another group.
        done = ended and not self._ending
        return {"events": events, "num_events": len(events), "ending": self._ending, **said, "done": done}

    def _terminate(self, number: int, frame: FrameType | None) -> None:
        """SIGTERM: such as a machine that is taken away. What cannot be kept in time is lost."""
        self._ending = True
        self._leave.set()
        timer = threading.Timer(LEAVE_SECONDS, os._exit, (1,))
        timer.daemon = True
        timer.start()
