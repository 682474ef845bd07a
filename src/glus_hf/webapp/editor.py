"""The editor of a mask on the page: a frame, today's mask and a brush, in HTML without anything from elsewhere."""

from __future__ import annotations

import base64
import binascii
import io
from html import escape
from pathlib import Path

import numpy as np

from ..errors import UserError


SCRIPT = (Path(__file__).parent / "editor.js").read_text
PREFIX = "data:image/png;base64,"
STYLE = """.mask-editor{display:grid;gap:.6rem}
.mask-editor canvas{width:100%;touch-action:none;cursor:none;image-rendering:pixelated;border:1px solid #8888}
.mask-editor form{display:flex;flex-wrap:wrap;gap:.4rem 1.2rem;align-items:center;margin:0}
.mask-editor label{display:flex;gap:.4rem;align-items:center}
.mask-editor button{margin:0;padding:.2rem .8rem;border:1px solid #8888;border-radius:6px}
.mask-editor button{background:#8882;color:inherit}
.mask-editor p{margin:0;opacity:.75}"""


def editor_html(frame: np.ndarray, mask: np.ndarray, colour: str, label: str, token: str) -> str:
    """The editor, which `maskEditor.open()` of editor.js starts.

    Args:
        frame: `uint8 [height, width, 3]`.
        mask: bool `[height, width]`, from which the user starts.
        colour: of the mask, as #rrggbb.
        label: what is edited, as text.
        token: another one for every editor, so that the page puts a new one in the place of the last.

    Example:
        >>> html = editor_html(np.zeros((2, 3, 3), np.uint8), np.zeros((2, 3), bool), "#00ff00", "frame 0", "a")
        >>> html.count("<canvas")
        1
    """
    rgb = ",".join(str(int(colour[at : at + 2], 16)) for at in (1, 3, 5))
    pictures = f'data-frame="{_address(frame, "JPEG")}" data-mask="{_address(np.uint8(mask) * 255, "PNG")}"'
    largest = max(8, max(mask.shape) // 3)
    tools = (
        '<label><input type="radio" name="tool" value="add" checked> Add</label>'
        '<label><input type="radio" name="tool" value="erase"> Erase</label>'
        f'<label>Brush <input type="range" name="size" min="1" max="{largest}" value="{max(3, largest // 6)}"></label>'
        '<button type="button" name="undo">Undo</button><button type="button" name="clear">Clear</button>'
    )
    hint = "Keys: X add or erase, [ and ] size of the brush, Z undo. An empty mask means: not on this frame."
    return (
        f'<div class="mask-editor" data-token="{escape(token)}"><strong>{escape(label)}</strong>'
        f'<form onsubmit="return false">{tools}</form>'
        f'<canvas tabindex="0" role="img" aria-label="{escape(label)}" data-colour="{rgb}" {pictures}></canvas>'
        f"<p>{hint}</p></div>"
    )


def drawn_png(address: str | None, limit: int) -> bytes:
    """The PNG that the editor gave.

    Args:
        address: a `data:` address.
        limit: bytes that it may have.

    Raises:
        UserError: there is none, or it has too many bytes; one line.

    Example:
        >>> drawn_png("data:image/png;base64,iVBORw==", 100)[1:4]
        b'PNG'
    """
    if not address or not address.startswith(PREFIX):
        raise UserError("open a frame first: Edit the mask")
    if len(address) > 4 * limit // 3 + len(PREFIX) + 4:
        raise UserError(f"a mask has more than {limit} bytes")
    try:
        return base64.b64decode(address.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise UserError("the mask of the editor cannot be read; open the frame again") from None


def _address(pixels: np.ndarray, kind: str) -> str:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **({"quality": 90} if kind == "JPEG" else {}))
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"


__all__ = ["SCRIPT", "STYLE", "drawn_png", "editor_html"]
