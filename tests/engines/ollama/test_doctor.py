"""The doctor: one line a question, and a fix for each that is not well."""

from __future__ import annotations

import pytest
from wire import closed_port

from so8t.engines.checks import CheckOutcome
from so8t.engines.ollama import examine, measure_slots


def outcomes(checks):
    return {check.name.removeprefix("ollama "): check.outcome.value for check in checks}


def test_a_sound_server(client_of, fake):
    """A sound server passes every check, and the probed model is unloaded again."""
    fake.store.parallel = 2
    fake.piece_seconds = 0.002
    checks = examine(client_of(fake.url), models=["cyc", "rep"], parallel=2, probe="cyc")
    assert outcomes(checks) == {
        "server": "pass",
        "version": "pass",
        "models": "pass",
        "answers": "pass",
        "parallelism": "pass",
        "gpu": "pass",
    }
    assert not fake.store.runners


def test_no_server(client_of):
    """Nothing listening is one failure with its fix, and the rest is not asked."""
    (check,) = examine(client_of(f"http://127.0.0.1:{closed_port()}"))
    assert check.outcome is CheckOutcome.FAIL
    assert "ollama serve" in check.fix


def test_every_check_that_is_not_well_has_a_fix(client_of, fake):
    """Missing models, an old version, too few slots and no GPU each come with what to do."""
    fake.version = "0.11.0"
    fake.piece_seconds = 0.002
    checks = examine(
        client_of(fake.url),
        models=["cyc", "nope"],
        parallel=2,
        probe="cyc",
        gpu_expected=True,
    )
    assert outcomes(checks) == {
        "server": "pass",
        "version": "fail",
        "models": "fail",
        "answers": "pass",
        "parallelism": "warn",
        "gpu": "warn",
    }
    assert all(check.fix for check in checks if check.outcome is not CheckOutcome.PASS)
    assert all(check.fix is None for check in checks if check.outcome is CheckOutcome.PASS)


def test_without_a_probe_nothing_is_loaded(client_of, fake):
    """A doctor that only looks does not load a model, and says what it did not measure."""
    checks = examine(client_of(fake.url), parallel=2)
    assert outcomes(checks)["parallelism"] == "warn"
    assert not fake.asked("/api/chat")


def test_a_stuck_server_fails(client_of, fake):
    """Lists that look healthy do not pass a server that answers nothing."""
    fake.store.stuck = True
    checks = outcomes(examine(client_of(fake.url), probe="cyc"))
    assert (checks["server"], checks["answers"]) == ("pass", "fail")


@pytest.mark.parametrize("slots", [1, 2, 3])
def test_slots_are_measured(client_of, fake, slots):
    """The number of slots, which no API tells, is found by asking that many at once."""
    fake.store.parallel = slots
    fake.piece_seconds = 0.002
    assert measure_slots(client_of(fake.url), "cyc", up_to=3) == slots
