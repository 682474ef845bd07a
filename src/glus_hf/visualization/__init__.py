"""Pictures of results: masks drawn over frames, contact sheets, videos and image files."""

from .colours import palette
from .legend import quiet_edge
from .objects import draw_objects
from .overlay import OverlayFrames, draw_overlay, overlay_video
from .saving import save_overlay
from .sheets import contact_sheet, save_image


__all__ = [
    "OverlayFrames",
    "contact_sheet",
    "draw_objects",
    "draw_overlay",
    "overlay_video",
    "palette",
    "quiet_edge",
    "save_image",
    "save_overlay",
]
