"""The page of `asr serve`: record or drop files, see words come, correct them, keep them.

In: nothing; the page asks its server what there is. Out: one HTML file. Standard library only.
"""

from __future__ import annotations

from asr.pages.frame import fill_page
from asr.pages.recorder import SCRIPTS, STYLES, recorder_body

_SETTINGS = (
    "<div class='choices'><label>Model <select id='model'></select></label>"
    "<label class='hot'>Hot words <input id='hot' autocomplete='off' spellcheck='false' dir='auto' "
    "placeholder='names or phrases, separated by commas' aria-describedby='hot-help'></label></div>"
    "<p id='hot-help' class='soft'>Phrases to expect; <code>Weißenburg:4</code> weighs one more. "
    "They count from the next recording on.</p>"
    "<details id='about'><summary>Decoder settings</summary><dl id='settings'></dl></details>")


def live_page() -> str:
    """The page, which reaches the server that it came from and nothing else."""
    body = recorder_body(
        "Speech to text", "Speak, or drop recordings. Words appear while you speak.",
        "What you say goes to this server, and nowhere else.", settings=_SETTINGS,
        busy="Asking the server for its models ...",
        footer="Corrected texts and their recordings can be downloaded as rows of a manifest: "
               "training data for asr train.")
    return fill_page("Speech to text", body, styles=STYLES, scripts=(*SCRIPTS, "live.js"),
                     sources={"connect-src": "'self'"})
