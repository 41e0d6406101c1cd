"""The tables that are written when asked for. A file here defines SENSOR, whose table says what switches it on.

The files are imported wherever flags, tables or columns are listed, so that none loads torch before it takes a record.
"""
