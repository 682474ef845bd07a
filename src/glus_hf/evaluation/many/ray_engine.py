"""Segment the videos of a manifest on a Ray cluster: workers hold one model each, this process keeps the books.

A worker sends results and the content of mask files back. Only this process writes, so the cluster needs no common
disk, and what a worker had finished is never lost with it.
"""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path

from ...errors import UserError
from ..runs.expression_result import ExpressionFailure, ExpressionResult
from ..runs.fingerprint import model_settings
from ..runs.jobs import Group, Job, plan_groups
from ..runs.manifest import Manifest
from .segment_many import ManyVideos, file_store


MAX_GROUPS = 4  # groups of a video that one worker does in a row: it opens the video once
LoadModel = Callable[[], tuple[object, object]]
"""Gives model and processor, on a worker."""


@dataclass(frozen=True)
class RayOptions:
    """What the workers are.

    Attributes:
        num_workers: how many; by default as many as the cluster has room for now.
        num_gpus: GPUs of each, also a fraction; by default 1 where the cluster has any, else 0.
        num_cpus: CPUs of each, and so the number of its threads.
        retries: how often a piece of work is tried again whose worker died.
        address: of the cluster; by default the running one, or else one on this machine alone.
    """

    num_workers: int | None = None
    num_gpus: float | None = None
    num_cpus: float = 1.0
    retries: int = 3
    address: str | None = None

    def __post_init__(self):
        for name, least in (("num_workers", 1), ("num_gpus", 0), ("num_cpus", 0.01), ("retries", 0)):
            value = getattr(self, name)
            if value is not None and not least <= value < float("inf"):
                raise UserError(f"{name} must be at least {least}, got {value}")


class SegmentingWorker:
    """Runs on a worker.

    Args:
        load: gives model and processor.
        name: of the model, for the settings.
    """

    def __init__(self, load: LoadModel, name: str | None):
        self.load, self.name, self.loaded = load, name, None

    def settings(self) -> dict:
        """What the settings of a run say of the model; it is loaded here."""
        self.loaded = self.loaded or self.load()
        model, processor = self.loaded
        return model_settings(model, self.name, processor)

    def segment(
        self, videos: ManyVideos, groups: Sequence[Group], done: set, settings: Mapping
    ) -> tuple[list[ExpressionResult], dict[str, bytes], list[ExpressionFailure]]:
        """Results, files by relative path, and failures.

        Raises:
            UserError: this worker has another model than the first one.
        """
        own = self.settings()
        if own != settings:
            raise UserError(f"the workers have different models ({own} and {settings}); give all of them the same")
        files, results = {}, []
        segmenter = videos.segmenter(*self.loaded, Path(), files.__setitem__)
        failures = segmenter.run(groups, dict.fromkeys(done), results.append)
        return results, files, failures


@dataclass
class RayEngine:
    """Workers on a Ray cluster.

    Attributes:
        load: gives model and processor; must be what Ray can send to a worker.
        options: [`RayOptions`].
    """

    load: LoadModel
    options: RayOptions = field(default_factory=RayOptions)
    name: str | None = field(default=None, init=False)
    known: dict | None = field(default=None, init=False)

    def settings(self, name: str | None) -> dict:
        """Of the first worker's model; this process loads none."""
        ray = start_ray(self.options.address)
        self.name = name
        self.options = replace(self.options, num_gpus=gpus_of_a_worker(ray, self.options))
        if self.options.num_workers is None:  # else the cluster may grow to the number that is named
            workers_that_fit(ray, self.options)  # the first one would be waited for without end
        first = self._worker(ray)
        try:
            self.known = _answer(ray, first.settings.remote())
        except died(ray) as error:
            raise UserError(f"a worker died while it loaded the model ({_reason(error)}); see Ray's logs") from None
        finally:
            ray.kill(first)
        return self.known

    def _worker(self, ray):
        kind = ray.remote(num_cpus=self.options.num_cpus, num_gpus=self.options.num_gpus)(SegmentingWorker)
        return kind.remote(self.load, self.name)

    def run(self, videos, jobs, done, processes, output, progress):
        from transformers.utils import logging

        ray, store = start_ray(self.options.address), file_store(output)
        bundles = deque(_bundles(jobs, done, videos.options.texts_per_pass))
        total = sum(job.key not in done for bundle in bundles for group in bundle for job in group.jobs)
        count = min(len(bundles), self.options.num_workers or workers_that_fit(ray, self.options))
        failures: list[ExpressionFailure] = []
        with (
            Manifest(output, processes.rank) as manifest,
            logging.tqdm(total=total, desc="segmenting", unit="expression", disable=not progress) as bar,
        ):
            for results, files, failed in self._work(ray, videos, bundles, done, count):
                for name, content in files.items():
                    store(name, content)
                for result in results:
                    manifest.append(result)
                    done[result.key] = result
                failures += failed
                bar.update(len(results) + len(failed))
        return done, failures

    def _work(self, ray, videos: ManyVideos, waiting: deque, done: dict, count: int) -> Iterator[tuple]:
        """Give every idle worker the next bundle. The bundle of a worker that died goes to a new one."""
        deaths: Counter = Counter()
        busy: dict = {}  # answer that is awaited -> worker and bundle

        def give(worker) -> None:
            bundle = waiting.popleft()
            busy[self._send(worker, videos, bundle, done)] = worker, bundle

        try:
            for _ in range(count):
                give(self._worker(ray))
            while busy:
                (answer,), _ = ray.wait(list(busy), num_returns=1)
                worker, bundle = busy.pop(answer)
                try:
                    yield _answer(ray, answer)
                except died(ray) as error:
                    deaths[bundle] += 1
                    if deaths[bundle] > self.options.retries:
                        yield [], {}, self._given_up(bundle, done, deaths[bundle], error, videos)
                    else:
                        waiting.appendleft(bundle)
                    ray.kill(worker)
                    worker = self._worker(ray)
                if waiting:
                    give(worker)
                else:
                    ray.kill(worker)
        finally:
            for worker, _ in busy.values():
                ray.kill(worker)

    def _send(self, worker, videos: ManyVideos, bundle: tuple[Group, ...], done: Mapping):
        jobs = [job for group in bundle for job in group.jobs]
        own = replace(videos, rows={job.index: videos.rows[job.index] for job in jobs})
        finished = {job.key for job in jobs if job.key in done}
        return worker.segment.remote(own, list(bundle), finished, self.known)

    def _given_up(self, bundle, done: Mapping, count: int, error: Exception, videos) -> list[ExpressionFailure]:
        video = bundle[0].jobs[0].video_id
        message = f"video {video}: {count} workers died segmenting it ({_reason(error)}); see Ray's logs"
        if videos.options.on_error == "raise":
            raise UserError(message) from error
        return [ExpressionFailure(*job.key, message) for group in bundle for job in group.jobs if job.key not in done]


def _bundles(jobs: Sequence[Job], done: Mapping, texts_per_pass: int) -> Iterator[tuple[Group, ...]]:
    """What a worker gets at once: a few groups of one video, those in which something is not done; the longest first,
    so that none is left over at the end."""
    groups = [group for group in plan_groups(jobs, texts_per_pass) if any(job.key not in done for job in group.jobs)]
    bundles = []
    for _, members in groupby(groups, key=lambda group: group.jobs[0].video_id):
        of_video = list(members)
        bundles += [tuple(of_video[at : at + MAX_GROUPS]) for at in range(0, len(of_video), MAX_GROUPS)]
    return iter(sorted(bundles, key=lambda bundle: -sum(group.cost for group in bundle)))


# --- Ray -------------------------------------------------------------------------------------------------------------


def start_ray(address: str | None):
    """The module, connected to a cluster.

    Raises:
        UserError: it is not installed, or there is no such cluster; one line.
    """
    try:
        import ray
    except ImportError:
        raise UserError("--engine ray needs Ray: pip install 'glus-hf[ray]'") from None
    if not ray.is_initialized():
        try:
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            ray.init(address=address, log_to_driver=False, logging_level="WARNING")
        except Exception as error:  # what its client and its starter raise has many kinds
            where = f"at {address}" if address else "on this machine"
            raise UserError(f"there is no Ray cluster {where} ({_reason(error)}); check the address") from None
    return ray


def gpus_of_a_worker(ray, options: RayOptions) -> float:
    """`num_gpus`, or what it is by default."""
    if options.num_gpus is not None:
        return options.num_gpus
    return 1.0 if ray.cluster_resources().get("GPU") else 0.0


def workers_that_fit(ray, options: RayOptions) -> int:
    """How many workers the cluster has room for; UserError where it is none."""
    resources = ray.cluster_resources()
    needs = {"CPU": options.num_cpus, "GPU": options.num_gpus or 0}
    count = min(int(resources.get(name, 0) / need) for name, need in needs.items() if need)
    if not count:
        has = ", ".join(f"{resources.get(name, 0):g} {name}" for name in needs)
        raise UserError(f"the Ray cluster has {has}, too little for one worker; lower --num-cpus or --num-gpus")
    return count


def died(ray) -> tuple[type[Exception], ...]:
    """Errors that say that a worker, or its machine, is gone."""
    errors = ray.exceptions
    return errors.RayActorError, errors.WorkerCrashedError, errors.OutOfMemoryError, errors.NodeDiedError


def _answer(ray, reference):
    """What a worker answers; an error that it raised, as it was raised there."""
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.cause or error from None


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[0][:200]


__all__ = ["RayEngine", "RayOptions", "SegmentingWorker", "start_ray"]
