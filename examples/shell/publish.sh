#!/bin/sh
# Publishes one job with nothing but curl, over the HTTP gateway, and prints its receipt.
#
#   PENSTOCK_ADDRESS=http://localhost:8080 PENSTOCK_KEY=… ./publish.sh demo.add_row '{"n": 1}' row-1
#
# Trying again is safe: the same key is the same job. The API key goes in by stdin, where no list of processes shows it.
set -eu

if [ $# -ne 3 ]; then
  echo "usage: publish.sh TYPE JSON KEY" >&2
  exit 2
fi

{ [ -z "${PENSTOCK_KEY:-}" ] || printf 'header = "Authorization: Bearer %s"\n' "$PENSTOCK_KEY"; } |
  curl --config - --silent --show-error --fail-with-body \
    --max-time 30 --retry 5 --retry-connrefused \
    --header 'Content-Type: application/json' \
    --header "Idempotency-Key: $3" \
    --data "{\"type\": \"$1\", \"payload\": $2}" \
    "${PENSTOCK_ADDRESS:-http://localhost:8080}/v1/jobs"
