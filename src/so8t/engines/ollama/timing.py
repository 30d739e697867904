"""How long each kind of request may take, and how often it is tried."""

from __future__ import annotations

from dataclasses import dataclass, field, replace


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds that one request may take; four kinds.

    Attributes:
        connect: until the connection stands.
        first_byte: from the sent request to the first byte of the answer; it holds the load of
            a model and the wait for a slot.
        between: between two bytes, in both directions.
        whole: from the start to the end of the answer, however steadily bytes come.

    """

    connect: float = 5.0
    first_byte: float = 330.0
    between: float = 120.0
    whole: float = 3600.0

    def scaled(self, factor: float) -> Deadlines:
        """All four, multiplied."""
        return Deadlines(
            self.connect * factor,
            self.first_byte * factor,
            self.between * factor,
            self.whole * factor,
        )


@dataclass(frozen=True, slots=True)
class Retries:
    """How often a request is tried again.

    Attributes:
        attempts: tries in all for one question; a full queue (503) is not counted.
        busy_seconds: how long a full queue is waited for.
        wait_initial, wait_max: seconds before the second try, and the most before any; the wait
            doubles in between and up to `jitter` seconds are added by chance.

    """

    attempts: int = 3
    busy_seconds: float = 180.0
    wait_initial: float = 0.5
    wait_max: float = 10.0
    jitter: float = 1.0


@dataclass(frozen=True, slots=True)
class Timing:
    """Every time that the engine knows, in seconds.

    Attributes:
        answer: one answer. The first byte waits longer than the server's own load time-out of
            five minutes.
        quick: version, lists, show.
        load: a preload.
        probe: the one-token health check. The server itself needs about 20 s to give up a hung
            model process, so less than 30 s gives up too early.
        create, upload: registration; a conversion is silent for minutes.
        restart: how long a server that went away is waited for.
        unload: how long an unloaded model may stay listed.
        poll: between two looks.
        retries: tries of one request.

    """

    answer: Deadlines = field(default_factory=Deadlines)
    quick: Deadlines = field(default_factory=lambda: Deadlines(5.0, 30.0, 15.0, 60.0))
    load: Deadlines = field(default_factory=lambda: Deadlines(5.0, 900.0, 60.0, 960.0))
    probe: Deadlines = field(default_factory=lambda: Deadlines(5.0, 60.0, 30.0, 60.0))
    create: Deadlines = field(default_factory=lambda: Deadlines(5.0, 1800.0, 3600.0, 6 * 3600.0))
    upload: Deadlines = field(default_factory=lambda: Deadlines(5.0, 600.0, 120.0, 6 * 3600.0))
    restart: float = 180.0
    unload: float = 60.0
    poll: float = 0.25
    retries: Retries = field(default_factory=Retries)

    def scaled(self, factor: float) -> Timing:
        """All times multiplied, the numbers of attempts unchanged; tests run with a small one."""
        retries = replace(
            self.retries,
            busy_seconds=self.retries.busy_seconds * factor,
            wait_initial=self.retries.wait_initial * factor,
            wait_max=self.retries.wait_max * factor,
            jitter=self.retries.jitter * factor,
        )
        return Timing(
            answer=self.answer.scaled(factor),
            quick=self.quick.scaled(factor),
            load=self.load.scaled(factor),
            probe=self.probe.scaled(factor),
            create=self.create.scaled(factor),
            upload=self.upload.scaled(factor),
            restart=self.restart * factor,
            unload=self.unload * factor,
            poll=self.poll * factor,
            retries=retries,
        )
