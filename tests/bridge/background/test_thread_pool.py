"""The thread pool."""

import asyncio
import contextvars
import threading

import pytest

from project.bridge.background.thread_pool import ThreadPool

pytestmark = pytest.mark.anyio

color = contextvars.ContextVar("color", default="none")


async def test_passes_arguments_and_returns_the_result() -> None:
    threads = ThreadPool("test", 1)

    assert await threads.run(divmod, 7, 2) == (3, 1)

    threads.close()


async def test_raises_the_exception_to_the_caller_and_keeps_the_thread() -> None:
    threads = ThreadPool("test", 1)

    with pytest.raises(ZeroDivisionError):
        await threads.run(divmod, 1, 0)
    assert await threads.run(divmod, 1, 1) == (1, 0)

    threads.close()


async def test_a_call_sees_the_callers_context_variables() -> None:
    threads = ThreadPool("test", 1)
    color.set("green")

    assert await threads.run(color.get) == "green"

    threads.close()


async def test_starts_threads_when_there_is_work_and_at_most_its_size() -> None:
    threads = ThreadPool("bounded", 3)
    before = _names("bounded")
    barrier = threading.Barrier(3)

    idents = await asyncio.gather(*(threads.run(_meet, barrier) for _ in range(9)))

    assert before == []
    assert len(set(idents)) == 3
    assert _names("bounded") == ["bounded-1", "bounded-2", "bounded-3"]
    threads.close()


async def test_reuses_an_idle_thread() -> None:
    threads = ThreadPool("again", 3)

    idents = {await threads.run(threading.get_ident) for _ in range(20)}

    assert len(idents) == 1
    threads.close()


async def test_close_calls_on_thread_exit_on_each_thread() -> None:
    exited: list[int] = []
    threads = ThreadPool("closing", 2, on_thread_exit=lambda: exited.append(threading.get_ident()))
    barrier = threading.Barrier(2)
    idents = await asyncio.gather(*(threads.run(_meet, barrier) for _ in range(2)))

    threads.close()

    assert sorted(exited) == sorted(idents)
    assert _names("closing") == []


async def test_works_again_after_close() -> None:
    threads = ThreadPool("reopened", 1)
    await threads.run(threading.get_ident)
    threads.close()

    assert await threads.run(divmod, 7, 2) == (3, 1)

    threads.close()


async def test_drops_a_call_whose_caller_was_canceled_before_the_call_started() -> None:
    threads = ThreadPool("busy", 1)
    release = threading.Event()
    calls: list[str] = []
    first = asyncio.ensure_future(threads.run(release.wait))
    second = asyncio.ensure_future(threads.run(calls.append, "second"))
    await asyncio.sleep(0)

    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    release.set()
    await first
    await threads.run(calls.append, "third")

    assert calls == ["third"]
    threads.close()


async def test_raises_if_no_thread_can_be_started_and_recovers_at_the_next_call(monkeypatch: pytest.MonkeyPatch) -> None:
    threads, calls = ThreadPool("few", 2), list[str]()
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", _fail_to_start)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            await threads.run(calls.append, "first")
    await threads.run(calls.append, "second")
    release = threading.Event()
    busy = asyncio.ensure_future(threads.run(release.wait))
    await asyncio.sleep(0)

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", _fail_to_start)
        waiting = asyncio.ensure_future(threads.run(calls.append, "third"))
        await asyncio.sleep(0)
    release.set()
    await asyncio.gather(busy, waiting)

    threads.close()
    assert calls == ["second", "third"]


async def test_close_does_not_wait_longer_than_its_timeout() -> None:
    threads = ThreadPool("stuck", 1)
    release = threading.Event()
    stuck = asyncio.ensure_future(threads.run(release.wait))
    await asyncio.sleep(0)

    threads.close(timeout=0)

    assert not stuck.done()
    release.set()
    await stuck


def _fail_to_start(_thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def _meet(barrier: threading.Barrier) -> int:
    barrier.wait(5)
    return threading.get_ident()


def _names(prefix: str) -> list[str]:
    return sorted(thread.name for thread in threading.enumerate() if thread.name.startswith(prefix))


async def test_a_call_that_waits_too_long_for_a_thread_is_dropped() -> None:
    threads, release, calls = ThreadPool("full", 1, max_wait=0.05), threading.Event(), list[str]()
    first = asyncio.ensure_future(threads.run(release.wait))
    await asyncio.sleep(0)

    with pytest.raises(TimeoutError, match="no thread of the pool 'full' became free within 0"):
        await threads.run(calls.append, "second")
    release.set()

    assert await first  # it has started, so it may take longer than the wait for a thread
    assert await threads.run(calls.copy) == []
    threads.close()
