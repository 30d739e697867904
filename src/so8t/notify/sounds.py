"""The sounds, made of sine tones: no file of anybody else's, and each kind sounds different."""

from __future__ import annotations

import array
import io
import math
import sys
import wave
from dataclasses import dataclass
from typing import TYPE_CHECKING

from so8t.system.files import write_atomic

if TYPE_CHECKING:
    from pathlib import Path

RATE = 44_100
_PEAK = 0.3
_FADE = 0.012
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Tone:
    """One tone: its frequency in Hz (0 is silence) and its length in seconds."""

    hertz: float
    seconds: float


# Rising major chord, falling minor third in the low register, one short tone, two equal tones.
SOUNDS = {
    "done": (Tone(523.25, 0.14), Tone(659.25, 0.14), Tone(783.99, 0.14), Tone(1046.5, 0.34)),
    "failed": (
        Tone(311.13, 0.3),
        Tone(0, 0.05),
        Tone(261.63, 0.3),
        Tone(0, 0.05),
        Tone(207.65, 0.5),
    ),
    "phase": (Tone(880.0, 0.16),),
    "resumed": (Tone(587.33, 0.13), Tone(0, 0.06), Tone(587.33, 0.13)),
}


def make_wav(kind: str) -> bytes:
    """Return the sound `kind` as a WAV file: 16 bit, mono, 44.1 kHz."""
    samples = array.array("h")
    for tone in SOUNDS[kind]:
        samples.extend(_samples(tone))
    if sys.byteorder == "big":
        samples.byteswap()  # WAV is little-endian
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(samples.tobytes())
    return buffer.getvalue()


def sound_file(kind: str, directory: Path) -> Path:
    """Return the file of a sound, made on first use."""
    path = directory / f"{kind}-{_VERSION}.wav"
    if not path.exists():
        write_atomic(path, make_wav(kind))
    return path


def _samples(tone: Tone) -> list[int]:
    count = round(tone.seconds * RATE)
    fade = round(_FADE * RATE)
    found = []
    for n in range(count):
        # Faded in and out, or each tone would begin and end with a click.
        envelope = min(1.0, n / fade, (count - 1 - n) / fade)
        value = math.sin(2 * math.pi * tone.hertz * n / RATE)
        value += 0.25 * math.sin(4 * math.pi * tone.hertz * n / RATE)
        found.append(round(32767 * _PEAK * envelope * value / 1.25))
    return found
