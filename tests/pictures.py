"""The pictures in docs: ``python -m tests.pictures`` draws them anew."""

from __future__ import annotations

import html
import sys

from ansible.plugins.loader import init_plugin_loader

from tests.support import CHECKOUT

# Pixels of a character, and of the frame.
WIDTH, HEIGHT, FRAME = 8, 18, 16


def drawn(lines: list[tuple[str, bool]], columns: int) -> str:
    """Return lines as an SVG, which is text: it can be read, searched and compared."""
    width = columns * WIDTH + 2 * FRAME
    height = len(lines) * HEIGHT + 2 * FRAME
    rows = []
    for number, (line, bad) in enumerate(lines, 1):
        kind = "bad" if bad else "typed" if line.startswith("$ ") else ""
        attributes = f' class="{kind}"' if kind else ""
        if line:
            text = html.escape(line, quote=False)
            rows.append(
                f'<text x="{FRAME}" y="{FRAME + number * HEIGHT - 5}"{attributes}>{text}</text>'
            )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}">',
            "<style>",
            "rect { fill: #16181d; }",
            "text { fill: #e6e7ea; font: 13px ui-monospace, Menlo, Consolas, monospace;",
            "       white-space: pre; }",
            ".typed { fill: #8ab4f8; }",
            ".bad { fill: #ff8a80; }",
            "</style>",
            f'<rect width="{width}" height="{height}" rx="8"/>',
            *rows,
            "</svg>\n",
        ]
    )


def main() -> int:
    """Draw all, or with ``--check`` only say which are not as they would be drawn."""
    init_plugin_loader([str(CHECKOUT / ".venv/collections")])
    # Ansible has to be the one that finds the collection.
    from tests.support.scenes import COLUMNS, SCENES

    stale = []
    for name, scene in SCENES.items():
        file = CHECKOUT / f"docs/{name}.svg"
        picture = drawn(scene(), COLUMNS)
        if not file.exists() or file.read_text() != picture:
            stale.append(str(file))
            if "--check" not in sys.argv:
                file.write_text(picture)
    print("\n".join(stale))
    return int(bool(stale) and "--check" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
