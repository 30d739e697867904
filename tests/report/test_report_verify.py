"""Whatever is changed behind a run's back is found and named."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from random import Random

import apsw
import jsonschema
import pytest

from excerpts import excerpt
from so8t.cli import invoke as run
from so8t.examples import DEMO
from so8t.journal.chain import GENESIS, link, walk, write_witness
from so8t.journal.chain import Head as ChainHead
from so8t.journal.chained import FILE_NAME, WITNESS_NAME
from so8t.journal.migrations import CHAINED
from so8t.journal.store import Journal
from so8t.report.html import write_report
from so8t.report.result_files import write_results
from so8t.report.verify import verify_run
from so8t.system.files import file_digest, write_atomic


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    """The directory of a real run of the whole pipeline, with its report."""
    place = tmp_path_factory.mktemp("honest")
    excerpt(place, "suite.jsonl", 24)
    base = json.dumps(str(DEMO.parent / "base"))
    (place / "so8t.yaml").write_text(
        f"""\
name: honest
a: {{source: {{hf: {base}}}}}
b: {{source: {{hf: {base}}}, quantization: q4_0}}
engine: {{slots: 1, threads: 1, context: 256}}
generation: {{max_tokens: 8}}
benchmark: {{suites: [suite.jsonl], noise_floor: 2}}
""",
        encoding="utf-8",
    )
    subprocess.run(
        [sys.executable, "-m", "so8t", "run", "so8t.yaml", "--lang", "en"],
        cwd=place, check=True, capture_output=True,
    )  # fmt: skip
    return place / "runs" / "honest"


@pytest.fixture
def copy(honest, tmp_path):
    """A copy of it that a test may spoil; its files' recorded places are the originals'."""
    shutil.copytree(honest, tmp_path / "copy")
    return tmp_path / "copy"


def found(directory, result="fail"):
    """Verify; return the names of what has this result."""
    with Journal(directory, readonly=True, check=False) as journal:
        return {finding.name for finding in verify_run(journal) if finding.result == result}


def change(directory, *statements):
    connection = apsw.Connection(str(directory / FILE_NAME))
    for statement in statements:
        connection.execute(statement)
    connection.close()


def chain_anew(directory):
    """Do what a patient forger does: recompute every link, the head and the witness."""
    shutil.rmtree(directory / "backups")
    connection = apsw.Connection(str(directory / FILE_NAME))
    head = ChainHead(0, GENESIS)
    for table, values, _ in list(walk(connection)):
        head = ChainHead(values[0], link(head.chain, table, values))
        assert table in CHAINED
        connection.execute(
            f"UPDATE {table} SET chain = ? WHERE seq = ?",  # noqa: S608 - our own names
            (head.chain, head.seq),
        )
    connection.execute("UPDATE head SET seq = ?, chain = ?", (head.seq, head.chain))
    connection.close()
    write_witness(directory / WITNESS_NAME, head)


@pytest.mark.slow
def test_an_honest_run_is_found_sound(honest):
    """Nothing fails and nothing is left unverified."""
    assert found(honest) == set()
    assert found(honest, "warn") == set()


def test_a_changed_row_is_named_by_the_chain(copy):
    """The row's number and table."""
    change(copy, "UPDATE answer SET text = 'better' WHERE position = 3 AND arm = 'b'")
    assert "chain" in found(copy)


@pytest.mark.parametrize(
    ("statement", "names"),
    [
        ("UPDATE score SET value = 1 - value WHERE seq = (SELECT max(seq) FROM score)", {"scores"}),
        (
            """UPDATE answer SET text = (SELECT json_extract(body, '$.reference') FROM sample
                WHERE sample.position = answer.position)
                WHERE seq IN (SELECT answer FROM score WHERE value = 0)""",
            {"scores"},
        ),
        (
            (
                'UPDATE phase SET result = replace(result, \'"outcome":"undecided"\','
                ' \'"outcome":"b_better"\')'
            ),
            {"verdict"},
        ),
        ("UPDATE sample SET body = replace(body, '?', '!') WHERE position = 1", {"questions"}),
        (
            """UPDATE phase SET result = replace(result, 'sha256:', 'sha256:0')
                WHERE phase = 'prepare_b'""",
            {"model B"},
        ),
    ],
    ids=["score", "answer", "verdict", "question", "digest"],
)
def test_a_forger_who_recomputes_the_chain_is_found_by_the_rest(copy, statement, names):
    """Scores are graded again, the verdict is judged again, files are read again."""
    change(copy, statement)
    chain_anew(copy)
    failed = found(copy)
    assert "chain" not in failed
    assert "witness" not in failed
    assert names <= failed


def test_backups_remember_what_the_journal_was(copy):
    """A journal that was rewritten, chain and witness too, does not continue its backups."""
    kept = copy.parent / "kept"
    shutil.copytree(copy / "backups", kept)
    change(copy, "UPDATE score SET value = 1 - value WHERE seq = (SELECT min(seq) FROM score)")
    change(copy, "UPDATE event SET monotonic = monotonic + 1 WHERE kind = 'run_created'")
    chain_anew(copy)
    shutil.copytree(kept, copy / "backups")
    assert "backups" in found(copy)


def test_a_lost_tail_is_named_by_the_witness(copy):
    """Rows that were witnessed and are gone."""
    witness = json.loads((copy / WITNESS_NAME).read_text())
    (copy / WITNESS_NAME).write_text(json.dumps(witness | {"seq": witness["seq"] + 7}))
    assert found(copy) == {"witness"}


def test_a_changed_model_file_is_named(honest):
    """One byte of B's file, at the place where the run recorded it."""
    (model,) = (honest / "artifacts" / "b").glob("*.gguf")
    whole = model.read_bytes()
    try:
        model.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        assert found(honest) == {"model B"}
        model.unlink()
        assert found(honest) == set()
        assert found(honest, "warn") == {"model B"}
    finally:
        model.write_bytes(whole)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"outcome": "', '"outcome": "not_'),
        ("<h1", "<h1 hidden"),
        ('id="so8t-data"', 'id="gone"'),
        ('"chain": "', '"chain": "0'),
    ],
    ids=["data", "text", "no-data", "other-journal"],
)
def test_a_changed_report_is_named(copy, old, new):
    """Its data, its text, and whose it is are compared with the journal."""
    path = copy / "report.html"
    page = path.read_text(encoding="utf-8")
    assert old in page
    path.write_text(page.replace(old, new, 1), encoding="utf-8")
    assert found(copy) == {"report"}


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("results.json", '"undecided"', '"b_better"'),
        ("results.json", '"rows": ', '"rows": 1'),
        ("results.json", "{", ""),
        ("items.csv", "1.0", "0.0"),
        ("groups.csv", "overall", "overall "),
    ],
)
def test_a_changed_result_file_is_named(copy, name, old, new):
    """The files are made again from the journal and compared byte by byte."""
    path = copy / "artifacts" / name
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    assert found(copy) == {"results"}


def test_result_files_that_are_older_or_gone_are_told(copy):
    """Book-keeping that came later, and a file that was deleted, are remarks."""
    with Journal(copy) as journal:
        journal.event("later")
    assert found(copy) == set()
    assert found(copy, "warn") == {"report", "results"}
    write_results(copy)
    assert found(copy, "warn") == {"report"}
    (copy / "artifacts" / "items.csv").unlink()
    assert found(copy, "warn") == {"report", "results"}


def test_lm_evals_files_are_held_to_their_recorded_digests(copy):
    """A changed one is named; one that is gone is a remark, and so is a run without digests."""
    path = copy / "artifacts" / "lm_eval" / "a" / "results_x.json"
    write_atomic(path, '{"acc": 0.5}')
    with Journal(copy) as journal:
        journal.event("hf_results", tasks={}, files={"lm_eval/a/results_x.json": file_digest(path)})
    assert found(copy) == set()
    path.write_text('{"acc": 0.9}')
    assert found(copy) == {"lm-eval files"}
    path.unlink()
    assert "lm-eval files" in found(copy, "warn")
    with Journal(copy) as journal:
        journal.event("hf_results", tasks={})
    assert "lm-eval files" in found(copy, "warn")
    assert found(copy) == set()


def test_progress_files_are_said_to_be_no_evidence(copy):
    """Whatever stands in them."""
    (copy / "progress.md").write_text("all is well")
    assert found(copy) == set()
    assert found(copy, "skip") == {"progress files"}


@pytest.mark.parametrize("what", ["journal.witness", "backups", "one backup"])
def test_a_deleted_witness_or_backup_is_named(copy, what):
    """They were there when the run ended in order."""
    if what == "one backup":
        path = min((copy / "backups").glob("*.sqlite"))
        path.unlink()
        path.with_suffix(".witness").unlink()
    elif what == "backups":
        shutil.rmtree(copy / "backups")
    else:
        (copy / what).unlink()
    assert found(copy) == {"witness" if what == "journal.witness" else "backups"}


@pytest.mark.parametrize(
    "statement",
    [
        "DROP INDEX answer_once",
        "CREATE TRIGGER x AFTER INSERT ON answer BEGIN DELETE FROM score; END",
        "UPDATE run SET config = replace(config, '0.05', '0.5')",
    ],
    ids=["index", "trigger", "run"],
)
def test_schema_and_run_record_are_part_of_the_chain(copy, statement):
    """An index that is gone, a trigger that was added, a config that was changed."""
    change(copy, statement)
    assert "chain" in found(copy)


@pytest.mark.parametrize("what", ["garbage", "empty", "gone", "a directory"])
def test_a_journal_that_cannot_be_opened_is_damage(capsys, copy, what):
    """Exit code 11, and --json names the check."""
    path = copy / FILE_NAME
    path.unlink()
    if what == "a directory":
        path.mkdir()
    elif what != "gone":
        path.write_bytes(b"garbage" * 100 if what == "garbage" else b"")
    assert run(["verify", str(copy), "--json"]) == 11
    said = json.loads(capsys.readouterr().out)
    assert [check["name"] for check in said["checks"]] == ["journal"]
    assert said["sound"] is False


def test_a_report_from_before_the_newest_rows_says_so(copy):
    """Book-keeping that came later is a remark; another result would be a failure."""
    with Journal(copy) as journal:
        journal.event("later")
    assert found(copy) == set()
    assert found(copy, "warn") == {"report", "results"}


def test_the_command_names_what_is_wrong_and_exits_11(capsys, copy):
    """Exit code 0 for a sound run, else 11 and the check's name; --json has all checks."""
    assert run(["verify", str(copy), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sound"] is True
    change(copy, "DELETE FROM score WHERE seq = (SELECT min(seq) FROM score)")
    assert run(["verify", str(copy), "--json"]) == 11
    captured = capsys.readouterr()
    checks = {check["name"]: check["result"] for check in json.loads(captured.out)["checks"]}
    assert checks["chain"] == checks["scores"] == "fail"
    assert "chain" in captured.err


def test_readers_of_damaged_rows_say_what_to_type(capsys, copy):
    """Whatever byte is wrong: status and report read on, or name damage and the command for it."""
    random, path = Random(1), copy / FILE_NAME
    whole, named = path.read_bytes(), 0
    for attempt in range(100):
        if attempt >= 8 and named > 3:
            break
        spoilt = bytearray(whole)
        spoilt[random.randrange(len(whole))] ^= 255
        path.write_bytes(spoilt)
        for command in ("status", "report"):
            code, said = run([command, str(copy)]), capsys.readouterr().err
            assert code in (0, 1, 3), said
            if code == 1:
                assert f"so8t run {copy} goes back to its newest good backup" in said
                named += 1
    assert named > 3


def test_the_command_of_the_hint_mends_the_run(capsys, honest, tmp_path):
    """A row changed in a finished run: report refuses with a command, which restores and ends."""
    directory = tmp_path / "honest"
    shutil.copytree(honest, directory)
    change(directory, "UPDATE answer SET text = 'better' WHERE position = 3 AND arm = 'b'")
    assert run(["report", str(directory)]) == 1
    assert f"so8t run {directory}" in capsys.readouterr().err
    assert run(["run", str(directory), "--lang", "en"]) == 0
    assert "the journal was damaged (row " in capsys.readouterr().err
    assert found(directory) == set()


def test_a_run_whose_journal_is_gone_goes_on_from_its_backup(capsys, honest, tmp_path):
    """The directory alone is enough: the newest good backup says what was asked for."""
    directory = tmp_path / "honest"
    shutil.copytree(honest, directory)
    (directory / FILE_NAME).write_bytes(b"garbage" * 1000)
    assert run(["run", str(directory), "--lang", "en"]) == 0
    capsys.readouterr()
    assert found(directory) == set()


def test_a_run_under_way_can_be_verified(copy, partial, tmp_path):
    """Nothing is claimed of what was not asked yet."""
    assert copy.exists()
    other = tmp_path / "partial"
    shutil.copytree(partial, other)
    write_report(other, "ja")
    assert not {"chain", "witness", "verdict", "report"} & found(other)


def test_a_real_runs_result_files_keep_their_schema(honest):
    """`so8t run` leaves results.json in the artifacts, as docs/results.schema.json describes it."""
    schema = Path(__file__).resolve().parents[2] / "docs" / "results.schema.json"
    document = json.loads((honest / "artifacts" / "results.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(json.loads(schema.read_text("utf-8"))).validate(document)
    assert document["state"] == "complete"
    assert len(document["items"]) == 24
    assert (honest / "artifacts" / "items.csv").is_file()
    assert (honest / "artifacts" / "groups.csv").is_file()
