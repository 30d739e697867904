"""Task names: lm-eval's own, our groups of them, and the definitions that ship with us."""

from __future__ import annotations

import logging
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

from so8t.errors import DataError, PrerequisiteError, UsageError
from so8t.system.plugins import nearest

#: Our groups: the names people know -> lm-eval's (or our own) task names.
GROUPS: dict[str, dict[str, str]] = {
    "glue": {
        "cola": "cola",
        "sst2": "sst2",
        "mrpc": "mrpc",
        "qqp": "qqp",
        "stsb": "stsb",
        "mnli": "mnli",
        "qnli": "qnli",
        "rte": "rte",
    },
    "superglue": {
        "boolq": "boolq",
        "cb": "cb",
        "copa": "copa",
        "multirc": "multirc",
        "record": "record",
        "rte": "sglue_rte",
        "wic": "wic",
        "wsc": "wsc",
    },
    "japanese": {
        "jcommonsenseqa": "ja_leaderboard_jcommonsenseqa",
        "jnli": "ja_leaderboard_jnli",
        "jsem": "jsem",
        "jsquad": "ja_leaderboard_jsquad",
        "mgsm-ja": "mgsm_direct_ja",
        "jmmlu": "jmmlu",
    },
}
#: Hub sets that only a script could load, which `datasets` from version 4 on refuses.
_NEEDS_SCRIPT = {"Rakuten/JGLUE", "nlp-waseda/JMMLU", "zenless-lab/jsem"}
#: Compiled templates that are kept; a task has three or so.
_TEMPLATES = 512
_DEFINITIONS = Path(__file__).with_name("definitions")
#: Folders of lm-eval's that hold the tasks of our groups. Its whole index takes ten seconds.
_FOLDERS = ("glue", "super_glue", "japanese_leaderboard", "mgsm")


def require_lm_eval() -> str:
    """Return lm-eval's version. Raises PrerequisiteError where it is not installed."""
    try:
        return metadata.version("lm_eval")
    except metadata.PackageNotFoundError:
        raise PrerequisiteError(
            "Hugging Face tasks need lm-eval, which is not installed.",
            hint='pip install "so8t[hf]"',
        ) from None


def manager(name: str | None = None) -> Any:
    """Return lm-eval's task manager, our definitions included, that knows a name (or all)."""
    few = _manager(whole=False)
    return few if name in few.task_index else _manager(whole=True)


@lru_cache(maxsize=2)
def _manager(*, whole: bool) -> Any:
    require_lm_eval()
    # Its warnings are about defaults in its own task files.
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    import lm_eval.tasks  # noqa: PLC0415 - 2.5 s of imports

    folder = Path(lm_eval.tasks.__file__).parent
    # What is named later overrides what was named before.
    few = [] if whole else [str(folder / one) for one in _FOLDERS]
    paths = [*few, str(_DEFINITIONS)]
    return lm_eval.tasks.TaskManager(include_path=paths, include_defaults=whole)


def expand(name: str) -> list[tuple[str, str]]:
    """Turn a name from the config into pairs of category and lm-eval task.

    `glue` is a group, `superglue/boolq` one task of it, anything else a task, group or tag of
    lm-eval. Raises UsageError for a name that nobody knows; the nearest is named.
    """
    if name in GROUPS:
        return [(name, task) for task in GROUPS[name].values()]
    group, slash, short = name.partition("/")
    if slash and group in GROUPS:
        if short not in GROUPS[group]:
            raise UsageError(
                f"the group {group!r} has no task {short!r}", hint=nearest(short, [*GROUPS[group]])
            )
        return [(group, GROUPS[group][short])]
    found = _leaves(name)
    if not found:
        known = [*GROUPS, *manager().all_tasks]
        raise UsageError(f"there is no Hugging Face task {name!r}", hint=nearest(name, known))
    return [(name, task) for task in found]


def _leaves(name: str) -> list[str]:
    """Return the tasks that a name of lm-eval's index stands for."""
    entry = manager(name).task_index.get(name)
    if entry is None:
        return []
    if entry.kind.name == "TAG":
        return sorted(entry.tags)
    if entry.kind.name != "GROUP":
        return [name]
    members = definition(name).get("task") or []
    names = [
        one if isinstance(one, str) else one.get("task") or one.get("group") for one in members
    ]
    if not all(isinstance(one, str) for one in names):
        raise UsageError(
            f"the group {name!r} defines tasks inside itself", hint="name its tasks instead"
        )
    return [leaf for one in names for leaf in _leaves(one)]


def definition(name: str) -> dict[str, Any]:
    """Return a task's or group's definition as it stands in its file, functions unresolved."""
    from lm_eval.tasks._yaml_loader import load_yaml  # noqa: PLC0415 - no public reader

    entry = manager(name).task_index[name]
    if entry.yaml_path is None:
        raise DataError(f"the task {name!r} is a Python class of lm-eval, not a definition")
    plain: dict[str, Any] = load_yaml(entry.yaml_path, resolve_func=False, recursive=True)
    return plain


def build(name: str, overrides: dict[str, Any]) -> Any:
    """Build a task of lm-eval's; what it cannot find is said as ours.

    Raises:
        PrerequisiteError: its data is neither given, nor cached, nor to be had from the hub.

    """
    import datasets  # noqa: PLC0415 - of the extra `hf`

    datasets.disable_progress_bars()
    _compile_templates_once()
    # A group of one is how lm-eval takes a definition with changes.
    spec = {"group": "so8t", "task": [{"task": name, **overrides}]}
    try:
        return manager(name).load(spec)["tasks"][name]
    except (OSError, ConnectionError, ValueError, RuntimeError) as error:
        path = definition(name).get("dataset_path")
        script = path in _NEEDS_SCRIPT or "scripts are no longer supported" in str(error)
        why = (
            "only a script could load it, which `datasets` refuses"
            if script
            else f"neither the hub nor its cache gives it ({type(error).__name__}: "
            f"{str(error).splitlines()[0][:200]})"
        )
        raise PrerequisiteError(
            f"task {name!r} needs the data set {path!r}: {why}.",
            hint="set data_dir to a folder that holds it (docs/hf-tasks.md), or HF_HOME to a "
            "cache that does",
        ) from error


@lru_cache(maxsize=1)
def _compile_templates_once() -> None:
    """Let lm-eval keep the templates that it compiles.

    It compiles those of a task again for each document, several times: four fifths of the time
    that grading takes. They are the tasks' own, few, and give the same text either way.
    """
    from lm_eval import utils  # noqa: PLC0415 - of the extra `hf`

    utils.env.from_string = lru_cache(maxsize=_TEMPLATES)(utils.env.from_string)
