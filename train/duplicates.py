"""Near-duplicate faces, found by perceptual hash: FER2013 holds the same picture more than once, slightly changed."""

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

# Of 64 bits, of which different faces differ in about 32. Up to 10 bits no group of FER2013 grew beyond one photograph
# and its copies (seven), so nothing chains strangers together here.
MAX_DISTANCE = 6
_HASH_SIDE = 8
_SMALL_SIDE = 32
_BLOCK = 1024


def perceptual_hashes(images: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """The pHash of each grey image (n, h, w) uint8, (n,) uint64 (Zauner, 2010).

    A bit says whether one of the 8x8 lowest frequencies of the picture, its mean left out, lies above their median:
    size, brightness, contrast and compression hardly move it.
    """
    bits = np.stack([_low_frequencies(image) for image in images]).reshape(len(images), -1)
    above = bits > np.median(bits, axis=1, keepdims=True)
    weights = np.uint64(1) << np.arange(above.shape[1], dtype=np.uint64)
    return (above.astype(np.uint64) * weights).sum(axis=1, dtype=np.uint64)


def _low_frequencies(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    small = cv2.resize(image, (_SMALL_SIDE, _SMALL_SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    # One row and column further, because the first of each hold the light across the picture.
    return cv2.dct(small)[1 : 1 + _HASH_SIDE, 1 : 1 + _HASH_SIDE]


def groups(images: NDArray[np.uint8], max_distance: int = MAX_DISTANCE) -> NDArray[np.int64]:
    """A group number for each image, (n,): images whose hashes differ in at most `max_distance` bits share one."""
    hashes, n = perceptual_hashes(images), len(images)
    rows, columns = [np.arange(n)], [np.arange(n)]
    for start in range(0, n, _BLOCK):
        block = hashes[start : start + _BLOCK, None] ^ hashes[None, start:]
        near = np.argwhere(np.bitwise_count(block) <= max_distance)
        rows.append(near[:, 0] + start)
        columns.append(near[:, 1] + start)
    pairs = np.concatenate(rows), np.concatenate(columns)
    _, labels = connected_components(
        coo_array((np.ones(len(pairs[0]), dtype=bool), pairs), shape=(n, n)), directed=False
    )
    return labels.astype(np.int64)
