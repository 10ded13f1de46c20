# Functions shared by tests/env/compose/journey and tests/env/kubernetes/journey. They run in the root of the repository and set $work.

passed=0 failed=0

# check WHAT COMMAND...: runs and counts a check; prints the output if it fails.
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

# under_load GATEWAY ADMIN CLIENTS SECONDS COMMAND...: runs the command under a load of orders, which starts before it, ends after it,
# and takes at least SECONDS; every order must get a response in the end.
under_load() {
  local gateway=$1 admin=$2 clients=$3 until=$((SECONDS + $4)) pid code=0
  shift 4
  RUST_BACKTRACE=0 SOUK_TOKEN=$admin "${CARGO_TARGET_DIR:-target}/debug/load" "$gateway" "$clients" >"$work/load" 2>"$work/load.err" &
  pid=$!
  sleep 3
  "$@" || code=$?
  # Requests after the command show its later effects.
  sleep 3
  while [ $SECONDS -lt $until ]; do sleep 1; done
  # A load that has exited before this has failed; its error is printed.
  kill $pid 2>/dev/null
  wait $pid || { cat "$work/load.err"; return 1; }
  cat "$work/load"
  [ "$code" = 0 ] && grep -q '"201":' "$work/load"
}

# Prints the summary of the last load.
load_summary() { sed 's/^/                /' "$work/load"; }

no_repeats() {
  cat "$work/load"
  grep -q '"repeats":0[,}]' "$work/load"
}

# targets PROMETHEUS COUNT: whether at least COUNT targets are up, and none is down.
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

queries, empty = 0, []
for file in files:
    board = json.load(open(file))
    for panel in panels(board):
        for target in panel.get("targets", []):
            query = target.get("expr")
            if not query:
                continue
            query = query.replace("$__rate_interval", "2m").replace("$__interval", "30s").replace("$__range", "10m")
            query = re.sub(r"\$\{?[a-z_]+\}?", ".*", query)
            response = urllib.request.urlopen(prometheus + "/api/v1/query?" + urllib.parse.urlencode({"query": query}))
            queries += 1
            if not json.load(response)["data"]["result"]:
                empty.append(f"{file}: {panel['title']}: {query}")
print(queries, "queries", *empty, sep="\n")
sys.exit(bool(empty) or not queries)
PY
}

# traced ZIPKIN COMMAND...: runs the command with a traceparent, and checks that the trace has spans of all seven services.
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
