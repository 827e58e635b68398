"""The frame of every page: its policy, style and script, and texts that stay texts.

In: a title, HTML, data, names of assets. Out: one self-contained HTML file. Standard library only.

Nothing from a transcript becomes markup: static parts go through `escape`, data through JSON and
`textContent`, and a content security policy allows only the page's own style and script, by hash.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from string import Template

THEME = "<button id='theme' type='button' aria-label='Light or dark'>◐</button>"
STYLES = ("theme.css",)    # of every page, before its own
SCRIPTS = ("dom.js",)

# C0 controls become their pictures, C1 controls, bidi overrides and half surrogates a box.
_VISIBLE = {code: 0x2400 + code for code in range(32)} | {0x7F: 0x2421}
_VISIBLE |= dict.fromkeys([*range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A),
                           *range(0xD800, 0xE000)], 0xFFFD)


def visible(text: object) -> str:
    """A text whose control characters can be seen instead of obeyed."""
    return str(text).translate(_VISIBLE)


def escape(text: object) -> str:
    """A text that stays text in HTML, in an element as in an attribute."""
    return html.escape(visible(text), quote=True)


def section(name: str, heading: str, content: str) -> str:
    """A section with an anchor; "" without content."""
    return f"<section id='{name}'><h2>{heading}</h2>{content}</section>" if content else ""


def page_file(*names: str) -> str:
    """Assets of this package, one after the other."""
    folder = resources.files("asr.pages").joinpath("assets")
    return "".join(folder.joinpath(name).read_text(encoding="utf-8") for name in names)


def fill_page(title: str, body: str, *, styles: Sequence[str], scripts: Sequence[str],
              data: Mapping | None = None, sources: Mapping[str, str] | None = None) -> str:
    """A page that can load and run nothing but what is in it.

    Args:
        title: any text.
        body: HTML, escaped by the caller.
        styles, scripts: assets of the page, after `STYLES` and `SCRIPTS`; the policy allows these
            and no others.
        data: for the script, as JSON in the element "data"; None: there is no such element.
        sources: more that the policy allows, such as {"worker-src": "blob:"}.
    """
    style, script = page_file(*STYLES, *styles), page_file(*SCRIPTS, *scripts)
    policy = {"default-src": "'none'", "media-src": "data: blob:", "img-src": "data:",
              "base-uri": "'none'", "form-action": "'none'",
              "style-src": f"'{_source_hash(style)}'",
              "script-src": f"'{_source_hash(script)}'"} | dict(sources or {})
    element = "" if data is None else \
        f'<script type="application/json" id="data">{embed(data)}</script>\n'
    return Template(page_file("frame.html")).substitute(
        title=escape(title), csp="; ".join(f"{name} {value}" for name, value in policy.items()),
        style=style, script=script, body=body, data=element)


def embed(data: Mapping) -> str:
    """JSON that is safe in a script element: no text in it can close the element."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character, code in (("&", "\\u0026"), ("<", "\\u003c"), (">", "\\u003e"),
                            ("\u2028", "\\u2028"), ("\u2029", "\\u2029")):
        text = text.replace(character, code)
    return text


def _source_hash(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
