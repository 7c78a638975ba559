set -e
# Servers and clients with names; four connections stand before recording begins.
mkfifo go stop
mkdir -p "$CGROUP/workers"
python3 plain.py serve <stop & server=$!
(echo $BASHPID >"$CGROUP/workers/cgroup.procs" && exec python3 plain.py ask <go) & client=$!
exec 3>stop 4>go
sleep 2
sockflow record -o v1.0-mixed.sockflow -- bash -c '
    set -e
    echo >&4
    sockflow storm --port 9981 --connections 150 --rate 100/s
    sockflow storm --port 9982 --mode client-closes --connections 100 --rate 100/s
    sockflow storm --port 9981 --mode zero-window --connections 60 --rate 40/s --hold 2s
    sockflow storm -6 --port 9983 --mode client-reset --connections 40 --rate 40/s
    unshare -n sh -c "ip link set lo up && sockflow storm --port 9981 --connections 50 --rate 50/s"
    exec 4>&-
    sleep 1
'
exec 3>&- 4>&-
wait $server $client
rmdir "$CGROUP/workers"
rm go stop
