"""concurrent.futures: its executor of processes, with the pickles of arrays that it sends."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor

pool = ProcessPoolExecutor
