"""Near-duplicate faces, found by perceptual hash: FER2013 holds the same picture more than once, slightly changed."""

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

# Of 64 bits, of which different faces differ in about 32. Up to here the hash alone is proof enough.
MAX_DISTANCE = 6
# Copies cropped again or with a mark across them differ in more, but so do some strangers: there pixels must agree too.
_MAX_SUSPECT_DISTANCE = 12
_MIN_CORRELATION = 0.9
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


def pairs(images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The near-duplicates among images (n, h, w), as pairs of their numbers (p, 2), the smaller first.

    Their hashes differ in at most 6 bits, or in at most 12 and their pixels correlate by 0.9 or more.
    """
    hashes = perceptual_hashes(images)
    found = [np.empty((0, 2), dtype=np.int64)]
    for start in range(0, len(images), _BLOCK):
        bits = np.bitwise_count(hashes[start : start + _BLOCK, None] ^ hashes[None, start:])
        near = np.argwhere(bits <= _MAX_SUSPECT_DISTANCE)
        near = near[near[:, 0] < near[:, 1]]
        alike = bits[near[:, 0], near[:, 1]] <= MAX_DISTANCE
        near += start
        suspects = near[~alike]
        alike[~alike] = _correlations(images[suspects[:, 0]], images[suspects[:, 1]]) >= _MIN_CORRELATION
        found.append(near[alike])
    return np.concatenate(found)


def _correlations(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Pearson's correlation of each of `first` (n, h, w) with the one of `second` at its place; 0 for an even grey."""
    size = first.shape[1] * first.shape[2]
    one, other = (images.reshape(-1, size).astype(np.float64) for images in (first, second))
    one, other = (pixels - pixels.mean(axis=1, keepdims=True) for pixels in (one, other))
    scale = np.sqrt((one**2).sum(axis=1) * (other**2).sum(axis=1))
    return (one * other).sum(axis=1) / np.where(scale > 0, scale, 1)


def groups(images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """A group number for each image, (n,): near-duplicates share one, and so do theirs."""
    n, (rows, columns) = len(images), pairs(images).T
    links = coo_array((np.ones(len(rows), dtype=bool), (rows, columns)), shape=(n, n))
    _, labels = connected_components(links, directed=False)
    return labels.astype(np.int64)
