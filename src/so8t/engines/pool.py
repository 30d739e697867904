"""A pool of members is an engine: places, each of which answers some questions at a time.

An item's place comes from a rendezvous hash of the item alone, so that both arms and all repeats
meet on one place, and only the items of a place that is gone move. Whoever has nothing to do takes
from a place of its own kind that has more than it can begin. Below, a question may be asked more
than once; above, it is answered exactly once.

A place that dies gives its questions back and is looked at until it returns, with its own
fingerprint or not at all. The pool raises only when no place has answered for long.
"""

from __future__ import annotations

import hashlib
import queue
import threading
import time
from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol, Self

from so8t.domain.exchange import EngineReply, EngineRequest, Status
from so8t.engines.protocol import at_once
from so8t.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from so8t.domain.exchange import LoadReport

# Questions known ahead for each slot, where there is more than one place: enough that the hash's
# unevenness leaves no place idle, and few enough that a stop is soon done.
_AHEAD = 4
# A question that ended its place so often is asked alone, and after so many ends alone it is
# the one to blame. Others were only there when it happened.
_SUSPECT, _GUILTY = 2, 3
_LOOK_SECONDS = 0.5  # a wait without a time-out cannot be interrupted by Ctrl-C on Windows
_REVIVE_SECONDS = (0.05, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_BUSY_SECONDS = 1.0


class MemberDownError(Exception):
    """A place is gone. `asked`: it was there when the question came, and ended meanwhile."""

    def __init__(self, message: str, *, asked: bool = True) -> None:
        super().__init__(message)
        self.message = message
        self.asked = asked


class MemberBusyError(Exception):
    """A place has no room now; it may be asked again after `seconds`."""

    def __init__(self, message: str, seconds: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.seconds = _BUSY_SECONDS if seconds is None else seconds


class MemberChangedError(Exception):
    """A place is back, and answers otherwise than before: it is another one."""


class Member(Protocol):
    """One place for one arm."""

    name: str
    kind: str
    slots: int

    def answer(self, request: EngineRequest) -> EngineReply:
        """Answer one question, from any thread.

        Raises MemberDownError, MemberBusyError, and EngineError for what no other place can help.
        """

    def revive(self) -> None:
        """Return when it answers again as it did. Raises MemberDownError, MemberChangedError."""

    def abort(self) -> None:
        """End what is in flight soon; the answers are not wanted any more."""


@dataclass(eq=False, slots=True)
class _Task:
    request: EngineRequest
    homes: list[int]
    deaths: int = 0
    alone_deaths: int = 0

    @property
    def suspect(self) -> bool:
        return self.deaths >= _SUSPECT


@dataclass(eq=False, slots=True)
class _Place:
    member: Member
    waiting: deque[_Task] = field(default_factory=deque)
    flying: int = 0
    alone: bool = False
    up: bool = True
    gone: bool = False
    not_before: float = 0.0


def order_of(item: str, names: Sequence[str]) -> list[int]:
    """Return the places of an item, its own first: rendezvous hashing of item and place."""

    def weight(place: int) -> bytes:
        return hashlib.blake2b(f"{names[place]}\0{item}".encode(), digest_size=8).digest()

    return sorted(range(len(names)), key=weight, reverse=True)


class PoolSession:
    """The places of one arm, answering. Serve from one thread at a time."""

    def __init__(
        self,
        members: Sequence[Member],
        report: LoadReport,
        *,
        patience: float,
        note: Callable[..., None] = lambda _kind, **_data: None,
    ) -> None:
        """`patience`: seconds without any place before the session gives up.

        `note` hears, in the thread that serves, of places that go, come back or are others.
        """
        self._members = list(members)
        self._report = report
        self._patience = patience
        self._note = note
        self._closed = threading.Event()
        self._serving = False
        self._run: _Serving | None = None
        self._names = [member.name for member in members]

    @property
    def report(self) -> LoadReport:
        """What the places said of themselves."""
        return self._report

    @property
    def ready(self) -> bool:
        """Whether another reply is there."""
        return self._run is not None and self._run.ready

    def serve(
        self,
        requests: Iterable[EngineRequest],
        *,
        in_flight: Callable[[], int] | None = None,
    ) -> Iterator[EngineReply]:
        """Answer requests; replies come as they complete, each with its place and kind.

        With one place requests are pulled as slots get free; with several a few ahead. Raises
        EngineError when no place has been there for `patience` seconds.
        """
        if self._closed.is_set():
            raise EngineError("This session is closed; open a new one.")
        if self._serving:
            raise EngineError("This session is already serving; close the other iterator first.")
        self._serving = True
        run = self._run = _Serving(self._members, self._names, self._closed)
        try:
            yield from run.replies(iter(requests), in_flight, self._patience, self._note)
        finally:
            run.end()
            self._serving = False

    def close(self) -> None:
        """End what is in flight. Safe to call twice, and from another thread."""
        self._closed.set()
        for member in self._members:
            member.abort()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class _Serving:
    """One `serve`: the places' queues, their threads, and what has come back."""

    def __init__(
        self, members: Sequence[Member], names: list[str], closed: threading.Event
    ) -> None:
        self._places = [_Place(member) for member in members]
        self._names = names
        self._closed = closed
        self._change = threading.Condition()
        self._done: queue.SimpleQueue[EngineReply | Exception] = queue.SimpleQueue()
        self._events: queue.SimpleQueue[tuple[str, dict[str, str]]] = queue.SimpleQueue()
        self._ended = False
        self._bound = 0
        self._flying = 0
        self._all_known = False
        self._threads: list[threading.Thread] = []

    @property
    def ready(self) -> bool:
        """Whether a reply waits to be taken."""
        return not self._done.empty()

    def replies(
        self,
        requests: Iterator[EngineRequest],
        in_flight: Callable[[], int] | None,
        patience: float,
        note: Callable[..., None],
    ) -> Iterator[EngineReply]:
        total = sum(place.member.slots for place in self._places)
        outstanding, seen_up = 0, time.monotonic()
        while True:
            outstanding += self._fill(requests, at_once(total, in_flight), outstanding)
            if not outstanding:
                return
            reply = self._next()
            self._tell(note)
            if any(place.up for place in self._places):
                seen_up = time.monotonic()
            if isinstance(reply, Exception):
                raise reply
            if reply is not None:
                outstanding -= 1
                yield reply
            else:
                self._check(time.monotonic() - seen_up > patience)

    def _fill(self, requests: Iterator[EngineRequest], bound: int, outstanding: int) -> int:
        """Take as many requests as may be known ahead; return how many."""
        with self._change:
            if bound != self._bound:
                self._bound = bound
                self._change.notify_all()
        most = bound if len(self._places) == 1 else bound * _AHEAD
        taken = 0
        while not self._all_known and outstanding + taken < most:
            request = next(requests, None)
            if request is None:
                with self._change:
                    self._all_known = True
                    self._change.notify_all()
                break
            taken += 1
            self._add(_Task(request, self._homes(request)))
        return taken

    def _check(self, waited: bool) -> None:
        """Raise EngineError where nothing is to be waited for any more."""
        if self._closed.is_set():
            raise EngineError("This session is closed; open a new one.")
        if waited or all(place.gone for place in self._places):
            raise EngineError(
                f"no place answers ({', '.join(self._names)}), and none came back as it was.",
                hint="start the servers again, then run the same command again",
            )

    def end(self) -> None:
        """Let the threads end; what is in flight is abandoned."""
        with self._change:
            self._ended = True
            busy = [place.member for place in self._places if place.flying]
            self._change.notify_all()
        for member in busy:
            member.abort()

    def _homes(self, request: EngineRequest) -> list[int]:
        homes = order_of(request.item or request.key, self._names)
        if request.elsewhere:
            first = self._places[homes[0]].member.kind
            alike = [place for place in homes[1:] if self._places[place].member.kind == first]
            homes = [*alike, homes[0], *(h for h in homes[1:] if h not in alike)]
        return homes

    def _next(self) -> EngineReply | Exception | None:
        try:
            return self._done.get(timeout=_LOOK_SECONDS)
        except queue.Empty:
            return None

    def _tell(self, note: Callable[..., None]) -> None:
        while not self._events.empty():
            kind, data = self._events.get()
            note(kind, **data)

    def _add(self, task: _Task) -> None:
        with self._change:
            self._put(task)
            self._change.notify_all() if len(self._places) > 1 else self._change.notify()
        if not self._threads:
            self._start()

    def _start(self) -> None:
        """Start a thread for each slot of each place."""
        for place in self._places:
            for _ in range(place.member.slots):
                thread = threading.Thread(
                    target=self._work, args=(place,), daemon=True, name="so8t-place"
                )
                self._threads.append(thread)
                thread.start()

    def _put(self, task: _Task, *, first: bool = False) -> None:
        """Give a task to the first of its places that is there; with the lock held."""
        there = [self._places[home] for home in task.homes if self._places[home].up]
        mine = there[0] if there else self._places[task.homes[0]]
        mine.waiting.appendleft(task) if first else mine.waiting.append(task)

    # --- a place's threads -----------------------------------------------------------------------

    def _work(self, place: _Place) -> None:
        while True:
            task = self._take(place)
            if task is None:
                return
            try:
                reply = place.member.answer(task.request)
            except MemberBusyError as error:
                self._give_back(place, task, until=time.monotonic() + error.seconds)
            except MemberDownError as error:
                if self._lost(place, task, error):
                    self._watch(place)
            except Exception as error:  # noqa: BLE001 - raised again in the thread that serves
                self._finish(place, error)
            else:
                marked = replace(reply, place=place.member.name, kind=place.member.kind)
                self._finish(place, marked)

    def _take(self, place: _Place) -> _Task | None:
        """Wait for a task; None at the end."""
        with self._change:
            while True:
                if self._ended or self._closed.is_set() or place.gone:
                    return None
                wait = place.not_before - time.monotonic()
                task = self._choose(place) if place.up and wait <= 0 else None
                if task is not None:
                    place.flying += 1
                    self._flying += 1
                    place.alone = task.suspect
                    return task
                self._change.wait(min(_LOOK_SECONDS, wait) if wait > 0 else _LOOK_SECONDS)

    def _choose(self, place: _Place) -> _Task | None:
        """Take a task of the place's own, else one of a place of its kind that has too many."""
        if place.alone or self._flying >= self._bound:
            return None
        task = self._allowed(place, place.waiting)
        if task is not None:
            return task
        for other in self._places:
            if other is place or other.member.kind != place.member.kind:
                continue
            spare = len(other.waiting) > (0 if self._all_known else other.member.slots)
            if spare and (task := self._allowed(place, other.waiting, last=True)) is not None:
                return task
        return None

    @staticmethod
    def _allowed(place: _Place, waiting: deque[_Task], *, last: bool = False) -> _Task | None:
        """Take a task, unless it has to be alone and the place is not."""
        if not waiting:
            return None
        task = waiting[-1] if last else waiting[0]
        if task.suspect and place.flying:
            return None
        return waiting.pop() if last else waiting.popleft()

    def _finish(self, place: _Place, result: EngineReply | Exception) -> None:
        with self._change:
            place.flying -= 1
            self._flying -= 1
            place.alone = False
            self._change.notify_all()
        if not self._ended:
            self._done.put(result)

    def _give_back(self, place: _Place, task: _Task, until: float) -> None:
        with self._change:
            place.flying -= 1
            self._flying -= 1
            place.alone = False
            place.not_before = max(place.not_before, until)
            place.waiting.appendleft(task)
            self._change.notify_all()

    def _lost(self, place: _Place, task: _Task, error: MemberDownError) -> bool:
        """Take a task from a place that is gone; True for the thread that is to watch it."""
        blamed = None
        with self._change:
            place.flying -= 1
            self._flying -= 1
            first, place.up = place.up, False
            if error.asked:
                task.deaths += 1
                task.alone_deaths += place.alone
            place.alone = False
            if task.alone_deaths >= _GUILTY:
                blamed = task
            else:
                self._put(task, first=not task.suspect)
            if first:
                moved = list(place.waiting)
                place.waiting.clear()
                for one in moved:
                    self._put(one)
            self._change.notify_all()
        if blamed is not None and not self._ended:
            reason = f"{task.alone_deaths} times a place ended while it answered this alone"
            self._done.put(EngineReply(task.request.key, Status.FAILED, reason=reason))
        if first and not self._ended:
            self._events.put(("place_lost", {"place": place.member.name, "message": error.message}))
        return first

    def _watch(self, place: _Place) -> None:
        """Look at a place until it is back as it was, or is another one."""
        tries = 0
        while not (self._ended or self._closed.is_set()):
            try:
                place.member.revive()
            except MemberDownError:
                self._closed.wait(_REVIVE_SECONDS[min(tries, len(_REVIVE_SECONDS) - 1)])
                tries += 1
            except (MemberChangedError, EngineError) as error:
                with self._change:
                    place.gone = True
                    self._change.notify_all()
                self._events.put(
                    ("place_changed", {"place": place.member.name, "message": str(error)})
                )
                return
            else:
                with self._change:
                    place.up = True
                    self._home_again()
                    self._change.notify_all()
                self._events.put(("place_back", {"place": place.member.name}))
                return

    def _home_again(self) -> None:
        """Put every waiting task to its first place that is there; with the lock held."""
        waiting = [task for place in self._places for task in place.waiting]
        for place in self._places:
            place.waiting.clear()
        for task in waiting:
            self._put(task)
