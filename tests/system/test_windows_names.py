"""Names that Windows takes for something else are refused before anything is made."""

from __future__ import annotations

from pathlib import PureWindowsPath

import pytest

from so8t.system.windows_names import objection


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("runs/con", "device"),
        (r"C:\x\NUL.old-1", "device"),
        ("runs/aux.txt/deep", "device"),
        ("com1", "device"),
        ("x/LPT² /y", "device"),
        ("C:runs", "depends"),
        ("C:", "depends"),
        ("runs/my.", "drops"),
        ("runs /x", "drops"),
        ("a/b?c", "refuses"),
        ("a/b\tc", "refuses"),
        ("runs/a:b", "stream"),
    ],
)
def test_what_windows_would_not_make_is_said(path, reason):
    """Devices, ends that are dropped, a drive without a root, and signs that are refused."""
    assert reason in (objection(PureWindowsPath(path)) or "")


@pytest.mark.parametrize(
    "path",
    [
        "runs/trial",
        r"C:\Users\太郎\実行 1\runs",
        r"\\server\share\con-test",
        r"\\?\C:\long\runs",
        "../runs",
        "./x",
        "console/null/com10",
        "C:\\",
        "a.b.c",
        ".hidden",
    ],
)
def test_other_names_are_none_of_our_business(path):
    """Shares, long paths, Japanese names and what only looks like a device."""
    assert objection(PureWindowsPath(path)) is None
