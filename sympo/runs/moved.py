"""Where classes that configs name were before they moved.

Run folders keep their config as it was composed, with the Python path of each class. Add a line
when a class that a config can name moves or is renamed; nothing is ever taken out.
"""

MOVED: dict[str, str] = {}
