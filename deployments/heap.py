"""What glibc keeps for later goes back to the kernel, or it adds up to the most that ever came together."""

import ctypes
import threading
import time
from typing import Final

PERIOD_S: Final = 30.0
"""One trim takes 4 to 20 ms of one thread, and what malloc is asked for meanwhile waits for its arena."""


def give_back() -> None:
    """Release the free pages of every arena (malloc_trim(3)); nothing where the C library is not glibc."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def give_back_regularly(period_s: float = PERIOD_S) -> None:
    """From now on, in a thread that ends with the process.

    Args:
        period_s: Seconds between.
    """

    def work() -> None:
        while True:
            time.sleep(period_s)
            give_back()

    threading.Thread(target=work, name="give-back", daemon=True).start()
