"""A search for the settings of a training: Optuna proposes, the held-out loss alone decides.

The study lives in an SQLite file of its own. A search that was killed goes on in it: the trial
that was under way goes on from its checkpoints, and what is proposed next depends on the finished
trials and the seed alone, so that it ends as it would have without the kill.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from so8t.domain.canonical import digest_of
from so8t.domain.events import EventKind
from so8t.errors import TrainingDiverged, TrainingError
from so8t.models.training_setting import KEEPING
from so8t.system.files import tree_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import optuna

    from so8t.config.schema import Finetune

    Run = Callable[[Finetune, int], float]
    Note = Callable[[str, Mapping[str, Any]], None]

FILE_NAME = "search.sqlite3"
# How far the learning rate may be from the config's: too large a one diverges, and says so early.
_RATE_DOWN, _RATE_UP = 10.0, 5.0
_MLP = {"gate_proj", "up_proj", "down_proj", "gate_up_proj", "fc1", "fc2", "w1", "w2", "w3"}


@dataclass(frozen=True)
class Found:
    """What the search found.

    Attributes:
        trials: how many were finished; diverged: how many of them had no finite loss.
        best: which of the finished trials was best, counted from 1; the first has the config's
            own settings.
        held_out_loss: of the best trial, in nats a token; at_config: of the first, None if it
            diverged.
        chosen: the settings of the best trial.

    """

    trials: int
    diverged: int
    best: int
    held_out_loss: float
    at_config: float | None
    chosen: dict[str, Any]


def search(
    base: Path, settings: Finetune, directory: Path, *, run: Run, note: Note
) -> tuple[Finetune, dict[str, Any]]:
    """Finish `settings.n_trials` trials and return the best settings with what was found.

    `run(settings, number)` trains and returns the held-out loss; TrainingDiverged from it ends a
    trial, any other error the search. Raises TrainingError when every trial diverged.
    """
    import optuna  # noqa: PLC0415 - takes a second

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    directory.mkdir(parents=True, exist_ok=True)
    space = space_of(settings)
    study = optuna.create_study(
        storage=f"sqlite:///{directory / FILE_NAME}",
        study_name=_identity(base, settings),
        load_if_exists=True,
        direction="minimize",
    )
    if not study.get_trials(deepcopy=False):
        study.enqueue_trial(_own_point(settings, space))
    while (done := len(_finished(study))) < settings.n_trials:
        number, point = _next(study, space, settings.seed + done)
        chosen = with_point(settings, point)
        try:
            loss = run(chosen, number)
        except TrainingDiverged:
            loss = math.inf
        study.tell(number, loss)
        note(
            EventKind.SEARCH_TRIAL,
            {
                "trial": done + 1,
                "of": settings.n_trials,
                "held_out_loss": loss if math.isfinite(loss) else None,
                "chosen": point,
            },
        )
    found = _found(study, settings)
    note(EventKind.SEARCH_BEST, asdict(found))
    return with_point(settings, found.chosen), asdict(found)


def space_of(settings: Finetune) -> dict[str, optuna.distributions.BaseDistribution]:
    """Return what is searched: the learning rate, which layers, and the rank of an update.

    Steps are not: a training's schedule depends on their number, so a person sets it.
    """
    from optuna.distributions import (  # noqa: PLC0415 - as above
        BaseDistribution,
        CategoricalDistribution,
        FloatDistribution,
    )

    space: dict[str, BaseDistribution] = {
        "learning_rate": FloatDistribution(
            settings.rate / _RATE_DOWN, settings.rate * _RATE_UP, log=True
        )
    }
    if _MLP & set(settings.targets) and set(settings.targets) - _MLP:
        space["targets"] = CategoricalDistribution(["all", "attention", "mlp"])
    if settings.method != "so8":
        ranks = sorted({max(1, settings.rank // 2), settings.rank, settings.rank * 2})
        space["rank"] = CategoricalDistribution(ranks)
    return space


def with_point(settings: Finetune, point: Mapping[str, Any]) -> Finetune:
    """Return the settings at a point of the space; alpha keeps its ratio to the rank."""
    kept = {
        "all": settings.targets,
        "attention": [name for name in settings.targets if name not in _MLP],
        "mlp": [name for name in settings.targets if name in _MLP],
    }
    rank = point.get("rank", settings.rank)
    changes = {
        "n_trials": 0,
        "learning_rate": point["learning_rate"],
        "targets": kept[point.get("targets", "all")],
        "rank": rank,
        "alpha": settings.alpha * rank / settings.rank,
    }
    return settings.model_copy(update=changes)


def _own_point(settings: Finetune, space: Mapping[str, Any]) -> dict[str, Any]:
    own = {"learning_rate": settings.rate, "targets": "all", "rank": settings.rank}
    return {name: value for name, value in own.items() if name in space}


def _next(
    study: optuna.Study, space: dict[str, optuna.distributions.BaseDistribution], seed: int
) -> tuple[int, dict[str, Any]]:
    """Return the trial that a kill left under way, or a new one."""
    import optuna  # noqa: PLC0415 - as above

    for left in study.get_trials(states=[optuna.trial.TrialState.RUNNING]):
        if left.params.keys() == space.keys():
            return left.number, left.params
        study.tell(left.number, state=optuna.trial.TrialState.FAIL)  # killed while it was proposed
        if not left.number:
            study.enqueue_trial(left.system_attrs["fixed_params"])
    # A sampler's random state is not in the storage; a seed for each trial needs none.
    study.sampler = optuna.samplers.TPESampler(seed=seed)
    trial = study.ask(space)
    return trial.number, trial.params


def _finished(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    import optuna  # noqa: PLC0415 - as above

    return study.get_trials(states=[optuna.trial.TrialState.COMPLETE])


def _found(study: optuna.Study, settings: Finetune) -> Found:
    trials = sorted(_finished(study), key=lambda one: one.number)
    losses = [math.inf if one.value is None else one.value for one in trials]
    best = min(losses)
    if not math.isfinite(best):
        raise TrainingError(
            f"All {len(losses)} trials of the search diverged.",
            hint=f"lower `learning_rate` (now {settings.rate:g}) in the config, "
            "then run the same command again",
        )
    at = losses.index(best)
    return Found(
        trials=len(losses),
        diverged=sum(not math.isfinite(loss) for loss in losses),
        best=at + 1,
        held_out_loss=best,
        at_config=losses[0] if math.isfinite(losses[0]) else None,
        chosen=dict(trials[at].params),
    )


def _identity(base: Path, settings: Finetune) -> str:
    """Name the study by all that its losses depend on, so that another one begins anew."""
    found = {
        "base": tree_digest(base),
        "data": [tree_digest(file) for file in settings.data],
        "settings": settings.model_dump(mode="json", exclude=KEEPING | {"data", "n_trials"}),
    }
    return digest_of(found)
