"""Hostile and broken input for every command: ``python -m benchmarks.hostile``.

Each input is given to the command in a process of its own. It must end rightly or in one message
that names what is wrong, within 20 seconds and 1 GB, and must run, delete and write nothing that it
is not asked for.

``trial`` runs and judges a case, ``task`` makes the sound files that are broken, and
``checkpoints``, ``exported``, ``datasets`` and ``arguments`` have the cases.
"""
