"""Slow, obvious references that the tests compare against."""
