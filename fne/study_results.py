"""``load``, where users' notebooks and plug-ins find it; the module itself is :mod:`fne.results.study`."""

from fne.results.study import StudyResults, load

__all__ = ["StudyResults", "load"]
