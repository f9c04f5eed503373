"""Charts as inline SVG, written by hand: one file per kind of chart, on a shared canvas."""
