"""A person hears of a run, and nothing on the way can stop or delay it."""

from __future__ import annotations

import io
import json
import os
import stat
import subprocess
import sys
import threading
import time
import wave
from html import escape
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING

import numpy as np
import pytest

from processes import alive, gone
from so8t.config.machine_section import Notify
from so8t.domain.plain_text import visible
from so8t.journal.store import system_now
from so8t.notify.channels import (
    Command,
    Notification,
    Sound,
    UndeliveredError,
    Web,
    desktop_command,
    play,
)
from so8t.notify.notifier import Notifier, channels_of
from so8t.notify.pending import Pending
from so8t.notify.sounds import SOUNDS, make_wav

if TYPE_CHECKING:
    from pathlib import Path

posix = pytest.mark.skipif(sys.platform == "win32", reason="the programs here are shell scripts")
HOSTILE = "a\"; rm -rf ~; $(x) `y` 'z' --help \n\x00 \udcff 終了"


def told(occasion="done", text="B is better") -> Notification:
    return Notification(occasion, "run", "run: done", text, {"directory": "/r", "seconds": 1.5})


def program(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def send(channel, notification=None, **options) -> Notifier:
    notifier = Notifier([channel], **options)
    notifier.send(notification or told())
    notifier.close()
    return notifier


# --- sounds --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SOUNDS)
def test_each_sound_is_a_wav_with_the_tones_that_it_is_made_of(kind):
    """16 bit mono, as long as its tones, audible, not clipped; its strongest tone is in it."""
    with wave.open(io.BytesIO(make_wav(kind))) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 44_100)
        samples = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
    assert len(samples) / 44_100 == pytest.approx(sum(t.seconds for t in SOUNDS[kind]), abs=0.001)
    assert 5_000 < np.abs(samples.astype(int)).max() < 32_767
    assert abs(int(samples[0])) < 200 > abs(int(samples[-1]))  # no click
    spectrum = np.abs(np.fft.rfft(samples))
    strongest = np.fft.rfftfreq(len(samples), 1 / 44_100)[spectrum.argmax()]
    assert min(abs(strongest - tone.hertz) for tone in SOUNDS[kind] if tone.hertz) < 5


def test_success_and_failure_do_not_sound_alike():
    """Every two sounds differ, and failure is lower than success."""
    assert len({make_wav(kind) for kind in SOUNDS}) == len(SOUNDS)
    pitch = {kind: max(tone.hertz for tone in SOUNDS[kind]) for kind in ("done", "failed")}
    assert pitch["failed"] < 0.5 * pitch["done"]


@posix
def test_the_first_player_that_works_plays_the_file(tmp_path, monkeypatch):
    """pw-play without a server fails, aplay plays what it is given."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    program(tmp_path / "pw-play", "exit 1")
    program(tmp_path / "paplay", "exit 1")
    program(tmp_path / "aplay", f'cp "$1" {tmp_path}/heard')
    send(Sound(tmp_path), told("failed"))
    assert (tmp_path / "heard").read_bytes() == make_wav("failed")


@posix
def test_without_a_device_it_is_silent_and_kept_for_the_next_logon(tmp_path, monkeypatch):
    """No player works: the run hears why, and the notification waits, whole, until it is taken."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UndeliveredError, match="no player"):
        play(tmp_path / "x.wav")
    pending = Pending(tmp_path)
    notifier = send(Sound(tmp_path), told(text=HOSTILE.replace("\udcff", "")), pending=pending)
    assert [(u.channel, u.occasion) for u in notifier.undelivered()] == [("sound", "done")]
    ((_, kept),) = pending.take()
    assert kept == told(text=HOSTILE.replace("\udcff", ""))
    (tmp_path / "pending" / "20200101T000000.000000-done.json").write_text("{")
    assert len(pending.take()) == 1  # a damaged one hides no other
    pending.clear()
    assert pending.take() == []


def test_what_waits_is_bounded(tmp_path):
    """A machine that nobody logs on to keeps the newest fifty."""
    pending = Pending(tmp_path)
    for number in range(55):
        pending.add(told(text=str(number)), system_now())
    assert [kept.text for _, kept in pending.take()] == [str(n) for n in range(5, 55)]


# --- desktop and command -------------------------------------------------------------------------


@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
def test_no_text_can_become_a_command(platform):
    """On macOS and Windows the texts are no part of the script; on Linux they follow `--`."""
    command = desktop_command(told(text=HOSTILE), platform)
    if platform == "linux":
        assert command[command.index("--") + 1 :] == [
            "run: done",
            escape(visible(HOSTILE), quote=False),
        ]
    else:
        assert not any("rm -rf" in part for part in command)
        assert any("SO8T_TEXT" in part for part in command)


@posix
def test_the_persons_command_gets_the_facts_and_no_shell(tmp_path):
    """Arguments as they are, facts in the environment, hostile text unharmed."""
    tell = f'printf "%s|%s|%s" "$1" "$SO8T_TEXT" "$SO8T_OCCASION" > {tmp_path}/out'
    script = program(tmp_path / "tell", tell)
    send(Command([str(script), "$HOME; x"], 30), told(text=HOSTILE.replace("\udcff", "")))
    first, text, occasion = (tmp_path / "out").read_text().split("|")
    assert (first, occasion) == ("$HOME; x", "done")
    assert text == visible(HOSTILE.replace("\udcff", ""))


@posix
@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["/no/such/program"], "could not be started"),
        (["/bin/sh", "-c", "echo oh >&2; exit 3"], "ended with 3. oh"),
        (["/bin/sh", "-c", "sleep 60 & sleep 60"], "took longer than 0.3 s"),
    ],
)
def test_a_command_that_fails_is_an_event_and_no_more(arguments, why):
    """Absent, failing or endless: it is ended with its children, and reported as text."""
    began = time.monotonic()
    (undelivered,) = send(Command(arguments, seconds=0.3)).undelivered()
    assert why in undelivered.message
    assert time.monotonic() - began < 20


@pytest.mark.slow
@posix
def test_a_command_that_outlives_the_run_is_ended_when_its_time_is_over(tmp_path):
    """The end of a run waits for no command; its whole group has the rest of its limit, no more."""
    group = f"echo $$ > {tmp_path}/leader; sleep 61 & echo $! > {tmp_path}/child; wait"
    script = program(tmp_path / "tell", f"trap '' TERM\n{group}")
    run = f"""\
from so8t.notify.channels import Command, Notification
from so8t.notify.notifier import Notifier
notifier = Notifier([Command([{str(script)!r}], 2.0)], linger=1.2)
notifier.send(Notification("done", "run", "title", "text", {{}}))
notifier.close()
print(notifier.undelivered()[0].message)
"""
    said = subprocess.run([sys.executable, "-c", run], check=True, capture_output=True, text=True)
    assert said.stdout == "still on its way when the run ended.\n"
    pids = [int((tmp_path / name).read_text()) for name in ("leader", "child")]
    assert all(alive(pid) for pid in pids)
    assert all(gone(pid, within=30) for pid in pids)


# --- webhook -------------------------------------------------------------------------------------


class Server:
    """A web server that keeps what it is sent and answers with `status` after `delay` seconds."""

    def __init__(self, status: int = 204, delay: float = 0.0) -> None:
        self.received: list[dict] = []
        released = self.released = threading.Event()
        received = self.received

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                received.append(json.loads(body))
                released.wait(delay)
                self.send_response(status)
                self.send_header("Location", "/elsewhere")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def serve():
    """Start servers that are closed at the end."""
    servers = []

    def start(**options) -> Server:
        servers.append(Server(**options))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def test_the_webhook_gets_the_facts_as_json(serve):
    """One POST: occasion, run, texts and facts."""
    server = serve()
    assert send(Web(server.url, 5)).undelivered() == []
    assert server.received == [
        {
            "occasion": "done",
            "run": "run",
            "title": "run: done",
            "text": "B is better",
            "directory": "/r",
            "seconds": 1.5,
        }
    ]


@pytest.mark.parametrize("status", [302, 404, 500])
def test_a_webhook_that_refuses_is_reported_once(serve, status):
    """No retry, no redirect to another address."""
    server = serve(status=status)
    (undelivered,) = send(Web(server.url, 5)).undelivered()
    assert str(status) in undelivered.message
    assert len(server.received) == 1


def test_the_address_of_a_webhook_is_not_told():
    """The address may hold a secret: what is reported does not repeat it."""
    (undelivered,) = send(Web("http://127.0.0.1:9/secret-token", 2)).undelivered()
    assert "secret" not in undelivered.message


def test_a_webhook_that_hangs_delays_nothing(serve):
    """Sending returns at once, other channels go on, the end waits no longer than it may."""
    hung, whole = serve(delay=60), serve()
    notifier = Notifier([Web(hung.url, 60), Web(whole.url, 30)], linger=0.5)
    began = time.monotonic()
    for _ in range(3):
        notifier.send(told())
    while len(whole.received) < 3 and time.monotonic() - began < 30:
        time.sleep(0.05)
    assert len(whole.received) == 3
    assert len(hung.received) <= 1  # it is still at the first
    notifier.close()
    assert time.monotonic() - began < 50  # the hung one alone would take a minute
    late = {"still on its way when the run ended.", "not delivered in time."}
    undelivered = [one for one in notifier.undelivered() if one.message in late]
    assert len(undelivered) >= 3


def test_text_that_is_no_unicode_stops_no_channel(serve):
    """A lone surrogate out of a broken file name is reported, and the next one is delivered."""
    server = serve()
    notifier = Notifier([Web(server.url, 5)])
    notifier.send(told(text=HOSTILE))
    notifier.send(told())
    notifier.close()
    assert server.received[-1]["text"] == "B is better"


def test_a_config_names_the_channels(tmp_path):
    """Sound is on by default and can be put off; the others are asked for."""
    assert [channel.name for channel in channels_of(Notify(), tmp_path)] == ["sound"]
    asked = Notify.model_validate(
        {"sound": False, "desktop": True, "webhook": {"url": "http://x/"}, "command": ["x"]}
    )
    names = [channel.name for channel in channels_of(asked, tmp_path)]
    assert names == ["desktop", "webhook", "command"]
    assert os.environ.get("SO8T_STATE_DIR")  # no test plays or queues in the person's own place
