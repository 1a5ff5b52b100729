"""jlabel: one model from labels that do not agree."""

from jlabel.errors import InputError as InputError

__version__ = "0.1.0"
