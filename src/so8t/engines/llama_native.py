"""llama.cpp's C interface, called through ctypes on the symbols that xllamacpp's wheel exports.

The server in xllamacpp has no log probabilities of a prompt. The C interface has, and it takes many
sequences in one batch, so that a shared prefix is computed once and many questions at a time.

Structures are passed by value and change between builds of llama.cpp. So none is declared here:
the library's own defaults are taken as opaque bytes, compared with what this module knows, and only
a few known places are written. Any surprise raises `NativeUnavailableError`, and the caller takes
another way. Source: include/llama.h of llama.cpp.
"""

from __future__ import annotations

import ctypes
import struct
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

_MOST_SEQUENCES = 256
_PHYSICAL_BATCH = 512
_F32 = 0
# Place -> (format, default) in llama_model_params and llama_context_params.
_MODEL_LAYERS = 16
_MODEL_DEFAULTS = {0: ("Q", 0), 8: ("Q", 0), _MODEL_LAYERS: ("i", -1), 20: ("i", 1)}
_CTX, _BATCH, _UBATCH, _SEQUENCES, _THREADS, _THREADS_BATCH = 0, 4, 8, 12, 28, 32
_FLASH, _TYPE_K, _TYPE_V, _UNIFIED = 52, 104, 108, 141
_CONTEXT_DEFAULTS: dict[int, tuple[str, float | tuple[int, ...]]] = {
    _CTX: ("I", 512),
    _BATCH: ("I", 2048),
    _UBATCH: ("I", _PHYSICAL_BATCH),
    _SEQUENCES: ("I", 1),
    16: ("I", 0),
    20: ("I", 0),
    _THREADS: ("i", 4),
    _THREADS_BATCH: ("i", 4),
    36: ("i", 0),
    40: ("i", -1),
    44: ("i", -1),
    48: ("i", -1),
    _FLASH: ("i", -1),
    56: ("f", 0.0),
    60: ("f", 0.0),
    64: ("f", -1.0),
    84: ("f", -1.0),
    88: ("Q", 0),
    96: ("Q", 0),
    _TYPE_K: ("i", 1),
    _TYPE_V: ("i", 1),
    112: ("Q", 0),
    136: ("5B", (0, 1, 1, 1, 1)),
    _UNIFIED: ("B", 0),
}


class NativeUnavailableError(Exception):
    """The C interface is not there, or not the one that this module knows."""


class _Opaque(ctypes.Structure):
    """A structure whose fields only the library knows, with room for more than it has."""

    _fields_ = (("data", ctypes.c_uint8 * 512),)


class _Batch(ctypes.Structure):
    """`llama_batch`."""

    _fields_ = (
        ("n_tokens", ctypes.c_int32),
        ("token", ctypes.c_void_p),
        ("embd", ctypes.c_void_p),
        ("pos", ctypes.c_void_p),
        ("n_seq_id", ctypes.c_void_p),
        ("seq_id", ctypes.c_void_p),
        ("logits", ctypes.c_void_p),
    )


_SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "llama_backend_init": (None, ()),
    "llama_model_default_params": (_Opaque, ()),
    "llama_context_default_params": (_Opaque, ()),
    "llama_model_load_from_file": (ctypes.c_void_p, (ctypes.c_char_p, _Opaque)),
    "llama_init_from_model": (ctypes.c_void_p, (ctypes.c_void_p, _Opaque)),
    "llama_model_get_vocab": (ctypes.c_void_p, (ctypes.c_void_p,)),
    "llama_model_is_recurrent": (ctypes.c_bool, (ctypes.c_void_p,)),
    "llama_model_is_hybrid": (ctypes.c_bool, (ctypes.c_void_p,)),
    "llama_model_has_encoder": (ctypes.c_bool, (ctypes.c_void_p,)),
    "llama_vocab_n_tokens": (ctypes.c_int32, (ctypes.c_void_p,)),
    "llama_vocab_eos": (ctypes.c_int32, (ctypes.c_void_p,)),
    "llama_vocab_get_text": (ctypes.c_char_p, (ctypes.c_void_p, ctypes.c_int32)),
    "llama_tokenize": (
        ctypes.c_int32,
        (
            ctypes.c_void_p,
            ctypes.c_char_p,
            ctypes.c_int32,
            ctypes.c_void_p,
            ctypes.c_int32,
            ctypes.c_bool,
            ctypes.c_bool,
        ),
    ),
    "llama_n_ctx": (ctypes.c_uint32, (ctypes.c_void_p,)),
    "llama_n_ctx_seq": (ctypes.c_uint32, (ctypes.c_void_p,)),
    "llama_n_batch": (ctypes.c_uint32, (ctypes.c_void_p,)),
    "llama_n_ubatch": (ctypes.c_uint32, (ctypes.c_void_p,)),
    "llama_n_seq_max": (ctypes.c_uint32, (ctypes.c_void_p,)),
    "llama_n_threads": (ctypes.c_int32, (ctypes.c_void_p,)),
    "llama_n_threads_batch": (ctypes.c_int32, (ctypes.c_void_p,)),
    "llama_get_memory": (ctypes.c_void_p, (ctypes.c_void_p,)),
    "llama_memory_clear": (None, (ctypes.c_void_p, ctypes.c_bool)),
    "llama_decode": (ctypes.c_int32, (ctypes.c_void_p, _Batch)),
    "llama_get_logits": (ctypes.POINTER(ctypes.c_float), (ctypes.c_void_p,)),
}


class NativeModel:
    """One model through the C interface: its tokenizer, and the logits of many sequences at once.

    Attributes:
        cells: tokens that one batch may hold, shared prefixes counted once.
        sequences: different ends that one batch may hold.

    """

    def __init__(
        self,
        library: Path,
        model: Path,
        *,
        cells: int,
        threads: int | None,
        gpu_layers: int,
    ) -> None:
        """Load `model` for batches of up to `cells` tokens. Raises NativeUnavailableError."""
        self._lib = _library(library)
        parameters = _defaults(self._lib.llama_model_default_params(), _MODEL_DEFAULTS)
        _write(parameters, _MODEL_LAYERS, "i", gpu_layers)
        self._lib.llama_backend_init()
        self._model = self._lib.llama_model_load_from_file(str(model).encode(), parameters)
        if not self._model:
            raise NativeUnavailableError(f"llama.cpp's C interface does not load {model}")
        for trait in ("is_recurrent", "is_hybrid", "has_encoder"):
            if getattr(self._lib, f"llama_model_{trait}")(self._model):
                raise NativeUnavailableError(f"the model {trait.replace('_', ' ')}")
        self._context = self._new_context(cells, threads)
        self._memory = self._lib.llama_get_memory(self._context)
        self._vocab = self._lib.llama_model_get_vocab(self._model)
        self._size: int = self._lib.llama_vocab_n_tokens(self._vocab)
        self.cells = cells
        self.sequences = _MOST_SEQUENCES

    def _new_context(self, cells: int, threads: int | None) -> Any:
        parameters = _defaults(self._lib.llama_context_default_params(), _CONTEXT_DEFAULTS)
        wanted = {
            "n_ctx": (_CTX, cells),
            "n_batch": (_BATCH, cells),
            "n_ubatch": (_UBATCH, min(cells, _PHYSICAL_BATCH)),
            "n_seq_max": (_SEQUENCES, _MOST_SEQUENCES),
        }
        if threads is not None:
            wanted |= {
                "n_threads": (_THREADS, threads),
                "n_threads_batch": (_THREADS_BATCH, threads),
            }
        for place, value in wanted.values():
            _write(parameters, place, "i", value)
        # Keys and values in full, and no flash attention, which rounds inside: with it the sum of
        # 400 tokens was 0.014 nats from float64, without it 0.00004.
        _write(parameters, _FLASH, "i", 0)
        _write(parameters, _TYPE_K, "i", _F32)
        _write(parameters, _TYPE_V, "i", _F32)
        _write(parameters, _UNIFIED, "B", 1)
        context = self._lib.llama_init_from_model(self._model, parameters)
        if not context:
            raise NativeUnavailableError("llama.cpp's C interface makes no context (memory?)")
        # Unified, every sequence may use all cells; otherwise each has its share.
        wanted["n_ctx_seq"] = (_UNIFIED, cells)
        for name, (_, value) in wanted.items():
            found = getattr(self._lib, f"llama_{name}")(context)
            if found != value:
                raise NativeUnavailableError(f"{name} is {found} where {value} was asked for")
        return context

    @property
    def end_token(self) -> int:
        """The token that ends a text (EOS)."""
        return int(self._lib.llama_vocab_eos(self._vocab))

    def token_text(self, token: int) -> str:
        """Return how the vocabulary writes a token."""
        return bytes(self._lib.llama_vocab_get_text(self._vocab, token)).decode(errors="replace")

    def tokenize(self, text: str, *, special: bool) -> list[int]:
        """Turn text into tokens; `special` adds what the model puts around a text (BOS)."""
        data = text.encode(errors="replace")
        room = len(data) + 8
        tokens = (ctypes.c_int32 * room)()
        count = self._lib.llama_tokenize(self._vocab, data, len(data), tokens, room, special, True)
        if count < 0:
            raise ValueError(f"llama_tokenize asks for {-count} tokens for {len(data)} bytes")
        return tokens[:count]

    def log_probabilities(self, tree: Tree) -> list[tuple[float, bool]]:
        """Compute the tree in one batch; for each asked token its log probability, and if it wins.

        Raises RuntimeError when llama.cpp refuses the batch.
        """
        sequences = tree.sequences()
        count = len(tree.tokens)
        token = np.array(tree.tokens, dtype=np.int32)
        position = np.array(tree.depths, dtype=np.int32)
        lengths = np.array([len(ids) for ids in sequences], dtype=np.int32)
        flat = np.concatenate([np.array(ids, dtype=np.int32) for ids in sequences])
        starts = np.concatenate(([0], np.cumsum(lengths)[:-1])) * flat.itemsize
        pointers = (starts + flat.ctypes.data).astype(np.uint64)
        nodes = sorted({node for node, _ in tree.asked})
        wanted = np.zeros(count, dtype=np.int8)
        wanted[nodes] = 1
        batch = _Batch(
            count,
            token.ctypes.data,
            None,
            position.ctypes.data,
            lengths.ctypes.data,
            pointers.ctypes.data,
            wanted.ctypes.data,
        )
        self._lib.llama_memory_clear(self._memory, False)
        code = self._lib.llama_decode(self._context, batch)
        if code != 0:
            raise RuntimeError(f"llama_decode of {count} tokens returned {code}")
        rows = np.ctypeslib.as_array(
            self._lib.llama_get_logits(self._context), shape=(len(nodes), self._size)
        )
        return _log_softmax(rows, nodes, tree.asked)


def _log_softmax(
    rows: np.ndarray[Any, np.dtype[np.float32]], nodes: list[int], asked: Iterable[tuple[int, int]]
) -> list[tuple[float, bool]]:
    best = rows.argmax(axis=1)
    highest = rows[np.arange(len(rows)), best].astype(np.float64)
    # One row at a time: the vocabulary is large, and a matrix of it would leave the cache.
    sums = np.array(
        [
            float(np.exp(row - top).sum(dtype=np.float64))
            for row, top in zip(rows, highest.astype(np.float32), strict=True)
        ]
    )
    norms = highest + np.log(sums)
    place = {node: row for row, node in enumerate(nodes)}
    return [
        (
            float(rows[place[node], token]) - float(norms[place[node]]),
            bool(best[place[node]] == token),
        )
        for node, token in asked
    ]


class Tree:
    """Token sequences that share what they begin with, each shared token once.

    A node is a token at a depth; `asked` are pairs of a node and the token whose probability
    behind it is wanted.
    """

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.depths: list[int] = []
        self.asked: list[tuple[int, int]] = []
        self._parents: list[int] = []
        self._children: list[int] = []
        self._next: dict[tuple[int, int], int] = {}
        self.ends = 0

    def add(self, context: Sequence[int], continuation: Sequence[int]) -> tuple[int, int]:
        """Add a continuation behind a context; returns the range of `asked` that it got.

        Both have at least one token. The last token itself is never computed: nothing follows it.
        """
        node = -1
        for token in context:
            node = self._child(node, token)
        start = len(self.asked)
        for place, token in enumerate(continuation):
            self.asked.append((node, token))
            if place + 1 < len(continuation):
                node = self._child(node, token)
        return start, len(self.asked)

    def cut(self, size: int, ends: int, asked: int) -> None:
        """Go back to a state that the tree had: its nodes, ends and asked pairs."""
        while len(self.tokens) > size:
            self._next.popitem()
            self.tokens.pop()
            self.depths.pop()
            self._children.pop()
            parent = self._parents.pop()
            if parent >= 0:
                self._children[parent] -= 1
        self.ends = ends
        del self.asked[asked:]

    def _child(self, parent: int, token: int) -> int:
        found = self._next.get((parent, token))
        if found is not None:
            return found
        node = len(self.tokens)
        self._next[parent, token] = node
        self.tokens.append(token)
        self.depths.append(self.depths[parent] + 1 if parent >= 0 else 0)
        self._parents.append(parent)
        self._children.append(0)
        if parent < 0 or self._children[parent]:
            self.ends += 1
        if parent >= 0:
            self._children[parent] += 1
        return node

    def sequences(self) -> list[list[int]]:
        """Return for each node the numbers of the sequences that run through it."""
        through: list[list[int]] = [[] for _ in self.tokens]
        end = 0
        for leaf, children in enumerate(self._children):
            if children:
                continue
            node = leaf
            while node >= 0:
                through[node].append(end)
                node = self._parents[node]
            end += 1
        return through


def _library(path: Path) -> Any:
    try:
        library = ctypes.CDLL(str(path))
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, list(arguments)
    except (OSError, AttributeError) as error:
        raise NativeUnavailableError(f"the wheel exports no C interface: {error}") from error
    return library


def _defaults(found: _Opaque, known: Mapping[int, tuple[str, float | tuple[int, ...]]]) -> _Opaque:
    """Return the library's defaults if they are what this module knows."""
    data = bytes(found.data)
    for place, (form, value) in known.items():
        here = struct.unpack_from(f"<{form}", data, place)
        if here != (value if isinstance(value, tuple) else (value,)):
            raise NativeUnavailableError(
                f"llama.cpp's parameters have another layout: {here} at byte {place}, not {value}"
            )
    return found


def _write(target: _Opaque, place: int, form: str, value: int) -> None:
    struct.pack_into(f"<{form}", target.data, place, value)
