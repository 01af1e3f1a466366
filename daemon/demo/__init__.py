"""`labeltrail demo`: the main job, end to end, on a dataset that it makes.

Everything in it is real: images on disk, HTTP, a daemon in a process of its own, each command as a
person types it. Only the CVAT server is our sandbox. `judge.py` counts what came of it; it imports
nothing of ours.
"""
