"""Is the client itself fast enough to be believed?"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from types import TracebackType

import numpy as np

# Beyond either, the times in a report say more about this client than about the server.
MAX_LAG_P99_MS = 5.0
MAX_CPU_SHARE = 0.70

# 200 samples a second: a stall of 5 ms is seen, and the sampling itself costs about 1 % of a core.
SAMPLE_INTERVAL_S = 0.005


@dataclass(frozen=True, slots=True)
class ClientHealth:
    """How late the event loop was (ms) and how much of one core the process used (0 to 1).

    The lag's p99 is the plain sample quantile even for a short run: it guards, it claims nothing.
    """

    loop_lag_p99_ms: float
    loop_lag_max_ms: float
    loop_lag_samples: int
    cpu_share: float
    invalid_reasons: list[str] = field(default_factory=list)


def judge(lags_s: list[float], cpu_s: float, wall_s: float) -> ClientHealth:
    """Turn loop lags (s) and CPU seconds over ``wall_s`` into a verdict."""
    lags_ms = np.asarray(lags_s or [0.0]) * 1000
    p99 = round(float(np.quantile(lags_ms, 0.99)), 3)
    share = round(cpu_s / wall_s, 3) if wall_s > 0 else 0.0
    reasons = []
    if p99 >= MAX_LAG_P99_MS:
        late = f"the client's event loop was late: p99 {p99:.1f} ms, limit {MAX_LAG_P99_MS:.0f} ms"
        reasons.append(f"{late} (it used {share:.0%} of a core; the less, the more others kept it waiting)")
    if share >= MAX_CPU_SHARE:
        reasons.append(f"the client used {share:.0%} of a core, limit {MAX_CPU_SHARE:.0%}")
    return ClientHealth(p99, round(float(lags_ms.max()), 3), len(lags_s), share, reasons)


class HealthMonitor:
    """``async with HealthMonitor() as monitor:`` around the measured part; then ``monitor.health()``."""

    def __init__(self) -> None:
        self._lags_s: list[float] = []
        self._wall_s = 0.0
        self._cpu_s = 0.0

    async def __aenter__(self) -> HealthMonitor:
        self._wall_s, self._cpu_s = -time.perf_counter(), -time.process_time()
        self._task = asyncio.create_task(self._sample())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._wall_s += time.perf_counter()
        self._cpu_s += time.process_time()
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _sample(self) -> None:
        while True:
            due_s = time.perf_counter() + SAMPLE_INTERVAL_S
            await asyncio.sleep(SAMPLE_INTERVAL_S)
            self._lags_s.append(max(0.0, time.perf_counter() - due_s))

    def health(self) -> ClientHealth:
        """The verdict over the monitored time."""
        return judge(self._lags_s, self._cpu_s, self._wall_s)
