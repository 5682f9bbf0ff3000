"""``load``, where notebooks find it; the module itself is :mod:`fne.report.notebook`."""

from fne.report.notebook import Notebook, load

__all__ = ["Notebook", "load"]
