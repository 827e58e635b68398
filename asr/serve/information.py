"""What the server says about itself: models, settings, health, readiness, metrics, and the page.

In: GET requests. Out: JSON, text, HTML.
"""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response

from asr.pages.live import live_page
from asr.serve.metrics import CONTENT_TYPE
from asr.serve.models import ServedModel
from asr.serve.state import state_of
from asr.versions import installed


async def models(request: Request) -> Response:
    """`GET /v1/models`."""
    found = state_of(request).models.by_name.values()
    return JSONResponse({"object": "list", "data": [_model(model) for model in found]})


async def model(request: Request) -> Response:
    """`GET /v1/models/NAME`."""
    return JSONResponse(_model(state_of(request).models.find(request.path_params["name"])))


async def settings(request: Request) -> Response:
    """`GET /v1/settings`: what each model is and decodes with, and the limits; read only."""
    state = state_of(request)
    limits = {name: getattr(state.settings, name) for name in (
        "max_body", "max_seconds", "max_queue", "max_streams", "max_message", "timeout",
        "idle_seconds")}
    return JSONResponse({
        "version": installed(["keras-asr"])["keras-asr"], "limits": limits,
        "default": state.models.default.name,
        "models": [one.settings() for one in state.models.by_name.values()]})


async def health(request: Request) -> Response:
    """`GET /healthz`: the process answers."""
    return PlainTextResponse("ok\n")


async def ready(request: Request) -> Response:
    """`GET /readyz`: every model is loaded and computes its reference clip as it should."""
    state = state_of(request)
    return JSONResponse({"ready": state.ready, "ending": state.draining.is_set(),
                         "models": state.checks}, status_code=200 if state.ready else 503,
                        headers={} if state.ready else {"Retry-After": "2"})


async def metrics(request: Request) -> Response:
    """`GET /metrics`."""
    return Response(state_of(request).metrics.text(), media_type=CONTENT_TYPE)


async def page(request: Request) -> Response:
    """`GET /`: the page, which may run its own script and reach this server, and nothing else."""
    html, policy = _page()
    return HTMLResponse(html, headers={"Content-Security-Policy": policy,
                                       "Cache-Control": "no-cache",
                                       "Permissions-Policy": "microphone=(self)"})


@cache
def _page() -> tuple[str, str]:
    """The page and its Content-Security-Policy."""
    html = live_page()
    return html, security_policy(html)


def security_policy(html: str) -> str:
    """The policy of a page with inline scripts and styles: these by their hashes, and no others.

    Example:
        >>> security_policy("<style>b{}</style>").split("; ")[2]
        "style-src 'sha256-7yqHVAesot11p6HczDsgKRipvI5UPgs97z80zNXlans='"
    """
    def hashes(tag: str) -> str:
        found = re.findall(rf"<{tag}(?:\s[^>]*)?>(.*?)</{tag}\s*>", html,
                           re.DOTALL | re.IGNORECASE)
        sums = [base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode()
                for text in found]
        return " ".join(f"'sha256-{one}'" for one in sums) or "'none'"

    return "; ".join((
        "default-src 'none'", f"script-src {hashes('script')}", f"style-src {hashes('style')}",
        "connect-src 'self'", "media-src blob:", "img-src data: blob:", "worker-src blob:",
        "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"))


def _model(one: ServedModel) -> dict:
    return {"id": one.name, "object": "model", "created": one.created, "owned_by": "keras-asr"}
