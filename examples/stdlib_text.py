"""Text to learn from: part of the standard library's own source."""

import inspect

MODULES = ("argparse", "ast", "collections", "dataclasses", "functools", "inspect", "textwrap", "typing")


def load_text():
    """The source of some modules, and the sorted characters that occur in it."""
    text = "".join(inspect.getsource(__import__(name)) for name in MODULES)
    text = "".join(c for c in text if c == "\n" or " " <= c <= "~")
    return text, sorted(set(text))
