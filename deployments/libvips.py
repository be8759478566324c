"""libvips as every process of ours runs it; `pyvips` is imported from here and from nowhere else."""

import logging

import pyvips

# One request, one thread: replicas scale. The cache would keep pictures of past requests in memory.
pyvips.concurrency_set(1)
pyvips.cache_set_max(0)
pyvips.block_untrusted_set(True)
logging.getLogger("pyvips").setLevel(logging.ERROR)  # one line for every oddity of every upload otherwise

__all__ = ["pyvips"]
