"""A running study seen from the files it leaves: what is done, what runs, how it goes. Reads only; imports no torch."""
