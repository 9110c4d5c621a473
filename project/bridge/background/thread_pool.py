"""Bounded thread pool for async code.

It replaces `concurrent.futures.ThreadPoolExecutor` for two reasons. First, the interpreter joins the executor's threads at exit,
so one stuck call would keep a stopped server alive. Second, the executor has no hook for the end of a thread. The hook is needed
to close the thread's database connections.
"""

import asyncio
import contextvars
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from queue import SimpleQueue
from typing import ParamSpec, TypeVar

from ..notifications.local import LocalSignal

P = ParamSpec("P")
T = TypeVar("T")

_Job = tuple["Future[object]", Callable[[], object], float]  # the call, and when it was submitted

thread_waits = LocalSignal[[str, float]]()  # a pool's name, and the seconds that a call has waited; sent on the pool's thread


class ThreadPool:
    """Pool of at most `size` daemon threads, started when there is work. Each thread calls `on_thread_exit` before it ends.

    A call that has waited for a thread for `max_wait` seconds is dropped, and raises `busy_error`.
    """

    def __init__(
        self,
        name: str,
        size: int,
        *,
        on_thread_exit: Callable[[], None] = lambda: None,
        max_wait: float | None = None,
        busy_error: type[Exception] = TimeoutError,
    ) -> None:
        self.name = name
        self.size = size
        self._max_wait = max_wait
        self._busy_error = busy_error
        self._on_thread_exit = on_thread_exit
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []

    async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `function` on a thread, with the caller's context variables. Return its result, or raise its exception.

        If the caller is canceled, a call that has not started is dropped, and a call that has started runs to its end. Raises,
        without starting the call, `busy_error`, or `RuntimeError` if the pool has no thread and the system cannot start one.
        """
        future: Future[T] = Future()
        call = partial(contextvars.copy_context().run, partial(function, *args, **kwargs))
        with self._lock:
            if not self._idle.acquire(blocking=False) and len(self._threads) < self.size:
                try:
                    self._start_thread()
                except RuntimeError:  # the system's limit on threads is reached
                    if not self._threads:
                        raise
            self._jobs.put((future, call, time.perf_counter()))  # type: ignore[arg-type]  # Future is invariant; only this method reads the result
        return await (asyncio.wrap_future(future) if self._max_wait is None else self._wait_for_start(future, self._max_wait))

    async def _wait_for_start(self, future: "Future[T]", max_wait: float) -> T:
        """Return the call's result. Cancel the call if it has not started after `max_wait` seconds."""
        was_dropped = False

        def drop() -> None:
            nonlocal was_dropped
            was_dropped = future.cancel()  # returns False if the call has started

        timer = asyncio.get_running_loop().call_later(max_wait, drop)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if was_dropped and not (task is not None and task.cancelling()):
                raise self._busy_error(f"no thread of the pool {self.name!r} became free within {max_wait:g} s") from None
            raise
        finally:
            timer.cancel()

    def close(self, timeout: float = 5.0) -> None:
        """End the threads once all submitted calls are done. Waits up to `timeout` seconds for all of them.

        The next call of `run` starts new threads.
        """
        deadline = time.monotonic() + timeout
        with self._lock:
            threads, self._threads = self._threads, []
            jobs, self._jobs = self._jobs, SimpleQueue()
            self._idle = threading.Semaphore(0)
        for _ in threads:
            jobs.put(None)
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _start_thread(self) -> None:
        name = f"{self.name}-{len(self._threads) + 1}"
        thread = threading.Thread(target=self._work, args=(self._jobs, self._idle), name=name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _work(self, jobs: "SimpleQueue[_Job | None]", idle: threading.Semaphore) -> None:
        while (job := jobs.get()) is not None:
            future, call, submitted_at = job
            thread_waits.send(self.name, time.perf_counter() - submitted_at)
            set_result = _run_job(future, call)
            idle.release()  # before the result is set, so that the caller's next call can already use this thread
            set_result()
            del job, future, call, set_result  # an idle thread must not keep arguments and results alive
        self._on_thread_exit()


def _run_job(future: "Future[object]", call: Callable[[], object]) -> Callable[[], object]:
    """Run the call unless it was canceled. Return the function that passes the result to the caller."""
    if not future.set_running_or_notify_cancel():
        return lambda: None
    try:
        return partial(future.set_result, call())
    except BaseException as error:  # noqa: BLE001  # every exception is raised to the caller
        return partial(future.set_exception, error)
