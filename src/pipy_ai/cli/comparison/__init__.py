"""`pipy compare -p`: send one prompt to several models and show the answers side by side."""
