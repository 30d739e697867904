"""The page on the config's keys, made from the schema: `python tests/config/config_page.py`."""

from __future__ import annotations

import json
from pathlib import Path

from so8t.config.load import config_schema

PAGE = Path(__file__).resolve().parents[2] / "docs" / "config.md"
_HEAD = """# The keys of a config

`so8t init` writes a config to start from, `so8t validate --schema` prints the JSON Schema for
editors ([run.schema.json](run.schema.json)). Each key is seen acting by a test
(`tests/config/keys_seen.py`). This page is made from the schema.

| key | default | |
|---|---|---|
"""


def _walk():
    """Yield (dotted name, schema of the key) of each key that holds a value."""
    schema = json.loads(config_schema())

    def below(node, prefix):
        node = schema["$defs"][node["$ref"].split("/")[-1]] if "$ref" in node else node
        for part in [*node.get("anyOf", []), *([node["items"]] if "items" in node else [])]:
            yield from below(part, prefix)
        for name, inner in node.get("properties", {}).items():
            key = f"{prefix}.{name}" if prefix else name
            found = list(below(inner, key))
            yield from found or [(key, inner)]

    # An engine's kinds share keys; the first explanation of each stands.
    yield from below(schema, "")


def explanations() -> dict[str, str]:
    """Return what each key is for, as the schema says it."""
    found: dict[str, str] = {}
    for key, inner in _walk():
        found[key] = found.get(key) or inner.get("description", "")
    return dict(sorted(found.items()))


def page() -> str:
    """Return the page."""
    schemas = {}
    for key, inner in _walk():
        schemas.setdefault(key, inner)
    lines = []
    for key, explained in explanations().items():
        inner = schemas[key]
        default = f"`{json.dumps(inner['default'])}`" if "default" in inner else ""
        options = inner.get("enum") or [
            one for part in inner.get("anyOf", []) for one in part.get("enum", [])
        ]
        choices = f" ({', '.join(f'`{one}`' for one in options)})" if options else ""
        said = f"{explained}{choices}".replace("|", "\\|").replace("<", "&lt;")
        lines.append(f"| `{key}` | {default} | {said} |\n")
    return _HEAD + "".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
