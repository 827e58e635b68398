"""The body of a page that records, shows takes and lets their text be corrected.

In: what the page is about. Out: HTML. The page of `asr export` and that of `asr serve` share it;
assets/take.js and assets/recording.js bring it to life.
"""

from __future__ import annotations

from asr.pages.frame import THEME, escape

STYLES = ("take.css",)
SCRIPTS = ("signal.js", "picture.js", "player.js", "words.js", "subtitles.js", "recording.js",
           "take.js")
ACCEPT = "audio/*,video/*,.flac,.ogg,.opus,.wav,.mp3,.m4a,.aif,.au"


def recorder_body(title: str, lead: str, privacy: str, *, settings: str = "", footer: str,
                  busy: str) -> str:
    """The body.

    Args:
        title, lead, privacy, footer, busy: texts; `busy` is shown until the page is ready.
        settings: HTML above the takes.
    """
    return (
        f"<header><div class='top'><h1 class='headline'>{escape(title)}</h1>{THEME}"
        "</div>"
        f"<p>{escape(lead)}</p><p class='privacy'>{escape(privacy)}</p></header>"
        "<main><div class='start'>"
        "<button id='record' type='button' aria-pressed='false' aria-keyshortcuts='r'>Speak"
        "</button>"
        "<label class='level'>Level <meter id='level' min='0' max='1' value='0'></meter></label>"
        "<label id='drop'>Drop recordings here, or choose them"
        f"<input id='file' type='file' multiple accept='{ACCEPT}'></label></div>"
        f"{settings}<p id='state' role='status' aria-live='polite'>{escape(busy)}</p>"
        "<div id='takes'></div>"
        "<p class='key'><span>Confidence: <span class='word'>sure</span> "
        "<span class='word fair'>fair</span> <span class='word poor'>doubtful</span></span>"
        "<span class='wide'>Keys: <kbd>r</kbd> record and stop, <kbd>Tab</kbd> and "
        "<kbd>Enter</kbd> listen to a word, <kbd>e</kbd> correct the newest text, "
        "<kbd>Esc</kbd> silence.</span></p></main>"
        f"<footer>{escape(footer)}</footer>")
