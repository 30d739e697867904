"""From a name in the config to frozen samples, with lm-eval's own prompts and few-shot examples."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from so8t.domain.canonical import canonical_json
from so8t.domain.exchange import Continuation, Form, Message
from so8t.domain.language import is_japanese
from so8t.domain.sample import Origin, Sample
from so8t.errors import DataError, PrerequisiteError, UsageError
from so8t.tasks.benchmarks.base import LETTERS, lettered
from so8t.tasks.graders.registry import LM_EVAL
from so8t.tasks.hf import catalogue
from so8t.tasks.hf.local import expected_file, read_splits, row_place
from so8t.tasks.hf.scoring import BINARY, item_score, process, trial

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

#: lm-eval's default seed for the choice of few-shot examples.
_FEWSHOT_SEED = 1234
#: Characters of a row that a message shows.
_SHOWN = 300
#: lm-eval's default token budget of a generated answer.
_MAX_TOKENS = 256
#: Columns that several questions of a set may share; such questions are a cluster.
_SHARED_COLUMNS = ("paragraph", "passage", "context")


def load_hf_task(
    name: str,
    *,
    data_dir: Path | None = None,
    num_fewshot: int | None = None,
    limit: int | None = None,
    metric: str | None = None,
    seed: int = 1,
) -> list[Sample]:
    """Load a task, a group or a tag as samples.

    Args:
        name: `glue`, `superglue/boolq`, or any task, group or tag of lm-eval.
        data_dir: folder with the sets' files; None takes the hub or its cache.
        num_fewshot: solved examples before each question; None is the task's own number.
        limit: so many questions of each task, drawn with the seed; never the first ones.
        metric: what each item is scored by in the paired verdict, as `acc` or `acc,none`; None is
            the first of the task's metrics that gives a score for one item.
        seed: for the draw of questions.

    Raises:
        UsageError: an unknown name or metric, or a task that cannot be run here.
        PrerequisiteError: lm-eval or data is missing; the message names the file.
        DataError: a file is not what it should be, with file and line.

    """
    catalogue.require_lm_eval()
    samples: list[Sample] = []
    for category, task in catalogue.expand(name):
        samples += _load(category, task, data_dir, num_fewshot, limit, metric, seed)
    return samples


def _load(
    category: str,
    name: str,
    data_dir: Path | None,
    num_fewshot: int | None,
    limit: int | None,
    metric: str | None,
    seed: int,
) -> list[Sample]:
    asked = catalogue.definition(name)
    if asked.get("unsafe_code"):
        raise UsageError(
            f"the task {name!r} runs code that the model wrote, which so8t does not do."
        )
    shots = _shots(asked, num_fewshot)
    changes: dict[str, Any] = {"num_fewshot": shots}
    if data_dir is not None:
        changes |= _local(name, asked, data_dir, shots)
    task = catalogue.build(name, changes)
    task.set_fewshot_seed(seed=_FEWSHOT_SEED)
    count = len(task.eval_docs)
    chosen = _draw(count, limit, name, seed)
    try:
        _build_requests(task, chosen)
    except _row_errors() as error:
        row = _bad_row(task, chosen or range(count))
        raise _row_refused(name, asked, task, data_dir, row, error) from error
    by_doc: dict[int, list[Any]] = defaultdict(list)
    for instance in task.instances:
        by_doc[instance.doc_id].append(instance)
    documents = [sorted(its, key=lambda one: one.idx) for _, its in sorted(by_doc.items())]
    chosen = chosen or list(range(count))
    return _samples(category, name, task, chosen, documents, metric)


def _build_requests(task: Any, chosen: Sequence[int] | None) -> None:
    from tqdm import tqdm  # noqa: PLC0415 - comes with lm-eval

    # lm-eval writes a progress bar for each task.
    with _quiet(tqdm):
        task.build_all_requests(samples=chosen)


def _row_errors() -> tuple[type[Exception], ...]:
    """What a task's definition raises for a row that is not as it expects."""
    from jinja2 import TemplateError  # noqa: PLC0415 - comes with lm-eval

    return (ArithmeticError, LookupError, TypeError, ValueError, TemplateError)


def _bad_row(task: Any, rows: Iterable[int]) -> int | None:
    """Find the first row that a task cannot make a question of; None where it is not one alone."""
    for row in rows:
        try:
            _build_requests(task, [row])
        except _row_errors():
            return row
    return None


def _row_refused(
    name: str,
    asked: dict[str, Any],
    task: Any,
    data_dir: Path | None,
    row: int | None,
    error: Exception,
) -> DataError:
    """Say which row of which file it is, as far as that can be told."""
    why = f"{type(error).__name__}: {error}"
    if row is None:
        return DataError(f"task {name!r} cannot make questions of its data: {why}")
    file: str | None = None
    line: int | None = None
    # A definition that picks or reorders rows leaves their numbers without a meaning.
    if data_dir is not None and asked.get("process_docs") is None:
        split = str(asked.get("test_split") or asked.get("validation_split"))
        path, config = str(asked.get("dataset_path")), asked.get("dataset_name")
        file, line = row_place(name, path, config, split, data_dir, row)
    shown = json.dumps(dict(task.eval_docs[row]), ensure_ascii=False, default=str)
    return DataError(
        f"task {name!r} cannot make a question of row {row + 1} ({why}): {shown[:_SHOWN]}",
        file=file,
        line=line,
        hint="fix the row: a label outside the set, or a column that is not there",
    )


class _quiet:  # noqa: N801 - used as a function
    """Silences tqdm, whose bars lm-eval has no switch for."""

    def __init__(self, tqdm: Any) -> None:
        self._tqdm = tqdm

    def __enter__(self) -> None:
        self._init = self._tqdm.__init__
        init = self._init
        self._tqdm.__init__ = lambda bar, *args, **kwargs: init(
            bar, *args, **{**kwargs, "disable": True}
        )

    def __exit__(self, *_: object) -> None:
        self._tqdm.__init__ = self._init


def _shots(asked: dict[str, Any], wanted: int | None) -> int:
    """How many examples: a task that says 0 keeps it, as in lm-eval."""
    own = asked.get("num_fewshot")
    if wanted is None or own == 0:
        return int(own or 0)
    return wanted


def _local(name: str, asked: dict[str, Any], data_dir: Path, shots: int) -> dict[str, Any]:
    """Return changes to a definition that make it read local files."""
    path = str(asked.get("dataset_path"))
    config = asked.get("dataset_name")
    evaluated = asked.get("test_split") or asked.get("validation_split")
    fewshot = (asked.get("fewshot_config") or {}).get("split")
    examples = asked.get("fewshot_split") or fewshot or asked.get("training_split")
    wanted = [str(evaluated), *([str(examples)] if examples else [])]
    found = read_splits(name, path, config, dict.fromkeys(wanted), data_dir)
    needed = [str(evaluated)]
    has_own = isinstance((asked.get("fewshot_config") or {}).get("samples"), list | str)
    if shots and not has_own:
        needed.append(str(examples or evaluated))
    for split in needed:
        if split not in found:
            file = expected_file(name, path, config, split, data_dir, found)
            hint = "get that file"
            if split != evaluated:
                hint += ", or set num_fewshot to 0"
            raise PrerequisiteError(f"task {name!r} needs {file}, which is not there.", hint=hint)
    changes: dict[str, Any] = {"custom_dataset": _Loaded(found)}
    if examples not in found:
        # lm-eval reads the split even where no example is asked for.
        changes |= {"training_split": None, "fewshot_split": None}
        if fewshot or not has_own:
            changes["fewshot_config"] = None
    elif asked.get("training_split") not in found:
        changes["training_split"] = None
    if asked.get("test_split") and asked.get("validation_split") not in found:
        changes["validation_split"] = None
    return changes


class _Loaded:
    """Rows in memory, as the data set that lm-eval asks for."""

    def __init__(self, splits: dict[str, list[dict[str, Any]]]) -> None:
        self._splits = splits

    def __call__(self, **_: object) -> Any:
        from datasets import Dataset, DatasetDict  # noqa: PLC0415 - of the extra `hf`

        try:
            return DatasetDict(
                {split: Dataset.from_list(rows) for split, rows in self._splits.items()}
            )
        except (TypeError, ValueError) as error:
            raise DataError(f"rows of different shapes in one set: {error}") from error

    def __deepcopy__(self, memo: dict[int, Any]) -> _Loaded:
        return self


def _draw(count: int, limit: int | None, name: str, seed: int) -> list[int] | None:
    """Draw documents with the seed; in the order of the set, as lm-eval asks them."""
    if limit is None or limit >= count:
        return None
    ranked = sorted(
        range(count),
        key=lambda place: hashlib.sha256(f"{seed}\0{name}\0{place}".encode()).digest(),
    )
    return sorted(ranked[:limit])


def _samples(
    category: str,
    name: str,
    task: Any,
    chosen: Sequence[int],
    documents: Sequence[list[Any]],
    metric: str | None,
) -> list[Sample]:
    first = documents[0]
    _check_supported(name, first[0])
    primary, value = _primary(name, task, first, metric)
    base = {
        "type": LM_EVAL,
        "task": name,
        "metric": primary,
        "scale": "binary" if _is_binary(task, primary, value) else "unit",
        "version": str(task.VERSION),
        "num_fewshot": task.config.num_fewshot,
    }
    text = canonical_json([str(first[0].arguments[0])])
    language = "ja" if is_japanese(text) else "en"
    clusters = _clusters([its[0].doc for its in documents])
    samples = []
    for number, its in zip(chosen, documents, strict=True):
        doc = _plain_doc(name, number, its[0].doc)
        samples.append(
            Sample(
                id=f"{name}/{number}",
                task=name,
                origin=Origin.HF,
                category=category,
                language=language,
                grader={
                    **base,
                    "doc_id": number,
                    "doc": doc,
                    **_right(task, its[0].doc, len(its)),
                },
                cluster=clusters.get(_shared(doc)),
                **_question(task, its, doc, language),
            )
        )
    return samples


def _right(task: Any, doc: Any, options: int) -> dict[str, list[int]]:
    """Name the right options by their places; nothing where the task decides in its own way."""
    if task.OUTPUT_TYPE != "multiple_choice" or callable(task.config.process_results):
        return {}
    found = task.doc_to_text(doc) if task.multiple_input else task.doc_to_target(doc)
    if isinstance(found, str):
        choices = task.doc_to_choice(doc)
        found = choices.index(found) if found in choices else None
    places = found if isinstance(found, list) else [found]
    if all(isinstance(one, int) and 0 <= one < options for one in places):
        return {"right": [int(one) for one in places]}
    return {}


def _is_binary(task: Any, metric: str, value: Any) -> bool:
    """Whether a metric scores every item 0 or 1; what a task computes by itself may be anything."""
    name = metric.partition(",")[0]
    own = callable(task.config.process_results) and name not in {"em", "exact_match"}
    return name in BINARY and not own and item_score(value) in {0.0, 1.0}


def _check_supported(name: str, instance: Any) -> None:
    if (instance.repeats or 1) > 1:
        raise UsageError(
            f"the task {name!r} asks each question {instance.repeats} times and votes, "
            "which is not supported.",
        )
    if instance.request_type == "generate_until":
        options = instance.arguments[1]
        if options.get("do_sample") and options.get("temperature", 0) > 0:
            raise UsageError(f"the task {name!r} samples its answers; greedy decoding only.")
    if len(instance.arguments) > 2:  # noqa: PLR2004 - (context, options)
        raise UsageError(f"the task {name!r} needs images or sound, which is not supported.")


def _question(task: Any, its: Sequence[Any], doc: dict[str, Any], language: str) -> dict[str, Any]:
    """Return messages, form and token budget of a document's requests."""
    kind = its[0].request_type
    if kind == "generate_until":
        prompt, options = its[0].arguments
        until = options.get("until") or []
        stop = tuple([until] if isinstance(until, str) else until)
        return {
            "messages": (Message("user", prompt),),
            "form": Form(prompt=prompt, stop=tuple(one for one in stop if one)),
            "max_tokens": int(options.get("max_gen_toks") or _MAX_TOKENS),
        }
    if kind == "loglikelihood_rolling":
        text = its[0].arguments[0]
        return {
            "messages": (Message("user", text),),
            "form": Form(continuations=(Continuation(None, text),)),
        }
    continuations = tuple(Continuation(*one.arguments) for one in its)
    choices: tuple[str, ...] = ()
    question = its[0].arguments[0] or its[0].arguments[1]
    if task.OUTPUT_TYPE == "multiple_choice" and not task.multiple_input:
        options = [str(option).strip() for option in task.doc_to_choice(doc)]
        if len(options) <= len(LETTERS) and all(options):
            choices = tuple(LETTERS[: len(options)])
            question = lettered(question, options, language)
    return {
        "messages": (Message("user", question),),
        "form": Form(continuations=continuations, choices=choices),
    }


def _primary(name: str, task: Any, its: Sequence[Any], wanted: str | None) -> tuple[str, Any]:
    """Choose the metric that scores an item, by trying the task on made-up results."""
    found = {
        f"{metric},{key}": value
        for key, metrics in process(task, its, trial(its)).items()
        for metric, value in metrics.items()
    }
    usable = {key: value for key, value in found.items() if item_score(value) is not None}
    if wanted is not None:
        match = [key for key in found if wanted in {key, key.partition(",")[0]}]
        if not match:
            raise UsageError(
                f"the task {name!r} has no metric {wanted!r}", hint=f"known: {', '.join(found)}"
            )
        usable = {key: found[key] for key in match if key in usable}
    if not usable:
        raise UsageError(
            f"the metrics of task {name!r} ({', '.join(found)}) give no score for one item, so "
            "that no pair can be made of it.",
            hint="leave the task out",
        )
    first = next(iter(usable))
    return first, usable[first]


def _plain_doc(name: str, number: int, doc: Any) -> dict[str, Any]:
    try:
        canonical_json(doc)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"document {number} of task {name!r} holds what text cannot keep: {error}",
            hint="tasks with images or sound are not supported",
        ) from error
    return dict(doc)


def _shared(doc: dict[str, Any]) -> str:
    text = next((doc[name] for name in _SHARED_COLUMNS if isinstance(doc.get(name), str)), "")
    return hashlib.sha256(text.encode()).hexdigest()[:12] if text else ""


def _clusters(docs: Iterable[dict[str, Any]]) -> dict[str, str]:
    counts = Counter(_shared(doc) for doc in docs)
    return {name: name for name, count in counts.items() if name and count > 1}
