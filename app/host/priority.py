"""How much of a busy processor a thread gets."""

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

NICE = 10
"""Of a thread that lets others go first: about a tenth of their share where all cores are busy. With less it would hold
up the others whenever it holds the interpreter.
"""

T = TypeVar("T")


def behind_others(work: Callable[[], T]) -> T:
    """What `work` returns or raises, computed in a thread of its own that gets what others leave of the processor.

    On Linux; elsewhere, and where the kernel refuses, it is a thread like any other. Threads that `work` starts inherit
    that, and cannot be raised again.
    """
    done: Future[T] = Future()

    def run() -> None:
        if sys.platform == "linux":  # elsewhere the number of a thread is none that a priority could be given to
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
        try:
            done.set_result(work())
        except BaseException as error:  # whatever it was, it is raised where it is waited for
            done.set_exception(error)

    # Daemon: what computes for long must not keep the process from exiting.
    threading.Thread(target=run, name=f"{threading.current_thread().name}-quiet", daemon=True).start()
    return done.result()
