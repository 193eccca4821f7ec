"""What no retry can cure: the file, or what was declared of it, must change first."""

from penstock.workers import Permanent


class FileNotAllowed(Permanent):
    """The path leads out of the folder that pipelines may read."""


class FileChanged(Permanent):
    """The file is no longer the one that was planned."""


class FileNotCsv(Permanent):
    """The file cannot be split into rows, or its headings are not those that were declared."""


class TableNotFitting(Permanent):
    """There is a table of this name, and it is not of the declared shape."""
