"""HTML pages: one frame, one style and one set of components for all of them.

frame.py       the file: policy, style, script, escaping
charts.py      line charts as SVG; confidence_charts.py draws with it
tables.py      tables of groups and words
components.py  the sections of a report
clips.py       audio embedded in a page
report.py      the scoring report
recorder.py    the body of a page that records: that of `asr export` and of `asr serve`
live.py        the page of `asr serve`
assets/        styles and scripts, see docs/architecture.md
"""
