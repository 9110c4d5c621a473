"""Settings of the Python interpreter for a server: the garbage collector and the switching between threads."""

import gc
import sys

# Reference counting frees nearly all objects of a finished request. Reference cycles are rare, and each run of the cyclic garbage
# collector delays all requests, so the collector runs less often than by default (700, 10, 10).
GC_THRESHOLDS = (50_000, 20, 20)
# After this time, a running thread releases the GIL to a waiting thread. With Python's default of 5 ms, the event loop would wait
# for 5 ms several times per response while a database thread works.
GIL_SWITCH_INTERVAL_SECONDS = 0.0002


def tune_interpreter() -> None:
    """Change the settings. Call this function when the application is loaded: its objects are exempt from garbage collection."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    sys.setswitchinterval(GIL_SWITCH_INTERVAL_SECONDS)
