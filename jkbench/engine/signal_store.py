"""The teacher's signals on disk: one value for each image of a split, computed once for all trials and processes.

A signal (logits, one attention map, rows of the Jacobian, an attention-Jacobian) has a folder of its own in the cache,
named by the hash of what its values depend on: teacher, images, estimator, layer, size, device, torch. It holds:

* ``identity.json``: what was hashed. A folder with a different identity is refused.
* ``rows.bin``: the values as float32, appended in the order in which they were computed, never rewritten.
* ``index.bin``: for each image of the split, its row and the row's checksum.

Rows are written in blocks, before the index names them, with ordinary writes (so that a full disk raises an error, not
SIGBUS), and read through a memory map that all processes share. A row with a wrong checksum is computed again.
"""

from __future__ import annotations

import json
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jkbench import hashing
from jkbench.data.arrays import release
from jkbench.errors import UserError
from jkbench.files import locked, write_atomically

Values = NDArray[np.float32]
Positions = NDArray[np.int64]
"""Of images in their split, whose order is that of the store."""

CHUNK = 64
"""Images that a signal is computed on at once."""
BLOCK, HELD = 2**25, 2**26
"""Bytes of a signal that are computed before they are written; and the most that is read into memory at once."""

_ENTRY = np.dtype([("row", "<i8"), ("checksum", "<u4")])
_NONE = -1


class CacheWarning(UserWarning):
    """The cache of signals cannot be used: the numbers are right, and take longer."""


@dataclass(frozen=True)
class Mapped:
    """Values N×… that stay in their file: ``rows`` N of ``values`` M×D, read when indexed."""

    values: NDArray[np.float32]
    rows: Positions
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of all of them."""
        return 4 * len(self.rows) * int(np.prod(self.shape))

    @property
    def complete(self) -> bool:
        """Whether no value is missing."""
        return not (self.rows == _NONE).any()

    def at_hand(self) -> Values | Mapped:
        """An array of all values, or the map where it would be larger than `HELD`."""
        return self if self.nbytes > HELD else self[:]

    def __getitem__(self, index: Positions | slice | int) -> Values:
        """A copy of the values at these rows; the pages that were read are released."""
        rows = self.rows[index]
        found = np.array(self.values[rows]).reshape(*np.shape(rows), *self.shape)
        release(self.values)
        return found


def _nothing(positions: Positions) -> Mapped:
    return Mapped(np.empty((0, 1), np.float32), np.full(len(positions), _NONE), (1,))


def _images_of(size: int, shape: tuple[int, ...]) -> int:
    """How many images' values of this shape fit into ``size`` bytes: whole chunks, one at least."""
    return max(1, size // (4 * CHUNK * int(np.prod(shape)))) * CHUNK


@dataclass(frozen=True)
class SignalStore:
    """Signals of one teacher on the ``images`` images of a split: each is in a folder of its own in ``folder``.

    ``identity`` is JSON: what the values depend on. ``shared`` is another store, whose values are read where it has all
    that are wanted, and never written.
    """

    folder: Path
    identity: dict[str, Any]
    images: int
    shared: SignalStore | None = None

    def signal(self, name: object) -> SignalStore:
        """The store of one signal."""
        identity = {**self.identity, "signal": str(name)}
        shared = None if self.shared is None else self.shared.signal(name)
        return replace(self, folder=self.folder / hashing.of_value(identity), identity=identity, shared=shared)

    def obtain(self, positions: Positions, compute: Callable[[Positions], Values]) -> Values | Mapped:
        """The values of one signal at these images, N×…: read where they are cached, else computed and cached.

        An array, or a map of the file where the array would be larger than `HELD`. Where the cache cannot be written,
        the values are computed nevertheless and a `CacheWarning` says what to do. `UserError` where the folder holds
        a different signal.
        """
        if self.shared is not None:
            self.shared._check_identity()
            if (there := self.shared._read(positions)).complete:
                return there.at_hand()
        self._check_identity()
        held: dict[int, Values] = {}
        with self._locked() as writable:
            cached = self._read(positions)
            missing = positions[cached.rows == _NONE]
            while len(missing):
                count = CHUNK if (shape := self._shape()) is None else _images_of(BLOCK, shape)
                part, missing = missing[:count], missing[count:]
                computed = np.ascontiguousarray(compute(part), dtype="<f4")
                writable = writable and self._add(part, computed)
                if not writable:
                    held |= dict(zip(part.tolist(), computed, strict=True))
                elif not len(missing):
                    cached = self._read(positions)
        lost = [at for at, row in zip(positions.tolist(), cached.rows, strict=True) if row == _NONE and at not in held]
        if lost:  # written, but unreadable
            held |= dict(zip(lost, np.ascontiguousarray(compute(np.array(lost)), dtype="<f4"), strict=True))
        if not held:
            return cached.at_hand()
        return np.stack([held[at] if at in held else cached[index] for index, at in enumerate(positions.tolist())])

    @contextmanager
    def _locked(self) -> Iterator[bool]:
        """Keep other processes from computing this signal meanwhile; False where nothing can be written."""
        with ExitStack() as held:
            writable = True
            try:
                held.enter_context(locked(self.folder / "writing.lock"))
            except UserError as error:
                writable = False
                self._unwritable(error.message.rpartition(": ")[2])
            yield writable

    def _check_identity(self) -> None:
        path = self.folder / "identity.json"
        try:
            held = json.loads(path.read_text(encoding="utf-8"))
        except OSError:  # missing, or unreadable and then unwritable too
            return
        except ValueError as error:
            raise UserError(f"the cached signals in {self.folder} cannot be read: {error}", _delete(path)) from None
        if not isinstance(held, dict):
            raise UserError(f"the cached signals in {self.folder} cannot be read: no identity", _delete(path))
        other = [key for key in {**held, **self.identity} if held.get(key) != self.identity.get(key)]
        if other:
            told = ", ".join(f"{key} {held.get(key)!r}, not {self.identity.get(key)!r}" for key in sorted(other))
            raise UserError(f"{self.folder} holds another signal than its name says: {told}", _delete(path))

    def _index(self) -> NDArray[Any]:
        """Each image's row and checksum; row −1 where there is none."""
        index = np.zeros(self.images, dtype=_ENTRY)
        index["row"] = _NONE
        path = self.folder / "index.bin"
        if path.is_file():
            held = np.fromfile(path, dtype=_ENTRY, count=self.images)
            index[: len(held)] = held
        return index

    def _shape(self) -> tuple[int, ...] | None:
        """The shape of one value; None where the file is missing or holds no shape."""
        try:
            shape = tuple(int(size) for size in json.loads((self.folder / "shape.json").read_text()))
        except (OSError, ValueError, TypeError):
            return None
        return shape if all(size > 0 for size in shape) else None

    def _read(self, positions: Positions) -> Mapped:
        """The sound cached values of these images."""
        try:
            return self._sound(positions)
        except OSError as error:
            self._unwritable(str(error.strerror))
            return _nothing(positions)

    def _sound(self, positions: Positions) -> Mapped:
        shape = self._shape()
        file = self.folder / "rows.bin"
        if shape is None or not file.is_file():
            return _nothing(positions)
        width = int(np.prod(shape))
        count = file.stat().st_size // (4 * width)
        if not count:
            return _nothing(positions)
        values = np.memmap(file, dtype="<f4", mode="r", shape=(count, width))
        index, damaged = self._index(), 0
        rows = np.full(len(positions), _NONE)
        for place, at in enumerate(positions.tolist()):
            row, checksum = index[at]
            if not 0 <= row < count:
                damaged += row != _NONE
            elif zlib.crc32(values[row].tobytes()) != checksum:
                damaged += 1
            else:
                rows[place] = row
            if place % CHUNK == 0:
                release(values)
        release(values)
        if damaged:
            _warn(f"{damaged} cached signals in {self.folder} are damaged: computing them again")
        return Mapped(values, rows, shape)

    def _add(self, positions: Positions, computed: Values) -> bool:
        """Write these; False where that fails."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if self._shape() != computed.shape[1:]:
                write_atomically(self.folder / "shape.json", json.dumps(computed.shape[1:]))
            if not (self.folder / "identity.json").is_file():
                write_atomically(self.folder / "identity.json", json.dumps(self.identity, indent=1, sort_keys=True))
            size = computed[0].nbytes
            with (self.folder / "rows.bin").open("ab") as stream:
                first = -(-stream.tell() // size)  # skip a row that a kill left half-written
                stream.write(b"\0" * (first * size - stream.tell()))
                stream.write(computed.tobytes())
            index = self._index()
            for row, (at, value) in enumerate(zip(positions.tolist(), computed, strict=True), start=first):
                index[at] = (row, zlib.crc32(value.tobytes()))
            write_atomically(self.folder / "index.bin", index.tobytes())
        except OSError as error:
            self._unwritable(str(error.strerror))
            return False
        except UserError as error:
            self._unwritable(error.message.rpartition(": ")[2])
            return False
        return True

    def _unwritable(self, reason: str) -> None:
        _warn(
            f"the cache of signals {self.folder.parent} cannot be used: {reason}. Continuing without it.\n"
            "  hint: set JKBENCH_CACHE to a writable folder with free space"
        )


def _delete(path: Path) -> str:
    return f"delete {path.parent}: its signal will be computed again"


def _warn(message: str) -> None:
    warnings.warn(message, CacheWarning, stacklevel=3)
