# What the journeys of tests/env/compose and tests/env/kubernetes share. They run from the root of the repository and set $work.

passed=0 failed=0

# check WHAT COMMAND...: counts it, and shows what came out if it fails.
check() {
  local what=$1 out=$work/out begun=$SECONDS
  shift
  if "$@" >"$out" 2>&1; then
    passed=$((passed + 1))
    printf 'ok      %4s s  %s\n' $((SECONDS - begun)) "$what"
  else
    failed=$((failed + 1))
    printf 'FAILED  %4s s  %s\n' $((SECONDS - begun)) "$what"
    tail -30 "$out" | cut -c1-400 | sed 's/^/        /'
  fi
}

report() {
  echo "$passed passed, $failed failed"
  rm -rf "$work"
  [ "$failed" = 0 ]
  exit
}

# under_load GATEWAY ADMIN CLIENTS SECONDS COMMAND...: runs the command while orders come in, from before it begins until after
# it has ended, and for so many seconds at least; all must be answered in the end.
under_load() {
  local gateway=$1 admin=$2 clients=$3 until=$((SECONDS + $4)) pid code=0
  shift 4
  RUST_BACKTRACE=0 SOUK_TOKEN=$admin "${CARGO_TARGET_DIR:-target}/debug/load" "$gateway" "$clients" >"$work/load" 2>"$work/load.err" &
  pid=$!
  sleep 3
  "$@" || code=$?
  # What it leaves behind shows in requests that come after it.
  sleep 3
  while [ $SECONDS -lt $until ]; do sleep 1; done
  # A load that has ended before has failed, and says why.
  kill $pid 2>/dev/null
  wait $pid || { cat "$work/load.err"; return 1; }
  cat "$work/load"
  [ "$code" = 0 ] && grep -q '"201":' "$work/load"
}

# What the last load has told.
told() { sed 's/^/                /' "$work/load"; }

no_repeats() {
  cat "$work/load"
  grep -q '"repeats":0[,}]' "$work/load"
}

# targets PROMETHEUS MANY: whether so many are up, and none is down.
targets() {
  local _ up
  for _ in $(seq 20); do
    up=$(curl -sf "$1/api/v1/targets" | python3 -c '
import json, sys
targets = json.load(sys.stdin)["data"]["activeTargets"]
bad = [t["scrapeUrl"] + " " + t["lastError"] for t in targets if t["health"] != "up"]
print(len(targets), "targets", *bad)
sys.exit(bool(bad) or len(targets) < int(sys.argv[1]))' "$2") && { echo "$up"; return; }
    sleep 3
  done
  echo "$up"
  return 1
}

# dashboards PROMETHEUS: whether every query of every dashboard has data.
dashboards() {
  python3 - "$1" grafana/dashboards/*.json <<'PY'
import json, re, sys, urllib.parse, urllib.request
prometheus, files = sys.argv[1], sys.argv[2:]

def panels(board):
    for panel in board.get("panels", []):
        yield panel
        yield from panels(panel)

asked, empty = 0, []
for file in files:
    board = json.load(open(file))
    for panel in panels(board):
        for target in panel.get("targets", []):
            query = target.get("expr")
            if not query:
                continue
            query = query.replace("$__rate_interval", "2m").replace("$__interval", "30s").replace("$__range", "10m")
            query = re.sub(r"\$\{?[a-z_]+\}?", ".*", query)
            answer = urllib.request.urlopen(prometheus + "/api/v1/query?" + urllib.parse.urlencode({"query": query}))
            asked += 1
            if not json.load(answer)["data"]["result"]:
                empty.append(f"{file}: {panel['title']}: {query}")
print(asked, "queries", *empty, sep="\n")
sys.exit(bool(empty) or not asked)
PY
}

# traced ZIPKIN COMMAND...: gives the command a traceparent, and looks for spans of all seven services under it.
traced() {
  local zipkin=$1 id _
  shift
  id=$(python3 -c 'import secrets; print(secrets.token_hex(16))')
  "$@" "00-$id-00f067aa0ba902b7-01" || return
  for _ in $(seq 20); do
    sleep 2
    curl -sf "$zipkin/api/v2/trace/$id" | python3 -c '
import json, sys
spans = json.load(sys.stdin)
services = sorted({span["localEndpoint"]["serviceName"] for span in spans})
print(len(spans), "spans of", *services)
sys.exit(len(services) < 7)' && return
  done
  return 1
}
