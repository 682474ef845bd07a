"""What each stage of a run takes, by standing at the methods of its parts."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from torch.utils.flop_counter import FlopCounterMode


class StageClock:
    """Adds up what a meter shows between the begin and the end of methods.

    Args:
        meter: a growing number, as `time.process_time`.

    Example:

        >>> clock = StageClock(time.process_time)
        >>> with clock.at({"sleep": (time, "sleep")}):
        ...     time.sleep(0)
        >>> list(clock.spent)
        ['sleep']
    """

    def __init__(self, meter: Callable[[], float]):
        self.meter, self.spent = meter, defaultdict(float)

    @contextmanager
    def at(self, places: Mapping[str, tuple]) -> Iterator[None]:
        """Stand at methods: stage -> (object, names...)."""
        undo = [self._stand(stage, owner, name) for stage, (owner, *names) in places.items() for name in names]
        try:
            yield
        finally:
            for restore in undo:
                restore()

    def _stand(self, stage: str, owner, name: str) -> Callable[[], None]:
        function, is_own = getattr(owner, name), name in vars(owner)

        def measured(*args, **kwargs):
            begin = self.meter()
            try:
                return function(*args, **kwargs)
            finally:
                self.spent[stage] += self.meter() - begin

        setattr(owner, name, measured)
        return lambda: setattr(owner, name, function) if is_own else delattr(owner, name)


def cpu_seconds(run: Callable[[], object], places: Mapping[str, tuple]) -> dict[str, float]:
    """CPU seconds of a run: `total`, of each stage, and of the `rest`."""
    return _measure(run, places, time.process_time)


def counted_flops(run: Callable[[], object], places: Mapping[str, tuple]) -> dict[str, float]:
    """Floating-point operations of a run, as `cpu_seconds` gives seconds; an addition and a product are two."""
    with FlopCounterMode(display=False) as counter:
        return _measure(run, places, counter.get_total_flops)


def _measure(run, places, meter) -> dict[str, float]:
    clock, begin = StageClock(meter), meter()
    with clock.at(places):
        run()
    total = meter() - begin
    return {"total": total, **clock.spent, "rest": total - sum(clock.spent.values())}


__all__ = ["StageClock", "counted_flops", "cpu_seconds"]
