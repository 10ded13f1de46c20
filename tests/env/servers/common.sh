# Functions shared by the scripts in this folder. Each is called as
#
#   tests/env/servers/NAME start FOLDER    starts the server with its data in FOLDER, waits until it responds, prints its URL
#   tests/env/servers/NAME stop FOLDER     stops it by its process id and waits until it has exited
#
# A server listens on 127.0.0.1 only. Started again on the same FOLDER, it has the same port and data. Missing programs are
# installed from this machine's packages if possible; else the exit code is 3 and standard error says how to install them.
# Standard output contains only the URL.

set -euo pipefail

name=$(basename "$0")
action=${1:-} folder=${2:-}
if [ -z "$folder" ] || { [ "$action" != start ] && [ "$action" != stop ]; }; then
  echo "usage: tests/env/servers/$name start|stop FOLDER" >&2
  exit 2
fi
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)

unavailable() { # HOW TO INSTALL IT
  echo "$name is not available: $*" >&2
  exit 3
}

# install COMMAND PACKAGE...: ensures that the command exists; installs it from Debian packages if it is missing.
install() {
  local command=$1
  shift
  command -v "$command" >/dev/null && return
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing $*" >&2
    {
      # Several scripts may install packages concurrently.
      flock 9
      apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"
    } 9>/tmp/souk-apt.lock >/dev/null 2>&1 || true
    command -v "$command" >/dev/null && return
  fi
  unavailable "install $* (Debian: apt-get install $*)"
}

# port WHAT: prints a free port for this server, the same at every start with this folder.
port() {
  local file=$folder/port.$1
  [ -s "$file" ] || python3 - >"$file" <<'PY'
import random, socket
# Below the ephemeral ports, which might be used while the server is stopped.
while True:
    with socket.socket() as s:
        port = random.randrange(15000, 30000)
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            continue
        print(port)
        break
PY
  cat "$file"
}

# listening PORT: whether a process listens on the port.
listening() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# wait_for SECONDS COMMAND...: waits until the command succeeds; fails if the server's process exits.
wait_for() {
  local left=$(($1 * 10))
  shift
  until "$@" >/dev/null 2>&1; do
    left=$((left - 1))
    if [ "$left" -le 0 ] || { [ -s "$folder/pid" ] && ! kill -0 "$(cat "$folder/pid")" 2>/dev/null; }; then
      echo "$name did not start; its log:" >&2
      tail -20 "$folder/log" >&2 || true
      exit 1
    fi
    sleep 0.1
  done
}

# run COMMAND...: starts a server in the background, in its own session, and writes its process id. Does nothing if it is running.
run() {
  if [ -s "$folder/pid" ] && kill -0 "$(cat "$folder/pid")" 2>/dev/null; then return; fi
  setsid "$@" >>"$folder/log" 2>&1 </dev/null 9>&- &
  echo $! >"$folder/pid"
}

# end PIDFILE [SIGNAL]: stops the process in the file: with the signal first, with SIGKILL after ten seconds.
end() {
  local file=$1 pid
  [ -s "$file" ] || return 0
  pid=$(head -1 "$file")
  kill "-${2:-TERM}" "$pid" 2>/dev/null || true
  for _ in $(seq 100); do
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.1
  done
  kill -9 "$pid" 2>/dev/null || true
  rm -f "$file"
}
