"""The fake server answers as the real one was recorded answering."""

from __future__ import annotations

import http.client
import json
import re

import pytest
from wire import body_chunks, recordings

from fake_ollama import FakeOllama, Toy

RECORDED = {}
for identity, recorded in recordings():
    RECORDED.setdefault(identity.partition("#")[0], []).append(recorded)

# Times, digests and sizes differ on every run; a layer is `creating new` or `using existing`
# depending on what was created before.
VOLATILE = {
    "created_at",
    "modified_at",
    "expires_at",
    "size",
    "digest",
    "total_duration",
    "load_duration",
    "prompt_eval_duration",
    "eval_duration",
    "modelfile",
    "model_info",
    "tensors",
}
LAYER = re.compile(r"(creating new|using existing) layer sha256:[0-9a-f]{64}")

# What each scenario needs, besides the models cyc, cyc-q8, rep, rep_gguf, cyc_nt.
LOADED = {"60_unload_poll_ps"}
EMPTY = {"02_tags_ps_empty"}
LISTED = {"18_tags": ["cyc", "rep_gguf", "cyc-q8"]}
BLOBS = {
    "07_create_no_stream",
    "12_create_bad_quantize",
    "13_create_quantize_q8_0",
    "83_server_killed_mid_create",
}
SCENARIOS = [
    "01_version",
    "02_tags_ps_empty",
    "04_blob_bad_digest",
    "07_create_no_stream",
    "09_create_no_source_400",
    "12_create_bad_quantize",
    "13_create_quantize_q8_0",
    "14_create_bad_template_400",
    "16_copy_delete",
    "17_show",
    "18_tags",
    "19_ps_empty_then_loaded",
    "20_create_missing_blob",
    "21_create_from_absent_pulls",
    "22_bad_request_bodies",
    "30_preload",
    "31_generate_nonstream",
    "32_generate_stream",
    "33_chat_stream",
    "34_chat_nonstream",
    "35_stop_by_eos",
    "36_stop_sequence_logprobs",
    "37_logprobs_top5",
    "37b_large_body",
    "38_top_logprobs_21_400",
    "39_model_not_found",
    "40_wrong_option_type_500",
    "41_unknown_option_ignored",
    "42_context_overflow_generate",
    "43_context_overflow_chat",
    "44_context_edge",
    "45_shift_false_limit",
    "46_token_repeat",
    "47_multibyte_u0085",
    "48_multibyte_logprobs",
    "49_format_schema",
    "50_format_bad",
    "51_format_bad_schema",
    "52_think_unsupported_400",
    "53_num_predict_0",
    "54_debug_render_only",
    "56_raw_or_template",
    "60_unload_poll_ps",
    "61_reload_num_ctx",
    "66_prompt_with_keep_alive_0",
    "77_plain_text_404_405",
    "78_bad_host_403",
]
# What the fake does not do, exchange by exchange, each with its reason.
BEYOND = {
    "43_context_overflow_chat#2": "which tokens a chat loses is its template's affair",
    "43_context_overflow_chat#3": "as above",
    "52_think_unsupported_400#2": "no thinking at all",
    "53_num_predict_0#4": "a model without a template takes 0 as 1; nobody may send 0",
    "77_plain_text_404_405#5": "no redirect of a trailing slash",
}


# Below this log probability all tokens are equally unlikely: which of them are told is chance.
UNLIKELY = -20.0


def _steady(value):
    if isinstance(value, dict):
        if value.get("logprob", 0) < UNLIKELY:
            return {"logprob": value["logprob"], "alone": sorted(value)}
        return {key: _steady(item) for key, item in value.items() if key not in VOLATILE}
    if isinstance(value, list):
        return [_steady(item) for item in value]
    if isinstance(value, str):
        return LAYER.sub("layer", value)
    return value


def _lines(body):
    text = body.decode()
    try:
        return [_steady(json.loads(line)) for line in text.split("\n") if line.strip()]
    except ValueError:
        return text


def _ask(fake, request):
    connection = http.client.HTTPConnection("127.0.0.1", int(fake.url.rpartition(":")[2]))
    note = request.get("body_note") or {}
    content = note.get("not_json")
    if content is None and request["body"] is not None:
        content = json.dumps(request["body"])
    headers = {k: v for k, v in request["headers"].items() if k == "host"}
    try:
        connection.request(request["method"], request["path"], body=content, headers=headers)
        response = connection.getresponse()
        return response.status, response.getheader("content-type") or "", response.read()
    finally:
        connection.close()


def _prepare(fake, scenario):
    if scenario in EMPTY:
        return
    models = {
        "cyc": Toy(),
        "rep_gguf": Toy(kind="rep", weights="b" * 64),
        "cyc-q8": Toy(weights="c" * 64, quantization="Q8_0", size=1_553_751),
        "rep": Toy(kind="rep", weights="b" * 64),
        "utf": Toy(kind="utf", weights="e" * 64),
        "cyc_nt": Toy(template="", weights="d" * 64),
    }
    for name in LISTED.get(scenario, models):
        fake.add(name, models[name])
    if scenario == "16_copy_delete":
        fake.store.remove("cyc-copy")
    if scenario == "13_create_quantize_q8_0":
        fake.store.remove("cyc-q8")
    if scenario in BLOBS:
        for recorded in RECORDED[scenario]:
            for digest in ((recorded["request"]["body"] or {}).get("files") or {}).values():
                fake.store.blobs[digest] = b""
    if scenario in LOADED:
        runner, *_seconds = fake.store.acquire("cyc", {"num_ctx": 2048})
        fake.store.release("cyc", runner, keep=True)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_as_recorded(scenario):
    """Status, kind of content and every steady field are those of the real server."""
    with FakeOllama() as fake:
        _prepare(fake, scenario)
        for number, recorded in enumerate(RECORDED[scenario]):
            identity = f"{scenario}#{number}"
            response = recorded["response"]
            status, kind, body = _ask(fake, recorded["request"])
            if identity in BEYOND:
                continue
            true_kind = response["headers"].get("content-type", "")
            true_body = b"".join(body_chunks(response))
            assert (identity, status) == (identity, response["status"])
            if status != 404 or true_body:
                assert (identity, kind.partition(";")[0]) == (
                    identity,
                    true_kind.partition(";")[0],
                )
            assert (identity, _lines(body)) == (identity, _lines(true_body))
