"""Kills, damage, full disks: what the folder of a study must survive. `python -m tests.storm.storm --help`."""
