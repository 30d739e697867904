"""The small parts: lines, errors, options, records, findings, names."""

from __future__ import annotations

import inspect

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import so8t.engines.ollama as package
from so8t.domain.exchange import Decoding, LoadProfile
from so8t.engines.ollama import (
    Fault,
    Notice,
    OllamaAnswer,
    OllamaError,
    SpeedCanary,
    Timing,
    check_gpu,
    check_template,
    check_truncation,
    is_loopback,
    server_url,
)
from so8t.engines.ollama.faults import RETRYABLE, classify, error_of, words_of
from so8t.engines.ollama.lines import parse_object, split_lines
from so8t.engines.ollama.options import check_options, load_options, run_options, stops_of
from so8t.engines.ollama.records import ServerModel, full_name, loaded_model, local_model, shown
from so8t.errors import EngineError, UsageError


@given(st.lists(st.binary(max_size=30)), st.integers(1, 7))
@settings(max_examples=200)
def test_lines_do_not_depend_on_chunks(parts, size):
    """However the bytes are cut, the lines are those between newline bytes, empty ones left out."""
    whole = b"".join(parts)
    expected = [line for line in whole.split(b"\n") if line.strip()]
    assert list(split_lines(parts)) == expected
    pieces = [whole[i : i + size] for i in range(0, len(whole), size)]
    assert list(split_lines(pieces)) == expected


def test_only_the_newline_byte_ends_a_line():
    """Line ends of Unicode, which Python also splits at, stay inside their line."""
    line = '{"a":"x\x85y\u2028z\x0b\x0c"}'.encode()
    assert list(split_lines([line + b"\n" + line])) == [line, line]


@given(st.binary(max_size=60))
def test_any_bytes_are_an_object_or_malformed(line):
    """Whatever a line holds, it is an object or an OllamaError, never another exception."""
    try:
        found = parse_object(line)
    except OllamaError as error:
        found = error.fault
    assert found is Fault.MALFORMED or isinstance(found, dict)


@given(st.integers(100, 599), st.binary(max_size=80))
def test_any_error_body_is_described(status, body):
    """Whatever status and body a failure has, it becomes an error with words."""
    error = error_of(status, body)
    assert error.detail
    assert error.retryable == (error.fault in RETRYABLE)


def test_every_fault_says_whether_a_retry_helps():
    """An error knows its exit code, its tree and whether another try can help."""
    for fault in Fault:
        error = OllamaError(fault, "x")
        assert isinstance(error, EngineError)
        assert error.exit_code == 4
        assert error.retryable == (fault in RETRYABLE)


def test_words_are_unpacked():
    """JSON inside a text, objects and plain words all give the innermost message."""
    nested = '{"error":{"code":400,"message":"too long"}}'
    assert words_of(nested) == words_of({"error": nested}) == "too long"
    assert words_of("{not json") == "{not json"
    assert words_of('"quoted"') == '"quoted"'
    assert words_of(7) == "7"


def test_memory_is_told_apart_from_damage():
    """A load that fails for want of memory is not a damaged model."""
    words = "llama-server process has terminated: cudaMalloc failed: out of memory"
    assert classify(500, words) is Fault.MEMORY
    assert classify(500, "model requires more system memory (9 GiB)") is Fault.MEMORY


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_predct": 8}, "num_predct"),
        ({"num_ctx": "256"}, "num_ctx"),
        ({"num_ctx": True}, "num_ctx"),
        ({"stop": "x"}, "stop"),
        ({"num_predict": 0}, "without limit"),
        ({"num_predict": -1}, "without limit"),
        ({"seed": -1}, "random"),
    ],
)
def test_wrong_options_are_found_here(options, words):
    """What the server would ignore or take amiss is refused before it is sent."""
    with pytest.raises(OllamaError, match=words) as caught:
        check_options(options)
    assert not caught.value.retryable


def test_every_option_that_is_sent_is_known():
    """What a profile and a decoding become passes the check."""
    profile = LoadProfile(slots=2, context=512, threads=3, gpu_layers=7)
    options = load_options(profile, 512) | run_options(Decoding(stop=("x",)), ("y",))
    assert check_options(options) == options
    assert (options["num_gpu"], options["num_thread"], options["stop"]) == (7, 3, ["x", "y"])
    assert "num_gpu" not in load_options(LoadProfile(), 512)
    assert "stop" not in run_options(Decoding(), ("y",))


def test_stops_of_a_model_are_read():
    """Stops are found among the other parameters, quoted as Go does."""
    text = (
        'num_ctx                        4096\nstop                           "<|a b|>"\nstop "\\n"'
    )
    assert stops_of(text) == ("<|a b|>", "\n")


@pytest.mark.parametrize(
    ("given_url", "url"),
    [
        ("localhost", "http://localhost:11434"),
        ("0.0.0.0:9", "http://127.0.0.1:9"),
        (":9", "http://127.0.0.1:9"),
        ("http://[::1]:9/", "http://[::1]:9"),
        ("https://gpu.example", "https://gpu.example:443"),
    ],
)
def test_addresses_are_understood(given_url, url):
    """Short forms mean what they mean to Ollama."""
    assert server_url(given_url) == url


@pytest.mark.parametrize("text", ["ftp://x", "http://x:99999", "http://x/api"])
def test_no_address(text):
    """What is no server's address is a UsageError."""
    with pytest.raises(UsageError):
        server_url(text)


def test_loopback():
    """This machine is known by its names; others are not taken for it."""
    assert all(map(is_loopback, ["http://localhost:1", "http://127.8.8.8:1", "http://[::1]:1"]))
    assert not any(map(is_loopback, ["http://10.0.0.1:1", "http://localhost.example:1"]))


def test_names_have_a_tag():
    """A name without a tag is `latest`; a port in a host name is no tag."""
    assert full_name("a") == "a:latest"
    assert full_name("hf.co/x/y:Q4") == "hf.co/x/y:Q4"
    assert full_name("host:5000/x/y") == "host:5000/x/y:latest"


def test_what_is_not_told_is_none():
    """Missing fields are unknown, never zero."""
    loaded = loaded_model({"model": "m"})
    assert (loaded.size, loaded.gpu_size, loaded.context, loaded.gpu_share) == (None,) * 4
    assert local_model({"name": "m", "size": True}).size is None
    assert shown({}).weights is None


def model(share=1.0, context=512):
    return ServerModel("m:latest", "d", 1000, round(1000 * share), context)


def answer(**fields):
    return OllamaAnswer("x", "stop", **fields)


def test_truncation_is_judged_by_our_own_count():
    """Fewer or more tokens than we count are findings; one begin-of-text token is not."""
    assert check_truncation(100, answer(prompt_tokens=101)) is None
    assert check_truncation(100, answer()) is None
    assert "cut" in check_truncation(300, answer(prompt_tokens=130)).message
    assert "longer" in check_truncation(14, answer(prompt_tokens=21)).message


def test_a_template_mismatch_shows_where():
    """The first character that differs is told, also where one text is only shorter."""
    assert check_template("abc", "abc") is None
    assert check_template("abc", "abd").data["position"] == 2
    assert check_template("abc", "ab").data["position"] == 2


def test_gpu_shares():
    """A fall is a stop, a partial first load a warning, and no GPU is one only where expected."""
    assert check_gpu(model(1.0), before=1.0) is None
    assert check_gpu(model(0.5), before=1.0).stop
    assert not check_gpu(model(0.5)).stop
    assert check_gpu(model(0.0)) is None
    assert check_gpu(model(0.0), gpu_expected=True) is not None


def test_the_canary_sings_once_and_again_after_recovery():
    """A lasting fall of speed is told once, and again only after it had recovered."""
    canary = SpeedCanary(window=4)

    def sing(speed, times):
        one = answer(completion_tokens=100, eval_seconds=100 / speed)
        fed = [canary.add(one) for _ in range(times)]
        return [finding for finding in fed if finding is not None]

    assert sing(50.0, 12) == []
    (slow,) = sing(10.0, 12)
    assert (slow.notice, slow.data) == (Notice.SLOW, {"usual": 50.0, "now": 10.0})
    assert sing(50.0, 12) == []
    assert len(sing(10.0, 12)) == 1


def test_the_canary_ignores_what_carries_no_speed():
    """One token, no time and very short answers are no speed."""
    canary = SpeedCanary(window=1)
    for odd in (
        answer(),
        answer(completion_tokens=1, eval_seconds=1e-6),
        answer(completion_tokens=9, eval_seconds=0.001),
    ):
        assert canary.add(odd) is None
    assert answer(completion_tokens=1, eval_seconds=1e-6).tokens_per_second is None


def test_scaled_times_keep_the_tries():
    """Scaling changes every time and no number of attempts."""
    small = Timing().scaled(0.1)
    assert small.answer.first_byte == pytest.approx(33.0)
    assert small.retries.attempts == Timing().retries.attempts
    assert small.poll == pytest.approx(0.025)


def test_public_names():
    """Every exported name exists and says what it is."""
    assert len(package.__all__) == len(set(package.__all__))
    for name in package.__all__:
        item = getattr(package, name)
        if inspect.isclass(item) or inspect.isfunction(item):
            assert item.__doc__, name
