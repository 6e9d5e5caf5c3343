"""A folder for PYTHONPATH, by which the children of `python -m txmembio run --children` get the switch."""
