"""samemap: its executor."""

from __future__ import annotations

from samemap import ProcessPoolExecutor

pool = ProcessPoolExecutor
