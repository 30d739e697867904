"""Files are replaced, renamed and deleted although another program has them open for a moment."""

from __future__ import annotations

import ast
import sys
import threading
from pathlib import Path

import pytest

import so8t
from so8t.system.files import is_held, move, patiently, remove_file, remove_tree, write_atomic

WINDOWS = pytest.mark.skipif(sys.platform != "win32", reason="locking rules of Windows")


def refusing(times, number):
    """An action that Windows would refuse with error `number` so many times, and its tries."""
    tries = []

    def action():
        tries.append(1)
        if len(tries) <= times:
            error = PermissionError(13, "Access is denied", "file")
            error.winerror = number
            raise error
        return "done"

    return action, tries


@pytest.mark.parametrize("number", [5, 32, 33, 145, 1224])
def test_a_file_that_is_held_for_a_moment_is_tried_again(number):
    """What Windows says of a file that is open elsewhere is no error until patience ends."""
    action, tries = refusing(3, number)
    assert patiently(action) == "done"
    assert len(tries) == 4


def test_patience_ends_with_the_error_itself():
    """A file that stays open is told with Windows' own error, after several tries."""
    action, tries = refusing(10**6, 32)
    with pytest.raises(PermissionError) as caught:
        patiently(action, seconds=0.1)
    assert len(tries) > 2
    assert is_held(caught.value)


@pytest.mark.parametrize("number", [None, 2, 112])
def test_other_errors_are_not_tried_again(number):
    """A missing file, a full disk, and all that other systems refuse, are errors at once."""
    action, tries = refusing(1, number)
    with pytest.raises(PermissionError) as caught:
        patiently(action)
    assert len(tries) == 1
    assert not is_held(caught.value)


def test_removing_what_is_not_there_is_no_error(tmp_path):
    """What was to be gone and is gone is as it should be."""
    remove_file(tmp_path / "none")
    remove_tree(tmp_path / "none")


@WINDOWS
def test_a_reader_delays_and_prevents_nothing(tmp_path):
    """A file that another handle has open for a second is replaced, moved and deleted after it."""
    path, tree, other = tmp_path / "日本 語.json", tmp_path / "tree", tmp_path / "other"
    for act, promised in (
        (lambda: write_atomic(path, "new"), lambda: path.read_text() == "new"),
        (lambda: move(path, other), lambda: other.exists() and not path.exists()),
        (lambda: remove_file(path), lambda: not path.exists()),
        (lambda: remove_tree(tree), lambda: not tree.exists()),
    ):
        write_atomic(path, "old")
        write_atomic(tree / "x", "old")
        held = [path.open("rb"), (tree / "x").open("rb")]
        timer = threading.Timer(1.0, lambda held=held: [file.close() for file in held])
        timer.start()
        act()
        assert promised()
        timer.join()


@WINDOWS
def test_a_read_only_attribute_refuses_nothing(tmp_path):
    """The attribute stops neither replacing nor deleting, as it would not on other systems."""
    path, tree = tmp_path / "results.json", tmp_path / "tree"
    write_atomic(path, "old")
    write_atomic(tree / "deep" / "x", "old")
    path.chmod(0o444)
    (tree / "deep" / "x").chmod(0o444)
    write_atomic(path, "new")
    assert path.read_text() == "new"
    remove_tree(tree)
    assert not tree.exists()
    path.chmod(0o444)
    remove_file(path)
    assert not path.exists()


# A directory that was refused; what is open in it stays there, which is no failure of the command.
IMPATIENT = {("cli/run.py", "rmtree")}


def test_nothing_is_replaced_renamed_or_deleted_without_patience():
    """Only `so8t.system.files` calls what Windows refuses while another program has a file open."""
    root = Path(so8t.__file__).parent
    found = set()
    for file in root.rglob("*.py"):
        where = file.relative_to(root).as_posix()
        if where == "system/files.py":
            continue
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            name, given = node.func.attr, len(node.args)
            if (
                name in {"unlink", "rmtree", "rmdir", "rename", "renames"}
                # One argument: a path's. Text takes two, a dataclass and a time take keywords.
                or (name == "replace" and given == 1 and not node.keywords)
                or (
                    name in {"remove", "replace", "move"}
                    and isinstance(node.func.value, ast.Name)
                    and node.func.value.id in {"os", "shutil"}
                )
            ):
                found.add((where, name))
    assert found == IMPATIENT
