"""A suite that is edited while a run is under way."""

from __future__ import annotations

import json

from scripted_run import Listener
from tiny_run import write_config

from so8t.config.load import load_config
from so8t.engines.scripted import ScriptedEngine
from so8t.journal.store import Journal
from so8t.pipeline.complete import CompleteAutomatedABPipeline


def preflight(config, directory):
    """Start (or go on) as far as the plan; return the questions and what was told."""
    told = Listener()
    with Journal(directory) as journal:
        if journal.run is None:
            journal.create_run("tiny", config.model_dump(mode="json"), "0")
        engine = ScriptedEngine(lambda _: "yes")
        pipeline = CompleteAutomatedABPipeline(config, directory, journal, engine, reporter=told)
        pipeline.preflight()
        return [s.id for s in journal.samples()], told.notes


def test_an_edit_is_told_once_and_changes_nothing(tmp_path):
    """The frozen questions go on, a note names the file, and each new state is told one time."""
    path = write_config(tmp_path, questions=8)
    config = load_config(path)
    frozen, notes = preflight(config, tmp_path / "run")
    assert notes == []
    assert preflight(config, tmp_path / "run") == (frozen, [])
    suite = tmp_path / "suite.jsonl"
    item = json.loads(suite.read_text(encoding="utf-8").splitlines()[0])
    suite.write_text(json.dumps(item | {"id": "new"}) + "\n", encoding="utf-8")
    again, notes = preflight(config, tmp_path / "run")
    assert again == frozen
    assert [(kind, detail["suite"]) for kind, detail in notes] == [("suite_changed", str(suite))]
    assert preflight(config, tmp_path / "run") == (frozen, [])
    suite.unlink()
    again, notes = preflight(config, tmp_path / "run")
    assert again == frozen
    assert [kind for kind, _ in notes] == ["suite_changed"]


def test_questions_that_stand_twice_are_frozen_as_one_cluster(tmp_path):
    """The journal's cluster column joins items with the same prompt."""
    path = write_config(tmp_path, questions=8)
    suite = tmp_path / "suite.jsonl"
    first = json.loads(suite.read_text(encoding="utf-8").splitlines()[0])
    with suite.open("a", encoding="utf-8") as file:
        file.write(json.dumps(first | {"id": "twin"}) + "\n")
    preflight(load_config(path), tmp_path / "run")
    with Journal(tmp_path / "run", readonly=True) as journal:
        clusters = [place.cluster for place in journal.places()]
    joined = [cluster for cluster in clusters if cluster is not None]
    assert len(clusters) == 9
    assert len(joined) == 2
    assert len(set(joined)) == 1
