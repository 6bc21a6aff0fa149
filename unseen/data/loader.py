"""Clips ahead of time: threads decode and crop while the model computes."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from unseen.contract import Clip, Source


def prefetch(source: Source, plan: Iterator[np.ndarray], workers: int) -> Iterator[Clip]:
    """The clip of every entry of `plan`, in order; any number of workers (0: none) gives the same clips.

    An error of a worker is raised where its clip would have come. Up to workers + 1 clips are held ahead.
    """
    if workers == 0:
        yield from map(source.batch, plan)
        return
    pool = ThreadPoolExecutor(workers, thread_name_prefix="clips")
    ahead: deque[Future[Clip]] = deque()
    try:
        for positions in plan:
            ahead.append(pool.submit(source.batch, positions))
            if len(ahead) > workers:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
