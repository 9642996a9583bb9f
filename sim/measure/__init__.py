"""Measuring: what a figure is, which bound it is held against, who else reached what, and how it is shown.

Nothing here drives the machine; sim/stories/bench*.py do.
"""
