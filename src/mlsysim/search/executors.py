"""Who runs the blocks: this process, a pool of processes, or a Dask cluster. All give the same answers in the same order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from importlib import import_module
from multiprocessing import get_context
from typing import Any, Protocol

from ..errors import InvalidInputError, MissingExtraError, MLSysimError
from .blocks import run_packed

Task = tuple[int, int]


class ExecutorError(MLSysimError, RuntimeError):
    """Workers could not be started or died."""


class Executor(Protocol):
    """Runs the blocks of a sweep. Another scheduler needs no more than this method."""

    def run(self, packed: bytes, tasks: Sequence[Task]) -> Iterator[dict[str, Any]]:
        """Columns of each block, in the order of the tasks."""


class Serial:
    """In this process, one block after the other."""

    def run(self, packed: bytes, tasks: Sequence[Task]) -> Iterator[dict[str, Any]]:
        """Columns of each block."""
        return (run_packed(packed, *task) for task in tasks)


class Pool:
    """In so many processes of this machine. A script that uses it needs the usual ``if __name__ == "__main__":``."""

    def __init__(self, jobs: int) -> None:
        if isinstance(jobs, bool) or not isinstance(jobs, int) or not 1 <= jobs <= 1024:
            raise InvalidInputError(f"jobs: expected a whole number from 1 to 1024, found {jobs!r}")
        self.jobs = jobs

    def run(self, packed: bytes, tasks: Sequence[Task]) -> Iterator[dict[str, Any]]:
        """Columns of each block."""
        # Fresh processes: a fork of a process with threads (Polars has some) may hang.
        pool = ProcessPoolExecutor(min(self.jobs, len(tasks)), mp_context=get_context("spawn"))
        try:
            yield from pool.map(run_packed, [packed] * len(tasks), *zip(*tasks, strict=True))
        except BrokenProcessPool:
            raise ExecutorError(
                'a worker process died; a script needs `if __name__ == "__main__":` around the sweep, '
                "and each worker needs memory for one block"
            ) from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


class Dask:
    """On a Dask cluster: the address of its scheduler, or a ``dask.distributed`` client or cluster."""

    def __init__(self, where: Any) -> None:
        try:
            distributed: Any = import_module("distributed")
        except ImportError:
            raise MissingExtraError("a sweep on Dask", "sweep") from None
        self._own = not isinstance(where, distributed.Client)
        self.client: Any = where
        if not self._own:
            return
        try:
            self.client = distributed.Client(where, timeout="10s", set_as_default=False)
        except (OSError, ValueError, TypeError) as error:
            raise ExecutorError(f"no Dask scheduler at {where!r}: {' '.join(str(error).split())[:200]}") from None

    def run(self, packed: bytes, tasks: Sequence[Task]) -> Iterator[dict[str, Any]]:
        """Columns of each block."""
        try:
            shared = self.client.scatter(packed, broadcast=True)
            futures = [self.client.submit(run_packed, shared, *task, pure=False) for task in tasks]
            for future in futures:
                yield future.result()
                future.release()
        finally:
            if self._own:
                self.client.close()


def executor_for(jobs: int = 1, dask: Any = None, executor: Any = None) -> Executor:
    """The executor that was asked for: one's own, Dask, a pool, or none of them."""
    if executor is not None:
        if not hasattr(executor, "run"):
            raise InvalidInputError(f"executor: expected an object with a run method, found {type(executor).__name__}")
        own: Executor = executor
        return own
    if dask is not None:
        return Dask(dask)
    pool = Pool(jobs)
    return Serial() if pool.jobs == 1 else pool
