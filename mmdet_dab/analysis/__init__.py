"""What a config builds: its parts (``structure``), its parameters and multiply-adds
(``complexity``).
"""
