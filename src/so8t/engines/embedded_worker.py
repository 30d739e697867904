"""The child side of the embedded engine: llama.cpp's server loop inside this process.

Run as `python -m so8t.engines.embedded_worker`; only this module imports xllamacpp. In and out go
JSON lines (so8t.system.child):

    {"op": "load", "path", "slots", "context", "threads", "gpu_layers", "batch", "cache_type",
     "template": null | {"source", "arguments", "now"}}
        -> {"op": "loaded", "slots", "context", "template_digest"}
        or {"op": "refused", "kind": "library" | "model" | "template", "message"}
    {"op": "answer", "ticket", "messages", "decoding", "prompt"}
    {"op": "choose", "ticket", "messages", "choices"}
    {"op": "measure", "ticket", "continuations": [[context, text], ...]}
        -> {"op": "answered", "ticket", "status", "text", "reason",
            "prompt_tokens", "completion_tokens", "seconds"}

An unforeseen error in a thread ends the process: the parent must see a crash, not silence.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import secrets
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

from so8t.domain.exchange import Message, PromptTemplate
from so8t.domain.measured import ChoiceMethod, first_token_choice, write_choice
from so8t.domain.thinking import CONTROL_MARKS, opened_by
from so8t.engines.measuring import Measuring
from so8t.engines.rendering import ChatTemplate
from so8t.errors import ModelError
from so8t.system.child import die_unforeseen, serve_messages

if TYPE_CHECKING:
    from collections.abc import Callable

    Reply = Callable[[dict[str, Any]], None]

_ERRORS_ONLY = 1
_HTTP_OK = 200
_CACHE_TYPES = {"f32": 0, "f16": 1, "q8_0": 8}  # ggml's numbers
_RENDER_SECONDS = 60.0
_FIRST_TOKENS = 20  # as many as Ollama tells, so that the method is the same on both
_CONSTRAINED_TOKENS = 16

# Everything that can change an answer is said with each request: a GGUF may carry sampling
# defaults of its own, which would otherwise differ silently between A and B.
_NEUTRAL_SAMPLING: dict[str, Any] = {
    "samplers": ["top_k", "top_p", "temperature"],
    "min_p": 0.0,
    "typical_p": 1.0,
    "repeat_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "dry_multiplier": 0.0,
    "xtc_probability": 0.0,
    "mirostat": 0,
    "dynatemp_range": 0.0,
    # A cache hit computes the prompt in other batch shapes, which changes the low bits of the
    # logits; then an answer depends on the questions asked before it.
    "cache_prompt": False,
    "stream": False,
    # Control tokens are left out of a text unless they are named: without these marks thinking
    # and answer would run into each other.
    "preserved_tokens": list(CONTROL_MARKS),
}


class _TemplateError(Exception):
    """The model's chat template refuses these messages."""


def import_library() -> None:
    """Import llama.cpp, and what the loopback client loads at its first request. ImportError.

    Call it while nobody reads standard input (see `so8t.system.child.serve_messages`).
    """
    import_module("xllamacpp")
    import_module("unicodedata")  # host names are put into IDNA with it
    # What reads and renders the model's chat template.
    import_module("gguf")
    import_module("jinja2.sandbox")


class LoadedModel:
    """One model in llama.cpp's server, without a network in the way of its answers."""

    def __init__(self, load: dict[str, Any]) -> None:
        """Load the model. Raises ImportError without xllamacpp, RuntimeError when it fails."""
        import xllamacpp  # noqa: PLC0415 - 100 MB of native code: only after a load was asked for

        self._key = secrets.token_hex(32)
        self._server = xllamacpp.Server(_parameters(xllamacpp, load, self._key))
        self._address = urlsplit(self._server.listening_address).netloc
        self.properties: dict[str, Any] = self._call("GET", "/props", None)
        template = load.get("template")
        wanted = None if template is None else PromptTemplate(**template)
        # Rendered as Hugging Face does it, with the run's clock; llama.cpp's own renderer asks the
        # machine's.
        self.template = ChatTemplate(Path(load["path"]), wanted)
        self._begins = bool(self.tokenize("", special=True))

    def render(self, messages: list[dict[str, str]]) -> str:
        """Render messages with the model's chat template. Raises _TemplateError.

        The text that begins a text is left to the tokenizer, where that adds it.
        """
        typed = tuple(Message(one["role"], one["content"]) for one in messages)  # type: ignore[arg-type]
        try:
            rendering = self.template.render(typed)
        except ModelError as error:
            raise _TemplateError(error.message) from error
        if rendering is None:
            raise _TemplateError(
                "the model has no chat template (a base model): it continues texts and measures "
                "them, but answers no conversations"
            )
        begin = self.template.begin
        return rendering.text.removeprefix(begin) if self._begins and begin else rendering.text

    def answer(
        self, messages: list[dict[str, str]], decoding: dict[str, Any], plain: str | None = None
    ) -> dict[str, Any]:
        """Answer one request; returns the fields of an EngineReply besides its key.

        The chat endpoint would strip white space at the start of an answer, so the template is
        rendered first and the plain completion endpoint gives the text back whole. A thinking mark
        that the template opened stands before the text: it is part of the reply. A `plain` text is
        continued as it stands.
        """
        try:
            prompt = self.render(messages) if plain is None else plain
            body = {**_NEUTRAL_SAMPLING, **_sampling(decoding), "prompt": prompt}
            response: dict[str, Any] = self._server.handle_completions(body)
        except (_TemplateError, RuntimeError) as error:
            # RuntimeError is how xllamacpp reports a body that its JSON parser refuses.
            return {"status": "failed", "reason": f"request: {error}"}
        if "error" in response:
            return _refusal(response["error"])
        choice, usage = response["choices"][0], response["usage"]
        return {
            "status": "truncated" if choice["finish_reason"] == "length" else "completed",
            "text": (opened_by(prompt) if plain is None else "") + choice["text"],
            "prompt_tokens": usage["prompt_tokens"],
            "completion_tokens": usage["completion_tokens"],
        }

    def choose(self, messages: list[dict[str, str]], labels: list[str]) -> dict[str, Any]:
        """Choose a label by the log probabilities of the first token, else by a grammar."""
        try:
            prompt = self.render(messages)
            asked = {**_NEUTRAL_SAMPLING, "prompt": prompt, "temperature": 0.0}
            first = self.complete({**asked, "n_predict": 1, "n_probs": _FIRST_TOKENS})
            text = None
            if first["completion_probabilities"]:
                top = first["completion_probabilities"][0]["top_logprobs"]
                text = first_token_choice({one["token"]: one["logprob"] for one in top}, labels)
            if text is None:
                schema = {"json_schema": {"enum": labels}, "n_predict": _CONSTRAINED_TOKENS}
                said = self.complete({**asked, **schema})["content"]
                text = write_choice(ChoiceMethod.CONSTRAINED, labels.index(json.loads(said)))
        except (_TemplateError, ValueError) as error:
            return {"status": "failed", "reason": f"request: {error}"}
        return {
            "status": "completed",
            "text": text,
            "prompt_tokens": first["tokens_evaluated"],
            "completion_tokens": first["tokens_predicted"],
        }

    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        """Ask llama.cpp's own completion endpoint, which tells more than the compatible one."""
        return self._call("POST", "/completion", body)

    # --- the tokenizer, as so8t.engines.likelihood wants it --------------------------------------

    @property
    def end_token(self) -> int:
        """The token that ends a text (EOS)."""
        return self.tokenize(self.properties["eos_token"], special=False)[0]

    def token_text(self, token: int) -> str:
        """Return how the vocabulary writes a token."""
        return str(self._call("POST", "/detokenize", {"tokens": [token]})["content"])

    def tokenize(self, text: str, *, special: bool) -> list[int]:
        """Turn text into tokens."""
        body = {"content": text, "add_special": special, "parse_special": True}
        tokens: list[int] = self._call("POST", "/tokenize", body)["tokens"]
        return tokens

    def _call(self, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        """Ask an endpoint that xllamacpp offers on its loopback listener only."""
        connection = http.client.HTTPConnection(self._address, timeout=_RENDER_SECONDS)
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        try:
            connection.request(method, path, json.dumps(body) if body else None, headers)
            response = connection.getresponse()
            content: dict[str, Any] = json.loads(response.read())
        finally:
            connection.close()
        if response.status != _HTTP_OK:
            raise _TemplateError(content.get("error", {}).get("message", str(content)))
        return content


def _parameters(xllamacpp: Any, load: dict[str, Any], key: str) -> Any:
    """xllamacpp's settings for a load message: nothing automatic, nothing remembered."""
    parameters = xllamacpp.CommonParams()
    parameters.model.path = load["path"]
    parameters.n_parallel = load["slots"]
    # llama.cpp divides its context between the slots.
    parameters.n_ctx = load["context"] * load["slots"]
    parameters.n_gpu_layers = load["gpu_layers"]
    if load["threads"] is not None:
        parameters.cpuparams.n_threads = load["threads"]
        parameters.cpuparams_batch.n_threads = load["threads"]
    if load["batch"] is not None:
        parameters.n_batch = parameters.n_ubatch = load["batch"]
    if load["cache_type"] is not None:
        parameters.cache_type_k = parameters.cache_type_v = _CACHE_TYPES[load["cache_type"]]
        # A quantized V cache is read by flash attention only.
        parameters.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_ENABLED
    parameters.verbosity = _ERRORS_ONLY
    parameters.offline = True
    # A prompt that does not fit is refused, never cut.
    parameters.ctx_shift = False
    # Fitting to the memory that happens to be free would give A and B different engines.
    parameters.fit_params = False
    parameters.kv_unified = False
    parameters.cache_prompt = False
    parameters.cache_ram_mib = 0
    parameters.cache_idle_slots = False
    parameters.n_ctx_checkpoints = 0
    parameters.slot_prompt_similarity = 0.0
    parameters.use_jinja = True
    parameters.reasoning_format = xllamacpp.common_reasoning_format.COMMON_REASONING_FORMAT_NONE
    parameters.force_pure_content_parser = True
    # A last message of the assistant is a turn like the others, not the start of the answer.
    parameters.prefill_assistant = False
    # The listener cannot be switched off: loopback, a free port, a key nobody knows.
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    parameters.api_keys = [key]
    parameters.ui = False
    parameters.endpoint_slots = False
    parameters.n_threads_http = load["slots"] + 1
    return parameters


def _sampling(decoding: dict[str, Any]) -> dict[str, Any]:
    return {
        "max_tokens": decoding["max_tokens"],
        "temperature": decoding["temperature"],
        "top_p": decoding["top_p"],
        "top_k": decoding["top_k"],
        "seed": decoding["seed"],
        "stop": list(decoding["stop"]),
    }


def _refusal(error: dict[str, Any]) -> dict[str, Any]:
    if error.get("type") == "exceed_context_size_error":
        return {
            "status": "failed",
            "reason": "context",
            "prompt_tokens": error.get("n_prompt_tokens"),
        }
    return {"status": "failed", "reason": f"request: {error.get('message', error)}"}


class _Worker:
    """Takes messages and hands the work to threads, so that the end of input is seen at once."""

    def __init__(self) -> None:
        self._model: LoadedModel | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._measuring: Measuring | None = None

    def handle(self, message: dict[str, Any], reply: Reply) -> None:
        if message["op"] == "load":
            try:
                import_library()
            except ImportError as error:
                reply({"op": "refused", "kind": "library", "message": str(error)})
                return
            threading.Thread(target=_or_die, args=(self._load, message, reply)).start()
        elif message["op"] == "measure" and self._measuring is not None:
            self._measuring.put(message, reply)
        elif message["op"] in {"answer", "choose"} and self._pool is not None:
            self._pool.submit(_or_die, self._answer, message, reply)
        else:
            raise ValueError(f"unexpected message: {message['op']}")

    def _load(self, message: dict[str, Any], reply: Reply) -> None:
        try:
            model = LoadedModel(message)
        except ModelError as error:
            reply({"op": "refused", "kind": "template", "message": error.message})
            return
        except RuntimeError as error:
            reply({"op": "refused", "kind": "model", "message": str(error)})
            return
        self._model = model
        self._pool = ThreadPoolExecutor(message["slots"], thread_name_prefix="answer")
        context = model.properties["default_generation_settings"]["n_ctx"]
        self._measuring = Measuring(message, model, context)
        threading.Thread(target=_or_die, args=(self._measuring.work, None, None)).start()
        template = model.template.source or ""
        reply(
            {
                "op": "loaded",
                "slots": model.properties["total_slots"],
                "context": context,
                "template_digest": f"sha256:{hashlib.sha256(template.encode()).hexdigest()}",
            }
        )

    def _answer(self, message: dict[str, Any], reply: Reply) -> None:
        if self._model is None:
            raise ValueError("asked before a model was loaded")
        started = time.perf_counter()
        if message["op"] == "choose":
            answer = self._model.choose(message["messages"], message["choices"])
        else:
            plain = message.get("prompt")
            answer = self._model.answer(message["messages"], message["decoding"], plain)
        answer["seconds"] = time.perf_counter() - started
        reply({"op": "answered", "ticket": message["ticket"], **answer})


def _or_die(work: Callable[[dict[str, Any], Reply], None], message: Any, reply: Reply) -> None:
    try:
        work(message, reply)
    except BaseException:  # noqa: BLE001 - it ends the process: nothing is swallowed
        die_unforeseen()


def main() -> NoReturn:
    """Serve until standard input ends."""
    serve_messages(_Worker().handle)


if __name__ == "__main__":
    main()
