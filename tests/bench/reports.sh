#!/usr/bin/env bash
# Measures reports over many orders, and compares each with the equivalent query over the orders, which must return the same rows.
#
#   tests/bench/reports.sh [COUNT]     default: 1,000,000 generated orders of three years, once on SQLite and once on PostgreSQL
#
# The fleet is one process of target/release/souk. Each report is requested ten times over HTTP from the order service; the script
# prints the median and the maximum of the times, which must be below 100 ms.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

count=${1:-1000000}
souk=${SOUK:-target/release/souk}
[ -x "$souk" ] || { echo "build it first: cargo build --release" >&2; exit 1; }

folder=$(mktemp -d)
chmod 755 "$folder"
fleet= failed=no
stop_fleet() {
  [ -z "$fleet" ] || { kill "$fleet" 2>/dev/null; wait "$fleet" 2>/dev/null || true; }
  fleet=
}
clean_up() {
  stop_fleet
  tests/env/servers/postgres stop "$folder/postgres" || true
  rm -rf "$folder"
}
trap clean_up EXIT

server=$(tests/env/servers/postgres start "$folder/postgres")
PATH=$PATH:$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -1)
psql -q "$server/postgres" -c "create database souk_order"

for engine in sqlite postgres; do
  data=$folder/$engine
  mkdir -p "$data"
  if [ $engine = sqlite ]; then
    url=sqlite:$data/order.db
    echo '{}' >"$data/stores.json"
  else
    url=$server/souk_order
    printf '{"order": "%s"}' "$url" >"$data/stores.json"
  fi
  echo "== $engine, $count orders"
  begun=$SECONDS
  "$souk" generate orders --count "$count" --store "$url" >"$folder/generated"
  echo "generated in $((SECONDS - begun)) s"
  begun=$SECONDS
  "$souk" reports rebuild --check --store "$url"
  echo "compared in $((SECONDS - begun)) s"
  RUST_LOG=warn "$souk" up --port-base 0 --data "$data" >"$folder/up.log" 2>&1 &
  fleet=$!
  for _ in $(seq 300); do [ -e "$data/fleet.json" ] && break; sleep 0.1; done
  token=$("$souk" token --data "$data")
  python3 - "$url" "$data/fleet.json" "$token" <<'PY' || failed=yes
import datetime, http.client, json, sqlite3, subprocess, sys, time, urllib.parse
url, fleet, token = sys.argv[1:]
address = urllib.parse.urlparse(json.load(open(fleet))["services"]["order"])
service = http.client.HTTPConnection(address.hostname, address.port)

def request(path):
    begun = time.monotonic()
    service.request("GET", path, headers={"Authorization": "Bearer " + token})
    response = service.getresponse()
    body = response.read()
    took = (time.monotonic() - begun) * 1000
    assert response.status == 200, body
    return took, json.loads(body)

if url.startswith("sqlite:"):
    base = sqlite3.connect(url.removeprefix("sqlite:"))
    def direct_query(sql):
        return [tuple(row) for row in base.execute(sql)]
else:
    def direct_query(sql):
        out = subprocess.run(["psql", "-qAt", "-F", "\t", url, "-c", sql], check=True, capture_output=True, text=True).stdout
        return [tuple(int(cell) if cell.lstrip("-").isdigit() else cell for cell in line.split("\t")) for line in out.splitlines()]

today = datetime.datetime.now(datetime.timezone.utc).date()
epoch = datetime.date(1970, 1, 1)
ago = lambda days: today - datetime.timedelta(days)
ranges = {"three years": (ago(1100), today), "ragged": (ago(1003), ago(17)), "thirty days": (ago(29), today), "a day": (ago(400), ago(400))}
LINES = """select o.id, o.place_id, o.placed_at / 86400000000 as day, o.total, l.product_id, l.quantity - l.returned as kept,
  l.unit_price, l.returned * l.unit_price as back from orders o join order_lines l on l.order_id = o.id where o.state = 'CONFIRMED'"""
WHOLE = f"select id, place_id, day, total - sum(back) as revenue, sum(kept) as pieces from ({LINES} and {{where}}) l group by id, place_id, day, total"

def whole(key, where):
    return f"select {key}, count(*), sum(pieces), sum(revenue) from ({WHOLE.format(where=where)}) w group by {key}"

def products(where):
    return f"""select product_id, count(*), sum(kept), sum(revenue) from (
      select id, product_id, sum(kept) as kept, sum(kept * unit_price) as revenue from ({LINES} and {where}) l group by id, product_id) p group by product_id"""

def named(day):
    return str(epoch + datetime.timedelta(day))

def cells(rows, *names):
    return sorted(tuple(row[name] for name in names) + (row["orders"], row["quantity"], round(row["revenue"] * 100)) for row in rows)

failed = False
print(f"{'report':44} {'median':>9} {'maximum':>9} {'direct':>10}  {'rows':>6}  equal")
for title, (first, last) in ranges.items():
    begin, end = (first - epoch).days * 86400000000, ((last - epoch).days + 1) * 86400000000
    where = f"placed_at >= {begin} and placed_at < {end}"
    span = f"from={first}&to={last}"
    def month(day):
        return named(day)[:8] + "01"
    def grouped(rows):
        sums = {}
        for place, day, *numbers in rows:
            key = (month(day), place)
            sums[key] = [a + b for a, b in zip(sums.get(key, [0, 0, 0]), numbers)]
        return sorted((*key, *numbers) for key, numbers in sums.items())
    def top(rows):
        return sorted(rows, key=lambda row: (-row[2], row[0]))[:10]
    cases = [
        (f"sales by store, {title}", f"sales?by=store&{span}", whole("place_id", where), lambda r: sorted(r), ["place_id"]),
        (f"sales by store, one store, {title}", f"sales?by=store&place_id=store-1&{span}", whole("place_id", where + " and place_id = 'store-1'"), sorted, ["place_id"]),
        (f"sales by product, {title}", f"sales?by=product&{span}", products(where), sorted, ["product_id"]),
        (f"sales by day, {title}", f"sales?by=day&{span}", whole("day", where), lambda r: sorted((named(d), *n) for d, *n in r), ["day"]),
        (f"top sellers, {title}", f"top-sellers?limit=10&{span}", products(where), lambda r: sorted(top(r)), ["product_id"]),
        (f"trends by month, {title}", f"trends?by=month&{span}", whole("place_id, day", where), grouped, ["day", "place_id"]),
    ]
    for name, path, sql, shape, keys in cases:
        responses = [request("/api/reports/" + path) for _ in range(10)]
        took = sorted(took for took, _ in responses)
        begun = time.monotonic()
        rows = direct_query(sql)
        direct = (time.monotonic() - begun) * 1000
        mine, theirs = cells(responses[0][1]["rows"], *keys), shape(rows)
        equal = [tuple(row) for row in theirs] == mine
        wrong = not equal or took[-1] >= 100
        failed |= wrong
        print(f"{name:44} {took[5]:6.1f} ms {took[-1]:6.1f} ms {direct:7.0f} ms  {len(mine):6}  {'yes' if equal else 'NO'}{'   <-- FAILED' if wrong else ''}")
for name in ["shortages", "overstock"]:
    took = sorted(request("/api/reports/" + name)[0] for _ in range(10))
    failed |= took[-1] >= 100
    print(f"{name:44} {took[5]:6.1f} ms {took[-1]:6.1f} ms")
sys.exit(failed)
PY
  stop_fleet
done
[ $failed = no ] || { echo "a report was slow, or not equal to the orders"; exit 1; }
