"""A client of the HTTP service: a video and expressions in, their masks out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..errors import UserError
from ..predictions.exports.video_masks import VideoMasks


POLL_SECONDS = 0.3
TRIES, PAUSE = 120, 1.0


class RemoteService:
    """A running `glus-hf serve`.

    Args:
        address: as `glus-hf serve` prints it, without the token.
        token: of the service, if it has one.
        transport: of httpx, for tests.

    Example:
        >>> service = RemoteService("http://127.0.0.1:7860")  # doctest: +SKIP
        >>> service.segment("clip.mp4", ["the dog"]).mask(0, 5).shape  # doctest: +SKIP
        (720, 1280)
    """

    def __init__(self, address: str, token: str | None = None, transport=None):
        import httpx

        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.client = httpx.Client(base_url=address, headers=headers, timeout=600, transport=transport)

    def segment(
        self,
        video: str | Path,
        texts: Sequence[str],
        key_frame: int | None = None,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> VideoMasks:
        """Segment a video file; waits until the job has ended, then removes it from the service.

        Args:
            video: file.
            texts: expressions.
            key_frame: frame to start from.
            on_progress: called with masks made and masks to make.

        Returns:
            Masks, scores and frame rate, ready for [`export_masks`].

        Raises:
            UserError: the service refuses or does not answer, or the job fails; one line.
        """
        with self._answers():
            return self._segment(Path(video), list(texts), key_frame, on_progress)

    def _segment(self, video: Path, texts: list[str], key_frame: int | None, on_progress) -> VideoMasks:
        job = self._submit(video, texts, key_frame)
        try:
            while job["state"] in ("queued", "running"):
                time.sleep(POLL_SECONDS)
                job = self._ask("GET", f"/api/jobs/{job['id']}")
                if on_progress is not None:
                    on_progress(job["done"], job["total"])
            if job["state"] != "done":
                raise UserError(f"{video}: {job['error'] or job['state']}")
            coco = self._ask("GET", f"/api/jobs/{job['id']}/files/coco.json")
        finally:
            self.client.delete(f"/api/jobs/{job['id']}")
        return _as_masks(video.stem, job["result"], coco)

    def _submit(self, video: Path, texts: list[str], key_frame: int | None) -> dict:
        form = {"expressions": texts, **({} if key_frame is None else {"key_frame": key_frame})}
        for _ in range(TRIES):
            with open(video, "rb") as file:
                answer = self.client.post("/api/jobs", data=form, files={"video": (video.name, file)})
            if answer.status_code != 503:  # too many jobs: come back later
                break
            time.sleep(PAUSE)
        job = self._content(answer)
        if not {"id", "state"} <= job.keys():
            raise self._no_service("is no glus-hf serve")
        return job

    def _ask(self, method: str, path: str) -> dict:
        return self._content(self.client.request(method, path))

    @contextmanager
    def _answers(self):
        """That there is no answer as one line."""
        import httpx

        try:
            yield
        except httpx.HTTPError as error:
            raise self._no_service(f"does not answer ({type(error).__name__}: {error})") from None

    def _no_service(self, reason: str) -> UserError:
        return UserError(f"{self.client.base_url}: {reason}; check the address, or start glus-hf serve there")

    def _content(self, answer) -> dict:
        try:
            content = answer.json()
        except ValueError:
            content = None
        if not isinstance(content, dict):
            raise self._no_service(f"is no glus-hf serve (it answers {answer.status_code})")
        if not answer.is_success:
            raise UserError(f"the service answers {answer.status_code}: {content.get('detail', '')}")
        return content


def _as_masks(video: str, result: dict, coco: dict) -> VideoMasks:
    """COCO's masks of frames as tracks."""
    labels = [expression["expression"] for expression in result["expressions"]]
    numbers = {category["id"]: labels.index(category["name"]) for category in coco["categories"]}
    frames = {image["id"]: image["frame_index"] for image in coco["images"]}
    tracks: list[list[dict | None]] = [[None] * result["num_frames"] for _ in labels]
    for annotation in coco["annotations"]:
        tracks[numbers[annotation["category_id"]]][frames[annotation["image_id"]]] = annotation["segmentation"]
    return VideoMasks(
        video,
        [f"{index:05d}" for index in range(result["num_frames"])],
        (result["height"], result["width"]),
        labels,
        tracks,
        scores=[expression["scores"] for expression in result["expressions"]],
        fps=result["fps"],
    )


__all__ = ["RemoteService"]
