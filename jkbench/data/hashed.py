"""The hash of a data set's content, not taken twice.

Splits that share images (training images, those among them that validate, the others) are each part of the hash: of a
large set, taking it would read everything three times at every start. Of images that were checked as they were read
(`jkbench.data.prepared.kept`) it follows from their own hash and from which of them a split takes; what it was is kept
in the user's cache under a name made of these.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress

from jkbench import fingerprint, places
from jkbench.data import arrays
from jkbench.data.arrays import Split
from jkbench.errors import UserError
from jkbench.files import write_atomically


def content(splits: Mapping[str, Split]) -> str:
    """The hash of canonical splits (`jkbench.data.arrays.content`): the one that is kept, where it must be the same."""
    if not all(split.checked for split in splits.values()):
        return arrays.content(splits)
    file = places.cache() / "contents" / fingerprint.of_value({name: _taken(split) for name, split in splits.items()})
    with suppress(OSError, UnicodeDecodeError):
        found = file.read_text(encoding="utf-8").strip()
        if re.fullmatch(f"[0-9a-f]{{{fingerprint.LENGTH}}}", found):
            return found
    found = arrays.content(splits)
    with suppress(UserError):  # a cache that cannot be written costs time, nothing else
        write_atomically(file, found + "\n")
    return found


def _taken(split: Split) -> list[str]:
    """All that decides which images and labels a split holds."""
    at = "all" if split.at is None else fingerprint.of_bytes(split.at.astype("<i8").tobytes())
    return [split.checked, str(split.shape), at, fingerprint.of_bytes(split.labels.astype("<i8").tobytes())]
