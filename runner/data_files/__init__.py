"""Files of data as users have them: the host checks them before a launch, and the worker reads them, by the same code.

These modules import only the standard library. What one format needs besides is imported where it is read.
"""
