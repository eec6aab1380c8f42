"""Between Tune's workers and the frontier: carries what they report, lets them leave, ends those that take too long.

Its methods are those of a Tune callback; it knows nothing else of Ray.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from orchestrator.frontier import Frontier
from orchestrator.running.crew import Crew, last_words, machine_gone
from orchestrator.running.events import NoRoom, StopAsked
from orchestrator.running.limits import exceeded
from orchestrator.running.stopping import GRACE, Interrupted, Stopping
from orchestrator.storage.writing import NotWritable

BREAKDOWNS = 5  # how often in a row Tune may fail by itself
NO_ROOM = 60.0  # seconds in which no worker could be placed, after which that is said


class _Over(BaseException):
    """Ends Tune's loop at once. No Exception: Tune would first wait for every worker to end by itself."""


def _guarded(method: Callable[..., Any]) -> Callable[..., Any]:
    """End Tune's loop with whatever goes wrong in ours, and keep the error for the caller of `schedule`."""

    @wraps(method)
    def call(self: Any, *arguments: Any, **named: Any) -> Any:
        try:
            return method(self, *arguments, **named)
        except _Over:
            raise
        except BaseException as error:
            self.error = error
            raise _Over from error

    return call


class Conductor:
    """Carries what the workers report to the frontier, and tells them when they are to leave.

    Args:
        piece: What a worker takes of a machine, in words.

    Attributes:
        error: What ended the run before its time.
    """

    def __init__(
        self,
        frontier: Frontier,
        payload: Mapping[str, Any],
        stopping: Stopping,
        kill: Callable[[Any], None],
        piece: str = "",
    ) -> None:
        self._frontier, self._payload, self._stopping, self._kill = frontier, payload, stopping, kill
        self._piece, self._placed = piece, True
        self._idle = math.inf  # since when no worker has had a place; inf once that was said
        self._crews: dict[str, Crew] = {}
        self._breakdowns = 0  # of Tune, since anybody was heard of
        self._reason: BaseException | None = None  # why nothing more begins
        self._until = 0.0
        self.error: BaseException | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its callbacks for a restore that we never do."""
        return {}

    def run(self, tune: Callable[[], Any]) -> None:
        """Run Tune to its end, in a thread; again where it has ended over a worker that Ray has lost."""
        try:
            while True:
                try:
                    return tune()
                except Exception as error:  # Tune does not expect Ray to end a worker for its memory
                    self._breakdowns += 1
                    if not self._crews or self._breakdowns > BREAKDOWNS:
                        self.error = error
                        return
                    self._tune_ended(str(error))
        except _Over:
            return

    @_guarded
    def _tune_ended(self, error: str) -> None:
        """Tune has ended all workers; what it says names the one that it ended over."""
        crews, self._crews = [*self._crews.values()], {}
        named = [crew for crew in crews if crew.name and crew.name in error]
        for crew in crews:
            crew.excused = crew.excused or crew not in named  # where it names none, Tune itself has failed
            self._end(crew, error)

    @_guarded
    def next(self, trial_id: str) -> dict[str, Any] | None:
        """The config of a trial: a group and what its worker has to know; None while all that is left waits."""
        self._look()
        group = None if self._reason or self._frontier.finished else self._frontier.next()
        if group is None:
            return None
        self._crews[trial_id] = Crew(group)
        return {**self._payload, "group": group}

    @property
    def finished(self) -> bool:
        return self._frontier.finished

    @_guarded
    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        self._look()

    @_guarded
    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        crew = self._crews[trial.trial_id]
        crew.worker, crew.heard = trial.temporary_state.ray_actor, time.monotonic()
        crew.name = crew.worker._actor_id.hex()
        if self._reason:
            self._excuse(crew)

    @_guarded
    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        crew = self._crews[trial.trial_id]
        self._breakdowns = 0
        crew.hear(result["events"])
        crew.excused = crew.excused or result["ending"]
        for event in result["events"]:
            self._frontier.record(event)
        if result.get("unwritable"):
            self._stop(NotWritable(result["unwritable"]))

    @_guarded
    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        crew, said = self._crews.pop(trial.trial_id), trial.last_result
        if said.get("left") or said.get("unwritable"):
            self._frontier.give_back(crew.group)
        else:
            self._frontier.lost(crew.group, said.get("crash") or "the worker ended before the node was finished")

    @_guarded
    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._end(self._crews.pop(trial.trial_id), str(trial.get_error() or ""))

    def _end(self, crew: Crew, error: str) -> None:
        """A worker has ended in the middle of its group; Ray says why."""
        if crew.excused:
            self._frontier.give_back(crew.group)
        elif machine_gone(error):
            self._frontier.taken_away(crew.group, error)
        else:
            self._frontier.lost(crew.group, last_words(error))

    def _look_for_room(self) -> None:
        """Say so where nothing is under way for want of a place: one may come, or what is asked for is nowhere."""
        placed = not self._crews or any(crew.worker for crew in self._crews.values())
        if placed or self._placed:
            self._placed, self._idle = placed, time.monotonic()
        elif time.monotonic() - self._idle > NO_ROOM:
            self._idle = math.inf
            why = f"no machine has room for a worker ({self._piece}), or it is slow to start; this waits"
            self._frontier.tell(NoRoom(why, time.time()))

    def _look(self) -> None:
        """See whether somebody must leave, and whether all have."""
        self._look_for_room()
        if self._stopping.number is not None:
            self._stop(Interrupted(self._stopping.number))
        if self._reason and (not any(crew.worker for crew in self._crews.values()) or time.monotonic() > self._until):
            raise self._reason
        for crew in self._crews.values():
            if (node := crew.overdue()) is not None:
                text = exceeded(node.time_limit or 0.0)
                self._frontier.fail(node.key, text, text)
                crew.excused = True  # the others of its group are taken up again
                self._kill(crew.worker)

    def _stop(self, reason: BaseException) -> None:
        """Begin nothing more and let all workers leave; once."""
        if self._reason:
            return
        self._reason, self._until = reason, time.monotonic() + GRACE
        self._frontier.tell(
            StopAsked(self._stopping.why if isinstance(reason, Interrupted) else str(reason), time.time())
        )
        for crew in self._crews.values():
            self._excuse(crew)

    def _excuse(self, crew: Crew) -> None:
        crew.excused = True
        if crew.worker is not None:
            crew.worker.leave.remote()
