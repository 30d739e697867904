"""What a person can ask for, as pydantic models. The JSON Schema for editors is made from these.

Every field has a default that is right for most people, or none where only the person can know.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    PositiveInt,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from so8t.config.engine_section import ENGINES, EngineSection, engine_settings
from so8t.config.engine_section import Strict as _Strict
from so8t.config.machine_section import TIME_OF_DAY, Notify, Recovery, Resources
from so8t.domain.model_form import ModelForm

Quantization = Literal[
    "f32",
    "f16",
    "bf16",
    "q8_0",
    "q6_k",
    "q5_k_m",
    "q5_k_s",
    "q5_1",
    "q5_0",
    "q4_k_m",
    "q4_k_s",
    "q4_1",
    "q4_0",
    "iq4_nl",
    "iq4_xs",
    "q3_k_l",
    "q3_k_m",
    "q3_k_s",
    "q2_k",
    "q2_k_s",
]
#: The suite that ships with the package, as `benchmark.suites` names it.
DEFAULT_SUITE = "default"
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


#: The keys of a source, and what each names.
_FORMS = {
    "hf": ModelForm.WEIGHTS,
    "gguf": ModelForm.FILE,
    "ollama": ModelForm.SERVED,
    "served": ModelForm.SERVED,
}


class Source(_Strict):
    """Where a model comes from; exactly one of hf, gguf, ollama and served."""

    hf: str | None = Field(
        default=None, description="a directory in Hugging Face format, or an id on the hub"
    )
    gguf: str | None = Field(default=None, description="a GGUF file")
    ollama: str | None = Field(default=None, description="a tag of the Ollama server")
    served: str | None = Field(
        default=None, description="the name that a server of models knows it by"
    )
    revision: str | None = Field(default=None, description="hub only: commit, tag or branch")
    adapter: Path | None = Field(
        default=None,
        description="hf only: directory of a PEFT adapter (LoRA or OFT), merged into the weights",
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [key for key in _FORMS if getattr(self, key) is not None]
        if len(given) != 1:
            *others, last = _FORMS
            raise ValueError(
                f"a source is exactly one of {', '.join(others)} and {last}; "
                f"given: {given or 'none'}"
            )
        if self.revision is not None and self.hf is None:
            raise ValueError("revision belongs to an hf source")
        if self.adapter is not None and self.hf is None:
            raise ValueError("adapter belongs to an hf source: only its weights can be changed")
        return self

    @property
    def key(self) -> str:
        """The key that names the model."""
        return next(key for key in _FORMS if getattr(self, key) is not None)

    @property
    def location(self) -> str:
        """What stands behind that key: a path, an id on the hub, or a name on a server."""
        return str(getattr(self, self.key))

    @property
    def form(self) -> ModelForm:
        """In which form the model is there."""
        return _FORMS[self.key]


class DataPolicy(_Strict):
    """What becomes of training data that should not be learnt; found and reported in any case."""

    personal_data: Literal["mask", "exclude", "fail", "keep"] = Field(
        default="mask",
        description="e-mail and postal addresses, telephone, card and My Numbers, IP addresses, "
        "keys: mask them ([EMAIL]), leave the line out, refuse to start, or keep them",
    )
    confidential: Literal["exclude", "fail", "keep"] = Field(
        default="exclude",
        description="lines that are marked confidential (社外秘, 機密, CONFIDENTIAL)",
    )


class Finetune(_Strict):
    """Phase 2: how B is made from A."""

    method: Literal["so8", "lora", "qlora"] = Field(
        default="so8",
        description="so8: block-diagonal SO(8) rotations; lora: low-rank updates; qlora: low-rank "
        "updates beside a base in 4 bits (needs CUDA and bitsandbytes). All are merged into the "
        "weights at the end",
    )
    data: list[Path] = Field(
        min_length=1,
        description="JSONL files; a line is {messages: [...]}, {instruction, input, output} or "
        "{prompt, thinking: {task, safety, policy}, final}",
    )
    steps: int = Field(default=300, ge=0, description="optimizer steps; 0 leaves B equal to A")
    max_seconds: float | None = Field(
        default=None,
        gt=0,
        description="time for the whole training, from its start until B is written: steps stop "
        "early enough, but one is always taken. Each training of a search has this time",
    )
    batch_size: PositiveInt = Field(default=32, description="conversations a step")
    micro_batch: PositiveInt | None = Field(
        default=None,
        description="conversations in memory at once; gradients add up to those of batch_size. "
        "Default: batch_size; halved when memory runs out",
    )
    gradient_checkpointing: bool = Field(
        default=False, description="compute activations twice instead of keeping them"
    )
    activation_offloading: bool = Field(
        default=False,
        description="on a card: activations wait in the machine's memory for the backward pass",
    )
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32", description="type of the frozen base in memory while training"
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="auto: CUDA where there is a GPU"
    )
    learning_rate: float | None = Field(
        default=None, gt=0, description="default: 0.01 for so8, 0.0005 for lora and qlora"
    )
    warmup_steps: int = Field(
        default=20, ge=0, description="steps in which the learning rate rises to its largest"
    )
    max_length: int = Field(default=512, ge=8, description="tokens; longer examples are refused")
    targets: list[str] = Field(
        default=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
        min_length=1,
        description="linear layers that are trained: so8 rotates their inputs, lora adds to them",
    )
    rank: PositiveInt = Field(default=8, description="lora and qlora: rank of the update")
    alpha: float = Field(default=16.0, gt=0, description="lora and qlora: scale is alpha / rank")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="lora and qlora")
    pet: bool = Field(
        default=False,
        description="add a penalty on second differences of hidden states along the sequence, "
        "with weight 0.01, from 20 % of the steps 0.05, from 60 % 0.1",
    )
    packing: bool = Field(
        default=False,
        description="several conversations in a row instead of padding; the loss is the same",
    )
    leaks: Literal["drop", "fail", "keep"] = Field(
        default="drop",
        description="training lines that a benchmark item stands in: drop them, refuse to start, "
        "or keep them; found and reported in any case",
    )
    policy: DataPolicy = DataPolicy()
    safety_data: list[Path] = Field(
        default=[],
        description="those files of `data` that are safety corpora: each answer in them must "
        "refuse or be a label, or the run does not start",
    )
    held_out: float = Field(
        default=0.05, gt=0, lt=0.5, description="share of the data held out, by content hash"
    )
    seed: int = Field(default=1, description="order of the data, dropout, and where B begins")
    threads: PositiveInt | None = Field(
        default=None, description="default: the physical cores; recorded, since it changes low bits"
    )
    checkpoint_interval: float = Field(
        default=180.0, ge=0, description="seconds between checkpoints; 0: after every step"
    )
    checkpoints_kept: PositiveInt = Field(default=5, description="older ones are removed")
    memory_limit_gb: float | None = Field(
        default=None,
        gt=0,
        description="the most memory that the training process may take (Linux); beyond it the "
        "next smaller setting is tried",
    )
    n_trials: int = Field(
        default=0,
        ge=0,
        description="search learning rate, targets and (lora) rank in so many trials before the "
        "training; what counts is the held-out loss alone",
    )

    @model_validator(mode="after")
    def _safety_data_is_data(self) -> Self:
        for file in self.safety_data:
            if file not in self.data:
                raise ValueError(f"safety_data names {file}, which is none of the files in data")
        return self

    @model_validator(mode="after")
    def _offloading_needs_a_card(self) -> Self:
        if self.activation_offloading and self.device == "cpu":
            raise ValueError(
                "activation_offloading moves activations off a card, and device is cpu"
            )
        return self

    @property
    def rate(self) -> float:
        """The largest learning rate: as set, or the method's default."""
        if self.learning_rate is not None:
            return self.learning_rate
        return 0.01 if self.method == "so8" else 0.0005


def _check_imatrix(imatrix: object, quantization: Quantization, source: Source | None) -> None:
    """Refuse an importance matrix that would have no effect."""
    if imatrix is None:
        return
    if source is not None and source.hf is None:
        raise ValueError("imatrix belongs to an hf source: a GGUF file or a tag is ready made")
    if quantization in {"f32", "f16", "bf16", "q8_0"}:
        raise ValueError(
            f"imatrix has no effect on {quantization}; choose a quantization of 6 bits or fewer, "
            "or leave it out"
        )


class ArmA(_Strict):
    """The base."""

    label: str = Field(default="A", description="how the report names this model")
    source: Source
    quantization: Quantization = Field(
        default="q8_0", description="type of the GGUF made from an hf source"
    )
    measure_quantization: bool = Field(
        default=False,
        description="compare the quantized model with F16 on a few questions and report what "
        "quantization alone costs",
    )
    imatrix: Literal["auto"] | Path | None = Field(
        default=None,
        description="importance matrix for quantizations of 6 bits and below: auto computes one "
        "of this model and the text of `calibration`; or a file of llama-imatrix (GGUF or .dat)",
    )
    template: str | None = Field(
        default=None,
        description="chat template in place of the model's own: a Jinja file, or the text itself",
    )
    template_arguments: dict[str, Any] = Field(
        default={},
        description="what the chat template is given besides the conversation, for example "
        "{enable_thinking: false}",
    )

    @model_validator(mode="after")
    def _imatrix_has_an_effect(self) -> Self:
        _check_imatrix(self.imatrix, self.quantization, self.source)
        return self

    @model_serializer(mode="wrap")
    def _plain(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _as_named(self, handler(self))


def _as_named(arm: ArmA | ArmB, plain: dict[str, Any]) -> dict[str, Any]:
    """Leave a GGUF file's quantization in plain data exactly where a person named it.

    The default is for what is converted here. Written out, it would ask the next start, which reads
    the config from the journal or the registry, to quantize a file that is to stay what it is.
    """
    if arm.source is not None and arm.source.gguf is not None:
        plain.pop("quantization", None)
        if "quantization" in arm.model_fields_set:
            plain["quantization"] = arm.quantization
    return plain


class ArmB(_Strict):
    """The model in question: fine-tuned here from A, or brought along."""

    label: str = Field(default="B", description="how the report names this model")
    source: Source | None = Field(default=None, description="a model that exists already")
    finetune: Finetune | None = Field(default=None, description="make B from A's hf source")
    quantization: Quantization = Field(default="q8_0", description="as for a")
    measure_quantization: bool = Field(default=False, description="as for a")
    imatrix: Literal["auto"] | Path | None = Field(default=None, description="as for a")
    template: str | None = Field(default=None, description="as for a")
    template_arguments: dict[str, Any] = Field(default={}, description="as for a")

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if (self.source is None) == (self.finetune is None):
            raise ValueError("b needs either a source or finetune, and not both")
        _check_imatrix(self.imatrix, self.quantization, self.source)
        return self

    @model_serializer(mode="wrap")
    def _plain(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _as_named(self, handler(self))


class TaskConfig(_Strict):
    """A named benchmark read from local files."""

    name: str = Field(description="jcommonsenseqa, gsm8k, ...: docs/suite-format.md lists them")
    data: Path = Field(description="the file or directory that holds it")
    limit: PositiveInt | None = Field(
        default=None, description="a seeded random subset of this size, never the first items"
    )
    few_shot: int = Field(
        default=0, ge=0, description="solved examples before each question, from its train file"
    )
    strict: bool = Field(
        default=False,
        description="refuse a set with an item that cannot be asked; else it is left out and named",
    )


class JudgeConfig(_Strict):
    """The model that questions with the grader `judge` ask which of two answers is better."""

    source: Source = Field(description="a GGUF file or a name on a server of models")
    max_tokens: PositiveInt = Field(default=256, description="token budget of a judgement")

    @model_validator(mode="after")
    def _ready_to_serve(self) -> Self:
        if self.source.form is ModelForm.WEIGHTS:
            raise ValueError("a judge's source is a GGUF file or a name on a server of models")
        return self


class HfTask(_Strict):
    """A task of lm-evaluation-harness; a name alone stands for one without options."""

    name: str = Field(
        description="glue, superglue, japanese, one of these (superglue/boolq), or any task, "
        "group or tag of lm-eval"
    )
    data_dir: Path | None = Field(
        default=None, description="folder with the files; default: the hub, or its cache"
    )
    num_fewshot: int | None = Field(
        default=None, ge=0, description="solved examples before each question; default: the task's"
    )
    limit: PositiveInt | None = Field(
        default=None, description="a seeded random subset of each task, never the first items"
    )
    metric: str | None = Field(
        default=None, description="what scores an item in the verdict; default: the task's first"
    )

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @classmethod
    def __get_pydantic_json_schema__(cls, core: Any, handler: Any) -> Any:
        """Tell editors that a name alone is right as well."""
        plain = handler.resolve_ref_schema(handler(core))
        whole = dict(plain)
        plain.clear()
        return plain | {"anyOf": [{"type": "string"}, whole]}


class BenchmarkConfig(_Strict):
    """Phase 4: what both models are asked."""

    suites: list[Path] = Field(
        default=[],
        description="suite files (JSONL or YAML), directories of such files, or `default`, the "
        "suite that ships with so8t",
    )
    tasks: list[TaskConfig] = Field(default=[], description="named benchmarks")
    hf: list[HfTask] = Field(
        default=[],
        description="tasks of lm-evaluation-harness, by exact log likelihood (extra `hf`)",
    )
    choice_method_sample: int = Field(
        default=32,
        ge=0,
        description="choices of hf that the embedded engine answers a second time as a chat "
        "would, so that the report can say how far the two methods agree",
    )
    block: float = Field(
        default=0.05, gt=0, le=1, description="share of the items between changes of model"
    )
    noise_floor: int = Field(
        default=32, ge=0, description="items that each model answers twice (its own flip rate)"
    )
    repeats: int = Field(
        default=1,
        ge=1,
        le=1000,
        description="answers to each question, at a temperature above 0; their mean counts. More "
        "questions say more than more repeats",
    )
    reuse_baseline: bool = Field(
        default=True,
        description="take A's answers from earlier runs below `output` where model, engine, "
        "settings and question are the same",
    )

    @model_validator(mode="after")
    def _something_to_ask(self) -> Self:
        if not self.suites and not self.tasks and not self.hf:
            raise ValueError("nothing to ask: name at least one suite or task")
        return self


class Generation(_Strict):
    """How answers are decoded. The token budget is part of the test."""

    max_tokens: PositiveInt = Field(
        default=256, description="tokens of an answer, thinking included; longer ones are cut off"
    )
    temperature: float = Field(
        default=0.0, ge=0, description="0: always the likeliest token; above: drawn with `seed`"
    )
    top_p: float = Field(
        default=1.0, gt=0, le=1, description="draw from the likeliest tokens of this share together"
    )
    top_k: int = Field(
        default=0, ge=0, description="draw from so many of the likeliest tokens; 0: from all"
    )
    stop: list[str] = Field(default=[], description="texts that end an answer; not part of it")


class VerdictConfig(_Strict):
    """What counts as an answer to the question; frozen before the first item."""

    alpha: float = Field(default=0.05, gt=0, lt=0.5, description="error rate of a false verdict")
    margin: float | None = Field(
        default=None, gt=0, lt=1, description="differences below this count as equivalent"
    )
    scope: Literal["population", "benchmark"] = Field(
        default="population",
        description="population: of all questions like these; benchmark: of these questions alone, "
        "which is sharper and says less",
    )
    stop: Literal["early", "full"] = Field(
        default="early", description="early: stop at the first block end that decides"
    )
    average: Literal["micro", "macro"] = Field(
        default="micro",
        description="micro: every item weighs alike; macro: every task does, over blocks of one "
        "item of each task (what larger tasks have beyond that counts for the task alone)",
    )
    exploratory: list[str] = Field(
        default=[],
        description="categories and tasks that are only looked through (false discovery rate "
        "10 %, e-BH) and leave the error rate of the others alone",
    )
    deadline: str | None = Field(
        default=None,
        pattern=TIME_OF_DAY,
        description='"07:00": the best verdict by then, local time; the time that is left after '
        "the overall verdict goes to the tasks that are still undecided",
    )


class RunConfig(_Strict):
    """One comparison of two models."""

    name: Name = Field(description="the run's name, and its directory below `output`")
    a: ArmA
    b: ArmB
    benchmark: BenchmarkConfig
    engine: EngineSection = Field(default_factory=engine_settings)
    llama_cpp: Path | None = Field(
        default=None,
        description="a checkout of llama.cpp, whose convert_hf_to_gguf.py takes the architectures "
        "that are not built in",
    )
    calibration: Path | None = Field(
        default=None,
        description="a plain text (UTF-8) that `imatrix: auto` reads; default: the training data "
        "of b.finetune, as the chat template writes it. Never text of the benchmark",
    )
    generation: Generation = Generation()
    judge: JudgeConfig | None = None
    verdict: VerdictConfig = VerdictConfig()
    resources: Resources = Resources()
    seed: int = Field(default=1, ge=0, description="order of the items, sampling, fine-tuning data")
    output: Path = Field(
        default=Path("runs"), description="where run directories are made; relative to here"
    )
    language: Literal["auto", "en", "ja"] = Field(
        default="auto",
        description="of what is said, of the report and of notifications; auto: as the system is "
        "set. `--lang` wins",
    )
    recovery: Recovery = Recovery()
    notify: Notify = Notify()
    keep_awake: bool = Field(
        default=True, description="keep the machine from sleeping while the run works"
    )

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.benchmark.repeats > 1 and self.generation.temperature == 0:
            raise ValueError(
                "benchmark.repeats needs generation.temperature above 0: greedy answers repeat "
                "themselves"
            )
        if self.b.finetune is not None and self.a.source.hf is None:
            raise ValueError(
                "b.finetune needs a.source.hf: only Hugging Face weights can be trained"
            )
        self._calibration_fits()
        judge = None if self.judge is None else self.judge.source
        for arm, source in (("a", self.a.source), ("b", self.b.source), ("judge", judge)):
            if source is not None and source.form is ModelForm.SERVED:
                _check_served(arm, source, self.engine.SOURCE_KEY)
        return self

    def _calibration_fits(self) -> None:
        wanted = "auto" in (self.a.imatrix, self.b.imatrix)
        if wanted and self.calibration is None and self.b.finetune is None:
            raise ValueError(
                "imatrix: auto needs a text: name one with `calibration` (b.finetune, whose data "
                "would be taken, is not there)"
            )
        if self.calibration is not None and not wanted:
            raise ValueError("calibration has no effect without imatrix: auto")


def _check_served(arm: str, source: Source, key: str | None) -> None:
    """Refuse a name on a server where another engine was asked for."""
    if source.key != key:
        able = [
            name
            for name, kind in ENGINES.usable().items()
            if source.key == kind.settings.SOURCE_KEY
        ]
        raise ValueError(f"{arm}.source.{source.key} needs engine.kind: {' or '.join(able)}")
