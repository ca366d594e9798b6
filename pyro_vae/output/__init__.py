"""How results reach their reader: progress while they are made, tables for notebooks, pandas and papers."""
