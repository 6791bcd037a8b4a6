# Tears down one lab: sh reap.sh RUN DIRECTORY. It waits for a word on standard input:
# `keep` leaves the lab standing; anything else, and also the end of the input because the
# owner died of whatever (Ctrl-C, a panic, SIGKILL), ends it.
trap '' HUP INT TERM
run=$1 directory=$2
read -r word
[ "$word" = keep ] && exit 0

namespaces() { ip netns list | sed -n "s/^\($run-[^ ]*\).*/\1/p"; }
pids() { for namespace in $(namespaces); do ip netns pids "$namespace"; done; }

for pid in $(pids); do kill -s TERM "$pid" 2>/dev/null; done
patience=30
while [ $patience -gt 0 ] && [ -n "$(pids)" ]; do
    sleep 0.1
    patience=$((patience - 1))
done
for pid in $(pids); do kill -s KILL "$pid" 2>/dev/null; done
for namespace in $(namespaces); do ip netns delete "$namespace"; done
rm -rf "$directory"
