"""The page of `glus-hf serve` as a Space, or anywhere behind a proxy."""

import os

import uvicorn

import glus_hf
from glus_hf.webapp.app import web_application
from glus_hf.webapp.guard import Access
from glus_hf.webapp.limits import ServiceLimits


MODEL, SELECTOR = os.environ.get("MODEL", "glus-tiny"), os.environ.get("SELECTOR")
LIMITS = ServiceLimits(file_bytes=50_000_000, seconds=float(os.environ.get("MAX_SECONDS", "30")))
ACCESS = Access(any_host=True, in_frames=True, body_bytes=LIMITS.file_bytes)  # the Space shows its page in a frame

if __name__ == "__main__":
    with web_application(glus_hf.pipeline(model=MODEL), MODEL, SELECTOR, LIMITS, ACCESS) as app:
        port = int(os.environ.get("PORT", "7860"))
        uvicorn.run(app, host=os.environ.get("HOST", "0.0.0.0"), port=port, proxy_headers=True)
