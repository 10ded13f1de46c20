#!/usr/bin/env bash
# Compares the saga of the dialect multi-magasins (POST :8002/saga/commande/) with the native POST /api/orders: the same order on
# the same fleet from the same clients, one run after the other.
#
#   tests/bench/dialects.sh [SECONDS [CLIENTS...]]     default: 10 seconds each for 1, 8 and 32 clients
#
# The fleet is one process of target/release/souk (or $SOUK) on a temporary folder, on loopback; the dialect has its fixed ports.
# Prints orders per second, latencies in milliseconds, and the resident memory of the fleet after each run. The fleet shares the
# cores of this machine with the clients. A process of the older fleet can be measured in the same way: burst takes any URL.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

seconds=${1:-10}
shift || true
clients=("$@")
[ ${#clients[@]} -gt 0 ] || clients=(1 8 32)
souk=${SOUK:-target/release/souk}
burst=$(dirname "$souk")/burst
[ -x "$souk" ] && [ -x "$burst" ] || { echo "build them first: cargo build --release -p souk -p fleet-tests --bins" >&2; exit 1; }

folder=$(mktemp -d)
fleet=
clean_up() {
  [ -z "$fleet" ] || { kill "$fleet" 2>/dev/null; wait "$fleet" 2>/dev/null || true; }
  rm -rf "$folder"
}
trap clean_up EXIT

RUST_LOG=error "$souk" up --dialect multi-magasins --port-base 0 --data "$folder/data" >"$folder/up.log" 2>&1 &
fleet=$!
for _ in $(seq 300); do
  [ -e "$folder/data/fleet.json" ] && break
  kill -0 "$fleet" 2>/dev/null || { cat "$folder/up.log" >&2; exit 1; }
  sleep 0.1
done
gateway=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["gateway"])' "$folder/data/fleet.json")
token=$("$souk" token --data "$folder/data")
memory() { awk '/^VmRSS/ { print int($2 / 1024) }' "/proc/$fleet/status"; }

# More stock than the benchmark can sell; product 3 costs 30.00, so that no order exceeds the limit of 500.00.
curl -sf -o "$folder/stocked" "$gateway/api/stock/adjustments" -H "Authorization: Bearer $token" -H 'Content-Type: application/json' \
  -d '{"product_id": "3", "place_id": "en-ligne", "delta": 1000000, "reason": "bench"}'

echo "resident at rest: $(memory) MiB"
printf '%8s %-8s %9s %8s %8s %7s %9s %6s\n' clients what "orders/s" "p50 ms" "p99 ms" failed "RSS MiB" ratio
for count in "${clients[@]}"; do
  own=$(SOUK_TOKEN=$token "$burst" "$gateway/api/orders" "$count" "$seconds" \
    '{"place_id":"en-ligne","lines":[{"product_id":"3","quantity":1}]}' '"CONFIRMED"')
  own_memory=$(memory)
  saga=$("$burst" http://127.0.0.1:8002/saga/commande/ "$count" "$seconds" '{"produits":[{"id":"produit_3","qte":1}]}' '"CONFIRMEE"')
  python3 - "$count" "$own" "$own_memory" "$saga" "$(memory)" <<'PY'
import json, sys
count, own, own_memory, saga, saga_memory = sys.argv[1:]
own, saga = json.loads(own), json.loads(saga)
for what, run, memory in (("native", own, own_memory), ("saga", saga, saga_memory)):
    assert run["done"], f"{what}: no order was confirmed: {run}"
    ratio = f"{run['per_second'] / own['per_second']:6.2f}"
    print(f"{count:>8} {what:<8} {run['per_second']:9.0f} {run['p50_ms']:8.2f} {run['p99_ms']:8.2f} {run['failed']:7} {memory:>9} {ratio}")
PY
done
