"""The metrics of this process or, if a command shares them between its processes, of all these processes together."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from prometheus_client import REGISTRY, CollectorRegistry, ProcessCollector, generate_latest, values
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from project.config.metrics_directory import VARIABLE

# Of these metrics, the sum over several processes means nothing.
MINIMUM_OF_PROCESSES = frozenset({"process_start_time_seconds", "process_max_fds"})


def is_shared() -> bool:
    """Return whether the metrics of this process are shared with other processes."""
    return bool(values.ValueClass._multiprocess)


def create_registry(*collectors: Collector) -> CollectorRegistry:
    """Return a registry of all metrics, and of the metrics of further collectors."""
    registry = CollectorRegistry()
    for collector in (SharedMetrics(), *collectors):
        registry.register(collector)
    return registry


def render_metrics(*collectors: Collector) -> bytes:
    """Return all metrics in Prometheus' text format, and the metrics of further collectors."""
    return generate_latest(create_registry(*collectors))


class SharedMetrics(Collector):
    """The metrics of all processes that share them, or else of this process."""

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        if not is_shared():
            yield from REGISTRY.collect()
            return
        folder = Path(os.environ[VARIABLE])
        pids = _process_ids(folder)
        living = {pid for pid in pids if _is_alive(pid)}
        for pid in pids - living:
            # The gauges of a dead process no longer count. Its counters stay.
            mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]
        yield from MultiProcessCollector(None, str(folder)).collect()  # type: ignore[no-untyped-call]
        yield from _processes(living)


def _process_ids(folder: Path) -> set[int]:
    """Return the ids of the processes that have written to the folder. Files are named like `counter_123.db`."""
    names = (path.stem.rpartition("_")[2] for path in folder.glob("*.db"))
    return {int(name) for name in names if name.isdecimal()}


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # a foreign process has the id now
        return False
    return True


def _processes(pids: Iterable[int]) -> Iterator[Metric]:
    """Yield CPU time, memory and open files of the processes together."""
    merged: dict[str, Metric] = {}
    for pid in pids:
        for metric in ProcessCollector(pid=lambda pid=pid: pid, registry=None).collect():  # type: ignore[misc]  # pid is bound now
            known = merged.setdefault(metric.name, metric)
            if known is not metric:
                combine = min if metric.name in MINIMUM_OF_PROCESSES else sum
                known.samples = [
                    one._replace(value=combine([one.value, other.value]))
                    for one, other in zip(known.samples, metric.samples, strict=True)
                ]
    yield from merged.values()
