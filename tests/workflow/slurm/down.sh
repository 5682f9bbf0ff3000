#!/usr/bin/env bash
# Ends what up.sh began: bash tests/workflow/slurm/down.sh STATE
state=$(realpath "${1:?usage: down.sh STATE}")
for file in "$state/slurmd.pid" "$state/slurmctld.pid" /run/munge/munged.pid; do
    [ -f "$file" ] && kill "$(cat "$file")"
done
rm -f /etc/slurm/slurm.conf /etc/slurm/gres.conf
