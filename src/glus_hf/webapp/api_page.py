"""A page about the HTTP service, made from its OpenAPI schema; it asks no other server for anything."""

from __future__ import annotations

from html import escape


STYLE = """:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
code,pre{font:14px ui-monospace,monospace}pre{padding:1rem;overflow:auto;border:1px solid #8884}
table{border-collapse:collapse}td,th{border:1px solid #8886;padding:.2rem .6rem;text-align:left;vertical-align:top}"""
EXAMPLE = """curl -F video=@clip.mp4 -F expressions="the dog" -F expressions="the ball" localhost:7860/api/jobs
curl -N localhost:7860/api/jobs/ID/events
curl -O localhost:7860/api/jobs/ID/files/masks.zip"""


def api_page(schema: dict) -> str:
    """HTML of all calls with their fields.

    Example:
        >>> "<h1>" in api_page({"info": {"title": "t", "version": "1"}, "paths": {}})
        True
    """
    info = schema["info"]
    calls = [
        _call(method, path, call, schema) for path, calls in schema["paths"].items() for method, call in calls.items()
    ]
    title = f"{escape(info['title'])} {escape(info['version'])}: HTTP service"
    head = f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><style>{STYLE}</style>"
    intro = f"<p>The schema: <a href=openapi.json>openapi.json</a>.</p><pre>{escape(EXAMPLE)}</pre>"
    return f"{head}<h1>{title}</h1>{intro}{''.join(calls)}{_models(schema)}</html>"


def _call(method: str, path: str, call: dict, schema: dict) -> str:
    fields = [(p["name"], p["in"], p.get("description", "")) for p in call.get("parameters", ())]
    for body in call.get("requestBody", {}).get("content", {}).values():
        name = body["schema"].get("$ref", "").rpartition("/")[2]
        fields += _properties(schema["components"]["schemas"].get(name, {}), "form")
    title = f"<h2><code>{method.upper()} {escape(path)}</code></h2>"
    return f"{title}<p>{_code(call.get('description', ''))}</p>{_table(fields)}"


def _models(schema: dict) -> str:
    models = schema.get("components", {}).get("schemas", {})
    shown = [name for name in models if not name.startswith(("Body_", "HTTP", "Validation"))]
    return "".join(f"<h2>{escape(name)}</h2>{_table(_properties(models[name], 'field'))}" for name in shown)


def _properties(model: dict, kind: str) -> list[tuple]:
    return [(name, kind, about.get("description", "")) for name, about in model.get("properties", {}).items()]


def _table(rows: list[tuple]) -> str:
    lines = [f"<tr><td><code>{escape(n)}</code><td>{escape(k)}<td>{_code(d)}" for n, k, d in rows]
    return f"<table>{''.join(lines)}</table>" if rows else ""


def _code(text: str) -> str:
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if number % 2 else part for number, part in enumerate(parts))


__all__ = ["api_page"]
