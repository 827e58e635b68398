"""A hook of mkdocs: the site has the shipped model as a page, which docs/export.md links.

`make page` writes the same page with its certificate, which needs Node.
"""

from mkdocs.structure.files import File

NAME = "digits.html"


def on_files(files, config):
    """Add the page, so that `mkdocs build --strict` checks the link to it."""
    import asr
    from asr.export.html_format import render

    files.append(File.generated(config, NAME, content=render(asr.load().bundle)))
    return files
