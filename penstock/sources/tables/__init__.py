"""Tables of a manifest: reads the rows of CSV, JSON lines and Parquet files, and holds the cells of targets."""
