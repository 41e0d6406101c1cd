"""The programs, found by being there: each file has a tuple `PROGRAMS`."""
