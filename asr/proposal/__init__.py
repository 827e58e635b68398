"""Propose a recipe for the user's data: what `asr init` writes.

survey.py     what the manifests hold: hours, speakers, rates, lengths, characters, noise
settings.py   from there to settings, each with its reason, and to warnings
trial.py      how long a training step takes on this machine
page.py       the recipe as TOML with the reasons as comments
"""
