"""The tables gradlab writes: their columns, their rows, CSV and Parquet."""
