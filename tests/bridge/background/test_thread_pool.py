"""The pool of threads."""

import asyncio
import contextvars
import threading

import pytest

from project.bridge.background.thread_pool import ThreadPool

pytestmark = pytest.mark.anyio

colour = contextvars.ContextVar("colour", default="none")


async def test_gives_the_result_and_passes_arguments() -> None:
    threads = ThreadPool("test", 1)

    assert await threads.run(divmod, 7, 2) == (3, 1)

    threads.close()


async def test_an_exception_is_the_callers_and_the_thread_lives_on() -> None:
    threads = ThreadPool("test", 1)

    with pytest.raises(ZeroDivisionError):
        await threads.run(divmod, 1, 0)
    assert await threads.run(divmod, 1, 1) == (1, 0)

    threads.close()


async def test_the_call_sees_the_callers_context_variables() -> None:
    threads = ThreadPool("test", 1)
    colour.set("green")

    assert await threads.run(colour.get) == "green"

    threads.close()


async def test_no_more_threads_than_its_size_and_none_before_there_is_work() -> None:
    threads = ThreadPool("bounded", 3)
    before = _names("bounded")
    together = threading.Barrier(3)

    idents = await asyncio.gather(*(threads.run(_meet, together) for _ in range(9)))

    assert before == []
    assert len(set(idents)) == 3
    assert _names("bounded") == ["bounded-1", "bounded-2", "bounded-3"]
    threads.close()


async def test_an_idle_thread_is_used_again() -> None:
    threads = ThreadPool("again", 3)

    idents = {await threads.run(threading.get_ident) for _ in range(20)}

    assert len(idents) == 1
    threads.close()


async def test_close_lets_each_thread_leave_in_its_own_way() -> None:
    left: list[int] = []
    threads = ThreadPool("leaving", 2, on_thread_exit=lambda: left.append(threading.get_ident()))
    together = threading.Barrier(2)
    idents = await asyncio.gather(*(threads.run(_meet, together) for _ in range(2)))

    threads.close()

    assert sorted(left) == sorted(idents)
    assert _names("leaving") == []


async def test_works_again_after_close() -> None:
    threads = ThreadPool("reopened", 1)
    await threads.run(threading.get_ident)
    threads.close()

    assert await threads.run(divmod, 7, 2) == (3, 1)

    threads.close()


async def test_a_cancelled_caller_takes_back_a_call_that_has_not_begun() -> None:
    threads = ThreadPool("busy", 1)
    go = threading.Event()
    calls: list[str] = []
    first = asyncio.ensure_future(threads.run(go.wait))
    second = asyncio.ensure_future(threads.run(calls.append, "second"))
    await asyncio.sleep(0)

    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    go.set()
    await first
    await threads.run(calls.append, "third")

    assert calls == ["third"]
    threads.close()


async def test_where_the_system_gives_no_thread_nothing_is_begun_and_the_next_call_is(monkeypatch: pytest.MonkeyPatch) -> None:
    threads, begun = ThreadPool("few", 2), list[str]()
    with monkeypatch.context() as system:
        system.setattr(threading.Thread, "start", _refuse)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            await threads.run(begun.append, "first")
    await threads.run(begun.append, "second")
    go = threading.Event()
    busy = asyncio.ensure_future(threads.run(go.wait))
    await asyncio.sleep(0)

    with monkeypatch.context() as system:
        system.setattr(threading.Thread, "start", _refuse)
        waiting = asyncio.ensure_future(threads.run(begun.append, "third"))
        await asyncio.sleep(0)
    go.set()
    await asyncio.gather(busy, waiting)

    threads.close()
    assert begun == ["second", "third"]


async def test_close_does_not_wait_for_ever() -> None:
    threads = ThreadPool("stuck", 1)
    go = threading.Event()
    stuck = asyncio.ensure_future(threads.run(go.wait))
    await asyncio.sleep(0)

    threads.close(timeout=0)

    assert not stuck.done()
    go.set()
    await stuck


def _refuse(_thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def _meet(together: threading.Barrier) -> int:
    together.wait(5)
    return threading.get_ident()


def _names(prefix: str) -> list[str]:
    return sorted(thread.name for thread in threading.enumerate() if thread.name.startswith(prefix))
