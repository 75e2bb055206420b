#!/bin/bash
# The small tier of all rows on a cluster of Slurm: sbatch docs/examples/slurm.sh [OPTIONS], from
# the repository, which lies where all nodes see it; OPTIONS are those of cluster. Before, once:
# nox -s cluster --install-only -- --address auto
#SBATCH --job-name=regression
#SBATCH --nodes=8
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --mem=0
#SBATCH --time=06:00:00
set -euo pipefail

export PATH="$PWD/.nox/cluster/bin:$PATH" # the same Ray and Python on each node, with nox
export RAY_USAGE_STATS_ENABLED=0 RAY_AUTH_MODE=token RAY_AUTH_TOKEN # without a token Ray serves all
RAY_AUTH_TOKEN=$(python -c 'import secrets; print(secrets.token_hex(32))')
export SUITE_CACHE="${SLURM_TMPDIR:-/tmp}/suite-$SLURM_JOB_ID" # environments and data, on a disk of the node

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
# One task a node: Ray starts on each, on the first as its head, which alone runs what follows `--`.
# The same script again goes on with what has no record in $RECORDS yet.
head="${nodes[0]}:6379" status="$PWD/slurm-$SLURM_JOB_ID.status"
rm -f "$status" # of the same job, requeued
# shellcheck disable=SC2016 # the inner shell expands them
srun ray symmetric-run --address "$head" --min-nodes "$SLURM_JOB_NUM_NODES" -- \
  sh -c '"$@"; echo $? > "$0"' "$status" \
  python -m nox -s cluster -- --address "$head" --tier small --seeds 0,1,2,3,4,5,6,7,8,9 \
  --records "${RECORDS:-$PWD/records}" "$@"
exit "$(cat "$status" || echo 2)" # that of cluster; symmetric-run ends with 0 where Ray does not start
