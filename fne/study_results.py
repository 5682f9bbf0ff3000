"""``load``, where notebooks find it; the module itself is :mod:`fne.report.notebook`.

A study without results is refused, with the command that makes them:

>>> from fne.study_results import load
>>> load("papper")
Traceback (most recent call last):
    ...
fne.utils.errors.UserError: ...did you mean 'paper'...
"""

from fne.report.notebook import Notebook, load

__all__ = ["Notebook", "load"]
