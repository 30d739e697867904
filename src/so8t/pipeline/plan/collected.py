"""The samples of a plan before they are frozen: in a file, so that a million take little memory."""

from __future__ import annotations

import tempfile
import weakref
from array import array
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, overload

from so8t.errors import PrerequisiteError
from so8t.journal.store import SAMPLE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from so8t.domain.sample import Sample
    from so8t.tasks.benchmarks import LeftOut

_IN_MEMORY = 16 << 20  # bytes; smaller plans need no file


class CollectedSamples(Sequence["Sample"]):
    """Samples as text in a temporary file without a name; each is read when it is asked for."""

    def __init__(self) -> None:
        """Begin without a sample."""
        #: Items of published sets that cannot be asked, with their place and the reason.
        self.left_out: list[LeftOut] = []
        self._file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - lives as long as this object
        weakref.finalize(self, self._file.close)
        self._starts = array("Q", [0])
        self._order = array("Q")
        self._clusters: dict[int, str] = {}

    def left_out_by_benchmark(self) -> dict[str, list[LeftOut]]:
        """Return what was left out, by the benchmark that it belongs to."""
        found: dict[str, list[LeftOut]] = {}
        for one in self.left_out:
            found.setdefault(one.benchmark, []).append(one)
        return found

    def append(self, sample: Sample) -> None:
        """Put a sample behind the others; not once they are joined or arranged.

        Raises PrerequisiteError when there is no room for it.
        """
        body = SAMPLE.dump_json(sample)
        try:
            self._file.seek(self._starts[-1])
            self._file.write(body)
        except OSError as error:
            raise PrerequisiteError(
                f"the questions of the plan could not be put aside in {tempfile.gettempdir()}: "
                f"{error.strerror}.",
                hint="make room there, or name another directory in TMPDIR",
            ) from error
        self._order.append(len(self._order))
        self._starts.append(self._starts[-1] + len(body))

    def join(self, clusters: Mapping[int, str]) -> None:
        """Give the samples with these numbers another cluster."""
        for number, cluster in clusters.items():
            self._clusters[self._order[number]] = cluster

    def arrange(self, order: Sequence[int]) -> None:
        """Put the samples in the order of these numbers."""
        self._order = array("Q", (self._order[number] for number in order))

    def __len__(self) -> int:
        """How many samples there are."""
        return len(self._order)

    @overload
    def __getitem__(self, index: int) -> Sample: ...

    @overload
    def __getitem__(self, index: slice) -> list[Sample]: ...

    def __getitem__(self, index: int | slice) -> Sample | list[Sample]:
        """Read one sample, or some."""
        if isinstance(index, slice):
            return [self._read(number) for number in self._order[index]]
        return self._read(self._order[index])

    def _read(self, number: int) -> Sample:
        start = self._starts[number]
        self._file.seek(start)
        sample = SAMPLE.validate_json(self._file.read(self._starts[number + 1] - start))
        cluster = self._clusters.get(number)
        return sample if cluster is None else replace(sample, cluster=cluster)
