"""Decoding images in a few threads ahead of the encoder; Pillow lets go of the interpreter lock meanwhile."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from fne.data.decoding import read_rgb


def decoded(
    paths: Sequence[Path], prepare: Callable[[Image.Image], np.ndarray], workers: int, ahead: int
) -> Iterator[np.ndarray]:
    """Yield the prepared pixels of the images in order, decoding at most ``ahead`` of them before they are asked for.

    Args:
        paths: The image files.
        prepare: From an RGB image to the encoder's pixels; called from several threads.
        workers: Number of threads.
        ahead: Bound on the number of images held in memory.

    Raises:
        UserError: An image cannot be decoded.
    """

    def work(path: Path) -> np.ndarray:
        return prepare(read_rgb(path))

    pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
    waiting: deque[Future[np.ndarray]] = deque()
    try:
        rest = iter(paths)
        for path in rest:
            waiting.append(pool.submit(work, path))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
