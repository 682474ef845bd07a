"""A Label Studio ML backend on top of `glus-hf serve`: boxes of what the labels of a project mean, in every frame."""

import os
import tempfile
from pathlib import Path
from urllib.parse import urljoin, urlsplit
from xml.etree import ElementTree

import httpx
from fastapi import FastAPI, HTTPException

from glus_hf.predictions.exports.label_studio import video_regions
from glus_hf.webapp.client import RemoteService


SERVICE = os.environ.get("SERVICE_URL", "http://127.0.0.1:7860"), os.environ.get("SERVICE_TOKEN")
STUDIO, KEY = os.environ.get("LABEL_STUDIO_URL", "http://localhost:8080"), os.environ.get("LABEL_STUDIO_API_KEY", "")
VERSION = "glus_hf"
MAX_BYTES = 200_000_000

app = FastAPI(title="glus_hf for Label Studio")


@app.get("/")
@app.get("/health")
def health() -> dict:
    return {"status": "UP", "model_class": VERSION}


@app.post("/setup")
def setup() -> dict:
    return {"model_version": VERSION}


@app.post("/predict")
def predict(content: dict) -> dict:
    names = read_config(content["label_config"])
    results = [predict_task(task, names) for task in content["tasks"]]
    return {"results": results, "model_version": VERSION}


def read_config(config: str) -> dict:
    """Names of the interface's parts, the field of the task that has the video, and the expressions."""
    if "<!" in config:
        raise HTTPException(400, "the labelling interface has a document type; write it without")
    view = ElementTree.fromstring(config)
    video, box, labels = view.find(".//Video"), view.find(".//VideoRectangle"), view.find(".//Labels")
    if video is None or box is None or labels is None:
        raise HTTPException(400, "the labelling interface needs Video, VideoRectangle and Labels")
    texts = [label.get("value") for label in labels.findall("Label")]
    field = video.get("value", "$video").removeprefix("$")
    return {"field": field, "box": box.get("name"), "video": video.get("name"), "texts": texts}


def predict_task(task: dict, names: dict) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"video{Path(urlsplit(task['data'][names['field']]).path).suffix[:8]}"
        download(task["data"][names["field"]], file)
        masks = RemoteService(*SERVICE).segment(file, names["texts"])
    scores = [score for track in masks.scores for score in track]
    regions = video_regions(masks, names["box"], names["video"])
    return {"model_version": VERSION, "score": sum(scores) / max(1, len(scores)), "result": regions}


def download(address: str, file: Path) -> None:
    """Take a task's video from Label Studio, and from no other host."""
    address = urljoin(STUDIO + "/", address)
    if urlsplit(address).netloc != urlsplit(STUDIO).netloc or urlsplit(address).scheme not in ("http", "https"):
        raise HTTPException(400, "the video of a task is taken from Label Studio only: set LABEL_STUDIO_URL")
    headers, size = ({"Authorization": f"Token {KEY}"} if KEY else {}), 0
    with httpx.stream("GET", address, headers=headers, timeout=120) as answer, open(file, "wb") as out:
        answer.raise_for_status()
        for block in answer.iter_bytes():
            size += len(block)
            if size > MAX_BYTES:
                raise HTTPException(413, f"the video has more than {MAX_BYTES} bytes")
            out.write(block)
