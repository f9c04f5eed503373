"""File formats: compressed lines, delimited tables, JSON tables and columnar files."""
