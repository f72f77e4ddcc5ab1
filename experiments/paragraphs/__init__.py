"""The paragraphs of README.md and docs/ whose numbers are those of the committed results.

Each is a function that returns its text; `experiments.readme` writes them into the pages.
"""
