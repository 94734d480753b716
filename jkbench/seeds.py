"""Named random streams: every draw belongs to a name and a seed, never to global state.

The names in use: ``split`` (carving a data set), ``subset`` (few-shot images), ``init`` (weights), ``order``
(batches), ``augment`` (views, one stream a step), ``noise`` (input noise in training), ``test-noise`` (input noise in
evaluation), ``bound-source`` and ``bound-copies`` (which source images the transfer bound is measured on, and noisy
copies of target images).
"""

from __future__ import annotations

import hashlib

import numpy as np


def seed_of(*names: object) -> int:
    """A 63-bit seed from names: another name or seed is an independent stream."""
    text = "\x1f".join(map(str, names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def numpy_stream(*names: object) -> np.random.Generator:
    """The stream of these names for drawing on the host."""
    return np.random.Generator(np.random.PCG64(seed_of(*names)))
