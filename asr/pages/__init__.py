"""HTML pages and charts: one set of components for every page.

charts.py, confidence_charts.py   SVG
clips.py       audio embedded in a page
components.py  tables, diffs and players
report.py      the scoring report
assets/        style and script
"""
