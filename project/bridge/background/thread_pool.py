"""A bounded pool of threads that is waited for with `await`.

Not `concurrent.futures.ThreadPoolExecutor`, for two reasons: the interpreter joins that one's threads when it exits,
so a single stuck call would keep a stopped server alive; and its threads have no moment of leaving, in which a
database connection that belongs to a thread can be closed.
"""

import asyncio
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from queue import SimpleQueue
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_Job = tuple["Future[object]", Callable[[], object]]


class ThreadPool:
    """At most `size` daemon threads, started when there is work; each calls `on_leave` as its last act."""

    def __init__(self, name: str, size: int, *, on_thread_exit: Callable[[], None] = lambda: None) -> None:
        self.name = name
        self.size = size
        self._on_leave = on_thread_exit
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []

    async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `function` on one of the threads, with the caller's context variables; its result or exception is the answer.

        A caller that is cancelled takes back a call that has not begun. One that has begun ends in its own time. Raises
        RuntimeError if the system gives no thread at all, and then has begun nothing.
        """
        future: Future[T] = Future()
        call = partial(contextvars.copy_context().run, partial(function, *args, **kwargs))
        with self._lock:
            if not self._idle.acquire(blocking=False) and len(self._threads) < self.size:
                try:
                    self._start_one()
                except RuntimeError:  # the system has none left
                    if not self._threads:
                        raise
            self._jobs.put((future, call))  # type: ignore[arg-type]  # Future is invariant; only this method reads the result
        return await asyncio.wrap_future(future)

    def close(self, timeout: float = 5.0) -> None:
        """Let the threads leave once they have done what they were given. Waits `timeout` seconds for each, at most."""
        with self._lock:
            threads, self._threads = self._threads, []
            jobs, self._jobs = self._jobs, SimpleQueue()
            self._idle = threading.Semaphore(0)
        for _ in threads:
            jobs.put(None)
        for thread in threads:
            thread.join(timeout)

    def _start_one(self) -> None:
        name = f"{self.name}-{len(self._threads) + 1}"
        thread = threading.Thread(target=self._work, args=(self._jobs, self._idle), name=name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _work(self, jobs: "SimpleQueue[_Job | None]", idle: threading.Semaphore) -> None:
        while (job := jobs.get()) is not None:
            tell = _run_job(*job)
            idle.release()  # first, so that a caller who comes back with the next call finds this thread free
            tell()
            del job, tell  # hold neither arguments nor result while waiting
        self._on_leave()


def _run_job(future: "Future[object]", call: Callable[[], object]) -> Callable[[], None]:
    """Make the call, unless it was taken back. Gives what tells the caller."""
    if not future.set_running_or_notify_cancel():
        return lambda: None
    try:
        return partial(future.set_result, call())
    except BaseException as error:  # noqa: BLE001  # it belongs to the caller, whatever it is
        return partial(future.set_exception, error)
