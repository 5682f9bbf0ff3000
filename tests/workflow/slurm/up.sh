#!/usr/bin/env bash
# A Slurm of one node on the loopback interface for the tests of this folder. Its four CPUs and its GPU are pretence; it has
# no accounting.
#   bash tests/workflow/slurm/up.sh STATE     (as root; packages slurmctld, slurmd, slurm-client, munge)
# A job that uses more memory than it requested is killed by the gatherer of its accounts, since there are no cgroups.
set -euo pipefail
state=$(realpath -m "${1:?usage: up.sh STATE}")
node=$(hostname -s)
memory=$(($(awk '/MemTotal/ {print $2}' /proc/meminfo) / 1024 - 2048))
if [ -e /etc/slurm/slurm.conf ]; then
    echo "/etc/slurm/slurm.conf is there: this machine has a Slurm already" >&2
    exit 1
fi
mkdir -p "$state"/{jobs,spool,log} /etc/slurm
cat > /etc/slurm/slurm.conf << CONF
ClusterName=tests
SlurmctldHost=$node(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmctldPort=16817
SlurmdPort=16818
StateSaveLocation=$state/jobs
SlurmdSpoolDir=$state/spool
SlurmctldPidFile=$state/slurmctld.pid
SlurmdPidFile=$state/slurmd.pid
SlurmctldLogFile=$state/log/slurmctld.log
SlurmdLogFile=$state/log/slurmd.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
JobCompType=jobcomp/filetxt
JobCompLoc=$state/log/jobs.log
KillWait=10
MinJobAge=3600
GresTypes=gpu
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2
NodeName=$node NodeAddr=127.0.0.1 CPUs=4 RealMemory=$memory Gres=gpu:1 State=UNKNOWN
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
printf 'AutoDetect=off\nNodeName=%s Name=gpu File=/dev/null\n' "$node" > /etc/slurm/gres.conf
if ! pgrep -x munged > /dev/null; then
    install -d -o munge -g munge -m 755 /run/munge
    runuser -u munge -- /usr/sbin/munged
fi
slurmctld
sleep 1
slurmd
for _ in $(seq 40); do
    [ "$(sinfo -h -o %T)" = idle ] && exit 0
    sleep 0.5
done
sinfo -R >&2
exit 1
